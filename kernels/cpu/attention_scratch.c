#include "kernels/cpu/attention.h"
#include "kernels/cpu/fast.h"

static int64_t max_i64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

// Sizes in elements; each array is rounded up to whole cache lines, which `ARRAYS_MAX` lines cover.
enum { ARRAYS_MAX = 24 };

uint64_t cop_attention_forward_slot(int64_t sequence, int64_t head_dim)
{
    const int64_t f32_count =
        2 * sequence * head_dim + COP_ATTENTION_QUERIES * (2 * head_dim + COP_ATTENTION_KEYS + 2);
    const int64_t rows = cop_attention_up(sequence, COP_ATTENTION_TILE);
    const int64_t width = cop_attention_up(head_dim, COP_ATTENTION_PANEL);
    const int64_t bf16_bytes =
        2 * rows * (width + width) +                                         // packed k, v
        COP_ATTENTION_TILE * (2 * width + 4 * width) +                       // q, o
        COP_ATTENTION_TILE * (COP_ATTENTION_KEYS_FORWARD * (4 + 2) + 2 * 4); // s, p, max, sum
    return cop_fast_round((uint64_t)max_i64(4 * f32_count, bf16_bytes)) + 64 * ARRAYS_MAX;
}

uint64_t cop_attention_backward_slot(int64_t sequence, int64_t head_dim)
{
    const int64_t f32_count = 4 * sequence * head_dim +
                              COP_ATTENTION_QUERIES * (3 * head_dim + 2 * COP_ATTENTION_KEYS + 2);
    const int64_t rows = cop_attention_up(sequence, COP_ATTENTION_TILE);
    const int64_t width = cop_attention_up(head_dim, COP_ATTENTION_PANEL);
    const int64_t bf16_bytes =
        2 * rows * 3 * width +                             // packed k, v, and k by rows
        4 * rows * 2 * width +                             // d_k, d_v
        COP_ATTENTION_TILE * (2 * 4 * width + 4 * width) + // q, d_o in both forms; d_q
        COP_ATTENTION_TILE * COP_ATTENTION_KEYS_BACKWARD * (2 * 4 + 3 * 2) + // s, d_p; p, d_s twice
        COP_ATTENTION_TILE * 2 * 4;                                          // lse, delta
    return cop_fast_round((uint64_t)max_i64(4 * f32_count, bf16_bytes)) + 64 * ARRAYS_MAX;
}

int cop_attention_slots(int64_t tasks)
{
    const int slots = cop_fast_slots();
    return tasks < slots ? (int)tasks : slots;
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
