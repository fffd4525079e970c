// Tiny architectures that together use every switch, and networks of them with random weights.

#ifndef COP_TESTS_MODEL_TINY_H
#define COP_TESTS_MODEL_TINY_H

#include "model/network.h"
#include "tests/model/naive.h"

enum {
    TINY_LLAMA = 0,       // grouped queries, head_dim other than hidden / heads
    TINY_LLAMA_BIASED,    // all biases, tied, Llama-3 RoPE, layers of different sizes
    TINY_NEMOTRON,        // LayerNorm1P, squared ReLU, half of each head rotated
    TINY_NEMOTRON_BIASED, // all biases, tied, linear RoPE, GELU
    TINY_COUNT
};

cop_arch tiny_arch(int which);

// A network on `backend`; fails the test when it cannot be made.
cop_network *tiny_network(const cop_arch *arch, const cop_network_options *options,
                          cop_backend *backend);

// Random weights in every tensor, biases and norms included; the same values for the same seed.
void tiny_fill(cop_network *network, uint64_t seed);

// The same weights for the naive model, as the network holds them.
void tiny_naive(naive_model *model, cop_network *network);

// `count` ids below `vocab`, fixed by the seed.
void tiny_ids(int32_t *ids, int64_t count, int64_t vocab, uint64_t seed);

cop_backend *tiny_backend(const char *name);

// Copies a device matrix to dense f64 on the host, owned by the caller: free().
double *tiny_values(cop_backend *backend, const cop_matrix *matrix);

// Forward and backward pass of [batch, sequence] random ids with cross-entropy against random targets
// and, when kl_weight > 0, KL against a random teacher of 10 channels. Returns the sum of the loss.
double tiny_backward(cop_network *network, int64_t batch, int64_t sequence, uint64_t seed,
                     float kl_weight);

// Largest |a - b| over the largest |b|.
double tiny_distance(const double *a, const double *b, int64_t count);

#endif
