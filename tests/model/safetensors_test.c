#include "model/safetensors.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/file.h"
#include "tests/support.h"

enum { BYTES_MAX = 4096 };

// Lays a file out by hand: length, header, data bytes 0, 1, 2 …
static size_t lay_out(unsigned char *out, const char *header, size_t data_bytes)
{
    const size_t length = strlen(header);
    for (int i = 0; i < 8; i++) {
        out[i] = (unsigned char)((uint64_t)length >> (8 * i));
    }
    memcpy(out + 8, header, length); // NOLINT(bugprone-not-null-terminated-result): no string
    for (size_t i = 0; i < data_bytes; i++) {
        out[8 + length + i] = (unsigned char)i;
    }
    return 8 + length + data_bytes;
}

#define ONE   "\"a\": {\"dtype\": \"F32\", \"shape\": [2], \"data_offsets\": [0, 8]}"
#define OTHER "\"b\": {\"dtype\": \"BF16\", \"shape\": [2, 2], \"data_offsets\": [8, 16]}"

static void reads_what_the_header_describes(void **state)
{
    (void)state;
    unsigned char file[BYTES_MAX];
    // In the header the second tensor comes first, and one of no elements lies between them.
    const size_t bytes = lay_out(file,
                                 "{\"__metadata__\": {\"format\": \"pt\"}, " OTHER
                                 ", \"e\": {\"dtype\": \"U8\", \"shape\": [3, 0], "
                                 "\"data_offsets\": [8, 8]}, " ONE "}   ",
                                 16);
    cop_safetensors *opened = NULL;
    cop_error err = {0};

    assert_int_equal(cop_safetensors_parse(&opened, "x", file, bytes, &err), COP_OK);
    assert_int_equal(cop_safetensors_count(opened), 3);
    assert_string_equal(cop_safetensors_metadata(opened, "format"), "pt");
    assert_null(cop_safetensors_metadata(opened, "other"));
    const int64_t b = cop_safetensors_find(opened, "b");
    const cop_safetensors_entry entry = cop_safetensors_at(opened, b);
    assert_string_equal(entry.name, "b");
    assert_int_equal(entry.dtype, COP_BF16);
    assert_int_equal(entry.rank, 2);
    assert_int_equal(entry.shape[0] * 10 + entry.shape[1], 22);
    assert_int_equal(entry.bytes, 8);
    assert_int_equal(*(const unsigned char *)entry.data, 8);
    const cop_safetensors_entry a = cop_safetensors_at(opened, cop_safetensors_find(opened, "a"));
    assert_int_equal(*(const unsigned char *)a.data, 0);
    assert_int_equal(cop_safetensors_at(opened, cop_safetensors_find(opened, "e")).bytes, 0);
    assert_int_equal(cop_safetensors_find(opened, "c"), -1);
    assert_int_equal(cop_safetensors_find(opened, ""), -1);
    cop_safetensors_destroy(opened);
}

static void reads_scalars_and_files_without_tensors(void **state)
{
    (void)state;
    unsigned char file[BYTES_MAX];
    cop_safetensors *opened = NULL;
    cop_error err = {0};
    size_t bytes =
        lay_out(file, "{\"s\": {\"dtype\": \"F64\", \"shape\": [], \"data_offsets\": [0, 8]}}", 8);
    assert_int_equal(cop_safetensors_parse(&opened, "x", file, bytes, &err), COP_OK);
    assert_int_equal(cop_safetensors_at(opened, 0).rank, 0);
    cop_safetensors_destroy(opened);

    bytes = lay_out(file, "{}", 0);
    assert_int_equal(cop_safetensors_parse(&opened, "x", file, bytes, &err), COP_OK);
    assert_int_equal(cop_safetensors_count(opened), 0);
    assert_int_equal(cop_safetensors_find(opened, "a"), -1);
    cop_safetensors_destroy(opened);
}

static void says_what_is_wrong_with_a_header(void **state)
{
    (void)state;

    static const struct {
        const char *header;
        size_t data_bytes;
        const char *want;
    } rows[] = {
        {"", 0, "x: not a safetensors file: the header does not begin with '{'"},
        {" {}", 0, "x: not a safetensors file: the header does not begin with '{'"},
        {"{", 0, "x:1:1: string or '}' expected near end of file"},
        {"{" ONE ", " ONE "}", 8, "x:1:65: duplicate object key near '\"a\"'"},
        {"{\"a\": 1}", 0, "x: a: is no object (allowed: dtype, shape and data_offsets)"},
        {"{\"\": {}}", 0, "x: a tensor's name has 0 bytes (allowed: 1..512)"},
        {"{\"a\\nb\": {}}", 0,
         "x: a tensor's name has the control character 10 at 1 (allowed: printable text)"},
        {"{\"a\": {}}", 0, "x: a: dtype is '' (allowed: F64, F32, F16, BF16, I64, I32, U8)"},
        {"{\"a\": {\"dtype\": \"F8_E4M3\", \"shape\": [1], \"data_offsets\": [0, 1]}}", 1,
         "x: a: dtype is 'F8_E4M3' (allowed: F64, F32, F16, BF16, I64, I32, U8)"},
        {"{\"a\": {\"dtype\": \"F32\", \"shape\": [2]}}", 8,
         "x: a: data_offsets is no pair of integers (allowed: [begin, end])"},
        {"{\"a\": {\"dtype\": \"F32\", \"shape\": [2], \"data_offsets\": [0, 8.0]}}", 8,
         "x: a: data_offsets is no pair of integers (allowed: [begin, end])"},
        {"{\"a\": {\"dtype\": \"F32\", \"shape\": [2], \"data_offsets\": [0, 8, 9]}}", 8,
         "x: a: data_offsets is no pair of integers (allowed: [begin, end])"},
        {"{\"a\": {\"dtype\": \"F32\", \"shape\": [2], \"data_offsets\": [8, 0]}}", 8,
         "x: a: data_offsets are [8, 0] (allowed: begin <= end <= 8, the size of the data)"},
        {"{\"a\": {\"dtype\": \"F32\", \"shape\": [2], \"data_offsets\": [-8, 0]}}", 8,
         "x: a: data_offsets are [-8, 0] (allowed: begin <= end <= 8, the size of the data)"},
        {"{\"a\": {\"dtype\": \"F32\", \"shape\": [2], "
         "\"data_offsets\": [9223372036854775800, 9223372036854775807]}}",
         8,
         "x: a: data_offsets are [9223372036854775800, 9223372036854775807] (allowed: begin <= "
         "end <= 8, the size of the data)"},
        {"{\"a\": {\"dtype\": \"F32\", \"shape\": [2], \"data_offsets\": [0, 9]}}", 8,
         "x: a: data_offsets are [0, 9] (allowed: begin <= end <= 8, the size of the data)"},
        {"{\"a\": {\"dtype\": \"F32\", \"shape\": [1], \"data_offsets\": [0, 8]}}", 8,
         "x: a: data_offsets span 8 bytes, but dtype and shape need 4"},
        {"{\"a\": {\"dtype\": \"F32\", \"shape\": 2, \"data_offsets\": [0, 8]}}", 8,
         "x: a: shape is no list of sizes (allowed: 0..8 integers)"},
        {"{\"a\": {\"dtype\": \"F32\", \"shape\": [1,1,1,1,1,1,1,1,2], "
         "\"data_offsets\": [0, 8]}}",
         8, "x: a: shape is no list of sizes (allowed: 0..8 integers)"},
        {"{\"a\": {\"dtype\": \"F32\", \"shape\": [-2], \"data_offsets\": [0, 8]}}", 8,
         "x: a: shape[0] is no size (allowed: integers from 0)"},
        {"{\"a\": {\"dtype\": \"F32\", \"shape\": [2.0], \"data_offsets\": [0, 8]}}", 8,
         "x: a: shape[0] is no size (allowed: integers from 0)"},
        // 2^32 * 2^32 is 0 in 64 bits, 2^62 * 4 bytes too.
        {"{\"a\": {\"dtype\": \"F32\", \"shape\": [4294967296, 4294967296], "
         "\"data_offsets\": [0, 0]}}",
         8, "x: a: shape needs more than the 2 elements that the file can hold"},
        {"{\"a\": {\"dtype\": \"F32\", \"shape\": [4611686018427387904], "
         "\"data_offsets\": [0, 0]}}",
         8, "x: a: shape needs more than the 2 elements that the file can hold"},
        {"{" ONE ", \"c\": {\"dtype\": \"U8\", \"shape\": [4], \"data_offsets\": [4, 8]}}", 8,
         "x: c: data begins at 4, inside another tensor's (allowed: 8)"},
        {"{" ONE ", \"c\": {\"dtype\": \"U8\", \"shape\": [4], \"data_offsets\": [12, 16]}}", 16,
         "x: c: data begins at 12, behind a gap (allowed: 8)"},
        {"{" ONE "}", 9,
         "x: the tensors end at 8, the data at 9 (allowed: no bytes behind the last tensor)"},
        {"{\"__metadata__\": [], " ONE "}", 8,
         "x: __metadata__ is no object (allowed: keys with text)"},
        {"{\"__metadata__\": {\"a\": 1}, " ONE "}", 8,
         "x: __metadata__ has a value that is no text (allowed: text)"},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        unsigned char file[BYTES_MAX];
        const size_t bytes = lay_out(file, rows[i].header, rows[i].data_bytes);
        // On the heap, so that a read behind the end is noticed.
        unsigned char *exact = cop_alloc(bytes, 1);
        cop_safetensors *opened = NULL;
        cop_error err = {0};
        memcpy(exact, file, bytes);
        assert_int_equal(cop_safetensors_parse(&opened, "x", exact, bytes, &err), COP_ERR_FORMAT);
        assert_string_equal(err.message, rows[i].want);
        assert_null(opened);
        cop_free(exact);
    }
}

static void says_what_is_wrong_with_the_length(void **state)
{
    (void)state;
    unsigned char file[BYTES_MAX];
    const size_t bytes = lay_out(file, "{" ONE "}", 8);
    unsigned char huge[16];
    unsigned char more[16];
    memset(huge, 0xff, sizeof huge);
    memset(more, 0, sizeof more);
    more[0] = 9; // one more than follows

    const struct {
        const unsigned char *data;
        size_t bytes;
        const char *want;
    } rows[] = {
        {file, 0, "x: 0 bytes are too few for a safetensors file"},
        {file, 7, "x: 7 bytes are too few for a safetensors file"},
        {file, 8, "x: header length is 61, but 0 bytes follow"},
        {file, 68, "x: header length is 61, but 60 bytes follow"},
        {file, bytes - 1,
         "x: a: data_offsets are [0, 8] (allowed: begin <= end <= 7, the size of the data)"},
        {huge, 16, "x: header length is 18446744073709551615 (allowed: at most 100000000)"},
        {more, 16, "x: header length is 9, but 8 bytes follow"},
        {NULL, 0, "x: 0 bytes are too few for a safetensors file"},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        cop_safetensors *opened = NULL;
        cop_error err = {0};
        assert_int_equal(cop_safetensors_parse(&opened, "x", rows[i].data, rows[i].bytes, &err),
                         COP_ERR_FORMAT);
        assert_string_equal(err.message, rows[i].want);
        assert_null(opened);
    }
}

// Every prefix of a good file is refused, none of them crashes.
static void refuses_every_truncation(void **state)
{
    (void)state;
    unsigned char file[BYTES_MAX];
    const size_t bytes = lay_out(file, "{" ONE ", " OTHER "}", 16);
    for (size_t n = 0; n < bytes; n++) {
        cop_safetensors *opened = NULL;
        assert_int_equal(cop_safetensors_parse(&opened, "x", file, n, NULL), COP_ERR_FORMAT);
        assert_null(opened);
    }
}

static const cop_safetensors_entry entries[] = {
    {.name = "second \"quoted\"", .dtype = COP_F32, .rank = 2, .shape = {2, 3}},
    {.name = "first", .dtype = COP_BF16, .rank = 1, .shape = {5}},
    {.name = "none", .dtype = COP_U8, .rank = 1, .shape = {0}},
};
static const char *const metadata[] = {"format", "pt", "note", "two\nlines", NULL};

static cop_status write_sample(const char *path, bool in_pieces, cop_error *err)
{
    unsigned char data[34];
    cop_safetensors_writer *writer = NULL;
    cop_status status = COP_OK;
    for (size_t i = 0; i < sizeof data; i++) {
        data[i] = (unsigned char)(100 + i);
    }
    COP_TRY(status, cop_safetensors_writer_create(&writer, path, entries, 3, metadata, err));
    if (in_pieces) {
        COP_TRY(status, cop_safetensors_writer_put_at(writer, 1, 4, data + 28, 6, err));
        COP_TRY(status, cop_safetensors_writer_put_at(writer, 0, 0, data, 24, err));
        COP_TRY(status, cop_safetensors_writer_put_at(writer, 1, 0, data + 24, 4, err));
    } else {
        COP_TRY(status, cop_safetensors_writer_put(writer, data, 30, err));
        COP_TRY(status, cop_safetensors_writer_put(writer, data + 30, 4, err));
    }
    COP_TRY(status, cop_safetensors_writer_commit(writer, err));

done:
    cop_safetensors_writer_destroy(writer);
    return status;
}

static void reads_back_what_it_wrote(void **state)
{
    (void)state;
    for (int in_pieces = 0; in_pieces < 2; in_pieces++) {
        cop_safetensors *opened = NULL;
        cop_error err = {0};
        assert_int_equal(write_sample("w.safetensors", in_pieces != 0, &err), COP_OK);
        assert_int_equal(cop_safetensors_open(&opened, "w.safetensors", &err), COP_OK);
        assert_int_equal(cop_safetensors_count(opened), 3);
        assert_string_equal(cop_safetensors_metadata(opened, "note"), "two\nlines");
        const int64_t index = cop_safetensors_find(opened, "first");
        const cop_safetensors_entry first = cop_safetensors_at(opened, index);
        for (size_t i = 0; i < 10; i++) {
            assert_int_equal(((const unsigned char *)first.data)[i], 124 + i);
        }
        // The data begins at a multiple of 8 in the file, so that a mapping is aligned.
        const cop_safetensors_entry second =
            cop_safetensors_at(opened, cop_safetensors_find(opened, "second \"quoted\""));
        assert_int_equal((uintptr_t)second.data % 8, 0);
        assert_int_equal(*(const unsigned char *)second.data, 100);
        cop_safetensors_forget(opened, index); // the pages come back when they are read again
        assert_int_equal(*(const unsigned char *)first.data, 124);
        cop_safetensors_destroy(opened);
    }
}

static void refuses_too_many_and_too_few_bytes(void **state)
{
    (void)state;
    const unsigned char data[64] = {0};
    cop_safetensors_writer *writer = NULL;
    cop_error err = {0};
    (void)unlink("few.safetensors");
    assert_int_equal(
        cop_safetensors_writer_create(&writer, "few.safetensors", entries, 3, NULL, &err), COP_OK);
    assert_int_equal(cop_safetensors_writer_put(writer, data, 35, &err), COP_ERR_SHAPE);
    assert_string_equal(err.message,
                        "few.safetensors: 1 bytes more than the 34 that were declared");
    assert_int_equal(cop_safetensors_writer_put_at(writer, 1, 8, data, 3, &err), COP_ERR_SHAPE);
    assert_string_equal(err.message, "few.safetensors: bytes 8..11 of tensor 1 (allowed: 0..10)");
    assert_int_equal(cop_safetensors_writer_put_at(writer, 3, 0, data, 1, &err), COP_ERR_SHAPE);
    assert_int_equal(cop_safetensors_writer_put_at(writer, 0, UINT64_MAX, data, 2, &err),
                     COP_ERR_SHAPE);
    assert_int_equal(cop_safetensors_writer_put(writer, data, 33, &err), COP_OK);
    assert_int_equal(cop_safetensors_writer_commit(writer, &err), COP_ERR_SHAPE);
    assert_string_equal(err.message,
                        "few.safetensors: 33 bytes of data were written (allowed: 34)");
    cop_safetensors_writer_destroy(writer);
    assert_false(cop_file_exists("few.safetensors"));
}

static void refuses_declarations_that_cannot_be(void **state)
{
    (void)state;
    const cop_safetensors_entry twice[] = {entries[1], entries[1]};
    const cop_safetensors_entry huge = {
        .name = "huge", .dtype = COP_F32, .rank = 2, .shape = {INT64_MAX / 2, 3}};
    const cop_safetensors_entry negative = {
        .name = "negative", .dtype = COP_F32, .rank = 1, .shape = {-1}};

    const struct {
        const cop_safetensors_entry *entries;
        int64_t count;
        const char *want;
    } rows[] = {
        {twice, 2, "no.safetensors: two tensors have one name"},
        {&huge, 1, "no.safetensors: huge: shape is too large"},
        {&negative, 1, "no.safetensors: negative: shape is too large"},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        cop_safetensors_writer *writer = NULL;
        cop_error err = {0};
        assert_int_equal(cop_safetensors_writer_create(&writer, "no.safetensors", rows[i].entries,
                                                       rows[i].count, NULL, &err),
                         COP_ERR_SHAPE);
        assert_string_equal(err.message, rows[i].want);
        assert_null(writer);
    }
}

// A limit on the size of files stands for a full disk.
static void leaves_nothing_on_a_full_disk(void **state)
{
    (void)state;
    struct rlimit before;
    cop_error err = {0};
    char temp[64];
    assert_int_equal(write_sample("full.safetensors", false, &err), COP_OK);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    const struct rlimit limit = {.rlim_cur = 300, .rlim_max = before.rlim_max};
    assert_true(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    const cop_status status = write_sample("full.safetensors", false, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);

    (void)snprintf(temp, sizeof temp, "full.safetensors.tmp.%ld", (long)getpid());
    assert_int_equal(status, COP_ERR_IO);
    assert_non_null(strstr(err.message, "full.safetensors.tmp."));
    assert_non_null(strstr(err.message, ": File too large"));
    assert_false(cop_file_exists(temp));
    cop_safetensors *old = NULL; // the file that was there is whole
    assert_int_equal(cop_safetensors_open(&old, "full.safetensors", &err), COP_OK);
    cop_safetensors_destroy(old);
}

static void says_where_it_cannot_write(void **state)
{
    (void)state;
    cop_error err = {0};
    char want[160];
    assert_int_equal(write_sample("no-such-folder/x", false, &err), COP_ERR_IO);
    (void)snprintf(want, sizeof want,
                   "no-such-folder/x.tmp.%ld: cannot create: No such file or directory",
                   (long)getpid());
    assert_string_equal(err.message, want);
}

static void survives_every_failed_allocation(void **state)
{
    (void)state;
    unsigned char file[BYTES_MAX];
    const size_t bytes = lay_out(file, "{" ONE ", " OTHER "}", 16);
    const size_t live_before = cop_alloc_live_blocks();
    cop_status status = COP_ERR_NOMEM;
    for (size_t n = 0; status == COP_ERR_NOMEM && n < 1000; n++) {
        cop_safetensors *opened = NULL;
        cop_alloc_fail_after(n);
        status = cop_safetensors_parse(&opened, "x", file, bytes, NULL);
        cop_alloc_fail_after(SIZE_MAX);
        assert_int_equal(opened != NULL, status == COP_OK);
        cop_safetensors_destroy(opened);
        assert_int_equal(cop_alloc_live_blocks(), live_before);
    }
    assert_int_equal(status, COP_OK);

    status = COP_ERR_NOMEM;
    for (size_t n = 0; status == COP_ERR_NOMEM && n < 1000; n++) {
        cop_alloc_fail_after(n);
        status = write_sample("oom.safetensors", false, NULL);
        cop_alloc_fail_after(SIZE_MAX);
        assert_int_equal(cop_alloc_live_blocks(), live_before);
    }
    assert_int_equal(status, COP_OK);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_what_the_header_describes),
        cmocka_unit_test(reads_scalars_and_files_without_tensors),
        cmocka_unit_test(says_what_is_wrong_with_a_header),
        cmocka_unit_test(says_what_is_wrong_with_the_length),
        cmocka_unit_test(refuses_every_truncation),
        cmocka_unit_test(reads_back_what_it_wrote),
        cmocka_unit_test(refuses_too_many_and_too_few_bytes),
        cmocka_unit_test(refuses_declarations_that_cannot_be),
        cmocka_unit_test(leaves_nothing_on_a_full_disk),
        cmocka_unit_test(says_where_it_cannot_write),
        cmocka_unit_test(survives_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
