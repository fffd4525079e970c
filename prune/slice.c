// Every tensor is cut the same way: its specification says what each dimension runs over, and the
// selection has a list of kept units for that. No role is special but q, where carry-over may
// change values. A sink that takes rows gets a tensor in pieces, so that memory stays small whatever
// the size of the model.

#include "prune/slice.h"

#include <string.h>

#include "base/alloc.h"

// Kept positions of one dimension, in rising order.
typedef struct axis_list {
    int64_t *positions; // [count]
    int64_t *runs;      // [run_count] length of each run of adjacent positions
    int64_t count;
    int64_t run_count;
    int64_t capacity;
} axis_list;

typedef struct cut {
    const cop_selection *selection;
    const cop_checkpoint *teacher;
    axis_list rows;
    axis_list cols;
    void *data; // a piece of the cut tensor
    size_t data_bytes;
} cut;

// One tensor on both sides.
typedef struct tensor {
    cop_tensor_spec to;
    cop_tensor_spec from;
    int64_t from_index;
    const char *source; // [from.shape], mapped
    cop_dtype source_dtype;
    cop_dtype dtype; // of the cut: f32 with carry-over
    bool is_carried;
} tensor;

enum {
    PIECE_BYTES = 1 << 20, // of the cut, when the sink takes pieces: stays in the cache
    COPY_RUN_MIN = 16      // shorter runs are gathered: a call of memcpy costs more
};

// --- What stays ---------------------------------------------------------------------------------

static cop_status reserve(axis_list *list, int64_t capacity, cop_error *err)
{
    if (capacity > list->capacity) {
        cop_free(list->positions);
        *list = (axis_list){0};
        list->positions = cop_alloc(2 * (size_t)capacity, sizeof *list->positions);
        if (list->positions == NULL) {
            return COP_FAIL(err, COP_ERR_NOMEM, "slice: no memory for %lld positions",
                            (long long)capacity);
        }
        list->runs = list->positions + capacity;
        list->capacity = capacity;
    }
    list->count = 0;
    list->run_count = 0;
    return COP_OK;
}

// Kept units of an axis, `width` adjacent positions each; units = NULL keeps all.
static cop_status list_units(axis_list *list, const int32_t *units, int64_t count, int64_t width,
                             cop_error *err)
{
    const cop_status status = reserve(list, count * width, err);
    if (status != COP_OK) {
        return status;
    }
    for (int64_t i = 0; i < count * width; i++) {
        const int64_t unit = units == NULL ? i / width : units[i / width];
        const int64_t position = unit * width + i % width;
        if (i == 0 || position != list->positions[i - 1] + 1) {
            list->runs[list->run_count++] = 0;
        }
        list->runs[list->run_count - 1]++;
        list->positions[i] = position;
    }
    list->count = count * width;
    return COP_OK;
}

static cop_status list_axis(axis_list *list, const cop_selection *selection, cop_axis axis,
                            int64_t layer, int64_t size, cop_error *err)
{
    const cop_arch *arch = cop_selection_arch(selection);
    switch (axis) {
    case COP_AXIS_HIDDEN:
        return list_units(list, cop_selection_hidden(selection), arch->hidden, 1, err);
    case COP_AXIS_QUERY:
        return list_units(list, cop_selection_heads(selection, layer), arch->layer[layer].heads,
                          arch->head_dim, err);
    case COP_AXIS_KEY:
        return list_units(list, cop_selection_kv_heads(selection, layer),
                          arch->layer[layer].kv_heads, arch->head_dim, err);
    case COP_AXIS_FFN:
        return list_units(list, cop_selection_ffn(selection, layer), arch->layer[layer].ffn, 1,
                          err);
    case COP_AXIS_NONE:
    case COP_AXIS_VOCAB: break;
    }
    return list_units(list, NULL, size, 1, err);
}

// --- Copying ------------------------------------------------------------------------------------

// A memcpy of constant size is one load and one store, at any address.
static void gather2(char *to, const char *from, const int64_t *columns, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        memcpy(to + 2 * i, from + 2 * columns[i], 2);
    }
}

static void gather4(char *to, const char *from, const int64_t *columns, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        memcpy(to + 4 * i, from + 4 * columns[i], 4);
    }
}

static void copy_row(char *to, const char *from, const axis_list *cols, size_t element)
{
    if (cols->count / cols->run_count < COPY_RUN_MIN && (element == 2 || element == 4)) {
        (element == 2 ? gather2 : gather4)(to, from, cols->positions, cols->count);
        return;
    }
    int64_t at = 0;
    for (int64_t i = 0; i < cols->run_count; i++) {
        const size_t bytes = (size_t)cols->runs[i] * element;
        memcpy(to, from + (size_t)cols->positions[at] * element, bytes);
        to += bytes;
        at += cols->runs[i];
    }
}

static float element_at(const tensor *of, int64_t row, int64_t col)
{
    const size_t at = (size_t)(row * of->from.shape[1] + col) * cop_dtype_bytes(of->source_dtype);
    char aligned[sizeof(double)] = {0}; // the file may hold it at any address
    float value = 0.0f;
    memcpy(aligned, of->source + at, cop_dtype_bytes(of->source_dtype));
    cop_dtype_convert(&value, COP_F32, aligned, of->source_dtype, 1);
    return value;
}

// head <- head ± (head - partner) in f32: row `row` of the cut q matrix, or of its bias.
static void carry_row(const cut *into, const tensor *of, int64_t row, float *out)
{
    const int64_t head_dim = cop_selection_arch(into->selection)->head_dim;
    const int64_t partner = cop_selection_partners(into->selection, of->to.layer)[row / head_dim];
    const float sign =
        cop_selection_carry(into->selection) == COP_CARRY_KEPT_MINUS_PRUNED ? 1.0f : -1.0f;

    for (int64_t col = 0; col < into->cols.count; col++) {
        const int64_t from_col = into->cols.positions[col];
        const float kept = element_at(of, into->rows.positions[row], from_col);
        out[col] = kept;
        if (partner >= 0) {
            out[col] +=
                sign * (kept - element_at(of, partner * head_dim + row % head_dim, from_col));
        }
    }
}

static void copy_rows(const cut *into, const tensor *of, int64_t first, int64_t rows)
{
    const size_t row_bytes = (size_t)of->to.shape[1] * cop_dtype_bytes(of->dtype);
    const size_t element = cop_dtype_bytes(of->source_dtype);
    const size_t from_bytes = (size_t)of->from.shape[1] * element;
    char *out = into->data;

    for (int64_t i = 0; i < rows; i++) {
        char *to = out + (size_t)i * row_bytes;
        if (of->is_carried) {
            carry_row(into, of, first + i, (float *)(void *)to);
        } else {
            copy_row(to, of->source + (size_t)into->rows.positions[first + i] * from_bytes,
                     &into->cols, element);
        }
    }
}

static bool has_partners(const cop_selection *selection, int64_t layer)
{
    const int32_t *partners = cop_selection_partners(selection, layer);
    const int64_t heads = cop_selection_arch(selection)->layer[layer].heads;
    for (int64_t i = 0; partners != NULL && i < heads; i++) {
        if (partners[i] >= 0) {
            return true;
        }
    }
    return false;
}

bool cop_slice_is_carried(const cop_selection *selection, const cop_tensor_spec *to)
{
    return (to->role == COP_ROLE_Q || to->role == COP_ROLE_Q_BIAS) &&
           has_partners(selection, to->layer);
}

// Rows that lie side by side in the file and stay whole need no copy of ours: NULL otherwise, and where
// the file holds them at an address that others cannot read elements from.
static const void *as_stored(const cut *into, const tensor *of, int64_t first, int64_t rows)
{
    const int64_t *positions = into->rows.positions;
    const size_t element = cop_dtype_bytes(of->source_dtype);
    const char *start = of->source + (size_t)(positions[first] * of->from.shape[1]) * element;
    const bool is_whole = into->cols.count == of->from.shape[1];
    const bool is_adjacent = positions[first + rows - 1] - positions[first] == rows - 1;
    const bool is_aligned = (uintptr_t)start % element == 0;
    return !of->is_carried && is_whole && is_adjacent && is_aligned ? start : NULL;
}

// --- Tensors ------------------------------------------------------------------------------------

static cop_status reserve_data(cut *into, size_t bytes, const char *name, cop_error *err)
{
    if (bytes > into->data_bytes) {
        cop_free(into->data);
        into->data_bytes = 0;
        into->data = cop_alloc(bytes, 1);
        if (into->data == NULL) {
            return COP_FAIL(err, COP_ERR_NOMEM, "slice: %s: no memory for %zu bytes", name, bytes);
        }
        into->data_bytes = bytes;
    }
    return COP_OK;
}

static cop_status find_tensor(tensor *out, const cut *into, int64_t index, cop_error *err)
{
    const cop_arch *from_arch = cop_checkpoint_arch(into->teacher);
    out->to = cop_arch_tensor(cop_selection_arch(into->selection), index);
    const int64_t layer =
        out->to.layer < 0 ? -1 : cop_selection_layer(into->selection, out->to.layer);
    out->from_index = cop_arch_find(from_arch, out->to.role, layer);
    if (out->from_index < 0) {
        return COP_FAIL(err, COP_ERR_SHAPE, "%s: no tensor for %s of the target",
                        cop_checkpoint_path(into->teacher), out->to.name);
    }
    out->from = cop_arch_tensor(from_arch, out->from_index);
    out->source = cop_checkpoint_view(into->teacher, out->from_index, &out->source_dtype);
    out->is_carried = cop_slice_is_carried(into->selection, &out->to);
    out->dtype = out->is_carried ? COP_F32 : out->source_dtype;
    return COP_OK;
}

static cop_status put_piece(cut *into, int64_t index, const tensor *of, int64_t first, int64_t rows,
                            const cop_tensor_sink *sink, cop_error *err)
{
    cop_status status = COP_OK;
    const int64_t *positions = into->rows.positions;
    const size_t row_bytes = (size_t)of->to.shape[1] * cop_dtype_bytes(of->dtype);
    const uint64_t from_row_bytes = (uint64_t)of->from.shape[1] * cop_dtype_bytes(of->source_dtype);
    const uint64_t begin = (uint64_t)positions[first] * from_row_bytes;
    const uint64_t end = (uint64_t)(positions[first + rows - 1] + 1) * from_row_bytes;
    const void *data = as_stored(into, of, first, rows);

    if (data == NULL) {
        COP_TRY(status, reserve_data(into, (size_t)rows * row_bytes, of->to.name, err));
        copy_rows(into, of, first, rows);
        data = into->data;
    }
    COP_TRY(status, sink->put_rows == NULL
                        ? sink->put(sink->context, index, of->dtype, data, err)
                        : sink->put_rows(sink->context, index, of->dtype, first, rows, data, err));
    cop_checkpoint_forget(into->teacher, of->from_index, begin, end - begin);

done:
    return status;
}

static cop_status cut_tensor(cut *into, int64_t index, const cop_tensor_sink *sink, cop_error *err)
{
    cop_status status = COP_OK;
    tensor of = {0};
    int64_t step = 0;

    COP_TRY(status, find_tensor(&of, into, index, err));
    COP_TRY(status, list_axis(&into->rows, into->selection, of.to.axis[0], of.to.layer,
                              of.to.shape[0], err));
    COP_TRY(status, list_axis(&into->cols, into->selection, of.to.axis[1], of.to.layer,
                              of.to.shape[1], err));
    step = into->rows.count;
    if (sink->put_rows != NULL) {
        const size_t row_bytes = (size_t)of.to.shape[1] * cop_dtype_bytes(of.dtype);
        step = (int64_t)(PIECE_BYTES / row_bytes + 1);
    }
    for (int64_t first = 0; first < into->rows.count; first += step) {
        const int64_t left = into->rows.count - first;
        COP_TRY(status, put_piece(into, index, &of, first, left < step ? left : step, sink, err));
    }

done:
    return status;
}

static void release(cut *into)
{
    cop_free(into->data);
    cop_free(into->rows.positions);
    cop_free(into->cols.positions);
}

cop_status cop_slice_tensor(const cop_selection *selection, const cop_checkpoint *teacher,
                            int64_t index, cop_tensor_sink sink, cop_error *err)
{
    cut into = {.selection = selection, .teacher = teacher};
    const cop_status status = cut_tensor(&into, index, &sink, err);
    release(&into);
    return status;
}

cop_status cop_slice(const cop_selection *selection, const cop_checkpoint *teacher,
                     cop_tensor_sink sink, cop_error *err)
{
    cop_status status = COP_OK;
    cut into = {.selection = selection, .teacher = teacher};
    const int64_t tensors = cop_arch_tensor_count(cop_selection_arch(selection));

    for (int64_t index = 0; index < tensors; index++) {
        COP_TRY(status, cut_tensor(&into, index, &sink, err));
    }

done:
    release(&into);
    return status;
}
