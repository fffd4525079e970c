// NSGA-II. Source: Deb, Pratap, Agarwal, Meyarivan, "A fast and elitist multiobjective genetic algorithm:
// NSGA-II", 2002, with its constrained dominance: feasible points before infeasible ones, those by their
// violation, failed ones last. Variants:
//   - the front that does not fit loses its most crowded point again and again (Kukkonen and Deb, 2006), instead of
//     all at once by distances that the removal makes wrong;
//   - one child of two parents, on whole levels, steps of mutation on a logarithmic scale;
//   - no genome twice: a child that is known is bred again, mutated ever more, and at last drawn at random;
//   - the first generation is spread over size and shape, smallest and largest point included;
//   - an archive keeps every feasible point that nothing dominates. Once it holds more than the population, a
//     share of parents comes from it, from where it is least crowded.

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "search/nsga2_internal.h"

enum { RETRIES = 32, PATIENCE = 6 };

static const double crossover_share = 0.7;
static const double archive_share = 0.25;

typedef struct nsga2 {
    cop_proposals proposals;
    cop_spread spread;
    cop_nsga2_selection selection;
    int64_t population_wanted;
    cop_nsga2_result *result; // [result_room], owned: of all genomes told
    int64_t result_count;
    int64_t result_room;
    int64_t *population; // [result_room], owned: the best, as many as wanted
    int64_t population_count;
    int64_t *archive; // [result_room], owned: feasible points that nothing dominates
    int64_t archive_count;
    int32_t *child; // [axes], owned
} nsga2;

static void nsga2_destroy(void *self)
{
    nsga2 *s = self;
    if (s != NULL) {
        cop_proposals_release(&s->proposals);
        cop_spread_release(&s->spread);
        cop_nsga2_selection_release(&s->selection);
        cop_free(s->result);
        cop_free(s->population);
        cop_free(s->archive);
        cop_free(s->child);
        cop_free(s);
    }
}

static cop_status reserve(nsga2 *s, int64_t count, cop_error *err)
{
    if (count <= s->result_room) {
        return COP_OK;
    }
    const size_t room = 2 * (size_t)count;
    void *result = cop_realloc(s->result, room, sizeof *s->result);
    s->result = result == NULL ? s->result : result;
    void *population = cop_realloc(s->population, room, sizeof *s->population);
    s->population = population == NULL ? s->population : population;
    void *archive = cop_realloc(s->archive, room, sizeof *s->archive);
    s->archive = archive == NULL ? s->archive : archive;
    if (result == NULL || population == NULL || archive == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "strategy: out of memory");
    }
    s->result_room = (int64_t)room;
    return COP_OK;
}

static cop_status nsga2_create(void **self, const cop_domain *domain,
                               const cop_strategy_options *options, cop_error *err)
{
    cop_status status = COP_OK;
    nsga2 *s = cop_alloc(1, sizeof *s);

    *self = NULL;
    if (s == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "strategy: out of memory");
    }
    s->population_wanted = options->population;
    s->selection.objectives = options->objectives;
    COP_TRY(status, cop_proposals_init(&s->proposals, domain, options->seed, err));
    COP_TRY(status, cop_spread_init(&s->spread, domain, options->seed, err));
    s->child = cop_alloc((size_t)domain->axes, sizeof *s->child);
    if (s->child == NULL) {
        COP_TRY(status, COP_FAIL(err, COP_ERR_NOMEM, "strategy: out of memory"));
    }
    *self = s;
    s = NULL;

done:
    nsga2_destroy(s);
    return status;
}

// --- Parents --------------------------------------------------------------------------------------

static bool is_better(const cop_nsga2_result *a, const cop_nsga2_result *b)
{
    return a->rank != b->rank ? a->rank < b->rank : a->crowding > b->crowding;
}

// The better of two that are drawn.
static int64_t pick_parent(const nsga2 *s, cop_rng *rng)
{
    const bool is_archive =
        s->archive_count > s->population_count && cop_rng_uniform(rng) < archive_share;
    const int64_t *from = is_archive ? s->archive : s->population;
    const uint64_t count = (uint64_t)(is_archive ? s->archive_count : s->population_count);
    const int64_t a = from[cop_rng_below(rng, count)];
    const int64_t b = from[cop_rng_below(rng, count)];
    return is_better(&s->result[b], &s->result[a]) ? b : a;
}

// Breeds until a child is feasible and new. Children that exist already mutate ever more; the infeasible ones of
// a tight space do not: they are closest to their parents as they are.
static cop_status add_child(nsga2 *s, bool *is_added, cop_error *err)
{
    cop_status status = COP_OK;
    cop_proposals *p = &s->proposals;
    const cop_domain *domain = p->domain;
    double rate = 1.0 / domain->axes;
    int known = 0;

    *is_added = false;
    for (int i = 0; i < RETRIES && !*is_added; i++) {
        const int64_t a = pick_parent(s, p->rng);
        const int64_t b = pick_parent(s, p->rng);
        memcpy(s->child, cop_genome_set_view(p->told, a), (size_t)domain->axes * sizeof *s->child);
        if (cop_rng_uniform(p->rng) < crossover_share) {
            cop_nsga2_cross(domain, p->rng, cop_genome_set_view(p->told, b), s->child);
        }
        cop_nsga2_mutate(domain, p->rng, rate, s->child);
        COP_TRY(status, cop_proposals_add(p, s->child, is_added, err));
        known += cop_domain_violation(domain, s->child) > 0 ? 0 : 1;
        rate = known > PATIENCE ? fmin(1.0, 2.0 * rate) : rate;
    }
    if (!*is_added) {
        COP_TRY(status, cop_proposals_add_random(p, is_added, err));
    }

done:
    return status;
}

static cop_status add_corners(nsga2 *s, cop_error *err)
{
    cop_status status = COP_OK;
    const cop_domain *domain = s->proposals.domain;
    bool is_added = false;

    for (int corner = 0; corner < 2; corner++) {
        for (int i = 0; i < domain->axes; i++) {
            s->child[i] = corner == 0 ? 0 : domain->levels[i] - 1;
        }
        COP_TRY(status, cop_proposals_add(&s->proposals, s->child, &is_added, err));
    }

done:
    return status;
}

static cop_status nsga2_ask(void *self, int64_t batch, int32_t *genomes, int64_t limit,
                            int64_t *count, cop_error *err)
{
    cop_status status = COP_OK;
    nsga2 *s = self;
    cop_proposals *p = &s->proposals;
    const int64_t wanted = s->population_wanted < limit ? s->population_wanted : limit;
    bool is_fresh = false;
    bool is_added = false;
    const bool is_first = s->population_count < s->population_wanted;

    COP_TRY(status, cop_proposals_begin(p, batch, &is_fresh, err));
    if (is_fresh) {
        cop_spread_begin(&s->spread);
        if (is_first && p->domain->strata != NULL) {
            COP_TRY(status, add_corners(s, err));
        }
    }
    while (!p->is_exhausted && cop_genome_set_count(p->batch) < wanted) {
        COP_TRY(status, is_first ? cop_spread_add(&s->spread, p, &is_added, err)
                                 : add_child(s, &is_added, err));
        p->is_exhausted = !is_added;
    }
    cop_proposals_copy(p, genomes, wanted, count);

done:
    return status;
}

// --- Results --------------------------------------------------------------------------------------

static void archive_add(nsga2 *s, int64_t index)
{
    const cop_nsga2_result *r = &s->result[index];
    int64_t kept = 0;
    if (r->violation > 0) {
        return;
    }
    for (int64_t i = 0; i < s->archive_count; i++) {
        if (cop_front_dominates(&s->result[s->archive[i]].point, &r->point,
                                s->selection.objectives)) {
            return;
        }
    }
    for (int64_t i = 0; i < s->archive_count; i++) {
        if (!cop_front_dominates(&r->point, &s->result[s->archive[i]].point,
                                 s->selection.objectives)) {
            s->archive[kept++] = s->archive[i];
        }
    }
    s->archive[kept++] = index;
    s->archive_count = kept;
}

static void add_result(nsga2 *s, const cop_trial *trial)
{
    bool is_bad = trial->is_failed || isnan(trial->violation);
    const int64_t index = s->result_count++;
    cop_nsga2_result *r = &s->result[index];
    *r = (cop_nsga2_result){.point = {.index = index}, .violation = trial->violation};
    for (int k = 0; k < s->selection.objectives; k++) {
        r->point.value[k] = trial->objective[k];
        is_bad = is_bad || !isfinite(trial->objective[k]);
    }
    if (is_bad) {
        r->violation = (double)INFINITY;
    }
    s->population[s->population_count++] = index;
    archive_add(s, index);
}

static cop_status nsga2_tell(void *self, int64_t batch, const cop_trial *trials, int64_t count,
                             cop_error *err)
{
    cop_status status = COP_OK;
    nsga2 *s = self;

    (void)batch;
    COP_TRY(status, reserve(s, s->result_count + count, err));
    for (int64_t i = 0; i < count; i++) {
        const int64_t known = cop_genome_set_count(s->proposals.told);
        COP_TRY(status, cop_proposals_tell(&s->proposals, &trials[i], 1, err));
        if (cop_genome_set_count(s->proposals.told) > known) {
            add_result(s, &trials[i]);
            cop_spread_tell(&s->spread, cop_genome_set_view(s->proposals.told, known));
        }
    }
    COP_TRY(status, cop_nsga2_select(&s->selection, s->result, s->population, &s->population_count,
                                     s->population_wanted, err));
    // Nothing is removed: the distances among all non-dominated points replace those of the population.
    COP_TRY(status, cop_nsga2_select(&s->selection, s->result, s->archive, &s->archive_count,
                                     s->archive_count, err));

done:
    return status;
}

const cop_strategy_type cop_strategy_nsga2 = {
    .name = "nsga2",
    .help = "NSGA-II (Deb et al. 2002), feasible points first, on whole levels, no point twice",
    .create = nsga2_create,
    .ask = nsga2_ask,
    .tell = nsga2_tell,
    .destroy = nsga2_destroy,
};
