// Spaces of a teacher as sums over layers: what strategy knapsack proposes first is the best of all genomes, by the
// definition of what a candidate loses.

#include "search/layer_mass.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "search/strategy.h"
#include "tests/prune/fixture.h"
#include "tests/support.h"

typedef struct layered {
    cop_study_file study;
    cop_arch teacher;
    cop_importance *importance;
    cop_space *space;
    cop_layer_mass *mass;
    cop_space_domain *domain;
    const cop_domain *view;
} layered;

#define LAYERED                                                                        \
    "teacher: t\n"                                                                     \
    "space: {layers: [2, 3], heads@layer: [8, 4], kv_heads@layer: [4, 2], ffn@layer: " \
    "[128, 64], hidden: [64, 48]}\n"                                                   \
    "budget: {params: {min: 60000, max: 130000}, memory_bytes: {max: 4e5, batch: 2, "  \
    "sequence: 64}, flops_per_token: {min: 1e5, sequence: 64}}\n"
#define UNIFORM                                                                \
    "teacher: t\n"                                                             \
    "space: {layers: [2, 3, 4], heads: [8, 4], ffn_ratio: {from: 0.5, to: 2, " \
    "step: 0.05}, hidden: [64, 48]}\nbudget: {params: {max: 120000}}\n"

static cop_status open_layered(layered *f, const char *yaml, cop_error *err)
{
    cop_status status = COP_OK;
    cop_space_scores scores;
    cop_space_features features = {.scores = &scores};

    COP_TRY(status, cop_study_file_parse(&f->study, "s.yaml", yaml, strlen(yaml), false, err));
    COP_TRY(status, cop_space_create(&f->space, &f->study, &f->teacher, err));
    COP_TRY(status,
            cop_layer_mass_create(&f->mass, f->importance, f->space, &f->study.select, err));
    scores = cop_layer_mass_scores(f->mass);
    COP_TRY(status, cop_space_domain_create(&f->domain, f->space, &features, err));
    f->view = cop_space_domain_view(f->domain);

done:
    return status;
}

static void close_layered(layered *f)
{
    cop_space_domain_destroy(f->domain);
    cop_layer_mass_destroy(f->mass);
    cop_space_destroy(f->space);
    cop_study_file_release(&f->study);
    f->domain = NULL;
    f->mass = NULL;
    f->space = NULL;
    f->study = (cop_study_file){0};
}

static layered make_teacher(void)
{
    layered f = {.teacher = {.family = COP_FAMILY_LLAMA,
                             .vocab = 256,
                             .hidden = 64,
                             .head_dim = 16,
                             .context = 128,
                             .layers = 4,
                             .norm = COP_NORM_RMS,
                             .norm_eps = 1e-5,
                             .is_gated = true,
                             .rope = {.theta = 1e4, .partial = 1.0},
                             .bos = -1,
                             .eos = -1}};
    for (int i = 0; i < 4; i++) {
        f.teacher.layer[i] = (cop_layer_arch){.heads = 8, .kv_heads = 4, .ffn = 128};
    }
    f.importance = random_scores(&f.teacher, 4);
    return f;
}

static int compare_numbers(const void *a, const void *b)
{
    const double x = *(const double *)a;
    const double y = *(const double *)b;
    return (x > y) - (x < y);
}

// Share of what `kept` of the highest scores leave out.
static double lost(const double *scores, int64_t count, int64_t kept)
{
    double sorted[128];
    double sum = 0;
    double rest = 0;
    memcpy(sorted, scores, (size_t)count * sizeof *sorted);
    qsort(sorted, (size_t)count, sizeof *sorted, compare_numbers);
    for (int64_t i = 0; i < count; i++) {
        sum += sorted[i];
        rest += i < count - kept ? sorted[i] : 0;
    }
    return rest / sum;
}

// The definition in layer_mass.h, spelled out for a genome of LAYERED or UNIFORM.
static double score_of(const layered *f, const int32_t *genome)
{
    cop_layer_arch blocks[COP_ARCH_LAYERS_MAX];
    cop_candidate c;
    cop_error err = {0};
    cop_selection *selection = NULL;
    const cop_importance *s = f->importance;
    const int a = f->study.select.aggregate;
    const double *influence = cop_importance_block_influence(s);
    const double sum = influence[0] + influence[1] + influence[2] + influence[3];

    assert_true(cop_space_domain_candidate(f->domain, genome, blocks, &c));
    const cop_arch target = cop_candidate_arch(&c, &f->teacher);
    assert_int_equal(
        cop_selection_create(&selection, &f->teacher, &target, s, &f->study.select, &err), COP_OK);
    double score = 1 + lost(cop_importance_channels(s, a), 64, c.hidden);
    for (int64_t i = 0; i < target.layers; i++) {
        const int64_t l = cop_selection_layer(selection, i);
        const double heads = lost(cop_importance_heads(s, a, l), 8, target.layer[i].heads);
        const double groups = lost(cop_importance_kv_groups(s, a, l), 4, target.layer[i].kv_heads);
        const double neurons = lost(cop_importance_neurons(s, a, l), 128, target.layer[i].ffn);
        score -= influence[l] / sum * (1 - (heads + groups) / 4 - neurons / 2);
    }
    cop_selection_destroy(selection);
    return score;
}

// The first proposal against all genomes.
static void compare_with_all(const char *yaml, int64_t feasible_least)
{
    const cop_strategy_options options = {.objectives = 2, .population = 8, .seed = 1};
    cop_error err = {0};
    cop_strategy *strategy = NULL;
    layered f = make_teacher();
    int32_t genome[COP_DOMAIN_AXES_MAX] = {0};
    int32_t first[8 * COP_DOMAIN_AXES_MAX];
    double best = (double)INFINITY;
    int64_t feasible = 0;
    int64_t count = 0;
    int axis = 0;

    if (open_layered(&f, yaml, &err) != COP_OK) {
        fail_msg("%s", err.message);
    }
    assert_int_equal(cop_strategy_create(&strategy, &cop_strategy_knapsack, f.view, &options, &err),
                     COP_OK);
    assert_int_equal(cop_strategy_ask(strategy, first, 8, &count, NULL), COP_OK);
    assert_int_equal(count, 8);
    while (axis >= 0) {
        int32_t canonical[COP_DOMAIN_AXES_MAX];
        const size_t bytes = (size_t)f.view->axes * sizeof *genome;
        memcpy(canonical, genome, bytes);
        f.view->canonicalize(f.view->context, canonical);
        if (memcmp(canonical, genome, bytes) == 0 &&
            !(f.view->violation(f.view->context, genome) > 0)) {
            best = fmin(best, score_of(&f, genome));
            feasible++;
        }
        for (axis = f.view->axes - 1; axis >= 0 && ++genome[axis] == f.view->levels[axis]; axis--) {
            genome[axis] = 0;
        }
    }
    assert_true(feasible >= feasible_least);
    assert_true(fabs(score_of(&f, first) - best) < 1e-12);
    cop_strategy_destroy(strategy);
    close_layered(&f);
    cop_importance_destroy(f.importance);
}

static void layers_that_choose_get_the_best_there_is(void **state)
{
    (void)state;
    compare_with_all(LAYERED, 100);
}

static void uniform_spaces_are_ranked_by_what_they_lose(void **state)
{
    (void)state;
    compare_with_all(UNIFORM, 20);
}

static void a_space_survives_every_failed_allocation(void **state)
{
    layered f = make_teacher();
    const size_t blocks = cop_alloc_live_blocks();
    cop_status status = COP_ERR_NOMEM;
    (void)state;
    for (size_t n = 0; status != COP_OK; n++) {
        cop_alloc_fail_after(n);
        status = open_layered(&f, LAYERED, NULL);
        cop_alloc_fail_after(SIZE_MAX);
        assert_true(status == COP_OK || status == COP_ERR_NOMEM);
        close_layered(&f);
        assert_int_equal(cop_alloc_live_blocks(), blocks);
    }
    cop_importance_destroy(f.importance);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layers_that_choose_get_the_best_there_is),
        cmocka_unit_test(uniform_spaces_are_ranked_by_what_they_lose),
        cmocka_unit_test(a_space_survives_every_failed_allocation),
    };
    return cmocka_run_group_tests_name("layer mass", tests, NULL, NULL);
}
