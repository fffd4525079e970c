// strategy_bench [--problem NAME] [--strategy NAME] [--evaluations N,N,...] [--seeds N] [--population N]
//
// How good the points are that each strategy finds, by number of evaluations, and how long its own work takes.
// Prints one JSON line per problem, strategy and number of evaluations: the median over seeds with a 95 %
// bootstrap interval. Problems whose published data are absent are left out.

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "base/version.h"
#include "tests/search/problem_run.h"

enum { SEEDS_MAX = 1000, CHECKS_MAX = 16, RESAMPLES = 2000, THINNED = 100 };

// What is measured at one number of evaluations.
typedef enum figure {
    HYPERVOLUME,     // of all points so far
    HYPERVOLUME_100, // of 100 of them
    IGD,             // of all points so far, objectives as they are
    IGD_100,
    IGD_NORMALIZED, // objectives by the front's ranges
    IGD_NORMALIZED_100,
    FIGURES
} figure;

static const char *const figure_names[FIGURES] = {
    "hv", "hv_100", "igd", "igd_100", "igd_normalized", "igd_normalized_100"};

typedef struct settings {
    const char *problem;             // NULL: all
    const char *strategy;            // NULL: all
    int64_t evaluations[CHECKS_MAX]; // ascending
    int checks;
    int64_t seeds;
    int64_t population;
} settings;

typedef struct summary {
    double median;
    double low;
    double high;
} summary;

// The yardstick for HW-GPT: what two long runs of a textbook NSGA-II reached. (This one reaches 0.82807 after
// 400,000 evaluations with a population of 200.) Reference fronts are that of the other problems.
static const double hwgpt_best = 0.8273;

static void stop(const char *what)
{
    (void)fprintf(stderr, "strategy_bench: %s\n", what);
    exit(1); // NOLINT(concurrency-mt-unsafe): one thread
}

static int compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *)a;
    const double y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median_of(double *values, int64_t count)
{
    qsort(values, (size_t)count, sizeof *values, compare_doubles);
    return 0.5 * (values[(count - 1) / 2] + values[count / 2]);
}

static summary summarize(const double *values, int64_t count)
{
    static double resampled[RESAMPLES];
    double sample[SEEDS_MAX];
    cop_rng *rng = NULL;
    cop_error err = {0};

    if (cop_rng_create(&rng, 1, COP_RNG_BOOTSTRAP, 0, &err) != COP_OK) {
        stop(err.message);
    }
    for (int r = 0; r < RESAMPLES; r++) {
        for (int64_t i = 0; i < count; i++) {
            sample[i] = values[cop_rng_below(rng, (uint64_t)count)];
        }
        resampled[r] = median_of(sample, count);
    }
    cop_rng_destroy(rng);
    memcpy(sample, values, (size_t)count * sizeof *sample);
    qsort(resampled, RESAMPLES, sizeof *resampled, compare_doubles);
    return (summary){.median = median_of(sample, count),
                     .low = resampled[RESAMPLES / 40],
                     .high = resampled[RESAMPLES - 1 - RESAMPLES / 40]};
}

static void judge(const problem *p, const problem_point *points, int64_t count,
                  double figures[FIGURES])
{
    problem_point *front = calloc((size_t)count, sizeof *front);
    if (front == NULL) {
        stop("out of memory");
    }
    memcpy(front, points, (size_t)count * sizeof *front);
    int64_t found = problem_front(front, count);
    figures[HYPERVOLUME] = problem_hypervolume(p, front, found);
    figures[IGD] = problem_igd(p, front, found, false);
    figures[IGD_NORMALIZED] = problem_igd(p, front, found, true);
    found = problem_thin(front, found, THINNED);
    figures[HYPERVOLUME_100] = problem_hypervolume(p, front, found);
    figures[IGD_100] = problem_igd(p, front, found, false);
    figures[IGD_NORMALIZED_100] = problem_igd(p, front, found, true);
    free(front);
}

static void print_figure(figure which, const double *values, int64_t seeds, double best)
{
    const summary s = summarize(values, seeds);
    printf(",\"%s\":%.6g,\"%s_interval\":[%.6g,%.6g]", figure_names[which], s.median,
           figure_names[which], s.low, s.high);
    if (best > 0) {
        printf(",\"%s_ratio\":%.5f,\"%s_ratio_interval\":[%.5f,%.5f]", figure_names[which],
               s.median / best, figure_names[which], s.low / best, s.high / best);
    }
}

static void run(const settings *set, const problem *p, const cop_strategy_type *type)
{
    static double figures[CHECKS_MAX][FIGURES][SEEDS_MAX];
    static double seconds[SEEDS_MAX];
    const int64_t evaluations = set->evaluations[set->checks - 1];
    const bool is_hwgpt = p->kind == PROBLEM_HWGPT;
    problem_point *points = calloc((size_t)evaluations, sizeof *points);

    if (points == NULL) {
        stop("out of memory");
    }
    for (int64_t seed = 0; seed < set->seeds; seed++) {
        const cop_strategy_options options = {
            .objectives = 2, .population = set->population, .seed = (uint64_t)seed + 1};
        int64_t count = 0;
        cop_error err = {0};
        if (problem_run(p, type, &options, evaluations, points, &count, &seconds[seed], &err) !=
            COP_OK) {
            stop(err.message);
        }
        for (int c = 0; c < set->checks; c++) {
            double now[FIGURES];
            const int64_t upto = set->evaluations[c] < count ? set->evaluations[c] : count;
            judge(p, points, upto, now);
            for (int f = 0; f < FIGURES; f++) {
                figures[c][f][seed] = now[f];
            }
        }
    }
    const double best = is_hwgpt ? hwgpt_best : problem_reference_hypervolume(p);
    for (int c = 0; c < set->checks; c++) {
        printf("{\"bench\":\"strategy\",\"program\":\"%s\",\"problem\":\"%s\",\"strategy\":\"%s\","
               "\"population\":%" PRId64 ",\"evaluations\":%" PRId64 ",\"seeds\":%" PRId64,
               cop_version(), problem_name(p->kind), type->name, set->population,
               set->evaluations[c], set->seeds);
        print_figure(HYPERVOLUME, figures[c][HYPERVOLUME], set->seeds, best);
        if (!is_hwgpt) {
            print_figure(HYPERVOLUME_100, figures[c][HYPERVOLUME_100], set->seeds, best);
            for (int f = IGD; f < FIGURES; f++) {
                print_figure((figure)f, figures[c][f], set->seeds, 0);
            }
        }
        if (c == set->checks - 1) {
            printf(",\"ask_tell_cpu_seconds\":%.4g", summarize(seconds, set->seeds).median);
        }
        printf("}\n");
    }
    (void)fflush(stdout);
    free(points);
}

// What 2,000 trials of 2 objectives and 5 axes cost beside their evaluation, population 50.
static void run_bookkeeping(const settings *set, const cop_strategy_type *type)
{
    enum { TRIALS = 2000, AXES = 5 };

    static problem p;
    static problem_point points[TRIALS];
    static double seconds[SEEDS_MAX];

    (void)problem_init(&p, PROBLEM_ZDT1); // its front is of no use here
    p.domain.axes = AXES;
    for (int64_t seed = 0; seed < set->seeds; seed++) {
        const cop_strategy_options options = {
            .objectives = 2, .population = 50, .seed = (uint64_t)seed + 1};
        int64_t count = 0;
        cop_error err = {0};
        if (problem_run(&p, type, &options, TRIALS, points, &count, &seconds[seed], &err) !=
            COP_OK) {
            stop(err.message);
        }
    }
    problem_release(&p);
    const summary s = summarize(seconds, set->seeds);
    printf("{\"bench\":\"strategy\",\"program\":\"%s\",\"problem\":\"bookkeeping\",\"strategy\":"
           "\"%s\",\"axes\":%d,\"population\":50,\"evaluations\":%d,\"seeds\":%" PRId64
           ",\"ask_tell_cpu_seconds\":%.4g,\"ask_tell_cpu_seconds_interval\":[%.4g,%.4g]}\n",
           cop_version(), type->name, AXES, TRIALS, set->seeds, s.median, s.low, s.high);
}

static bool is_wanted(const char *wanted, const char *name)
{
    return wanted == NULL || strcmp(wanted, name) == 0;
}

static int64_t parse_number(const char *text, int64_t least, int64_t most)
{
    char *end = NULL;
    const long long value = strtoll(text, &end, 10);
    if (end == text || (*end != '\0' && *end != ',') || value < least || value > most) {
        (void)fprintf(stderr, "strategy_bench: %s (allowed: %" PRId64 "..%" PRId64 ")\n", text,
                      least, most);
        exit(2); // NOLINT(concurrency-mt-unsafe): one thread
    }
    return value;
}

static void parse_evaluations(settings *set, const char *text)
{
    set->checks = 0;
    for (const char *at = text; at != NULL && set->checks < CHECKS_MAX;) {
        const int64_t least = set->checks == 0 ? 1 : set->evaluations[set->checks - 1] + 1;
        set->evaluations[set->checks++] = parse_number(at, least, 10000000);
        at = strchr(at, ',');
        at = at == NULL ? NULL : at + 1;
    }
}

static settings parse(int argc, char **argv)
{
    settings set = {.evaluations = {500, 1000, 2000}, .checks = 3, .seeds = 31, .population = 50};
    for (int i = 1; i < argc; i += 2) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (value == NULL || strncmp(argv[i], "--", 2) != 0) {
            (void)fprintf(stderr, "usage: strategy_bench [--problem NAME] [--strategy NAME] "
                                  "[--evaluations N,N,...] [--seeds N] [--population N]\n");
            exit(2); // NOLINT(concurrency-mt-unsafe): one thread
        }
        if (strcmp(argv[i], "--problem") == 0) {
            set.problem = value;
        } else if (strcmp(argv[i], "--strategy") == 0) {
            set.strategy = value;
        } else if (strcmp(argv[i], "--evaluations") == 0) {
            parse_evaluations(&set, value);
        } else if (strcmp(argv[i], "--seeds") == 0) {
            set.seeds = parse_number(value, 1, SEEDS_MAX);
        } else if (strcmp(argv[i], "--population") == 0) {
            set.population = parse_number(value, 2, COP_STRATEGY_POPULATION_MAX);
        } else {
            (void)fprintf(stderr, "strategy_bench: unknown option %s\n", argv[i]);
            exit(2); // NOLINT(concurrency-mt-unsafe): one thread
        }
    }
    return set;
}

int main(int argc, char **argv)
{
    const settings set = parse(argc, argv);
    for (const cop_strategy_type *const *type = cop_strategy_types(); *type != NULL; type++) {
        if (!is_wanted(set.strategy, (*type)->name)) {
            continue;
        }
        for (int kind = 0; kind < PROBLEM_KINDS; kind++) {
            static problem p;
            if (is_wanted(set.problem, problem_name((problem_kind)kind)) &&
                problem_init(&p, (problem_kind)kind)) {
                run(&set, &p, *type);
            }
            problem_release(&p);
        }
        if (is_wanted(set.problem, "bookkeeping")) {
            run_bookkeeping(&set, *type);
        }
    }
    return 0;
}
