// A range of a file read by several threads: any offset and length, and what goes wrong.

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/file.h"
#include "tests/support.h"

enum { PIECE = 4 << 20, BYTES = 9 * PIECE + 12345 }; // more pieces than threads

static unsigned char byte_at(uint64_t at)
{
    return (unsigned char)(at * 2654435761U >> 13);
}

// A file whose every byte is known, open for reading.
static int pattern_file(const char *name, size_t bytes)
{
    unsigned char *data = cop_alloc(bytes, 1);
    assert_non_null(data);
    for (size_t i = 0; i < bytes; i++) {
        data[i] = byte_at(i);
    }
    const int file = open(scratch_file(name, data, bytes), O_RDONLY | O_CLOEXEC);
    cop_free(data);
    assert_true(file >= 0);
    return file;
}

static void every_byte_of_any_range_arrives(void **state)
{
    (void)state;

    static const struct {
        uint64_t offset;
        uint64_t bytes;
    } ranges[] = {
        {0, BYTES},             // all
        {1, BYTES - 1},         // odd start
        {PIECE - 1, 2},         // across a boundary of pieces
        {12345, 3 * PIECE + 1}, // a short last piece
        {BYTES - 1, 1},         // the last byte
        {77, PIECE},            // one whole piece: a single thread
        {0, 0},
        {BYTES, 0},
        {BYTES + 5, 0}, // nothing, inside and behind
    };

    const int file = pattern_file("ranges", BYTES);
    unsigned char *to = cop_alloc(BYTES + 2, 1);
    assert_non_null(to);
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++) {
        const uint64_t bytes = ranges[i].bytes;
        cop_error err = {0};
        memset(to, 0xa5, BYTES + 2);
        // Odd address too: rows of a tensor need not be aligned.
        assert_int_equal(
            cop_file_read_parallel(to + 1, file, ranges[i].offset, bytes, "ranges", &err), COP_OK);
        assert_int_equal(to[0], 0xa5);
        assert_int_equal(to[1 + bytes], 0xa5);
        uint64_t wrong = 0;
        for (uint64_t k = 0; k < bytes; k++) {
            wrong += to[1 + k] != byte_at(ranges[i].offset + k) ? 1 : 0;
        }
        assert_int_equal(wrong, 0);
    }
    cop_free(to);
    (void)close(file);
}

static void a_file_that_ends_early_is_refused_by_name(void **state)
{
    (void)state;
    const int file = pattern_file("short", 2 * PIECE + 10);
    unsigned char *to = cop_alloc(4 * (size_t)PIECE, 1);
    cop_error err = {0};
    assert_non_null(to);
    assert_int_equal(cop_file_read_parallel(to, file, 0, 2 * PIECE + 11, "short", &err),
                     COP_ERR_IO);
    assert_string_equal(err.message, "short: ends before byte 8388619 (allowed: a whole file)");
    assert_int_equal(cop_file_read_parallel(to, file, PIECE, 3 * (uint64_t)PIECE, "short", &err),
                     COP_ERR_IO);
    assert_int_equal(cop_file_read_parallel(to, file, 1 << 30, 1, "short", &err), COP_ERR_IO);
    cop_free(to);
    (void)close(file);
}

static void a_bad_descriptor_is_refused_by_name(void **state)
{
    (void)state;
    unsigned char to[16];
    cop_error err = {0};
    assert_int_equal(cop_file_read_parallel(to, -1, 0, sizeof to, "nowhere", &err), COP_ERR_IO);
    assert_string_equal(err.message, "nowhere: cannot read: Bad file descriptor");
    assert_int_equal(cop_file_read_parallel(to, -1, 0, 0, "nowhere", &err), COP_OK);
    const int file = open(".", O_RDONLY | O_CLOEXEC);
    assert_true(file >= 0);
    assert_int_equal(cop_file_read_parallel(to, file, 0, sizeof to, ".", &err), COP_ERR_IO);
    assert_string_equal(err.message, ".: cannot read: Is a directory");
    (void)close(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_byte_of_any_range_arrives),
        cmocka_unit_test(a_file_that_ends_early_is_refused_by_name),
        cmocka_unit_test(a_bad_descriptor_is_refused_by_name),
    };
    return cmocka_run_group_tests_name("file_parallel", tests, NULL, NULL);
}
