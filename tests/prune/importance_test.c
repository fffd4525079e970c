// Scores against a second implementation, their independence of the batch, and what is refused.

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "tests/prune/naive_scores.h"

static cop_importance *measure(cop_network *network, const cop_tokens *tokens, int64_t samples,
                               bool with_perplexity)
{
    cop_error err = {0};
    cop_importance *scores = NULL;
    const cop_importance_settings settings = {
        .samples = samples,
        .sequence = SEQUENCE,
        .with_perplexity = with_perplexity,
        .precision = cop_network_settings(network)->precision,
    };
    must(cop_importance_measure(&scores, network, tokens, &settings, &err), &err);
    return scores;
}

static void compare_layer(const teacher_run *run, const cop_importance *scores, int64_t layer,
                          int aggregate, double tolerance)
{
    const cop_arch *arch = cop_network_arch(run->network);
    const cop_layer_arch *dims = &arch->layer[layer];
    const int64_t in_group = dims->heads / dims->kv_heads;
    for (int64_t h = 0; h < dims->heads; h++) {
        assert_close(cop_importance_heads(scores, aggregate, layer)[h],
                     naive_score(run, COP_TAP_HEADS, layer, h, arch->head_dim, aggregate),
                     tolerance);
    }
    for (int64_t k = 0; k < dims->kv_heads; k++) {
        assert_close(
            cop_importance_kv_groups(scores, aggregate, layer)[k],
            naive_score(run, COP_TAP_HEADS, layer, k, in_group * arch->head_dim, aggregate),
            tolerance);
    }
    for (int64_t f = 0; f < dims->ffn; f++) {
        assert_close(cop_importance_neurons(scores, aggregate, layer)[f],
                     naive_score(run, COP_TAP_NEURONS, layer, f, 1, aggregate), tolerance);
    }
}

// All in f64; what is left is rounding, and the cancellation in a variance over seven positions.
static void agrees_with_the_definitions(void **state)
{
    (void)state;
    for (int which = 0; which < TINY_COUNT; which++) {
        const cop_arch arch = tiny_arch(which);
        teacher_run run = {0};
        run_open(&run, &arch, COP_PRECISION_F64);
        cop_importance *scores = measure(run.network, run.tokens, SAMPLES, true);

        assert_int_equal(cop_importance_layers(scores), arch.layers);
        for (int aggregate = 0; aggregate < COP_AGGREGATES; aggregate++) {
            for (int64_t layer = 0; layer < arch.layers; layer++) {
                compare_layer(&run, scores, layer, aggregate, 1e-10);
            }
            for (int64_t c = 0; c < arch.hidden; c++) {
                double sum = 0.0;
                for (int64_t layer = 0; layer < arch.layers; layer++) {
                    sum += naive_score(&run, COP_TAP_INPUT_NORM, layer, c, 1, aggregate);
                    sum += naive_score(&run, COP_TAP_POST_NORM, layer, c, 1, aggregate);
                }
                assert_close(cop_importance_channels(scores, aggregate)[c], sum, 1e-10);
            }
        }
        for (int64_t layer = 0; layer < arch.layers; layer++) {
            assert_close(cop_importance_block_influence(scores)[layer],
                         naive_influence(&run, layer, arch.hidden), 1e-12);
            // The operator hands cross-entropies over in f32: 24 bits each.
            assert_close(cop_importance_perplexity(scores)[layer], naive_perplexity(&run, layer),
                         2e-6);
        }
        assert_close(cop_importance_teacher_perplexity(scores), naive_perplexity(&run, -1), 2e-6);
        cop_importance_destroy(scores);
        run_close(&run);
    }
}

static size_t storage_bytes(const cop_importance *scores)
{
    return sizeof(double) *
           (size_t)(COP_AGGREGATES *
                        (scores->layers * (scores->heads + scores->kv_heads + scores->ffn) +
                         scores->hidden) +
                    2 * scores->layers);
}

static void has_the_same_bits_for_every_batch(void **state)
{
    (void)state;
    const cop_arch arch = tiny_arch(TINY_NEMOTRON);

    const struct {
        const char *backend;
        cop_precision precision;
    } rows[] = {
        {"reference", COP_PRECISION_F32},
        {"reference", COP_PRECISION_F64},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        cop_importance *first = NULL;
        cop_tokens *tokens = text_open("batch.bin", 5 * SEQUENCE + 3, arch.vocab, 4);
        for (int64_t batch = 1; batch <= 6; batch++) {
            cop_backend *backend = tiny_backend(rows[i].backend);
            const cop_network_options options = {
                .precision = rows[i].precision, .batch = batch, .sequence = SEQUENCE + 2};
            cop_network *network = tiny_network(&arch, &options, backend);
            tiny_fill(network, 8);
            cop_importance *scores = measure(network, tokens, 5, true);
            if (first == NULL) {
                first = scores;
            } else {
                assert_memory_equal(scores->storage, first->storage, storage_bytes(first));
                assert_true(scores->teacher_perplexity == first->teacher_perplexity);
                cop_importance_destroy(scores);
            }
            cop_network_destroy(network);
            cop_backend_destroy(backend);
        }
        cop_importance_destroy(first);
        cop_tokens_destroy(tokens);
    }
}

// The fast backend's f32 matmuls may round the last bits differently for other numbers of rows; 1e-5
// is the operators' own bound.
static void fast_backend_agrees_with_the_reference(void **state)
{
    (void)state;
    for (int which = 0; which < TINY_COUNT; which++) {
        const cop_arch arch = tiny_arch(which);
        const char *const names[] = {"reference", "cpu"};
        cop_importance *scores[2] = {0};
        cop_tokens *tokens = text_open("fast.bin", 6 * SEQUENCE + 1, arch.vocab, 4);
        for (int64_t i = 0; i < 2; i++) {
            cop_backend *backend = tiny_backend(names[i]);
            const cop_network_options options = {
                .precision = COP_PRECISION_F32, .batch = 2 + i, .sequence = SEQUENCE};
            cop_network *network = tiny_network(&arch, &options, backend);
            tiny_fill(network, 8);
            scores[i] = measure(network, tokens, 6, true);
            cop_network_destroy(network);
            cop_backend_destroy(backend);
        }
        const int64_t count = (int64_t)(storage_bytes(scores[0]) / sizeof(double));
        for (int64_t i = 0; i < count; i++) {
            if (isnan(scores[0]->storage[i])) {
                assert_true(isnan(scores[1]->storage[i]));
            } else {
                assert_close(scores[1]->storage[i], scores[0]->storage[i], 1e-4);
            }
        }
        cop_importance_destroy(scores[0]);
        cop_importance_destroy(scores[1]);
        cop_tokens_destroy(tokens);
    }
}

static void pads_narrow_layers_with_nan(void **state)
{
    (void)state;
    const cop_arch arch = tiny_arch(TINY_LLAMA_BIASED);
    teacher_run run = {0};
    run_open(&run, &arch, COP_PRECISION_F32);
    cop_importance *scores = measure(run.network, run.tokens, 2, false);
    assert_true(isfinite(cop_importance_heads(scores, 0, 2)[0]));
    assert_true(isnan(cop_importance_heads(scores, 0, 2)[1]));
    assert_true(isfinite(cop_importance_neurons(scores, 8, 1)[6]));
    assert_true(isnan(cop_importance_neurons(scores, 8, 1)[7]));
    assert_null(cop_importance_perplexity(scores));
    assert_true(isnan(cop_importance_teacher_perplexity(scores)));
    cop_importance_destroy(scores);
    run_close(&run);
}

// Three of the eight windows of a file are windows 0, 2 and 5: a file of these alone gives the same.
static void spreads_samples_over_the_file(void **state)
{
    (void)state;
    const cop_arch arch = tiny_arch(TINY_LLAMA);
    const int64_t windows[] = {0, 2, 5};
    int32_t ids[8 * SEQUENCE + 1];
    int32_t chosen[3 * SEQUENCE + 1] = {0};
    teacher_run run = {0};

    run_open(&run, &arch, COP_PRECISION_F32);
    tiny_ids(ids, 8 * SEQUENCE + 1, arch.vocab, 5);
    for (int64_t i = 0; i < 3; i++) {
        memcpy(chosen + i * SEQUENCE, ids + windows[i] * SEQUENCE, SEQUENCE * sizeof *ids);
    }
    cop_tokens *whole = text_open_ids("whole.bin", ids, 8 * SEQUENCE + 1, arch.vocab);
    cop_tokens *part = text_open_ids("part.bin", chosen, 3 * SEQUENCE + 1, arch.vocab);
    cop_importance *of_whole = measure(run.network, whole, 3, false);
    cop_importance *of_part = measure(run.network, part, 3, false);
    assert_memory_equal(of_whole->storage, of_part->storage,
                        storage_bytes(of_whole) - (size_t)arch.layers * sizeof(double));
    cop_importance_destroy(of_part);
    cop_importance_destroy(of_whole);
    cop_tokens_destroy(part);
    cop_tokens_destroy(whole);
    run_close(&run);
}

static void keep_line(void *context, cop_log_level level, const char *line)
{
    char *to = context;
    if (level == COP_LOG_INFO && strstr(line, "asked") != NULL) {
        (void)snprintf(to, 200, "%s", line);
    }
}

static void says_when_the_file_has_fewer_sequences(void **state)
{
    (void)state;
    const cop_arch arch = tiny_arch(TINY_LLAMA);
    char line[200] = "";
    teacher_run run = {0};

    run_open(&run, &arch, COP_PRECISION_F32);
    cop_log_set_sink(keep_line, line);
    cop_importance *scores = measure(run.network, run.tokens, 1000, false);
    cop_log_set_sink(NULL, NULL);
    assert_string_equal(
        line, "naive.bin holds 5 sequences of 7 tokens: all are used, 1000 were asked for");
    cop_importance_destroy(scores);
    run_close(&run);
}

static void names_what_is_wrong_with_the_settings(void **state)
{
    (void)state;
    const cop_arch arch = tiny_arch(TINY_LLAMA);
    teacher_run run = {0};

    const struct {
        cop_importance_settings settings;
        cop_status status;
        const char *want;
    } rows[] = {
        {{.samples = 0, .sequence = 4},
         COP_ERR_CONFIG,
         "importance: samples is 0 (allowed: 1..16777216)"},
        {{.samples = 4, .sequence = 0},
         COP_ERR_CONFIG,
         "importance: sequence is 0 (allowed: 1..16777216)"},
        {{.samples = 4, .sequence = 8},
         COP_ERR_CONFIG,
         "importance: sequence is 8 (allowed: 1..7)"},
        {{.samples = 4, .sequence = 7, .batch = -1},
         COP_ERR_CONFIG,
         "importance: batch is -1 (allowed: 0..16777216)"},
        {{.samples = 4, .sequence = 7, .precision = COP_PRECISION_BF16},
         COP_ERR_CONFIG,
         "importance: the network computes in f32 (allowed: bf16)"},
        {{.samples = 4, .sequence = 36},
         COP_ERR_FORMAT,
         "naive.bin: 36 tokens are too few for one calibration sequence of 36 and the token behind "
         "it (allowed: sequences of 1..35)"},
    };

    run_open(&run, &arch, COP_PRECISION_F32);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        cop_importance *scores = NULL;
        cop_error err = {0};
        assert_int_equal(
            cop_importance_measure(&scores, run.network, run.tokens, &rows[i].settings, &err),
            rows[i].status);
        assert_string_equal(err.message, rows[i].want);
        assert_null(scores);
    }
    run_close(&run);
}

static void refuses_scores_that_are_not_finite(void **state)
{
    (void)state;
    const cop_arch arch = tiny_arch(TINY_LLAMA);
    teacher_run run = {0};
    cop_importance *scores = NULL;
    cop_error err = {0};
    float huge[12] = {0};

    run_open(&run, &arch, COP_PRECISION_F32);
    const cop_importance_settings settings = {.samples = 2, .sequence = SEQUENCE};
    const cop_tensor_sink sink = cop_network_sink(run.network);
    const int64_t norm = cop_arch_find(&arch, COP_ROLE_INPUT_NORM, 1);
    for (size_t i = 0; i < 12; i++) {
        huge[i] = 3e38f;
    }
    must(sink.put(sink.context, norm, COP_F32, huge, &err), &err);
    assert_int_equal(cop_importance_measure(&scores, run.network, run.tokens, &settings, &err),
                     COP_ERR_DEVICE);
    assert_null(scores);
    assert_non_null(strstr(err.message, "of layer 1 scores"));
    run_close(&run);
}

static void survives_every_failed_allocation(void **state)
{
    (void)state;
    const cop_arch arch = tiny_arch(TINY_LLAMA);
    teacher_run run = {0};
    cop_status status = COP_ERR_NOMEM;
    const cop_importance_settings settings = {
        .samples = 3, .sequence = SEQUENCE, .with_perplexity = true};

    run_open(&run, &arch, COP_PRECISION_F32);
    const size_t live = cop_alloc_live_blocks();
    size_t n = 0;
    for (; status == COP_ERR_NOMEM && n < 300; n++) {
        cop_importance *scores = NULL;
        cop_alloc_fail_after(n);
        status = cop_importance_measure(&scores, run.network, run.tokens, &settings, NULL);
        cop_alloc_fail_after(SIZE_MAX);
        assert_int_equal(scores != NULL, status == COP_OK);
        cop_importance_destroy(scores);
        assert_int_equal(cop_alloc_live_blocks(), live);
    }
    assert_int_equal(status, COP_OK);
    assert_true(n > 8);
    run_close(&run);
}

// What is allocated is what was planned: the plan's lines against the blocks' bytes cannot be compared
// from outside, but a plan that forgets the streams or the sums is far too small.
static void plans_what_it_allocates(void **state)
{
    (void)state;
    const cop_arch arch = teacher_arch(COP_FAMILY_LLAMA);
    cop_backend *backend = tiny_backend("reference");
    cop_error err = {0};
    cop_plan with;
    cop_plan without;
    cop_importance_settings settings = {
        .samples = 64, .sequence = 128, .batch = 2, .with_perplexity = true};

    cop_plan_init(&with);
    cop_plan_init(&without);
    must(cop_importance_plan(&with, &arch, &settings, backend, &err), &err);
    settings.with_perplexity = false;
    must(cop_importance_plan(&without, &arch, &settings, backend, &err), &err);
    const uint64_t units = 240; // 4 layers of 6 + 2 + 20 + 16 + 16
    assert_int_equal(with.line[1].bytes, 96 * units + 128);
    assert_int_equal(with.line[2].bytes, 72 * units);
    assert_int_equal(with.line[3].bytes, 4 * 2 * 128 * 16 * 4);
    assert_int_equal(without.line[3].bytes, 2 * 128 * 16 * 4);
    assert_true(with.line[4].bytes >= without.line[4].bytes + 10240);
    cop_backend_destroy(backend);
}

static void folds_by_the_printed_formulas(void **state)
{
    (void)state;
    // Two sequences of two positions: (1, -3) and (2, 2).
    const double moments[2][3] = {{4.0, 10.0, -2.0}, {4.0, 8.0, 4.0}};
    const double l2[2] = {sqrt(10.0), sqrt(8.0)};
    const double want[COP_AGGREGATES] = {
        sqrt(18.0),
        sqrt(8.0),
        4.0, // l2 over: l2, mean (2, 2), var (4, 0)
        (l2[0] + l2[1]) / 2.0,
        2.0,
        2.0,
        (l2[0] - l2[1]) * (l2[0] - l2[1]) / 4.0,
        0.0,
        4.0,
    };
    cop_fold fold;
    cop_error err = {0};

    must(cop_fold_init(&fold, 1, &err), &err);
    for (int i = 0; i < 2; i++) {
        cop_fold_next(&fold);
        cop_fold_add(&fold, 0, 1, moments[i], 2);
    }
    for (int i = 0; i < COP_AGGREGATES; i++) {
        double score = 0.0;
        cop_fold_score(&fold, i, 0, 1, &score);
        assert_close(score, want[i], 1e-14);
        assert_int_equal(cop_aggregate_find(cop_aggregate_name(i)), i);
    }
    assert_int_equal(cop_aggregate_find("l2_mean"), COP_AGGREGATE_DEFAULT);
    assert_int_equal(cop_aggregate_find("mean"), -1);
    cop_fold_release(&fold);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(folds_by_the_printed_formulas),
        cmocka_unit_test(agrees_with_the_definitions),
        cmocka_unit_test(has_the_same_bits_for_every_batch),
        cmocka_unit_test(fast_backend_agrees_with_the_reference),
        cmocka_unit_test(pads_narrow_layers_with_nan),
        cmocka_unit_test(spreads_samples_over_the_file),
        cmocka_unit_test(says_when_the_file_has_fewer_sequences),
        cmocka_unit_test(names_what_is_wrong_with_the_settings),
        cmocka_unit_test(refuses_scores_that_are_not_finite),
        cmocka_unit_test(survives_every_failed_allocation),
        cmocka_unit_test(plans_what_it_allocates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
