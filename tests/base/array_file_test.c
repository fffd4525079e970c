#include "base/array_file.h"

#include <hdf5.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/file.h"
#include "tests/support.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

static const float reals[2][3] = {{1.5F, -2.0F, 0.1F}, {4.0F, 5.0F, 6.0F}};
static const int64_t matrix[] = {2, 3};

static void assert_no_temporary_file(const char *path)
{
    char temp_path[256];
    (void)snprintf(temp_path, sizeof temp_path, "%s.tmp.%ld", path, (long)getpid());
    assert_false(cop_file_exists(temp_path));
}

static cop_array_writer *create(const char *path)
{
    cop_array_writer *writer = NULL;
    cop_error err = {0};
    if (cop_array_writer_create(&writer, path, &err) != COP_OK) {
        fail_msg("%s", err.message);
    }
    return writer;
}

// Every element type, attributes, and a dataset written in row blocks.
static void write_sample(const char *path)
{
    const double f64[] = {0.1, 1e300};
    const int32_t i32[] = {-5, INT32_MAX};
    const int64_t i64[] = {INT64_MIN, 9007199254740993};
    const uint16_t bf16[] = {0x3f80, 0xc000};
    const int64_t two[] = {2};
    cop_array_writer *writer = create(path);
    assert_int_equal(cop_array_writer_put(writer, "head/l2_mean", COP_F32, 2, matrix, reals, NULL),
                     COP_OK);
    assert_int_equal(cop_array_writer_put(writer, "f64", COP_F64, 1, two, f64, NULL), COP_OK);
    assert_int_equal(cop_array_writer_put(writer, "i32", COP_I32, 1, two, i32, NULL), COP_OK);
    assert_int_equal(cop_array_writer_put(writer, "i64", COP_I64, 1, two, i64, NULL), COP_OK);
    assert_int_equal(cop_array_writer_put(writer, "bf16", COP_BF16, 1, two, bf16, NULL), COP_OK);
    const int64_t rows[] = {3, 2};
    assert_int_equal(cop_array_writer_make(writer, "rows", COP_I64, 2, rows, NULL), COP_OK);
    const int64_t blocks[] = {10, 11, 20, 21, 30, 31};
    assert_int_equal(cop_array_writer_put_rows(writer, "rows", 1, 2, blocks + 2, NULL), COP_OK);
    assert_int_equal(cop_array_writer_put_rows(writer, "rows", 0, 1, blocks, NULL), COP_OK);
    assert_int_equal(cop_array_writer_put_rows(writer, "rows", 3, 0, NULL, NULL), COP_OK);
    assert_int_equal(cop_array_writer_text(writer, "meta", "teacher", "e\xc3\xa9", NULL), COP_OK);
    assert_int_equal(cop_array_writer_text(writer, "meta", "teacher", "oak", NULL), COP_OK);
    assert_int_equal(cop_array_writer_text(writer, "", "empty", "", NULL), COP_OK);
    assert_int_equal(cop_array_writer_i64(writer, "/", "version", 3, NULL), COP_OK);
    assert_int_equal(cop_array_writer_f64(writer, "head/l2_mean", "scale", 0.25, NULL), COP_OK);
    assert_int_equal(cop_array_writer_commit(writer, NULL), COP_OK);
    cop_array_writer_destroy(writer);
}

static cop_array_reader *open_sample(void)
{
    cop_array_reader *reader = NULL;
    cop_error err = {0};
    write_sample("sample.h5");
    if (cop_array_reader_open(&reader, "sample.h5", &err) != COP_OK) {
        fail_msg("%s", err.message);
    }
    return reader;
}

static void arrays_come_back_as_they_were(void **state)
{
    (void)state;
    cop_array_reader *reader = open_sample();
    cop_dtype dtype = COP_U8;
    int rank = 0;
    int64_t shape[COP_ARRAY_RANK_MAX] = {0};
    float f32[6] = {0};
    double f64[6] = {0};
    int64_t i64[6] = {0};
    uint16_t bf16[2] = {0};
    const int64_t two[] = {2};

    assert_true(cop_array_reader_has(reader, "head/l2_mean"));
    assert_false(cop_array_reader_has(reader, "head"));
    assert_false(cop_array_reader_has(reader, "head/none"));
    assert_false(cop_array_reader_has(reader, "none/none"));
    assert_false(cop_array_reader_has(reader, ""));
    assert_int_equal(cop_array_reader_shape(reader, "head/l2_mean", &dtype, &rank, shape, NULL),
                     COP_OK);
    assert_int_equal(dtype, COP_F32);
    assert_int_equal(rank, 2);
    assert_int_equal(shape[0], 2);
    assert_int_equal(shape[1], 3);
    assert_int_equal(cop_array_reader_get(reader, "head/l2_mean", COP_F32, 2, matrix, f32, NULL),
                     COP_OK);
    assert_memory_equal(f32, reals, sizeof reals);
    assert_int_equal(cop_array_reader_get(reader, "head/l2_mean", COP_F64, 2, matrix, f64, NULL),
                     COP_OK);
    assert_true(f64[2] == (double)0.1F);
    assert_int_equal(cop_array_reader_get(reader, "f64", COP_F32, 1, two, f32, NULL), COP_OK);
    assert_true(f32[0] == 0.1F);
    assert_int_equal(cop_array_reader_get(reader, "i32", COP_I64, 1, two, i64, NULL), COP_OK);
    assert_int_equal(i64[0], -5);
    assert_int_equal(cop_array_reader_get(reader, "i64", COP_I64, 1, two, i64, NULL), COP_OK);
    assert_int_equal(i64[0], INT64_MIN);
    assert_int_equal(i64[1], 9007199254740993);
    assert_int_equal(cop_array_reader_get(reader, "bf16", COP_BF16, 1, two, bf16, NULL), COP_OK);
    assert_int_equal(bf16[1], 0xc000);
    assert_int_equal(cop_array_reader_get(reader, "bf16", COP_F64, 1, two, f64, NULL), COP_OK);
    assert_true(f64[0] == 1.0 && f64[1] == -2.0);
    assert_int_equal(cop_array_reader_get_rows(reader, "rows", COP_I64, 1, 2, i64, NULL), COP_OK);
    assert_int_equal(i64[0], 20);
    assert_int_equal(i64[3], 31);
    assert_int_equal(cop_array_reader_get_rows(reader, "rows", COP_I64, 3, 0, NULL, NULL), COP_OK);
    cop_array_reader_destroy(reader);
    assert_int_equal(cop_alloc_live_blocks(), 0);
}

static void attributes_come_back_as_they_were(void **state)
{
    (void)state;
    cop_array_reader *reader = open_sample();
    char *text = NULL;
    int64_t version = 0;
    double scale = 0.0;
    assert_int_equal(cop_array_reader_text(reader, "meta", "teacher", &text, NULL), COP_OK);
    assert_string_equal(text, "oak");
    cop_free(text);
    assert_int_equal(cop_array_reader_text(reader, "/", "empty", &text, NULL), COP_OK);
    assert_string_equal(text, "");
    cop_free(text);
    assert_int_equal(cop_array_reader_i64(reader, "", "version", &version, NULL), COP_OK);
    assert_int_equal(version, 3);
    assert_int_equal(cop_array_reader_f64(reader, "head/l2_mean", "scale", &scale, NULL), COP_OK);
    assert_true(scale == 0.25);
    assert_int_equal(cop_array_reader_f64(reader, "/", "version", &scale, NULL), COP_OK);
    assert_true(scale == 3.0);
    cop_array_reader_destroy(reader);
}

static void a_wrong_request_is_explained(void **state)
{
    (void)state;
    cop_array_reader *reader = open_sample();
    cop_error err = {0};
    double f64[6];
    uint16_t bf16[6];
    int64_t number;
    char *text = NULL;
    const int64_t wrong[] = {3, 2};

    assert_int_equal(cop_array_reader_get(reader, "none", COP_F32, 2, matrix, f64, &err),
                     COP_ERR_FORMAT);
    assert_string_equal(err.message, "sample.h5: has no array none");
    assert_int_equal(cop_array_reader_get(reader, "head/l2_mean", COP_F32, 2, wrong, f64, &err),
                     COP_ERR_SHAPE);
    assert_string_equal(err.message,
                        "sample.h5: head/l2_mean has the shape [2, 3] (allowed: [3, 2])");
    assert_int_equal(cop_array_reader_get(reader, "head/l2_mean", COP_F32, 1, wrong, f64, &err),
                     COP_ERR_SHAPE);
    assert_int_equal(cop_array_reader_get(reader, "head/l2_mean", COP_BF16, 2, matrix, bf16, &err),
                     COP_ERR_FORMAT);
    assert_string_equal(err.message,
                        "sample.h5: head/l2_mean holds f32, which cannot be read as bf16");
    assert_int_equal(cop_array_reader_get_rows(reader, "rows", COP_I64, 2, 2, &number, &err),
                     COP_ERR_SHAPE);
    assert_string_equal(err.message, "sample.h5: rows 2..+2 of rows (allowed: 0..3)");
    assert_int_equal(cop_array_reader_i64(reader, "/", "none", &number, &err), COP_ERR_FORMAT);
    assert_string_equal(err.message, "sample.h5: / has no attribute none");
    assert_int_equal(cop_array_reader_i64(reader, "absent/group", "none", &number, &err),
                     COP_ERR_FORMAT);
    assert_string_equal(err.message, "sample.h5: absent/group has no attribute none");
    assert_int_equal(cop_array_reader_i64(reader, "meta", "teacher", &number, &err),
                     COP_ERR_FORMAT);
    assert_string_equal(err.message, "sample.h5: attribute teacher of meta is no integer");
    assert_int_equal(cop_array_reader_text(reader, "/", "version", &text, &err), COP_ERR_FORMAT);
    assert_string_equal(err.message, "sample.h5: attribute version of / is no text");
    assert_null(text);
    cop_array_reader_destroy(reader);
}

static void a_wrong_write_is_explained(void **state)
{
    (void)state;
    cop_error err = {0};
    const int64_t negative[] = {-1};
    const int64_t one[] = {1, 1, 1, 1, 1};
    cop_array_writer *writer = create("wrong.h5");
    assert_int_equal(cop_array_writer_put(writer, "u8", COP_U8, 1, one, "x", &err),
                     COP_ERR_UNSUPPORTED);
    assert_string_equal(err.message, "wrong.h5: u8 has elements of type u8 (allowed: f32, f64, "
                                     "i32, i64, bf16)");
    assert_int_equal(cop_array_writer_put(writer, "deep", COP_F32, 5, one, reals, &err),
                     COP_ERR_SHAPE);
    assert_string_equal(err.message, "wrong.h5: deep has 5 dimensions (allowed: 1..4)");
    assert_int_equal(cop_array_writer_put(writer, "neg", COP_F32, 1, negative, reals, &err),
                     COP_ERR_SHAPE);
    assert_string_equal(err.message,
                        "wrong.h5: dimension 0 of neg is -1 (allowed: 0..1152921504606846975)");
    assert_int_equal(cop_array_writer_put_rows(writer, "none", 0, 1, reals, &err), COP_ERR_IO);
    assert_int_equal(cop_array_writer_put(writer, "a", COP_F32, 1, one, reals, &err), COP_OK);
    assert_int_equal(cop_array_writer_put(writer, "a", COP_F32, 1, one, reals, &err), COP_ERR_IO);
    assert_string_equal(err.message, "wrong.h5: cannot make a: name already exists");
    assert_int_equal(cop_array_writer_put_rows(writer, "a", 1, 1, reals, &err), COP_ERR_SHAPE);
    assert_string_equal(err.message, "wrong.h5: rows 1..+1 of a (allowed: 0..1)");
    cop_array_writer_destroy(writer);
    assert_false(cop_file_exists("wrong.h5"));
    assert_no_temporary_file("wrong.h5");

    (void)scratch_file("plain", "x", 1);
    assert_int_equal(cop_array_writer_create(&writer, "plain/x.h5", &err), COP_ERR_IO);
    assert_string_equal(err.message, "plain/x.h5: cannot create: Not a directory");
    assert_null(writer);
}

static void an_empty_array_is_an_array(void **state)
{
    (void)state;
    const int64_t none[] = {0, 3};
    cop_dtype dtype = COP_U8;
    int rank = 0;
    int64_t shape[COP_ARRAY_RANK_MAX] = {9, 9, 9, 9};
    cop_array_reader *reader = NULL;
    cop_array_writer *writer = create("none.h5");
    assert_int_equal(cop_array_writer_put(writer, "x", COP_F32, 2, none, NULL, NULL), COP_OK);
    assert_int_equal(cop_array_writer_commit(writer, NULL), COP_OK);
    cop_array_writer_destroy(writer);
    assert_int_equal(cop_array_reader_open(&reader, "none.h5", NULL), COP_OK);
    assert_int_equal(cop_array_reader_shape(reader, "x", &dtype, &rank, shape, NULL), COP_OK);
    assert_int_equal(shape[0], 0);
    assert_int_equal(shape[1], 3);
    assert_int_equal(cop_array_reader_get(reader, "x", COP_F32, 2, none, NULL, NULL), COP_OK);
    cop_array_reader_destroy(reader);
}

// A contiguous array is one run of bytes of the file; anything else is refused.
static void raw_elements_can_be_located(void **state)
{
    (void)state;
    static const uint16_t narrow[2][3] = {{1, 2, 3}, {4, 5, 6}};
    cop_array_reader *reader = NULL;
    cop_error err = {0};
    uint64_t offset = 0;
    float found[2][3];
    uint16_t found_narrow[2][3];
    cop_array_writer *writer = create("raw.h5");
    assert_int_equal(cop_array_writer_put(writer, "reals", COP_F32, 2, matrix, reals, &err),
                     COP_OK);
    assert_int_equal(cop_array_writer_put(writer, "narrow", COP_BF16, 2, matrix, narrow, &err),
                     COP_OK);
    assert_int_equal(cop_array_writer_commit(writer, &err), COP_OK);
    cop_array_writer_destroy(writer);

    FILE *file = fopen("raw.h5", "rb");
    assert_non_null(file);
    assert_int_equal(cop_array_reader_open(&reader, "raw.h5", &err), COP_OK);
    assert_int_equal(cop_array_reader_locate(reader, "reals", COP_F32, &offset, &err), COP_OK);
    assert_int_equal(fseek(file, (long)offset, SEEK_SET), 0);
    assert_int_equal(fread(found, sizeof found, 1, file), 1);
    assert_memory_equal(found, reals, sizeof found);
    assert_int_equal(cop_array_reader_locate(reader, "narrow", COP_BF16, &offset, &err), COP_OK);
    assert_int_equal(fseek(file, (long)offset, SEEK_SET), 0);
    assert_int_equal(fread(found_narrow, sizeof found_narrow, 1, file), 1);
    assert_memory_equal(found_narrow, narrow, sizeof found_narrow);
    (void)fclose(file);

    assert_int_equal(cop_array_reader_locate(reader, "reals", COP_BF16, &offset, &err),
                     COP_ERR_FORMAT);
    assert_string_equal(err.message, "raw.h5: reals holds f32 (allowed: bf16)");
    assert_int_equal(cop_array_reader_locate(reader, "none", COP_F32, &offset, &err),
                     COP_ERR_FORMAT);
    cop_array_reader_destroy(reader);

    // In chunks, and in the other byte order.
    const hsize_t sizes[2] = {2, 3};
    const hid_t out = H5Fcreate("chunked.h5", H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    const hid_t space = H5Screate_simple(2, sizes, NULL);
    const hid_t chunks = H5Pcreate(H5P_DATASET_CREATE);
    assert_true(H5Pset_chunk(chunks, 2, sizes) >= 0);
    const hid_t first =
        H5Dcreate2(out, "chunked", H5T_IEEE_F32LE, space, H5P_DEFAULT, chunks, H5P_DEFAULT);
    const hid_t second =
        H5Dcreate2(out, "swapped", H5T_IEEE_F32BE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(H5Dwrite(first, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, reals) >= 0);
    assert_true(H5Dwrite(second, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, reals) >= 0);
    (void)H5Dclose(second);
    (void)H5Dclose(first);
    (void)H5Pclose(chunks);
    (void)H5Sclose(space);
    (void)H5Fclose(out);
    assert_int_equal(cop_array_reader_open(&reader, "chunked.h5", &err), COP_OK);
    assert_int_equal(cop_array_reader_locate(reader, "chunked", COP_F32, &offset, &err),
                     COP_ERR_UNSUPPORTED);
    assert_string_equal(err.message,
                        "chunked.h5: chunked is not stored as it is in memory (allowed: a "
                        "contiguous array, unfiltered, little-endian)");
    assert_int_equal(cop_array_reader_locate(reader, "swapped", COP_F32, &offset, &err),
                     COP_ERR_UNSUPPORTED);
    cop_array_reader_destroy(reader);
}

static void an_unfinished_file_is_absent(void **state)
{
    (void)state;
    write_sample("old.h5");
    cop_array_writer *writer = create("old.h5");
    assert_int_equal(cop_array_writer_put(writer, "x", COP_F32, 2, matrix, reals, NULL), COP_OK);
    cop_array_writer_destroy(writer);
    assert_no_temporary_file("old.h5");
    cop_array_reader *reader = NULL;
    assert_int_equal(cop_array_reader_open(&reader, "old.h5", NULL), COP_OK);
    assert_true(cop_array_reader_has(reader, "head/l2_mean"));
    cop_array_reader_destroy(reader);
    cop_array_writer_destroy(NULL);
    cop_array_reader_destroy(NULL);
}

static void a_full_disk_loses_nothing(void **state)
{
    (void)state;
    struct rlimit old;
    cop_error err = {0};
    const int64_t shape[] = {1 << 20};
    float *data = cop_alloc(1 << 20, sizeof *data);
    assert_non_null(data);
    write_sample("full.h5");
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    // The soft limit stands in for a full disk: in the file's header, its data, its second array.
    (void)signal(SIGXFSZ, SIG_IGN);
    const rlim_t limits[] = {100, 1000, 100000, (rlim_t)4 << 20, ((rlim_t)4 << 20) + 70000};
    for (size_t i = 0; i < COUNT_OF(limits); i++) {
        cop_array_writer *writer = NULL;
        const struct rlimit small = {.rlim_cur = limits[i], .rlim_max = old.rlim_max};
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
        cop_status status = cop_array_writer_create(&writer, "full.h5", &err);
        for (int j = 0; j < 2 && status == COP_OK; j++) {
            char name[8];
            (void)snprintf(name, sizeof name, "x%d", j);
            status = cop_array_writer_put(writer, name, COP_F32, 1, shape, data, &err);
        }
        cop_array_writer_destroy(writer);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
        assert_int_equal(status, COP_ERR_IO);
        assert_string_equal(err.message, "full.h5: cannot reserve room: File too large");
        assert_no_temporary_file("full.h5");
    }
    cop_free(data);
    // The old file is whole, and the library is still usable.
    cop_array_reader *reader = NULL;
    assert_int_equal(cop_array_reader_open(&reader, "full.h5", NULL), COP_OK);
    assert_true(cop_array_reader_has(reader, "rows"));
    cop_array_reader_destroy(reader);
    assert_int_equal(H5Fget_obj_count((hid_t)H5F_OBJ_ALL, H5F_OBJ_ALL), 0);
}

// A disk that fails later than it was asked: HDF5 then never closes the file, and used to crash
// when the process ended.
static void a_failing_disk_does_not_crash_the_process(void **state)
{
    (void)state;
    struct rlimit old;
    cop_error err = {0};
    cop_array_writer *writer = create("failing.h5");
    assert_int_equal(cop_array_writer_put(writer, "x", COP_F32, 2, matrix, reals, NULL), COP_OK);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    const struct rlimit small = {.rlim_cur = 100, .rlim_max = old.rlim_max};
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    const cop_status status = cop_array_writer_commit(writer, &err);
    cop_array_writer_destroy(writer);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(status, COP_ERR_IO);
    assert_memory_equal(err.message, "failing.h5: cannot ", strlen("failing.h5: cannot "));
    assert_false(cop_file_exists("failing.h5"));
    assert_no_temporary_file("failing.h5");
    write_sample("after.h5"); // the library is still usable
}

static void a_foreign_file_is_refused(void **state)
{
    (void)state;
    cop_error err = {0};
    cop_array_reader *reader = NULL;
    assert_int_equal(cop_array_reader_open(&reader, scratch_file("text.h5", "no HDF5", 7), &err),
                     COP_ERR_FORMAT);
    assert_string_equal(err.message,
                        "text.h5: cannot read it as an HDF5 file: file signature not found");
    assert_null(reader);
    assert_int_equal(cop_array_reader_open(&reader, "absent.h5", &err), COP_ERR_IO);
    assert_string_equal(err.message, "absent.h5: cannot open: No such file or directory");

    // Cut anywhere, the file is refused or its arrays are, and nothing crashes.
    char *data = NULL;
    size_t bytes = 0;
    write_sample("whole.h5");
    assert_int_equal(cop_file_read(&data, &bytes, "whole.h5", 1 << 20, NULL), COP_OK);
    for (size_t cut = 0; cut < bytes; cut += 97) {
        float f32[6];
        if (cop_array_reader_open(&reader, scratch_file("cut.h5", data, cut), &err) == COP_OK) {
            assert_int_not_equal(
                cop_array_reader_get(reader, "head/l2_mean", COP_F32, 2, matrix, f32, &err),
                COP_OK);
            cop_array_reader_destroy(reader);
        }
    }
    cop_free(data);
}

static void survives_every_failed_allocation(void **state)
{
    (void)state;
    write_sample("sweep.h5");
    bool is_done = false;
    size_t failures = 0;
    for (size_t n = 0; !is_done; n++) {
        cop_error err = {0};
        cop_array_writer *writer = NULL;
        cop_array_reader *reader = NULL;
        char *text = NULL;
        double f64[2];
        const int64_t two[] = {2};
        cop_alloc_fail_after(n);
        cop_status status = cop_array_writer_create(&writer, "swept.h5", &err);
        if (status == COP_OK) {
            status = cop_array_writer_put(writer, "x", COP_F32, 2, matrix, reals, &err);
        }
        if (status == COP_OK) {
            status = cop_array_writer_commit(writer, &err);
        }
        if (status == COP_OK) {
            status = cop_array_reader_open(&reader, "sweep.h5", &err);
        }
        if (status == COP_OK) {
            status = cop_array_reader_text(reader, "meta", "teacher", &text, &err);
        }
        if (status == COP_OK) {
            status = cop_array_reader_get(reader, "bf16", COP_F64, 1, two, f64, &err);
        }
        cop_alloc_fail_after(SIZE_MAX);
        cop_free(text);
        cop_array_writer_destroy(writer);
        cop_array_reader_destroy(reader);
        assert_int_equal(cop_alloc_live_blocks(), 0);
        assert_int_equal(H5Fget_obj_count((hid_t)H5F_OBJ_ALL, H5F_OBJ_ALL), 0);
        is_done = status == COP_OK;
        failures += !is_done;
    }
    assert_true(failures > 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arrays_come_back_as_they_were),
        cmocka_unit_test(attributes_come_back_as_they_were),
        cmocka_unit_test(a_wrong_request_is_explained),
        cmocka_unit_test(a_wrong_write_is_explained),
        cmocka_unit_test(an_empty_array_is_an_array),
        cmocka_unit_test(raw_elements_can_be_located),
        cmocka_unit_test(an_unfinished_file_is_absent),
        cmocka_unit_test(a_full_disk_loses_nothing),
        cmocka_unit_test(a_foreign_file_is_refused),
        cmocka_unit_test(survives_every_failed_allocation),
        cmocka_unit_test(a_failing_disk_does_not_crash_the_process), // last: it leaks in HDF5
    };
    return cmocka_run_group_tests_name("array_file", tests, NULL, NULL);
}
