// The calibration pass. Taps of a forward pass sum each sequence on the device; the host folds the
// sums, sequence by sequence. The residual stream before each block is kept for the pass, so that
// leave-one-out perplexity starts behind the removed layer instead of at the embedding.

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "prune/importance_internal.h"
#include "prune/importance_sizes.h"

typedef struct measure_run {
    cop_network *network;
    cop_backend *backend;
    const cop_arch *arch;
    cop_sampler *sampler;
    int64_t sequence; // T
    int64_t batch;    // B, largest
    int64_t samples;
    bool with_perplexity;
    cop_measure_sizes sizes;
    int64_t first[COP_ARCH_LAYERS_MAX][COP_MEASURE_PLACES]; // first unit of a place in the fold
    cop_fold fold;
    double cosine[COP_ARCH_LAYERS_MAX];
    double loss[COP_ARCH_LAYERS_MAX + 1]; // Σ cross-entropy: without layer i; of the whole teacher

    int32_t *inputs;  // [B, T]
    int32_t *targets; // [B, T]
    double *sums;
    float *losses;
    double *sums_dev;
    char *streams_dev; // [streams][B*T, C]
    float *losses_dev;
    int32_t *targets_dev;
    void *scratch_dev;
} measure_run;

static cop_status device_alloc(const measure_run *run, void **out, uint64_t bytes, cop_error *err)
{
    return bytes == 0 ? COP_OK
                      : cop_backend_alloc(run->backend, out, bytes, "importance: sums", err);
}

static cop_status allocate(measure_run *run, cop_error *err)
{
    cop_status status = COP_OK;
    const cop_measure_sizes *sizes = &run->sizes;
    const size_t tokens = (size_t)(run->batch * run->sequence);
    void *memory[5] = {0};

    run->inputs = cop_alloc(tokens, sizeof(int32_t));
    run->targets = cop_alloc(tokens, sizeof(int32_t));
    run->sums = cop_alloc((size_t)sizes->sums, sizeof(double));
    run->losses = cop_alloc((size_t)sizes->losses + 1, sizeof(float));
    if (run->inputs == NULL || run->targets == NULL || run->sums == NULL || run->losses == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM,
                        "importance: no memory for passes of %zu tokens (allowed: a smaller batch)",
                        tokens);
    }
    COP_TRY(status, cop_fold_init(&run->fold, sizes->units, err));
    COP_TRY(status, device_alloc(run, &memory[0], (uint64_t)sizes->sums * sizeof(double), err));
    COP_TRY(status,
            device_alloc(run, &memory[1], (uint64_t)sizes->streams * sizes->stream_bytes, err));
    COP_TRY(status, device_alloc(run, &memory[2], (uint64_t)sizes->losses * sizeof(float), err));
    COP_TRY(status, device_alloc(run, &memory[3], tokens * sizeof(int32_t), err));
    COP_TRY(status, device_alloc(run, &memory[4], sizes->scratch_bytes, err));

done:
    run->sums_dev = memory[0];
    run->streams_dev = memory[1];
    run->losses_dev = memory[2];
    run->targets_dev = memory[3];
    run->scratch_dev = memory[4];
    return status;
}

static void release(measure_run *run)
{
    cop_backend_free(run->backend, run->scratch_dev);
    cop_backend_free(run->backend, run->targets_dev);
    cop_backend_free(run->backend, run->losses_dev);
    cop_backend_free(run->backend, run->streams_dev);
    cop_backend_free(run->backend, run->sums_dev);
    cop_fold_release(&run->fold);
    cop_free(run->losses);
    cop_free(run->sums);
    cop_free(run->targets);
    cop_free(run->inputs);
    cop_sampler_destroy(run->sampler);
}

// The residual stream before a layer, as kept.
static cop_matrix stream_of(const measure_run *run, int64_t layer, int64_t rows)
{
    const uint64_t at = (uint64_t)(run->with_perplexity ? layer : 0) * run->sizes.stream_bytes;
    return cop_matrix_dense(run->streams_dev + at, run->sizes.wide, rows, run->arch->hidden);
}

static cop_status add_moments(measure_run *run, int64_t layer, cop_measure_place which,
                              const cop_matrix *value, cop_error *err)
{
    const cop_sequence_moments_args args = {
        .x = *value,
        .sequence = run->sequence,
        .group = cop_measure_group(run->arch, layer, which),
        .out = run->sums_dev + 3 * run->batch * run->first[layer][which],
    };
    return run->backend->ops->sequence_moments(run->backend, NULL, &args, err);
}

// One sum per sequence, so that the result does not depend on how many there are in a pass.
static cop_status add_cosines(measure_run *run, int64_t layer, const cop_matrix *value,
                              cop_error *err)
{
    cop_status status = COP_OK;
    const cop_matrix before = stream_of(run, layer, value->rows);
    double *out = run->sums_dev + 3 * run->batch * run->sizes.units + layer * run->batch;

    for (int64_t row = 0; row < value->rows && status == COP_OK; row += run->sequence) {
        const cop_row_cosine_args args = {
            .x = cop_matrix_part(before, row, run->sequence, 0, before.cols),
            .y = cop_matrix_part(*value, row, run->sequence, 0, value->cols),
            .sum = out + row / run->sequence,
            .scratch = run->scratch_dev,
        };
        status = run->backend->ops->row_cosine(run->backend, NULL, &args, err);
    }
    return status;
}

static cop_status watch(void *context, cop_tap tap, int64_t layer, const cop_matrix *value,
                        cop_error *err)
{
    measure_run *run = context;
    cop_status status = COP_OK;

    switch (tap) {
    case COP_TAP_BLOCK_INPUT: {
        const cop_convert_args copy = {.x = *value, .y = stream_of(run, layer, value->rows)};
        status = run->backend->ops->convert(run->backend, NULL, &copy, err);
        break;
    }
    case COP_TAP_INPUT_NORM:
        status = add_moments(run, layer, COP_MEASURE_INPUT_NORM, value, err);
        break;
    case COP_TAP_HEADS:
        status = add_moments(run, layer, COP_MEASURE_HEADS, value, err);
        if (status == COP_OK) {
            status = add_moments(run, layer, COP_MEASURE_KV_GROUPS, value, err);
        }
        break;
    case COP_TAP_POST_NORM:
        status = add_moments(run, layer, COP_MEASURE_POST_NORM, value, err);
        break;
    case COP_TAP_NEURONS: status = add_moments(run, layer, COP_MEASURE_NEURONS, value, err); break;
    case COP_TAP_BLOCK_OUTPUT: status = add_cosines(run, layer, value, err); break;
    case COP_TAP_EMBEDDING:
    case COP_TAP_FINAL_NORM: break;
    }
    return status;
}

// Cross-entropies of the final hidden states, as row `slot` of the losses.
static cop_status add_losses(measure_run *run, const cop_matrix *hidden, int64_t slot,
                             cop_error *err)
{
    float *out = run->losses_dev + slot * run->batch * run->sequence;
    const cop_head_loss_args args = {
        .hidden = *hidden,
        .head = cop_network_head(run->network).working,
        .targets = run->targets_dev,
        .ce_weight = 1.0f,
        .temperature = 1.0f,
        .cross_entropy = cop_matrix_dense(out, COP_F32, 1, hidden->rows),
        .scratch = run->scratch_dev,
    };
    return run->backend->ops->head_loss(run->backend, NULL, &args, err);
}

static cop_status leave_each_out(measure_run *run, const cop_matrix *hidden, int64_t batch,
                                 cop_error *err)
{
    cop_status status = COP_OK;
    const int64_t layers = run->arch->layers;
    const int64_t tokens = batch * run->sequence;

    COP_TRY(status, cop_backend_to_device(run->backend, NULL, run->targets_dev, run->targets,
                                          (uint64_t)tokens * sizeof(int32_t), err));
    COP_TRY(status, add_losses(run, hidden, layers, err)); // `hidden` dies with the next pass
    for (int64_t layer = 0; layer < layers; layer++) {
        const cop_matrix before = stream_of(run, layer, tokens);
        cop_matrix without = {0};
        COP_TRY(status, cop_network_forward_from(run->network, layer, layer, &before, batch,
                                                 run->sequence, &without, err));
        COP_TRY(status, add_losses(run, &without, layer, err));
    }
    COP_TRY(status, cop_backend_to_host(run->backend, NULL, run->losses, run->losses_dev,
                                        (uint64_t)run->sizes.losses * sizeof(float), err));

done:
    return status;
}

// Adds the sums of one pass, sequence after sequence; layers side by side, as their units are apart.
static void fold_pass(measure_run *run, int64_t batch)
{
    const cop_arch *arch = run->arch;
    for (int64_t row = 0; row < batch; row++) {
        cop_fold_next(&run->fold);
#pragma omp parallel for schedule(static)
        for (int64_t layer = 0; layer < arch->layers; layer++) {
            for (int which = 0; which < COP_MEASURE_PLACES; which++) {
                const int64_t units = cop_measure_units(arch, layer, (cop_measure_place)which);
                const int64_t first = run->first[layer][which];
                cop_fold_add(&run->fold, first, units,
                             run->sums + 3 * (run->batch * first + row * units), run->sequence);
            }
        }
        const double *cosines = run->sums + 3 * run->batch * run->sizes.units;
        for (int64_t layer = 0; layer < arch->layers; layer++) {
            run->cosine[layer] += cosines[layer * run->batch + row];
        }
        for (int64_t slot = 0; run->with_perplexity && slot <= arch->layers; slot++) {
            const float *losses = run->losses + (slot * run->batch + row) * run->sequence;
            double sum = 0.0;
            for (int64_t t = 0; t < run->sequence; t++) {
                sum += (double)losses[t];
            }
            run->loss[slot] += sum;
        }
    }
}

static cop_status run_pass(measure_run *run, int64_t first, int64_t batch, cop_error *err)
{
    cop_status status = COP_OK;
    const int64_t windows = cop_sampler_windows(run->sampler);
    const uint64_t sums_bytes = (uint64_t)run->sizes.sums * sizeof(double);
    const cop_forward_options options = {
        .ids = run->inputs,
        .batch = batch,
        .sequence = run->sequence,
        .tap = watch,
        .tap_context = run,
    };
    cop_matrix hidden = {0};

    for (int64_t row = 0; row < batch; row++) {
        // 128 bits are not needed: both factors are below 2^40 for any file that can be mapped.
        const int64_t window = (first + row) * windows / run->samples;
        COP_TRY(status, cop_sampler_fill(run->sampler, window, 1, run->inputs + row * run->sequence,
                                         run->targets + row * run->sequence, err));
    }
    COP_TRY(status, cop_backend_zero(run->backend, NULL, run->sums_dev, sums_bytes, err));
    COP_TRY(status, cop_network_forward(run->network, &options, &hidden, err));
    if (run->with_perplexity) {
        COP_TRY(status, leave_each_out(run, &hidden, batch, err));
    }
    COP_TRY(status,
            cop_backend_to_host(run->backend, NULL, run->sums, run->sums_dev, sums_bytes, err));
    COP_TRY(status, cop_backend_synchronize(run->backend, NULL, err));
    fold_pass(run, batch);

done:
    return status;
}

// --- Scores -------------------------------------------------------------------------------------

static cop_status check_finite(const double *values, int64_t count, const char *what, int64_t layer,
                               cop_error *err)
{
    for (int64_t i = 0; i < count; i++) {
        if (!isfinite(values[i])) {
            return COP_FAIL(err, COP_ERR_DEVICE,
                            "importance: %s %lld of layer %lld scores %g (allowed: finite numbers; "
                            "the teacher's activations overflow)",
                            what, (long long)i, (long long)layer, values[i]);
        }
    }
    return COP_OK;
}

// Scores of one place into its row of the result, which holds NaN so far.
static cop_status score_units(const measure_run *run, int64_t layer, cop_measure_place which,
                              int aggregate, const char *what, double *out, cop_error *err)
{
    const int64_t units = cop_measure_units(run->arch, layer, which);
    memset(out, 0, (size_t)units * sizeof *out);
    cop_fold_score(&run->fold, aggregate, run->first[layer][which], units, out);
    return check_finite(out, units, what, layer, err);
}

static cop_status score_aggregate(const measure_run *run, cop_importance *importance, int aggregate,
                                  cop_error *err)
{
    cop_status status = COP_OK;
    const int64_t hidden = importance->hidden;
    double *channel = importance->channel + aggregate * hidden;

    memset(channel, 0, (size_t)hidden * sizeof *channel);
    for (int64_t layer = 0; layer < importance->layers; layer++) {
        const int64_t row = aggregate * importance->layers + layer;
        COP_TRY(status, score_units(run, layer, COP_MEASURE_HEADS, aggregate, "head",
                                    importance->head + row * importance->heads, err));
        COP_TRY(status, score_units(run, layer, COP_MEASURE_KV_GROUPS, aggregate, "KV group",
                                    importance->kv_group + row * importance->kv_heads, err));
        COP_TRY(status, score_units(run, layer, COP_MEASURE_NEURONS, aggregate, "neuron",
                                    importance->neuron + row * importance->ffn, err));
        cop_fold_score(&run->fold, aggregate, run->first[layer][COP_MEASURE_INPUT_NORM], hidden,
                       channel);
        cop_fold_score(&run->fold, aggregate, run->first[layer][COP_MEASURE_POST_NORM], hidden,
                       channel);
        COP_TRY(status, check_finite(channel, hidden, "channel", layer, err));
    }

done:
    return status;
}

static cop_status score(const measure_run *run, cop_importance *importance, cop_error *err)
{
    cop_status status = COP_OK;
    const double tokens = (double)(run->samples * run->sequence);

    for (int aggregate = 0; aggregate < COP_AGGREGATES; aggregate++) {
        COP_TRY(status, score_aggregate(run, importance, aggregate, err));
    }
    for (int64_t layer = 0; layer < importance->layers; layer++) {
        importance->block_influence[layer] = 1.0 - run->cosine[layer] / tokens;
        if (run->with_perplexity) {
            // A network that breaks without the layer needs it more than any number says.
            const double perplexity = exp(run->loss[layer] / tokens);
            importance->perplexity[layer] = isnan(perplexity) ? HUGE_VAL : perplexity;
        }
    }
    COP_TRY(status, check_finite(importance->block_influence, importance->layers, "block influence",
                                 0, err));
    if (run->with_perplexity) {
        importance->teacher_perplexity = exp(run->loss[importance->layers] / tokens);
    }

done:
    return status;
}

// --- Entry --------------------------------------------------------------------------------------

static cop_status check_network(const cop_network *network, const cop_importance_settings *settings,
                                cop_error *err)
{
    const cop_network_options *options = cop_network_settings(network);
    if (options->precision != settings->precision) {
        return COP_FAIL(err, COP_ERR_CONFIG, "importance: the network computes in %s (allowed: %s)",
                        cop_precision_name(options->precision),
                        cop_precision_name(settings->precision));
    }
    if (settings->sequence > options->sequence) {
        return COP_FAIL(err, COP_ERR_CONFIG, "importance: sequence is %lld (allowed: 1..%lld)",
                        (long long)settings->sequence, (long long)options->sequence);
    }
    return COP_OK;
}

static cop_status init(measure_run *run, cop_network *network, const cop_tokens *tokens,
                       const cop_importance_settings *settings, cop_error *err)
{
    cop_status status = COP_OK;
    int64_t units = 0;

    run->network = network;
    run->backend = cop_network_backend(network);
    run->arch = cop_network_arch(network);
    run->sequence = settings->sequence;
    run->samples = cop_importance_samples(tokens, settings);
    run->batch = cop_network_settings(network)->batch;
    run->batch = run->batch < run->samples ? run->batch : run->samples;
    run->with_perplexity = settings->with_perplexity;
    run->sizes = cop_measure_sizes_of(run->arch, settings, run->batch, run->backend);
    for (int64_t layer = 0; layer < run->arch->layers; layer++) {
        for (int which = 0; which < COP_MEASURE_PLACES; which++) {
            run->first[layer][which] = units;
            units += cop_measure_units(run->arch, layer, (cop_measure_place)which);
        }
    }
    COP_TRY(status, cop_sampler_create(&run->sampler, tokens, run->sequence, 0, false, err));
    COP_TRY(status, allocate(run, err));

done:
    return status;
}

cop_status cop_importance_measure(cop_importance **out, cop_network *network,
                                  const cop_tokens *tokens, const cop_importance_settings *settings,
                                  cop_error *err)
{
    cop_status status = COP_OK;
    measure_run *run = NULL;
    cop_importance *importance = NULL;
    cop_progress progress = {0};
    cop_layer_arch widest = {0};

    *out = NULL;
    COP_TRY(status, cop_importance_check(tokens, settings, err));
    COP_TRY(status, check_network(network, settings, err));
    run = cop_alloc(1, sizeof *run);
    if (run == NULL) {
        status = COP_FAIL(err, COP_ERR_NOMEM, "importance: no memory to measure");
        goto done;
    }
    COP_TRY(status, init(run, network, tokens, settings, err));
    widest = cop_importance_widest(run->arch);
    COP_TRY(status,
            cop_importance_create(&importance, run->arch->layers, widest.heads, widest.kv_heads,
                                  widest.ffn, run->arch->hidden, run->with_perplexity, err));
    if (run->samples < settings->samples) {
        cop_log(COP_LOG_INFO,
                "%s holds %lld sequences of %lld tokens: all are used, %lld were asked for",
                cop_tokens_path(tokens), (long long)run->samples, (long long)run->sequence,
                (long long)settings->samples);
    }
    cop_progress_init(&progress, "score", "sequence", run->samples, 0);
    for (int64_t first = 0; first < run->samples; first += run->batch) {
        const int64_t left = run->samples - first;
        COP_TRY(status, run_pass(run, first, left < run->batch ? left : run->batch, err));
        cop_progress_update(&progress, run->fold.sequences, NULL);
    }
    COP_TRY(status, score(run, importance, err));
    cop_progress_finish(&progress, NULL);

    *out = importance;
    importance = NULL;

done:
    cop_importance_destroy(importance);
    if (run != NULL) {
        release(run);
        cop_free(run);
    }
    return status;
}
