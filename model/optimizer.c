#include "model/optimizer.h"

#include <math.h>
#include <stdio.h>

#include "base/alloc.h"
#include "model/optimizer_internal.h"

const char *cop_state_form_name(cop_state_form form)
{
    switch (form) {
    case COP_STATE_FULL: return "full";
    case COP_STATE_COMPACT: return "compact";
    case COP_STATE_LEAN: return "lean";
    default: return "unknown form of state";
    }
}

void cop_state_form_apply(cop_state_form form, cop_network_options *network,
                          cop_optimizer_options *optimizer)
{
    network->gradients = form == COP_STATE_LEAN ? COP_BF16 : COP_F32;
    network->without_masters = form == COP_STATE_LEAN;
    optimizer->moments = form == COP_STATE_FULL ? COP_F32 : COP_BF16;
}

static uint64_t norm_bytes(void)
{
    return sizeof(double);
}

static cop_dtype moment_dtype(const cop_optimizer_options *options, cop_precision precision)
{
    if (options->moments == COP_BF16) {
        return COP_BF16;
    }
    return precision == COP_PRECISION_F64 ? COP_F64 : COP_F32;
}

// Whether steps can be recorded: then all of them take their numbers from device memory.
static cop_status has_graphs(bool *out, cop_backend *backend, cop_error *err)
{
    cop_device_info info = {0};
    const cop_status status = cop_backend_info(backend, &info, err);
    *out = status == COP_OK && info.has_graphs;
    return status;
}

cop_status cop_optimizer_plan(cop_plan *plan, const char *label, const cop_arch *arch,
                              const cop_network_options *network_options,
                              const cop_optimizer_options *options, cop_backend *backend,
                              cop_error *err)
{
    const cop_place_ends ends = cop_place_parameters(NULL, arch);
    const int64_t first = network_options->freeze_vocabulary ? ends.vocabulary : 0;
    const int64_t matrices = ends.matrices - first;
    const int size = cop_group_size(network_options->group);
    const int rank = cop_group_rank(network_options->group);
    const int64_t share = cop_group_share(matrices, size, COP_PLACE_ALIGNMENT);
    const int64_t own = cop_group_part(matrices, share, rank + 1, size) -
                        cop_group_part(matrices, share, rank, size);
    const cop_dtype dtype = moment_dtype(options, network_options->precision);
    char name[COP_PLAN_NAME_BYTES];
    bool has_schedule = false;
    const cop_status status = has_graphs(&has_schedule, backend, err);
    if (status == COP_OK) {
        (void)snprintf(name, sizeof name, "%.40s: optimizer%s", label,
                       size > 1 ? ", own shard" : "");
        cop_plan_add(plan, name,
                     2 * (uint64_t)(own + ends.all - ends.matrices) * cop_dtype_bytes(dtype) +
                         norm_bytes() + (has_schedule ? sizeof(cop_adamw_schedule) : 0));
    }
    return status;
}

static cop_status check_options(const cop_optimizer_options *options, cop_error *err)
{
    if (!(options->beta1 >= 0 && options->beta1 < 1) ||
        !(options->beta2 >= 0 && options->beta2 < 1)) {
        return COP_FAIL(err, COP_ERR_CONFIG,
                        "optimizer: betas are %g, %g (allowed: 0 up to below 1)", options->beta1,
                        options->beta2);
    }
    if (!(options->eps > 0) || !(options->weight_decay >= 0) || !(options->clip_norm >= 0)) {
        return COP_FAIL(err, COP_ERR_CONFIG,
                        "optimizer: eps, weight decay, clip norm are %g, %g, %g (allowed: above 0, "
                        "0 or more, 0 or more)",
                        options->eps, options->weight_decay, options->clip_norm);
    }
    if (options->moments != COP_F32 && options->moments != COP_BF16) {
        return COP_FAIL(err, COP_ERR_CONFIG, "optimizer: moments are %s (allowed: f32, bf16)",
                        cop_dtype_name(options->moments));
    }
    return COP_OK;
}

static cop_status allocate(cop_optimizer *optimizer, cop_error *err)
{
    cop_status status = COP_OK;
    const cop_network *network = optimizer->network;
    cop_backend *backend = network->backend;
    const uint64_t bytes = (uint64_t)(network->shard_end - network->shard_first +
                                      network->elements - network->matrix_elements) *
                           cop_dtype_bytes(optimizer->moment);
    bool has_schedule = false;
    void *memory = NULL;
    COP_TRY(status, has_graphs(&has_schedule, backend, err));
    COP_TRY(status,
            cop_backend_alloc(backend, &optimizer->m, bytes, "optimizer: first moments", err));
    COP_TRY(status,
            cop_backend_alloc(backend, &optimizer->v, bytes, "optimizer: second moments", err));
    COP_TRY(status,
            cop_backend_alloc(backend, &memory, norm_bytes(), "optimizer: gradient norm", err));
    optimizer->norm_squared = memory;
    if (has_schedule) {
        COP_TRY(status, cop_backend_alloc(backend, &memory, sizeof *optimizer->schedule,
                                          "optimizer: schedule", err));
        optimizer->schedule = memory;
    }

done:
    return status;
}

cop_status cop_optimizer_create(cop_optimizer **out, cop_network *network,
                                const cop_optimizer_options *options, cop_error *err)
{
    cop_status status = COP_OK;
    cop_optimizer *optimizer = NULL;

    *out = NULL;
    if (!network->options.is_training) {
        return COP_FAIL(err, COP_ERR_UNSUPPORTED,
                        "optimizer: the network has no gradients (allowed: training networks)");
    }
    COP_TRY(status, check_options(options, err));
    optimizer = cop_alloc(1, sizeof *optimizer);
    if (optimizer == NULL) {
        status = COP_FAIL(err, COP_ERR_NOMEM, "optimizer: no memory for its description");
        goto done;
    }
    optimizer->network = network;
    optimizer->options = *options;
    optimizer->moment = moment_dtype(options, network->options.precision);
    COP_TRY(status, allocate(optimizer, err));
    *out = optimizer;
    optimizer = NULL;

done:
    cop_optimizer_destroy(optimizer);
    return status;
}

void cop_optimizer_destroy(cop_optimizer *optimizer)
{
    if (optimizer == NULL) {
        return;
    }
    cop_backend *backend = optimizer->network->backend;
    cop_backend_free(backend, optimizer->m);
    cop_backend_free(backend, optimizer->v);
    cop_backend_free(backend, optimizer->norm_squared);
    cop_backend_free(backend, optimizer->schedule);
    cop_free(optimizer);
}

cop_share cop_optimizer_share(const cop_optimizer *optimizer, void *moments, cop_place place)
{
    const cop_network *network = optimizer->network;
    const int64_t matrices = network->shard_end - network->shard_first;
    const int64_t width = (int64_t)cop_dtype_bytes(optimizer->moment);
    if (place.offset < network->matrix_elements) {
        return (cop_share){.data = moments,
                           .dtype = optimizer->moment,
                           .first = network->shard_first,
                           .end = network->shard_end,
                           .is_split = cop_group_size(network->options.group) > 1};
    }
    return (cop_share){.data = (char *)moments + matrices * width,
                       .dtype = optimizer->moment,
                       .first = network->matrix_elements,
                       .end = network->elements};
}

// The moments of a place that is held here.
static cop_matrix moments_at(const cop_optimizer *optimizer, void *moments, cop_place place)
{
    const cop_share share = cop_optimizer_share(optimizer, moments, place);
    char *data =
        (char *)share.data + (place.offset - share.first) * (int64_t)cop_dtype_bytes(share.dtype);
    return cop_matrix_dense(data, share.dtype, place.rows, place.cols);
}

// Elements [offset, end), all of matrices or all of vectors.
static cop_status update_part(const cop_optimizer *optimizer, int64_t offset, int64_t end,
                              double weight_decay, cop_error *err)
{
    cop_network *network = optimizer->network;
    const cop_optimizer_options *options = &optimizer->options;
    const cop_place place = cop_network_range(offset, end - offset);
    const bool has_copy = network->compute != network->wide;
    if (end <= offset) {
        return COP_OK;
    }
    const cop_adamw_args args = {
        .parameter = cop_network_master(network, place),
        .working = has_copy ? cop_network_weight(network, place) : (cop_matrix){0},
        .gradient = cop_network_gradient(network, place),
        .m = moments_at(optimizer, optimizer->m, place),
        .v = moments_at(optimizer, optimizer->v, place),
        .learning_rate = (float)optimizer->learning_rate,
        .beta1 = (float)options->beta1,
        .beta2 = (float)options->beta2,
        .eps = (float)options->eps,
        .weight_decay = (float)weight_decay,
        .step = optimizer->steps,
        .schedule = optimizer->schedule,
        .norm_squared = options->clip_norm > 0 ? optimizer->norm_squared : NULL,
        .max_norm = (float)options->clip_norm,
        .zero_gradient = true,
        .seed = options->seed,
        .first_index = offset};
    return cop_run_adamw(network, args, err);
}

cop_status cop_optimizer_begin(cop_optimizer *optimizer, double learning_rate, cop_error *err)
{
    const double step = (double)(optimizer->steps + 1);
    const cop_adamw_schedule schedule = {
        .learning_rate = (float)learning_rate,
        .correction1 = (float)(1.0 - pow((double)(float)optimizer->options.beta1, step)),
        .correction2 = (float)(1.0 - pow((double)(float)optimizer->options.beta2, step)),
        .step = (uint32_t)(optimizer->steps + 1)};
    cop_status status = COP_OK;

    if (optimizer->schedule != NULL) {
        COP_TRY(status,
                cop_backend_to_device(optimizer->network->backend, NULL, optimizer->schedule,
                                      &schedule, sizeof schedule, err));
    }
    optimizer->learning_rate = learning_rate;
    optimizer->steps++;

done:
    return status;
}

cop_status cop_optimizer_apply(cop_optimizer *optimizer, cop_error *err)
{
    cop_status status = COP_OK;
    cop_network *network = optimizer->network;

    COP_TRY(status, cop_network_reduce_gradients(network, err));
    COP_TRY(status,
            cop_backend_zero(network->backend, NULL, optimizer->norm_squared, norm_bytes(), err));
    COP_TRY(status, cop_network_sum_squares(network, optimizer->norm_squared, err));
    COP_TRY(status, update_part(optimizer, network->shard_first, network->shard_end,
                                optimizer->options.weight_decay, err));
    COP_TRY(status, update_part(optimizer, network->matrix_elements, network->elements, 0.0, err));
    COP_TRY(status, cop_network_gather_weights(network, err));

done:
    return status;
}

cop_status cop_optimizer_step(cop_optimizer *optimizer, double learning_rate, cop_error *err)
{
    const cop_status status = cop_optimizer_begin(optimizer, learning_rate, err);
    return status == COP_OK ? cop_optimizer_apply(optimizer, err) : status;
}

int64_t cop_optimizer_steps(const cop_optimizer *optimizer)
{
    return optimizer->steps;
}

const double *cop_optimizer_norm_squared(const cop_optimizer *optimizer)
{
    return optimizer->norm_squared;
}

cop_status cop_optimizer_norm(cop_optimizer *optimizer, double *out, cop_error *err)
{
    cop_status status = COP_OK;
    cop_backend *backend = optimizer->network->backend;
    double squared = 0.0;
    COP_TRY(status, cop_backend_to_host(backend, NULL, &squared, optimizer->norm_squared,
                                        norm_bytes(), err));
    COP_TRY(status, cop_backend_synchronize(backend, NULL, err));
    *out = sqrt(squared);

done:
    return status;
}
