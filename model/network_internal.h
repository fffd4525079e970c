// What the files of network*.c and optimizer.c share: the layout of parameters, of activations, and
// the operator calls that double as the planning pass. Nobody else includes this.
//
// Parameters lie in one vector: embedding and LM head, then all other matrices, then all vectors
// (norms and biases), each in canonical order, at multiples of COP_PLACE_ALIGNMENT elements. q, k, v
// of a layer follow one another without a gap, so do gate and up, and so do their biases: each group
// is one matmul. So what is frozen is a prefix, and what has no masters is one too: gradients, masters
// and moments are kept of the rest alone.
//
// Activations lie in one arena, at byte offsets that are fixed at creation for the largest pass. What
// a layer keeps for its backward pass has an offset of its own; everything else is shared.
//
// The planning pass is a forward and a backward pass over a network without memory: every operator
// is asked whether it supports its arguments and how much scratch it needs, and none is run.

#ifndef COP_MODEL_NETWORK_INTERNAL_H
#define COP_MODEL_NETWORK_INTERNAL_H

#include "model/network.h"

enum {
    COP_PLACE_ALIGNMENT = 32, // elements: 64 bytes of bf16
    COP_SLOT_ALIGNMENT = 64,  // bytes
    COP_NETWORK_TOKENS_MAX = 1 << 24,
    COP_EXCHANGE_BYTES = 1 << 18
};

// A part of the parameter vector, in elements. rows = 0: absent.
typedef struct cop_place {
    int64_t offset;
    int64_t rows;
    int64_t cols;
} cop_place;

// Ends of the three parts of the parameter vector, incl. padding.
typedef struct cop_place_ends {
    int64_t vocabulary;
    int64_t matrices;
    int64_t all;
} cop_place_ends;

// Places all tensors into `places`, by canonical index (NULL: only counts).
cop_place_ends cop_place_parameters(cop_place *places, const cop_arch *arch);

// Byte offset into the arena; COP_NO_SLOT: not kept.
typedef int64_t cop_slot;
#define COP_NO_SLOT ((cop_slot)-1)

// What one layer computes.
typedef struct cop_layer_slots {
    cop_slot x;            // [n, C] residual stream before the block
    cop_slot input_normed; // [n, C]
    cop_slot input_stats;  // [n, 2]
    cop_slot qkv_out;      // [n, (H + 2K) * D], q and k rotated
    cop_slot heads_out;    // [n, H * D] attention output
    cop_slot lse;          // [B * H, T]
    cop_slot middle;       // [n, C] residual stream between attention and MLP
    cop_slot post_normed;  // [n, C]
    cop_slot post_stats;   // [n, 2]
    cop_slot wide_out;     // [n, 2F] or [n, F]
    cop_slot neurons;      // [n, F]; none: in the place of `up`
} cop_layer_slots;

typedef struct cop_network_layer {
    cop_place input_norm; // [1, C]
    cop_place input_norm_bias;
    cop_place qkv; // [(H + 2K) * D, C]
    cop_place qkv_bias;
    cop_place o; // [C, H * D]
    cop_place o_bias;
    cop_place post_norm; // [1, C]
    cop_place post_norm_bias;
    cop_place wide; // [2F, C] gate, then up; without a gate [F, C]
    cop_place wide_bias;
    cop_place down; // [C, F]
    cop_place down_bias;
    cop_layer_slots slot;
} cop_network_layer;

struct cop_network {
    cop_arch arch;
    cop_network_options options;
    cop_backend *backend; // borrowed
    cop_dtype compute;    // matmul operands
    cop_dtype wide;       // residual stream, statistics, masters, gradients: f32 or f64

    cop_place *places; // [tensors], by canonical index
    int64_t elements;
    int64_t matrix_elements;   // before the vectors
    int64_t frozen_elements;   // that are not trained, before all others; 0: none
    int64_t shard_first;       // matrices [shard_first, shard_end) have their state here; alone
    int64_t shard_end;         // those are all that are trained
    int64_t shard_share;       // elements of the members' parts: kernels/group.h
    int64_t master_matrices;   // elements of matrices at the start of the masters: the shard, or 0
    cop_dtype matrix_gradient; // type of the gradients of matrices
    cop_network_layer *layers;
    cop_place embedding;
    cop_place head; // the embedding when tied
    cop_place final_norm;
    cop_place final_norm_bias;

    cop_slot ids;     // [n] int32
    cop_slot branch;  // [n, C] output of o or down before it is added
    cop_slot final_x; // [n, C] what the final norm reads
    cop_slot final_stats;
    cop_slot hidden;     // [n, C]
    cop_slot d_x;        // [n, C] gradient of the residual stream
    cop_slot d_x_narrow; // [n, C] the same in the compute dtype; bf16 only
    cop_slot d_branch;   // [n, C]
    cop_slot d_heads;    // [n, H * D]
    cop_slot d_qkv;      // [n, (H + 2K) * D]
    cop_slot cosine;     // [T, R]
    cop_slot sine;

    uint64_t arena_bytes;
    uint64_t scratch_bytes;
    void *working; // [elements] compute dtype
    void *master;  // of matrices from shard_first on, then of vectors; wide dtype, with bf16 only
    void *
        exchange; // COP_EXCHANGE_BYTES, when members hold masters or moments of one another's weights
    void *gradient; // of matrices from frozen_elements on, then of vectors
    void *arena;
    void *scratch;

    bool is_planning; // operators only tell their scratch
    // The last pass, for backward.
    int64_t batch;
    int64_t sequence;
    bool is_kept;
};

// Assigns the slots and sets arena_bytes.
void cop_network_layout(cop_network *network);

// --- Views; data = NULL while planning ----------------------------------------------------------

cop_matrix cop_network_slot(const cop_network *network, cop_slot slot, cop_dtype dtype,
                            int64_t rows, int64_t cols);
cop_matrix cop_network_weight(const cop_network *network, cop_place place);   // matmul operand
cop_matrix cop_network_vector(const cop_network *network, cop_place place);   // norms and biases
cop_matrix cop_network_gradient(const cop_network *network, cop_place place); // absent: no training
// Absent: none, or not all of them here.
cop_matrix cop_network_master(const cop_network *network, cop_place place);

// What this process holds of a vector over the parameters.
typedef struct cop_share {
    void *data; // of element `first`
    cop_dtype dtype;
    int64_t first; // elements of the parameter vector
    int64_t end;
    bool is_split; // the members of the group have a part each
} cop_share;

// --- network_share.c -----------------------------------------------------------------------------

// Where the parameters of a place are kept at their best: masters, or the working copy.
cop_share cop_network_best(const cop_network *network, cop_place place);
// Copies elements [offset, offset + count) to the host of every member; all call it together. `matrices` of a
// split share are those of the network.
COP_MUST_CHECK cop_status cop_share_read(cop_network *network, const cop_share *share,
                                         int64_t offset, int64_t count, void *to_host,
                                         cop_error *err);
// Copies those of them that are held here from the host.
COP_MUST_CHECK cop_status cop_share_write(cop_network *network, const cop_share *share,
                                          int64_t offset, int64_t count, const void *from_host,
                                          cop_error *err);
// A parameter whose master is split: to all that hold a part of it or a copy, and to every member's host.
COP_MUST_CHECK cop_status cop_network_put_split(cop_network *network, cop_place place,
                                                cop_dtype dtype, const void *data, cop_error *err);
COP_MUST_CHECK cop_status cop_network_get_split(cop_network *network, cop_place place,
                                                cop_dtype dtype, void *data, cop_error *err);
// Before the optimizer: gradients become their sums, of matrices those of the own shard.
COP_MUST_CHECK cop_status cop_network_reduce_gradients(cop_network *network, cop_error *err);
// After it: the weights of all shards are everybody's, the gradients of the others' shards are zero.
COP_MUST_CHECK cop_status cop_network_gather_weights(cop_network *network, cop_error *err);

// Elements [offset, offset + count) as one row, all of matrices or all of vectors.
cop_place cop_network_range(int64_t offset, int64_t count);
uint64_t cop_network_gradient_bytes(const cop_network *network);
// Makes *sum (device, zero) the sum of the squares of all gradients, reduced ones in a group.
COP_MUST_CHECK cop_status cop_network_sum_squares(cop_network *network, double *sum,
                                                  cop_error *err);

// Where a parameter is written first: the master, or the working copy when there is no master.
cop_matrix cop_network_primary(const cop_network *network, cop_place place);

// Converts host data to `count` elements from element `first` of a tensor, master and working copy.
COP_MUST_CHECK cop_status cop_network_put(cop_network *network, int64_t index, int64_t first,
                                          int64_t count, cop_dtype dtype, const void *data,
                                          cop_error *err);

// Standard deviation of a matrix at the start of training; what makes a norm's gain one.
double cop_network_init_deviation(const cop_arch *arch, cop_role role);
float cop_network_norm_unit(const cop_arch *arch);

// Copies master weights [offset, offset + count) to the working ones, where they differ.
COP_MUST_CHECK cop_status cop_network_publish(cop_network *network, int64_t offset, int64_t count,
                                              cop_error *err);

// --- Operators on the default stream with the network's scratch memory; args by value -----------

cop_status cop_run_matmul(cop_network *network, cop_matmul_args args, cop_error *err);
cop_status cop_run_norm_forward(cop_network *network, cop_norm_forward_args args, cop_error *err);
cop_status cop_run_norm_backward(cop_network *network, cop_norm_backward_args args, cop_error *err);
cop_status cop_run_rope(cop_network *network, cop_rope_args args, cop_error *err);
cop_status cop_run_attention_forward(cop_network *network, cop_attention_forward_args args,
                                     cop_error *err);
cop_status cop_run_attention_backward(cop_network *network, cop_attention_backward_args args,
                                      cop_error *err);
cop_status cop_run_activation_forward(cop_network *network, cop_activation_forward_args args,
                                      cop_error *err);
cop_status cop_run_activation_backward(cop_network *network, cop_activation_backward_args args,
                                       cop_error *err);
cop_status cop_run_embedding_forward(cop_network *network, cop_embedding_forward_args args,
                                     cop_error *err);
cop_status cop_run_embedding_backward(cop_network *network, cop_embedding_backward_args args,
                                      cop_error *err);
cop_status cop_run_bias_add(cop_network *network, cop_bias_add_args args, cop_error *err);
cop_status cop_run_column_sum(cop_network *network, cop_column_sum_args args, cop_error *err);
cop_status cop_run_sum_squares(cop_network *network, cop_sum_squares_args args, cop_error *err);
cop_status cop_run_adamw(cop_network *network, cop_adamw_args args, cop_error *err);
cop_status cop_run_convert(cop_network *network, cop_convert_args args, cop_error *err);

// --- Parts of a forward pass --------------------------------------------------------------------

typedef struct cop_pass {
    cop_network *network;
    int64_t batch;
    int64_t sequence;
    int64_t tokens; // batch * sequence
    cop_tap_function tap;
    void *tap_context;
    cop_matrix x;      // residual stream, without the branch that is still to be added
    cop_matrix branch; // [n, C] output of the last block's MLP
    bool has_branch;
    int64_t last_layer; // whose output x becomes when the branch is added; -1: none
} cop_pass;

cop_pass cop_pass_start(cop_network *network, int64_t batch, int64_t sequence);

// The parts of a block that the backward pass repeats.
COP_MUST_CHECK cop_status cop_pass_norm(cop_pass *pass, cop_place gain, cop_place bias,
                                        cop_matrix sum, cop_matrix y, cop_matrix stats,
                                        cop_error *err);
COP_MUST_CHECK cop_status cop_pass_rope(const cop_pass *pass, int64_t layer, cop_matrix qkv,
                                        bool inverse, cop_error *err);
COP_MUST_CHECK cop_status cop_pass_attention(cop_pass *pass, int64_t layer, cop_error *err);
COP_MUST_CHECK cop_status cop_pass_output(cop_pass *pass, int64_t layer, cop_error *err);
COP_MUST_CHECK cop_status cop_pass_wide(cop_pass *pass, int64_t layer, cop_error *err);
COP_MUST_CHECK cop_status cop_pass_activation(cop_pass *pass, int64_t layer, cop_error *err);

// Views of what a layer computes, for the current pass.
cop_matrix cop_pass_up(const cop_pass *pass, int64_t layer);
cop_matrix cop_pass_gate(const cop_pass *pass, int64_t layer); // absent without a gate
cop_matrix cop_pass_neurons(const cop_pass *pass, int64_t layer);

// Runs the whole pass over ids that are on the device already.
COP_MUST_CHECK cop_status cop_pass_forward(cop_pass *pass, cop_matrix *hidden, cop_error *err);
COP_MUST_CHECK cop_status cop_pass_backward(cop_network *network, cop_matrix d_hidden,
                                            cop_gradient_function inject, void *inject_context,
                                            cop_error *err);

#endif
