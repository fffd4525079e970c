// Architectures: their tensors, their checks, their text, and their exact costs.

#include "model/arch.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model/arch_json.h"
#include "model/cost.h"
#include "tests/support.h"

static cop_arch tiny_arch(cop_family family)
{
    const bool is_llama = family == COP_FAMILY_LLAMA;
    cop_arch arch = {.family = family,
                     .vocab = 96,
                     .hidden = 48,
                     .head_dim = 10,
                     .context = 64,
                     .layers = 3,
                     .norm = is_llama ? COP_NORM_RMS : COP_NORM_LAYER_1P,
                     .norm_eps = 1e-5,
                     .activation = is_llama ? COP_ACTIVATION_SILU : COP_ACTIVATION_RELU2,
                     .is_gated = is_llama,
                     .rope = {.theta = 1e4, .partial = 1.0},
                     .initializer_range = 0.02,
                     .bos = -1,
                     .eos = -1};
    for (int i = 0; i < 3; i++) {
        arch.layer[i] = (cop_layer_arch){.heads = 6, .kv_heads = 2, .ffn = 80};
    }
    return arch;
}

static cop_arch published_shape(const char *name)
{
    char path[512];
    cop_arch arch = {0};
    cop_error err = {0};
    (void)snprintf(path, sizeof path, "%s/configs/models/%s.json", COP_SOURCE_DIR, name);
    assert_int_equal(cop_arch_read(&arch, path, &err), COP_OK);
    assert_string_equal(err.message, "");
    return arch;
}

// facts/minitron.md, sections 1 and 9; arXiv 2407.14679 and 2408.11796.
static void counts_the_published_shapes_exactly(void **state)
{
    (void)state;

    static const struct {
        const char *name;
        int64_t params;
        int64_t params_non_embedding;
    } rows[] = {
        {"nemotron-4-15b", 15628775424, 12483047424},
        {"minitron-8b", 8271699968, 6174547968},
        {"minitron-4b", 4190509056, 2617645056},
        {"llama-3.1-8b", 8030261248, 6979588096},
        {"llama-3.1-minitron-4b-width", 4512746496, 3724741632},
        {"llama-3.1-minitron-4b-depth", 4540469248, 3489796096},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const cop_arch arch = published_shape(rows[i].name);
        const cop_cost cost = cop_cost_of(&arch, 1, 1, COP_BF16, COP_BF16);
        assert_int_equal(cost.params, rows[i].params);
        assert_int_equal(cost.params_non_embedding, rows[i].params_non_embedding);
        assert_int_equal(cost.weights_bytes, 2 * rows[i].params);
    }
}

// The formula and the list of tensors are two descriptions of one thing.
static void counts_what_the_list_of_tensors_holds(void **state)
{
    (void)state;
    for (int bits = 0; bits < 16; bits++) {
        cop_arch arch = tiny_arch((bits & 1) != 0 ? COP_FAMILY_NEMOTRON : COP_FAMILY_LLAMA);
        arch.is_tied = (bits & 2) != 0;
        arch.attention_bias = (bits & 4) != 0;
        arch.mlp_bias = (bits & 8) != 0;
        arch.layer[1] = (cop_layer_arch){.heads = 4, .kv_heads = 4, .ffn = 33};
        int64_t params = 0;
        int64_t embeddings = 0;
        int64_t matmul = 0;
        for (int64_t t = 0; t < cop_arch_tensor_count(&arch); t++) {
            const cop_tensor_spec spec = cop_arch_tensor(&arch, t);
            const int64_t size = spec.shape[0] * spec.shape[1];
            params += size;
            embeddings += spec.axis[0] == COP_AXIS_VOCAB ? size : 0;
            matmul += spec.rank == 2 && spec.axis[0] != COP_AXIS_VOCAB ? size : 0;
        }
        const cop_cost cost = cop_cost_of(&arch, 3, 7, COP_F32, COP_BF16);
        assert_int_equal(cost.params, params);
        assert_int_equal(cost.params_non_embedding, params - embeddings);
        assert_int_equal(cost.matmul_params, matmul);
        assert_int_equal(cost.weights_bytes, 4 * params);
        assert_int_equal(cost.kv_cache_bytes, 2 * 3 * 7 * (2 + 4 + 2) * 10 * 2);
        assert_int_equal(cost.total_bytes, cost.weights_bytes + cost.kv_cache_bytes);
    }
}

static void counts_flops_as_the_papers_do(void **state)
{
    (void)state;
    const cop_arch arch = published_shape("nemotron-4-15b");
    const double matmul = 12483047424.0 - 2 * 6144 * (2 * 32 + 1); // without the norms
    const double head = 256000.0 * 6144;
    const double query = 32.0 * 48 * 128;
    const cop_cost cost = cop_cost_of(&arch, 1, 4096, COP_BF16, COP_BF16);

    assert_true(cost.flops_per_token == 2 * (matmul + head) + 4 * 4096 * query);
    assert_true(cop_cost_train_flops(&arch, 4096) == 6 * (matmul + head) + 6 * 4096 * query);
    // 4.4e17 per training step of 1152 sequences, as printed; two digits.
    const double step = 3 * cost.flops_per_token * 4096 * 1152;
    assert_true(step > 4.35e17 && step < 4.45e17);
}

static void saturates_a_cache_that_no_number_holds(void **state)
{
    (void)state;
    const cop_arch arch = tiny_arch(COP_FAMILY_LLAMA);
    const cop_cost cost = cop_cost_of(&arch, INT64_MAX / 4, 16, COP_F32, COP_F32);
    assert_int_equal(cost.kv_cache_bytes, INT64_MAX);
    assert_int_equal(cost.total_bytes, INT64_MAX);
}

static void finds_every_tensor_by_role_and_by_name(void **state)
{
    (void)state;
    for (int bits = 0; bits < 16; bits++) {
        cop_arch arch = tiny_arch((bits & 1) != 0 ? COP_FAMILY_NEMOTRON : COP_FAMILY_LLAMA);
        arch.is_tied = (bits & 2) != 0;
        arch.attention_bias = (bits & 4) != 0;
        arch.mlp_bias = (bits & 8) != 0;
        for (int64_t t = 0; t < cop_arch_tensor_count(&arch); t++) {
            const cop_tensor_spec spec = cop_arch_tensor(&arch, t);
            assert_int_equal(cop_arch_find(&arch, spec.role, spec.layer), t);
            assert_int_equal(cop_arch_find_name(&arch, spec.name), t);
        }
    }
}

static void lists_tensors_in_canonical_order(void **state)
{
    (void)state;

    static const struct {
        int64_t index;
        const char *name;
        int64_t shape[2];
    } rows[] = {
        {0, "model.embed_tokens.weight", {96, 48}},
        {1, "model.layers.0.input_layernorm.weight", {48, 1}},
        {2, "model.layers.0.self_attn.q_proj.weight", {60, 48}},
        {3, "model.layers.0.self_attn.k_proj.weight", {20, 48}},
        {5, "model.layers.0.self_attn.o_proj.weight", {48, 60}},
        {7, "model.layers.0.mlp.gate_proj.weight", {80, 48}},
        {9, "model.layers.0.mlp.down_proj.weight", {48, 80}},
        {10, "model.layers.1.input_layernorm.weight", {48, 1}},
        {28, "model.norm.weight", {48, 1}},
        {29, "lm_head.weight", {96, 48}},
    };

    const cop_arch arch = tiny_arch(COP_FAMILY_LLAMA);

    assert_int_equal(cop_arch_tensor_count(&arch), 30);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const cop_tensor_spec spec = cop_arch_tensor(&arch, rows[i].index);
        assert_string_equal(spec.name, rows[i].name);
        assert_int_equal(spec.shape[0], rows[i].shape[0]);
        assert_int_equal(spec.shape[1], rows[i].shape[1]);
    }
}

static void does_not_find_names_that_are_not_there(void **state)
{
    (void)state;
    static const char *const names[] = {
        "",
        "model",
        "lm_head.weight", // tied
        "model.layers.0.self_attn.q_proj.bias",
        "model.layers.3.self_attn.q_proj.weight",
        "model.layers.00.self_attn.q_proj.weight",
        "model.layers.01.self_attn.q_proj.weight",
        "model.layers.-1.self_attn.q_proj.weight",
        "model.layers.+1.self_attn.q_proj.weight",
        "model.layers..self_attn.q_proj.weight",
        "model.layers.1",
        "model.layers.1.",
        "model.layers.1.model.norm.weight",
        "model.layers.99999999999999999999999.mlp.up_proj.weight",
        "self_attn.q_proj.weight",
        "model.norm.weight ",
    };
    cop_arch arch = tiny_arch(COP_FAMILY_LLAMA);
    arch.is_tied = true;

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        assert_int_equal(cop_arch_find_name(&arch, names[i]), -1);
    }
    assert_int_equal(cop_arch_find(&arch, COP_ROLE_HEAD, -1), -1);
    assert_int_equal(cop_arch_find(&arch, COP_ROLE_Q, 3), -1);
    assert_int_equal(cop_arch_find(&arch, COP_ROLE_Q, -1), -1);
    assert_int_equal(cop_arch_find(&arch, COP_ROLE_EMBEDDING, 0), -1);
    assert_int_equal(cop_arch_find(&arch, COP_ROLE_COUNT, -1), -1);
}

static void says_which_size_is_impossible(void **state)
{
    (void)state;

    enum { ROWS = 18 };

    cop_arch bad[ROWS];
    for (int i = 0; i < ROWS; i++) {
        bad[i] = tiny_arch(COP_FAMILY_LLAMA);
    }
    bad[0].vocab = 0;
    bad[1].hidden = -1;
    bad[2].head_dim = 4097;
    bad[3].layers = 257;
    bad[4].layer[2].heads = 7;
    bad[5].layer[0].ffn = 1 << 21;
    bad[6].head_dim = 9;
    bad[7].norm_eps = 0.0;
    bad[8].rope.theta = -1.0;
    bad[9].rope.partial = 0.3;
    bad[10].rope.partial = 1.5;
    bad[11].rope.scaling = COP_ROPE_LINEAR;
    bad[12].rope = (cop_rope_settings){.theta = 1e4,
                                       .partial = 1.0,
                                       .scaling = COP_ROPE_LLAMA3,
                                       .factor = 8.0,
                                       .low_frequency_factor = 4.0,
                                       .high_frequency_factor = 4.0,
                                       .original_context = 16};
    bad[13].initializer_range = 2.0;
    bad[14].context = 0;
    bad[15].layer[1].kv_heads = 0;
    bad[16].rope.theta = (double)NAN;
    bad[17].norm_eps = (double)NAN;
    static const char *const want[ROWS] = {
        "x: vocab is 0 (allowed: 1..4194304)",
        "x: hidden is -1 (allowed: 1..131072)",
        "x: head_dim is 4097 (allowed: 1..4096)",
        "x: layers is 257 (allowed: 1..256)",
        "x: heads of layer 2 is 7 (allowed: multiples of its 2 kv_heads)",
        "x: ffn of layer 0 is 2097152 (allowed: 1..1048576)",
        "x: head_dim is 9 (allowed: even)",
        "x: norm eps is 0 (allowed: above 0, to 1)",
        "x: rope theta is -1 (allowed: above 0, to 1e30)",
        "x: rotary size is 3, 0.3 of head_dim 10 (allowed: even, at least 2)",
        "x: rotary share of head_dim is 1.5 (allowed: above 0, to 1)",
        "x: rope factor is 0 (allowed: above 0, to 1e9)",
        "x: rope low and high frequency factors are 4 and 4 (allowed: above 0, low below high)",
        "x: initializer_range is 2 (allowed: 0..1)",
        "x: context is 0 (allowed: 1..1073741824)",
        "x: kv_heads of layer 1 is 0 (allowed: 1..4096)",
        "x: rope theta is nan (allowed: above 0, to 1e30)",
        "x: norm eps is nan (allowed: above 0, to 1)",
    };

    for (int i = 0; i < ROWS; i++) {
        cop_error err = {0};
        assert_int_equal(cop_arch_check(&bad[i], "x", &err), COP_ERR_FORMAT);
        assert_string_equal(err.message, want[i]);
    }
    const cop_arch good = tiny_arch(COP_FAMILY_NEMOTRON);
    cop_error err = {0};
    assert_int_equal(cop_arch_check(&good, "x", &err), COP_OK);
}

static void describes_itself_in_one_line(void **state)
{
    (void)state;
    char text[COP_ARCH_TEXT_BYTES];
    cop_arch arch = tiny_arch(COP_FAMILY_NEMOTRON);

    assert_string_equal(cop_arch_text(text, &arch),
                        "nemotron 3L 48h 6/2 heads of 10 ffn 80 vocab 96");
    assert_true(cop_arch_is_uniform(&arch));
    arch.layer[1].ffn = 64;
    arch.layer[2].heads = 4;
    arch.is_tied = true;
    assert_string_equal(cop_arch_text(text, &arch),
                        "nemotron 3L 48h 4..6/2 heads of 10 ffn 64..80 vocab 96 tied");
    assert_false(cop_arch_is_uniform(&arch));
}

static void rotates_the_pairs_that_transformers_rotates(void **state)
{
    (void)state;

    static const struct {
        int64_t head_dim;
        double partial;
        int64_t pairs;
    } rows[] = {{128, 1.0, 64}, {128, 0.5, 32}, {12, 0.5, 3}, {16, 0.25, 2}, {10, 0.2, 1}};

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        cop_arch arch = tiny_arch(COP_FAMILY_NEMOTRON);
        arch.head_dim = rows[i].head_dim;
        arch.rope.partial = rows[i].partial;
        assert_int_equal(cop_arch_rotary_pairs(&arch), rows[i].pairs);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_the_published_shapes_exactly),
        cmocka_unit_test(counts_what_the_list_of_tensors_holds),
        cmocka_unit_test(counts_flops_as_the_papers_do),
        cmocka_unit_test(saturates_a_cache_that_no_number_holds),
        cmocka_unit_test(finds_every_tensor_by_role_and_by_name),
        cmocka_unit_test(lists_tensors_in_canonical_order),
        cmocka_unit_test(does_not_find_names_that_are_not_there),
        cmocka_unit_test(says_which_size_is_impossible),
        cmocka_unit_test(describes_itself_in_one_line),
        cmocka_unit_test(rotates_the_pairs_that_transformers_rotates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
