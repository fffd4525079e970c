// How long the layer-wise knapsack takes to find and prove its optimum: 32 layers of 20 options, scores that
// fall with diminishing returns as an option's cost grows, 1 to 4 resources. Prints one JSON line for
// each kind; processor time, worst and mean over the seeds.

#include "search/knapsack.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/rng.h"
#include "base/system.h"
#include "base/version.h"

enum { LAYERS = 32, OPTIONS = 20, SEEDS = 20, MOST = COP_KNAPSACK_RESOURCES_MAX };

typedef struct kind {
    const char *name;
    int resources;
    double window; // the minimum of resource 0 as a share of its maximum; 0: none
    int64_t solutions;
    int64_t front_points; // 0: one solve
    bool is_random;       // scores and costs unrelated
    int seeds;
} kind;

static int options_of[LAYERS];
static double score[LAYERS * OPTIONS];
static int64_t cost[LAYERS * OPTIONS * MOST];

static void stop(const cop_error *err)
{
    (void)fprintf(stderr, "knapsack_bench: %s\n", err->message);
    exit(1);
}

static double cpu_seconds(void)
{
    struct timespec now = {0};
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

// Costs of up to 1e16: the sums use 60 bits.
static cop_knapsack_problem make(const kind *k, uint64_t seed)
{
    cop_rng *rng = NULL;
    cop_error err = {0};
    cop_knapsack_problem p = {.layers = LAYERS,
                              .resources = k->resources,
                              .options = options_of,
                              .score = score,
                              .cost = cost};
    if (cop_rng_create(&rng, seed, COP_RNG_TEST, 32, &err) != COP_OK) {
        stop(&err);
    }
    for (int l = 0; l < LAYERS; l++) {
        options_of[l] = OPTIONS;
        for (int j = 0; j < OPTIONS; j++) {
            const double size = (j + cop_rng_uniform(rng)) / OPTIONS;
            const double good = (1 + cop_rng_uniform(rng)) * exp(-3 * size);
            score[l * OPTIONS + j] = k->is_random ? cop_rng_uniform(rng) : good;
            for (int r = 0; r < k->resources; r++) {
                const double spread = r == 0 ? 1 : 0.5 + cop_rng_uniform(rng);
                cost[(l * OPTIONS + j) * k->resources + r] = (int64_t)(1e16 * size * spread);
            }
        }
    }
    for (int r = 0; r < k->resources; r++) {
        p.max[r] = (int64_t)(1e16 * 0.45 * LAYERS);
    }
    p.min[0] = (int64_t)(k->window * (double)p.max[0]);
    cop_rng_destroy(rng);
    return p;
}

static void run(const kind *k)
{
    double worst = 0;
    double sum = 0;
    double gap = 0;
    int proven = 0;
    int64_t states = 0;
    int64_t count = 0;
    cop_knapsack_options options = COP_KNAPSACK_OPTIONS_DEFAULT;
    options.solutions = k->solutions;
    for (int seed = 1; seed <= k->seeds; seed++) {
        const cop_knapsack_problem p = make(k, (uint64_t)seed);
        const int64_t step = k->front_points > 0 ? p.max[0] / k->front_points : 1;
        cop_knapsack_result result = {0};
        cop_error err = {0};
        const double start = cpu_seconds();
        const cop_status status =
            k->front_points > 0
                ? cop_knapsack_front(&result, &p, 0, step, 10 * k->front_points, &options, &err)
                : cop_knapsack_solve(&result, &p, &options, &err);
        const double seconds = cpu_seconds() - start;
        if (status != COP_OK) {
            stop(&err);
        }
        sum += seconds;
        worst = fmax(worst, seconds);
        proven += result.state == COP_KNAPSACK_OPTIMAL || result.state == COP_KNAPSACK_INFEASIBLE;
        states = result.states > states ? result.states : states;
        count += result.count;
        if (result.state == COP_KNAPSACK_UNPROVEN && k->front_points == 0) {
            const double last = result.score[result.count - 1];
            gap = fmax(gap, (last - result.bound) / fabs(last));
        }
        cop_knapsack_result_release(&result);
    }
    printf("{\"bench\": \"knapsack\", \"case\": \"%s\", \"layers\": %d, \"options\": %d, "
           "\"resources\": %d, \"seeds\": %d, \"proven\": %d, \"solutions\": %lld, "
           "\"cpu_seconds_mean\": %.4f, \"cpu_seconds_worst\": %.4f, \"target\": 1, "
           "\"states_most\": %lld, \"gap_most\": %.2g, \"program\": \"%s\"}\n",
           k->name, LAYERS, OPTIONS, k->resources, k->seeds, proven, (long long)count,
           sum / k->seeds, worst, (long long)states, gap, cop_version());
    (void)fflush(stdout);
}

int main(void)
{
    static const kind kinds[] = {
        {"one resource", 1, 0, 1, 0, false, SEEDS},
        {"one resource, unrelated scores", 1, 0, 1, 0, true, SEEDS},
        {"one resource, window of 3 %", 1, 0.97, 1, 0, false, SEEDS},
        {"one resource, window of 0.001 %", 1, 0.99999, 1, 0, false, SEEDS},
        {"one resource, 100 best", 1, 0, 100, 0, false, SEEDS},
        {"one resource, curve of about 100 points", 1, 0, 1, 100, false, 3},
        {"two resources", 2, 0, 1, 0, false, SEEDS},
        {"two resources, window of 3 %", 2, 0.97, 1, 0, false, SEEDS},
        {"three resources", 3, 0, 1, 0, false, 5},
        {"four resources", 4, 0, 1, 0, false, 5},
    };
    cop_system_silence_libraries();
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        run(&kinds[i]);
    }
    return 0;
}
