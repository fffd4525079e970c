#include <omp.h>

#include "kernels/cpu/attention.h"
#include "kernels/cpu/fast.h"

// Sizes of tiles as int64_t.
static const int64_t tile = COP_ATTENTION_TILE;
static const int64_t keys_forward = COP_ATTENTION_KEYS_FORWARD;
static const int64_t keys_backward = COP_ATTENTION_KEYS_BACKWARD;

static int64_t max_i64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

// Sizes in elements; each array is rounded up to whole cache lines, which
// `slack_bytes` covers for 24 of them.
static const uint64_t slack_bytes = 1536;

uint64_t cop_attention_forward_slot(int64_t sequence, int64_t head_dim)
{
    const int64_t f32_count = 2 * sequence * head_dim + (int64_t)COP_ATTENTION_QUERIES *
                                                            (2 * head_dim + COP_ATTENTION_KEYS + 2);
    const int64_t rows = cop_attention_up(sequence, COP_ATTENTION_TILE);
    const int64_t width = cop_attention_up(head_dim, COP_ATTENTION_PANEL);
    const int64_t bf16_bytes = 2 * rows * (width + width) +   // packed k, v
                               tile * (6 * width) +           // q, o
                               tile * (keys_forward * 6 + 8); // s, p, max, sum
    return cop_fast_round((uint64_t)max_i64(4 * f32_count, bf16_bytes)) + slack_bytes;
}

uint64_t cop_attention_backward_slot(int64_t sequence, int64_t head_dim)
{
    const int64_t f32_count =
        4 * sequence * head_dim +
        (int64_t)COP_ATTENTION_QUERIES * (3 * head_dim + (int64_t)2 * COP_ATTENTION_KEYS + 2);
    const int64_t rows = cop_attention_up(sequence, COP_ATTENTION_TILE);
    const int64_t width = cop_attention_up(head_dim, COP_ATTENTION_PANEL);
    const int64_t bf16_bytes = 2 * rows * 3 * width +      // packed k, v, and k by rows
                               4 * rows * 2 * width +      // d_k, d_v
                               tile * (12 * width) +       // q, d_o in both forms; d_q
                               tile * keys_backward * 14 + // s, d_p; p, d_s twice
                               8 * tile;                   // lse, delta
    return cop_fast_round((uint64_t)max_i64(4 * f32_count, bf16_bytes)) + slack_bytes;
}

int cop_attention_slots(int64_t tasks)
{
    const int slots = cop_fast_slots();
    return tasks < slots ? (int)tasks : slots;
}

int cop_attention_threads(int64_t tasks)
{
    const int slots = cop_attention_slots(tasks);
    const int threads = omp_get_max_threads();
    return threads < slots ? threads : slots;
}

uint64_t cop_attention_forward_bytes(const cop_attention_forward_args *args)
{
    const int64_t tasks = args->batch * args->heads;
    return (uint64_t)cop_attention_slots(tasks) *
           cop_attention_forward_slot(args->sequence, args->head_dim);
}

uint64_t cop_attention_backward_bytes(const cop_attention_backward_args *args)
{
    const int64_t tasks = args->batch * args->kv_heads;
    return (uint64_t)cop_attention_slots(tasks) *
           cop_attention_backward_slot(args->sequence, args->head_dim);
}
