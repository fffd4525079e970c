#include "prune/resident.h"

#include <assert.h>

#include "base/alloc.h"
#include "kernels/random.h"
#include "model/tensor_load.h"
#include "prune/slice.h"

enum { TENSOR_ALIGNMENT = 256 }; // bytes

struct cop_resident {
    const cop_checkpoint *teacher; // borrowed; NULL: random weights
    cop_arch *arch;                // owned
    cop_backend *backend;          // borrowed
    cop_matrix *tensors;           // owned, [tensor_count]; a vector is one row
    void *weights;                 // device
    int32_t *index_dev;            // device, [index_count]
    int32_t *index;                // owned, the same on the host
    int64_t index_count;
};

// The teacher's positions along one dimension of a student's tensor.
typedef struct kept {
    int64_t count;
    int64_t first;  // where there is no index: positions first … first + count - 1
    int64_t offset; // of the index; -1: none
} kept;

// What one cut has put into the index so far.
typedef struct cutting {
    cop_resident *resident;
    const cop_selection *selection;
    int64_t index_used;
    kept hidden;
    kept query[COP_ARCH_LAYERS_MAX];
    kept key[COP_ARCH_LAYERS_MAX];
    kept ffn[COP_ARCH_LAYERS_MAX];
} cutting;

// --- Memory -------------------------------------------------------------------------------------

static cop_dtype kept_dtype(const cop_checkpoint *teacher, int64_t index)
{
    cop_dtype stored = COP_F32;
    (void)cop_checkpoint_view(teacher, index, &stored);
    return stored == COP_F16 ? COP_F32 : stored;
}

bool cop_resident_supports(const cop_checkpoint *teacher)
{
    const int64_t count = cop_arch_tensor_count(cop_checkpoint_arch(teacher));
    for (int64_t i = 0; i < count; i++) {
        if (kept_dtype(teacher, i) == COP_F64) {
            return false;
        }
    }
    return true;
}

// Bytes from the start of a tensor to that of the next one.
static uint64_t tensor_step(const cop_arch *arch, int64_t index, cop_dtype dtype)
{
    const cop_tensor_spec spec = cop_arch_tensor(arch, index);
    const uint64_t bytes = (uint64_t)(spec.shape[0] * spec.shape[1]) * cop_dtype_bytes(dtype);
    return (bytes + TENSOR_ALIGNMENT - 1) / TENSOR_ALIGNMENT * TENSOR_ALIGNMENT;
}

// Places all tensors, from byte 0 when `tensors` is NULL; returns the bytes. Without a checkpoint all
// have the type `dtype`.
static uint64_t place_tensors(cop_matrix *tensors, char *start, const cop_arch *arch,
                              const cop_checkpoint *teacher, cop_dtype dtype)
{
    const int64_t count = cop_arch_tensor_count(arch);
    uint64_t at = 0;
    for (int64_t i = 0; i < count; i++) {
        const cop_tensor_spec spec = cop_arch_tensor(arch, i);
        const cop_dtype stored = teacher != NULL ? kept_dtype(teacher, i) : dtype;
        const bool is_vector = spec.rank == 1;
        if (tensors != NULL) {
            tensors[i] = cop_matrix_dense(start + at, stored, is_vector ? 1 : spec.shape[0],
                                          is_vector ? spec.shape[0] : spec.shape[1]);
        }
        at += tensor_step(arch, i, stored);
    }
    return at;
}

// A student has no more units on any axis than the teacher's layers it is made of.
static int64_t index_count(const cop_arch *arch)
{
    int64_t count = arch->hidden;
    for (int64_t i = 0; i < arch->layers; i++) {
        const cop_layer_arch *layer = &arch->layer[i];
        count += (layer->heads + layer->kv_heads) * arch->head_dim + layer->ffn;
    }
    return count;
}

void cop_resident_plan(cop_plan *plan, const cop_checkpoint *teacher)
{
    const cop_arch *arch = cop_checkpoint_arch(teacher);
    cop_plan_add(plan, "teacher: resident weights",
                 place_tensors(NULL, NULL, arch, teacher, COP_F32));
    cop_plan_add(plan, "teacher: resident indices", (uint64_t)index_count(arch) * sizeof(int32_t));
}

// All but the weights themselves. `bytes` (out): of the weights.
static cop_status create(cop_resident **out, const cop_arch *arch, const cop_checkpoint *teacher,
                         cop_dtype dtype, cop_backend *backend, uint64_t *bytes, cop_error *err)
{
    cop_status status = COP_OK;
    cop_resident *resident = cop_alloc(1, sizeof *resident);
    void *index_dev = NULL;

    *out = NULL;
    if (resident == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "resident teacher: out of memory");
    }
    resident->teacher = teacher;
    resident->backend = backend;
    resident->index_count = index_count(arch);
    resident->arch = cop_alloc(1, sizeof *resident->arch);
    resident->tensors = cop_alloc((size_t)cop_arch_tensor_count(arch), sizeof *resident->tensors);
    resident->index = cop_alloc((size_t)resident->index_count, sizeof *resident->index);
    if (resident->arch == NULL || resident->tensors == NULL || resident->index == NULL) {
        status = COP_FAIL(err, COP_ERR_NOMEM, "resident teacher: out of memory");
        goto done;
    }
    *resident->arch = *arch;
    *bytes = place_tensors(NULL, NULL, arch, teacher, dtype);
    COP_TRY(status, cop_backend_alloc(backend, &resident->weights, *bytes,
                                      "teacher: resident weights", err));
    COP_TRY(status, cop_backend_alloc(backend, &index_dev,
                                      (uint64_t)resident->index_count * sizeof(int32_t),
                                      "teacher: resident indices", err));
    resident->index_dev = index_dev;
    (void)place_tensors(resident->tensors, resident->weights, arch, teacher, dtype);
    *out = resident;
    resident = NULL;

done:
    cop_resident_destroy(resident);
    return status;
}

cop_status cop_resident_create(cop_resident **out, const cop_checkpoint *teacher,
                               cop_backend *backend, cop_error *err)
{
    cop_status status = COP_OK;
    const cop_arch *arch = cop_checkpoint_arch(teacher);
    const int64_t count = cop_arch_tensor_count(arch);
    cop_resident *resident = NULL;
    uint64_t bytes = 0;

    *out = NULL;
    if (!cop_resident_supports(teacher)) {
        return COP_FAIL(err, COP_ERR_UNSUPPORTED,
                        "%s: has f64 tensors, which are not kept on a device (allowed: f32, bf16, "
                        "f16)",
                        cop_checkpoint_path(teacher));
    }
    COP_TRY(status, create(&resident, arch, teacher, COP_F32, backend, &bytes, err));
    assert(resident != NULL); // or the status says why not
    for (int64_t i = 0; i < count; i++) {
        // Nothing is converted on the device, so that nothing is staged there.
        COP_TRY(status,
                cop_tensor_load(backend, teacher, i, resident->tensors[i], (cop_staging){0}, err));
    }
    *out = resident;
    resident = NULL;

done:
    cop_resident_destroy(resident);
    return status;
}

cop_status cop_resident_create_random(cop_resident **out, const cop_arch *arch, cop_dtype dtype,
                                      cop_backend *backend, cop_error *err)
{
    enum { CHUNK_WORDS = 1 << 20 };

    cop_status status = COP_OK;
    cop_resident *resident = NULL;
    uint64_t bytes = 0;
    uint64_t *chunk = cop_alloc(CHUNK_WORDS, sizeof *chunk);

    *out = NULL;
    if (chunk == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "resident teacher: out of memory");
    }
    for (int64_t i = 0; i < CHUNK_WORDS; i++) {
        // Exponents without the upper bits: finite numbers as f32 and as bf16.
        chunk[i] = cop_random_bits(1, (uint64_t)i) & 0xbfffbfffbfffbfffu;
    }
    COP_TRY(status, create(&resident, arch, NULL, dtype, backend, &bytes, err));
    assert(resident != NULL); // or the status says why not
    for (uint64_t at = 0; at < bytes; at += CHUNK_WORDS * sizeof *chunk) {
        const uint64_t left = bytes - at;
        const uint64_t most = CHUNK_WORDS * sizeof *chunk;
        COP_TRY(status, cop_backend_to_device(backend, NULL, (char *)resident->weights + at, chunk,
                                              left < most ? left : most, err));
    }
    *out = resident;
    resident = NULL;

done:
    cop_resident_destroy(resident);
    cop_free(chunk);
    return status;
}

void cop_resident_destroy(cop_resident *resident)
{
    if (resident != NULL) {
        cop_backend_free(resident->backend, resident->weights);
        cop_backend_free(resident->backend, resident->index_dev);
        cop_free(resident->arch);
        cop_free(resident->tensors);
        cop_free(resident->index);
        cop_free(resident);
    }
}

// --- What stays ---------------------------------------------------------------------------------

// Kept units of `width` adjacent positions each, out of `size` positions.
static cop_status list_units(cutting *cut, kept *out, const int32_t *units, int64_t count,
                             int64_t width, int64_t size, cop_error *err)
{
    cop_resident *resident = cut->resident;
    const int64_t offset = cut->index_used;
    bool is_run = true;

    if (count * width > resident->index_count - offset) {
        return COP_FAIL(err, COP_ERR_SHAPE,
                        "resident teacher: %lld units are kept (allowed: what the teacher has)",
                        (long long)count);
    }
    for (int64_t i = 0; i < count; i++) {
        // Unchecked on a device: an index outside would read foreign memory there.
        if (units[i] < 0 || units[i] >= size / width) {
            return COP_FAIL(err, COP_ERR_SHAPE,
                            "resident teacher: unit %d is kept (allowed: 0..%lld of this teacher)",
                            units[i], (long long)(size / width) - 1);
        }
        is_run = is_run && units[i] == units[0] + i;
        for (int64_t k = 0; k < width; k++) {
            resident->index[offset + i * width + k] = (int32_t)(units[i] * width + k);
        }
    }
    *out = (kept){.count = count * width, .first = units[0] * width, .offset = -1};
    if (!is_run) {
        out->first = 0;
        out->offset = offset;
        cut->index_used += count * width;
    }
    return COP_OK;
}

static cop_status list_layer(cutting *cut, int64_t layer, cop_error *err)
{
    cop_status status = COP_OK;
    const cop_selection *selection = cut->selection;
    const cop_arch *from = cut->resident->arch;
    const cop_layer_arch *to = &cop_selection_arch(selection)->layer[layer];
    const int64_t source = cop_selection_layer(selection, layer);
    const int64_t width = from->head_dim;

    if (source < 0 || source >= from->layers) {
        return COP_FAIL(err, COP_ERR_SHAPE,
                        "resident teacher: layer %lld is kept (allowed: 0..%lld)",
                        (long long)source, (long long)from->layers - 1);
    }
    const cop_layer_arch *has = &from->layer[source];
    COP_TRY(status, list_units(cut, &cut->query[layer], cop_selection_heads(selection, layer),
                               to->heads, width, has->heads * width, err));
    COP_TRY(status, list_units(cut, &cut->key[layer], cop_selection_kv_heads(selection, layer),
                               to->kv_heads, width, has->kv_heads * width, err));
    COP_TRY(status, list_units(cut, &cut->ffn[layer], cop_selection_ffn(selection, layer), to->ffn,
                               1, has->ffn, err));

done:
    return status;
}

static cop_status check_networks(const cutting *cut, const cop_network *network, cop_error *err)
{
    const cop_arch *from = cut->resident->arch;
    const cop_arch *to = cop_selection_arch(cut->selection);
    const cop_arch *has = cop_network_arch(network);
    const int64_t count = cop_arch_tensor_count(to);
    bool is_same = to->family == from->family && to->vocab == from->vocab &&
                   to->head_dim == from->head_dim && cop_arch_tensor_count(has) == count;

    for (int64_t i = 0; is_same && i < count; i++) {
        const cop_tensor_spec a = cop_arch_tensor(to, i);
        const cop_tensor_spec b = cop_arch_tensor(has, i);
        is_same = a.role == b.role && a.shape[0] == b.shape[0] && a.shape[1] == b.shape[1];
    }
    if (!is_same) {
        char found[COP_ARCH_TEXT_BYTES];
        char wanted[COP_ARCH_TEXT_BYTES];
        return COP_FAIL(err, COP_ERR_SHAPE,
                        "resident teacher: the network is %s (allowed: the selection's, %s, of "
                        "this teacher)",
                        cop_arch_text(found, has), cop_arch_text(wanted, to));
    }
    return COP_OK;
}

static kept along(const cutting *cut, cop_axis axis, int64_t layer, int64_t size)
{
    switch (axis) {
    case COP_AXIS_HIDDEN: return cut->hidden;
    case COP_AXIS_QUERY: return cut->query[layer];
    case COP_AXIS_KEY: return cut->key[layer];
    case COP_AXIS_FFN: return cut->ffn[layer];
    case COP_AXIS_NONE:
    case COP_AXIS_VOCAB: break;
    }
    return (kept){.count = size, .offset = -1};
}

// --- Cutting ------------------------------------------------------------------------------------

static cop_status cut_tensor(const cutting *cut, int64_t index, cop_network *network,
                             cop_error *err)
{
    const cop_resident *resident = cut->resident;
    const cop_tensor_spec to = cop_arch_tensor(cop_selection_arch(cut->selection), index);
    const int64_t layer = to.layer < 0 ? -1 : cop_selection_layer(cut->selection, to.layer);
    const int64_t source = cop_arch_find(resident->arch, to.role, layer);
    const kept one = {.count = 1, .offset = -1};

    if (source < 0) {
        return COP_FAIL(err, COP_ERR_SHAPE, "resident teacher: has no tensor for %s", to.name);
    }
    if (cop_slice_is_carried(cut->selection, &to)) {
        if (resident->teacher == NULL) {
            return COP_FAIL(err, COP_ERR_UNSUPPORTED,
                            "resident teacher: %s is carried over (allowed: with a checkpoint)",
                            to.name);
        }
        const cop_tensor_sink sink = cop_network_sink(network);
        return cop_slice_tensor(cut->selection, resident->teacher, index, sink, err);
    }
    const kept first = along(cut, to.axis[0], to.layer, to.shape[0]);
    const kept rows = to.rank == 1 ? one : first;
    const kept cols = to.rank == 1 ? first : along(cut, to.axis[1], to.layer, to.shape[1]);
    cop_gather_args args = {
        .x = resident->tensors[source],
        .row_index = rows.offset < 0 ? NULL : resident->index_dev + rows.offset,
        .col_index = cols.offset < 0 ? NULL : resident->index_dev + cols.offset,
    };
    // A run of units: the same without an index, from where it begins.
    const int64_t start = rows.first * args.x.stride + cols.first;
    args.x.data = (char *)args.x.data + (uint64_t)start * cop_dtype_bytes(args.x.dtype);
    args.x.rows -= rows.first;
    args.x.cols -= cols.first;
    return cop_network_gather(network, index, &args, err);
}

cop_status cop_resident_cut(cop_resident *resident, const cop_selection *selection,
                            cop_network *network, cop_error *err)
{
    cop_status status = COP_OK;
    const cop_arch *from = resident->arch;
    const cop_arch *to = cop_selection_arch(selection);
    const int64_t tensors = cop_arch_tensor_count(to);
    cutting *cut = cop_alloc(1, sizeof *cut);

    if (cut == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "resident teacher: out of memory");
    }
    cut->resident = resident;
    cut->selection = selection;
    COP_TRY(status, check_networks(cut, network, err));
    COP_TRY(status, list_units(cut, &cut->hidden, cop_selection_hidden(selection), to->hidden, 1,
                               from->hidden, err));
    for (int64_t layer = 0; layer < to->layers; layer++) {
        COP_TRY(status, list_layer(cut, layer, err));
    }
    if (cut->index_used > 0) {
        COP_TRY(status,
                cop_backend_to_device(resident->backend, NULL, resident->index_dev, resident->index,
                                      (uint64_t)cut->index_used * sizeof(int32_t), err));
    }
    for (int64_t index = 0; index < tensors; index++) {
        COP_TRY(status, cut_tensor(cut, index, network, err));
    }

done:
    cop_free(cut);
    return status;
}
