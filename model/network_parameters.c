// Parameters of a network: views, and how they get in and out.

#include <math.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "model/network_internal.h"

// Elements converted at a time between the host's and the device's element type.
enum { CHUNK_ELEMENTS = 1 << 16, SAVE_ELEMENTS = 1 << 22 };

static void *at_element(void *base, int64_t offset, cop_dtype dtype)
{
    return base == NULL ? NULL : (char *)base + offset * (int64_t)cop_dtype_bytes(dtype);
}

cop_matrix cop_network_slot(const cop_network *network, cop_slot slot, cop_dtype dtype,
                            int64_t rows, int64_t cols)
{
    if (slot == COP_NO_SLOT) {
        return (cop_matrix){0};
    }
    void *data = network->arena == NULL ? NULL : (char *)network->arena + slot;
    return cop_matrix_dense(data, dtype, rows, cols);
}

static cop_matrix place_view(void *base, cop_dtype dtype, cop_place place)
{
    return place.rows == 0 ? (cop_matrix){0}
                           : cop_matrix_dense(at_element(base, place.offset, dtype), dtype,
                                              place.rows, place.cols);
}

cop_matrix cop_network_weight(const cop_network *network, cop_place place)
{
    return place_view(network->working, network->compute, place);
}

cop_matrix cop_network_master(const cop_network *network, cop_place place)
{
    const bool is_shared = cop_group_size(network->options.group) > 1;
    const int64_t end = is_shared ? network->shard_end : network->elements;
    if (network->compute == network->wide) {
        return place_view(network->working, network->wide, place);
    }
    if (place.offset >= network->matrix_elements) {
        place.offset += network->master_matrices - network->matrix_elements;
    } else if (place.offset >= network->shard_first && network->master_matrices > 0 &&
               place.offset + place.rows * place.cols <= end) {
        place.offset -= network->shard_first;
    } else {
        return (cop_matrix){0};
    }
    return place_view(network->master, network->wide, place);
}

cop_matrix cop_network_vector(const cop_network *network, cop_place place)
{
    return cop_network_master(network, place);
}

cop_matrix cop_network_gradient(const cop_network *network, cop_place place)
{
    const int64_t matrices = network->matrix_elements - network->frozen_elements;
    if (!network->options.is_training || place.offset < network->frozen_elements) {
        return (cop_matrix){0};
    }
    if (place.offset < network->matrix_elements) {
        place.offset -= network->frozen_elements;
        return place_view(network->gradient, network->matrix_gradient, place);
    }
    place.offset -= network->matrix_elements;
    return place_view(at_element(network->gradient, matrices, network->matrix_gradient),
                      network->wide, place);
}

cop_place cop_network_range(int64_t offset, int64_t count)
{
    return (cop_place){.offset = offset, .rows = count > 0 ? 1 : 0, .cols = count};
}

uint64_t cop_network_gradient_bytes(const cop_network *network)
{
    const int64_t matrices = network->matrix_elements - network->frozen_elements;
    const int64_t vectors = network->elements - network->matrix_elements;
    return (uint64_t)matrices * cop_dtype_bytes(network->matrix_gradient) +
           (uint64_t)vectors * cop_dtype_bytes(network->wide);
}

static cop_status add_squares(cop_network *network, double *sum, int64_t first, int64_t end,
                              cop_error *err)
{
    const cop_sum_squares_args args = {
        .x = cop_network_gradient(network, cop_network_range(first, end - first)), .sum = sum};
    return cop_run_sum_squares(network, args, err);
}

// Members add up their shards; the vectors, the same for all, come to it once.
cop_status cop_network_sum_squares(cop_network *network, double *sum, cop_error *err)
{
    cop_status status = COP_OK;
    const bool is_shared = cop_group_size(network->options.group) > 1;
    const bool is_mixed = network->matrix_gradient != network->wide;
    const int64_t end = is_mixed || is_shared ? network->shard_end : network->elements;
    const int64_t vectors = network->matrix_elements;

    if (end > network->shard_first) {
        COP_TRY(status, add_squares(network, sum, network->shard_first, end, err));
    }
    if (is_shared && !network->is_planning) {
        COP_TRY(status, cop_group_all_reduce(network->options.group, NULL, sum, 1, COP_F64, err));
    }
    if (is_mixed || is_shared) {
        COP_TRY(status, add_squares(network, sum, vectors, network->elements, err));
    }

done:
    return status;
}

static cop_parameter_view view_of(cop_network *network, cop_place place)
{
    const bool is_vector = place.offset >= network->matrix_elements;
    return (cop_parameter_view){.working = is_vector ? cop_network_vector(network, place)
                                                     : cop_network_weight(network, place),
                                .master = cop_network_master(network, place),
                                .gradient = cop_network_gradient(network, place)};
}

cop_parameter_view cop_network_parameter(cop_network *network, int64_t index)
{
    return view_of(network, network->places[index]);
}

cop_parameter_view cop_network_all_parameters(cop_network *network)
{
    const int64_t elements = network->elements;
    const int64_t masters = network->compute == network->wide ? 0
                            : network->master_matrices > 0    ? network->shard_first
                                                              : network->matrix_elements;
    const int64_t trained = network->frozen_elements;
    const cop_parameter_view all = {
        .working = cop_network_weight(network, cop_network_range(0, elements)),
        .master = cop_network_master(network, cop_network_range(masters, elements - masters)),
        .gradient = cop_network_gradient(network, cop_network_range(trained, elements - trained))};
    return network->matrix_gradient == network->wide
               ? all
               : (cop_parameter_view){.working = all.working, .master = all.master};
}

cop_parameter_view cop_network_head(cop_network *network)
{
    return view_of(network, network->head);
}

cop_status cop_network_publish(cop_network *network, int64_t offset, int64_t count, cop_error *err)
{
    if (network->compute == network->wide) {
        return COP_OK;
    }
    const cop_place part = cop_network_range(offset, count);
    const cop_convert_args args = {.x = cop_network_master(network, part),
                                   .y = cop_network_weight(network, part)};
    return cop_run_convert(network, args, err);
}

static bool is_convertible(cop_dtype dtype)
{
    return dtype == COP_F32 || dtype == COP_F64 || dtype == COP_BF16 || dtype == COP_F16;
}

static cop_status check_index(const cop_network *network, int64_t index, cop_error *err)
{
    const int64_t count = cop_arch_tensor_count(&network->arch);
    if (index < 0 || index >= count) {
        return COP_FAIL(err, COP_ERR_SHAPE, "network: tensor index is %lld (allowed: 0..%lld)",
                        (long long)index, (long long)count - 1);
    }
    return COP_OK;
}

// Whether the master of a parameter lies, in part, with other members.
static bool is_split(const cop_network *network, cop_place place)
{
    return cop_network_best(network, place).is_split;
}

cop_matrix cop_network_primary(const cop_network *network, cop_place place)
{
    const cop_matrix master = cop_network_master(network, place);
    return master.rows > 0 ? master : cop_network_weight(network, place);
}

static cop_status put_elements(cop_network *network, cop_matrix to, cop_dtype dtype,
                               const void *data, cop_error *err)
{
    cop_status status = COP_OK;
    const int64_t count = to.rows * to.cols;
    const size_t to_bytes = cop_dtype_bytes(to.dtype);
    char *chunk = NULL;
    if (dtype == to.dtype) {
        return cop_backend_to_device(network->backend, NULL, to.data, data,
                                     (uint64_t)count * to_bytes, err);
    }
    chunk = cop_alloc(CHUNK_ELEMENTS, to_bytes);
    if (chunk == NULL) {
        status = COP_FAIL(err, COP_ERR_NOMEM, "network: no memory to copy a tensor");
        goto done;
    }
    for (int64_t done = 0; done < count; done += CHUNK_ELEMENTS) {
        const int64_t left = count - done;
        const size_t now = (size_t)(left < CHUNK_ELEMENTS ? left : CHUNK_ELEMENTS);
        cop_dtype_convert(chunk, to.dtype,
                          (const char *)data + (size_t)done * cop_dtype_bytes(dtype), dtype, now);
        COP_TRY(status, cop_backend_to_device(network->backend, NULL,
                                              (char *)to.data + (size_t)done * to_bytes, chunk,
                                              now * to_bytes, err));
    }

done:
    cop_free(chunk);
    return status;
}

static cop_status get_elements(cop_network *network, cop_matrix from, cop_dtype dtype, void *data,
                               cop_error *err)
{
    cop_status status = COP_OK;
    const int64_t count = from.rows * from.cols;
    const size_t from_bytes = cop_dtype_bytes(from.dtype);
    char *chunk = cop_alloc(CHUNK_ELEMENTS, from_bytes);
    if (chunk == NULL) {
        status = COP_FAIL(err, COP_ERR_NOMEM, "network: no memory to copy a tensor");
        goto done;
    }
    for (int64_t done = 0; done < count; done += CHUNK_ELEMENTS) {
        const int64_t left = count - done;
        const size_t now = (size_t)(left < CHUNK_ELEMENTS ? left : CHUNK_ELEMENTS);
        COP_TRY(status, cop_backend_to_host(network->backend, NULL, chunk,
                                            (const char *)from.data + (size_t)done * from_bytes,
                                            now * from_bytes, err));
        COP_TRY(status, cop_backend_synchronize(network->backend, NULL, err));
        cop_dtype_convert((char *)data + (size_t)done * cop_dtype_bytes(dtype), dtype, chunk,
                          from.dtype, now);
    }

done:
    cop_free(chunk);
    return status;
}

cop_status cop_network_put(cop_network *network, int64_t index, int64_t first, int64_t count,
                           cop_dtype dtype, const void *data, cop_error *err)
{
    cop_status status = COP_OK;
    const cop_place place = network->places[index];
    const cop_place part = {.offset = place.offset + first, .rows = 1, .cols = count};
    if (is_split(network, part)) {
        return cop_network_put_split(network, part, dtype, data, err);
    }
    COP_TRY(status, put_elements(network, cop_network_primary(network, part), dtype, data, err));
    if (cop_network_master(network, part).rows > 0) {
        COP_TRY(status, cop_network_publish(network, part.offset, count, err));
    }

done:
    return status;
}

static cop_status check_put(const cop_network *network, int64_t index, cop_dtype dtype,
                            cop_error *err)
{
    const cop_status status = check_index(network, index, err);
    if (status == COP_OK && !is_convertible(dtype)) {
        return COP_FAIL(err, COP_ERR_UNSUPPORTED,
                        "network: element type of %s is %s (allowed: f32, f64, bf16, f16)",
                        cop_arch_tensor(&network->arch, index).name, cop_dtype_name(dtype));
    }
    return status;
}

static cop_status put_parameter(void *context, int64_t index, cop_dtype dtype, const void *data,
                                cop_error *err)
{
    cop_network *network = context;
    const cop_status status = check_put(network, index, dtype, err);
    if (status != COP_OK) {
        return status;
    }
    const cop_place place = network->places[index];
    return cop_network_put(network, index, 0, place.rows * place.cols, dtype, data, err);
}

static cop_status put_parameter_rows(void *context, int64_t index, cop_dtype dtype,
                                     int64_t first_row, int64_t rows, const void *data,
                                     cop_error *err)
{
    cop_network *network = context;
    const cop_status status = check_put(network, index, dtype, err);
    if (status != COP_OK) {
        return status;
    }
    const cop_tensor_spec spec = cop_arch_tensor(&network->arch, index);
    if (first_row < 0 || rows < 1 || first_row > spec.shape[0] - rows) {
        return COP_FAIL(err, COP_ERR_SHAPE,
                        "network: %s: %lld rows from row %lld (allowed: within %lld rows)",
                        spec.name, (long long)rows, (long long)first_row, (long long)spec.shape[0]);
    }
    return cop_network_put(network, index, first_row * spec.shape[1], rows * spec.shape[1], dtype,
                           data, err);
}

cop_tensor_sink cop_network_sink(cop_network *network)
{
    return (cop_tensor_sink){
        .context = network, .put = put_parameter, .put_rows = put_parameter_rows};
}

double cop_network_init_deviation(const cop_arch *arch, cop_role role)
{
    const bool is_into_residual = role == COP_ROLE_O || role == COP_ROLE_DOWN;
    return arch->initializer_range / (is_into_residual ? sqrt(2.0 * (double)arch->layers) : 1.0);
}

float cop_network_norm_unit(const cop_arch *arch)
{
    return arch->norm == COP_NORM_LAYER_1P ? 0.0F : 1.0F;
}

static cop_status init_tensor(cop_network *network, uint64_t seed, int64_t index, float *values,
                              cop_error *err)
{
    cop_status status = COP_OK;
    const cop_tensor_spec spec = cop_arch_tensor(&network->arch, index);
    const int64_t count = spec.shape[0] * spec.shape[1];
    const double deviation = cop_network_init_deviation(&network->arch, spec.role);
    const bool is_gain = spec.role == COP_ROLE_INPUT_NORM || spec.role == COP_ROLE_POST_NORM ||
                         spec.role == COP_ROLE_FINAL_NORM;
    const float fixed = is_gain ? cop_network_norm_unit(&network->arch) : 0.0F;
    cop_rng *rng = NULL;
    if (spec.rank == 2) {
        COP_TRY(status, cop_rng_create(&rng, seed, COP_RNG_INIT, (uint64_t)index, err));
    }
    for (int64_t first = 0; first < count; first += CHUNK_ELEMENTS) {
        const int64_t left = count - first;
        const int64_t now = left < CHUNK_ELEMENTS ? left : CHUNK_ELEMENTS;
        for (int64_t i = 0; i < now; i++) {
            values[i] = rng != NULL ? (float)(deviation * cop_rng_normal(rng)) : fixed;
        }
        COP_TRY(status, cop_network_put(network, index, first, now, COP_F32, values, err));
    }

done:
    cop_rng_destroy(rng);
    return status;
}

cop_status cop_network_init(cop_network *network, uint64_t seed, cop_error *err)
{
    cop_status status = COP_OK;
    const int64_t count = cop_arch_tensor_count(&network->arch);
    float *values = cop_alloc(CHUNK_ELEMENTS, sizeof *values);
    if (values == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "network: no memory to initialize it");
    }
    for (int64_t i = 0; i < count; i++) {
        COP_TRY(status, init_tensor(network, seed, i, values, err));
    }

done:
    cop_free(values);
    return status;
}

static cop_status check_readable(const cop_network *network, int64_t index, cop_dtype dtype,
                                 cop_error *err)
{
    if (dtype != COP_F32 && dtype != COP_F64) {
        return COP_FAIL(err, COP_ERR_UNSUPPORTED,
                        "network: element type to read is %s (allowed: f32, f64)",
                        cop_dtype_name(dtype));
    }
    return check_index(network, index, err);
}

cop_status cop_network_read(cop_network *network, int64_t index, cop_dtype dtype, void *data,
                            cop_error *err)
{
    cop_status status = COP_OK;
    COP_TRY(status, check_readable(network, index, dtype, err));
    if (is_split(network, network->places[index])) {
        return cop_network_get_split(network, network->places[index], dtype, data, err);
    }
    COP_TRY(status, get_elements(network, cop_network_primary(network, network->places[index]),
                                 dtype, data, err));

done:
    return status;
}

cop_status cop_network_read_gradient(cop_network *network, int64_t index, cop_dtype dtype,
                                     void *data, cop_error *err)
{
    cop_status status = COP_OK;
    COP_TRY(status, check_readable(network, index, dtype, err));
    if (!network->options.is_training) {
        return COP_FAIL(err, COP_ERR_UNSUPPORTED,
                        "network: there are no gradients (allowed: training networks)");
    }
    if (network->places[index].offset < network->frozen_elements) {
        return COP_FAIL(err, COP_ERR_UNSUPPORTED,
                        "network: %s is frozen (allowed: parameters that are trained)",
                        cop_arch_tensor(&network->arch, index).name);
    }
    COP_TRY(status, get_elements(network, cop_network_gradient(network, network->places[index]),
                                 dtype, data, err));

done:
    return status;
}

// In pieces of rows where the sink takes them, so that the host never holds a tensor of any size. *put is
// the sink's answer: after a failure of its own the other members of a group must still be served.
static cop_status save_tensor(cop_network *network, int64_t index, const cop_tensor_sink *sink,
                              cop_status *put, cop_error *err)
{
    cop_status status = COP_OK;
    const cop_tensor_spec spec = cop_arch_tensor(&network->arch, index);
    const int64_t offset = network->places[index].offset;
    const int64_t piece = SAVE_ELEMENTS / spec.shape[1] + 1;
    const int64_t step = sink->put_rows == NULL || piece > spec.shape[0] ? spec.shape[0] : piece;
    float *values = cop_alloc((size_t)(step * spec.shape[1]), sizeof *values);
    if (values == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "network: no memory to save tensors");
    }
    for (int64_t row = 0; row < spec.shape[0]; row += step) {
        const int64_t left = spec.shape[0] - row;
        const int64_t rows = left < step ? left : step;
        const cop_place part = {
            .offset = offset + row * spec.shape[1], .rows = 1, .cols = rows * spec.shape[1]};
        COP_TRY(status, is_split(network, part)
                            ? cop_network_get_split(network, part, COP_F32, values, err)
                            : get_elements(network, cop_network_primary(network, part), COP_F32,
                                           values, err));
        if (*put == COP_OK) {
            *put = step == spec.shape[0]
                       ? sink->put(sink->context, index, COP_F32, values, err)
                       : sink->put_rows(sink->context, index, COP_F32, row, rows, values, err);
        }
    }

done:
    cop_free(values);
    return status;
}

cop_status cop_network_save(cop_network *network, cop_tensor_sink sink, cop_error *err)
{
    cop_status status = COP_OK;
    cop_status put = COP_OK;
    const int64_t count = cop_arch_tensor_count(&network->arch);
    for (int64_t i = 0; i < count; i++) {
        COP_TRY(status, save_tensor(network, i, &sink, &put, err));
    }
    status = put;

done:
    return status;
}

cop_status cop_network_zero_gradients(cop_network *network, cop_error *err)
{
    if (!network->options.is_training) {
        return COP_FAIL(err, COP_ERR_UNSUPPORTED,
                        "network: there are no gradients (allowed: training networks)");
    }
    return cop_backend_zero(network->backend, NULL, network->gradient,
                            cop_network_gradient_bytes(network), err);
}
