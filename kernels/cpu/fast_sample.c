// Draws from a teacher's distribution, a chunk of tokens at a time: logits by one product, then row
// after row the weights exp(u - max) in place of them with their sums per piece of COP_FAST_CHUNK, so
// that a draw walks through one piece alone.

#include <math.h>

#include "kernels/cpu/fast_math.h"
#include "kernels/cpu/fast_row.h"
#include "kernels/cpu/matmul.h"
#include "kernels/random.h"

// Replaces the logits of a row by their weights. pieces[i] becomes the sum of the weights up to the
// end of piece i. Returns the entropy.
static double weigh(float *u, double *pieces, int64_t vocab)
{
    float max = -INFINITY;
#pragma omp simd reduction(max : max)
    for (int64_t v = 0; v < vocab; v++) {
        max = u[v] > max ? u[v] : max;
    }
    double total = 0.0;
    double cross = 0.0; // Σ w log w
    for (int64_t c = 0; c < vocab; c += COP_FAST_CHUNK) {
        const int64_t n = cop_fast_min(COP_FAST_CHUNK, vocab - c);
        float sum = 0.0F;
        float logs = 0.0F;
#pragma omp simd reduction(+ : sum, logs)
        for (int64_t i = 0; i < n; i++) {
            const float log_w = u[c + i] - max;
            const float w = cop_fast_exp(log_w);
            sum += w;
            logs += w * log_w;
            u[c + i] = w;
        }
        total += (double)sum;
        cross += (double)logs;
        pieces[c / COP_FAST_CHUNK] = total;
    }
    const double entropy = log(total) - cross / total;
    return entropy < 0.0 ? 0.0 : entropy;
}

// The first id whose cumulated weight is above `wanted`.
static int64_t find(const float *w, const double *pieces, int64_t vocab, double wanted)
{
    int64_t low = 0;
    int64_t high = (vocab + COP_FAST_CHUNK - 1) / COP_FAST_CHUNK - 1;
    while (low < high) {
        const int64_t middle = (low + high) / 2;
        if (pieces[middle] > wanted) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    const int64_t from = low * COP_FAST_CHUNK;
    const int64_t end = from + cop_fast_min(COP_FAST_CHUNK, vocab - from);
    double sum = low > 0 ? pieces[low - 1] : 0.0;
    int64_t found = from;
    for (int64_t v = from; v < end; v++) {
        sum += (double)w[v];
        found = w[v] > 0.0F ? v : found;
        if (sum > wanted) {
            break;
        }
    }
    return found; // rounding may leave the piece's sum at `wanted`: then its last id with a weight
}

static void draw_row(const cop_sample_targets_args *args, int64_t r, float *u, double *pieces)
{
    const int64_t vocab = args->head.rows;
    const int64_t draws = args->draws;
    int32_t *ids = args->ids + r * draws;
    float *weights = (float *)args->weights.data + r * draws;
    const uint64_t key = cop_random_key(args->seed, (uint64_t)(args->first_row + r));
    int64_t used = 0;
    ((float *)args->entropy.data)[r] = (float)weigh(u, pieces, vocab);
    const double total = pieces[(vocab - 1) / COP_FAST_CHUNK];
    for (int64_t k = 0; k < draws; k++) {
        const double uniform = (double)cop_random_uniform(cop_random_bits(key, (uint64_t)k));
        const int32_t id = (int32_t)find(u, pieces, vocab, uniform * total);
        int64_t at = 0;
        while (at < used && ids[at] != id) {
            at++;
        }
        ids[at] = id;
        weights[at] = at < used ? weights[at] + 1.0F : 1.0F; // counts, exact
        used += at == used ? 1 : 0;
    }
    for (int64_t k = 0; k < draws; k++) {
        ids[k] = k < used ? ids[k] : -1;
        weights[k] = k < used ? weights[k] / (float)draws : 0.0F;
    }
}

cop_status COP_FAST(sample_targets)(const cop_sample_targets_args *args, cop_error *err)
{
    const int64_t n = args->hidden.rows;
    const int64_t vocab = args->head.rows;
    const int64_t chunk = cop_fast_sample_chunk(args);
    const int64_t pieces = (vocab + COP_FAST_CHUNK - 1) / COP_FAST_CHUNK;
    char *scratch = args->scratch;
    float *logits = (float *)(void *)scratch;
    double *sums = (double *)(void *)(scratch + cop_fast_f32_bytes(chunk, vocab));
    cop_status status = COP_OK;
    for (int64_t first = 0; first < n && status == COP_OK; first += chunk) {
        const int64_t rows = cop_fast_min(chunk, n - first);
        const cop_matmul_args matmul = {
            .a = cop_matrix_part(args->hidden, first, rows, 0, args->hidden.cols),
            .b = args->head,
            .c = cop_matrix_dense(logits, COP_F32, rows, vocab),
            .transpose_b = true,
            .alpha = 1.0F,
            .scratch = (char *)sums + cop_fast_f32_bytes(chunk, 2 * pieces),
        };
        status = cop_matmul_run(&matmul, err);
        if (status != COP_OK) {
            break;
        }
#pragma omp parallel for schedule(static) if (rows * vocab > COP_FAST_PARALLEL_MIN)
        for (int64_t row = 0; row < rows; row++) {
            draw_row(args, first + row, logits + row * vocab, sums + row * pieces);
        }
    }
    return status;
}
