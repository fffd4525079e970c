// Model directories: what is read back, what is refused, and what an interruption leaves.

#include "model/checkpoint.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"
#include "model/arch_json.h"
#include "model/safetensors.h"
#include "tests/support.h"

static cop_arch tiny_arch(void)
{
    cop_arch arch = {.family = COP_FAMILY_LLAMA,
                     .vocab = 12,
                     .hidden = 8,
                     .head_dim = 6,
                     .context = 64,
                     .layers = 2,
                     .norm = COP_NORM_RMS,
                     .norm_eps = 1e-5,
                     .activation = COP_ACTIVATION_SILU,
                     .is_gated = true,
                     .rope = {.theta = 1e4, .partial = 1.0},
                     .initializer_range = 0.02,
                     .bos = 1,
                     .eos = 2};
    arch.layer[0] = arch.layer[1] = (cop_layer_arch){.heads = 4, .kv_heads = 2, .ffn = 20};
    return arch;
}

enum { ELEMENTS_MAX = 1024 };

// A value that bf16 holds exactly, another for each tensor and place.
static float value_of(int64_t tensor, int64_t i)
{
    return (float)((tensor * 31 + i * 7) % 251 - 125) / 64.0f;
}

static int64_t fill(float *out, const cop_arch *arch, int64_t tensor)
{
    const cop_tensor_spec spec = cop_arch_tensor(arch, tensor);
    const int64_t count = spec.shape[0] * spec.shape[1];
    assert_true(count <= ELEMENTS_MAX);
    for (int64_t i = 0; i < count; i++) {
        out[i] = value_of(tensor, i);
    }
    return count;
}

static cop_status write_model(const char *directory, const cop_arch *arch,
                              const cop_checkpoint_options *options, cop_error *err)
{
    cop_checkpoint_writer *writer = NULL;
    cop_tensor_sink sink = {0};
    cop_status status = COP_OK;
    COP_TRY(status, cop_checkpoint_writer_create(&writer, directory, arch, options, err));
    sink = cop_checkpoint_writer_sink(writer);
    // Backwards: any order is fine.
    for (int64_t t = cop_arch_tensor_count(arch) - 1; t >= 0; t--) {
        float values[ELEMENTS_MAX];
        fill(values, arch, t);
        COP_TRY(status, sink.put(sink.context, t, COP_F32, values, err));
    }
    COP_TRY(status, cop_checkpoint_writer_commit(writer, err));

done:
    cop_checkpoint_writer_destroy(writer);
    return status;
}

static void write_good(const char *directory, cop_dtype dtype, uint64_t shard_bytes)
{
    const cop_arch arch = tiny_arch();
    const cop_checkpoint_options options = {
        .dtype = dtype, .shard_bytes = shard_bytes, .force = true, .provenance = "a test"};
    cop_error err = {0};
    assert_int_equal(write_model(directory, &arch, &options, &err), COP_OK);
    assert_string_equal(err.message, "");
}

static cop_checkpoint *open_good(const char *directory)
{
    cop_checkpoint *checkpoint = NULL;
    cop_error err = {0};
    const cop_status status = cop_checkpoint_open(&checkpoint, directory, &err);
    assert_string_equal(err.message, "");
    assert_int_equal(status, COP_OK);
    return checkpoint;
}

static void assert_values(const cop_checkpoint *checkpoint)
{
    const cop_arch *arch = cop_checkpoint_arch(checkpoint);
    for (int64_t t = 0; t < cop_arch_tensor_count(arch); t++) {
        float want[ELEMENTS_MAX];
        float got[ELEMENTS_MAX] = {0};
        double wide[ELEMENTS_MAX] = {0};
        uint16_t narrow[ELEMENTS_MAX] = {0};
        const int64_t count = fill(want, arch, t);
        assert_int_equal(cop_checkpoint_read(checkpoint, t, COP_F32, got, NULL), COP_OK);
        assert_int_equal(cop_checkpoint_read(checkpoint, t, COP_F64, wide, NULL), COP_OK);
        assert_int_equal(cop_checkpoint_read(checkpoint, t, COP_BF16, narrow, NULL), COP_OK);
        assert_memory_equal(got, want, (size_t)count * sizeof *want);
        for (int64_t i = 0; i < count; i++) {
            assert_true(wide[i] == (double)want[i]);
            assert_true(cop_bf16_to_f32(narrow[i]) == want[i]);
        }
    }
}

static int count_files(const char *directory)
{
    int count = 0;
    DIR *folder = opendir(directory);
    assert_non_null(folder);
    for (const struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder)) {
        count += entry->d_name[0] != '.' ? 1 : 0;
    }
    assert_int_equal(closedir(folder), 0);
    return count;
}

static void reads_back_what_it_wrote(void **state)
{
    (void)state;

    static const struct {
        cop_dtype dtype;
        uint64_t shard_bytes;
        int files;
    } rows[] = {
        {COP_F32, 0, 2},       // config.json, model.safetensors
        {COP_BF16, 0, 2},      //
        {COP_F32, 2000, 8},    // six shards with the index
        {COP_BF16, 1, 2 + 21}, // one shard for each tensor
    };

    cop_hash hashes[4];

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        cop_error err = {0};
        write_good("model", rows[i].dtype, rows[i].shard_bytes);
        assert_int_equal(count_files("model"), rows[i].files);
        cop_checkpoint *checkpoint = open_good("model");
        assert_string_equal(cop_checkpoint_path(checkpoint), "model");
        assert_int_equal(cop_checkpoint_dtype(checkpoint), rows[i].dtype);
        assert_int_equal(cop_checkpoint_arch(checkpoint)->head_dim, 6);
        assert_values(checkpoint);
        assert_int_equal(cop_checkpoint_hash(checkpoint, &hashes[i], &err), COP_OK);
        cop_dtype dtype = COP_U8;
        assert_non_null(cop_checkpoint_view(checkpoint, 3, &dtype));
        assert_int_equal(dtype, rows[i].dtype);
        cop_checkpoint_destroy(checkpoint);
    }
    // The hash is of the content, not of the shards.
    assert_true(hashes[0].low == hashes[2].low && hashes[0].high == hashes[2].high);
    assert_true(hashes[1].low == hashes[3].low && hashes[1].high == hashes[3].high);
    assert_true(hashes[0].low != hashes[1].low);
}

static void reads_what_transformers_wrote(void **state)
{
    (void)state;

    static const struct {
        const char *name;
        int64_t tensors;
    } rows[] = {{"llama", 21},    {"llama_tied_rope3", 20},      {"llama_bias", 35},
                {"nemotron", 24}, {"nemotron_tied_partial", 23}, {"nemotron_bias", 36}};

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char path[512];
        snprintf(path, sizeof path, "%s/tests/golden/%s", COP_SOURCE_DIR, rows[i].name);
        cop_checkpoint *checkpoint = open_good(path);
        assert_int_equal(cop_arch_tensor_count(cop_checkpoint_arch(checkpoint)), rows[i].tensors);
        cop_checkpoint_destroy(checkpoint);
    }
}

static void hashes_architecture_and_weights(void **state)
{
    (void)state;
    cop_arch arch = tiny_arch();
    const cop_checkpoint_options options = {.dtype = COP_F32, .force = true};
    cop_hash first = {0};
    cop_hash second = {0};
    cop_error err = {0};
    write_good("hashed", COP_F32, 0);
    cop_checkpoint *checkpoint = open_good("hashed");
    assert_int_equal(cop_checkpoint_hash(checkpoint, &first, &err), COP_OK);
    assert_int_equal(cop_checkpoint_hash(checkpoint, &second, &err), COP_OK);
    assert_true(first.low == second.low && first.high == second.high);
    cop_checkpoint_destroy(checkpoint);

    arch.rope.theta = 2e4; // the same weights
    assert_int_equal(write_model("hashed", &arch, &options, &err), COP_OK);
    checkpoint = open_good("hashed");
    assert_int_equal(cop_checkpoint_hash(checkpoint, &second, &err), COP_OK);
    assert_true(first.low != second.low);
    cop_checkpoint_destroy(checkpoint);
}

static void carries_the_tokenizer_over(void **state)
{
    (void)state;
    const cop_arch arch = tiny_arch();
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
    assert_int_equal(write_model("student/", &arch, &options, &err), COP_OK);
    assert_int_equal(count_files("student"), 4);
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
    const cop_arch arch = tiny_arch();
    const cop_checkpoint_options options = {
        .dtype = COP_F32, .force = true, .provenance = "made by a test"};
    cop_checkpoint_writer *writer = NULL;
    cop_safetensors *file = NULL;
    cop_error err = {0};
    float values[ELEMENTS_MAX];

    assert_int_equal(cop_checkpoint_writer_create(&writer, "extra", &arch, &options, &err), COP_OK);
    for (int64_t t = 0; t < cop_arch_tensor_count(&arch); t++) {
        fill(values, &arch, t);
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
    const cop_arch arch = tiny_arch();
    const cop_checkpoint_options options = {.dtype = COP_BF16, .force = true};
    cop_checkpoint_writer *writer = NULL;
    cop_error err = {0};
    assert_int_equal(cop_checkpoint_writer_create(&writer, "rows", &arch, &options, &err), COP_OK);
    const cop_tensor_sink sink = cop_checkpoint_writer_sink(writer);
    for (int64_t t = 0; t < cop_arch_tensor_count(&arch); t++) {
        const cop_tensor_spec spec = cop_arch_tensor(&arch, t);
        float values[ELEMENTS_MAX];
        fill(values, &arch, t);
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
    cop_checkpoint *checkpoint = open_good("rows");
    assert_values(checkpoint);
    cop_checkpoint_destroy(checkpoint);
}

static void refuses_rows_out_of_order(void **state)
{
    (void)state;
    const cop_arch arch = tiny_arch();
    const cop_checkpoint_options options = {.dtype = COP_F32, .force = true};
    const float values[ELEMENTS_MAX] = {0};
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

// --- Refusals -----------------------------------------------------------------------------------

// Writes bad/model.safetensors with the tensors of the tiny model, changed by `change`.
typedef struct change {
    int64_t skip;     // this tensor is left out; -1: none
    int64_t index;    // this one has another name, dtype or shape; -1: none
    const char *name; // NULL: the right one
    cop_dtype dtype;
    int64_t rows_more;
    int rank_less;
    const char *extra; // one more tensor
} change;

static void write_bad(const change *c, const cop_arch *arch)
{
    cop_tensor_spec specs[64];
    cop_safetensors_entry entries[64];
    int64_t count = 0;
    cop_safetensors_writer *writer = NULL;
    cop_error err = {0};
    uint64_t bytes = 0;
    for (int64_t t = 0; t < cop_arch_tensor_count(arch); t++) {
        if (t == c->skip) {
            continue;
        }
        const bool is_changed = t == c->index;
        specs[t] = cop_arch_tensor(arch, t);
        entries[count] = (cop_safetensors_entry){
            .name = is_changed && c->name != NULL ? c->name : specs[t].name,
            .dtype = is_changed ? c->dtype : COP_F32,
            .rank = specs[t].rank - (is_changed ? c->rank_less : 0),
            .shape = {specs[t].shape[0] + (is_changed ? c->rows_more : 0), specs[t].shape[1]}};
        count++;
    }
    if (c->extra != NULL) {
        entries[count++] =
            (cop_safetensors_entry){.name = c->extra, .dtype = COP_F32, .rank = 1, .shape = {3}};
    }
    for (int64_t i = 0; i < count; i++) {
        uint64_t size = cop_dtype_bytes(entries[i].dtype);
        for (int d = 0; d < entries[i].rank; d++) {
            size *= (uint64_t)entries[i].shape[d];
        }
        bytes += size;
    }
    void *data = cop_alloc(bytes, 1);
    assert_int_equal(
        cop_safetensors_writer_create(&writer, "bad/model.safetensors", entries, count, NULL, &err),
        COP_OK);
    assert_int_equal(cop_safetensors_writer_put(writer, data, bytes, &err), COP_OK);
    assert_int_equal(cop_safetensors_writer_commit(writer, &err), COP_OK);
    cop_safetensors_writer_destroy(writer);
    cop_free(data);
}

static void says_which_tensor_is_wrong(void **state)
{
    (void)state;

    static const struct {
        change change;
        const char *want; // NULL: fine
    } rows[] = {
        {{.skip = -1, .index = -1}, NULL},
        {{.skip = 4, .index = -1}, "bad: model.layers.0.self_attn.v_proj.weight: is missing"},
        {{.skip = 20, .index = -1}, "bad: lm_head.weight: is missing"},
        {{.skip = -1, .index = 2, .dtype = COP_I32},
         "bad/model.safetensors: model.layers.0.self_attn.q_proj.weight: dtype is i32 (allowed: "
         "f32, bf16, f16, f64)"},
        {{.skip = -1, .index = 2, .dtype = COP_F16}, NULL},
        {{.skip = -1, .index = 2, .rows_more = 1},
         "bad/model.safetensors: model.layers.0.self_attn.q_proj.weight: shape is [25, 8] "
         "(allowed: [24, 8], which follows from config.json)"},
        {{.skip = -1, .index = 2, .rank_less = 1},
         "bad/model.safetensors: model.layers.0.self_attn.q_proj.weight: shape is [24] (allowed: "
         "[24, 8], which follows from config.json)"},
        {{.skip = -1, .index = 1, .rank_less = 1},
         "bad/model.safetensors: model.layers.0.input_layernorm.weight: shape is a scalar "
         "(allowed: [8], which follows from config.json)"},
        {{.skip = -1, .index = 2, .name = "model.layers.0.self_attn.q_norm.weight"},
         "bad/model.safetensors: model.layers.0.self_attn.q_norm.weight: the architecture in "
         "config.json has no such tensor"},
        {{.skip = -1, .index = -1, .extra = "model.layers.2.mlp.up_proj.weight"},
         "bad/model.safetensors: model.layers.2.mlp.up_proj.weight: the architecture in "
         "config.json has no such tensor"},
        {{.skip = -1, .index = -1, .extra = "model.layers.0.self_attn.rotary_emb.inv_freq"}, NULL},
    };

    const cop_arch arch = tiny_arch();
    write_good("bad", COP_F32, 0);

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        cop_checkpoint *checkpoint = NULL;
        cop_error err = {0};
        write_bad(&rows[i].change, &arch);
        assert_int_equal(cop_checkpoint_open(&checkpoint, "bad", &err),
                         rows[i].want == NULL ? COP_OK : COP_ERR_FORMAT);
        assert_string_equal(err.message, rows[i].want == NULL ? "" : rows[i].want);
        assert_int_equal(checkpoint != NULL, rows[i].want == NULL);
        cop_checkpoint_destroy(checkpoint);
    }
}

static void allows_a_stored_head_beside_a_tied_embedding(void **state)
{
    (void)state;
    cop_arch arch = tiny_arch();
    arch.is_tied = true;
    const cop_checkpoint_options options = {.dtype = COP_F32, .force = true};
    const change extra = {.skip = -1, .index = -1, .extra = "lm_head.weight"};
    cop_error err = {0};
    assert_int_equal(write_model("bad", &arch, &options, &err), COP_OK);
    write_bad(&extra, &arch);
    cop_checkpoint_destroy(open_good("bad"));
}

static void says_what_is_wrong_with_an_index(void **state)
{
    (void)state;

    static const struct {
        const char *index; // NULL: none at all
        cop_status status;
        const char *want;
    } rows[] = {
        {NULL, COP_ERR_IO,
         "sharded: holds no weights (allowed: model.safetensors, or model.safetensors.index.json "
         "with its files)"},
        {"{", COP_ERR_FORMAT,
         "sharded/model.safetensors.index.json:1:1: string or '}' expected near end of file"},
        {"{}", COP_ERR_FORMAT,
         "sharded/model.safetensors.index.json: weight_map is missing (allowed: an object of "
         "tensor names and files)"},
        {"{\"weight_map\": {\"a\": 1}}", COP_ERR_FORMAT,
         "sharded/model.safetensors.index.json: weight_map: a: file is '' (allowed: the name of a "
         "file beside it)"},
        {"{\"weight_map\": {\"a\": \"../model/model.safetensors\"}}", COP_ERR_FORMAT,
         "sharded/model.safetensors.index.json: weight_map: a: file is "
         "'../model/model.safetensors' (allowed: the name of a file beside it)"},
        {"{\"weight_map\": {\"a\": \"..\"}}", COP_ERR_FORMAT,
         "sharded/model.safetensors.index.json: weight_map: a: file is '..' (allowed: the name of "
         "a file beside it)"},
        {"{\"weight_map\": {\"a\": \"model-00001-of-00002.safetensors\"}}", COP_ERR_FORMAT,
         "sharded/model.safetensors.index.json: weight_map: a: is not in "
         "model-00001-of-00002.safetensors, where it should be"},
        {"{\"weight_map\": {\"model.embed_tokens.weight\": "
         "\"model-00001-of-00002.safetensors\"}}",
         COP_ERR_FORMAT, "sharded: model.layers.1.self_attn.q_proj.weight: is missing"},
    };

    // The embedding and the first layer, then the rest.
    write_good("sharded", COP_F32, 5300);

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        cop_checkpoint *checkpoint = NULL;
        cop_error err = {0};
        (void)unlink("sharded/model.safetensors.index.json");
        if (rows[i].index != NULL) {
            scratch_file("sharded/model.safetensors.index.json", rows[i].index,
                         strlen(rows[i].index));
        }
        assert_int_equal(cop_checkpoint_open(&checkpoint, "sharded", &err), rows[i].status);
        assert_string_equal(err.message, rows[i].want);
        assert_null(checkpoint);
    }
}

static void refuses_a_tensor_that_lies_in_two_shards(void **state)
{
    (void)state;
    static const char index[] =
        "{\"weight_map\": {\"model.embed_tokens.weight\": \"a.safetensors\", "
        "\"model.norm.weight\": \"b.safetensors\"}}";
    cop_checkpoint *checkpoint = NULL;
    cop_error err = {0};
    write_good("twice", COP_F32, 0);
    assert_int_equal(cop_file_copy("twice/a.safetensors", "twice/model.safetensors", &err), COP_OK);
    assert_int_equal(rename("twice/model.safetensors", "twice/b.safetensors"), 0);
    scratch_file("twice/model.safetensors.index.json", index, strlen(index));
    assert_int_equal(cop_checkpoint_open(&checkpoint, "twice", &err), COP_ERR_FORMAT);
    assert_null(checkpoint);
    assert_string_equal(err.message, "twice/b.safetensors: model.embed_tokens.weight: lies in "
                                     "twice/a.safetensors as well");
}

static void says_what_a_path_is_not(void **state)
{
    (void)state;
    cop_checkpoint *checkpoint = NULL;
    cop_error err = {0};
    assert_int_equal(cop_checkpoint_open(&checkpoint, "nowhere", &err), COP_ERR_IO);
    assert_string_equal(err.message, "nowhere: is no directory (allowed: a model directory)");
    assert_int_equal(cop_file_make_directory("empty", &err), COP_OK);
    assert_int_equal(cop_checkpoint_open(&checkpoint, "empty", &err), COP_ERR_IO);
    assert_non_null(strstr(err.message, "empty/config.json"));
    assert_null(checkpoint);
}

// --- Writing ------------------------------------------------------------------------------------

static void never_replaces_a_directory_without_being_told(void **state)
{
    (void)state;
    const cop_arch arch = tiny_arch();
    const cop_checkpoint_options options = {.dtype = COP_F32};
    cop_error err = {0};
    write_good("kept", COP_BF16, 0);
    assert_int_equal(write_model("kept", &arch, &options, &err), COP_ERR_IO);
    assert_string_equal(err.message, "kept: exists already (allowed: a new path, or --force)");
    cop_checkpoint *checkpoint = open_good("kept");
    assert_int_equal(cop_checkpoint_dtype(checkpoint), COP_BF16);
    cop_checkpoint_destroy(checkpoint);
}

static void asks_for_every_tensor_exactly_once(void **state)
{
    (void)state;
    const cop_arch arch = tiny_arch();
    const cop_checkpoint_options options = {.dtype = COP_F32, .force = true};
    cop_checkpoint_writer *writer = NULL;
    cop_error err = {0};
    float values[ELEMENTS_MAX];
    char temp[64];
    assert_int_equal(cop_file_remove_tree("once", &err), COP_OK);
    assert_int_equal(cop_checkpoint_writer_create(&writer, "once", &arch, &options, &err), COP_OK);
    fill(values, &arch, 0);
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
    snprintf(temp, sizeof temp, "once.tmp.%ld", (long)getpid());
    assert_true(cop_file_is_directory(temp));
    cop_checkpoint_writer_destroy(writer);
    assert_false(cop_file_exists(temp));
    assert_false(cop_file_exists("once"));
}

static void refuses_what_it_cannot_store(void **state)
{
    (void)state;
    cop_arch arch = tiny_arch();
    cop_error err = {0};
    const cop_checkpoint_options wide = {.dtype = COP_F64, .force = true};
    const cop_checkpoint_options options = {.dtype = COP_F32, .force = true};
    assert_int_equal(cop_file_remove_tree("odd", &err), COP_OK);
    assert_int_equal(write_model("odd", &arch, &wide, &err), COP_ERR_CONFIG);
    assert_string_equal(err.message, "odd: element type is f64 (allowed: f32, bf16, f16)");
    arch.layer[1].ffn = 4;
    assert_int_equal(write_model("odd", &arch, &options, &err), COP_ERR_UNSUPPORTED);
    arch.layer[1].ffn = 0;
    assert_int_equal(write_model("odd", &arch, &options, &err), COP_ERR_FORMAT);
    assert_string_equal(err.message, "odd: ffn of layer 1 is 0 (allowed: 1..1048576)");
    assert_false(cop_file_exists("odd"));
}

// A limit on the size of files stands for a full disk.
static void keeps_the_old_model_on_a_full_disk(void **state)
{
    (void)state;
    struct rlimit before;
    const cop_arch arch = tiny_arch();
    const cop_checkpoint_options options = {.dtype = COP_F32, .force = true};
    cop_error err = {0};
    char temp[64];
    write_good("full", COP_BF16, 0);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    const struct rlimit limit = {.rlim_cur = 5000, .rlim_max = before.rlim_max};
    assert_true(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    const cop_status status = write_model("full", &arch, &options, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);

    assert_int_equal(status, COP_ERR_IO);
    assert_non_null(strstr(err.message, "/model.safetensors"));
    assert_non_null(strstr(err.message, ": File too large"));
    snprintf(temp, sizeof temp, "full.tmp.%ld", (long)getpid());
    assert_false(cop_file_exists(temp));
    cop_checkpoint *checkpoint = open_good("full");
    assert_int_equal(cop_checkpoint_dtype(checkpoint), COP_BF16);
    assert_values(checkpoint);
    cop_checkpoint_destroy(checkpoint);
}

static void survives_every_failed_allocation(void **state)
{
    (void)state;
    const cop_arch arch = tiny_arch();
    const cop_checkpoint_options options = {.dtype = COP_BF16, .shard_bytes = 3000, .force = true};
    const size_t live_before = cop_alloc_live_blocks();
    cop_status status = COP_ERR_NOMEM;
    for (size_t n = 0; status == COP_ERR_NOMEM && n < 5000; n += n < 50 ? 1 : 7) {
        cop_alloc_fail_after(n);
        status = write_model("oom", &arch, &options, NULL);
        cop_alloc_fail_after(SIZE_MAX);
        assert_int_equal(cop_alloc_live_blocks(), live_before);
    }
    assert_int_equal(status, COP_OK);

    status = COP_ERR_NOMEM;
    for (size_t n = 0; status == COP_ERR_NOMEM && n < 5000; n++) {
        cop_checkpoint *checkpoint = NULL;
        cop_hash hash;
        cop_alloc_fail_after(n);
        status = cop_checkpoint_open(&checkpoint, "oom", NULL);
        if (status == COP_OK) {
            status = cop_checkpoint_hash(checkpoint, &hash, NULL);
        }
        cop_alloc_fail_after(SIZE_MAX);
        cop_checkpoint_destroy(checkpoint);
        assert_int_equal(cop_alloc_live_blocks(), live_before);
    }
    assert_int_equal(status, COP_OK);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_back_what_it_wrote),
        cmocka_unit_test(reads_what_transformers_wrote),
        cmocka_unit_test(hashes_architecture_and_weights),
        cmocka_unit_test(carries_the_tokenizer_over),
        cmocka_unit_test(keeps_other_files_and_provenance),
        cmocka_unit_test(takes_tensors_row_by_row),
        cmocka_unit_test(refuses_rows_out_of_order),
        cmocka_unit_test(says_which_tensor_is_wrong),
        cmocka_unit_test(allows_a_stored_head_beside_a_tied_embedding),
        cmocka_unit_test(says_what_is_wrong_with_an_index),
        cmocka_unit_test(refuses_a_tensor_that_lies_in_two_shards),
        cmocka_unit_test(says_what_a_path_is_not),
        cmocka_unit_test(never_replaces_a_directory_without_being_told),
        cmocka_unit_test(asks_for_every_tensor_exactly_once),
        cmocka_unit_test(refuses_what_it_cannot_store),
        cmocka_unit_test(keeps_the_old_model_on_a_full_disk),
        cmocka_unit_test(survives_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
