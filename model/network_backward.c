// Backward pass of a network. With x the residual stream, each block is x += attention(norm(x)),
// x += mlp(norm(x)): the gradient of x passes through unchanged, and each branch adds to it.
//
// What the forward pass left in the arena is overwritten on the way: one backward pass per
// forward pass.

#include <math.h>

#include "model/network_internal.h"

typedef struct backward {
    cop_pass pass; // for views and recomputation
    cop_network *network;
    cop_matrix d_x;      // [n, C] gradient of the residual stream, wide
    cop_matrix d_narrow; // the same as matmul operand
    cop_gradient_function inject;
    void *inject_context;
} backward;

static cop_matrix narrow(const backward *run, cop_slot slot, int64_t cols)
{
    return cop_network_slot(run->network, slot, run->network->compute, run->pass.tokens, cols);
}

static cop_matrix wide(const backward *run, cop_slot slot, int64_t cols)
{
    return cop_network_slot(run->network, slot, run->network->wide, run->pass.tokens, cols);
}

static cop_status inject(const backward *run, cop_tap tap, int64_t layer, cop_error *err)
{
    if (run->inject == NULL || run->network->is_planning) {
        return COP_OK;
    }
    cop_matrix gradient = run->d_x;
    return run->inject(run->inject_context, tap, layer, &gradient, err);
}

// dW += d_yᵀ x, and the bias' gradient += column sums of d_y.
static cop_status weight_gradient(const backward *run, cop_matrix d_y, cop_matrix x,
                                  cop_place weight, cop_place bias, cop_error *err)
{
    cop_status status = COP_OK;
    const cop_matmul_args args = {.a = d_y,
                                  .b = x,
                                  .c = cop_network_gradient(run->network, weight),
                                  .transpose_a = true,
                                  .alpha = 1.0F,
                                  .beta = 1.0F};
    const cop_column_sum_args sum = {.x = d_y, .sum = cop_network_gradient(run->network, bias)};
    COP_TRY(status, cop_run_matmul(run->network, args, err));
    if (bias.rows > 0) {
        COP_TRY(status, cop_run_column_sum(run->network, sum, err));
    }

done:
    return status;
}

// dx = dy W
static cop_status input_gradient(const backward *run, cop_matrix d_y, cop_place weight,
                                 cop_matrix d_x, cop_error *err)
{
    const cop_matmul_args args = {.a = d_y,
                                  .b = cop_network_weight(run->network, weight),
                                  .c = d_x,
                                  .alpha = 1.0F,
                                  .beta = 0.0F};
    return cop_run_matmul(run->network, args, err);
}

static cop_status norm_gradient(const backward *run, cop_matrix d_y, cop_matrix x, cop_matrix stats,
                                cop_place gain, cop_place bias, bool accumulate, cop_error *err)
{
    const cop_norm_backward_args args = {.kind = run->network->arch.norm,
                                         .d_y = d_y,
                                         .x = x,
                                         .gain = cop_network_vector(run->network, gain),
                                         .stats = stats,
                                         .d_x = run->d_x,
                                         .d_gain = cop_network_gradient(run->network, gain),
                                         .d_bias = cop_network_gradient(run->network, bias),
                                         .accumulate = accumulate};
    return cop_run_norm_backward(run->network, args, err);
}

// Makes d_narrow from d_x, where they are not the same memory.
static cop_status narrow_gradient(const backward *run, cop_error *err)
{
    if (run->network->compute == run->network->wide) {
        return COP_OK;
    }
    const cop_convert_args args = {.x = run->d_x, .y = run->d_narrow};
    return cop_run_convert(run->network, args, err);
}

// Norm output from what the forward pass kept: the same operator on the same sum, so the same bits.
static cop_status repeat_norm(backward *run, cop_matrix x, cop_place gain, cop_place bias,
                              cop_matrix y, cop_matrix stats, cop_error *err)
{
    run->pass.x = x;
    run->pass.has_branch = false;
    return cop_pass_norm(&run->pass, gain, bias, (cop_matrix){0}, y, stats, err);
}

// The forward pass of a block, but for its last matmul, from its input.
static cop_status repeat_block(backward *run, int64_t layer, cop_error *err)
{
    cop_status status = COP_OK;
    cop_pass *pass = &run->pass;
    const cop_network_layer *at = &run->network->layers[layer];
    const int64_t hidden = run->network->arch.hidden;
    COP_TRY(status, repeat_norm(run, wide(run, at->slot.x, hidden), at->input_norm,
                                at->input_norm_bias, narrow(run, at->slot.input_normed, hidden),
                                wide(run, at->slot.input_stats, 2), err));
    COP_TRY(status, cop_pass_attention(pass, layer, err));
    COP_TRY(status, cop_pass_output(pass, layer, err));
    COP_TRY(status, cop_pass_norm(pass, at->post_norm, at->post_norm_bias,
                                  wide(run, at->slot.middle, hidden),
                                  narrow(run, at->slot.post_normed, hidden),
                                  wide(run, at->slot.post_stats, 2), err));
    COP_TRY(status, cop_pass_wide(pass, layer, err));
    COP_TRY(status, cop_pass_activation(pass, layer, err));

done:
    return status;
}

static cop_status mlp_backward(backward *run, int64_t layer, cop_error *err)
{
    cop_status status = COP_OK;
    cop_network *network = run->network;
    const cop_network_layer *at = &network->layers[layer];
    const int64_t hidden = network->arch.hidden;
    const cop_matrix middle = wide(run, at->slot.middle, hidden);
    const cop_matrix stats = wide(run, at->slot.post_stats, 2);
    const cop_matrix normed = narrow(run, at->slot.post_normed, hidden);
    const cop_matrix neurons = cop_pass_neurons(&run->pass, layer);
    const cop_matrix d_wide = narrow(run, at->slot.wide_out, at->wide.rows);
    const cop_matrix d_normed = narrow(run, network->d_branch, hidden);
    // The gradient of the neurons takes their place, that of gate and up theirs.
    const cop_activation_backward_args activation = {.kind = network->arch.activation,
                                                     .gate = cop_pass_gate(&run->pass, layer),
                                                     .up = cop_pass_up(&run->pass, layer),
                                                     .d_y = neurons,
                                                     .d_gate = cop_pass_gate(&run->pass, layer),
                                                     .d_up = cop_pass_up(&run->pass, layer)};

    if (network->options.recompute == COP_RECOMPUTE_SELECTIVE) {
        COP_TRY(status, cop_pass_activation(&run->pass, layer, err));
        COP_TRY(status,
                repeat_norm(run, middle, at->post_norm, at->post_norm_bias, normed, stats, err));
    }
    COP_TRY(status, narrow_gradient(run, err));
    COP_TRY(status, weight_gradient(run, run->d_narrow, neurons, at->down, at->down_bias, err));
    COP_TRY(status, input_gradient(run, run->d_narrow, at->down, neurons, err));
    COP_TRY(status, cop_run_activation_backward(network, activation, err));
    COP_TRY(status, weight_gradient(run, d_wide, normed, at->wide, at->wide_bias, err));
    COP_TRY(status, input_gradient(run, d_wide, at->wide, d_normed, err));
    COP_TRY(status, norm_gradient(run, d_normed, middle, stats, at->post_norm, at->post_norm_bias,
                                  true, err));

done:
    return status;
}

// Gradient of the attention output -> gradient of q, k, v before rotation.
static cop_status heads_backward(backward *run, int64_t layer, cop_matrix d_heads, cop_matrix d_qkv,
                                 cop_error *err)
{
    cop_status status = COP_OK;
    cop_network *network = run->network;
    const cop_arch *arch = &network->arch;
    const cop_layer_arch *shape = &arch->layer[layer];
    const cop_network_layer *at = &network->layers[layer];
    const int64_t n = run->pass.tokens;
    const int64_t q_cols = shape->heads * arch->head_dim;
    const int64_t kv_cols = shape->kv_heads * arch->head_dim;
    const cop_matrix qkv = narrow(run, at->slot.qkv_out, q_cols + 2 * kv_cols);
    const cop_attention_backward_args attention = {
        .batch = run->pass.batch,
        .sequence = run->pass.sequence,
        .heads = shape->heads,
        .kv_heads = shape->kv_heads,
        .head_dim = arch->head_dim,
        .scale = (float)(1.0 / sqrt((double)arch->head_dim)),
        .q = cop_matrix_part(qkv, 0, n, 0, q_cols),
        .k = cop_matrix_part(qkv, 0, n, q_cols, kv_cols),
        .v = cop_matrix_part(qkv, 0, n, q_cols + kv_cols, kv_cols),
        .o = narrow(run, at->slot.heads_out, q_cols),
        .lse = cop_network_slot(network, at->slot.lse, network->wide,
                                run->pass.batch * shape->heads, run->pass.sequence),
        .d_o = d_heads,
        .d_q = cop_matrix_part(d_qkv, 0, n, 0, q_cols),
        .d_k = cop_matrix_part(d_qkv, 0, n, q_cols, kv_cols),
        .d_v = cop_matrix_part(d_qkv, 0, n, q_cols + kv_cols, kv_cols)};

    COP_TRY(status, cop_run_attention_backward(network, attention, err));
    COP_TRY(status, cop_pass_rope(&run->pass, layer, d_qkv, true, err));

done:
    return status;
}

static cop_status attention_backward(backward *run, int64_t layer, cop_error *err)
{
    cop_status status = COP_OK;
    cop_network *network = run->network;
    const cop_network_layer *at = &network->layers[layer];
    const int64_t hidden = network->arch.hidden;
    const cop_matrix x = wide(run, at->slot.x, hidden);
    const cop_matrix stats = wide(run, at->slot.input_stats, 2);
    const cop_matrix normed = narrow(run, at->slot.input_normed, hidden);
    const cop_matrix heads = narrow(run, at->slot.heads_out, at->o.cols);
    const cop_matrix d_heads = narrow(run, network->d_heads, at->o.cols);
    const cop_matrix d_qkv = narrow(run, network->d_qkv, at->qkv.rows);
    const cop_matrix d_normed = narrow(run, network->d_branch, hidden);

    if (network->options.recompute == COP_RECOMPUTE_SELECTIVE) {
        COP_TRY(status,
                repeat_norm(run, x, at->input_norm, at->input_norm_bias, normed, stats, err));
    }
    COP_TRY(status, narrow_gradient(run, err));
    COP_TRY(status, weight_gradient(run, run->d_narrow, heads, at->o, at->o_bias, err));
    COP_TRY(status, input_gradient(run, run->d_narrow, at->o, d_heads, err));
    COP_TRY(status, heads_backward(run, layer, d_heads, d_qkv, err));
    COP_TRY(status, weight_gradient(run, d_qkv, normed, at->qkv, at->qkv_bias, err));
    COP_TRY(status, input_gradient(run, d_qkv, at->qkv, d_normed, err));
    COP_TRY(status,
            norm_gradient(run, d_normed, x, stats, at->input_norm, at->input_norm_bias, true, err));

done:
    return status;
}

cop_status cop_pass_backward(cop_network *network, cop_matrix d_hidden,
                             cop_gradient_function inject_function, void *inject_context,
                             cop_error *err)
{
    cop_status status = COP_OK;
    const int64_t hidden = network->arch.hidden;
    const bool is_planning = network->is_planning;
    backward run = {
        .pass = cop_pass_start(network, is_planning ? network->options.batch : network->batch,
                               is_planning ? network->options.sequence : network->sequence),
        .network = network,
        .inject = inject_function,
        .inject_context = inject_context};
    run.d_x = wide(&run, network->d_x, hidden);
    run.d_narrow =
        network->d_x_narrow == COP_NO_SLOT ? run.d_x : narrow(&run, network->d_x_narrow, hidden);
    const cop_embedding_backward_args embedding = {
        .ids = cop_network_slot(network, network->ids, COP_I32, 1, run.pass.tokens).data,
        .d_y = run.d_x,
        .d_table = cop_network_gradient(network, network->embedding)};

    COP_TRY(status, norm_gradient(&run, d_hidden, wide(&run, network->final_x, hidden),
                                  wide(&run, network->final_stats, 2), network->final_norm,
                                  network->final_norm_bias, false, err));
    for (int64_t layer = network->arch.layers - 1; layer >= 0; layer--) {
        COP_TRY(status, inject(&run, COP_TAP_BLOCK_OUTPUT, layer, err));
        if (network->options.recompute == COP_RECOMPUTE_BLOCK) {
            COP_TRY(status, repeat_block(&run, layer, err));
        }
        COP_TRY(status, mlp_backward(&run, layer, err));
        COP_TRY(status, attention_backward(&run, layer, err));
    }
    COP_TRY(status, inject(&run, COP_TAP_EMBEDDING, -1, err));
    if (embedding.d_table.rows > 0) {
        COP_TRY(status, cop_run_embedding_backward(network, embedding, err));
    }

done:
    return status;
}

cop_status cop_network_backward(cop_network *network, cop_matrix d_hidden,
                                cop_gradient_function inject_function, void *inject_context,
                                cop_error *err)
{
    const int64_t tokens = network->batch * network->sequence;
    if (!network->is_kept) {
        return COP_FAIL(err, COP_ERR_UNSUPPORTED,
                        "network: backward pass without kept activations (allowed: once after a "
                        "forward pass with keep)");
    }
    if (d_hidden.data == NULL || d_hidden.rows != tokens || d_hidden.cols != network->arch.hidden) {
        return COP_FAIL(err, COP_ERR_SHAPE,
                        "network: gradient of hidden is [%lld, %lld] (allowed: [%lld, %lld])",
                        (long long)d_hidden.rows, (long long)d_hidden.cols, (long long)tokens,
                        (long long)network->arch.hidden);
    }
    network->is_kept = false;
    return cop_pass_backward(network, d_hidden, inject_function, inject_context, err);
}
