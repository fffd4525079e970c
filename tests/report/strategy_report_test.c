// Reports of studies whose candidates a strategy proposed, and of how far stages agree.

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "report/report.h"
#include "report/surrogate_json.h"
#include "tests/report/made.h"
#include "tests/search/synthetic.h"
#include "tests/support.h"

enum { SEQUENCES = 12 };

static const char *text_at(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    assert_true(json_is_string(value));
    return json_string_value(value);
}

static double real_at(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    assert_true(json_is_number(value));
    return json_number_value(value);
}

static void a_grid_says_how_its_front_grew_and_how_far_stages_agree(void **state)
{
    (void)state;
    made m;
    make(&m, "grid");
    const json_t *study = json_object_get(m.document, "study");
    assert_string_equal(text_at(study, "strategy"), "grid");
    assert_int_equal(json_integer_value(json_object_get(study, "seed")), 1);
    assert_int_equal(json_array_size(json_object_get(study, "proposals")), 0);
    assert_true(json_is_null(json_object_get(study, "surrogate")));
    const json_t *volume = json_object_get(study, "hypervolume");
    const json_t *history = json_object_get(volume, "history");
    assert_int_equal(json_integer_value(json_object_get(volume, "stage")), 3);
    assert_int_equal(json_integer_value(json_object_get(volume, "history_stage")), 0);
    assert_int_equal(json_array_size(history), 29);
    double last = 0;
    for (size_t i = 0; i < json_array_size(history); i++) {
        const double value = json_number_value(json_array_get(json_array_get(history, i), 1));
        assert_true(value >= last);
        last = value;
    }
    // The 30th failed, but was asked for.
    assert_int_equal(json_integer_value(json_array_get(json_array_get(history, 28), 0)), 30);
    const json_t *stages = json_object_get(m.document, "stages");
    for (size_t s = 0; s < 3; s++) {
        const json_t *within = json_object_get(json_array_get(stages, s), "tau_within_size");
        assert_int_equal(json_is_number(json_object_get(within, "value")), s > 0);
        json_int_t shared = 0;
        const json_t *strata = json_object_get(within, "strata");
        for (size_t k = 0; k < json_array_size(strata); k++) {
            shared += json_integer_value(json_object_get(json_array_get(strata, k), "shared"));
        }
        assert_int_equal(shared, s == 0 ? 0 : s == 1 ? 20 : 10);
    }
    double best = 0; // some candidate has the lowest loss in every resample
    const json_t *list = json_object_get(m.document, "candidates");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *of = json_object_get(json_array_get(list, i), "stages");
        if (json_array_size(of) == 4) {
            best += real_at(json_array_get(of, 3), "best_probability");
        }
        assert_true(json_is_null(json_object_get(json_array_get(list, i), "batch")));
        assert_true(json_is_null(json_object_get(json_array_get(list, i), "importance_mass")));
        assert_null(json_object_get(json_array_get(list, i), "blocks"));
    }
    assert_true(fabs(best - 1) < 1e-9);
    made_release(&m);
}

// Five candidates in two batches; the last one's layers differ.
static void proposed_study(const char *directory)
{
    cop_layer_arch blocks[] = {{.heads = 6, .kv_heads = 2, .ffn = 256},
                               {.heads = 4, .kv_heads = 2, .ffn = 512}};
    cop_candidate c[5];
    cop_error err = {0};
    cop_store *store = synthetic_store(directory);
    for (int i = 0; i < 5; i++) {
        c[i] = synthetic_candidate(4 - i, 2 + (i == 4 ? 0 : i), 64, 256);
    }
    cop_candidate_name(&c[4], blocks);
    must_succeed(cop_store_propose(store, c, 3, 0, 0, &err), &err);
    must_succeed(cop_store_propose(store, c + 3, 2, 1, 0, &err), &err);
    for (int i = 0; i < 5; i++) {
        double values[SEQUENCES];
        for (int k = 0; k < SEQUENCES; k++) {
            values[k] = 1 + 0.1 * i + 0.01 * k;
        }
        cop_stage_record record = synthetic_record(0, 0, values, SEQUENCES);
        must_succeed(cop_store_finish_stage(store, c[i].id, &record, NULL, 0, &err), &err);
        cop_evaluation_release(&record.evaluation);
    }
    static const char *const facts[][2] = {
        {"setting.search.strategy", "surrogate"},
        {"setting.search.fidelity", "0"},
        {"setting.search.evaluations", "5"},
        {"seed", "7"},
        {"space_size", "9223372036854775807"},
        {"feasible", "9223372036854775807"},
        {"excluded", "params <= 5e6: 0"},
        {"calibration.loss", "{\"n\": 2, \"coverage50\": 0.5, \"coverage90\": 1, \"tau\": null, "
                             "\"rmse\": 0.25, \"scale\": 1, \"is_exact\": false}"},
        {"calibration.params", "{\"n\": 0, \"is_exact\": true}"},
        {"calibration.broken", "{"},
    };
    for (size_t i = 0; i < sizeof facts / sizeof facts[0]; i++) {
        must_succeed(cop_store_set(store, facts[i][0], facts[i][1], &err), &err);
    }
    cop_store_destroy(store);
}

static void what_a_strategy_proposed_is_told(void **state)
{
    (void)state;
    made m;
    cop_text line = {0};
    proposed_study("proposed");
    make(&m, "proposed");
    const json_t *study = json_object_get(m.document, "study");
    assert_string_equal(text_at(study, "strategy"), "surrogate");
    assert_int_equal(json_integer_value(json_object_get(study, "seed")), 7);
    const json_t *proposals = json_object_get(study, "proposals");
    assert_int_equal(json_array_size(proposals), 2);
    assert_true(real_at(json_array_get(proposals, 0), "candidates") == 3);
    assert_true(real_at(json_array_get(proposals, 1), "candidates") == 2);
    assert_true(real_at(json_array_get(proposals, 1), "batch") == 1);
    const json_t *space = json_object_get(study, "space");
    assert_true(json_is_null(json_object_get(space, "size")));
    assert_true(json_is_null(json_object_get(space, "feasible")));
    const json_t *bound = json_array_get(json_object_get(space, "bounds"), 0);
    assert_string_equal(text_at(bound, "text"), "params <= 5e6");
    assert_true(json_is_null(json_object_get(bound, "excluded")));
    const json_t *surrogate = json_object_get(study, "surrogate");
    assert_int_equal(json_object_size(surrogate), 2);
    assert_true(real_at(json_object_get(surrogate, "loss"), "rmse") == 0.25);
    assert_true(json_is_null(json_object_get(json_object_get(surrogate, "loss"), "tau")));
    assert_null(json_object_get(json_object_get(json_object_get(m.document, "provenance"), "facts"),
                                "calibration.loss"));
    cop_report_append_surrogate(&line, m.snapshot.fact, m.snapshot.facts, "; ");
    assert_string_equal(cop_text_view(&line),
                        "loss: 2 predictions, 50 % intervals hold 50 %, 90 % intervals "
                        "100 %, off by 0.25");
    cop_text_release(&line);

    int64_t uneven = 0;
    for (int64_t i = 0; i < m.snapshot.count; i++) {
        const json_t *c = json_array_get(json_object_get(m.document, "candidates"), (size_t)i);
        const json_t *blocks = json_object_get(c, "blocks");
        assert_int_equal(json_integer_value(json_object_get(c, "batch")),
                         m.snapshot.candidate[i].batch);
        if (blocks != NULL) {
            assert_int_equal(json_array_size(blocks), 2);
            assert_true(real_at(json_array_get(blocks, 0), "heads") == 6);
            assert_true(real_at(json_array_get(blocks, 1), "kv_heads") == 2);
            assert_true(real_at(json_array_get(blocks, 1), "ffn") == 512);
            uneven++;
        }
    }
    assert_int_equal(uneven, 1);
    made_release(&m);
}

// The losses rise in the order proposed, which is the reverse of the grid's.
static void the_hypervolume_grows_in_the_order_proposed(void **state)
{
    (void)state;
    made m;
    proposed_study("proposed");
    make(&m, "proposed");
    const json_t *volume = json_object_get(json_object_get(m.document, "study"), "hypervolume");
    const json_t *history = json_object_get(volume, "history");
    assert_int_equal(json_array_size(history), 5);
    // The first proposed has the lowest loss: alone it owns all that lies above its size.
    const cop_report_volume *v = &m.report.volume;
    double params = 0;
    for (int64_t i = 0; i < m.snapshot.count; i++) {
        const cop_snapshot_candidate *c = &m.snapshot.candidate[i];
        params = c->batch == 0 && c->slot == 0 ? (double)c->candidate.cost.params : params;
    }
    const double size = (params - v->minimum[1]) / (v->maximum[1] - v->minimum[1]);
    const double wanted = 1.1 * (1.1 - size);
    assert_true(fabs(json_number_value(json_array_get(json_array_get(history, 0), 1)) - wanted) <
                1e-12);
    made_release(&m);
}

static void volumes_are_those_of_the_points(void **state)
{
    (void)state;
    cop_error err = {0};
    cop_report_volume v;
    // Out of order; one that is not finite, one that is dominated.
    cop_report_point point[] = {{3, {1, 0}}, {0, {0, 1}}, {1, {(double)NAN, 0}}, {2, {1, 1}}};
    must_succeed(cop_report_volume_make(&v, point, 4, 2, 6, true, &err), &err);
    assert_int_equal(v.points, 3);
    const int64_t evaluations[] = {1, 3, 6};
    // (0, 1) owns 1.1 x 0.1; (1, 0) adds 0.1 x 1.
    const double history[] = {0.11, 0.11, 0.21};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(v.evaluations[i], evaluations[i]);
        assert_true(fabs(v.history[i] - history[i]) < 1e-12);
    }
    assert_true(v.value == v.history[2] && v.minimum[0] == 0 && v.maximum[1] == 1);

    must_succeed(cop_report_volume_make(&v, point, 0, 2, 0, true, &err), &err);
    assert_true(isnan(v.value) && v.points == 0);
    must_succeed(cop_report_volume_make(&v, point, 1, 5, 1, true, &err), &err);
    assert_true(isnan(v.value));
    json_t *none = cop_report_json_volume(&v, &v, 5);
    assert_true(json_is_null(none));
    json_decref(none);
}

static void survives_every_failed_allocation(void **state)
{
    (void)state;
    cop_error err = {0};
    cop_snapshot snapshot = {0};
    cop_store *store = NULL;
    proposed_study("proposed");
    must_succeed(cop_store_open(&store, "proposed", COP_STORE_READ, &err), &err);
    must_succeed(cop_snapshot_read(&snapshot, store, &err), &err);
    const size_t blocks = cop_alloc_live_blocks();
    for (size_t n = 0;; n++) {
        cop_report report = {0};
        cop_alloc_fail_after(n);
        const cop_status status = cop_report_create(&report, &snapshot, "proposed", &err);
        cop_alloc_fail_after(SIZE_MAX);
        cop_report_release(&report);
        assert_int_equal(cop_alloc_live_blocks(), blocks);
        if (status == COP_OK) {
            assert_true(n > 10);
            break;
        }
        assert_int_equal(status, COP_ERR_NOMEM);
    }
    cop_snapshot_release(&snapshot);
    cop_store_destroy(store);
}

static int make_grid(void **state)
{
    (void)state;
    synthetic_study("grid", false);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_grid_says_how_its_front_grew_and_how_far_stages_agree),
        cmocka_unit_test(what_a_strategy_proposed_is_told),
        cmocka_unit_test(the_hypervolume_grows_in_the_order_proposed),
        cmocka_unit_test(volumes_are_those_of_the_points),
        cmocka_unit_test(survives_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, make_grid, NULL);
}
