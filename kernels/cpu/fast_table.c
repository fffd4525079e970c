#include "kernels/cpu/fast_row.h"

const cop_fast_table *COP_FAST(table)(void)
{
    static const cop_fast_table table = {
        .norm_forward = COP_FAST(norm_forward),
        .norm_backward = COP_FAST(norm_backward),
        .rope = COP_FAST(rope),
        .attention_forward = COP_FAST(attention_forward),
        .attention_backward = COP_FAST(attention_backward),
        .activation_forward = COP_FAST(activation_forward),
        .activation_backward = COP_FAST(activation_backward),
        .embedding_forward = COP_FAST(embedding_forward),
        .embedding_backward = COP_FAST(embedding_backward),
        .bias_add = COP_FAST(bias_add),
        .column_sum = COP_FAST(column_sum),
        .add = COP_FAST(add),
        .convert = COP_FAST(convert),
        .gather = COP_FAST(gather),
        .head_loss = COP_FAST(head_loss),
        .state_loss = COP_FAST(state_loss),
        .sum_squares = COP_FAST(sum_squares),
        .adamw = COP_FAST(adamw),
        .sequence_moments = COP_FAST(sequence_moments),
        .row_cosine = COP_FAST(row_cosine),
        .sample_targets = COP_FAST(sample_targets),
    };
    return &table;
}
