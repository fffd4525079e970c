// How long strategy knapsack takes to propose: layers of Llama 3.1 8B that choose by themselves, 20 widths of the MLP
// and 4 numbers of heads in each, importance drawn at random with long tails. Prints one JSON line for each
// study: processor time of making the scores, of the first batch, and of as many more as make 1,000 points.

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "base/system.h"
#include "base/version.h"
#include "model/arch_json.h"
#include "prune/importance_internal.h"
#include "search/layer_mass.h"
#include "search/strategy.h"

enum { POINTS = 1000, BATCH = 50 };

#define OWN                            \
    "  heads@layer: [8, 16, 24, 32]\n" \
    "  kv_heads: 8\n"                  \
    "  ffn@layer: {from: 4608, to: 14336, step: 512}\n"
#define SHARED "  layers: {from: 24, to: 32, step: 2}\n  hidden: [3072, 3584, 4096]\n"

typedef struct kind {
    const char *name;
    const char *space;
    const char *budget;
} kind;

static void must(cop_status status, const cop_error *err)
{
    if (status != COP_OK) {
        (void)fprintf(stderr, "layerwise_bench: %s\n", err->message);
        exit(1);
    }
}

static double cpu_seconds(void)
{
    struct timespec now = {0};
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static cop_importance *draw_importance(const cop_arch *arch)
{
    cop_error err = {0};
    cop_importance *scores = NULL;
    cop_rng *rng = NULL;
    const cop_layer_arch widest = cop_importance_widest(arch);

    must(cop_importance_create(&scores, arch->layers, widest.heads, widest.kv_heads, widest.ffn,
                               arch->hidden, true, &err),
         &err);
    must(cop_rng_create(&rng, 1, COP_RNG_TEST, 33, &err), &err);
    const int64_t count =
        COP_AGGREGATES *
            (arch->layers * (widest.heads + widest.kv_heads + widest.ffn) + arch->hidden) +
        2 * arch->layers;
    for (int64_t i = 0; i < count; i++) {
        scores->storage[i] = exp(2 * cop_rng_normal(rng));
    }
    cop_rng_destroy(rng);
    return scores;
}

// Proposes until there are `wanted` points; what is told has no bearing on the order.
static int64_t propose(cop_strategy *strategy, const cop_domain *domain, int64_t wanted)
{
    cop_error err = {0};
    cop_trial trials[BATCH];
    int64_t found = 0;
    int64_t count = 1;
    int32_t *genomes = cop_alloc((size_t)(BATCH * domain->axes), sizeof *genomes);

    if (genomes == NULL) {
        exit(1);
    }
    while (found < wanted && count > 0) {
        must(cop_strategy_ask(strategy, genomes, BATCH, &count, &err), &err);
        for (int64_t i = 0; i < count; i++) {
            trials[i] = (cop_trial){.genome = genomes + i * domain->axes, .objective = {1, 1}};
        }
        if (count > 0) {
            must(cop_strategy_tell(strategy, trials, count, &err), &err);
        }
        found += count;
    }
    cop_free(genomes);
    return found;
}

static void run(const kind *k, const cop_arch *teacher, const cop_importance *importance)
{
    char yaml[1024];
    cop_error err = {0};
    cop_study_file study;
    cop_space *space = NULL;
    cop_layer_mass *mass = NULL;
    cop_space_domain *domain = NULL;
    cop_strategy *strategy = NULL;
    const cop_strategy_options options = COP_STRATEGY_OPTIONS_DEFAULT;

    (void)snprintf(yaml, sizeof yaml, "teacher: none\nspace:\n%s%s\nbudget: %s\n", k->space, OWN,
                   k->budget);
    must(cop_study_file_parse(&study, "s.yaml", yaml, strlen(yaml), false, &err), &err);
    must(cop_space_create(&space, &study, teacher, &err), &err);
    const double start = cpu_seconds();
    must(cop_layer_mass_create(&mass, importance, space, &study.select, &err), &err);
    const double scored = cpu_seconds();
    const cop_space_scores scores = cop_layer_mass_scores(mass);
    const cop_space_features features = {.scores = &scores};
    must(cop_space_domain_create(&domain, space, &features, &err), &err);
    const cop_domain *view = cop_space_domain_view(domain);
    must(cop_strategy_create(&strategy, &cop_strategy_knapsack, view, &options, &err), &err);
    const int64_t first = propose(strategy, view, 1);
    const double asked = cpu_seconds();
    const int64_t more = propose(strategy, view, POINTS - first);
    const double ended = cpu_seconds();
    printf("{\"bench\": \"layerwise\", \"case\": \"%s\", \"axes\": %d, \"log10_points\": %.1f, "
           "\"score_seconds\": %.3f, \"first_points\": %lld, \"first_seconds\": %.3f, \"target\": "
           "1, \"more_points\": %lld, \"more_seconds\": %.3f, \"program\": \"%s\"}\n",
           k->name, view->axes, cop_space_log10_size(space), scored - start, (long long)first,
           asked - scored, (long long)more, ended - asked, cop_version());
    (void)fflush(stdout);
    cop_strategy_destroy(strategy);
    cop_space_domain_destroy(domain);
    cop_layer_mass_destroy(mass);
    cop_space_destroy(space);
    cop_study_file_release(&study);
}

int main(void)
{
    static const kind kinds[] = {
        {"32 layers, params at most", "", "{params: {max: 6e9}}"},
        {"32 layers, params between", "", "{params: {min: 5.9e9, max: 6e9}}"},
        {"24 to 32 layers, 3 widths, params between", SHARED, "{params: {min: 3.5e9, max: 6e9}}"},
        {"32 layers, params and memory", "",
         "{params: {max: 6e9}, memory_bytes: {max: 12e9, batch: 8, sequence: 4096}}"},
        {"32 layers, params and FLOPs", "",
         "{params: {max: 6e9}, flops_per_token: {max: 11e9, sequence: 8192}}"},
    };
    cop_error err = {0};
    cop_arch teacher;

    cop_system_silence_libraries();
    must(cop_arch_read(&teacher, COP_MODEL_CONFIG, &err), &err);
    cop_importance *importance = draw_importance(&teacher);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        run(&kinds[i], &teacher, importance);
    }
    cop_importance_destroy(importance);
    return 0;
}
