// Forward pass of a network.

#include <math.h>

#include "model/network_internal.h"

cop_pass cop_pass_start(cop_network *network, int64_t batch, int64_t sequence)
{
    return (cop_pass){.network = network,
                      .batch = batch,
                      .sequence = sequence,
                      .tokens = batch * sequence,
                      .last_layer = -1};
}

static cop_status show(const cop_pass *pass, cop_tap tap, int64_t layer, cop_matrix value,
                       cop_error *err)
{
    if (pass->tap == NULL || pass->network->is_planning) {
        return COP_OK;
    }
    return pass->tap(pass->tap_context, tap, layer, &value, err);
}

static cop_matrix narrow(const cop_pass *pass, cop_slot slot, int64_t cols)
{
    return cop_network_slot(pass->network, slot, pass->network->compute, pass->tokens, cols);
}

static cop_matrix wide(const cop_pass *pass, cop_slot slot, int64_t cols)
{
    return cop_network_slot(pass->network, slot, pass->network->wide, pass->tokens, cols);
}

cop_matrix cop_pass_up(const cop_pass *pass, int64_t layer)
{
    const cop_arch *arch = &pass->network->arch;
    const int64_t ffn = arch->layer[layer].ffn;
    const cop_slot slot = pass->network->layers[layer].slot.wide_out;
    return arch->is_gated ? cop_matrix_part(narrow(pass, slot, 2 * ffn), 0, pass->tokens, ffn, ffn)
                          : narrow(pass, slot, ffn);
}

cop_matrix cop_pass_gate(const cop_pass *pass, int64_t layer)
{
    const cop_arch *arch = &pass->network->arch;
    const int64_t ffn = arch->layer[layer].ffn;
    const cop_slot slot = pass->network->layers[layer].slot.wide_out;
    return arch->is_gated ? cop_matrix_part(narrow(pass, slot, 2 * ffn), 0, pass->tokens, 0, ffn)
                          : (cop_matrix){0};
}

cop_matrix cop_pass_neurons(const cop_pass *pass, int64_t layer)
{
    const cop_slot slot = pass->network->layers[layer].slot.neurons;
    return slot == COP_NO_SLOT ? cop_pass_up(pass, layer)
                               : narrow(pass, slot, pass->network->arch.layer[layer].ffn);
}

// Adds the pending branch to the residual stream, into `sum`, and normalizes the result.
cop_status cop_pass_norm(cop_pass *pass, cop_place gain, cop_place bias, cop_matrix sum,
                         cop_matrix y, cop_matrix stats, cop_error *err)
{
    const cop_network *network = pass->network;
    cop_norm_forward_args args = {.kind = network->arch.norm,
                                  .eps = (float)network->arch.norm_eps,
                                  .x = pass->x,
                                  .gain = cop_network_vector(network, gain),
                                  .bias = cop_network_vector(network, bias),
                                  .y = y,
                                  .stats = stats};
    if (pass->has_branch) {
        args.x = pass->branch;
        args.residual = pass->x;
        args.sum = sum;
        pass->x = sum;
        pass->has_branch = false;
    }
    return cop_run_norm_forward(pass->network, args, err);
}

// y = x Wᵀ (+ bias)
static cop_status project(const cop_pass *pass, cop_matrix x, cop_place weight, cop_place bias,
                          cop_matrix y, cop_error *err)
{
    cop_status status = COP_OK;
    const cop_matmul_args args = {.a = x,
                                  .b = cop_network_weight(pass->network, weight),
                                  .c = y,
                                  .transpose_b = true,
                                  .alpha = 1.0F,
                                  .beta = 0.0F};
    COP_TRY(status, cop_run_matmul(pass->network, args, err));
    if (bias.rows > 0) {
        const cop_bias_add_args add = {.x = y, .bias = cop_network_vector(pass->network, bias)};
        COP_TRY(status, cop_run_bias_add(pass->network, add, err));
    }

done:
    return status;
}

// Turns q and k, which are neighbours, in one call.
cop_status cop_pass_rope(const cop_pass *pass, int64_t layer, cop_matrix qkv, bool inverse,
                         cop_error *err)
{
    cop_network *network = pass->network;
    const cop_arch *arch = &network->arch;
    const int64_t heads = arch->layer[layer].heads + arch->layer[layer].kv_heads;
    const int64_t pairs = cop_arch_rotary_pairs(arch);
    const int64_t rows = network->options.sequence;
    const cop_rope_args args = {
        .x = cop_matrix_part(qkv, 0, pass->tokens, 0, heads * arch->head_dim),
        .heads = heads,
        .head_dim = arch->head_dim,
        .sequence = pass->sequence,
        .cos = cop_network_slot(network, network->cosine, network->wide, rows, pairs),
        .sin = cop_network_slot(network, network->sine, network->wide, rows, pairs),
        .inverse = inverse};
    return pairs == 0 ? COP_OK : cop_run_rope(network, args, err);
}

// Norm output -> q, k, v -> attention output.
cop_status cop_pass_attention(cop_pass *pass, int64_t layer, cop_error *err)
{
    cop_status status = COP_OK;
    cop_network *network = pass->network;
    const cop_arch *arch = &network->arch;
    const cop_layer_arch *shape = &arch->layer[layer];
    const cop_network_layer *at = &network->layers[layer];
    const int64_t n = pass->tokens;
    const int64_t q_cols = shape->heads * arch->head_dim;
    const int64_t kv_cols = shape->kv_heads * arch->head_dim;
    const cop_matrix normed = narrow(pass, at->slot.input_normed, arch->hidden);
    const cop_matrix qkv = narrow(pass, at->slot.qkv_out, q_cols + 2 * kv_cols);
    const cop_attention_forward_args attention = {
        .batch = pass->batch,
        .sequence = pass->sequence,
        .heads = shape->heads,
        .kv_heads = shape->kv_heads,
        .head_dim = arch->head_dim,
        .scale = (float)(1.0 / sqrt((double)arch->head_dim)),
        .q = cop_matrix_part(qkv, 0, n, 0, q_cols),
        .k = cop_matrix_part(qkv, 0, n, q_cols, kv_cols),
        .v = cop_matrix_part(qkv, 0, n, q_cols + kv_cols, kv_cols),
        .o = narrow(pass, at->slot.heads_out, q_cols),
        .lse = cop_network_slot(network, at->slot.lse, network->wide, pass->batch * shape->heads,
                                pass->sequence)};

    COP_TRY(status, project(pass, normed, at->qkv, at->qkv_bias, qkv, err));
    COP_TRY(status, cop_pass_rope(pass, layer, qkv, false, err));
    COP_TRY(status, cop_run_attention_forward(network, attention, err));

done:
    return status;
}

// Attention output -> branch.
cop_status cop_pass_output(cop_pass *pass, int64_t layer, cop_error *err)
{
    const cop_network_layer *at = &pass->network->layers[layer];
    pass->branch = narrow(pass, pass->network->branch, pass->network->arch.hidden);
    pass->has_branch = true;
    return project(pass, narrow(pass, at->slot.heads_out, at->o.cols), at->o, at->o_bias,
                   pass->branch, err);
}

// Norm output -> gate and up.
cop_status cop_pass_wide(cop_pass *pass, int64_t layer, cop_error *err)
{
    const cop_network_layer *at = &pass->network->layers[layer];
    return project(pass, narrow(pass, at->slot.post_normed, pass->network->arch.hidden), at->wide,
                   at->wide_bias, narrow(pass, at->slot.wide_out, at->wide.rows), err);
}

cop_status cop_pass_activation(cop_pass *pass, int64_t layer, cop_error *err)
{
    const cop_activation_forward_args args = {.kind = pass->network->arch.activation,
                                              .gate = cop_pass_gate(pass, layer),
                                              .up = cop_pass_up(pass, layer),
                                              .y = cop_pass_neurons(pass, layer)};
    return cop_run_activation_forward(pass->network, args, err);
}

// The residual stream reached the input of `layer` (layers: the final norm).
static cop_status show_block_edge(cop_pass *pass, int64_t layer, cop_error *err)
{
    cop_status status = COP_OK;
    if (pass->last_layer >= 0) {
        COP_TRY(status, show(pass, COP_TAP_BLOCK_OUTPUT, pass->last_layer, pass->x, err));
    }
    if (layer < pass->network->arch.layers) {
        COP_TRY(status, show(pass, COP_TAP_BLOCK_INPUT, layer, pass->x, err));
    }
    pass->last_layer = layer;

done:
    return status;
}

static cop_status run_block(cop_pass *pass, int64_t layer, cop_error *err)
{
    cop_status status = COP_OK;
    cop_network *network = pass->network;
    const cop_network_layer *at = &network->layers[layer];
    const int64_t hidden = network->arch.hidden;
    const cop_matrix input_normed = narrow(pass, at->slot.input_normed, hidden);
    const cop_matrix post_normed = narrow(pass, at->slot.post_normed, hidden);
    const cop_matrix heads = narrow(pass, at->slot.heads_out, at->o.cols);

    COP_TRY(status,
            cop_pass_norm(pass, at->input_norm, at->input_norm_bias, wide(pass, at->slot.x, hidden),
                          input_normed, wide(pass, at->slot.input_stats, 2), err));
    COP_TRY(status, show_block_edge(pass, layer, err));
    COP_TRY(status, show(pass, COP_TAP_INPUT_NORM, layer, input_normed, err));
    COP_TRY(status, cop_pass_attention(pass, layer, err));
    COP_TRY(status, show(pass, COP_TAP_HEADS, layer, heads, err));
    COP_TRY(status, cop_pass_output(pass, layer, err));
    COP_TRY(status, cop_pass_norm(pass, at->post_norm, at->post_norm_bias,
                                  wide(pass, at->slot.middle, hidden), post_normed,
                                  wide(pass, at->slot.post_stats, 2), err));
    COP_TRY(status, show(pass, COP_TAP_POST_NORM, layer, post_normed, err));
    COP_TRY(status, cop_pass_wide(pass, layer, err));
    COP_TRY(status, cop_pass_activation(pass, layer, err));
    COP_TRY(status, show(pass, COP_TAP_NEURONS, layer, cop_pass_neurons(pass, layer), err));
    COP_TRY(status, project(pass, cop_pass_neurons(pass, layer), at->down, at->down_bias,
                            pass->branch, err));
    pass->has_branch = true;

done:
    return status;
}

static cop_status run_final_norm(cop_pass *pass, cop_matrix *hidden, cop_error *err)
{
    cop_status status = COP_OK;
    cop_network *network = pass->network;
    const cop_matrix y = narrow(pass, network->hidden, network->arch.hidden);
    COP_TRY(status, cop_pass_norm(pass, network->final_norm, network->final_norm_bias,
                                  wide(pass, network->final_x, network->arch.hidden), y,
                                  wide(pass, network->final_stats, 2), err));
    COP_TRY(status, show_block_edge(pass, network->arch.layers, err));
    COP_TRY(status, show(pass, COP_TAP_FINAL_NORM, -1, y, err));
    *hidden = y;

done:
    return status;
}

cop_status cop_pass_forward(cop_pass *pass, cop_matrix *hidden, cop_error *err)
{
    cop_status status = COP_OK;
    cop_network *network = pass->network;
    const cop_matrix x = wide(pass, network->layers[0].slot.x, network->arch.hidden);
    const cop_embedding_forward_args embedding = {
        .ids = cop_network_slot(network, network->ids, COP_I32, 1, pass->tokens).data,
        .table = cop_network_weight(network, network->embedding),
        .y = x};
    COP_TRY(status, cop_run_embedding_forward(network, embedding, err));
    pass->x = x;
    COP_TRY(status, show(pass, COP_TAP_EMBEDDING, -1, x, err));
    for (int64_t i = 0; i < network->arch.layers; i++) {
        COP_TRY(status, run_block(pass, i, err));
    }
    COP_TRY(status, run_final_norm(pass, hidden, err));

done:
    return status;
}

// --- Entry points -------------------------------------------------------------------------------

static cop_status check_sizes(const cop_network *network, int64_t batch, int64_t sequence,
                              cop_error *err)
{
    const cop_network_options *most = &network->options;
    if (batch < 1 || batch > most->batch || sequence < 1 || sequence > most->sequence) {
        return COP_FAIL(err, COP_ERR_SHAPE,
                        "network: pass is [%lld, %lld] (allowed: at most [%lld, %lld], as planned)",
                        (long long)batch, (long long)sequence, (long long)most->batch,
                        (long long)most->sequence);
    }
    return COP_OK;
}

static cop_status check_ids(const cop_network *network, const int32_t *ids, int64_t count,
                            cop_error *err)
{
    for (int64_t i = 0; i < count; i++) {
        if (ids[i] < 0 || ids[i] >= network->arch.vocab) {
            return COP_FAIL(err, COP_ERR_SHAPE, "network: ids[%lld] is %d (allowed: 0..%lld)",
                            (long long)i, (int)ids[i], (long long)network->arch.vocab - 1);
        }
    }
    return COP_OK;
}

cop_status cop_network_put_ids(cop_network *network, const int32_t *ids, int64_t batch,
                               int64_t sequence, cop_error *err)
{
    cop_status status = COP_OK;
    const int64_t tokens = batch * sequence;

    COP_TRY(status, check_sizes(network, batch, sequence, err));
    COP_TRY(status, check_ids(network, ids, tokens, err));
    network->is_kept = false;
    COP_TRY(status,
            cop_backend_to_device(network->backend, NULL,
                                  cop_network_slot(network, network->ids, COP_I32, 1, tokens).data,
                                  ids, (uint64_t)tokens * sizeof *ids, err));

done:
    return status;
}

cop_status cop_network_forward(cop_network *network, const cop_forward_options *options,
                               cop_matrix *hidden, cop_error *err)
{
    cop_status status = COP_OK;
    cop_pass pass;

    COP_TRY(status, check_sizes(network, options->batch, options->sequence, err));
    if (options->keep && !network->options.is_training) {
        return COP_FAIL(err, COP_ERR_UNSUPPORTED,
                        "network: keep is set (allowed: training networks)");
    }
    if (options->ids != NULL) {
        COP_TRY(status,
                cop_network_put_ids(network, options->ids, options->batch, options->sequence, err));
    }
    network->is_kept = false;
    pass = cop_pass_start(network, options->batch, options->sequence);
    pass.tap = options->tap;
    pass.tap_context = options->tap_context;
    COP_TRY(status, cop_pass_forward(&pass, hidden, err));
    network->batch = options->batch;
    network->sequence = options->sequence;
    network->is_kept = options->keep;

done:
    return status;
}

cop_status cop_network_forward_from(cop_network *network, int64_t first_layer, int64_t skip_layer,
                                    const cop_matrix *x, int64_t batch, int64_t sequence,
                                    cop_matrix *hidden, cop_error *err)
{
    cop_status status = COP_OK;
    const int64_t layers = network->arch.layers;
    cop_pass pass;

    COP_TRY(status, check_sizes(network, batch, sequence, err));
    pass = cop_pass_start(network, batch, sequence);
    if (first_layer < 0 || first_layer > layers || skip_layer < -1 || skip_layer >= layers) {
        return COP_FAIL(err, COP_ERR_SHAPE,
                        "network: first layer is %lld, skipped layer %lld (allowed: 0..%lld, "
                        "-1..%lld)",
                        (long long)first_layer, (long long)skip_layer, (long long)layers,
                        (long long)layers - 1);
    }
    network->is_kept = false;
    pass.x = wide(&pass, network->final_x, network->arch.hidden);
    COP_TRY(status, cop_run_convert(network, (cop_convert_args){.x = *x, .y = pass.x}, err));
    for (int64_t i = first_layer; i < layers; i++) {
        if (i != skip_layer) {
            COP_TRY(status, run_block(&pass, i, err));
        }
    }
    COP_TRY(status, run_final_norm(&pass, hidden, err));

done:
    return status;
}
