// Open addressing with linear probing over hashes of 64 bits; genomes lie one behind the other in the order
// they came, so that growing the table moves indices only.

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "search/strategy_internal.h"

enum { TABLE_MIN = 64, ROWS_MIN = 32 };

struct cop_genome_set {
    int axes;
    int64_t count;
    int64_t rows;    // room for so many genomes
    int64_t slots;   // power of two, more than twice `count`
    int32_t *genome; // [rows, axes], owned
    uint64_t *hash;  // [rows], owned
    int64_t *slot;   // [slots], owned: 1 + row, 0: free
};

cop_status cop_genome_set_create(cop_genome_set **out, int axes, cop_error *err)
{
    *out = NULL;
    assert(axes >= 1 && axes <= COP_DOMAIN_AXES_MAX);
    cop_genome_set *set = cop_alloc(1, sizeof *set);
    if (set == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "strategy: out of memory");
    }
    *set = (cop_genome_set){.axes = axes, .rows = ROWS_MIN, .slots = TABLE_MIN};
    set->genome = cop_alloc((size_t)set->rows * (size_t)axes, sizeof *set->genome);
    set->hash = cop_alloc((size_t)set->rows, sizeof *set->hash);
    set->slot = cop_alloc((size_t)set->slots, sizeof *set->slot);
    if (set->genome == NULL || set->hash == NULL || set->slot == NULL) {
        cop_genome_set_destroy(set);
        return COP_FAIL(err, COP_ERR_NOMEM, "strategy: out of memory");
    }
    *out = set;
    return COP_OK;
}

void cop_genome_set_destroy(cop_genome_set *set)
{
    if (set != NULL) {
        cop_free(set->genome);
        cop_free(set->hash);
        cop_free(set->slot);
        cop_free(set);
    }
}

static size_t genome_bytes(const cop_genome_set *set)
{
    return (size_t)set->axes * sizeof *set->genome;
}

static uint64_t hash_genome(const cop_genome_set *set, const int32_t *genome)
{
    return cop_hash_bytes(genome, genome_bytes(set)).low;
}

// The slot where the genome is, or the free one where it belongs.
static int64_t find_slot(const cop_genome_set *set, const int32_t *genome, uint64_t hash)
{
    const uint64_t mask = (uint64_t)set->slots - 1;
    for (uint64_t at = hash & mask;; at = (at + 1) & mask) {
        const int64_t row = set->slot[at] - 1;
        if (row < 0 || (set->hash[row] == hash &&
                        memcmp(&set->genome[row * set->axes], genome, genome_bytes(set)) == 0)) {
            return (int64_t)at;
        }
    }
}

bool cop_genome_set_holds(const cop_genome_set *set, const int32_t *genome)
{
    return set->slot[find_slot(set, genome, hash_genome(set, genome))] != 0;
}

static cop_status grow_rows(cop_genome_set *set, cop_error *err)
{
    const int64_t rows = 2 * set->rows;
    int32_t *genome =
        cop_realloc(set->genome, (size_t)rows * (size_t)set->axes, sizeof *set->genome);
    if (genome == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "strategy: out of memory");
    }
    set->genome = genome;
    uint64_t *hash = cop_realloc(set->hash, (size_t)rows, sizeof *set->hash);
    if (hash == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "strategy: out of memory");
    }
    set->hash = hash;
    set->rows = rows;
    return COP_OK;
}

static cop_status grow_table(cop_genome_set *set, cop_error *err)
{
    const int64_t slots = 4 * set->slots;
    const uint64_t mask = (uint64_t)slots - 1;
    int64_t *slot = cop_alloc((size_t)slots, sizeof *slot);
    if (slot == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "strategy: out of memory");
    }
    for (int64_t row = 0; row < set->count; row++) {
        uint64_t at = set->hash[row] & mask;
        while (slot[at] != 0) {
            at = (at + 1) & mask;
        }
        slot[at] = row + 1;
    }
    cop_free(set->slot);
    set->slot = slot;
    set->slots = slots;
    return COP_OK;
}

cop_status cop_genome_set_add(cop_genome_set *set, const int32_t *genome, bool *is_new,
                              cop_error *err)
{
    cop_status status = COP_OK;
    const uint64_t hash = hash_genome(set, genome);
    int64_t at = find_slot(set, genome, hash);

    *is_new = false;
    if (set->slot[at] != 0) {
        return COP_OK;
    }
    if (set->count == set->rows) {
        COP_TRY(status, grow_rows(set, err));
    }
    if (2 * (set->count + 1) > set->slots) {
        COP_TRY(status, grow_table(set, err));
        at = find_slot(set, genome, hash);
    }
    memcpy(&set->genome[set->count * set->axes], genome, genome_bytes(set));
    set->hash[set->count] = hash;
    set->slot[at] = ++set->count;
    *is_new = true;

done:
    return status;
}

int64_t cop_genome_set_count(const cop_genome_set *set)
{
    return set->count;
}

const int32_t *cop_genome_set_view(const cop_genome_set *set, int64_t index)
{
    assert(index >= 0 && index < set->count);
    return &set->genome[index * set->axes];
}

void cop_genome_set_clear(cop_genome_set *set)
{
    if (set->count > 0) {
        set->count = 0;
        memset(set->slot, 0, (size_t)set->slots * sizeof *set->slot);
    }
}
