// Life cycle, memory and getters of a network.

#include <stdio.h>

#include "base/alloc.h"
#include "base/processes.h"
#include "base/system.h"
#include "model/network_internal.h"
#include "model/rope.h"

const char *cop_precision_name(cop_precision precision)
{
    switch (precision) {
    case COP_PRECISION_F32: return "f32";
    case COP_PRECISION_BF16: return "bf16";
    case COP_PRECISION_F64: return "f64";
    default: return "unknown precision";
    }
}

static cop_status check_options(const cop_network_options *options, cop_error *err)
{
    if (options->batch < 1 || options->sequence < 1 ||
        options->batch > COP_NETWORK_TOKENS_MAX / options->sequence) {
        return COP_FAIL(err, COP_ERR_CONFIG,
                        "network: batch * sequence is %lld * %lld (allowed: both at least 1, at "
                        "most %d tokens)",
                        (long long)options->batch, (long long)options->sequence,
                        (int)COP_NETWORK_TOKENS_MAX);
    }
    if ((int)options->precision < 0 || options->precision > COP_PRECISION_F64) {
        return COP_FAIL(err, COP_ERR_CONFIG, "network: precision is %d (allowed: 0..%d)",
                        (int)options->precision, (int)COP_PRECISION_F64);
    }
    if ((int)options->recompute < 0 || options->recompute > COP_RECOMPUTE_BLOCK) {
        return COP_FAIL(err, COP_ERR_CONFIG, "network: recompute is %d (allowed: 0..%d)",
                        (int)options->recompute, (int)COP_RECOMPUTE_BLOCK);
    }
    if (options->is_training && options->gradients != COP_F32 && options->gradients != COP_BF16) {
        return COP_FAIL(err, COP_ERR_CONFIG, "network: gradients are %s (allowed: f32, bf16)",
                        cop_dtype_name(options->gradients));
    }
    if (options->is_training && options->precision != COP_PRECISION_BF16 &&
        (options->gradients != COP_F32 || options->without_masters)) {
        return COP_FAIL(err, COP_ERR_CONFIG, "network: %s in precision %s (allowed: in bf16)",
                        options->without_masters ? "no master weights" : "bf16 gradients",
                        cop_precision_name(options->precision));
    }
    return COP_OK;
}

// Runs the largest pass without memory, for the scratch size and to learn what is unsupported.
static cop_status plan_passes(cop_network *network, cop_error *err)
{
    cop_status status = COP_OK;
    cop_matrix hidden;
    cop_pass pass = cop_pass_start(network, network->options.batch, network->options.sequence);
    network->is_planning = true;
    COP_TRY(status, cop_pass_forward(&pass, &hidden, err));
    if (network->options.is_training) {
        COP_TRY(status, cop_pass_backward(network, hidden, NULL, NULL, err));
        // The optimizer's only scratch.
        COP_TRY(status, cop_network_sum_squares(network, NULL, err));
    }

done:
    network->is_planning = false;
    return status;
}

// Matrices are shared out; vectors are few, and every member keeps the state of all of them.
static void share_out(cop_network *network)
{
    const cop_group *group = network->options.group;
    const int rank = cop_group_rank(group);
    const int size = cop_group_size(group);
    const int64_t first = network->frozen_elements;
    const int64_t count = network->matrix_elements - first;
    const int64_t share = cop_group_share(count, size, COP_PLACE_ALIGNMENT);
    network->shard_share = share;
    network->shard_first = first + cop_group_part(count, share, rank, size);
    network->shard_end = first + cop_group_part(count, share, rank + 1, size);
}

static void place_all(cop_network *network)
{
    const cop_network_options *options = &network->options;
    const cop_place_ends ends = cop_place_parameters(network->places, &network->arch);
    const bool has_masters = options->is_training && !options->without_masters;
    network->elements = ends.all;
    network->matrix_elements = ends.matrices;
    network->frozen_elements =
        options->is_training && options->freeze_vocabulary ? ends.vocabulary : 0;
    share_out(network);
    network->master_matrices = has_masters ? network->shard_end - network->shard_first : 0;
    network->matrix_gradient = options->gradients == COP_BF16 ? COP_BF16 : network->wide;
}

// The network without its device memory.
static cop_status create_host(cop_network **out, const cop_arch *arch,
                              const cop_network_options *options, cop_backend *backend,
                              cop_error *err)
{
    cop_status status = COP_OK;
    cop_network *network = NULL;

    *out = NULL;
    COP_TRY(status, cop_arch_check(arch, "network", err));
    COP_TRY(status, check_options(options, err));
    network = cop_alloc(1, sizeof *network);
    if (network == NULL) {
        status = COP_FAIL(err, COP_ERR_NOMEM, "network: no memory for its description");
        goto done;
    }
    network->arch = *arch;
    network->options = *options;
    network->backend = backend;
    network->compute = options->precision == COP_PRECISION_F64    ? COP_F64
                       : options->precision == COP_PRECISION_BF16 ? COP_BF16
                                                                  : COP_F32;
    network->wide = options->precision == COP_PRECISION_F64 ? COP_F64 : COP_F32;
    network->places = cop_alloc((size_t)cop_arch_tensor_count(arch), sizeof *network->places);
    network->layers = cop_alloc((size_t)arch->layers, sizeof *network->layers);
    if (network->places == NULL || network->layers == NULL) {
        status = COP_FAIL(err, COP_ERR_NOMEM, "network: no memory for its description");
        goto done;
    }
    place_all(network);
    cop_network_layout(network);
    COP_TRY(status, plan_passes(network, err));
    *out = network;
    network = NULL;

done:
    cop_network_destroy(network);
    return status;
}

// One allocation of device memory.
typedef struct buffer {
    const char *name;
    uint64_t bytes;
    void **memory;
} buffer;

enum { BUFFERS_MAX = 6 };

static int list_buffers(cop_network *network, buffer out[BUFFERS_MAX])
{
    const uint64_t elements = (uint64_t)network->elements;
    const uint64_t wide_bytes = cop_dtype_bytes(network->wide);
    const bool is_training = network->options.is_training;
    const bool is_shared = cop_group_size(network->options.group) > 1;
    int count = 0;
    out[count++] =
        (buffer){"weights", elements * cop_dtype_bytes(network->compute), &network->working};
    if (network->compute != network->wide) {
        const uint64_t vectors = elements - (uint64_t)network->matrix_elements;
        const uint64_t masters = (uint64_t)network->master_matrices + vectors;
        out[count++] = (buffer){masters == vectors ? "norms and biases"
                                : is_shared        ? "master weights, own shard"
                                                   : "master weights",
                                masters * wide_bytes, &network->master};
    }
    if (is_training) {
        out[count++] =
            (buffer){"gradients", cop_network_gradient_bytes(network), &network->gradient};
    }
    out[count++] = (buffer){"activations", network->arena_bytes, &network->arena};
    if (network->scratch_bytes > 0) {
        out[count++] = (buffer){"scratch", network->scratch_bytes, &network->scratch};
    }
    if (is_training && is_shared) {
        out[count++] = (buffer){"exchange", COP_EXCHANGE_BYTES, &network->exchange};
    }
    return count;
}

cop_status cop_plan_room_of(cop_plan_room *out, cop_backend *backend, cop_error *err)
{
    cop_device_info info = {0};
    // Those of this machine need it each.
    const uint64_t processes = (uint64_t)cop_processes_self().local_size;
    const cop_status status = cop_backend_info(backend, &info, err);
    *out = (cop_plan_room){.device_bytes = info.memory_free_bytes,
                           .host_bytes = cop_system_memory_free_bytes() / processes +
                                         cop_system_resident_bytes(),
                           .is_one = info.is_host_memory};
    return status;
}

cop_status cop_network_plan(cop_plan *plan, const char *label, const cop_arch *arch,
                            const cop_network_options *options, cop_backend *backend,
                            cop_error *err)
{
    cop_network *network = NULL;
    const cop_status status = create_host(&network, arch, options, backend, err);
    if (network != NULL) {
        buffer buffers[BUFFERS_MAX];
        const int count = list_buffers(network, buffers);
        for (int i = 0; i < count; i++) {
            char name[COP_PLAN_NAME_BYTES];
            (void)snprintf(name, sizeof name, "%.40s: %s", label, buffers[i].name);
            cop_plan_add(plan, name, buffers[i].bytes);
        }
    }
    cop_network_destroy(network);
    return status;
}

static cop_status fill_rope_tables(cop_network *network, cop_error *err)
{
    cop_status status = COP_OK;
    const int64_t pairs = cop_arch_rotary_pairs(&network->arch);
    const int64_t rows = network->options.sequence;
    const size_t element = cop_dtype_bytes(network->wide);
    const uint64_t bytes = (uint64_t)(rows * pairs) * element;
    double *frequencies = NULL;
    char *tables = NULL;
    if (pairs == 0) {
        return COP_OK;
    }
    frequencies = cop_alloc((size_t)pairs, sizeof *frequencies);
    tables = cop_alloc(2 * (size_t)(rows * pairs), element);
    if (frequencies == NULL || tables == NULL) {
        status = COP_FAIL(err, COP_ERR_NOMEM, "network: no memory for rotary tables");
        goto done;
    }
    cop_rope_frequencies(frequencies, &network->arch);
    cop_rope_tables(tables, tables + bytes, network->wide, frequencies, pairs, rows);
    COP_TRY(status,
            cop_backend_to_device(network->backend, NULL, (char *)network->arena + network->cosine,
                                  tables, bytes, err));
    COP_TRY(status,
            cop_backend_to_device(network->backend, NULL, (char *)network->arena + network->sine,
                                  tables + bytes, bytes, err));
    COP_TRY(status, cop_backend_synchronize(network->backend, NULL, err));

done:
    cop_free(frequencies);
    cop_free(tables);
    return status;
}

cop_status cop_network_create(cop_network **out, const cop_arch *arch,
                              const cop_network_options *options, cop_backend *backend,
                              cop_error *err)
{
    cop_status status = COP_OK;
    cop_network *network = NULL;
    buffer buffers[BUFFERS_MAX];
    int count = 0;

    *out = NULL;
    COP_TRY(status, create_host(&network, arch, options, backend, err));
    count = list_buffers(network, buffers);
    for (int i = 0; i < count; i++) {
        COP_TRY(status, cop_backend_alloc(backend, buffers[i].memory, buffers[i].bytes,
                                          buffers[i].name, err));
    }
    COP_TRY(status, fill_rope_tables(network, err));
    *out = network;
    network = NULL;

done:
    cop_network_destroy(network);
    return status;
}

void cop_network_destroy(cop_network *network)
{
    if (network == NULL) {
        return;
    }
    cop_backend_free(network->backend, network->working);
    cop_backend_free(network->backend, network->master);
    cop_backend_free(network->backend, network->exchange);
    cop_backend_free(network->backend, network->gradient);
    cop_backend_free(network->backend, network->arena);
    cop_backend_free(network->backend, network->scratch);
    cop_free(network->places);
    cop_free(network->layers);
    cop_free(network);
}

const cop_arch *cop_network_arch(const cop_network *network)
{
    return &network->arch;
}

const cop_network_options *cop_network_settings(const cop_network *network)
{
    return &network->options;
}

cop_backend *cop_network_backend(const cop_network *network)
{
    return network->backend;
}

cop_dtype cop_network_compute_dtype(const cop_network *network)
{
    return network->compute;
}

const int32_t *cop_network_ids(const cop_network *network)
{
    return cop_network_slot(network, network->ids, COP_I32, 1, 1).data;
}
