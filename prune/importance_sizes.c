#include "prune/importance_sizes.h"

int64_t cop_measure_units(const cop_arch *arch, int64_t layer, cop_measure_place which)
{
    switch (which) {
    case COP_MEASURE_HEADS: return arch->layer[layer].heads;
    case COP_MEASURE_KV_GROUPS: return arch->layer[layer].kv_heads;
    case COP_MEASURE_NEURONS: return arch->layer[layer].ffn;
    case COP_MEASURE_INPUT_NORM:
    case COP_MEASURE_POST_NORM: return arch->hidden;
    case COP_MEASURE_PLACES: break;
    }
    return 0;
}

int64_t cop_measure_group(const cop_arch *arch, int64_t layer, cop_measure_place which)
{
    const cop_layer_arch *dims = &arch->layer[layer];
    switch (which) {
    case COP_MEASURE_HEADS: return arch->head_dim;
    case COP_MEASURE_KV_GROUPS: return dims->heads / dims->kv_heads * arch->head_dim;
    case COP_MEASURE_NEURONS:
    case COP_MEASURE_INPUT_NORM:
    case COP_MEASURE_POST_NORM:
    case COP_MEASURE_PLACES: break;
    }
    return 1;
}

static uint64_t at_least(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

// Scratch of the two operators that may need some, for passes of `rows` tokens.
static uint64_t scratch_bytes(const cop_arch *arch, cop_backend *backend, cop_precision precision,
                              cop_dtype wide, int64_t sequence, int64_t rows)
{
    const cop_dtype compute = precision == COP_PRECISION_BF16 ? COP_BF16 : wide;
    const cop_row_cosine_args cosine = {
        .x = cop_matrix_dense(NULL, wide, sequence, arch->hidden),
        .y = cop_matrix_dense(NULL, wide, sequence, arch->hidden),
    };
    const cop_head_loss_args loss = {
        .hidden = cop_matrix_dense(NULL, compute, rows, arch->hidden),
        .head = cop_matrix_dense(NULL, compute, arch->vocab, arch->hidden),
        .ce_weight = 1.0f,
        .temperature = 1.0f,
        .cross_entropy = cop_matrix_dense(NULL, COP_F32, 1, rows),
    };
    return at_least(backend->ops->scratch_bytes(backend, COP_OP_ROW_COSINE, &cosine),
                    backend->ops->scratch_bytes(backend, COP_OP_HEAD_LOSS, &loss));
}

cop_measure_sizes cop_measure_sizes_of(const cop_arch *arch,
                                       const cop_importance_settings *settings, int64_t batch,
                                       cop_backend *backend)
{
    cop_measure_sizes sizes = {.wide =
                                   settings->precision == COP_PRECISION_F64 ? COP_F64 : COP_F32};
    const int64_t tokens = batch * settings->sequence;

    for (int64_t layer = 0; layer < arch->layers; layer++) {
        for (int which = 0; which < COP_MEASURE_PLACES; which++) {
            sizes.units += cop_measure_units(arch, layer, (cop_measure_place)which);
        }
    }
    sizes.sums = 3 * batch * sizes.units + arch->layers * batch;
    sizes.streams = settings->with_perplexity ? arch->layers : 1;
    sizes.stream_bytes = (uint64_t)(tokens * arch->hidden) * cop_dtype_bytes(sizes.wide);
    sizes.losses = settings->with_perplexity ? (arch->layers + 1) * tokens : 0;
    // A last pass of fewer sequences may choose other chunks; the larger of both serves.
    for (int64_t rows = batch; rows > 0; rows--) {
        sizes.scratch_bytes = at_least(
            sizes.scratch_bytes, scratch_bytes(arch, backend, settings->precision, sizes.wide,
                                               settings->sequence, rows * settings->sequence));
    }
    return sizes;
}

cop_status cop_importance_plan(cop_plan *plan, const cop_arch *arch,
                               const cop_importance_settings *settings, cop_backend *backend,
                               cop_error *err)
{
    const int64_t batch = cop_importance_batch(settings);
    if (batch < 1 || settings->sequence < 1) {
        return COP_FAIL(err, COP_ERR_CONFIG,
                        "importance: batch is %lld and sequence %lld (allowed: 1 and more)",
                        (long long)batch, (long long)settings->sequence);
    }
    const cop_measure_sizes sizes = cop_measure_sizes_of(arch, settings, batch, backend);
    const uint64_t tokens = (uint64_t)(batch * settings->sequence);
    // On the device and on the host alike.
    cop_plan_add(plan, "importance: sums per sequence", 2 * (uint64_t)sizes.sums * sizeof(double));
    cop_plan_add(plan, "importance: sums over sequences",
                 9 * (uint64_t)sizes.units * sizeof(double));
    cop_plan_add(plan, "importance: residual streams",
                 (uint64_t)sizes.streams * sizes.stream_bytes);
    cop_plan_add(plan, "importance: losses, ids and scratch",
                 2 * (uint64_t)sizes.losses * sizeof(float) + 3 * tokens * sizeof(int32_t) +
                     sizes.scratch_bytes);
    return COP_OK;
}
