// config.json <-> architecture, as transformers 4 and 5 read it.

#include "model/arch_json.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/json.h"
#include "tests/support.h"

static const char llama[] =
    "{\"model_type\": \"llama\", \"vocab_size\": 96, \"hidden_size\": 48, \"num_hidden_layers\": 2,"
    " \"num_attention_heads\": 6, \"num_key_value_heads\": 2, \"intermediate_size\": 80}";
static const char nemotron[] =
    "{\"model_type\": \"nemotron\", \"vocab_size\": 96, \"hidden_size\": 48,"
    " \"num_hidden_layers\": 2, \"num_attention_heads\": 6, \"intermediate_size\": 80}";

static json_t *parse(const char *text)
{
    json_t *json = NULL;
    cop_error err = {0};
    assert_int_equal(cop_json_parse(&json, "text", text, strlen(text), &err), COP_OK);
    return json;
}

// The base with the keys of `patch` put over it; a key with the value "-" is taken away.
static json_t *patched(const char *base, const char *patch)
{
    json_t *config = parse(base);
    json_t *changes = parse(patch);
    for (void *at = json_object_iter(changes); at != NULL;
         at = json_object_iter_next(changes, at)) {
        const char *key = json_object_iter_key(at);
        json_t *value = json_object_iter_value(at);
        if (json_is_string(value) && strcmp(json_string_value(value), "-") == 0) {
            assert_int_equal(json_object_del(config, key), 0);
        } else {
            assert_int_equal(json_object_set(config, key, value), 0);
        }
    }
    json_decref(changes);
    return config;
}

static cop_arch read_patched(const char *base, const char *patch)
{
    cop_arch arch = {0};
    cop_error err = {0};
    json_t *config = patched(base, patch);
    assert_int_equal(cop_arch_from_json(&arch, config, "config.json", &err), COP_OK);
    assert_string_equal(err.message, "");
    json_decref(config);
    return arch;
}

static void assumes_what_transformers_assumes_for_absent_keys(void **state)
{
    (void)state;
    const cop_arch a = read_patched(llama, "{\"num_key_value_heads\": null}");
    assert_int_equal(a.family, COP_FAMILY_LLAMA);
    assert_int_equal(a.head_dim, 8);
    assert_int_equal(a.layers, 2);
    assert_int_equal(a.layer[1].heads, 6);
    assert_int_equal(a.layer[1].kv_heads, 6);
    assert_int_equal(a.layer[1].ffn, 80);
    assert_int_equal(a.context, 2048);
    assert_int_equal(a.norm, COP_NORM_RMS);
    assert_true(a.norm_eps == 1e-6);
    assert_int_equal(a.activation, COP_ACTIVATION_SILU);
    assert_true(a.is_gated);
    assert_false(a.is_tied || a.attention_bias || a.mlp_bias);
    assert_true(a.rope.theta == 1e4 && a.rope.partial == 1.0);
    assert_int_equal(a.rope.scaling, COP_ROPE_PLAIN);
    assert_int_equal(a.bos, 1);
    assert_int_equal(a.eos, 2);

    const cop_arch b = read_patched(nemotron, "{}");
    assert_int_equal(b.family, COP_FAMILY_NEMOTRON);
    assert_int_equal(b.layer[0].kv_heads, 6);
    assert_int_equal(b.context, 4096);
    assert_int_equal(b.norm, COP_NORM_LAYER_1P);
    assert_true(b.norm_eps == 1e-5);
    assert_int_equal(b.activation, COP_ACTIVATION_RELU2);
    assert_false(b.is_gated);
    assert_true(b.rope.partial == 0.5);
    assert_true(b.initializer_range == 0.0134);
}

static void reads_every_place_where_rope_settings_have_been_kept(void **state)
{
    (void)state;

    static const struct {
        const char *base;
        const char *patch;
        cop_rope_settings want;
    } rows[] = {
        {llama, "{\"rope_theta\": 5e5}", {.theta = 5e5, .partial = 1.0}},
        {llama, "{\"rope_parameters\": {\"rope_theta\": 5e5}}", {.theta = 5e5, .partial = 1.0}},
        {llama,
         "{\"rope_theta\": 3, \"rope_parameters\": {\"rope_type\": \"default\", "
         "\"rope_theta\": 7}}",
         {.theta = 7, .partial = 1.0}},
        {llama,
         "{\"rope_scaling\": {\"type\": \"linear\", \"factor\": 4}}",
         {.theta = 1e4, .partial = 1.0, .scaling = COP_ROPE_LINEAR, .factor = 4}},
        {llama,
         "{\"rope_theta\": 5e5, \"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 8.0, "
         "\"low_freq_factor\": 1.0, \"high_freq_factor\": 4.0, "
         "\"original_max_position_embeddings\": 8192}}",
         {.theta = 5e5,
          .partial = 1.0,
          .scaling = COP_ROPE_LLAMA3,
          .factor = 8,
          .low_frequency_factor = 1,
          .high_frequency_factor = 4,
          .original_context = 8192}},
        {llama,
         "{\"max_position_embeddings\": 77, \"rope_parameters\": {\"rope_type\": \"llama3\", "
         "\"factor\": 8.0, \"low_freq_factor\": 1.0, \"high_freq_factor\": 4.0}}",
         {.theta = 1e4,
          .partial = 1.0,
          .scaling = COP_ROPE_LLAMA3,
          .factor = 8,
          .low_frequency_factor = 1,
          .high_frequency_factor = 4,
          .original_context = 77}},
        {llama,
         "{\"rope_scaling\": {}, \"rope_parameters\": {\"rope_theta\": 7}}",
         {.theta = 7, .partial = 1.0}},
        {nemotron, "{\"partial_rotary_factor\": 1}", {.theta = 1e4, .partial = 1.0}},
        {nemotron, "{\"rope_percent\": 0.25}", {.theta = 1e4, .partial = 0.25}},
        {nemotron,
         "{\"rope_parameters\": {\"partial_rotary_factor\": 0.25, \"rope_theta\": 9}}",
         {.theta = 9, .partial = 0.25}},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const cop_rope_settings got = read_patched(rows[i].base, rows[i].patch).rope;
        const cop_rope_settings *want = &rows[i].want;
        assert_true(got.theta == want->theta && got.partial == want->partial);
        assert_int_equal(got.scaling, want->scaling);
        assert_true(got.factor == want->factor);
        assert_true(got.low_frequency_factor == want->low_frequency_factor);
        assert_true(got.high_frequency_factor == want->high_frequency_factor);
        assert_int_equal(got.original_context, want->original_context);
    }
}

static void reads_the_spellings_of_early_revisions(void **state)
{
    (void)state;
    assert_int_equal(read_patched(nemotron, "{\"kv_channels\": 16}").head_dim, 16);
    assert_int_equal(read_patched(nemotron, "{\"kv_channels\": 16, \"head_dim\": 4}").head_dim, 4);
    assert_int_equal(read_patched(llama, "{\"kv_channels\": 16}").head_dim, 8);
    assert_int_equal(read_patched(llama, "{\"eos_token_id\": [5, 6]}").eos, 5);
    assert_int_equal(read_patched(llama, "{\"bos_token_id\": null}").bos, -1);
    assert_int_equal(read_patched(llama, "{\"eos_token_id\": 128001}").eos, -1);
}

static void knows_the_names_of_activations(void **state)
{
    (void)state;

    static const struct {
        const char *patch;
        cop_activation want;
    } rows[] = {
        {"{\"hidden_act\": \"silu\"}", COP_ACTIVATION_SILU},
        {"{\"hidden_act\": \"swish\"}", COP_ACTIVATION_SILU},
        {"{\"hidden_act\": \"relu2\"}", COP_ACTIVATION_RELU2},
        {"{\"hidden_act\": \"gelu\"}", COP_ACTIVATION_GELU},
        {"{\"hidden_act\": \"gelu_new\"}", COP_ACTIVATION_GELU_TANH},
        {"{\"hidden_act\": \"gelu_pytorch_tanh\"}", COP_ACTIVATION_GELU_TANH},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(read_patched(nemotron, rows[i].patch).activation, rows[i].want);
    }
}

static void says_what_is_wrong_with_a_bad_config(void **state)
{
    (void)state;

    static const struct {
        const char *base;
        const char *patch;
        cop_status status;
        const char *want;
    } rows[] = {
        {"[]", NULL, COP_ERR_FORMAT, "c: is no JSON object (allowed: a model's config.json)"},
        {llama, "{\"model_type\": \"-\"}", COP_ERR_FORMAT, "c: model_type is missing"},
        {llama, "{\"model_type\": \"gpt2\"}", COP_ERR_FORMAT,
         "c: model_type is 'gpt2' (allowed: llama, nemotron)"},
        {llama, "{\"vocab_size\": \"-\"}", COP_ERR_FORMAT, "c: vocab_size is missing"},
        {llama, "{\"vocab_size\": 1e3}", COP_ERR_FORMAT,
         "c: vocab_size is a number with a fraction (allowed: an integer in 1..4194304)"},
        {llama, "{\"vocab_size\": \"96\"}", COP_ERR_FORMAT,
         "c: vocab_size is a string (allowed: an integer in 1..4194304)"},
        {llama, "{\"hidden_size\": 0}", COP_ERR_FORMAT, "c: hidden_size is 0 (allowed: 1..131072)"},
        {llama, "{\"hidden_size\": 9223372036854775807}", COP_ERR_FORMAT,
         "c: hidden_size is 9223372036854775807 (allowed: 1..131072)"},
        {llama, "{\"num_hidden_layers\": 257}", COP_ERR_FORMAT,
         "c: num_hidden_layers is 257 (allowed: 1..256)"},
        {llama, "{\"num_attention_heads\": -6}", COP_ERR_FORMAT,
         "c: num_attention_heads is -6 (allowed: 1..4096)"},
        {llama, "{\"num_key_value_heads\": 4}", COP_ERR_FORMAT,
         "c: num_attention_heads is 6 (allowed: multiples of num_key_value_heads, 4)"},
        {llama, "{\"num_attention_heads\": 10}", COP_ERR_FORMAT,
         "c: hidden_size 48 is no multiple of num_attention_heads 10 and head_dim is absent "
         "(allowed: a multiple, or a head_dim)"},
        {llama, "{\"head_dim\": 7}", COP_ERR_FORMAT, "c: head_dim is 7 (allowed: even)"},
        {llama, "{\"intermediate_size\": null}", COP_ERR_FORMAT,
         "c: intermediate_size is null (allowed: an integer in 1..1048576)"},
        {llama, "{\"hidden_act\": \"mish\"}", COP_ERR_FORMAT,
         "c: hidden_act is 'mish' (allowed: silu, relu2, gelu, gelu_new, gelu_pytorch_tanh)"},
        {llama, "{\"rms_norm_eps\": 0}", COP_ERR_FORMAT,
         "c: rms_norm_eps is 0 (allowed: 1e-30..1)"},
        {llama, "{\"tie_word_embeddings\": 1}", COP_ERR_FORMAT,
         "c: tie_word_embeddings is an integer (allowed: true, false)"},
        {llama, "{\"partial_rotary_factor\": 0.5}", COP_ERR_UNSUPPORTED,
         "c: partial_rotary_factor is 0.5 (allowed: 1 in the family llama)"},
        {nemotron, "{\"partial_rotary_factor\": 0.4}", COP_ERR_FORMAT,
         "c: rotary size is 3, 0.4 of head_dim 8 (allowed: even, at least 2)"},
        {llama, "{\"rope_scaling\": \"linear\"}", COP_ERR_FORMAT,
         "c: rope_scaling is no object (allowed: an object or null)"},
        {llama, "{\"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": 4}}", COP_ERR_UNSUPPORTED,
         "c: rope_type is 'yarn' (allowed: default, linear, llama3)"},
        {llama, "{\"rope_scaling\": {\"type\": \"linear\"}}", COP_ERR_FORMAT,
         "c: factor is missing"},
        {llama, "{\"sliding_window\": 4096}", COP_ERR_UNSUPPORTED,
         "c: sliding_window is set: it changes the computation in a way that is not supported "
         "(allowed: absent, null or false)"},
        {llama, "{\"quantization_config\": {}}", COP_ERR_UNSUPPORTED,
         "c: quantization_config is set: it changes the computation in a way that is not "
         "supported (allowed: absent, null or false)"},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        cop_arch arch = {.vocab = 7};
        cop_error err = {0};
        json_t *config =
            rows[i].patch == NULL ? parse(rows[i].base) : patched(rows[i].base, rows[i].patch);
        assert_int_equal(cop_arch_from_json(&arch, config, "c", &err), rows[i].status);
        assert_string_equal(err.message, rows[i].want);
        assert_int_equal(arch.vocab, 7); // untouched
        json_decref(config);
    }
}

static bool is_same(const cop_arch *a, const cop_arch *b)
{
    json_t *x = NULL;
    json_t *y = NULL;
    cop_error err = {0};
    assert_int_equal(cop_arch_to_json(&x, a, NULL, "float32", &err), COP_OK);
    assert_int_equal(cop_arch_to_json(&y, b, NULL, "float32", &err), COP_OK);
    const bool same = json_equal(x, y) != 0;
    json_decref(x);
    json_decref(y);
    return same;
}

static void reads_back_what_it_wrote(void **state)
{
    (void)state;

    static const struct {
        const char *base;
        const char *patch;
    } rows[] = {
        {llama, "{}"},
        {llama, "{\"tie_word_embeddings\": true, \"attention_bias\": true, \"mlp_bias\": true}"},
        {llama, "{\"head_dim\": 16, \"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 8.0, "
                "\"low_freq_factor\": 1.0, \"high_freq_factor\": 4.0, "
                "\"original_max_position_embeddings\": 8192}}"},
        {llama, "{\"rope_scaling\": {\"type\": \"linear\", \"factor\": 3.3}}"},
        {nemotron, "{\"kv_channels\": 16, \"rope_percent\": 0.25, \"rope_theta\": 12345.678}"},
        {nemotron, "{\"num_key_value_heads\": 3, \"hidden_act\": \"gelu_new\"}"},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const cop_arch arch = read_patched(rows[i].base, rows[i].patch);
        json_t *base = patched(rows[i].base, rows[i].patch);
        json_t *bases[2] = {NULL, base}; // alone, and over the configuration it came from
        for (int b = 0; b < 2; b++) {
            json_t *written = NULL;
            cop_arch again = {0};
            cop_error err = {0};
            assert_int_equal(cop_arch_to_json(&written, &arch, bases[b], "bfloat16", &err), COP_OK);
            assert_int_equal(cop_arch_from_json(&again, written, "written", &err), COP_OK);
            assert_true(is_same(&arch, &again));
            assert_true(json_is_integer(json_object_get(written, "head_dim")));
            assert_true(json_is_integer(json_object_get(written, "num_key_value_heads")));
            assert_null(json_object_get(written, "kv_channels"));
            json_decref(written);
        }
        json_decref(base);
    }
}

// transformers 4 reads rope_theta and rope_scaling, transformers 5 rope_parameters: both must say
// the same.
static void writes_rope_settings_for_old_and_new_releases(void **state)
{
    (void)state;
    const cop_arch arch = read_patched(
        nemotron, "{\"rope_theta\": 500.0, \"partial_rotary_factor\": 0.25, \"head_dim\": 16,"
                  " \"rope_scaling\": {\"rope_type\": \"linear\", \"factor\": 2.0}}");
    json_t *written = NULL;
    cop_error err = {0};
    assert_int_equal(cop_arch_to_json(&written, &arch, NULL, "float32", &err), COP_OK);
    json_t *want = parse("{\"rope_theta\": 500.0, \"partial_rotary_factor\": 0.25,"
                         " \"rope_scaling\": {\"rope_type\": \"linear\", \"factor\": 2.0},"
                         " \"rope_parameters\": {\"rope_type\": \"linear\", \"factor\": 2.0,"
                         " \"rope_theta\": 500.0, \"partial_rotary_factor\": 0.25}}");
    for (void *at = json_object_iter(want); at != NULL; at = json_object_iter_next(want, at)) {
        assert_true(json_equal(json_object_get(written, json_object_iter_key(at)),
                               json_object_iter_value(at)));
    }
    json_decref(want);
    json_decref(written);
}

static void carries_over_keys_that_it_does_not_decide(void **state)
{
    (void)state;
    json_t *base = patched(llama, "{\"eos_token_id\": [5, 6], \"pad_token_id\": 4,"
                                  " \"_name_or_path\": \"/somewhere\", \"dtype\": \"float16\"}");
    const cop_arch arch = read_patched(llama, "{\"hidden_size\": 24, \"head_dim\": 8}");
    json_t *written = NULL;
    cop_error err = {0};

    assert_int_equal(cop_arch_to_json(&written, &arch, base, "bfloat16", &err), COP_OK);
    assert_int_equal(json_array_size(json_object_get(written, "eos_token_id")), 2);
    assert_int_equal(json_integer_value(json_object_get(written, "pad_token_id")), 4);
    assert_int_equal(json_integer_value(json_object_get(written, "hidden_size")), 24);
    assert_null(json_object_get(written, "_name_or_path"));
    assert_null(json_object_get(written, "dtype"));
    assert_string_equal(json_string_value(json_object_get(written, "torch_dtype")), "bfloat16");
    assert_int_equal(json_integer_value(json_object_get(base, "hidden_size")), 48);
    json_decref(base);
    json_decref(written);
}

static void refuses_to_write_layers_of_different_sizes(void **state)
{
    (void)state;
    cop_arch arch = read_patched(llama, "{}");
    json_t *written = NULL;
    cop_error err = {0};
    arch.layer[1].ffn = 64;
    assert_int_equal(cop_arch_to_json(&written, &arch, NULL, "float32", &err), COP_ERR_UNSUPPORTED);
    assert_null(written);
    assert_string_equal(err.message,
                        "config.json: layers of different sizes, llama 2L 48h 6/2 heads of 8 ffn "
                        "64..80 vocab 96, cannot be written (allowed: all layers equal)");
}

static void knows_the_shapes_that_newer_releases_refuse(void **state)
{
    (void)state;
    cop_arch arch = read_patched(llama, "{}");
    assert_true(cop_arch_is_portable(&arch));
    arch.hidden = 40;
    assert_false(cop_arch_is_portable(&arch));
    arch = read_patched(nemotron, "{\"hidden_size\": 40, \"head_dim\": 8}");
    assert_true(cop_arch_is_portable(&arch));
}

static void reads_a_file_or_a_directory(void **state)
{
    (void)state;
    cop_arch arch = {0};
    cop_error err = {0};
    scratch_file("config.json", llama, strlen(llama));
    assert_int_equal(cop_arch_read(&arch, "config.json", &err), COP_OK);
    arch = (cop_arch){0};
    assert_int_equal(cop_arch_read(&arch, ".", &err), COP_OK);
    assert_int_equal(arch.hidden, 48);

    scratch_file("cut.json", llama, strlen(llama) - 1);
    assert_int_equal(cop_arch_read(&arch, "cut.json", &err), COP_ERR_FORMAT);
    assert_string_equal(err.message, "cut.json:1:160: '}' expected near end of file");
    const char twice[] = "{\"model_type\": \"llama\", \"model_type\": \"llama\"}";
    scratch_file("twice.json", twice, strlen(twice));
    assert_int_equal(cop_arch_read(&arch, "twice.json", &err), COP_ERR_FORMAT);
    assert_string_equal(err.message, "twice.json:1:36: duplicate object key near '\"model_type\"'");
}

static void survives_every_failed_allocation(void **state)
{
    (void)state;
    scratch_file("config.json", llama, strlen(llama));
    const size_t live_before = cop_alloc_live_blocks();
    cop_status status = COP_ERR_NOMEM;

    for (size_t n = 0; status == COP_ERR_NOMEM && n < 1000; n++) {
        cop_arch arch = {0};
        json_t *written = NULL;
        cop_alloc_fail_after(n);
        status = cop_arch_read(&arch, ".", NULL);
        if (status == COP_OK) {
            status = cop_arch_to_json(&written, &arch, NULL, "float32", NULL);
        }
        cop_alloc_fail_after(SIZE_MAX);
        assert_int_equal(written != NULL, status == COP_OK);
        json_decref(written);
        assert_int_equal(cop_alloc_live_blocks(), live_before);
    }
    assert_int_equal(status, COP_OK);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(assumes_what_transformers_assumes_for_absent_keys),
        cmocka_unit_test(reads_every_place_where_rope_settings_have_been_kept),
        cmocka_unit_test(reads_the_spellings_of_early_revisions),
        cmocka_unit_test(knows_the_names_of_activations),
        cmocka_unit_test(says_what_is_wrong_with_a_bad_config),
        cmocka_unit_test(reads_back_what_it_wrote),
        cmocka_unit_test(writes_rope_settings_for_old_and_new_releases),
        cmocka_unit_test(carries_over_keys_that_it_does_not_decide),
        cmocka_unit_test(refuses_to_write_layers_of_different_sizes),
        cmocka_unit_test(knows_the_shapes_that_newer_releases_refuse),
        cmocka_unit_test(reads_a_file_or_a_directory),
        cmocka_unit_test(survives_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
