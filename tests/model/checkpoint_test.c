// Reading model directories: what is read back, and what is refused.

#include "model/checkpoint.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"
#include "model/arch_json.h"
#include "model/safetensors.h"
#include "tests/model/sample.h"
#include "tests/support.h"

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
        sample_write_good("model", rows[i].dtype, rows[i].shard_bytes);
        assert_int_equal(sample_count_files("model"), rows[i].files);
        cop_checkpoint *checkpoint = sample_open("model");
        assert_string_equal(cop_checkpoint_path(checkpoint), "model");
        assert_int_equal(cop_checkpoint_dtype(checkpoint), rows[i].dtype);
        assert_int_equal(cop_checkpoint_arch(checkpoint)->head_dim, 6);
        sample_check(checkpoint);
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
        (void)snprintf(path, sizeof path, "%s/tests/golden/%s", COP_SOURCE_DIR, rows[i].name);
        cop_checkpoint *checkpoint = sample_open(path);
        assert_int_equal(cop_arch_tensor_count(cop_checkpoint_arch(checkpoint)), rows[i].tensors);
        cop_checkpoint_destroy(checkpoint);
    }
}

static void hashes_architecture_and_weights(void **state)
{
    (void)state;
    cop_arch arch = sample_arch();
    const cop_checkpoint_options options = {.dtype = COP_F32, .force = true};
    cop_hash first = {0};
    cop_hash second = {0};
    cop_error err = {0};
    sample_write_good("hashed", COP_F32, 0);
    cop_checkpoint *checkpoint = sample_open("hashed");
    assert_int_equal(cop_checkpoint_hash(checkpoint, &first, &err), COP_OK);
    assert_int_equal(cop_checkpoint_hash(checkpoint, &second, &err), COP_OK);
    assert_true(first.low == second.low && first.high == second.high);
    cop_checkpoint_destroy(checkpoint);

    arch.rope.theta = 2e4; // the same weights
    assert_int_equal(sample_write("hashed", &arch, &options, &err), COP_OK);
    checkpoint = sample_open("hashed");
    assert_int_equal(cop_checkpoint_hash(checkpoint, &second, &err), COP_OK);
    assert_true(first.low != second.low);
    cop_checkpoint_destroy(checkpoint);
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

    const cop_arch arch = sample_arch();
    sample_write_good("bad", COP_F32, 0);

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
    cop_arch arch = sample_arch();
    arch.is_tied = true;
    const cop_checkpoint_options options = {.dtype = COP_F32, .force = true};
    const change extra = {.skip = -1, .index = -1, .extra = "lm_head.weight"};
    cop_error err = {0};
    assert_int_equal(sample_write("bad", &arch, &options, &err), COP_OK);
    write_bad(&extra, &arch);
    cop_checkpoint_destroy(sample_open("bad"));
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
    sample_write_good("sharded", COP_F32, 5300);

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
    sample_write_good("twice", COP_F32, 0);
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

static void survives_every_failed_allocation(void **state)
{
    (void)state;
    sample_write_good("oom", COP_BF16, 3000);
    const size_t live_before = cop_alloc_live_blocks();
    cop_status status = COP_ERR_NOMEM;
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
        cmocka_unit_test(says_which_tensor_is_wrong),
        cmocka_unit_test(allows_a_stored_head_beside_a_tied_embedding),
        cmocka_unit_test(says_what_is_wrong_with_an_index),
        cmocka_unit_test(refuses_a_tensor_that_lies_in_two_shards),
        cmocka_unit_test(says_what_a_path_is_not),
        cmocka_unit_test(survives_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
