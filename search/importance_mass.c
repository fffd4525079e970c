#include "search/importance_mass.h"

#include <math.h>
#include <stdlib.h>

#include "base/alloc.h"

// Shares by number of kept units: share[axis][k] for the k highest of count[axis].
struct cop_importance_mass {
    int64_t count[COP_MASS_AXES];
    double *share[COP_MASS_AXES]; // [count + 1], owned
};

static int compare_descending(const void *a, const void *b)
{
    const double x = *(const double *)a;
    const double y = *(const double *)b;
    return (x < y) - (x > y);
}

void cop_importance_add_shares(double *share, const double *scores, int64_t count, double weight,
                               double *scratch)
{
    double sum = 0;
    double so_far = 0;
    for (int64_t i = 0; i < count; i++) {
        scratch[i] = scores[i] > 0 ? scores[i] : 0;
        sum += scratch[i];
    }
    qsort(scratch, (size_t)count, sizeof *scratch, compare_descending);
    for (int64_t i = 0; i < count; i++) {
        so_far += scratch[i];
        share[i + 1] += weight * (sum > 0 ? so_far / sum : (double)(i + 1) / (double)count);
    }
}

static const double *scores_of(const cop_importance *importance, cop_mass_axis axis, int aggregate,
                               int64_t layer)
{
    switch (axis) {
    case COP_MASS_LAYERS: return cop_importance_block_influence(importance);
    case COP_MASS_CHANNELS: return cop_importance_channels(importance, aggregate);
    case COP_MASS_HEADS: return cop_importance_heads(importance, aggregate, layer);
    case COP_MASS_KV_GROUPS: return cop_importance_kv_groups(importance, aggregate, layer);
    case COP_MASS_NEURONS: return cop_importance_neurons(importance, aggregate, layer);
    case COP_MASS_AXES: break;
    }
    return NULL;
}

static int64_t most_units(const cop_arch *teacher, cop_mass_axis axis)
{
    int64_t most = 0;
    for (int64_t l = 0; l < teacher->layers; l++) {
        const cop_layer_arch *layer = &teacher->layer[l];
        const int64_t units = axis == COP_MASS_HEADS       ? layer->heads
                              : axis == COP_MASS_KV_GROUPS ? layer->kv_heads
                                                           : layer->ffn;
        most = units > most ? units : most;
    }
    return most;
}

cop_status cop_importance_mass_create(cop_importance_mass **out, const cop_importance *importance,
                                      const cop_arch *teacher, int aggregate, cop_error *err)
{
    cop_status status = COP_OK;
    double *scratch = NULL;
    int64_t most = 1;
    cop_importance_mass *mass = cop_alloc(1, sizeof *mass);

    *out = NULL;
    if (mass == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "importance mass: out of memory");
    }
    for (int i = 0; i < COP_MASS_AXES; i++) {
        const cop_mass_axis axis = (cop_mass_axis)i;
        mass->count[i] = axis == COP_MASS_LAYERS     ? teacher->layers
                         : axis == COP_MASS_CHANNELS ? teacher->hidden
                                                     : most_units(teacher, axis);
        most = mass->count[i] > most ? mass->count[i] : most;
        mass->share[i] = cop_alloc((size_t)mass->count[i] + 1, sizeof *mass->share[i]);
    }
    scratch = cop_alloc((size_t)most, sizeof *scratch);
    for (int i = 0; i < COP_MASS_AXES; i++) {
        if (scratch == NULL || mass->share[i] == NULL) {
            status = COP_FAIL(err, COP_ERR_NOMEM, "importance mass: out of memory");
            goto done;
        }
    }
    for (int i = 0; i < COP_MASS_AXES; i++) {
        const bool is_whole = i == COP_MASS_LAYERS || i == COP_MASS_CHANNELS;
        const int64_t sets = is_whole ? 1 : teacher->layers;
        for (int64_t l = 0; l < sets; l++) {
            cop_importance_add_shares(mass->share[i],
                                      scores_of(importance, (cop_mass_axis)i, aggregate, l),
                                      mass->count[i], 1.0 / (double)sets, scratch);
        }
    }
    *out = mass;
    mass = NULL;

done:
    cop_free(scratch);
    cop_importance_mass_destroy(mass);
    return status;
}

void cop_importance_mass_destroy(cop_importance_mass *mass)
{
    if (mass != NULL) {
        for (int i = 0; i < COP_MASS_AXES; i++) {
            cop_free(mass->share[i]);
        }
        cop_free(mass);
    }
}

void cop_importance_mass_of(const cop_importance_mass *mass, const cop_candidate *candidate,
                            double share[COP_MASS_AXES])
{
    const int64_t kept[COP_MASS_AXES] = {[COP_MASS_LAYERS] = candidate->layers,
                                         [COP_MASS_CHANNELS] = candidate->hidden,
                                         [COP_MASS_HEADS] = candidate->heads,
                                         [COP_MASS_KV_GROUPS] = candidate->kv_heads,
                                         [COP_MASS_NEURONS] = candidate->ffn};
    for (int i = 0; i < COP_MASS_AXES; i++) {
        const int64_t units = kept[i] < mass->count[i] ? kept[i] : mass->count[i];
        share[i] = mass->share[i][units < 0 ? 0 : units];
    }
}
