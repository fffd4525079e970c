// The best points by an additive score, spread over their size: an exact answer to what Puzzle (arXiv 2411.19146,
// 2024) asks a mixed-integer solver, as a list of proposals. Between the bounds the size is cut into equal
// parts; the best point of each part comes first, those by rising score, then the second best of each, and so on:
// the first of all is the best within the budget, and a batch is no heap of near copies of it.
//
// Results change nothing but what is left. Importance is not additive (EvoPress, arXiv 2410.14649, 2024): the score
// says what is worth a probe, probes decide.

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "search/additive.h"
#include "search/strategy_internal.h"

enum {
    PARTS_MAX = 16,
    GROWTH = 4,
    WANTED_MAX = 1024,
    CUTS_MAX = 8,
    ROUNDS_MAX = 6 // 1, 4, 16, … 1024
};

typedef struct place {
    double score;
    int64_t tier; // in its part
    int part;
} place;

// Points in the order of proposals. Later rounds repeat the earlier ones and go deeper.
typedef struct round {
    int64_t count;
    int32_t *genome; // [count, axes], owned
} round;

typedef struct knapsack {
    cop_proposals proposals;
    cop_additive_search *search; // owned
    int64_t batch;
    int64_t wanted; // of each part, in the next round
    int parts;      // of the size; set by the first round
    int64_t low;
    int64_t width; // of a part
    int rounds;
    round list[ROUNDS_MAX];
    bool is_whole; // the last round has all points that are feasible
    int round;     // where the current batch is
    int64_t at;
} knapsack;

static void knapsack_destroy(void *self)
{
    knapsack *k = self;
    if (k != NULL) {
        for (int i = 0; i < k->rounds; i++) {
            cop_free(k->list[i].genome);
        }
        cop_proposals_release(&k->proposals);
        cop_additive_search_destroy(k->search);
        cop_free(k);
    }
}

static cop_status knapsack_create(void **self, const cop_domain *domain,
                                  const cop_strategy_options *options, cop_error *err)
{
    cop_status status = COP_OK;
    knapsack *k = cop_alloc(1, sizeof *k);

    *self = NULL;
    if (k == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "strategy: out of memory");
    }
    k->batch = options->batch > 0 ? options->batch : options->population;
    k->wanted = (k->batch + PARTS_MAX - 1) / PARTS_MAX;
    k->wanted = k->wanted < WANTED_MAX ? k->wanted : WANTED_MAX;
    COP_TRY(status, cop_proposals_init(&k->proposals, domain, options->seed, err));
    COP_TRY(status, cop_additive_search_create(&k->search, domain, err));
    *self = k;
    k = NULL;

done:
    knapsack_destroy(k);
    return status;
}

// --- Rounds -------------------------------------------------------------------------------------

static int compare_places(const void *a, const void *b)
{
    const place *x = a;
    const place *y = b;
    if (x->tier != y->tier) {
        return x->tier < y->tier ? -1 : 1;
    }
    if (x->score != y->score) {
        return x->score < y->score ? -1 : 1;
    }
    return (x->part > y->part) - (x->part < y->part);
}

static cop_status order(round *out, const cop_additive_found *found, int parts, int axes,
                        cop_error *err)
{
    cop_status status = COP_OK;
    int64_t count = 0;
    place *places = NULL;

    for (int p = 0; p < parts; p++) {
        count += found[p].count;
    }
    places = cop_alloc((size_t)count + 1, sizeof *places);
    out->genome = cop_alloc((size_t)(count * axes) + 1, sizeof *out->genome);
    if (places == NULL || out->genome == NULL) {
        cop_free(out->genome);
        out->genome = NULL;
        COP_TRY(status, COP_FAIL(err, COP_ERR_NOMEM, "strategy: out of memory"));
    }
    for (int p = 0; p < parts; p++) {
        for (int64_t i = 0; i < found[p].count; i++) {
            places[out->count++] = (place){.score = found[p].score[i], .tier = i, .part = p};
        }
    }
    qsort(places, (size_t)count, sizeof *places, compare_places);
    for (int64_t i = 0; i < count; i++) {
        memcpy(out->genome + i * axes, found[places[i].part].genome + places[i].tier * axes,
               (size_t)axes * sizeof *out->genome);
    }

done:
    cop_free(places);
    return status;
}

static void release_all(cop_additive_found found[PARTS_MAX])
{
    for (int p = 0; p < PARTS_MAX; p++) {
        cop_additive_found_release(&found[p]);
    }
}

// The best of each part.
static cop_status solve_parts(knapsack *k, int64_t wanted, cop_additive_found found[PARTS_MAX],
                              bool *is_whole, cop_error *err)
{
    cop_status status = COP_OK;
    *is_whole = true;
    for (int p = 0; p < k->parts; p++) {
        const int64_t first = k->low + p * k->width;
        COP_TRY(status,
                cop_additive_best(&found[p], k->search, first, first + k->width - 1, wanted, err));
        *is_whole = *is_whole && found[p].is_proven && found[p].count < wanted;
    }

done:
    return status;
}

// Has the part no point, as far as can be proven?
static cop_status try_part(knapsack *k, int64_t part, bool *is_empty, cop_error *err)
{
    cop_additive_found found = {0};
    const int64_t first = k->low + part * k->width;
    const cop_status status =
        cop_additive_best(&found, k->search, first, first + k->width - 1, 1, err);
    *is_empty = found.is_proven && found.count == 0;
    cop_additive_found_release(&found);
    return status;
}

// Cuts the sizes into parts. Bounds of other sums may leave none of the smallest or largest: these are cut off and
// the others cut again.
static cop_status cut(knapsack *k, cop_error *err)
{
    cop_status status = COP_OK;
    const int64_t most = k->batch < PARTS_MAX ? k->batch : PARTS_MAX;
    int64_t high = -1;
    bool is_cut = cop_additive_sizes(k->search, &k->low, &high);

    for (int n = 0; n < CUTS_MAX && is_cut; n++) {
        bool is_empty = true;
        int64_t first = 0;
        int64_t end = most;
        k->width = (high - k->low) / most + 1;
        for (first = -1; is_empty && first + 1 < end;) {
            COP_TRY(status, try_part(k, ++first, &is_empty, err));
        }
        if (is_empty) {
            return COP_OK; // no parts: nothing is feasible
        }
        for (is_empty = true; is_empty && end - 1 > first;) {
            COP_TRY(status, try_part(k, end - 1, &is_empty, err));
            end -= is_empty ? 1 : 0;
        }
        is_cut = k->width > 1 && end - first < most;
        high = k->low + end * k->width - 1 < high ? k->low + end * k->width - 1 : high;
        k->low += first * k->width;
        k->parts = (int)most;
    }
    k->width = k->parts > 0 ? (high - k->low) / k->parts + 1 : 0;

done:
    return status;
}

static cop_status add_round(knapsack *k, cop_error *err)
{
    cop_status status = COP_OK;
    cop_additive_found found[PARTS_MAX] = {0};
    round *list = &k->list[k->rounds];
    bool is_whole = true;

    if (k->rounds == 0) {
        COP_TRY(status, cut(k, err));
    }
    COP_TRY(status, solve_parts(k, k->wanted, found, &is_whole, err));
    *list = (round){0};
    COP_TRY(status, order(list, found, k->parts, k->proposals.domain->axes, err));
    k->rounds++;
    k->is_whole = is_whole;
    k->wanted *= GROWTH;

done:
    release_all(found);
    return status;
}

// --- Proposing ----------------------------------------------------------------------------------

// Adds the next point of the lists that is new, or one by lot when they are too long to be made.
static cop_status add_next(knapsack *k, bool *is_added, cop_error *err)
{
    cop_status status = COP_OK;
    cop_proposals *proposals = &k->proposals;
    const int axes = proposals->domain->axes;

    *is_added = false;
    while (!*is_added) {
        if (k->round == k->rounds) {
            if (k->is_whole) {
                return COP_OK;
            }
            if (k->wanted > WANTED_MAX) {
                return cop_proposals_add_random(proposals, is_added, err);
            }
            COP_TRY(status, add_round(k, err));
        }
        const round *list = &k->list[k->round];
        if (k->at == list->count) {
            k->round++;
            k->at = 0;
            continue;
        }
        memcpy(proposals->genome, list->genome + k->at * axes,
               (size_t)axes * sizeof *proposals->genome);
        COP_TRY(status, cop_proposals_add(proposals, proposals->genome, is_added, err));
        k->at++;
    }

done:
    return status;
}

static cop_status knapsack_ask(void *self, int64_t batch, int32_t *genomes, int64_t limit,
                               int64_t *count, cop_error *err)
{
    cop_status status = COP_OK;
    knapsack *k = self;
    const int64_t wanted = limit < k->batch ? limit : k->batch;
    bool is_fresh = false;

    COP_TRY(status, cop_proposals_begin(&k->proposals, batch, &is_fresh, err));
    if (is_fresh) {
        // From the start: of the last batch a part may not have been told.
        k->round = 0;
        k->at = 0;
    }
    while (!k->proposals.is_exhausted && cop_genome_set_count(k->proposals.batch) < wanted) {
        bool is_added = false;
        COP_TRY(status, add_next(k, &is_added, err));
        k->proposals.is_exhausted = !is_added;
    }
    cop_proposals_copy(&k->proposals, genomes, limit, count);

done:
    return status;
}

static cop_status knapsack_tell(void *self, int64_t batch, const cop_trial *trials, int64_t count,
                                cop_error *err)
{
    knapsack *k = self;
    (void)batch;
    return cop_proposals_tell(&k->proposals, trials, count, err);
}

const cop_strategy_type cop_strategy_knapsack = {
    .name = "knapsack",
    .help =
        "the best by a score that adds up over the layers, exact, spread over their size (after "
        "Puzzle, arXiv 2411.19146)",
    .create = knapsack_create,
    .ask = knapsack_ask,
    .tell = knapsack_tell,
    .destroy = knapsack_destroy,
};
