#include "tests/model/naive.h"

#include <math.h>
#include <stdlib.h>

#include "tests/support.h"

typedef struct naive_run {
    const naive_model *model;
    const naive_masks *masks;
    int64_t batch;
    int64_t sequence;
    int64_t tokens;
    double *x;      // [n, C]
    double *normed; // [n, C]
    double *branch; // [n, C]
} naive_run;

static double *zeros(int64_t count)
{
    double *values = calloc((size_t)count + 1, sizeof *values);
    assert_non_null(values);
    return values;
}

void naive_init(naive_model *model, const cop_arch *arch)
{
    const int64_t count = cop_arch_tensor_count(arch);
    model->arch = *arch;
    model->tensor = calloc((size_t)count, sizeof *model->tensor);
    assert_non_null(model->tensor);
    for (int64_t i = 0; i < count; i++) {
        const cop_tensor_spec spec = cop_arch_tensor(arch, i);
        model->tensor[i] = zeros(spec.shape[0] * spec.shape[1]);
    }
}

void naive_release(naive_model *model)
{
    const int64_t count = cop_arch_tensor_count(&model->arch);
    for (int64_t i = 0; i < count; i++) {
        free(model->tensor[i]);
    }
    free(model->tensor);
}

// NULL when the architecture has no such tensor.
static const double *weights(const naive_run *run, cop_role role, int64_t layer)
{
    const int64_t index = cop_arch_find(&run->model->arch, role, layer);
    return index < 0 ? NULL : run->model->tensor[index];
}

static bool has_channel(const naive_run *run, int64_t channel)
{
    return run->masks == NULL || run->masks->channel == NULL || run->masks->channel[channel];
}

static bool has_head(const naive_run *run, int64_t layer, int64_t head)
{
    return run->masks == NULL || run->masks->heads == NULL || run->masks->heads[layer][head];
}

static bool has_neuron(const naive_run *run, int64_t layer, int64_t neuron)
{
    return run->masks == NULL || run->masks->neurons == NULL || run->masks->neurons[layer][neuron];
}

// normed = norm(x) over the kept channels.
static void norm(naive_run *run, const double *gain, const double *bias)
{
    const cop_arch *arch = &run->model->arch;
    const int64_t cols = arch->hidden;
    for (int64_t r = 0; r < run->tokens; r++) {
        const double *x = run->x + r * cols;
        double count = 0.0;
        double mean = 0.0;
        double variance = 0.0;
        for (int64_t c = 0; c < cols; c++) {
            count += has_channel(run, c) ? 1.0 : 0.0;
            mean += has_channel(run, c) ? x[c] : 0.0;
        }
        mean = arch->norm == COP_NORM_RMS ? 0.0 : mean / count;
        for (int64_t c = 0; c < cols; c++) {
            variance += has_channel(run, c) ? (x[c] - mean) * (x[c] - mean) : 0.0;
        }
        variance /= count;
        for (int64_t c = 0; c < cols; c++) {
            const double g = gain[c] + (arch->norm == COP_NORM_LAYER_1P ? 1.0 : 0.0);
            const double y = (x[c] - mean) / sqrt(variance + (double)(float)arch->norm_eps) * g +
                             (bias != NULL ? bias[c] : 0.0);
            run->normed[r * cols + c] = has_channel(run, c) ? y : 0.0;
        }
    }
}

// y [n, out] = x [n, in] Wᵀ + bias
static void linear(double *y, const double *x, const double *weight, const double *bias,
                   int64_t rows, int64_t in, int64_t out)
{
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t o = 0; o < out; o++) {
            double sum = bias != NULL ? bias[o] : 0.0;
            for (int64_t i = 0; i < in; i++) {
                sum += x[r * in + i] * weight[o * in + i];
            }
            y[r * out + o] = sum;
        }
    }
}

static double frequency(const cop_arch *arch, int64_t pair, int64_t pairs)
{
    const cop_rope_settings *rope = &arch->rope;
    const double plain = 1.0 / pow(rope->theta, 2.0 * (double)pair / (2.0 * (double)pairs));
    if (rope->scaling == COP_ROPE_LINEAR) {
        return plain / rope->factor;
    }
    if (rope->scaling == COP_ROPE_LLAMA3) {
        const double turns = (double)rope->original_context * plain / (2.0 * acos(-1.0));
        if (turns < rope->low_frequency_factor) {
            return plain / rope->factor;
        }
        if (turns > rope->high_frequency_factor) {
            return plain;
        }
        const double smooth = (turns - rope->low_frequency_factor) /
                              (rope->high_frequency_factor - rope->low_frequency_factor);
        return (1.0 - smooth) * plain / rope->factor + smooth * plain;
    }
    return plain;
}

static void rotate(const naive_run *run, double *x, int64_t heads)
{
    const cop_arch *arch = &run->model->arch;
    const int64_t dim = arch->head_dim;
    const int64_t pairs = (int64_t)floor((double)dim * arch->rope.partial) / 2;
    for (int64_t r = 0; r < run->tokens; r++) {
        for (int64_t h = 0; h < heads; h++) {
            double *head = x + (r * heads + h) * dim;
            for (int64_t i = 0; i < pairs; i++) {
                const double angle = (double)(r % run->sequence) * frequency(arch, i, pairs);
                const double a = head[i];
                const double b = head[i + pairs];
                head[i] = a * cos(angle) - b * sin(angle);
                head[i + pairs] = b * cos(angle) + a * sin(angle);
            }
        }
    }
}

// One query position of one head: out [D].
static void attend(double *out, const double *q, const double *k, const double *v, int64_t keys,
                   int64_t stride, int64_t dim)
{
    double *score = zeros(keys);
    double most = (double)-INFINITY;
    double sum = 0.0;
    for (int64_t t = 0; t < keys; t++) {
        for (int64_t d = 0; d < dim; d++) {
            score[t] += q[d] * k[t * stride + d];
        }
        score[t] *= (double)(float)(1.0 / sqrt((double)dim));
        most = fmax(most, score[t]);
    }
    for (int64_t t = 0; t < keys; t++) {
        score[t] = exp(score[t] - most);
        sum += score[t];
    }
    for (int64_t d = 0; d < dim; d++) {
        out[d] = 0.0;
        for (int64_t t = 0; t < keys; t++) {
            out[d] += score[t] / sum * v[t * stride + d];
        }
    }
    free(score);
}

static void attention(naive_run *run, int64_t layer)
{
    const cop_arch *arch = &run->model->arch;
    const int64_t dim = arch->head_dim;
    const int64_t heads = arch->layer[layer].heads;
    const int64_t kv_heads = arch->layer[layer].kv_heads;
    double *q = zeros(run->tokens * heads * dim);
    double *k = zeros(run->tokens * kv_heads * dim);
    double *v = zeros(run->tokens * kv_heads * dim);
    double *o = zeros(run->tokens * heads * dim);
    linear(q, run->normed, weights(run, COP_ROLE_Q, layer), weights(run, COP_ROLE_Q_BIAS, layer),
           run->tokens, arch->hidden, heads * dim);
    linear(k, run->normed, weights(run, COP_ROLE_K, layer), weights(run, COP_ROLE_K_BIAS, layer),
           run->tokens, arch->hidden, kv_heads * dim);
    linear(v, run->normed, weights(run, COP_ROLE_V, layer), weights(run, COP_ROLE_V_BIAS, layer),
           run->tokens, arch->hidden, kv_heads * dim);
    rotate(run, q, heads);
    rotate(run, k, kv_heads);
    for (int64_t r = 0; r < run->tokens; r++) {
        const int64_t first = r - r % run->sequence; // of its sequence
        for (int64_t h = 0; h < heads; h++) {
            if (has_head(run, layer, h)) {
                const int64_t group = h / (heads / kv_heads);
                const int64_t at = (first * kv_heads + group) * dim;
                attend(o + (r * heads + h) * dim, q + (r * heads + h) * dim, k + at, v + at,
                       r - first + 1, kv_heads * dim, dim);
            }
        }
    }
    linear(run->branch, o, weights(run, COP_ROLE_O, layer), weights(run, COP_ROLE_O_BIAS, layer),
           run->tokens, heads * dim, arch->hidden);
    free(q);
    free(k);
    free(v);
    free(o);
}

static double activate(cop_activation kind, double x)
{
    switch (kind) {
    case COP_ACTIVATION_SILU: return x / (1.0 + exp(-x));
    case COP_ACTIVATION_RELU2: return x > 0.0 ? x * x : 0.0;
    case COP_ACTIVATION_GELU: return 0.5 * x * (1.0 + erf(x / sqrt(2.0)));
    case COP_ACTIVATION_GELU_TANH:
        return 0.5 * x * (1.0 + tanh(sqrt(2.0 / acos(-1.0)) * (x + 0.044715 * x * x * x)));
    default: fail(); return 0.0;
    }
}

static void mlp(naive_run *run, int64_t layer)
{
    const cop_arch *arch = &run->model->arch;
    const int64_t ffn = arch->layer[layer].ffn;
    double *up = zeros(run->tokens * ffn);
    double *gate = zeros(run->tokens * ffn);
    linear(up, run->normed, weights(run, COP_ROLE_UP, layer), weights(run, COP_ROLE_UP_BIAS, layer),
           run->tokens, arch->hidden, ffn);
    if (arch->is_gated) {
        linear(gate, run->normed, weights(run, COP_ROLE_GATE, layer),
               weights(run, COP_ROLE_GATE_BIAS, layer), run->tokens, arch->hidden, ffn);
    }
    for (int64_t i = 0; i < run->tokens * ffn; i++) {
        up[i] = arch->is_gated ? activate(arch->activation, gate[i]) * up[i]
                               : activate(arch->activation, up[i]);
        up[i] = has_neuron(run, layer, i % ffn) ? up[i] : 0.0;
    }
    linear(run->branch, up, weights(run, COP_ROLE_DOWN, layer),
           weights(run, COP_ROLE_DOWN_BIAS, layer), run->tokens, ffn, arch->hidden);
    free(up);
    free(gate);
}

static void add_branch(naive_run *run)
{
    const int64_t cols = run->model->arch.hidden;
    for (int64_t i = 0; i < run->tokens * cols; i++) {
        run->x[i] += has_channel(run, i % cols) ? run->branch[i] : 0.0;
    }
}

void naive_forward(double *hidden, double *logits, const naive_model *model,
                   const naive_masks *masks, const int32_t *ids, int64_t batch, int64_t sequence)
{
    const cop_arch *arch = &model->arch;
    const int64_t tokens = batch * sequence;
    const int64_t cols = arch->hidden;
    naive_run run = {.model = model,
                     .masks = masks,
                     .batch = batch,
                     .sequence = sequence,
                     .tokens = tokens,
                     .x = zeros(tokens * cols),
                     .normed = zeros(tokens * cols),
                     .branch = zeros(tokens * cols)};
    const double *table = weights(&run, COP_ROLE_EMBEDDING, -1);
    for (int64_t i = 0; i < tokens * cols; i++) {
        run.x[i] = has_channel(&run, i % cols) ? table[ids[i / cols] * cols + i % cols] : 0.0;
    }
    for (int64_t layer = 0; layer < arch->layers; layer++) {
        if (masks != NULL && masks->layer != NULL && !masks->layer[layer]) {
            continue;
        }
        norm(&run, weights(&run, COP_ROLE_INPUT_NORM, layer),
             weights(&run, COP_ROLE_INPUT_NORM_BIAS, layer));
        attention(&run, layer);
        add_branch(&run);
        norm(&run, weights(&run, COP_ROLE_POST_NORM, layer),
             weights(&run, COP_ROLE_POST_NORM_BIAS, layer));
        mlp(&run, layer);
        add_branch(&run);
    }
    norm(&run, weights(&run, COP_ROLE_FINAL_NORM, -1), weights(&run, COP_ROLE_FINAL_NORM_BIAS, -1));
    for (int64_t i = 0; hidden != NULL && i < tokens * cols; i++) {
        hidden[i] = run.normed[i];
    }
    if (logits != NULL) {
        linear(logits, run.normed, arch->is_tied ? table : weights(&run, COP_ROLE_HEAD, -1), NULL,
               tokens, cols, arch->vocab);
    }
    free(run.x);
    free(run.normed);
    free(run.branch);
}
