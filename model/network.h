// A network that can run: parameters on a backend, forward pass, backward pass.
//
// Everything it needs is allocated at creation, by name, as the plan said. Forward and backward
// only enqueue work on the default stream of the backend; nothing waits but the functions that
// copy to the host.

#ifndef COP_MODEL_NETWORK_H
#define COP_MODEL_NETWORK_H

#include "kernels/group.h"
#include "kernels/ops.h"
#include "model/arch.h"
#include "model/checkpoint.h"
#include "model/plan.h"

typedef struct cop_network cop_network;

typedef enum cop_precision {
    COP_PRECISION_F32 = 0,
    COP_PRECISION_BF16, // bf16 matmul operands and activations, f32 residual stream and masters
    COP_PRECISION_F64   // reference backend only: gradient checks
} cop_precision;

const char *cop_precision_name(cop_precision precision);

typedef enum cop_recompute {
    COP_RECOMPUTE_NONE = 0,  // keep all activations
    COP_RECOMPUTE_SELECTIVE, // recompute norm outputs and MLP activations
    COP_RECOMPUTE_BLOCK      // keep block inputs only; one more forward pass in the backward pass
} cop_recompute;

// The forms of training differ in bytes per parameter; vectors (norms and biases) are a negligible
// share and keep f32 gradients and masters in every form. With f32 moments, gradients and masters a
// parameter takes 18 bytes in bf16, with bf16 moments 14, with all of them narrow 8.
typedef struct cop_network_options {
    cop_precision precision;
    int64_t batch;    // largest number of sequences of one pass
    int64_t sequence; // largest T
    bool is_training; // gradients, master weights and kept activations exist
    cop_recompute recompute;
    // What follows is for training networks, and looked at there only.
    // Embedding and LM head stay as they are: no gradients, no masters, no optimizer state, and
    // neither of their weight gradients is computed. With bf16 their values are those of bf16.
    bool freeze_vocabulary;
    cop_dtype gradients;  // of matrices: f32, or with precision bf16 also bf16
    bool without_masters; // precision bf16 only: matrices exist in bf16 alone
    // Data parallel with sharded state (ZeRO-1: arXiv 1910.02054, stage P_os): every member has all weights
    // and gradients, but masters and moments only of its share of the matrices. Borrowed; NULL: alone.
    // All members then call together what reads parameters: cop_network_read(), cop_network_save().
    cop_group *group;
} cop_network_options;

// What is free for a plan: on the backend's device and on the host, what this process holds included
// there (a plan counts that too).
COP_MUST_CHECK cop_status cop_plan_room_of(cop_plan_room *out, cop_backend *backend,
                                           cop_error *err);

// Adds this network's needs to a plan ("student: weights", "student: activations" …), exactly what
// cop_network_create() will allocate. `label` prefixes the names.
COP_MUST_CHECK cop_status cop_network_plan(cop_plan *plan, const char *label, const cop_arch *arch,
                                           const cop_network_options *options, cop_backend *backend,
                                           cop_error *err);

// Bytes that a member of the group sends in one optimizer step, and receives; 0 alone.
uint64_t cop_network_traffic_bytes(const cop_network *network);

// Allocates; parameters are zero. The backend is borrowed and must outlive the network.
COP_MUST_CHECK cop_status cop_network_create(cop_network **out, const cop_arch *arch,
                                             const cop_network_options *options,
                                             cop_backend *backend, cop_error *err);
void cop_network_destroy(cop_network *network);

const cop_arch *cop_network_arch(const cop_network *network);
const cop_network_options *cop_network_settings(const cop_network *network);
cop_backend *cop_network_backend(const cop_network *network);
cop_dtype
cop_network_compute_dtype(const cop_network *network); // of matmul operands: f32, bf16, f64

// Parameters, by canonical index (model/arch.h).
COP_MUST_CHECK cop_status cop_network_load(cop_network *network, const cop_checkpoint *checkpoint,
                                           cop_error *err); // same architecture required
// Random weights as Hugging Face initializes: N(0, initializer_range), norms at one, biases at zero;
// projections into the residual stream scaled by 1 / sqrt(2 * layers).
COP_MUST_CHECK cop_status cop_network_init(cop_network *network, uint64_t seed, cop_error *err);
// For benchmarks only: the same shapes and deviations, in seconds rather than minutes at billions of
// parameters, drawn by counter (kernels/random.h) by all threads and uploaded in pieces of a few MiB.
// Each value is a sum of four uniform ones: nearly normal, but never beyond 3.47 deviations.
COP_MUST_CHECK cop_status cop_network_init_fast(cop_network *network, uint64_t seed,
                                                cop_error *err);
// A sink that takes all tensors of cop_network_arch(): how pruned weights arrive without a file.
cop_tensor_sink cop_network_sink(cop_network *network);
// Fills a parameter, master and working copy alike, from a matrix on the same device:
// parameter[r, c] = x[row_index[r], col_index[c]], converted to each one's element type. A vector is
// a single row. `y` of `from` is ignored. Same bits as putting the same values through the sink.
COP_MUST_CHECK cop_status cop_network_gather(cop_network *network, int64_t index,
                                             const cop_gather_args *from, cop_error *err);
// Copies a parameter (master precision when training) to host memory as f32 or f64.
COP_MUST_CHECK cop_status cop_network_read(cop_network *network, int64_t index, cop_dtype dtype,
                                           void *data, cop_error *err);
// Copies its gradient; training networks only, and no frozen parameters.
COP_MUST_CHECK cop_status cop_network_read_gradient(cop_network *network, int64_t index,
                                                    cop_dtype dtype, void *data, cop_error *err);
// Puts all parameters into a sink (e.g. a checkpoint writer), as f32.
COP_MUST_CHECK cop_status cop_network_save(cop_network *network, cop_tensor_sink sink,
                                           cop_error *err);

// Device views of one parameter, for the optimizer and the LM head.
typedef struct cop_parameter_view {
    cop_matrix working;  // what matmuls read
    cop_matrix master;   // f32 (f64); the same memory as working when precision is f32 or f64;
                         // absent where there is none
    cop_matrix gradient; // absent unless trained
} cop_parameter_view;

cop_parameter_view cop_network_parameter(cop_network *network, int64_t index);
// All parameters as one contiguous vector each: [1, elements incl. padding]. `master` and `gradient`
// begin at the first parameter that has one; `gradient` is absent when there are two types.
cop_parameter_view cop_network_all_parameters(cop_network *network);
// The LM head: its own tensor, or the embedding when tied.
cop_parameter_view cop_network_head(cop_network *network);

// --- Running ------------------------------------------------------------------------------------

// Where a forward pass can be watched; the matrices are device views, valid during the call.
typedef enum cop_tap {
    COP_TAP_EMBEDDING = 0, // [n, C] residual stream before layer 0; layer = -1
    COP_TAP_BLOCK_INPUT,   // [n, C] residual stream
    COP_TAP_INPUT_NORM,    // [n, C] output of the input norm
    COP_TAP_HEADS,         // [n, H*D] attention output before o
    COP_TAP_POST_NORM,     // [n, C] output of the post-attention norm
    COP_TAP_NEURONS,       // [n, F] input of the down projection
    COP_TAP_BLOCK_OUTPUT,  // [n, C] residual stream
    COP_TAP_FINAL_NORM     // [n, C] what the LM head reads; layer = -1
} cop_tap;

typedef cop_status (*cop_tap_function)(void *context, cop_tap tap, int64_t layer,
                                       const cop_matrix *value, cop_error *err);

typedef struct cop_forward_options {
    // [batch, sequence], host; copied. NULL: those of cop_network_put_ids(), and the pass only
    // enqueues operators, so that it can be recorded.
    const int32_t *ids;
    int64_t batch;
    int64_t sequence;
    bool keep;            // keep activations for a backward pass (training networks)
    cop_tap_function tap; // NULL: none
    void *tap_context;
} cop_forward_options;

// Copies the ids of the next pass to the device. Ids outside the vocabulary are COP_ERR_SHAPE.
COP_MUST_CHECK cop_status cop_network_put_ids(cop_network *network, const int32_t *ids,
                                              int64_t batch, int64_t sequence, cop_error *err);

// Embedding, all blocks, final norm. `hidden` receives a device view [n, C] in the compute dtype, valid
// until the next pass. Ids outside the vocabulary are COP_ERR_SHAPE.
COP_MUST_CHECK cop_status cop_network_forward(cop_network *network,
                                              const cop_forward_options *options,
                                              cop_matrix *hidden, cop_error *err);

// Runs blocks [first_layer, layers) without block `skip_layer` (-1: none) and the final norm on a
// residual stream `x` [batch*sequence, C] (device, the dtype of COP_TAP_BLOCK_INPUT; not written). How a
// layer's removal is measured without running the layers before it again.
COP_MUST_CHECK cop_status cop_network_forward_from(cop_network *network, int64_t first_layer,
                                                   int64_t skip_layer, const cop_matrix *x,
                                                   int64_t batch, int64_t sequence,
                                                   cop_matrix *hidden, cop_error *err);

// Adds a gradient to the residual stream on the way back: called for COP_TAP_BLOCK_OUTPUT (before the
// block's backward pass) and COP_TAP_EMBEDDING with the gradient [n, C], which it may add to.
typedef cop_status (*cop_gradient_function)(void *context, cop_tap tap, int64_t layer,
                                            cop_matrix *gradient, cop_error *err);

// Backward pass of the last forward pass with keep. Parameter gradients are accumulated.
// d_hidden [n, C] is the gradient of the hidden view of forward; it may be overwritten.
COP_MUST_CHECK cop_status cop_network_backward(cop_network *network, cop_matrix d_hidden,
                                               cop_gradient_function inject, void *inject_context,
                                               cop_error *err);
COP_MUST_CHECK cop_status cop_network_zero_gradients(cop_network *network, cop_error *err);

// Device ids of the last forward pass [n], for the head's backward pass when tied; borrowed.
const int32_t *cop_network_ids(const cop_network *network);

#endif
