// From rung to rung: who goes on.

#include <math.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "search/ranking_internal.h"

typedef struct order_entry {
    double probability;
    int64_t at; // entry of the ranking, which is ordered by loss
} order_entry;

static int compare_probability(const void *a, const void *b)
{
    const order_entry *x = a;
    const order_entry *y = b;
    if (x->probability != y->probability) {
        return x->probability > y->probability ? -1 : 1;
    }
    return (x->at > y->at) - (x->at < y->at);
}

cop_status cop_ranking_promote(char *decision, const cop_ranking *ranking, int64_t keep_count,
                               double rescue, uint64_t seed, cop_error *err)
{
    cop_status status = COP_OK;
    cop_rng *rng = NULL;
    const size_t count = (size_t)ranking->count;
    order_entry *order = cop_alloc(count + 1, sizeof *order);
    int64_t *rest = cop_alloc(count + 1, sizeof *rest);
    int64_t finite = 0;
    int64_t rest_count = 0;
    int64_t kept = 0;
    int64_t rescued = 0;
    if (order == NULL || rest == NULL) {
        status = COP_FAIL(err, COP_ERR_NOMEM, "promotion: out of memory");
        goto done;
    }
    COP_TRY(status, cop_rng_create(&rng, seed, COP_RNG_RESCUE, (uint64_t)ranking->stage, err));
    for (int64_t i = 0; i < ranking->count; i++) {
        decision[i] = 'e';
        if (isfinite(ranking->entry[i].loss.value)) { // nothing else can go on
            order[finite++] = (order_entry){ranking->entry[i].top_probability, i};
        }
    }
    qsort(order, (size_t)finite, sizeof *order, compare_probability);
    kept = keep_count < finite ? keep_count : finite;
    // Everybody goes on: nobody needs rescue.
    rescued = kept == finite ? 0 : (int64_t)floor(fmin(fmax(rescue, 0), 1) * (double)kept);
    for (int64_t i = 0; i < finite; i++) {
        if (i < kept - rescued) {
            decision[order[i].at] = 'p';
        } else {
            rest[rest_count++] = order[i].at;
        }
    }
    cop_rng_shuffle(rng, rest, (size_t)rest_count);
    for (int64_t i = 0; i < rescued && i < rest_count; i++) {
        decision[rest[i]] = 'r';
    }
done:
    cop_rng_destroy(rng);
    cop_free(order);
    cop_free(rest);
    return status;
}
