#include "base/file.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/text.h"
#include "tests/support.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

static void put(const char *path, const char *content)
{
    assert_int_equal(cop_file_write(path, content, strlen(content), NULL), COP_OK);
}

static void assert_content(const char *path, const char *want)
{
    char *data = NULL;
    size_t bytes = 0;
    assert_int_equal(cop_file_read(&data, &bytes, path, 1 << 20, NULL), COP_OK);
    assert_int_equal(bytes, strlen(want));
    assert_string_equal(data, want);
    cop_free(data);
}

static void assert_no_temporary_file(const char *path)
{
    char temp_path[256];
    (void)snprintf(temp_path, sizeof temp_path, "%s.tmp.%ld", path, (long)getpid());
    assert_false(cop_file_exists(temp_path));
}

static void maps_what_is_there(void **state)
{
    (void)state;
    cop_file_map map = {0};
    cop_file_map_release(&map);
    assert_int_equal(cop_file_map_open(&map, scratch_file("map", "abc", 3), NULL), COP_OK);
    assert_int_equal(map.bytes, 3);
    assert_memory_equal(map.data, "abc", 3);
    cop_file_map_forget(&map, 0, 3);
    cop_file_map_forget(&map, 2, SIZE_MAX);
    cop_file_map_forget(&map, 99, 1);
    assert_memory_equal(map.data, "abc", 3);
    cop_file_map_release(&map);
    assert_null(map.data);

    assert_int_equal(cop_file_map_open(&map, scratch_file("empty", "", 0), NULL), COP_OK);
    assert_null(map.data);
    assert_int_equal(map.bytes, 0);
    cop_file_map_release(&map);
}

static void says_why_a_file_cannot_be_read(void **state)
{
    (void)state;
    (void)scratch_file("plain", "x", 1);
    (void)unlink("fifo");
    assert_int_equal(mkfifo("fifo", 0600), 0);

    const struct {
        const char *path;
        const char *want;
    } rows[] = {
        {"no/such", "no/such: cannot open: No such file or directory"},
        {"plain/below", "plain/below: cannot open: Not a directory"},
        {".", ".: is a directory (allowed: a regular file)"},
        {"fifo", "fifo: is a device or pipe (allowed: a regular file)"},
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        cop_error err = {0};
        cop_file_map map;
        char *data = NULL;
        assert_int_equal(cop_file_map_open(&map, rows[i].path, &err), COP_ERR_IO);
        assert_string_equal(err.message, rows[i].want);
        assert_int_equal(cop_file_read(&data, NULL, rows[i].path, 10, &err), COP_ERR_IO);
        assert_string_equal(err.message, rows[i].want);
        assert_null(data);
    }
}

static void a_file_above_the_limit_is_refused(void **state)
{
    (void)state;
    cop_error err = {0};
    char *data = NULL;
    const char *path = scratch_file("four", "1234", 4);
    assert_int_equal(cop_file_read(&data, NULL, path, 3, &err), COP_ERR_FORMAT);
    assert_string_equal(err.message, "four: has 4 bytes (allowed: at most 3)");
    assert_int_equal(cop_file_read(&data, NULL, path, 4, &err), COP_OK);
    cop_free(data);
}

static void a_write_is_complete_or_absent(void **state)
{
    (void)state;
    cop_file_writer writer = COP_FILE_WRITER_CLOSED;
    cop_file_writer_release(&writer);
    put("atomic", "old");
    assert_int_equal(cop_file_writer_open(&writer, "atomic", NULL), COP_OK);
    assert_int_equal(cop_file_writer_write(&writer, "new", 3, NULL), COP_OK);
    assert_content("atomic", "old");
    cop_file_writer_release(&writer);
    assert_content("atomic", "old");
    assert_no_temporary_file("atomic");

    assert_int_equal(cop_file_writer_open(&writer, "atomic", NULL), COP_OK);
    assert_int_equal(cop_file_writer_write(&writer, "new", 3, NULL), COP_OK);
    assert_int_equal(cop_file_writer_write(&writer, "", 0, NULL), COP_OK);
    assert_int_equal(writer.bytes, 3);
    assert_int_equal(cop_file_writer_commit(&writer, NULL), COP_OK);
    cop_file_writer_release(&writer);
    assert_content("atomic", "new");
    assert_no_temporary_file("atomic");
}

static void pieces_of_any_size_arrive_in_order(void **state)
{
    (void)state;

    enum { TOTAL = 5 << 20 };

    static const size_t pieces[] = {1, 100, 4095, 1 << 20, (1 << 20) + 1, 3};
    cop_file_writer writer = COP_FILE_WRITER_CLOSED;
    unsigned char *data = cop_alloc(TOTAL, 1);
    assert_non_null(data);
    for (size_t i = 0; i < TOTAL; i++) {
        data[i] = (unsigned char)(i % 251);
    }
    assert_int_equal(cop_file_writer_open(&writer, "pieces", NULL), COP_OK);
    size_t at = 0;
    for (size_t i = 0; at < TOTAL; i++) {
        const size_t piece = pieces[i % COUNT_OF(pieces)];
        const size_t bytes = piece < TOTAL - at ? piece : TOTAL - at;
        assert_int_equal(cop_file_writer_write(&writer, data + at, bytes, NULL), COP_OK);
        at += bytes;
    }
    assert_int_equal(cop_file_writer_commit(&writer, NULL), COP_OK);
    assert_int_equal(cop_file_copy("pieces.copy", "pieces", NULL), COP_OK);

    cop_file_map map;
    assert_int_equal(cop_file_map_open(&map, "pieces.copy", NULL), COP_OK);
    assert_int_equal(map.bytes, TOTAL);
    assert_memory_equal(map.data, data, TOTAL);
    cop_file_map_forget(&map, 0, TOTAL);
    assert_memory_equal(map.data, data, TOTAL);
    cop_file_map_release(&map);
    cop_free(data);
}

static void a_full_disk_loses_nothing(void **state)
{
    (void)state;
    struct rlimit old;
    cop_error err = {0};
    char *data = cop_alloc(3 << 20, 1);
    assert_non_null(data);
    put("full", "old");
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    // The soft limit stands in for a full disk; without its signal, write() reports it.
    const struct rlimit small = {.rlim_cur = 1 << 20, .rlim_max = old.rlim_max};
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    const cop_status status = cop_file_write("full", data, 3 << 20, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(status, COP_ERR_IO);
    assert_string_equal(err.message, "full: cannot write: File too large");
    assert_content("full", "old");
    assert_no_temporary_file("full");
    cop_free(data);
}

static void says_why_a_file_cannot_be_written(void **state)
{
    (void)state;
    (void)scratch_file("plain", "x", 1);
    assert_int_equal(cop_file_make_directory("directory/inner", NULL), COP_OK);

    const struct {
        const char *path;
        const char *want;
    } rows[] = {
        {"plain/file", "plain/file: cannot create: Not a directory"},
        {"no/such/file", "no/such/file: cannot create: No such file or directory"},
        {"directory", "directory: cannot replace: Is a directory"},
        {"/proc/coppice", "/proc/coppice: cannot create: No such file or directory"},
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        cop_error err = {0};
        assert_int_equal(cop_file_write(rows[i].path, "x", 1, &err), COP_ERR_IO);
        assert_string_equal(err.message, rows[i].want);
        assert_no_temporary_file(rows[i].path);
    }
}

static void trees_are_made_and_removed(void **state)
{
    (void)state;
    cop_error err = {0};
    assert_int_equal(cop_file_remove_tree("tree", NULL), COP_OK);
    assert_int_equal(cop_file_make_directory("tree/a/b/c/", NULL), COP_OK);
    assert_int_equal(cop_file_make_directory("tree/a/b", NULL), COP_OK);
    assert_int_equal(cop_file_make_directory("", &err), COP_OK);
    put("tree/a/file", "1");
    put("tree/a/b/.hidden", "2");
    put("outside", "kept");
    assert_int_equal(cop_file_make_directory("target", NULL), COP_OK);
    put("target/file", "kept");
    assert_int_equal(symlink("../../outside", "tree/a/link"), 0);
    assert_int_equal(symlink("../target", "tree/directory-link"), 0);
    assert_int_equal(symlink("nowhere", "tree/dangling"), 0);
    assert_true(cop_file_exists("tree/dangling"));
    assert_true(cop_file_is_directory("tree/directory-link"));
    assert_int_equal(cop_file_remove_tree("tree", NULL), COP_OK);
    assert_false(cop_file_exists("tree"));
    assert_content("outside", "kept");
    assert_content("target/file", "kept");
    assert_int_equal(cop_file_remove_tree("outside", NULL), COP_OK);
    assert_false(cop_file_exists("outside"));

    (void)scratch_file("plain", "x", 1);
    assert_int_equal(cop_file_make_directory("plain/below", &err), COP_ERR_IO);
    assert_string_equal(err.message, "plain/below: cannot create the directory: Not a directory");
}

static void a_directory_is_replaced_as_a_whole(void **state)
{
    (void)state;
    cop_error err = {0};
    assert_int_equal(cop_file_remove_tree("to", NULL), COP_OK);
    assert_int_equal(cop_file_make_directory("from", NULL), COP_OK);
    put("from/new", "1");
    assert_int_equal(cop_file_replace_directory("to", "from", NULL), COP_OK);
    assert_content("to/new", "1");
    assert_false(cop_file_exists("from"));

    assert_int_equal(cop_file_make_directory("from", NULL), COP_OK);
    put("from/newer", "2");
    assert_int_equal(cop_file_replace_directory("to", "from", NULL), COP_OK);
    assert_content("to/newer", "2");
    assert_false(cop_file_exists("to/new"));
    assert_false(cop_file_exists("from"));

    assert_int_equal(cop_file_replace_directory("to", "absent", &err), COP_ERR_IO);
    assert_string_equal(err.message, "to: cannot replace: No such file or directory");
    assert_content("to/newer", "2"); // what was moved aside is back
}

static void existing_output_needs_force(void **state)
{
    (void)state;
    cop_error err = {0};
    put("output", "precious");
    assert_int_equal(cop_file_check_absent("output", false, &err), COP_ERR_IO);
    assert_string_equal(err.message, "output: exists already (allowed: a new path, or --force)");
    assert_int_equal(cop_file_check_absent("output", true, NULL), COP_OK);
    assert_int_equal(cop_file_check_absent("absent", false, NULL), COP_OK);
    assert_int_equal(cop_file_remove_tree("folder", NULL), COP_OK);
    assert_int_equal(cop_file_make_directory("folder", NULL), COP_OK);
    assert_int_equal(cop_file_check_absent("folder", false, NULL), COP_OK);
    put("folder/file", "precious");
    assert_int_equal(cop_file_check_absent("folder", false, NULL), COP_ERR_IO);
    (void)unlink("dangling");
    assert_int_equal(symlink("nowhere", "dangling"), 0);
    assert_int_equal(cop_file_check_absent("dangling", false, NULL), COP_ERR_IO);
}

static void paths_are_joined_and_split(void **state)
{
    (void)state;

    const struct {
        const char *directory;
        const char *name;
        const char *want;
    } rows[] = {{"a", "b", "a/b"}, {"a/", "b", "a/b"}, {"/", "b", "/b"}, {"", "b", "b"}};

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char *path = cop_file_join(rows[i].directory, rows[i].name);
        assert_string_equal(path, rows[i].want);
        assert_string_equal(cop_file_name(path), "b");
        cop_free(path);
    }
    assert_string_equal(cop_file_name("a/b/"), "");
}

static void survives_every_failed_allocation(void **state)
{
    (void)state;
    put("kept", "old");
    bool is_done = false;
    size_t failures = 0;
    for (size_t n = 0; !is_done; n++) {
        cop_error err = {0};
        cop_alloc_fail_after(n);
        const cop_status status = cop_file_copy("kept.copy", "kept", &err);
        cop_alloc_fail_after(SIZE_MAX);
        assert_int_equal(cop_alloc_live_blocks(), 0);
        is_done = status == COP_OK;
        failures += !is_done;
        if (!is_done) {
            assert_int_equal(status, COP_ERR_NOMEM);
            assert_non_null(strstr(err.message, "out of memory"));
            assert_no_temporary_file("kept.copy");
        }
    }
    assert_true(failures >= 4);
    assert_content("kept.copy", "old");
    cop_alloc_fail_after(0);
    assert_null(cop_file_join("a", "b"));
    assert_int_equal(cop_file_replace_directory("a", "b", NULL), COP_ERR_NOMEM);
    assert_int_equal(cop_file_make_directory("a", NULL), COP_ERR_NOMEM);
    cop_alloc_fail_after(SIZE_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(maps_what_is_there),
        cmocka_unit_test(says_why_a_file_cannot_be_read),
        cmocka_unit_test(a_file_above_the_limit_is_refused),
        cmocka_unit_test(a_write_is_complete_or_absent),
        cmocka_unit_test(pieces_of_any_size_arrive_in_order),
        cmocka_unit_test(a_full_disk_loses_nothing),
        cmocka_unit_test(says_why_a_file_cannot_be_written),
        cmocka_unit_test(trees_are_made_and_removed),
        cmocka_unit_test(a_directory_is_replaced_as_a_whole),
        cmocka_unit_test(existing_output_needs_force),
        cmocka_unit_test(paths_are_joined_and_split),
        cmocka_unit_test(survives_every_failed_allocation),
    };
    return cmocka_run_group_tests_name("file", tests, NULL, NULL);
}
