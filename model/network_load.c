// Parameters that come from elsewhere in bulk: a checkpoint, another network's memory, chance.

#include <string.h>

#include "base/alloc.h"
#include "kernels/random.h"
#include "model/network_internal.h"
#include "model/tensor_load.h"

enum { FAST_ELEMENTS = 1 << 20 }; // converted at a time on the host

// --- From a checkpoint --------------------------------------------------------------------------

static bool is_same_arch(const cop_arch *a, const cop_arch *b)
{
    bool is_same = a->family == b->family && a->vocab == b->vocab && a->hidden == b->hidden &&
                   a->head_dim == b->head_dim && a->layers == b->layers && a->norm == b->norm &&
                   a->activation == b->activation && a->is_gated == b->is_gated &&
                   a->is_tied == b->is_tied && a->attention_bias == b->attention_bias &&
                   a->mlp_bias == b->mlp_bias;
    for (int64_t i = 0; is_same && i < a->layers; i++) {
        is_same = a->layer[i].heads == b->layer[i].heads &&
                  a->layer[i].kv_heads == b->layer[i].kv_heads &&
                  a->layer[i].ffn == b->layer[i].ffn;
    }
    return is_same;
}

// Activations are idle while weights arrive: what has to be converted passes through their memory,
// so that loading needs none of its own. The rotary tables before `ids` stay.
static cop_staging idle_memory(cop_network *network)
{
    const uint64_t free_bytes = network->arena_bytes - (uint64_t)network->ids;
    network->is_kept = false;
    return (cop_staging){
        .memory = (char *)network->arena + network->ids,
        .bytes = free_bytes < COP_STAGING_BYTES ? free_bytes : (uint64_t)COP_STAGING_BYTES,
    };
}

// A tensor of which each member of a group keeps a part at its best, in pieces by way of the host.
static cop_status load_split(cop_network *network, const cop_checkpoint *checkpoint, int64_t index,
                             cop_error *err)
{
    const cop_place place = network->places[index];
    const int64_t count = place.rows * place.cols;
    cop_dtype dtype = COP_F32;
    const char *stored = cop_checkpoint_view(checkpoint, index, &dtype);
    const size_t width = cop_dtype_bytes(dtype);
    cop_status status = COP_OK;
    char *piece = cop_alloc(FAST_ELEMENTS, width);
    if (piece == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "network: no memory to load a tensor");
    }
    for (int64_t first = 0; first < count; first += FAST_ELEMENTS) {
        const int64_t left = count - first;
        const int64_t now = left < FAST_ELEMENTS ? left : FAST_ELEMENTS;
        // The view may not be aligned to its elements.
        memcpy(piece, stored + (size_t)first * width, (size_t)now * width);
        COP_TRY(status, cop_network_put(network, index, first, now, dtype, piece, err));
        cop_checkpoint_forget(checkpoint, index, (uint64_t)first * width, (uint64_t)now * width);
    }

done:
    cop_free(piece);
    return status;
}

cop_status cop_network_load(cop_network *network, const cop_checkpoint *checkpoint, cop_error *err)
{
    cop_status status = COP_OK;
    const cop_arch *stored = cop_checkpoint_arch(checkpoint);
    const int64_t count = cop_arch_tensor_count(&network->arch);
    const cop_staging staging = idle_memory(network);

    if (!is_same_arch(&network->arch, stored)) {
        char wanted[COP_ARCH_TEXT_BYTES];
        char found[COP_ARCH_TEXT_BYTES];
        return COP_FAIL(err, COP_ERR_SHAPE, "%s: architecture is %s (allowed: %s)",
                        cop_checkpoint_path(checkpoint), cop_arch_text(found, stored),
                        cop_arch_text(wanted, &network->arch));
    }
    for (int64_t i = 0; i < count; i++) {
        const cop_place place = network->places[i];
        if (cop_network_best(network, place).is_split) {
            COP_TRY(status, load_split(network, checkpoint, i, err));
            continue;
        }
        COP_TRY(status, cop_tensor_load(network->backend, checkpoint, i,
                                        cop_network_primary(network, place), staging, err));
        if (cop_network_master(network, place).rows > 0) {
            COP_TRY(status,
                    cop_network_publish(network, place.offset, place.rows * place.cols, err));
        }
    }

done:
    return status;
}

// --- From memory of the same device -------------------------------------------------------------

cop_status cop_network_gather(cop_network *network, int64_t index, const cop_gather_args *from,
                              cop_error *err)
{
    cop_status status = COP_OK;
    const int64_t count = cop_arch_tensor_count(&network->arch);
    cop_gather_args args = *from;
    cop_place place = {0};

    if (index < 0 || index >= count) {
        return COP_FAIL(err, COP_ERR_SHAPE, "network: tensor index is %lld (allowed: 0..%lld)",
                        (long long)index, (long long)count - 1);
    }
    place = network->places[index];
    if (cop_network_best(network, place).is_split) {
        return COP_FAIL(err, COP_ERR_UNSUPPORTED,
                        "network: its masters are shared out (allowed: networks of one process)");
    }
    args.y = cop_network_primary(network, place);
    COP_TRY(status, network->backend->ops->gather(network->backend, NULL, &args, err));
    if (cop_network_master(network, place).rows == 0) {
        goto done;
    }
    if (place.offset < network->matrix_elements && network->compute != network->wide) {
        // Less memory is moved than by a conversion of the master.
        args.y = cop_network_weight(network, place);
        COP_TRY(status, network->backend->ops->gather(network->backend, NULL, &args, err));
    } else {
        COP_TRY(status, cop_network_publish(network, place.offset, place.rows * place.cols, err));
    }

done:
    return status;
}

// --- From chance --------------------------------------------------------------------------------

// The sum of four uniform values of 16 bits, centred: deviation sqrt(4 / 12) of 65536.
static float nearly_normal(uint64_t bits, float scale)
{
    const uint64_t sum =
        (bits & 0xffffu) + (bits >> 16 & 0xffffu) + (bits >> 32 & 0xffffu) + (bits >> 48);
    return scale * ((float)(int64_t)sum - 131070.0F);
}

static cop_status init_fast(cop_network *network, uint64_t seed, int64_t index, float *values,
                            cop_error *err)
{
    cop_status status = COP_OK;
    const cop_tensor_spec spec = cop_arch_tensor(&network->arch, index);
    const int64_t count = spec.shape[0] * spec.shape[1];
    const bool is_gain = spec.role == COP_ROLE_INPUT_NORM || spec.role == COP_ROLE_POST_NORM ||
                         spec.role == COP_ROLE_FINAL_NORM;
    const float fixed = is_gain ? cop_network_norm_unit(&network->arch) : 0.0F;
    const double unit = 65536.0 * 0.57735026918962576;
    const float scale = (float)(cop_network_init_deviation(&network->arch, spec.role) / unit);
    const uint64_t key = cop_random_key(seed, (uint64_t)index);

    for (int64_t first = 0; first < count; first += FAST_ELEMENTS) {
        const int64_t left = count - first;
        const int64_t now = left < FAST_ELEMENTS ? left : FAST_ELEMENTS;
#pragma omp parallel for schedule(static)
        for (int64_t i = 0; i < now; i++) {
            values[i] = spec.rank == 2
                            ? nearly_normal(cop_random_bits(key, (uint64_t)(first + i)), scale)
                            : fixed;
        }
        COP_TRY(status, cop_network_put(network, index, first, now, COP_F32, values, err));
    }

done:
    return status;
}

cop_status cop_network_init_fast(cop_network *network, uint64_t seed, cop_error *err)
{
    cop_status status = COP_OK;
    const int64_t count = cop_arch_tensor_count(&network->arch);
    float *values = cop_alloc(FAST_ELEMENTS, sizeof *values);
    if (values == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "network: no memory to initialize it");
    }
    for (int64_t i = 0; i < count; i++) {
        COP_TRY(status, init_fast(network, seed, i, values, err));
    }

done:
    cop_free(values);
    return status;
}
