// The scheduler: bounds on its schedules, and what becomes of work whose worker falls silent.

#include "search/scheduler.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "tests/support.h"

enum { WORKERS_MAX = 16, TASKS_MAX = 200 };

static cop_scheduler *make(int workers, double stall, double give_up)
{
    const cop_scheduler_options options = {
        .workers = workers, .stall_seconds = stall, .give_up_seconds = give_up};
    cop_scheduler *scheduler = NULL;
    cop_error err = {0};
    assert_int_equal(cop_scheduler_create(&scheduler, &options, &err), COP_OK);
    for (int i = 0; i < workers; i++) {
        cop_scheduler_ready(scheduler, i, 0.0);
    }
    return scheduler;
}

static void add(cop_scheduler *scheduler, int64_t task, double cost)
{
    cop_error err = {0};
    assert_int_equal(cop_scheduler_add(scheduler, task, cost, &err), COP_OK);
}

static cop_hand_out must_hand_out(cop_scheduler *scheduler, double now)
{
    cop_hand_out out = {0};
    assert_true(cop_scheduler_hand_out(scheduler, now, &out));
    return out;
}

// --- Schedules ----------------------------------------------------------------------------------

typedef struct schedule {
    int worker[TASKS_MAX];
    double makespan;
} schedule;

// Equal workers that take exactly `cost` seconds for a task.
static schedule simulate(int workers, const double *cost, int tasks)
{
    schedule made = {.makespan = 0.0};
    double end[WORKERS_MAX];
    int64_t done[TASKS_MAX] = {0};
    cop_scheduler *scheduler = make(workers, (double)INFINITY, (double)INFINITY);
    cop_hand_out out;
    double now = 0.0;

    for (int i = 0; i < tasks; i++) {
        add(scheduler, i, cost[i]);
    }
    while (cop_scheduler_queued(scheduler) > 0 || cop_scheduler_busy(scheduler) > 0) {
        int next = -1;
        while (cop_scheduler_hand_out(scheduler, now, &out)) {
            made.worker[out.task] = out.worker;
            end[out.worker] = now + cost[out.task];
        }
        for (int w = 0; w < workers; w++) {
            const bool is_busy = cop_scheduler_worker(scheduler, w)->state == COP_WORKER_BUSY;
            next = is_busy && (next < 0 || end[w] < end[next]) ? w : next;
        }
        now = end[next];
        done[cop_scheduler_worker(scheduler, next)->task]++;
        cop_scheduler_finish(scheduler, next, true, now);
    }
    for (int i = 0; i < tasks; i++) {
        assert_int_equal(done[i], 1);
    }
    made.makespan = now;
    cop_scheduler_destroy(scheduler);
    return made;
}

static void draw_costs(double *cost, int tasks, uint64_t seed)
{
    cop_error err = {0};
    cop_rng *rng = NULL;
    assert_int_equal(cop_rng_create(&rng, seed, COP_RNG_TEST, 1, &err), COP_OK);
    for (int i = 0; i < tasks; i++) {
        cost[i] = (double)(1 + cop_rng_below(rng, 1000));
    }
    cop_rng_destroy(rng);
}

// Of list scheduling, longest first: no later than the last task's start at the mean load of the others, plus
// that task; and 4/3 - 1/(3m) of the optimum, which is at least the larger of mean load and longest task.
static void makespans_keep_the_bound_of_longest_first(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        double cost[TASKS_MAX];
        const int workers = 1 + (int)(seed % WORKERS_MAX);
        const int tasks = workers + (int)(seed * 7 % 150);
        double sum = 0.0;
        double longest = 0.0;
        draw_costs(cost, tasks, seed);
        for (int i = 0; i < tasks; i++) {
            sum += cost[i];
            longest = fmax(longest, cost[i]);
        }
        const double mean = sum / workers;
        const double lower = fmax(mean, longest);
        const schedule made = simulate(workers, cost, tasks);
        assert_true(made.makespan >= lower * (1.0 - 1e-12));
        assert_true(made.makespan <= mean + longest * (1.0 - 1.0 / workers) + 1e-9);
        if (tasks > 4 * workers) { // then the lower bound is near the optimum
            assert_true(made.makespan <= lower * (4.0 / 3.0));
        }
    }
}

static void the_known_worst_case_is_met_exactly(void **state)
{
    (void)state;
    // Graham's example for two workers: 3 3 2 2 2 in 7, the optimum being 6.
    const double cost[] = {2.0, 3.0, 2.0, 3.0, 2.0};
    const schedule made = simulate(2, cost, 5);
    assert_true(made.makespan >= 7.0 && made.makespan <= 7.0);
}

static void the_same_calls_give_the_same_schedule(void **state)
{
    (void)state;
    double cost[TASKS_MAX];
    draw_costs(cost, TASKS_MAX, 5);
    for (int i = 0; i < TASKS_MAX; i++) {
        cost[i] = floor(cost[i] / 200.0) + 1.0; // many are equal
    }
    const schedule first = simulate(7, cost, TASKS_MAX);
    const schedule second = simulate(7, cost, TASKS_MAX);
    assert_memory_equal(first.worker, second.worker, sizeof first.worker);
}

static void the_longest_goes_first_and_to_the_fastest(void **state)
{
    (void)state;
    cop_scheduler *scheduler = make(3, (double)INFINITY, (double)INFINITY);
    for (int i = 0; i < 3; i++) {
        add(scheduler, i, 10.0);
    }
    for (int i = 0; i < 3; i++) { // equal costs and speeds: in order
        const cop_hand_out out = must_hand_out(scheduler, 0.0);
        assert_int_equal(out.task, i);
        assert_int_equal(out.worker, i);
    }
    cop_scheduler_finish(scheduler, 1, true, 10.0);
    cop_scheduler_finish(scheduler, 2, true, 5.0);
    cop_scheduler_finish(scheduler, 0, true, 20.0);
    add(scheduler, 7, 1.0);
    add(scheduler, 8, 3.0);
    add(scheduler, 9, 3.0);
    static const int64_t tasks[] = {8, 9, 7};
    static const int workers[] = {2, 1, 0};
    for (int i = 0; i < 3; i++) {
        const cop_hand_out out = must_hand_out(scheduler, 20.0);
        assert_int_equal(out.task, tasks[i]);
        assert_int_equal(out.worker, workers[i]);
    }
    assert_int_equal(cop_scheduler_worker(scheduler, 2)->tasks, 1);
    assert_true(cop_scheduler_worker(scheduler, 2)->speed >= 2.0);
    cop_scheduler_destroy(scheduler);
}

static void who_is_no_worker_takes_the_longest(void **state)
{
    (void)state;
    int64_t task = 0;
    cop_hand_out out;
    cop_scheduler *scheduler = make(1, 10.0, 20.0);
    assert_false(cop_scheduler_pop(scheduler, &task));
    add(scheduler, 1, 1.0);
    add(scheduler, 2, 5.0);
    assert_true(cop_scheduler_pop(scheduler, &task));
    assert_int_equal(task, 2);
    assert_int_equal(must_hand_out(scheduler, 0.0).task, 1);
    assert_false(cop_scheduler_hand_out(scheduler, 0.0, &out));
    add(scheduler, 3, 1.0);
    cop_scheduler_clear(scheduler);
    assert_int_equal(cop_scheduler_queued(scheduler), 0);
    cop_scheduler_destroy(scheduler);
}

// --- Silence ------------------------------------------------------------------------------------

static void a_silent_worker_is_suspected_once_and_then_lost(void **state)
{
    (void)state;
    cop_silence silence;
    cop_scheduler *scheduler = make(2, 10.0, 30.0);
    add(scheduler, 4, 2.0);
    const cop_hand_out first = must_hand_out(scheduler, 0.0);
    assert_false(cop_scheduler_check(scheduler, 9.0, &silence));
    assert_true(cop_scheduler_heard(scheduler, 0, first.ticket, 100, 9.0));
    assert_false(cop_scheduler_check(scheduler, 18.0, &silence));
    assert_true(cop_scheduler_check(scheduler, 19.0, &silence));
    assert_int_equal(silence.worker, 0);
    assert_int_equal(silence.task, 4);
    assert_false(silence.is_lost);
    assert_true(silence.seconds >= 10.0 && silence.seconds <= 10.0);
    assert_false(cop_scheduler_check(scheduler, 30.0, &silence)); // said already
    assert_true(cop_scheduler_check(scheduler, 39.0, &silence));
    assert_true(silence.is_lost);
    assert_false(cop_scheduler_check(scheduler, 1e6, &silence));

    // Its task goes to the other, and what it says of it is late.
    const cop_hand_out second = must_hand_out(scheduler, 39.0);
    assert_int_equal(second.worker, 1);
    assert_int_equal(second.task, 4);
    assert_int_equal(second.losses, 1);
    assert_true(second.ticket != first.ticket);
    assert_false(cop_scheduler_heard(scheduler, 0, first.ticket, 100, 40.0));
    assert_true(cop_scheduler_heard(scheduler, 1, second.ticket, 50, 40.0));
    cop_scheduler_finish(scheduler, 1, true, 41.0);
    assert_int_equal(cop_scheduler_worker(scheduler, 0)->tokens, 100);
    assert_int_equal(cop_scheduler_worker(scheduler, 0)->losses, 1);
    assert_int_equal(cop_scheduler_worker(scheduler, 0)->tasks, 0);
    assert_int_equal(cop_scheduler_worker(scheduler, 1)->tasks, 1);
    assert_int_equal(cop_scheduler_alive(scheduler), 1);

    // It may come back; its old ticket stays late.
    cop_scheduler_ready(scheduler, 0, 50.0);
    assert_int_equal(cop_scheduler_alive(scheduler), 2);
    add(scheduler, 5, 2.0);
    add(scheduler, 6, 1.0);
    assert_int_equal(must_hand_out(scheduler, 50.0).worker, 1); // the faster one
    const cop_hand_out third = must_hand_out(scheduler, 50.0);
    assert_int_equal(third.worker, 0);
    assert_false(cop_scheduler_heard(scheduler, 0, first.ticket, 1, 51.0));
    assert_true(cop_scheduler_heard(scheduler, 0, third.ticket, 1, 51.0));
    cop_scheduler_destroy(scheduler);
}

static void a_worker_that_speaks_again_is_suspected_anew(void **state)
{
    (void)state;
    cop_silence silence;
    int suspected = 0;
    cop_scheduler *scheduler = make(1, 10.0, (double)INFINITY);
    add(scheduler, 1, 1.0);
    const cop_hand_out out = must_hand_out(scheduler, 0.0);
    for (int second = 1; second <= 100; second++) {
        suspected += cop_scheduler_check(scheduler, second, &silence) ? 1 : 0;
        assert_false(suspected > 0 && silence.is_lost);
        if (second == 30 || second == 60) {
            assert_true(cop_scheduler_heard(scheduler, 0, out.ticket, 0, second));
        }
    }
    assert_int_equal(suspected, 3);
    cop_scheduler_finish(scheduler, 0, true, 101.0);
    assert_false(cop_scheduler_check(scheduler, 1e9, &silence)); // idle: need not speak
    cop_scheduler_destroy(scheduler);
}

static void a_retry_starts_the_clock_again(void **state)
{
    (void)state;
    cop_silence silence;
    cop_scheduler *scheduler = make(1, 10.0, 20.0);
    add(scheduler, 1, 1.0);
    const cop_hand_out out = must_hand_out(scheduler, 0.0);
    cop_scheduler_retry(scheduler, 0, 9.0);
    assert_false(cop_scheduler_check(scheduler, 18.0, &silence));
    assert_true(cop_scheduler_heard(scheduler, 0, out.ticket, 0, 18.0)); // the same hand-out
    cop_scheduler_finish(scheduler, 0, false, 19.0);
    const cop_worker_record *record = cop_scheduler_worker(scheduler, 0);
    assert_int_equal(record->tasks, 0);
    assert_true(record->busy_seconds >= 19.0 && record->busy_seconds <= 19.0);
    assert_true(record->speed <= 0.0);
    cop_scheduler_destroy(scheduler);
}

static void patience_may_end_earlier(void **state)
{
    (void)state;
    cop_silence silence;
    cop_scheduler *scheduler = make(3, 100.0, (double)INFINITY);
    for (int i = 0; i < 3; i++) {
        add(scheduler, i, 1.0);
        (void)must_hand_out(scheduler, 0.0);
    }
    assert_true(cop_scheduler_heard(scheduler, 1, 2, 0, 5.0));
    cop_scheduler_set_give_up(scheduler, 8.0);
    assert_false(cop_scheduler_check(scheduler, 7.0, &silence));
    assert_true(cop_scheduler_check(scheduler, 9.0, &silence));
    assert_true(silence.is_lost);
    assert_true(cop_scheduler_check(scheduler, 9.0, &silence));
    assert_false(cop_scheduler_check(scheduler, 9.0, &silence));
    assert_true(cop_scheduler_check(scheduler, 14.0, &silence));
    assert_int_equal(silence.worker, 1);
    assert_int_equal(cop_scheduler_queued(scheduler), 3);
    cop_scheduler_destroy(scheduler);
}

static void the_loss_of_an_idle_worker_costs_nothing(void **state)
{
    (void)state;
    cop_scheduler *scheduler = make(2, 10.0, 20.0);
    cop_scheduler_lose(scheduler, 0, 1.0);
    cop_scheduler_lose(scheduler, 0, 1.0);
    assert_int_equal(cop_scheduler_worker(scheduler, 0)->losses, 1);
    add(scheduler, 1, 1.0);
    add(scheduler, 2, 1.0);
    assert_int_equal(must_hand_out(scheduler, 2.0).worker, 1);
    cop_hand_out out;
    assert_false(cop_scheduler_hand_out(scheduler, 2.0, &out));
    cop_scheduler_lose(scheduler, 1, 3.0);
    assert_int_equal(cop_scheduler_alive(scheduler), 0);
    assert_int_equal(cop_scheduler_queued(scheduler), 2);
    cop_scheduler_destroy(scheduler);
}

// Workers die and come back at random: every task is finished exactly once.
static void no_task_is_lost_or_done_twice(void **state)
{
    (void)state;
    cop_error err = {0};
    cop_rng *rng = NULL;
    int64_t done[TASKS_MAX] = {0};
    int64_t finished = 0;
    cop_scheduler *scheduler = make(WORKERS_MAX, 3.0, 9.0);
    assert_int_equal(cop_rng_create(&rng, 11, COP_RNG_TEST, 1, &err), COP_OK);
    for (int i = 0; i < TASKS_MAX; i++) {
        add(scheduler, i, (double)(1 + i % 10));
    }
    for (int second = 0; finished < TASKS_MAX; second++) {
        cop_hand_out out;
        cop_silence silence;
        assert_true(second < 100000);
        while (cop_scheduler_check(scheduler, second, &silence)) {
        }
        while (cop_scheduler_hand_out(scheduler, second, &out)) {
        }
        for (int w = 0; w < WORKERS_MAX; w++) {
            const cop_worker_record *r = cop_scheduler_worker(scheduler, w);
            const uint64_t fate = cop_rng_below(rng, 8);
            if (r->state == COP_WORKER_LOST && fate == 0) {
                cop_scheduler_ready(scheduler, w, second);
            } else if (r->state == COP_WORKER_BUSY && fate == 1) {
                done[r->task]++;
                finished++;
                cop_scheduler_finish(scheduler, w, true, second);
            } else if (r->state == COP_WORKER_BUSY && fate == 2) {
                assert_true(cop_scheduler_heard(scheduler, w, r->ticket, 1, second));
            } else if (r->state == COP_WORKER_BUSY && fate == 3 && second % 5 == 0) {
                cop_scheduler_lose(scheduler, w, second);
            }
        }
    }
    for (int i = 0; i < TASKS_MAX; i++) {
        assert_int_equal(done[i], 1);
    }
    assert_int_equal(cop_scheduler_busy(scheduler), 0);
    cop_rng_destroy(rng);
    cop_scheduler_destroy(scheduler);
}

// --- Refusals and memory ------------------------------------------------------------------------

static void options_out_of_range_are_refused(void **state)
{
    (void)state;
    static const cop_scheduler_options bad[] = {
        {.workers = 0, .stall_seconds = 1.0, .give_up_seconds = 1.0},
        {.workers = 1, .stall_seconds = 0.0, .give_up_seconds = 1.0},
        {.workers = 1, .stall_seconds = 2.0, .give_up_seconds = 1.0},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        cop_scheduler *scheduler = NULL;
        cop_error err = {0};
        assert_int_equal(cop_scheduler_create(&scheduler, &bad[i], &err), COP_ERR_CONFIG);
        assert_null(scheduler);
        assert_non_null(strstr(err.message, "(allowed: at least 1 worker, 0 < stall <= given up)"));
    }
}

static void survives_every_failed_allocation(void **state)
{
    (void)state;
    const cop_scheduler_options options = {
        .workers = 2, .stall_seconds = 1.0, .give_up_seconds = 2.0};
    const size_t blocks = cop_alloc_live_blocks();
    cop_status status = COP_ERR_NOMEM;

    for (size_t n = 0; status == COP_ERR_NOMEM; n++) {
        cop_scheduler *scheduler = NULL;
        cop_error err = {0};
        int added = 0;
        cop_alloc_fail_after(n);
        status = cop_scheduler_create(&scheduler, &options, &err);
        while (status == COP_OK && added < 20) {
            status = cop_scheduler_add(scheduler, added, 1.0, &err);
            added += status == COP_OK ? 1 : 0;
        }
        cop_alloc_fail_after(SIZE_MAX);
        if (scheduler != NULL) {
            assert_int_equal(cop_scheduler_queued(scheduler), added);
        }
        assert_true(status == COP_OK || strstr(err.message, "memory") != NULL);
        cop_scheduler_destroy(scheduler);
        assert_int_equal(cop_alloc_live_blocks(), blocks);
    }
    assert_int_equal(status, COP_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(makespans_keep_the_bound_of_longest_first),
        cmocka_unit_test(the_known_worst_case_is_met_exactly),
        cmocka_unit_test(the_same_calls_give_the_same_schedule),
        cmocka_unit_test(the_longest_goes_first_and_to_the_fastest),
        cmocka_unit_test(who_is_no_worker_takes_the_longest),
        cmocka_unit_test(a_silent_worker_is_suspected_once_and_then_lost),
        cmocka_unit_test(a_worker_that_speaks_again_is_suspected_anew),
        cmocka_unit_test(a_retry_starts_the_clock_again),
        cmocka_unit_test(patience_may_end_earlier),
        cmocka_unit_test(the_loss_of_an_idle_worker_costs_nothing),
        cmocka_unit_test(no_task_is_lost_or_done_twice),
        cmocka_unit_test(options_out_of_range_are_refused),
        cmocka_unit_test(survives_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
