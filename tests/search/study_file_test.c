// study.yaml: what is read, what is refused and with which words, and that configs/README.md is the
// table of keys.

#include "search/study_file.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "tests/support.h"

#define TEACHER "teacher: t.json\n"

static cop_status parse(cop_study_file *study, const char *text, bool needs_data, cop_error *err)
{
    return cop_study_file_parse(study, "d/s.yaml", text, strlen(text), needs_data, err);
}

static void assert_near(double found, double wanted)
{
    assert_true(fabs(found - wanted) <= 1e-12 * fabs(wanted));
}

// --- What is read -------------------------------------------------------------------------------

static void a_teacher_alone_is_enough_for_the_space(void **state)
{
    (void)state;
    cop_study_file study;
    cop_error err = {0};
    assert_int_equal(parse(&study, TEACHER, false, &err), COP_OK);

    assert_string_equal(study.teacher, "d/t.json");
    assert_string_equal(study.importance, "");
    assert_int_equal(study.axis[COP_SPACE_LAYERS].count, 0);
    assert_true(study.params.max == HUGE_VAL && study.params.min == -HUGE_VAL);
    assert_int_equal(study.objectives, 2);
    assert_string_equal(study.strategy, "grid");
    assert_int_equal(study.seed, 1);
    assert_true(study.precision_is_auto);
    assert_near(study.keep, 0.33);
    assert_near(study.trainer.kl_weight, 1.0);
    assert_int_equal(study.select.aggregate, COP_AGGREGATE_DEFAULT);
    assert_int_equal(study.calibration_settings.sequence, 512);
    cop_study_file_release(&study);
}

static void every_form_of_an_axis_is_read(void **state)
{
    (void)state;
    cop_study_file study;
    cop_error err = {0};
    const char *text = TEACHER "space:\n"
                               "  layers: {from: 29, to: 32, step: 1}\n"
                               "  hidden: {divisor: 256, max_cut: 0.4}\n"
                               "  heads: [32, 48]\n"
                               "  kv_heads: 8\n"
                               "  ffn_ratio: {from: 2.5, to: 2.8, step: 0.1}\n";
    assert_int_equal(parse(&study, text, false, &err), COP_OK);

    assert_int_equal(study.axis[COP_SPACE_LAYERS].count, 4);
    assert_near(study.axis[COP_SPACE_LAYERS].value[3], 32.0);
    assert_int_equal(study.axis[COP_SPACE_HIDDEN].divisor, 256);
    assert_near(study.axis[COP_SPACE_HIDDEN].max_cut, 0.4);
    assert_int_equal(study.axis[COP_SPACE_HEADS].count, 2);
    assert_near(study.axis[COP_SPACE_KV_HEADS].value[0], 8.0);
    assert_int_equal(study.ffn_ratio.count, 4);
    assert_near(study.ffn_ratio.value[3], 2.8);
    cop_study_file_release(&study);
}

static void a_whole_study_is_read(void **state)
{
    (void)state;
    cop_study_file study;
    cop_error err = {0};
    const char *text =
        "teacher: /models/teacher\n"
        "importance: importance.h5\n"
        "data: {train: train.bin, validation: valid.bin, validation_sequences: 64,\n"
        "       calibration: {tokens: calib.bin, samples: 100, sequence: 256}}\n"
        "space: {ffn: [64]}\n"
        "budget:\n"
        "  params: {min: 7.8e9, max: 8.5e9}\n"
        "  memory_bytes: {max: 24e9, batch: 8, sequence: 8192, weights: bf16, kv: f32}\n"
        "  latency_ms: {max: 30, batch: 1, sequence: 2048}\n"
        "objectives: [loss, memory_bytes, flops_per_token]\n"
        "search: {strategy: grid, seed: 7}\n"
        "prune: {order: random, aggregation: var_l2, depth_metric: perplexity, carry: off}\n"
        "probe: {rungs: [1000, 5e3], batch_tokens: 1024, sequence: 256, loss: mixed,\n"
        "        cross_entropy_weight: 0.25, precision: bf16, schedule: constant}\n";
    assert_int_equal(parse(&study, text, true, &err), COP_OK);

    assert_string_equal(study.teacher, "/models/teacher");
    assert_string_equal(study.train, "d/train.bin");
    assert_string_equal(study.calibration, "d/calib.bin");
    assert_int_equal(study.calibration_settings.samples, 100);
    assert_true(study.calibration_settings.with_perplexity);
    assert_near(study.params.min, 7.8e9);
    assert_int_equal(study.memory_batch, 8);
    assert_int_equal(study.memory_weights, COP_BF16);
    assert_int_equal(study.memory_kv, COP_F32);
    assert_int_equal(study.objectives, 3);
    assert_int_equal(study.objective[2], COP_OBJECTIVE_FLOPS);
    assert_int_equal(study.select.order, COP_ORDER_RANDOM);
    assert_int_equal(study.select.aggregate, 6);
    assert_int_equal(study.select.seed, 7);
    assert_int_equal(study.precision, COP_PRECISION_BF16);
    assert_false(study.precision_is_auto);
    // Tokens are whole steps of 1024.
    assert_int_equal(study.rungs, 2);
    assert_int_equal(study.rung_tokens[0], 1024);
    assert_int_equal(study.rung_tokens[1], 5120);
    assert_int_equal(study.trainer.batch, 4);
    assert_int_equal(study.trainer.schedule.steps, 5);
    assert_near(study.trainer.schedule.minimum, 1e-5);
    assert_near(study.trainer.ce_weight, 0.25);
    assert_near(study.trainer.kl_weight, 0.75);
    cop_study_file_release(&study);
}

// --- What is refused ----------------------------------------------------------------------------

static void wrong_files_are_refused_with_their_place(void **state)
{
    (void)state;

    static const struct {
        const char *text;
        const char *message;
    } cases[] = {
        {"space: {}\n", "d/s.yaml:1:1: the key teacher is missing"},
        {TEACHER "spcae: {layers: [2]}\n",
         "d/s.yaml:2:1: spcae: unknown key (did you mean space? allowed: teacher, importance, "
         "data, space, budget, objectives, search, prune, probe, evaluator)"},
        {TEACHER "space:\n  layer: [2]\n",
         "d/s.yaml:3:3: space.layer: unknown key (did you mean layers? allowed: layers, hidden, "
         "heads, kv_heads, kv_groups, head_dim, ffn, ffn_ratio, heads@layer, kv_heads@layer, "
         "ffn@layer, keep_layers, drop_layers)"},
        {TEACHER "probe: {keep: 0.5, keep: 0.6}\n",
         "d/s.yaml:2:20: probe.keep: duplicate key (first on line 2)"},
        {TEACHER "probe: {keep: 0.3x}\n",
         "d/s.yaml:2:15: probe.keep: is 0.3x (allowed: a number in 1e-06..1)"},
        {TEACHER "probe: {keep: 0}\n", "d/s.yaml:2:15: probe.keep: is 0 (allowed: 1e-06..1)"},
        {TEACHER "space: {layers: [2, 0]}\n",
         "d/s.yaml:2:21: space.layers[1]: is 0 (allowed: 1..256)"},
        {TEACHER "space: {layers: [2, 2]}\n",
         "d/s.yaml:2:21: space.layers[1]: is 2 a second time (allowed: each once)"},
        {TEACHER "space: {layers: []}\n",
         "d/s.yaml:2:17: space.layers: has 0 values (allowed: 1..4096)"},
        {TEACHER "space: {layers: {from: 4, to: 2, step: 1}}\n",
         "d/s.yaml:2:31: space.layers.to: is 2 (allowed: at least from, which is 4)"},
        {TEACHER "space: {layers: {from: 4, to: 8}}\n",
         "d/s.yaml:2:17: space.layers: the key step is missing"},
        {TEACHER "space: {layers: {from: 4, max_cut: 0.3}}\n",
         "d/s.yaml:2:18: space.layers.from: unknown key (allowed: divisor, max_cut, min, max)"},
        {TEACHER "space: {ffn_ratio: {divisor: 8, max_cut: 0.3}}\n",
         "d/s.yaml:2:20: space.ffn_ratio: is {divisor, max_cut} (allowed for whole sizes: use "
         "space.ffn, or a list or {from, to, step} here)"},
        {TEACHER "space: {ffn_ratio: [4], ffn: [64]}\n",
         "d/s.yaml:2:20: space.ffn_ratio: stands beside space.ffn (allowed: one of the two)"},
        {TEACHER "space: {layers: 2.5}\n",
         "d/s.yaml:2:17: space.layers: is 2.5 (allowed: an integer in 1..256)"},
        {TEACHER "budget: {params: {min: 9e9, max: 8e9}}\n",
         "d/s.yaml:2:24: budget.params.min: is 9e+09 (allowed: at most max, which is 8e+09)"},
        {TEACHER "budget: 5\n",
         "d/s.yaml:2:9: budget: is 5 (allowed: a mapping of keys to values)"},
        {TEACHER "objectives: [params, loss]\n",
         "d/s.yaml:2:14: objectives[0]: is params (allowed: loss, which candidates are ranked by, "
         "first)"},
        {TEACHER "objectives: [loss, loss]\n",
         "d/s.yaml:2:20: objectives[1]: is loss a second time (allowed: each once)"},
        {TEACHER "search: {strategy: nsga3, population: 64}\n",
         "d/s.yaml:2:20: search.strategy: is nsga3 (did you mean nsga2? allowed: grid, random, "
         "stratified, nsga2, surrogate, knapsack)"},
        {TEACHER "search: {strategy: nsga2, generations: 3, evaluations: 9}\n",
         "d/s.yaml:2:40: search.generations: stands beside search.evaluations (allowed: one of the "
         "two)"},
        {TEACHER "search: {evaluations: 9}\n",
         "d/s.yaml:2:23: search.evaluations: has no use (allowed: with another strategy; the grid "
         "is evaluated whole)"},
        {TEACHER "search: {strategy: nsga2, fidelity: 3}\nprobe: {rungs: [16384, 32768]}\n",
         "d/s.yaml:2:37: search.fidelity: is 3 (allowed: 0..2, the stages of this study)"},
        {TEACHER "evaluator: {timeout_seconds: 5}\n",
         "d/s.yaml:2:30: evaluator.timeout_seconds: has no use (allowed: with evaluator.command)"},
        {"evaluator: {command: x}\nspace: {a: [1, 2]}\n",
         "d/s.yaml:1:1: objectives must list 1 to 8 metrics of the evaluator, all minimised"},
        {"evaluator: {command: x}\nspace: {a: [1, 2, 1]}\nobjectives: [y]\n",
         "d/s.yaml:2:19: space.a[2]: is 1 a second time (allowed: each once)"},
        {"evaluator: {command: x}\nspace: {a: {from: 0, to: 1, step: 1e-12}}\nobjectives: [y]\n",
         "d/s.yaml:2:35: space.a.step: makes 1e+12 values (allowed: up to 1073741824)"},
        {"evaluator: {command: x}\nspace: {a: 1}\nobjectives: [y]\nbudget: {z: {}}\n",
         "d/s.yaml:4:13: budget.z: names no bound (allowed: min, max or both)"},
        {"evaluator: {command: x}\nspace: {a: 1}\nobjectives: [y]\nprune: {order: random}\n",
         "d/s.yaml:4:16: prune.order: has no use beside an evaluator (allowed: without)"},
        {"evaluator: {command: x}\nspace: {a b: 1}\nobjectives: [y]\n",
         "d/s.yaml:2:14: space.a b: the name 'a b' (allowed: 1 to 63 letters, digits and "
         "_.:@/-)"},
        {TEACHER "probe: {rungs: [5, 3]}\n",
         "d/s.yaml:2:20: probe.rungs[1]: is 3 (allowed: above 5, the rung before)"},
        {TEACHER "probe: {rungs: [5, 6]}\n",
         "d/s.yaml:2:16: probe.rungs: rungs 1 and 2 are the same after rounding up to steps of "
         "16384 tokens"},
        {TEACHER "probe: {batch_tokens: 1000}\n",
         "d/s.yaml:2:23: probe.batch_tokens: is 1000 (allowed: multiples of probe.sequence, which "
         "is 512)"},
        {TEACHER "probe: {micro_batch: 3}\n",
         "d/s.yaml:2:22: probe.micro_batch: is 3 (allowed: divisors of 32, the sequences of a "
         "step)"},
        {TEACHER "probe: {cross_entropy_weight: 0.5}\n",
         "d/s.yaml:2:31: probe.cross_entropy_weight: has no use (allowed: with probe.loss mixed)"},
        {TEACHER "probe: {draws: 10}\n",
         "d/s.yaml:2:16: probe.draws: has no use (allowed: with probe.targets samples)"},
        {TEACHER "probe: {targets: samples, loss: ce}\n",
         "d/s.yaml:2:18: probe.targets: has no use (allowed: with KL in probe.loss)"},
        {TEACHER "probe: {targets: samples, temperature: 2}\n",
         "d/s.yaml:2:40: probe.temperature: is 2 (allowed: 1 with targets samples)"},
        {TEACHER "probe: {minimum_learning_rate: 1}\n",
         "d/s.yaml:2:32: probe.minimum_learning_rate: is 1 (allowed: at most probe.learning_rate, "
         "which is 0.0001)"},
        {TEACHER "probe: {rungs: [16384], warmup_steps: 1}\n",
         "d/s.yaml:2:39: probe.warmup_steps: is 1 (allowed: fewer than the 1 steps of the last "
         "rung)"},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        cop_study_file study;
        cop_error err = {0};
        assert_int_equal(parse(&study, cases[i].text, false, &err), COP_ERR_CONFIG);
        assert_string_equal(err.message, cases[i].message);
    }
}

static void a_search_needs_data_and_rungs(void **state)
{
    (void)state;

    static const struct {
        const char *text;
        const char *message;
    } cases[] = {
        {TEACHER, "d/s.yaml:1:1: the key data.train is missing"},
        {TEACHER "data: {train: a}\n", "d/s.yaml:1:1: the key data.validation is missing"},
        {TEACHER "data: {train: a, validation: b}\n",
         "d/s.yaml:1:1: the key probe.rungs is missing"},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        cop_study_file study;
        cop_error err = {0};
        assert_int_equal(parse(&study, cases[i].text, true, &err), COP_ERR_CONFIG);
        assert_string_equal(err.message, cases[i].message);
    }
}

static void a_long_path_is_refused(void **state)
{
    (void)state;
    char text[2 * COP_STUDY_PATH_BYTES];
    cop_study_file study;
    cop_error err = {0};

    (void)snprintf(text, sizeof text, "teacher: %01100d\n", 0);
    assert_int_equal(parse(&study, text, false, &err), COP_ERR_CONFIG);
    assert_string_equal(err.message, "d/s.yaml:1:10: teacher: has 1102 bytes with its folder "
                                     "(allowed: up to 1023)");
}

static void survives_every_failed_allocation(void **state)
{
    (void)state;
    const char *text = TEACHER "space: {layers: [1, 2], hidden: {divisor: 8, max_cut: 0.5}}\n"
                               "probe: {rungs: [1e6]}\n";
    const size_t live = cop_alloc_live_blocks();
    cop_status status = COP_ERR_NOMEM;

    for (size_t n = 0; status != COP_OK && n < 1000; n++) {
        cop_study_file study;
        cop_error err = {0};
        cop_alloc_fail_after(n);
        status = parse(&study, text, false, &err);
        cop_alloc_fail_after(SIZE_MAX);
        if (status == COP_OK) {
            cop_study_file_release(&study);
        } else {
            assert_int_equal(status, COP_ERR_NOMEM);
        }
        assert_int_equal(cop_alloc_live_blocks(), live);
    }
    assert_int_equal(status, COP_OK);
}

// --- The table ----------------------------------------------------------------------------------

static void the_readme_has_every_key_and_no_other(void **state)
{
    (void)state;
    cop_error err = {0};
    char *readme = NULL;
    assert_int_equal(
        cop_file_read(&readme, NULL, COP_SOURCE_DIR "/configs/README.md", 1 << 20, &err), COP_OK);
    const char *at = strstr(readme, "| key |");
    assert_non_null(at);
    at = strchr(strchr(at, '\n') + 1, '\n') + 1;

    for (size_t i = 0; i < cop_study_key_count(); i++) {
        const cop_study_key key = cop_study_key_at(i);
        char row[512];
        (void)snprintf(row, sizeof row, "| `%s` | %s | %s | %s | %s | %s |\n", key.path, key.type,
                       key.unit, key.range, key.fallback, key.help);
        char found[512];
        (void)snprintf(found, sizeof found, "%.*s\n", (int)strcspn(at, "\n"), at);
        assert_string_equal(found, row);
        at += strlen(row);
    }
    assert_string_equal(at, "");
    cop_free(readme);
}

// Text of all values of a study, by which a study directory tells two studies apart.
static void write_values(cop_text *out, const char *text)
{
    cop_study_file study;
    cop_error err = {0};
    assert_int_equal(parse(&study, text, false, &err), COP_OK);
    for (size_t i = 0; i < cop_study_key_count(); i++) {
        const size_t before = out->length;
        if (cop_study_key_value(&study, i, out)) {
            assert_true(out->length > before || cop_study_key_at(i).path != NULL);
            cop_text_append(out, "\n");
        }
    }
    cop_study_file_release(&study);
}

static void equal_meanings_have_equal_values(void **state)
{
    (void)state;
    cop_text a = {0};
    cop_text b = {0};
    cop_text c = {0};
    write_values(&a, TEACHER "space: {layers: [2, 3]}\nprobe: {keep: 0.33, rungs: [16384]}\n");
    write_values(&b, "teacher: other\nprobe: {rungs: [1.6e4]}\n"
                     "space: {layers: {from: 2, to: 3, step: 1}}\n");
    write_values(&c, TEACHER "space: {layers: [2, 3]}\nprobe: {keep: 0.34, rungs: [16384]}\n");

    assert_string_equal(cop_text_view(&a), cop_text_view(&b));
    assert_string_not_equal(cop_text_view(&a), cop_text_view(&c));
    cop_text_release(&a);
    cop_text_release(&b);
    cop_text_release(&c);
}

static void the_study_directory_is_named_after_the_file(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"a/b.yaml", "a/b.study"}, {"b.yml", "b.study"}, {"x.y/b", "x.y/b.study"}};
    for (size_t i = 0; i < 3; i++) {
        char *found = cop_study_file_directory(cases[i][0]);
        assert_string_equal(found, cases[i][1]);
        cop_free(found);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_teacher_alone_is_enough_for_the_space),
        cmocka_unit_test(every_form_of_an_axis_is_read),
        cmocka_unit_test(a_whole_study_is_read),
        cmocka_unit_test(wrong_files_are_refused_with_their_place),
        cmocka_unit_test(a_search_needs_data_and_rungs),
        cmocka_unit_test(a_long_path_is_refused),
        cmocka_unit_test(survives_every_failed_allocation),
        cmocka_unit_test(the_readme_has_every_key_and_no_other),
        cmocka_unit_test(equal_meanings_have_equal_values),
        cmocka_unit_test(the_study_directory_is_named_after_the_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
