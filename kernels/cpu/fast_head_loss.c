// LM head and loss, a chunk of tokens at a time: logits by one product per model, one row after
// the other through the softmax statistics, then the gradient of the logits in place of them.

#include <math.h>

#include "kernels/cpu/fast_math.h"
#include "kernels/cpu/fast_row.h"
#include "kernels/cpu/matmul.h"

typedef struct extremum {
    float value;
    int64_t at; // lowest index
} extremum;

static extremum largest(const float *x, int64_t count)
{
    extremum best = {.value = -INFINITY, .at = 0};
    int64_t chunk = 0;
    for (int64_t c = 0; c < count; c += COP_FAST_CHUNK) {
        const int64_t n = cop_fast_min(COP_FAST_CHUNK, count - c);
        float top = x[c];
#pragma omp simd reduction(max : top)
        for (int64_t i = 0; i < n; i++) {
            top = x[c + i] > top ? x[c + i] : top;
        }
        if (top > best.value) {
            best.value = top;
            chunk = c;
        }
    }
    for (best.at = chunk; best.at < count - 1 && x[best.at] != best.value;) {
        best.at++;
    }
    return best;
}

static double exp_sum(const float *x, float max, float inverse, int64_t count)
{
    double sum = 0.0;
    for (int64_t c = 0; c < count; c += COP_FAST_CHUNK) {
        const int64_t n = cop_fast_min(COP_FAST_CHUNK, count - c);
        float part = 0.0F;
#pragma omp simd reduction(+ : part)
        for (int64_t i = 0; i < n; i++) {
            part += cop_fast_exp((x[c + i] - max) * inverse);
        }
        sum += (double)part;
    }
    return sum;
}

// What the softmaxes of one row need. Sums are of exp(logit - max), divided by τ first in the
// forms `_tau`.
typedef struct row_state {
    extremum z_max;
    extremum u_max;
    double z_sum;
    double z_sum_tau;
    double u_sum;
    double u_sum_tau;
    double divergence; // Σ w ((u - u_max) - (z - z_max)) / τ with w the weights of u_sum_tau
} row_state;

// Both models in one pass.
static void pair_sums(row_state *state, const float *z, const float *u, float inverse,
                      int64_t count)
{
    const float z_max = state->z_max.value;
    const float u_max = state->u_max.value;
    for (int64_t c = 0; c < count; c += COP_FAST_CHUNK) {
        const int64_t n = cop_fast_min(COP_FAST_CHUNK, count - c);
        float z_part = 0.0F;
        float u_part = 0.0F;
        float difference = 0.0F;
#pragma omp simd reduction(+ : z_part, u_part, difference)
        for (int64_t i = 0; i < n; i++) {
            const float z_log = (z[c + i] - z_max) * inverse;
            const float u_log = (u[c + i] - u_max) * inverse;
            const float w = cop_fast_exp(u_log);
            z_part += cop_fast_exp(z_log);
            u_part += w;
            difference += w * (u_log - z_log);
        }
        state->z_sum_tau += (double)z_part;
        state->u_sum_tau += (double)u_part;
        state->divergence += (double)difference;
    }
}

static row_state measure(const cop_head_loss_args *args, const float *z, const float *u)
{
    const int64_t vocab = args->head.rows;
    const float inverse = 1.0F / args->temperature;
    const bool is_plain = args->temperature == 1.0F;
    row_state state = {.z_max = largest(z, vocab)};
    if (u != NULL) {
        state.u_max = largest(u, vocab);
        pair_sums(&state, z, u, inverse, vocab);
    }
    if (args->targets != NULL || args->sample_ids != NULL) {
        const bool is_known = u != NULL && is_plain;
        state.z_sum = is_known ? state.z_sum_tau : exp_sum(z, state.z_max.value, 1.0F, vocab);
        if (u != NULL && cop_fast_is_present(args->teacher_cross_entropy)) {
            state.u_sum = is_known ? state.u_sum_tau : exp_sum(u, state.u_max.value, 1.0F, vocab);
        }
    }
    return state;
}

// Σ w (lse - z) over the row's sample, less the entropy.
static double sampled_kl(const cop_head_loss_args *args, int64_t r, const row_state *state,
                         const float *z)
{
    const int64_t samples = args->sample_weights.cols;
    const int32_t *ids = args->sample_ids + r * samples;
    const float *weights = (const float *)args->sample_weights.data + r * samples;
    const double lse = log(state->z_sum) + (double)state->z_max.value;
    double sum = cop_fast_is_present(args->sample_entropy)
                     ? -(double)((const float *)args->sample_entropy.data)[r]
                     : 0.0;
    for (int64_t k = 0; k < samples; k++) {
        sum += ids[k] >= 0 ? (double)weights[k] * (lse - (double)z[ids[k]]) : 0.0;
    }
    return sum;
}

static void put_losses(const cop_head_loss_args *args, int64_t r, const row_state *state,
                       const float *z, const float *u)
{
    const int64_t target = args->targets != NULL ? args->targets[r] : -1;
    if (cop_fast_is_present(args->cross_entropy)) {
        const double ce =
            target >= 0 ? log(state->z_sum) + (double)state->z_max.value - (double)z[target] : 0.0;
        ((float *)args->cross_entropy.data)[r] = (float)ce;
    }
    if (u != NULL && cop_fast_is_present(args->teacher_cross_entropy)) {
        const double ce =
            target >= 0 ? log(state->u_sum) + (double)state->u_max.value - (double)u[target] : 0.0;
        ((float *)args->teacher_cross_entropy.data)[r] = (float)ce;
    }
    if (cop_fast_is_present(args->kl)) {
        double kl = 0.0;
        if (u != NULL) {
            kl = state->divergence / state->u_sum_tau - log(state->u_sum_tau) +
                 log(state->z_sum_tau);
            kl = kl < 0.0 ? 0.0 : kl;
        } else {
            kl = sampled_kl(args, r, state, z);
        }
        ((float *)args->kl.data)[r] = (float)kl;
    }
    if (cop_fast_is_present(args->agree)) {
        const int64_t wanted = u != NULL ? state->u_max.at : target;
        ((float *)args->agree.data)[r] = state->z_max.at == wanted ? 1.0F : 0.0F;
    }
}

// Takes the weights of the row's sample off d, which holds columns [first, first + n) of the
// gradient.
static void subtract_sample(const cop_head_loss_args *args, int64_t r, float *d, int64_t first,
                            int64_t n)
{
    const int64_t samples = args->sample_weights.cols;
    const int32_t *ids = args->sample_ids + r * samples;
    const float *weights = (const float *)args->sample_weights.data + r * samples;
    const float kl = args->kl_weight * args->grad_scale;
    for (int64_t k = 0; k < samples; k++) {
        if (ids[k] >= first && ids[k] < first + n) {
            d[ids[k] - first] -= kl * weights[k];
        }
    }
}

// Row `row` of the logits' gradient takes the place of z: in f32, or in bf16 at the front of it.
static void put_gradient(const cop_head_loss_args *args, int64_t r, const row_state *state,
                         const float *z, const float *u, cop_matrix d_logits, int64_t row)
{
    const int64_t vocab = args->head.rows;
    const int64_t target = args->targets != NULL ? args->targets[r] : -1;
    const float tau = args->temperature;
    const float inverse = 1.0F / tau;
    const float ce = target >= 0 ? args->ce_weight * args->grad_scale : 0.0F;
    const float kl = u != NULL ? args->kl_weight * args->grad_scale * tau : 0.0F;
    const float z_max = state->z_max.value;
    const float u_max = state->u_max.value;
    const bool has_sample = args->sample_ids != NULL && args->kl_weight != 0.0F;
    const float sampled = has_sample ? args->kl_weight * args->grad_scale : 0.0F;
    const float z_ce =
        target >= 0 || has_sample ? (float)(((double)ce + (double)sampled) / state->z_sum) : 0.0F;
    const float z_kl = u != NULL ? (float)((double)kl / state->z_sum_tau) : 0.0F;
    const float u_kl = u != NULL ? (float)((double)kl / state->u_sum_tau) : 0.0F;
    for (int64_t c = 0; c < vocab; c += COP_FAST_CHUNK) {
        float d[COP_FAST_CHUNK];
        const int64_t n = cop_fast_min(COP_FAST_CHUNK, vocab - c);
        if (u == NULL || kl == 0.0F) {
#pragma omp simd
            for (int64_t i = 0; i < n; i++) {
                d[i] = z_ce * cop_fast_exp(z[c + i] - z_max);
            }
        } else if (tau == 1.0F || ce == 0.0F) {
            const float z_both = z_ce + z_kl;
#pragma omp simd
            for (int64_t i = 0; i < n; i++) {
                d[i] = z_both * cop_fast_exp((z[c + i] - z_max) * inverse) -
                       u_kl * cop_fast_exp((u[c + i] - u_max) * inverse);
            }
        } else {
#pragma omp simd
            for (int64_t i = 0; i < n; i++) {
                d[i] = z_ce * cop_fast_exp(z[c + i] - z_max) +
                       z_kl * cop_fast_exp((z[c + i] - z_max) * inverse) -
                       u_kl * cop_fast_exp((u[c + i] - u_max) * inverse);
            }
        }
        if (target >= c && target < c + n) {
            d[target - c] -= ce;
        }
        if (has_sample) {
            subtract_sample(args, r, d, c, n);
        }
        cop_row_store(d_logits, row, c, n, d);
    }
}

// Scratch of a chunk of `rows` tokens.
typedef struct head_area {
    float *z;        // [rows, V]
    float *u;        // [rows, V]; NULL without teacher
    float *d_hidden; // [rows, C]; for a d_hidden that the product cannot write
    float *d_head;   // [wide, C]; for a d_head that the product cannot write
    int64_t wide;    // rows; 0: it can
    void *matmul;
} head_area;

// Logits of tokens [first, first + rows).
static cop_status logits_of(float *out, cop_matrix hidden, cop_matrix head, int64_t first,
                            int64_t rows, void *scratch, cop_error *err)
{
    const cop_matmul_args matmul = {
        .a = cop_matrix_part(hidden, first, rows, 0, hidden.cols),
        .b = head,
        .c = cop_matrix_dense(out, COP_F32, rows, head.rows),
        .transpose_b = true,
        .alpha = 1.0F,
        .scratch = scratch,
    };
    return cop_matmul_run(&matmul, err);
}

static cop_status put_d_hidden(const cop_head_loss_args *args, const head_area *area,
                               cop_matrix d_logits, int64_t first, cop_error *err)
{
    const int64_t rows = d_logits.rows;
    const int64_t cols = args->hidden.cols;
    const cop_matrix d_hidden = cop_matrix_part(args->d_hidden, first, rows, 0, cols);
    const bool is_direct = d_hidden.dtype == COP_F32 || d_hidden.dtype == d_logits.dtype;
    const cop_matmul_args matmul = {
        .a = d_logits,
        .b = args->head,
        .c = is_direct ? d_hidden : cop_matrix_dense(area->d_hidden, COP_F32, rows, cols),
        .alpha = 1.0F,
        .scratch = area->matmul,
    };
    const cop_status status = cop_matmul_run(&matmul, err);
    if (status == COP_OK && !is_direct) {
        const cop_convert_args convert = {.x = matmul.c, .y = d_hidden};
        COP_FAST(convert)(&convert);
    }
    return status;
}

// d_head += d_logitsᵀ hidden over tokens [first, first + rows).
static cop_status add_d_head(const cop_head_loss_args *args, const head_area *area,
                             cop_matrix d_logits, int64_t first, cop_error *err)
{
    const int64_t vocab = args->head.rows;
    const int64_t cols = args->hidden.cols;
    const int64_t step = area->wide > 0 ? area->wide : vocab;
    cop_status status = COP_OK;
    for (int64_t from = 0; from < vocab && status == COP_OK; from += step) {
        const int64_t count = cop_fast_min(step, vocab - from);
        const cop_matrix part = cop_matrix_part(args->d_head, from, count, 0, cols);
        const cop_matmul_args matmul = {
            .a = cop_matrix_part(d_logits, 0, d_logits.rows, from, count),
            .b = cop_matrix_part(args->hidden, first, d_logits.rows, 0, cols),
            .c = area->wide > 0 ? cop_matrix_dense(area->d_head, COP_F32, count, cols) : part,
            .transpose_a = true,
            .alpha = 1.0F,
            .beta = area->wide > 0 ? 0.0F : 1.0F,
            .scratch = area->matmul,
        };
        status = cop_matmul_run(&matmul, err);
        if (status == COP_OK && area->wide > 0) {
            const cop_add_args add = {.x = matmul.c, .y = part, .alpha = 1.0F, .beta = 1.0F};
            COP_FAST(add)(&add);
        }
    }
    return status;
}

static cop_status head_chunk(const cop_head_loss_args *args, const head_area *area, int64_t first,
                             int64_t rows, cop_error *err)
{
    cop_status status = COP_OK;
    const int64_t vocab = args->head.rows;
    const bool has_gradient = cop_fast_is_present(args->d_hidden);
    cop_matrix d_logits = cop_matrix_dense(area->z, COP_F32, rows, vocab);
    if (args->hidden.dtype == COP_BF16) {
        d_logits.dtype = COP_BF16;
        d_logits.stride = 2 * vocab;
    }
    COP_TRY(status, logits_of(area->z, args->hidden, args->head, first, rows, area->matmul, err));
    if (area->u != NULL) {
        COP_TRY(status, logits_of(area->u, args->teacher_hidden, args->teacher_head, first, rows,
                                  area->matmul, err));
    }
#pragma omp parallel for schedule(static) if (rows * vocab > COP_FAST_PARALLEL_MIN)
    for (int64_t row = 0; row < rows; row++) {
        const float *z = area->z + row * vocab;
        const float *u = area->u != NULL ? area->u + row * vocab : NULL;
        const row_state state = measure(args, z, u);
        put_losses(args, first + row, &state, z, u);
        if (has_gradient) {
            put_gradient(args, first + row, &state, z, u, d_logits, row);
        }
    }
    if (has_gradient) {
        COP_TRY(status, put_d_hidden(args, area, d_logits, first, err));
    }
    if (cop_fast_is_present(args->d_head)) {
        COP_TRY(status, add_d_head(args, area, d_logits, first, err));
    }

done:
    return status;
}

cop_status COP_FAST(head_loss)(const cop_head_loss_args *args, cop_error *err)
{
    cop_status status = COP_OK;
    const int64_t n = args->hidden.rows;
    const int64_t vocab = args->head.rows;
    const bool has_teacher = cop_fast_is_present(args->teacher_hidden);
    const int64_t chunk = cop_fast_head_chunk(args, has_teacher);
    const uint64_t logits_bytes = cop_fast_f32_bytes(chunk, vocab);
    char *scratch = args->scratch;
    head_area area = {.z = (float *)(void *)scratch};
    scratch += logits_bytes;
    if (has_teacher) {
        area.u = (float *)(void *)scratch;
        scratch += logits_bytes;
    }
    area.d_hidden = (float *)(void *)scratch;
    scratch += cop_fast_f32_bytes(chunk, args->hidden.cols);
    area.wide = cop_fast_head_wide(args);
    area.d_head = (float *)(void *)scratch;
    area.matmul = scratch + cop_fast_f32_bytes(area.wide, args->hidden.cols);
    for (int64_t first = 0; first < n && status == COP_OK; first += chunk) {
        status = head_chunk(args, &area, first, cop_fast_min(chunk, n - first), err);
    }
    return status;
}
