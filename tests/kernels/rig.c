#include "tests/kernels/rig.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/dtype.h"
#include "kernels/check.h"

enum { CANARY_BYTES = 256, CANARY = 0xA5 };

void rig_init(rig *self, cop_op op, cop_dtype wide, unsigned types, int64_t padding)
{
    *self =
        (rig){.op = op, .wide = wide, .types = types, .padding = padding, .state = 88172645463U};
    self->memory = cop_alloc(RIG_BYTES, 1);
    assert_non_null(self->memory);
    // bf16 has 8 bits of mantissa: inputs are rounded alike, outputs and intermediates once each.
    self->tolerance = types != 0 ? 2e-2 : 2e-5;
}

void rig_release(rig *self)
{
    cop_free(self->memory);
    cop_free(self->start);
    cop_free(self->expected);
    *self = (rig){0};
}

double rig_uniform(rig *self)
{
    self->state ^= self->state << 13;
    self->state ^= self->state >> 7;
    self->state ^= self->state << 17;
    return (double)(self->state >> 11) / 9007199254740992.0;
}

static void *take(rig *self, size_t bytes)
{
    void *part = self->memory + self->used;
    self->used += (bytes + 63) / 64 * 64;
    assert_true(self->used <= RIG_BYTES);
    return part;
}

double rig_get(cop_matrix m, int64_t r, int64_t c)
{
    double value = 0.0;
    const size_t bytes = cop_dtype_bytes(m.dtype);
    cop_dtype_convert(&value, COP_F64, (char *)m.data + (size_t)(r * m.stride + c) * bytes, m.dtype,
                      1);
    return value;
}

void rig_put(cop_matrix m, int64_t r, int64_t c, double value)
{
    const size_t bytes = cop_dtype_bytes(m.dtype);
    cop_dtype_convert((char *)m.data + (size_t)(r * m.stride + c) * bytes, m.dtype, &value, COP_F64,
                      1);
}

cop_matrix rig_matrix(rig *self, cop_dtype dtype, int64_t rows, int64_t cols, rig_fill fill)
{
    cop_matrix m = {.dtype = dtype, .rows = rows, .cols = cols, .stride = cols + self->padding};
    const size_t bytes = cop_dtype_bytes(dtype);
    m.data = (char *)take(self, (size_t)(self->shift + rows * m.stride) * bytes + 1) +
             (size_t)self->shift * bytes;
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t c = 0; c < m.stride; c++) {
            double value = rig_uniform(self) + 0.5;
            if (fill != RIG_POSITIVE) {
                value = (rig_uniform(self) + rig_uniform(self) + value - 2.0) * 2.0;
            }
            rig_put(m, r, c, fill == RIG_SMALL ? 0.1 * value : value);
        }
    }
    return m;
}

cop_matrix rig_activation(rig *self, int64_t rows, int64_t cols, rig_fill fill)
{
    const bool is_half = ((self->types >> (self->activations++ % 32)) & 1U) != 0;
    return rig_matrix(self, is_half ? COP_BF16 : self->wide, rows, cols, fill);
}

cop_matrix rig_parameter(rig *self, int64_t rows, int64_t cols, rig_fill fill)
{
    return rig_matrix(self, self->wide, rows, cols, fill);
}

int32_t *rig_ids(rig *self, int64_t count, int64_t least, int64_t limit)
{
    int32_t *ids = take(self, (size_t)count * sizeof *ids + 1);
    for (int64_t i = 0; i < count; i++) {
        ids[i] = (int32_t)(least + (int64_t)(rig_uniform(self) * (double)(limit - least)));
    }
    return ids;
}

double *rig_doubles(rig *self, int64_t count)
{
    double *values = take(self, (size_t)count * sizeof *values + 1);
    for (int64_t i = 0; i < count; i++) {
        values[i] = rig_uniform(self);
    }
    return values;
}

void rig_output_matrix(rig *self, const char *name, cop_matrix matrix)
{
    assert_true(self->output_count < RIG_OUTPUTS_MAX);
    self->outputs[self->output_count++] = (rig_output){.name = name, .matrix = matrix};
}

void rig_output_doubles(rig *self, const char *name, double *values, int64_t count)
{
    rig_output_matrix(self, name, cop_matrix_dense(values, COP_F64, 1, count));
}

void rig_output_free(rig *self, const char *name, cop_matrix matrix)
{
    rig_output_matrix(self, name, matrix);
    self->outputs[self->output_count - 1].is_free = true;
}

static void **scratch_of(rig *self)
{
    switch (self->op) {
    case COP_OP_MATMUL: return &self->args.matmul.scratch;
    case COP_OP_NORM_BACKWARD: return &self->args.norm_backward.scratch;
    case COP_OP_ATTENTION_FORWARD: return &self->args.attention_forward.scratch;
    case COP_OP_ATTENTION_BACKWARD: return &self->args.attention_backward.scratch;
    case COP_OP_EMBEDDING_BACKWARD: return &self->args.embedding_backward.scratch;
    case COP_OP_COLUMN_SUM: return &self->args.column_sum.scratch;
    case COP_OP_HEAD_LOSS: return &self->args.head_loss.scratch;
    case COP_OP_SUM_SQUARES: return &self->args.sum_squares.scratch;
    case COP_OP_ROW_COSINE: return &self->args.row_cosine.scratch;
    case COP_OP_SAMPLE_TARGETS: return &self->args.sample_targets.scratch;
    case COP_OP_NORM_FORWARD:
    case COP_OP_ROPE:
    case COP_OP_ACTIVATION_FORWARD:
    case COP_OP_ACTIVATION_BACKWARD:
    case COP_OP_EMBEDDING_FORWARD:
    case COP_OP_BIAS_ADD:
    case COP_OP_ADD:
    case COP_OP_CONVERT:
    case COP_OP_GATHER:
    case COP_OP_STATE_LOSS:
    case COP_OP_ADAMW:
    case COP_OP_SEQUENCE_MOMENTS:
    case COP_OP_COUNT: break;
    }
    return NULL;
}

static cop_status call(cop_backend *backend, cop_op op, const rig_args *args, cop_error *err)
{
    const cop_ops *ops = backend->ops;
    switch (op) {
    case COP_OP_MATMUL: return ops->matmul(backend, NULL, &args->matmul, err);
    case COP_OP_NORM_FORWARD: return ops->norm_forward(backend, NULL, &args->norm_forward, err);
    case COP_OP_NORM_BACKWARD: return ops->norm_backward(backend, NULL, &args->norm_backward, err);
    case COP_OP_ROPE: return ops->rope(backend, NULL, &args->rope, err);
    case COP_OP_ATTENTION_FORWARD:
        return ops->attention_forward(backend, NULL, &args->attention_forward, err);
    case COP_OP_ATTENTION_BACKWARD:
        return ops->attention_backward(backend, NULL, &args->attention_backward, err);
    case COP_OP_ACTIVATION_FORWARD:
        return ops->activation_forward(backend, NULL, &args->activation_forward, err);
    case COP_OP_ACTIVATION_BACKWARD:
        return ops->activation_backward(backend, NULL, &args->activation_backward, err);
    case COP_OP_EMBEDDING_FORWARD:
        return ops->embedding_forward(backend, NULL, &args->embedding_forward, err);
    case COP_OP_EMBEDDING_BACKWARD:
        return ops->embedding_backward(backend, NULL, &args->embedding_backward, err);
    case COP_OP_BIAS_ADD: return ops->bias_add(backend, NULL, &args->bias_add, err);
    case COP_OP_COLUMN_SUM: return ops->column_sum(backend, NULL, &args->column_sum, err);
    case COP_OP_ADD: return ops->add(backend, NULL, &args->add, err);
    case COP_OP_CONVERT: return ops->convert(backend, NULL, &args->convert, err);
    case COP_OP_GATHER: return ops->gather(backend, NULL, &args->gather, err);
    case COP_OP_HEAD_LOSS: return ops->head_loss(backend, NULL, &args->head_loss, err);
    case COP_OP_STATE_LOSS: return ops->state_loss(backend, NULL, &args->state_loss, err);
    case COP_OP_SUM_SQUARES: return ops->sum_squares(backend, NULL, &args->sum_squares, err);
    case COP_OP_ADAMW: return ops->adamw(backend, NULL, &args->adamw, err);
    case COP_OP_SEQUENCE_MOMENTS:
        return ops->sequence_moments(backend, NULL, &args->sequence_moments, err);
    case COP_OP_ROW_COSINE: return ops->row_cosine(backend, NULL, &args->row_cosine, err);
    case COP_OP_SAMPLE_TARGETS:
        return ops->sample_targets(backend, NULL, &args->sample_targets, err);
    case COP_OP_COUNT: break;
    }
    fail_msg("no operator %d", (int)op);
    return COP_ERR_UNSUPPORTED;
}

static void check_canary(const rig *self, const unsigned char *behind, size_t bytes)
{
    for (size_t i = 0; i < CANARY_BYTES; i++) {
        if (behind[i] != CANARY) {
            fail_msg("%s: wrote %zu bytes behind its scratch of %zu", cop_op_name(self->op), i + 1,
                     bytes);
        }
    }
}

// The operands on the device: every word of the arguments that points into the rig's memory points
// to the same place of the copy.
static rig_args rebase(const rig *self, char *memory)
{
    rig_args args = self->args;
    const uintptr_t from = (uintptr_t)self->memory;
    for (size_t at = 0; at + sizeof(uintptr_t) <= sizeof args; at += sizeof(uintptr_t)) {
        uintptr_t word;
        memcpy(&word, (const char *)&args + at, sizeof word);
        if (self->memory != NULL && word >= from && word <= from + self->used) {
            word = (uintptr_t)memory + (word - from);
            memcpy((char *)&args + at, &word, sizeof word);
        }
    }
    return args;
}

static void *to_device(cop_backend *backend, const void *from, size_t bytes, const char *name)
{
    void *memory = NULL;
    cop_error err = {0};
    if (cop_backend_alloc(backend, &memory, bytes, name, &err) != COP_OK ||
        cop_backend_to_device(backend, NULL, memory, from, bytes, &err) != COP_OK) {
        fail_msg("%s", err.message);
    }
    return memory;
}

static void to_host(cop_backend *backend, void *to, const void *from, size_t bytes)
{
    cop_error err = {0};
    if (cop_backend_to_host(backend, NULL, to, from, bytes, &err) != COP_OK ||
        cop_backend_synchronize(backend, NULL, &err) != COP_OK) {
        fail_msg("%s", err.message);
    }
}

// `scratch` [bytes + CANARY_BYTES] holds what the device's starts with, and then ends with.
static cop_status try_on_device(rig *self, cop_backend *backend, unsigned char *scratch,
                                size_t bytes, cop_error *err)
{
    char *memory = to_device(backend, self->memory, self->used, "operands");
    unsigned char *area = to_device(backend, scratch, bytes + CANARY_BYTES, "scratch");
    const rig_args here = self->args;
    void **field = scratch_of(self);
    if (field != NULL) {
        *field = area;
    }
    const rig_args there = rebase(self, memory);
    self->args = here;
    const cop_status status = call(backend, self->op, &there, err);
    to_host(backend, self->memory, memory, self->used);
    to_host(backend, scratch + bytes, area + bytes, CANARY_BYTES);
    cop_backend_free(backend, memory);
    cop_backend_free(backend, area);
    return status;
}

cop_status rig_try(rig *self, cop_backend *backend, cop_error *err)
{
    const size_t bytes = (size_t)backend->ops->scratch_bytes(backend, self->op, &self->args);
    const bool is_host = strcmp(backend->type->name, "host") == 0; // asking info() is slow
    unsigned char *scratch = cop_alloc(bytes + CANARY_BYTES, 1);
    cop_status status = COP_OK;
    assert_non_null(scratch);
    memset(scratch, 0xFF, bytes); // NaN: what is read before it is written shows
    memset(scratch + bytes, CANARY, CANARY_BYTES);
    void **field = scratch_of(self);
    if (field == NULL) {
        assert_int_equal(bytes, 0);
    }
    if (is_host) {
        if (field != NULL) {
            *field = scratch;
        }
        status = call(backend, self->op, &self->args, err);
    } else {
        status = try_on_device(self, backend, scratch, bytes, err);
    }
    check_canary(self, scratch + bytes, bytes);
    cop_free(scratch);
    return status;
}

void rig_run(rig *self, cop_backend *backend)
{
    cop_error err = {0};
    assert_true(backend->ops->supports(backend, self->op, &self->args));
    if (rig_try(self, backend, &err) != COP_OK) {
        fail_msg("%s", err.message);
    }
}

static void compare_output(const rig *self, const rig_output *output, char *expected,
                           const char *what)
{
    cop_matrix wanted = output->matrix;
    wanted.data = expected + ((char *)output->matrix.data - self->memory);
    double largest = 0.0;
    for (int64_t r = 0; r < wanted.rows; r++) {
        for (int64_t c = 0; c < wanted.cols; c++) {
            largest = fmax(largest, fabs(rig_get(wanted, r, c)));
        }
    }
    // The second term: sums that cancel to an exact 0 leave rounding of operands near 1.
    const double allowed = self->tolerance * largest + 1e-6;
    for (int64_t r = 0; r < wanted.rows; r++) {
        for (int64_t c = 0; c < wanted.cols; c++) {
            const double want = rig_get(wanted, r, c);
            const double got = rig_get(output->matrix, r, c);
            if (!(fabs(want - got) <= allowed)) {
                fail_msg("%s, %s: %s[%lld, %lld] is %.9g, the reference says %.9g (allowed error "
                         "%.3g)",
                         cop_op_name(self->op), what, output->name, (long long)r, (long long)c, got,
                         want, allowed);
            }
        }
    }
}

static bool is_output(const rig *self, size_t offset)
{
    for (int i = 0; i < self->output_count; i++) {
        const cop_matrix m = self->outputs[i].matrix;
        const size_t start = (size_t)((char *)m.data - self->memory);
        const size_t bytes = cop_dtype_bytes(m.dtype);
        if (m.rows == 0 || offset < start) {
            continue;
        }
        const size_t element = (offset - start) / bytes;
        if (element / (size_t)m.stride < (size_t)m.rows &&
            element % (size_t)m.stride < (size_t)m.cols) {
            return true;
        }
    }
    return false;
}

void rig_expect(rig *self, cop_backend *reference)
{
    self->start = cop_alloc(self->used + 1, 1);
    self->expected = cop_alloc(self->used + 1, 1);
    assert_non_null(self->start);
    assert_non_null(self->expected);
    memcpy(self->start, self->memory, self->used);
    rig_run(self, reference);
    memcpy(self->expected, self->memory, self->used);
    memcpy(self->memory, self->start, self->used);
}

void rig_check(rig *self, cop_backend *other, const char *what)
{
    rig_run(self, other);
    for (int i = 0; i < self->output_count; i++) {
        if (!self->outputs[i].is_free) {
            compare_output(self, &self->outputs[i], self->expected, what);
        }
    }
    // Neither inputs nor the gaps between rows may change.
    for (size_t i = 0; i < self->used; i++) {
        if (self->memory[i] != self->start[i] && !is_output(self, i)) {
            fail_msg("%s, %s: wrote to an input or between rows, byte %zu", cop_op_name(self->op),
                     what, i);
        }
    }
    memcpy(self->memory, self->start, self->used);
}

int rig_threads(void)
{
#if defined(__SANITIZE_THREAD__)
    return 1;
#elif defined(__has_feature)
#    if __has_feature(thread_sanitizer)
    return 1;
#    else
    return 2;
#    endif
#else
    return 2;
#endif
}

cop_backend *rig_backend(const char *name)
{
    cop_backend *backend = NULL;
    cop_error err = {0};
    if (cop_backend_create(&backend, name, &err) != COP_OK) {
        fail_msg("%s", err.message);
    }
    return backend;
}
