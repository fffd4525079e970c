// Non-dominated sorting and hypervolume, one thread, processor time. Each JSON line has the time of repeated
// runs on one input (as the published figures were taken: caches and branch predictors know it), of runs on
// inputs that change, of a textbook method in the same process, and the published time of moocore's C code
// on another machine. The textbook methods, whose results must agree: fast non-dominated sort (Deb et al.
// 2002), and WFG as first printed (While et al. 2012), without slicing.
//
// Inputs: uniform random points for ranks; for hypervolumes points of the simplex x1 + … = 1, reference 1.1.

#include "search/front.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "base/system.h"
#include "base/version.h"
#include "search/hypervolume.h"

enum { REPEATS = 21, INPUTS = 16, D = COP_FRONT_OBJECTIVES_MAX };

static const double run_seconds = 2e-3; // of one timed repetition, at least

static const double reference[D] = {1.1, 1.1, 1.1, 1.1, 1.1, 1.1, 1.1, 1.1};

typedef struct bench_case {
    bool is_volume;
    int objectives;
    int64_t count;
    double
        published_us; // moocore 0.20 (commit 3989f5b), Zen 5 virtual machine, gcc -O3 -march=native
} bench_case;

static const bench_case cases[] = {
    {false, 2, 100, 1.1},  {false, 2, 1000, 12.6}, {false, 2, 2000, 26},   {false, 2, 10000, 531},
    {false, 3, 100, 3.2},  {false, 3, 1000, 65},   {false, 3, 2000, 434},  {false, 3, 10000, 4240},
    {false, 4, 100, 6.5},  {false, 4, 1000, 383},  {false, 4, 2000, 1230}, {false, 4, 10000, 11400},
    {true, 2, 100, 4.9},   {true, 2, 1000, 93},    {true, 2, 2000, 215},   {true, 3, 100, 3.4},
    {true, 3, 1000, 66},   {true, 3, 2000, 237},   {true, 4, 100, 6.3},    {true, 4, 1000, 941},
    {true, 4, 2000, 2889}, {true, 5, 100, 197},    {true, 5, 500, 2958},   {true, 6, 100, 2625},
    {true, 6, 200, 18880},
};

static _Noreturn void stop(const char *message)
{
    (void)fprintf(stderr, "front_bench: %s\n", message);
    exit(1); // NOLINT(concurrency-mt-unsafe): one thread
}

static void *memory(size_t count, size_t bytes)
{
    void *block = cop_alloc(count, bytes);
    if (block == NULL) {
        stop("out of memory");
    }
    return block;
}

static double cpu_seconds(void)
{
    struct timespec now = {0};
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void draw(double *values, const bench_case *c, uint64_t index)
{
    cop_rng *rng = NULL;
    cop_error err = {0};
    if (cop_rng_create(&rng, 1, COP_RNG_TEST, index, &err) != COP_OK) {
        stop(err.message);
    }
    for (int64_t i = 0; i < c->count; i++) {
        double *point = values + i * c->objectives;
        double sum = 0;
        for (int k = 0; k < c->objectives; k++) {
            const double u = cop_rng_uniform(rng);
            point[k] = c->is_volume ? -log(1 - u) : u;
            sum += point[k];
        }
        for (int k = 0; k < c->objectives && c->is_volume; k++) {
            point[k] /= sum;
        }
    }
    cop_rng_destroy(rng);
}

static void run(const bench_case *c, const double *values, int64_t *rank, double *volume)
{
    cop_error err = {0};
    const cop_status status =
        c->is_volume ? cop_hypervolume(volume, values, c->count, c->objectives, reference, &err)
                     : cop_front_rank(rank, values, c->count, c->objectives, &err);
    if (status != COP_OK) {
        stop(err.message);
    }
}

static int compare_seconds(const void *a, const void *b)
{
    const double x = *(const double *)a;
    const double y = *(const double *)b;
    return (x > y) - (x < y);
}

// Best and median of the repetitions, each as many runs as take run_seconds, in turns over `inputs` inputs.
static void measure(double *best, double *median, const bench_case *c, const double *values,
                    int inputs, int64_t *rank)
{
    double seconds[REPEATS];
    double volume = 0;
    double start = cpu_seconds();
    int64_t runs = 0;
    while (runs < inputs || cpu_seconds() - start < run_seconds) { // the warm-up tells how many
        run(c, values + runs++ % inputs * c->count * c->objectives, rank, &volume);
    }
    for (int r = 0; r < REPEATS; r++) {
        start = cpu_seconds();
        for (int64_t i = 0; i < runs; i++) {
            run(c, values + i % inputs * c->count * c->objectives, rank, &volume);
        }
        seconds[r] = (cpu_seconds() - start) / (double)runs;
    }
    qsort(seconds, REPEATS, sizeof *seconds, compare_seconds);
    *best = seconds[0];
    *median = seconds[REPEATS / 2];
}

static bool dominates(const double *a, const double *b, int d)
{
    bool is_better = false;
    for (int k = 0; k < d; k++) {
        if (a[k] > b[k]) {
            return false;
        }
        is_better = is_better || a[k] < b[k];
    }
    return is_better;
}

// Counts for each point how many dominate it; takes away those with none, front by front.
static void textbook_rank(int64_t *rank, const double *values, int64_t count, int d)
{
    bool *is_dominator = memory((size_t)(count * count), sizeof *is_dominator);
    int64_t *dominators = memory((size_t)count, sizeof *dominators);
    int64_t *front = memory((size_t)count, sizeof *front);
    int64_t start = 0;
    int64_t end = 0;
    for (int64_t i = 0; i < count; i++) {
        for (int64_t j = 0; j < count; j++) {
            is_dominator[i * count + j] = dominates(values + i * d, values + j * d, d);
            dominators[j] += is_dominator[i * count + j] ? 1 : 0;
        }
    }
    for (int64_t i = 0; i < count; i++) {
        if (dominators[i] == 0) {
            rank[i] = 0;
            front[end++] = i;
        }
    }
    for (; start < end; start++) { // by front, as each point enters when its last dominator leaves
        const int64_t i = front[start];
        for (int64_t j = 0; j < count; j++) {
            if (is_dominator[i * count + j] && --dominators[j] == 0) {
                rank[j] = rank[i] + 1;
                front[end++] = j;
            }
        }
    }
    cop_free(is_dominator);
    cop_free(dominators);
    cop_free(front);
}

// The sum of what each point adds to those after it: its box less the volume of the others moved into it.
static double textbook_volume(const double *values, int64_t count, int d)
{
    double sum = 0;
    double *moved = memory((size_t)(count * d) + 1, sizeof *moved);
    for (int64_t i = 0; i < count; i++) {
        int64_t kept = 0;
        double box = 1;
        for (int k = 0; k < d; k++) {
            box *= reference[k] - values[i * d + k];
        }
        for (int64_t j = i + 1; j < count; j++) {
            double *next = moved + kept * d;
            bool is_dominated = false;
            for (int k = 0; k < d; k++) {
                next[k] = fmax(values[i * d + k], values[j * d + k]);
            }
            for (int64_t m = 0; m < kept && !is_dominated; m++) {
                bool is_nowhere_worse = true;
                for (int k = 0; k < d; k++) {
                    is_nowhere_worse = is_nowhere_worse && moved[m * d + k] <= next[k];
                }
                is_dominated = is_nowhere_worse;
            }
            int64_t left = 0; // takes out what the new one dominates
            for (int64_t m = 0; m < kept && !is_dominated; m++) {
                if (!dominates(next, moved + m * d, d)) {
                    for (int k = 0; k < d; k++) {
                        moved[left * d + k] = moved[m * d + k];
                    }
                    left++;
                }
            }
            if (!is_dominated) {
                for (int k = 0; k < d; k++) {
                    moved[left * d + k] = fmax(values[i * d + k], values[j * d + k]);
                }
                kept = left + 1;
            }
        }
        sum += box - (kept > 0 ? textbook_volume(moved, kept, d) : 0);
    }
    cop_free(moved);
    return sum;
}

// The textbook's time, once; its result must be ours.
static double textbook_seconds(const bench_case *c, const double *values, int64_t *rank)
{
    int64_t *want = memory((size_t)c->count, sizeof *want);
    double volume = 0;
    double wanted_volume = 0;
    run(c, values, rank, &volume);
    const double start = cpu_seconds();
    if (c->is_volume) {
        wanted_volume = textbook_volume(values, c->count, c->objectives);
    } else {
        textbook_rank(want, values, c->count, c->objectives);
    }
    const double seconds = cpu_seconds() - start;
    bool is_equal = fabs(volume - wanted_volume) <= 1e-10 * wanted_volume;
    for (int64_t i = 0; i < c->count && !c->is_volume; i++) {
        is_equal = is_equal && rank[i] == want[i];
    }
    if (!is_equal) {
        stop("the textbook's result is another");
    }
    cop_free(want);
    return seconds;
}

int main(void)
{
    char cpu[64];
    cop_system_silence_libraries();
    cop_system_cpu_name(cpu, (int)sizeof cpu);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const bench_case *c = &cases[i];
        const int64_t numbers = c->count * c->objectives;
        double *values = memory((size_t)numbers, INPUTS * sizeof *values);
        int64_t *rank = memory((size_t)c->count, sizeof *rank);
        double best = 0;
        double median = 0;
        double varied_best = 0;
        double varied_median = 0;
        for (int k = 0; k < INPUTS; k++) {
            draw(values + k * numbers, c, (uint64_t)k);
        }
        measure(&best, &median, c, values, 1, rank);
        measure(&varied_best, &varied_median, c, values, INPUTS, rank);
        const double seconds = textbook_seconds(c, values, rank);
        (void)printf(
            "{\"bench\": \"front\", \"case\": \"%s\", \"objectives\": %d, \"points\": %lld, "
            "\"best_us\": %.2f, \"median_us\": %.2f, \"varied_best_us\": %.2f, "
            "\"varied_median_us\": %.2f, \"textbook_us\": %.1f, \"speedup\": %.1f, "
            "\"moocore_us\": %.1f, \"of_moocore\": %.2f, \"repeats\": %d, \"cpu\": \"%s\", "
            "\"program\": \"%s\"}\n",
            c->is_volume ? "hypervolume" : "rank", c->objectives, (long long)c->count, 1e6 * best,
            1e6 * median, 1e6 * varied_best, 1e6 * varied_median, 1e6 * seconds, seconds / best,
            c->published_us, 1e6 * best / c->published_us, REPEATS, cpu, cop_version());
        (void)fflush(stdout);
        cop_free(values);
        cop_free(rank);
    }
    return 0;
}
