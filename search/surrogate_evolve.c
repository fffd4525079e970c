// The inner search of the surrogate-assisted strategy: NSGA-II (Deb et al. 2002) on what the models predict, with
// uniform crossover and moves of single axes. Every offspring is a new candidate.

#include <math.h>

#include "base/alloc.h"
#include "search/surrogate_internal.h"

enum {
    PARENTS = 200,
    GENERATIONS = 30,
    PATIENCE = 8 // tries per offspring
};

typedef struct evolution {
    cop_front_point parent[2 * PARENTS]; // sorted by (front, crowding) after select
    double crowding[2 * PARENTS];        // of parent[i]
    int64_t count;
    cop_front_point scratch[2 * PARENTS];
    int64_t work[2 * PARENTS];
    int64_t order[2 * PARENTS];
} evolution;

// Orders `order` by one objective of the parents; insertion keeps equal ones in place.
static void order_by(evolution *self, int64_t begin, int64_t end, int objective)
{
    for (int64_t i = begin; i < end; i++) {
        int64_t at = i;
        const double key = self->parent[i].value[objective];
        while (at > begin && self->parent[self->order[at - 1]].value[objective] > key) {
            self->order[at] = self->order[at - 1];
            at--;
        }
        self->order[at] = i;
    }
}

// Crowding distances of one front, Deb et al. 2002.
static void crowd(evolution *self, int64_t begin, int64_t end, int objectives)
{
    for (int64_t i = begin; i < end; i++) {
        self->crowding[i] = 0.0;
    }
    for (int j = 0; j < objectives; j++) {
        order_by(self, begin, end, j);
        const int64_t *order = self->order;
        const double low = self->parent[order[begin]].value[j];
        const double range = self->parent[order[end - 1]].value[j] - low;
        self->crowding[order[begin]] = (double)INFINITY;
        self->crowding[order[end - 1]] = (double)INFINITY;
        for (int64_t i = begin + 1; i + 1 < end && range > 0; i++) {
            self->crowding[order[i]] +=
                (self->parent[order[i + 1]].value[j] - self->parent[order[i - 1]].value[j]) / range;
        }
    }
}

// The best PARENTS stay: by front, within a front by crowding.
static void select(evolution *self, int objectives)
{
    cop_front_sort(self->parent, self->count, objectives, self->scratch, self->work);
    int64_t begin = 0;
    while (begin < self->count && begin < PARENTS) {
        int64_t end = begin + 1;
        while (end < self->count && self->parent[end].front == self->parent[begin].front) {
            end++;
        }
        crowd(self, begin, end, objectives);
        // Sorted by crowding, widest first; insertion keeps equal ones in place.
        for (int64_t i = begin + 1; i < end; i++) {
            const cop_front_point held = self->parent[i];
            const double width = self->crowding[i];
            int64_t at = i;
            while (at > begin && self->crowding[at - 1] < width) {
                self->parent[at] = self->parent[at - 1];
                self->crowding[at] = self->crowding[at - 1];
                at--;
            }
            self->parent[at] = held;
            self->crowding[at] = width;
        }
        begin = end;
    }
    self->count = self->count < PARENTS ? self->count : PARENTS;
}

static void put(evolution *self, const cop_surrogate_pool *pool, int64_t index, int objectives)
{
    cop_front_point *point = &self->parent[self->count++];
    *point = (cop_front_point){.index = index};
    cop_surrogate_pool_values(pool, index, objectives, point->value);
}

// Parents are sorted: the better of two draws is the earlier one.
static int64_t tournament(cop_surrogate *self, const evolution *from)
{
    const uint64_t a = cop_rng_below(self->proposals.rng, (uint64_t)from->count);
    const uint64_t b = cop_rng_below(self->proposals.rng, (uint64_t)from->count);
    return from->parent[a < b ? a : b].index;
}

static cop_status breed(cop_surrogate *self, cop_surrogate_pool *pool, const evolution *from,
                        bool *is_added, cop_error *err)
{
    cop_rng *rng = self->proposals.rng;
    const int axes = self->proposals.domain->axes;
    int32_t *child = self->proposals.genome;
    const int32_t *a = cop_genome_set_view(pool->set, tournament(self, from));
    const int32_t *b = cop_genome_set_view(pool->set, tournament(self, from));
    for (int axis = 0; axis < axes; axis++) {
        child[axis] = cop_rng_below(rng, 2) == 0 ? a[axis] : b[axis];
    }
    do {
        cop_surrogate_move(self, child);
    } while (cop_rng_below(rng, 2) == 0);
    return cop_surrogate_pool_add(self, pool, child, is_added, err);
}

cop_status cop_surrogate_evolve(cop_surrogate *self, cop_surrogate_pool *pool, cop_error *err)
{
    cop_status status = COP_OK;
    evolution *state = cop_alloc(1, sizeof *state);
    const int m = self->objectives;
    bool is_added = false;

    if (state == NULL) {
        COP_TRY(status, COP_FAIL(err, COP_ERR_NOMEM, "surrogate: out of memory"));
    }
    for (int64_t i = 0; i < pool->count; i++) {
        put(state, pool, i, m);
        if (state->count == 2 * PARENTS) {
            select(state, m);
        }
    }
    select(state, m);
    for (int generation = 0; generation < GENERATIONS && state->count > 0; generation++) {
        const int64_t before = pool->count;
        for (int i = 0; i < PATIENCE * PARENTS && pool->count < before + PARENTS; i++) {
            COP_TRY(status, breed(self, pool, state, &is_added, err));
        }
        for (int64_t i = before; i < pool->count; i++) {
            put(state, pool, i, m);
        }
        select(state, m);
    }

done:
    cop_free(state);
    return status;
}
