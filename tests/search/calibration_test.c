// What is stored of a surrogate beside its study.

#include "search/calibration.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/json.h"
#include "search/facts.h"
#include "tests/search/synthetic.h"
#include "tests/search/toy_domains.h"
#include "tests/support.h"

static const char *const names[] = {"loss", "latency ms"};

// A strategy that was told `batches` batches of its own.
static cop_strategy *told(const cop_strategy_type *type, toy *domain, int batches)
{
    enum { BATCH = 4 };

    cop_error err = {0};
    cop_strategy *strategy = NULL;
    cop_strategy_options options = COP_STRATEGY_OPTIONS_DEFAULT;
    options.objectives = 2;
    options.population = 6;
    options.batch = BATCH;
    must_succeed(cop_strategy_create(&strategy, type, &domain->domain, &options, &err), &err);
    for (int b = 0; b < batches; b++) {
        int32_t genomes[8 * TOY_AXES_MAX];
        cop_trial trials[8];
        int64_t count = 0;
        must_succeed(cop_strategy_ask(strategy, genomes, 8, &count, &err), &err);
        for (int64_t i = 0; i < count; i++) {
            trials[i] = (cop_trial){.genome = genomes + i * domain->domain.axes};
            toy_evaluate(domain, trials[i].genome, &trials[i]);
        }
        must_succeed(cop_strategy_tell(strategy, trials, count, &err), &err);
    }
    return strategy;
}

static json_t *stored(cop_store *store, const char *key)
{
    char *text = NULL;
    json_t *value = NULL;
    cop_error err = {0};
    must_succeed(cop_store_get(store, key, &text, &err), &err);
    if (text != NULL) {
        must_succeed(cop_json_parse(&value, key, text, strlen(text), &err), &err);
    }
    cop_free(text);
    return value;
}

static void what_is_stored_is_what_the_strategy_says(void **state)
{
    (void)state;
    static const int batches[] = {0, 5};
    for (size_t i = 0; i < 2; i++) {
        toy domain;
        cop_error err = {0};
        cop_surrogate_calibration wanted;
        toy_init(&domain, TOY_HUGE);
        cop_store *store = synthetic_store("calibrated");
        cop_strategy *strategy = told(&cop_strategy_surrogate, &domain, batches[i]);
        assert_true(cop_strategy_is_surrogate(strategy));
        must_succeed(cop_calibration_store(store, strategy, names, 2, &err), &err);
        must_succeed(cop_strategy_surrogate_calibration(&wanted, strategy, 1, &err), &err);
        json_t *found = stored(store, COP_FACT_CALIBRATION_PREFIX "latency ms");
        assert_non_null(found);
        assert_int_equal(json_integer_value(json_object_get(found, "n")), wanted.n);
        assert_int_equal(wanted.n > 0, batches[i] > 0);
        const json_t *rmse = json_object_get(found, "rmse");
        assert_int_equal(json_is_null(rmse), isnan(wanted.rmse));
        assert_true(isnan(wanted.rmse) || json_number_value(rmse) == wanted.rmse);
        assert_int_equal(json_is_true(json_object_get(found, "is_exact")), wanted.is_exact);
        json_decref(found);
        cop_strategy_destroy(strategy);
        cop_store_destroy(store);
    }
}

static void other_strategies_have_nothing_to_store(void **state)
{
    (void)state;
    toy domain;
    cop_error err = {0};
    toy_init(&domain, TOY_HUGE);
    cop_store *store = synthetic_store("calibrated");
    cop_strategy *strategy = told(&cop_strategy_random, &domain, 2);
    assert_false(cop_strategy_is_surrogate(strategy));
    must_succeed(cop_calibration_store(store, strategy, names, 2, &err), &err);
    assert_null(stored(store, COP_FACT_CALIBRATION_PREFIX "loss"));
    cop_strategy_destroy(strategy);
    cop_store_destroy(store);
}

static void survives_every_failed_allocation(void **state)
{
    (void)state;
    toy domain;
    toy_init(&domain, TOY_HUGE);
    cop_store *store = synthetic_store("calibrated");
    cop_strategy *strategy = told(&cop_strategy_surrogate, &domain, 3);
    const size_t blocks = cop_alloc_live_blocks();
    for (size_t n = 0;; n++) {
        cop_error err = {0};
        cop_alloc_fail_after(n);
        const cop_status status = cop_calibration_store(store, strategy, names, 2, &err);
        cop_alloc_fail_after(SIZE_MAX);
        assert_int_equal(cop_alloc_live_blocks(), blocks);
        if (status == COP_OK) {
            assert_true(n >= 4);
            break;
        }
        assert_int_equal(status, COP_ERR_NOMEM);
    }
    cop_strategy_destroy(strategy);
    cop_store_destroy(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_stored_is_what_the_strategy_says),
        cmocka_unit_test(other_strategies_have_nothing_to_store),
        cmocka_unit_test(survives_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
