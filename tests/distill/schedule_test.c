#include "distill/schedule.h"

#include "tests/distill/fixture.h"

static void follows_its_formula(void **state)
{
    (void)state;
    const cop_schedule cosine = {COP_SCHEDULE_COSINE, 1.0, 0.2, 4, 12};
    const cop_schedule constant = {COP_SCHEDULE_CONSTANT, 1.0, 0.2, 2, 12};
    const cop_schedule cold = {COP_SCHEDULE_COSINE, 2.0, 0.0, 0, 1};
    const cop_schedule only_warm_up = {COP_SCHEDULE_COSINE, 1.0, 0.1, 8, 4};

    const struct {
        const cop_schedule *schedule;
        int64_t step;
        double rate;
    } cases[] = {
        {&cosine, 0, 0.25}, // (i + 1) / warmup
        {&cosine, 3, 1.0},
        {&cosine, 4, 1.0},
        {&cosine, 6, 0.2 + 0.8 * 0.85355339059327373}, // (1 + cos(pi / 4)) / 2
        {&cosine, 8, 0.6},
        {&cosine, 12, 0.2},
        {&cosine, 1000, 0.2},
        {&constant, 0, 0.5},
        {&constant, 1, 1.0},
        {&constant, 1000, 1.0},
        {&cold, 0, 2.0},
        {&cold, 1, 0.0},
        {&only_warm_up, 5, 0.75},
        {&only_warm_up, 8, 0.1},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        // One rounding of cos and three of the sum.
        assert_close(cop_schedule_rate(cases[i].schedule, cases[i].step), cases[i].rate, 1e-15);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(follows_its_formula)};
    return cmocka_run_group_tests_name("schedule", tests, NULL, NULL);
}
