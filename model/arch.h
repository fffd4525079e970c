// A decoder-only transformer as data: a sequence of blocks, each with its own dimensions. Uniform
// models are the case where they are equal. Includes nothing of kernels/ but the names of norms
// and activations, so that it can be read without a device.

#ifndef COP_MODEL_ARCH_H
#define COP_MODEL_ARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "kernels/ops.h" // cop_norm_kind, cop_activation

enum {
    COP_ARCH_LAYERS_MAX = 256,
    // Upper bounds of every size read from a file: with them no product below overflows an int64.
    COP_ARCH_HIDDEN_MAX = 1 << 17,
    COP_ARCH_FFN_MAX = 1 << 20,
    COP_ARCH_VOCAB_MAX = 1 << 22,
    COP_ARCH_HEADS_MAX = 1 << 12,
    COP_ARCH_HEAD_DIM_MAX = 1 << 12,
    COP_ARCH_CONTEXT_MAX = 1 << 30
};

typedef enum cop_family {
    COP_FAMILY_LLAMA = 0, // RMSNorm, SwiGLU, RoPE
    COP_FAMILY_NEMOTRON   // LayerNorm1P with bias, squared ReLU without a gate, partial RoPE
} cop_family;

enum { COP_FAMILY_COUNT = 2 };

typedef enum cop_rope_scaling {
    COP_ROPE_PLAIN = 0,
    COP_ROPE_LINEAR, // positions divided by factor
    COP_ROPE_LLAMA3  // Llama 3.1: frequencies scaled by wavelength band
} cop_rope_scaling;

typedef struct cop_rope_settings {
    double theta;
    double partial; // share of head_dim that is rotated, (0, 1]
    cop_rope_scaling scaling;
    double factor;                // LINEAR, LLAMA3
    double low_frequency_factor;  // LLAMA3
    double high_frequency_factor; // LLAMA3
    int64_t original_context;     // LLAMA3
} cop_rope_settings;

// One block. heads is a multiple of kv_heads.
typedef struct cop_layer_arch {
    int64_t heads;
    int64_t kv_heads;
    int64_t ffn;
} cop_layer_arch;

// Plain data: copy it by assignment.
typedef struct cop_arch {
    cop_family family;
    int64_t vocab;
    int64_t hidden;
    int64_t head_dim; // independent of hidden / heads; even
    int64_t context;  // max_position_embeddings
    int64_t layers;
    cop_layer_arch layer[COP_ARCH_LAYERS_MAX];
    cop_norm_kind norm;
    double norm_eps;
    cop_activation activation;
    bool is_gated;       // MLP with a gate matrix
    bool is_tied;        // LM head = embedding
    bool attention_bias; // q, k, v, o have biases
    bool mlp_bias;
    cop_rope_settings rope;
    double initializer_range;
    int64_t bos; // token ids, -1: none
    int64_t eos;
} cop_arch;

// All layers equal?
bool cop_arch_is_uniform(const cop_arch *arch);

// Rotated pairs per head: floor(head_dim * partial) / 2.
int64_t cop_arch_rotary_pairs(const cop_arch *arch);

// Checks that all sizes are in range and fit together (heads a multiple of kv_heads, head_dim and
// rotary size even, …). `name` stands for the file in the message.
COP_MUST_CHECK cop_status cop_arch_check(const cop_arch *arch, const char *name, cop_error *err);

// Short text for people and logs: "llama 8L 256h 8/2 heads of 32 ffn 1024 vocab 256".
// `out` has COP_ARCH_TEXT_BYTES bytes and is returned.
enum { COP_ARCH_TEXT_BYTES = 256 };

char *cop_arch_text(char *out, const cop_arch *arch);

const char *cop_family_name(cop_family family); // "llama", "nemotron"

// --- Parameters -------------------------------------------------------------------------------
//
// The tensors of an architecture in canonical order: embedding; for each layer input norm, q, k, v
// (each weight, then its bias), o, post-attention norm, [gate], up, down; final norm; LM head
// (absent when tied). Shapes are those of torch's Linear: [out, in].

typedef enum cop_role {
    COP_ROLE_EMBEDDING = 0, // [V, C]
    COP_ROLE_INPUT_NORM,    // [C]
    COP_ROLE_INPUT_NORM_BIAS,
    COP_ROLE_Q, // [H*D, C]
    COP_ROLE_Q_BIAS,
    COP_ROLE_K, // [K*D, C]
    COP_ROLE_K_BIAS,
    COP_ROLE_V,
    COP_ROLE_V_BIAS,
    COP_ROLE_O, // [C, H*D]
    COP_ROLE_O_BIAS,
    COP_ROLE_POST_NORM,
    COP_ROLE_POST_NORM_BIAS,
    COP_ROLE_GATE, // [F, C]
    COP_ROLE_GATE_BIAS,
    COP_ROLE_UP,
    COP_ROLE_UP_BIAS,
    COP_ROLE_DOWN, // [C, F]
    COP_ROLE_DOWN_BIAS,
    COP_ROLE_FINAL_NORM,
    COP_ROLE_FINAL_NORM_BIAS,
    COP_ROLE_HEAD, // [V, C]
    COP_ROLE_COUNT
} cop_role;

// What a dimension of a tensor runs over: slicing is written once, on these.
typedef enum cop_axis {
    COP_AXIS_NONE = 0, // the second dimension of a vector
    COP_AXIS_VOCAB,
    COP_AXIS_HIDDEN,
    COP_AXIS_QUERY, // heads * head_dim of the layer
    COP_AXIS_KEY,   // kv_heads * head_dim of the layer
    COP_AXIS_FFN
} cop_axis;

enum { COP_TENSOR_NAME_BYTES = 96 };

typedef struct cop_tensor_spec {
    char name[COP_TENSOR_NAME_BYTES]; // Hugging Face name
    cop_role role;
    int64_t layer;    // -1 outside the blocks
    int rank;         // 1 or 2
    int64_t shape[2]; // shape[1] = 1 for rank 1
    cop_axis axis[2];
} cop_tensor_spec;

int64_t cop_arch_tensor_count(const cop_arch *arch);
// Spec of tensor `index`, 0 … count - 1, in canonical order. Cost: O(1) in the layer count.
cop_tensor_spec cop_arch_tensor(const cop_arch *arch, int64_t index);
// Index of the tensor with this role and layer (-1 outside blocks); -1 when the arch has none.
int64_t cop_arch_find(const cop_arch *arch, cop_role role, int64_t layer);
// Index of the tensor with this Hugging Face name, or -1.
int64_t cop_arch_find_name(const cop_arch *arch, const char *name);

#endif
