// Writing model directories: what they hold, what is refused, and what an interruption leaves.

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "model/checkpoint.h"
#include "model/safetensors.h"
#include "tests/model/sample.h"
#include "tests/support.h"

static void carries_the_tokenizer_over(void **state)
{
    (void)state;
    const cop_arch arch = sample_arch();
    const cop_checkpoint_options options = {.dtype = COP_BF16, .base = "teacher", .force = true};
    json_t *config = NULL;
    char *text = NULL;
    cop_error err = {0};
    const char teacher[] = "{\"model_type\": \"llama\", \"pad_token_id\": 5, \"vocab_size\": 9}";

    assert_int_equal(cop_file_make_directory("teacher", &err), COP_OK);
    scratch_file("teacher/config.json", teacher, strlen(teacher));
    scratch_file("teacher/tokenizer.json", "{}", 2);
    scratch_file("teacher/chat_template.jinja", "hello", 5);
    scratch_file("teacher/optimizer.pt", "no", 2);
    assert_int_equal(sample_write("student/", &arch, &options, &err), COP_OK);
    assert_int_equal(sample_count_files("student"), 4);
    assert_int_equal(cop_file_read(&text, NULL, "student/chat_template.jinja", 10, &err), COP_OK);
    assert_string_equal(text, "hello");
    assert_int_equal(cop_json_read(&config, "student/config.json", 10000, &err), COP_OK);
    assert_int_equal(json_integer_value(json_object_get(config, "pad_token_id")), 5);
    assert_int_equal(json_integer_value(json_object_get(config, "vocab_size")), 12);
    assert_string_equal(json_string_value(json_object_get(config, "torch_dtype")), "bfloat16");
    json_decref(config);
    cop_free(text);
}

static void keeps_other_files_and_provenance(void **state)
{
    (void)state;
    const cop_arch arch = sample_arch();
    const cop_checkpoint_options options = {
        .dtype = COP_F32, .force = true, .provenance = "made by a test"};
    cop_checkpoint_writer *writer = NULL;
    cop_safetensors *file = NULL;
    cop_error err = {0};
    float values[SAMPLE_ELEMENTS_MAX];

    assert_int_equal(cop_checkpoint_writer_create(&writer, "extra", &arch, &options, &err), COP_OK);
    for (int64_t t = 0; t < cop_arch_tensor_count(&arch); t++) {
        sample_fill(values, &arch, t);
        assert_int_equal(cop_checkpoint_writer_put(writer, t, COP_F32, values, &err), COP_OK);
    }
    assert_int_equal(cop_checkpoint_writer_file(writer, "state.json", "{}", 2, &err), COP_OK);
    assert_int_equal(cop_checkpoint_writer_file(writer, "../x", "{}", 2, &err), COP_ERR_CONFIG);
    assert_string_equal(err.message, "extra: file '../x' (allowed: a plain name without a folder)");
    assert_true(cop_file_is_directory(cop_checkpoint_writer_path(writer)));
    assert_int_equal(cop_checkpoint_writer_commit(writer, &err), COP_OK);
    cop_checkpoint_writer_destroy(writer);
    assert_true(cop_file_exists("extra/state.json"));
    assert_int_equal(cop_safetensors_open(&file, "extra/model.safetensors", &err), COP_OK);
    assert_string_equal(cop_safetensors_metadata(file, "format"), "pt");
    assert_string_equal(cop_safetensors_metadata(file, "coppice"), "made by a test");
    cop_safetensors_destroy(file);
}

static void takes_tensors_row_by_row(void **state)
{
    (void)state;
    const cop_arch arch = sample_arch();
    const cop_checkpoint_options options = {.dtype = COP_BF16, .force = true};
    cop_checkpoint_writer *writer = NULL;
    cop_error err = {0};
    assert_int_equal(cop_checkpoint_writer_create(&writer, "rows", &arch, &options, &err), COP_OK);
    const cop_tensor_sink sink = cop_checkpoint_writer_sink(writer);
    for (int64_t t = 0; t < cop_arch_tensor_count(&arch); t++) {
        const cop_tensor_spec spec = cop_arch_tensor(&arch, t);
        float values[SAMPLE_ELEMENTS_MAX];
        sample_fill(values, &arch, t);
        for (int64_t row = 0; row < spec.shape[0]; row++) {
            assert_int_equal(
                sink.put_rows(sink.context, t, COP_F32, row, 1, values + row * spec.shape[1], &err),
                COP_OK);
        }
        assert_int_equal(sink.put_rows(sink.context, t, COP_F32, 0, 1, values, &err),
                         COP_ERR_SHAPE);
    }
    assert_string_equal(err.message, "rows: lm_head.weight: was written already");
    assert_int_equal(cop_checkpoint_writer_commit(writer, &err), COP_OK);
    cop_checkpoint_writer_destroy(writer);
    cop_checkpoint *checkpoint = sample_open("rows");
    sample_check(checkpoint);
    cop_checkpoint_destroy(checkpoint);
}

static void refuses_rows_out_of_order(void **state)
{
    (void)state;
    const cop_arch arch = sample_arch();
    const cop_checkpoint_options options = {.dtype = COP_F32, .force = true};
    const float values[SAMPLE_ELEMENTS_MAX] = {0};
    cop_checkpoint_writer *writer = NULL;
    cop_error err = {0};
    assert_int_equal(cop_checkpoint_writer_create(&writer, "gap", &arch, &options, &err), COP_OK);
    const cop_tensor_sink sink = cop_checkpoint_writer_sink(writer);
    assert_int_equal(sink.put_rows(sink.context, 0, COP_F32, 0, 2, values, &err), COP_OK);
    assert_int_equal(sink.put_rows(sink.context, 0, COP_F32, 3, 1, values, &err), COP_ERR_SHAPE);
    assert_string_equal(err.message, "gap: model.embed_tokens.weight: 1 rows from row 3 (allowed: "
                                     "from row 2, up to row 12)");
    assert_int_equal(sink.put_rows(sink.context, 0, COP_F32, 2, 11, values, &err), COP_ERR_SHAPE);
    assert_int_equal(sink.put_rows(sink.context, 99, COP_F32, 0, 1, values, &err), COP_ERR_SHAPE);
    assert_int_equal(cop_checkpoint_writer_commit(writer, &err), COP_ERR_SHAPE);
    assert_string_equal(err.message, "gap: model.embed_tokens.weight: was never written");
    cop_checkpoint_writer_destroy(writer);
}

static void never_replaces_a_directory_without_being_told(void **state)
{
    (void)state;
    const cop_arch arch = sample_arch();
    const cop_checkpoint_options options = {.dtype = COP_F32};
    cop_error err = {0};
    sample_write_good("kept", COP_BF16, 0);
    assert_int_equal(sample_write("kept", &arch, &options, &err), COP_ERR_IO);
    assert_string_equal(err.message, "kept: exists already (allowed: a new path, or --force)");
    cop_checkpoint *checkpoint = sample_open("kept");
    assert_int_equal(cop_checkpoint_dtype(checkpoint), COP_BF16);
    cop_checkpoint_destroy(checkpoint);
}

static void asks_for_every_tensor_exactly_once(void **state)
{
    (void)state;
    const cop_arch arch = sample_arch();
    const cop_checkpoint_options options = {.dtype = COP_F32, .force = true};
    cop_checkpoint_writer *writer = NULL;
    cop_error err = {0};
    float values[SAMPLE_ELEMENTS_MAX];
    char temp[64];
    assert_int_equal(cop_file_remove_tree("once", &err), COP_OK);
    assert_int_equal(cop_checkpoint_writer_create(&writer, "once", &arch, &options, &err), COP_OK);
    sample_fill(values, &arch, 0);
    assert_int_equal(cop_checkpoint_writer_put(writer, 0, COP_F32, values, &err), COP_OK);
    assert_int_equal(cop_checkpoint_writer_put(writer, 0, COP_F32, values, &err), COP_ERR_SHAPE);
    assert_string_equal(err.message, "once: model.embed_tokens.weight: was written already");
    assert_int_equal(cop_checkpoint_writer_put(writer, 21, COP_F32, values, &err), COP_ERR_SHAPE);
    assert_string_equal(err.message, "once: tensor 21 (allowed: 0..20)");
    assert_int_equal(cop_checkpoint_writer_put(writer, 1, COP_I32, values, &err), COP_ERR_SHAPE);
    assert_string_equal(err.message, "once: model.layers.0.input_layernorm.weight: element type is "
                                     "i32 (allowed: f64, f32, bf16, f16)");
    assert_int_equal(cop_checkpoint_writer_commit(writer, &err), COP_ERR_SHAPE);
    assert_string_equal(err.message,
                        "once: model.layers.0.input_layernorm.weight: was never written");
    (void)snprintf(temp, sizeof temp, "once.tmp.%ld", (long)getpid());
    assert_true(cop_file_is_directory(temp));
    cop_checkpoint_writer_destroy(writer);
    assert_false(cop_file_exists(temp));
    assert_false(cop_file_exists("once"));
}

static void refuses_what_it_cannot_store(void **state)
{
    (void)state;
    cop_arch arch = sample_arch();
    cop_error err = {0};
    const cop_checkpoint_options wide = {.dtype = COP_F64, .force = true};
    const cop_checkpoint_options options = {.dtype = COP_F32, .force = true};
    assert_int_equal(cop_file_remove_tree("odd", &err), COP_OK);
    assert_int_equal(sample_write("odd", &arch, &wide, &err), COP_ERR_CONFIG);
    assert_string_equal(err.message, "odd: element type is f64 (allowed: f32, bf16, f16)");
    arch.layer[1].ffn = 4;
    assert_int_equal(sample_write("odd", &arch, &options, &err), COP_ERR_UNSUPPORTED);
    arch.layer[1].ffn = 0;
    assert_int_equal(sample_write("odd", &arch, &options, &err), COP_ERR_FORMAT);
    assert_string_equal(err.message, "odd: ffn of layer 1 is 0 (allowed: 1..1048576)");
    assert_false(cop_file_exists("odd"));
}

// A limit on the size of files stands for a full disk.
static void keeps_the_old_model_on_a_full_disk(void **state)
{
    (void)state;
    struct rlimit before;
    const cop_arch arch = sample_arch();
    const cop_checkpoint_options options = {.dtype = COP_F32, .force = true};
    cop_error err = {0};
    char temp[64];
    sample_write_good("full", COP_BF16, 0);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    const struct rlimit limit = {.rlim_cur = 5000, .rlim_max = before.rlim_max};
    assert_true(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    const cop_status status = sample_write("full", &arch, &options, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);

    assert_int_equal(status, COP_ERR_IO);
    assert_non_null(strstr(err.message, "/model.safetensors"));
    assert_non_null(strstr(err.message, ": File too large"));
    (void)snprintf(temp, sizeof temp, "full.tmp.%ld", (long)getpid());
    assert_false(cop_file_exists(temp));
    cop_checkpoint *checkpoint = sample_open("full");
    assert_int_equal(cop_checkpoint_dtype(checkpoint), COP_BF16);
    sample_check(checkpoint);
    cop_checkpoint_destroy(checkpoint);
}

static void survives_every_failed_allocation(void **state)
{
    (void)state;
    const cop_arch arch = sample_arch();
    const cop_checkpoint_options options = {.dtype = COP_BF16, .shard_bytes = 3000, .force = true};
    const size_t live_before = cop_alloc_live_blocks();
    cop_status status = COP_ERR_NOMEM;
    // Most allocations are those of one JSON text after the other: every seventh will do.
    for (size_t n = 0; status == COP_ERR_NOMEM && n < 5000; n += n < 50 ? 1 : 7) {
        cop_alloc_fail_after(n);
        status = sample_write("oom", &arch, &options, NULL);
        cop_alloc_fail_after(SIZE_MAX);
        assert_int_equal(cop_alloc_live_blocks(), live_before);
    }
    assert_int_equal(status, COP_OK);
}

static void keep_line(void *context, cop_log_level level, const char *line)
{
    if (level == COP_LOG_WARNING) {
        (void)snprintf(context, 256, "%s", line);
    }
}

static void warns_of_shapes_that_newer_releases_refuse(void **state)
{
    (void)state;
    cop_arch arch = sample_arch();
    const cop_checkpoint_options options = {.dtype = COP_F32, .force = true};
    char line[256] = "";
    cop_error err = {0};
    cop_log_set_sink(keep_line, line);
    assert_int_equal(sample_write("common", &arch, &options, &err), COP_OK);
    assert_string_equal(line, "");
    arch.hidden = 10;
    assert_int_equal(sample_write("rare", &arch, &options, &err), COP_OK);
    cop_log_set_sink(NULL, NULL);
    assert_string_equal(line, "rare: hidden 10 is no multiple of 4 heads: transformers 4 loads "
                              "this shape, transformers 5 refuses it");
    cop_checkpoint_destroy(sample_open("rare"));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(carries_the_tokenizer_over),
        cmocka_unit_test(keeps_other_files_and_provenance),
        cmocka_unit_test(takes_tensors_row_by_row),
        cmocka_unit_test(refuses_rows_out_of_order),
        cmocka_unit_test(never_replaces_a_directory_without_being_told),
        cmocka_unit_test(asks_for_every_tensor_exactly_once),
        cmocka_unit_test(refuses_what_it_cannot_store),
        cmocka_unit_test(keeps_the_old_model_on_a_full_disk),
        cmocka_unit_test(warns_of_shapes_that_newer_releases_refuse),
        cmocka_unit_test(survives_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
