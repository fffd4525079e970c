#include "model/optimizer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/text.h"
#include "model/network_internal.h"
#include "model/safetensors.h"

struct cop_optimizer {
    cop_network *network; // borrowed
    cop_optimizer_options options;
    int64_t steps;
    void *m; // [elements] each, the dtype of the masters
    void *v;
    double *norm_squared; // device
};

// What is stored per tensor, in file order.
typedef enum part { PART_PARAMETER = 0, PART_M, PART_V } part;

enum { PART_COUNT = 3, CHUNK_BYTES = 1 << 20 };

static const char *const PART_PREFIX[PART_COUNT] = {"parameter.", "m.", "v."};
static const char FORMAT_NAME[] = "coppice-optimizer-1";

static uint64_t norm_bytes(void)
{
    return sizeof(double);
}

void cop_optimizer_plan(cop_plan *plan, const char *label, const cop_arch *arch,
                        const cop_network_options *options)
{
    char name[COP_PLAN_NAME_BYTES];
    int64_t matrix_elements = 0;
    const int64_t elements = cop_place_parameters(NULL, arch, &matrix_elements);
    const cop_dtype dtype = options->precision == COP_PRECISION_F64 ? COP_F64 : COP_F32;
    (void)snprintf(name, sizeof name, "%.40s: optimizer", label);
    cop_plan_add(plan, name, 2 * (uint64_t)elements * cop_dtype_bytes(dtype) + norm_bytes());
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
    return COP_OK;
}

// Elements [offset, offset + count) of one of the vectors of all parameters.
static cop_matrix range(void *base, cop_dtype dtype, int64_t offset, int64_t count)
{
    return cop_matrix_dense((char *)base + offset * (int64_t)cop_dtype_bytes(dtype), dtype, 1,
                            count);
}

cop_status cop_optimizer_create(cop_optimizer **out, cop_network *network,
                                const cop_optimizer_options *options, cop_error *err)
{
    cop_status status = COP_OK;
    cop_optimizer *optimizer = NULL;
    cop_backend *backend = network->backend;
    const uint64_t bytes = (uint64_t)network->elements * cop_dtype_bytes(network->wide);
    void *norm = NULL;

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
    COP_TRY(status,
            cop_backend_alloc(backend, &optimizer->m, bytes, "optimizer: first moments", err));
    COP_TRY(status,
            cop_backend_alloc(backend, &optimizer->v, bytes, "optimizer: second moments", err));
    COP_TRY(status,
            cop_backend_alloc(backend, &norm, norm_bytes(), "optimizer: gradient norm", err));
    optimizer->norm_squared = norm;
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
    cop_free(optimizer);
}

// Updates elements [offset, offset + count).
static cop_status update(const cop_optimizer *optimizer, int64_t offset, int64_t count,
                         double learning_rate, double weight_decay, cop_error *err)
{
    cop_network *network = optimizer->network;
    const cop_optimizer_options *options = &optimizer->options;
    const bool has_copy = network->compute != network->wide;
    void *master = has_copy ? network->master : network->working;
    const cop_adamw_args args = {
        .parameter = range(master, network->wide, offset, count),
        .working =
            has_copy ? range(network->working, network->compute, offset, count) : (cop_matrix){0},
        .gradient = range(network->gradient, network->wide, offset, count),
        .m = range(optimizer->m, network->wide, offset, count),
        .v = range(optimizer->v, network->wide, offset, count),
        .learning_rate = (float)learning_rate,
        .beta1 = (float)options->beta1,
        .beta2 = (float)options->beta2,
        .eps = (float)options->eps,
        .weight_decay = (float)weight_decay,
        .step = optimizer->steps + 1,
        .norm_squared = options->clip_norm > 0 ? optimizer->norm_squared : NULL,
        .max_norm = (float)options->clip_norm,
        .zero_gradient = true};
    return cop_run_adamw(network, args, err);
}

cop_status cop_optimizer_step(cop_optimizer *optimizer, double learning_rate, cop_error *err)
{
    cop_status status = COP_OK;
    cop_network *network = optimizer->network;
    const int64_t matrices = network->matrix_elements;
    const cop_sum_squares_args norm = {
        .x = range(network->gradient, network->wide, 0, network->elements),
        .sum = optimizer->norm_squared};

    COP_TRY(status,
            cop_backend_zero(network->backend, NULL, optimizer->norm_squared, norm_bytes(), err));
    COP_TRY(status, cop_run_sum_squares(network, norm, err));
    COP_TRY(status,
            update(optimizer, 0, matrices, learning_rate, optimizer->options.weight_decay, err));
    COP_TRY(status,
            update(optimizer, matrices, network->elements - matrices, learning_rate, 0.0, err));
    optimizer->steps++;

done:
    return status;
}

int64_t cop_optimizer_steps(const cop_optimizer *optimizer)
{
    return optimizer->steps;
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

// --- State on disk ------------------------------------------------------------------------------

// Names of all entries and their declarations, for reading and writing.
typedef struct listing {
    int64_t count; // PART_COUNT times the number of tensors
    char (*name)[COP_TENSOR_NAME_BYTES + 16];
    cop_safetensors_entry *entry;
} listing;

static void release_listing(listing *list)
{
    cop_free(list->name);
    cop_free(list->entry);
    *list = (listing){0};
}

static cop_status list_entries(listing *list, const cop_network *network, cop_error *err)
{
    const int64_t tensors = cop_arch_tensor_count(&network->arch);
    list->count = PART_COUNT * tensors;
    list->name = cop_alloc((size_t)list->count, sizeof *list->name);
    list->entry = cop_alloc((size_t)list->count, sizeof *list->entry);
    if (list->name == NULL || list->entry == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "optimizer: no memory to list its state");
    }
    for (int64_t i = 0; i < list->count; i++) {
        const cop_tensor_spec spec = cop_arch_tensor(&network->arch, i % tensors);
        (void)snprintf(list->name[i], sizeof list->name[i], "%s%s", PART_PREFIX[i / tensors],
                       spec.name);
        list->entry[i] = (cop_safetensors_entry){
            .name = list->name[i],
            .dtype = network->wide,
            .rank = spec.rank,
            .shape = {spec.shape[0], spec.shape[1]},
            .bytes = (uint64_t)(spec.shape[0] * spec.shape[1]) * cop_dtype_bytes(network->wide)};
    }
    return COP_OK;
}

// Device memory of entry `index` of the listing.
static char *entry_memory(const cop_optimizer *optimizer, int64_t index)
{
    const cop_network *network = optimizer->network;
    const int64_t tensors = cop_arch_tensor_count(&network->arch);
    const int64_t offset =
        network->places[index % tensors].offset * (int64_t)cop_dtype_bytes(network->wide);
    void *base = network->compute == network->wide ? network->working : network->master;
    if (index / tensors == PART_M) {
        base = optimizer->m;
    } else if (index / tensors == PART_V) {
        base = optimizer->v;
    }
    return (char *)base + offset;
}

static cop_status write_entry(cop_optimizer *optimizer, cop_safetensors_writer *writer,
                              int64_t index, uint64_t bytes, void *chunk, cop_error *err)
{
    cop_status status = COP_OK;
    cop_backend *backend = optimizer->network->backend;
    const char *memory = entry_memory(optimizer, index);
    for (uint64_t done = 0; done < bytes; done += CHUNK_BYTES) {
        const uint64_t now = bytes - done < CHUNK_BYTES ? bytes - done : CHUNK_BYTES;
        COP_TRY(status, cop_backend_to_host(backend, NULL, chunk, memory + done, now, err));
        COP_TRY(status, cop_backend_synchronize(backend, NULL, err));
        COP_TRY(status, cop_safetensors_writer_put(writer, chunk, now, err));
    }

done:
    return status;
}

cop_status cop_optimizer_save(cop_optimizer *optimizer, const char *path, cop_error *err)
{
    cop_status status = COP_OK;
    cop_safetensors_writer *writer = NULL;
    listing list = {0};
    char steps[COP_TEXT_NUMBER_BYTES];
    void *chunk = cop_alloc(CHUNK_BYTES, 1);

    (void)snprintf(steps, sizeof steps, "%lld", (long long)optimizer->steps);
    const char *const metadata[] = {"format", FORMAT_NAME, "step", steps, NULL};
    if (chunk == NULL) {
        status = COP_FAIL(err, COP_ERR_NOMEM, "%s: no memory to write it", path);
        goto done;
    }
    COP_TRY(status, list_entries(&list, optimizer->network, err));
    COP_TRY(status,
            cop_safetensors_writer_create(&writer, path, list.entry, list.count, metadata, err));
    for (int64_t i = 0; i < list.count; i++) {
        COP_TRY(status, write_entry(optimizer, writer, i, list.entry[i].bytes, chunk, err));
    }
    COP_TRY(status, cop_safetensors_writer_commit(writer, err));

done:
    cop_safetensors_writer_destroy(writer);
    release_listing(&list);
    cop_free(chunk);
    return status;
}

static cop_status check_metadata(const cop_safetensors *file, const char *path, int64_t *steps,
                                 cop_error *err)
{
    const char *format = cop_safetensors_metadata(file, "format");
    const char *text = cop_safetensors_metadata(file, "step");
    if (format == NULL || strcmp(format, FORMAT_NAME) != 0) {
        return COP_FAIL(err, COP_ERR_FORMAT, "%s: format is %.64s (allowed: %s)", path,
                        format == NULL ? "missing" : format, FORMAT_NAME);
    }
    if (text == NULL || !cop_text_to_i64(text, steps) || *steps < 0) {
        return COP_FAIL(err, COP_ERR_FORMAT, "%s: step is %.64s (allowed: 0 or more)", path,
                        text == NULL ? "missing" : text);
    }
    return COP_OK;
}

// Finds what the listing wants and leaves the mapped data in its entries.
static cop_status match_entries(listing *list, const cop_safetensors *file, const char *path,
                                cop_error *err)
{
    if (cop_safetensors_count(file) != list->count) {
        return COP_FAIL(err, COP_ERR_FORMAT, "%s: tensors: %lld (allowed: %lld)", path,
                        (long long)cop_safetensors_count(file), (long long)list->count);
    }
    for (int64_t i = 0; i < list->count; i++) {
        cop_safetensors_entry *want = &list->entry[i];
        const int64_t at = cop_safetensors_find(file, want->name);
        if (at < 0) {
            return COP_FAIL(err, COP_ERR_FORMAT, "%s: %s is missing", path, want->name);
        }
        const cop_safetensors_entry found = cop_safetensors_at(file, at);
        if (found.dtype != want->dtype || found.rank != want->rank ||
            found.shape[0] != want->shape[0] ||
            (want->rank == 2 && found.shape[1] != want->shape[1])) {
            return COP_FAIL(err, COP_ERR_FORMAT,
                            "%s: %s is %s [%lld, %lld] (allowed: %s [%lld, %lld])", path,
                            want->name, cop_dtype_name(found.dtype), (long long)found.shape[0],
                            (long long)found.shape[1], cop_dtype_name(want->dtype),
                            (long long)want->shape[0], (long long)want->shape[1]);
        }
        want->data = found.data;
        want->bytes = found.bytes;
    }
    return COP_OK;
}

cop_status cop_optimizer_load(cop_optimizer *optimizer, const char *path, cop_error *err)
{
    cop_status status = COP_OK;
    cop_network *network = optimizer->network;
    cop_safetensors *file = NULL;
    listing list = {0};
    int64_t steps = 0;

    COP_TRY(status, cop_safetensors_open(&file, path, err));
    COP_TRY(status, check_metadata(file, path, &steps, err));
    COP_TRY(status, list_entries(&list, network, err));
    COP_TRY(status, match_entries(&list, file, path, err));
    for (int64_t i = 0; i < list.count; i++) {
        COP_TRY(status, cop_backend_to_device(network->backend, NULL, entry_memory(optimizer, i),
                                              list.entry[i].data, list.entry[i].bytes, err));
        COP_TRY(status, cop_backend_synchronize(network->backend, NULL, err));
        cop_safetensors_forget(file, cop_safetensors_find(file, list.entry[i].name));
    }
    COP_TRY(status, cop_network_publish(network, 0, network->elements, err));
    optimizer->steps = steps;

done:
    release_listing(&list);
    cop_safetensors_destroy(file);
    return status;
}
