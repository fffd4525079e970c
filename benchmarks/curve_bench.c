// The losses of the first training steps from given weights: what benchmarks/peer/torch_curve.py
// repeats in PyTorch from the same weights on the same batches. Cross-entropy, AdamW with clipping,
// a constant learning rate; step i sees windows i * batch … of the file in order, each of T + 1 ids,
// T apart, again from the start when the file ends. Prints one JSON line per step.
//
//     curve_bench --model DIR --data FILE.bin [--device NAME] [--precision bf16|f32] [--batch N]
//                 [--sequence N] [--steps N] [--learning-rate X]

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/text.h"
#include "model/optimizer.h"
#include "model/tokens.h"

typedef struct settings {
    const char *model;
    const char *data;
    const char *device;
    cop_precision precision;
    int64_t batch;
    int64_t sequence;
    int64_t steps;
    double learning_rate;
} settings;

typedef struct run {
    const settings *with;
    cop_backend *backend;
    cop_checkpoint *checkpoint;
    cop_tokens *tokens;
    cop_sampler *sampler;
    cop_network *network;
    cop_optimizer *optimizer;
    int32_t *inputs; // [n] host
    int32_t *targets;
    float *losses; // [n] host
    void *memory;  // device: targets, losses, gradient of the hidden states
    void *scratch;
    cop_head_loss_args head;
} run;

static cop_status open_all(run *self, cop_error *err)
{
    cop_status status = COP_OK;
    const settings *with = self->with;
    const cop_network_options network = {.precision = with->precision,
                                         .batch = with->batch,
                                         .sequence = with->sequence,
                                         .is_training = true};
    const cop_optimizer_options optimizer = COP_OPTIMIZER_OPTIONS_DEFAULT;
    const cop_arch *arch = NULL;
    COP_TRY(status, cop_backend_create(&self->backend, with->device, err));
    COP_TRY(status, cop_checkpoint_open(&self->checkpoint, with->model, err));
    arch = cop_checkpoint_arch(self->checkpoint);
    COP_TRY(status, cop_tokens_open(&self->tokens, with->data, arch->vocab, err));
    COP_TRY(status,
            cop_sampler_create(&self->sampler, self->tokens, with->sequence, 0, false, err));
    COP_TRY(status, cop_network_create(&self->network, arch, &network, self->backend, err));
    COP_TRY(status, cop_network_load(self->network, self->checkpoint, err));
    COP_TRY(status, cop_optimizer_create(&self->optimizer, self->network, &optimizer, err));

done:
    return status;
}

static cop_status allocate(run *self, cop_error *err)
{
    cop_status status = COP_OK;
    const settings *with = self->with;
    const cop_parameter_view head = cop_network_head(self->network);
    const cop_dtype compute = cop_network_compute_dtype(self->network);
    const int64_t n = with->batch * with->sequence;
    const int64_t hidden = head.working.cols;
    const uint64_t row_bytes = ((uint64_t)n * sizeof(float) + 255) / 256 * 256;
    const uint64_t gradient_bytes = (uint64_t)(n * hidden) * cop_dtype_bytes(compute);
    char *memory = NULL;
    self->inputs = cop_alloc((size_t)n, sizeof *self->inputs);
    self->targets = cop_alloc((size_t)n, sizeof *self->targets);
    self->losses = cop_alloc((size_t)n, sizeof *self->losses);
    if (self->inputs == NULL || self->targets == NULL || self->losses == NULL) {
        status = COP_FAIL(err, COP_ERR_NOMEM, "curve_bench: no memory");
        goto done;
    }
    COP_TRY(status, cop_backend_alloc(self->backend, &self->memory, 2 * row_bytes + gradient_bytes,
                                      "batch and losses", err));
    memory = self->memory;
    self->head = (cop_head_loss_args){
        .hidden = cop_matrix_dense(NULL, compute, n, hidden),
        .head = head.working,
        .targets = (const int32_t *)(void *)memory,
        .ce_weight = 1.0F,
        .temperature = 1.0F,
        .grad_scale = 1.0F / (float)n,
        .cross_entropy = cop_matrix_dense(memory + row_bytes, COP_F32, 1, n),
        .d_hidden = cop_matrix_dense(memory + 2 * row_bytes, compute, n, hidden),
        .d_head = head.gradient,
    };
    COP_TRY(status,
            cop_backend_alloc(
                self->backend, &self->scratch,
                self->backend->ops->scratch_bytes(self->backend, COP_OP_HEAD_LOSS, &self->head) + 1,
                "scratch", err));
    self->head.scratch = self->scratch;

done:
    return status;
}

static cop_status step(run *self, int64_t at, double *loss, cop_error *err)
{
    cop_status status = COP_OK;
    const settings *with = self->with;
    const uint64_t n = (uint64_t)(with->batch * with->sequence);
    const cop_forward_options pass = {
        .ids = self->inputs, .batch = with->batch, .sequence = with->sequence, .keep = true};
    COP_TRY(status, cop_sampler_fill(self->sampler, at * with->batch, with->batch, self->inputs,
                                     self->targets, err));
    COP_TRY(status, cop_backend_to_device(self->backend, NULL, self->memory, self->targets,
                                          n * sizeof *self->targets, err));
    COP_TRY(status, cop_network_forward(self->network, &pass, &self->head.hidden, err));
    COP_TRY(status, self->backend->ops->head_loss(self->backend, NULL, &self->head, err));
    COP_TRY(status, cop_network_backward(self->network, self->head.d_hidden, NULL, NULL, err));
    COP_TRY(status, cop_optimizer_step(self->optimizer, with->learning_rate, err));
    COP_TRY(status,
            cop_backend_to_host(self->backend, NULL, self->losses, self->head.cross_entropy.data,
                                n * sizeof *self->losses, err));
    COP_TRY(status, cop_backend_synchronize(self->backend, NULL, err));
    *loss = 0.0;
    for (uint64_t i = 0; i < n; i++) {
        *loss += (double)self->losses[i] / (double)n;
    }

done:
    return status;
}

static cop_status run_steps(run *self, cop_error *err)
{
    cop_status status = COP_OK;
    COP_TRY(status, open_all(self, err));
    COP_TRY(status, allocate(self, err));
    for (int64_t i = 0; i < self->with->steps; i++) {
        double loss = 0.0;
        COP_TRY(status, step(self, i, &loss, err));
        printf("{\"bench\": \"curve\", \"step\": %lld, \"loss\": %.7f}\n", (long long)i, loss);
    }

done:
    return status;
}

static void close_all(run *self)
{
    if (self->backend != NULL) {
        cop_backend_free(self->backend, self->scratch);
        cop_backend_free(self->backend, self->memory);
    }
    cop_optimizer_destroy(self->optimizer);
    cop_network_destroy(self->network);
    cop_sampler_destroy(self->sampler);
    cop_tokens_destroy(self->tokens);
    cop_checkpoint_destroy(self->checkpoint);
    cop_backend_destroy(self->backend);
    cop_free(self->inputs);
    cop_free(self->targets);
    cop_free(self->losses);
}

static bool parse_option(settings *with, const char *key, const char *value)
{
    if (strcmp(key, "--model") == 0) {
        with->model = value;
    } else if (strcmp(key, "--data") == 0) {
        with->data = value;
    } else if (strcmp(key, "--device") == 0) {
        with->device = value;
    } else if (strcmp(key, "--precision") == 0) {
        with->precision = strcmp(value, "f32") == 0 ? COP_PRECISION_F32 : COP_PRECISION_BF16;
        return strcmp(value, "f32") == 0 || strcmp(value, "bf16") == 0;
    } else if (strcmp(key, "--batch") == 0) {
        return cop_text_to_i64(value, &with->batch) && with->batch > 0;
    } else if (strcmp(key, "--sequence") == 0) {
        return cop_text_to_i64(value, &with->sequence) && with->sequence > 0;
    } else if (strcmp(key, "--steps") == 0) {
        return cop_text_to_i64(value, &with->steps) && with->steps > 0;
    } else if (strcmp(key, "--learning-rate") == 0) {
        return cop_text_to_f64(value, &with->learning_rate) && with->learning_rate > 0.0;
    } else {
        return false;
    }
    return true;
}

int main(int argc, char **argv)
{
    settings with = {.device = "cpu",
                     .precision = COP_PRECISION_BF16,
                     .batch = 8,
                     .sequence = 128,
                     .steps = 100,
                     .learning_rate = 1e-3};
    run self = {.with = &with};
    cop_error err = {0};
    bool is_fine = argc % 2 == 1;
    for (int i = 1; is_fine && i + 1 < argc; i += 2) {
        is_fine = parse_option(&with, argv[i], argv[i + 1]);
    }
    if (!is_fine || with.model == NULL || with.data == NULL) {
        (void)fprintf(stderr, "usage: curve_bench --model DIR --data FILE.bin [--device NAME] "
                              "[--precision bf16|f32] [--batch N] [--sequence N] [--steps N] "
                              "[--learning-rate X]\n");
        return 2;
    }
    const cop_status status = run_steps(&self, &err);
    close_all(&self);
    if (status != COP_OK) {
        (void)fprintf(stderr, "curve_bench: %s\n", err.message);
    }
    return status == COP_OK ? 0 : 1;
}
