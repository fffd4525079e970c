// All points of a domain in order.

#include <string.h>

#include "base/alloc.h"
#include "search/strategy_internal.h"

typedef struct grid {
    cop_proposals proposals;
    cop_domain_walk walk;
    int32_t *start; // [axes], owned: where the current batch starts; all before it was told
    bool is_start_done;
} grid;

static void grid_destroy(void *self)
{
    grid *g = self;
    if (g != NULL) {
        cop_proposals_release(&g->proposals);
        cop_domain_walk_release(&g->walk);
        cop_free(g->start);
        cop_free(g);
    }
}

static cop_status grid_create(void **self, const cop_domain *domain,
                              const cop_strategy_options *options, cop_error *err)
{
    cop_status status = COP_OK;
    grid *g = cop_alloc(1, sizeof *g);

    *self = NULL;
    if (g == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "strategy: out of memory");
    }
    COP_TRY(status, cop_proposals_init(&g->proposals, domain, options->seed, err));
    COP_TRY(status, cop_domain_walk_init(&g->walk, domain, err));
    g->start = cop_alloc((size_t)domain->axes, sizeof *g->start);
    if (g->start == NULL) {
        COP_TRY(status, COP_FAIL(err, COP_ERR_NOMEM, "strategy: out of memory"));
    }
    *self = g;
    g = NULL;

done:
    grid_destroy(g);
    return status;
}

// Back to the first point that was not told: a batch may have been told in part.
static void restart(grid *g)
{
    const size_t bytes = (size_t)g->walk.domain->axes * sizeof *g->start;
    memcpy(g->walk.genome, g->start, bytes);
    g->walk.is_done = g->is_start_done;
    for (;;) {
        const int32_t *genome = cop_domain_walk_view(&g->walk);
        if (genome == NULL || !cop_genome_set_holds(g->proposals.told, genome)) {
            break;
        }
        cop_domain_walk_step(&g->walk);
    }
    memcpy(g->start, g->walk.genome, bytes);
    g->is_start_done = g->walk.is_done;
}

static cop_status grid_ask(void *self, int64_t batch, int32_t *genomes, int64_t limit,
                           int64_t *count, cop_error *err)
{
    cop_status status = COP_OK;
    grid *g = self;
    bool is_fresh = false;

    COP_TRY(status, cop_proposals_begin(&g->proposals, batch, &is_fresh, err));
    if (is_fresh) {
        restart(g);
    }
    while (cop_genome_set_count(g->proposals.batch) < limit) {
        const int32_t *genome = cop_domain_walk_view(&g->walk);
        bool is_added = false;
        if (genome == NULL) {
            break;
        }
        if (!cop_genome_set_holds(g->proposals.told, genome)) {
            COP_TRY(status, cop_genome_set_add(g->proposals.batch, genome, &is_added, err));
        }
        cop_domain_walk_step(&g->walk);
    }
    cop_proposals_copy(&g->proposals, genomes, limit, count);

done:
    return status;
}

static cop_status grid_tell(void *self, int64_t batch, const cop_trial *trials, int64_t count,
                            cop_error *err)
{
    grid *g = self;
    (void)batch;
    return cop_proposals_tell(&g->proposals, trials, count, err);
}

const cop_strategy_type cop_strategy_grid = {
    .name = "grid",
    .help = "all feasible points in order, the first axis slowest",
    .create = grid_create,
    .ask = grid_ask,
    .tell = grid_tell,
    .destroy = grid_destroy,
};
