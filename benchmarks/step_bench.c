// The training step of a student: forward pass, LM head with KL against cached hidden states of a
// teacher, backward pass, AdamW. Prints one JSON line per case with tokens/s, FLOP/s (the student's, by
// cop_cost_train_flops), the share of the matmul peak, which is measured between the steps, and the
// memory of the backend at most against what was planned.
//
//     step_bench [--case NAME | --config FILE] [--device NAME] [--precision bf16|f32] [--batch N]
//                [--sequence N] [--steps N] [--recompute none|selective|block]
//                [--state full|compact|lean] [--frozen] [--profile] [--clock wall|cpu]
//
// Cases: 1m-v256 to 100m-v32k for the CPU (all of them when nothing is named); 0.1b, 0.5b, 1b, 4b, 8b
// for a device; --config takes a config.json. A teacher is 1.5 or 2 times as wide. Weights and states are
// random, made a tensor at a time. --state: f32 masters, gradients and moments (18 bytes per parameter
// in bf16), bf16 moments (14), all in bf16 with stochastic rounding (8). --frozen: embedding and head
// are not trained.
//
// `--clock cpu` divides the process' CPU time by the threads, for the peak too: what a shared machine
// would have taken without its other guests. Run it with OMP_WAIT_POLICY=passive, so that waiting costs
// no CPU time.
//
// With --profile, a line per operator follows: its share of the step and the percentage of its own
// limit; on a device every call is then waited for, and the step is slower.
//
// Longer than the aim: one program whose options all choose among the same few shapes.

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/system.h"
#include "base/text.h"
#include "benchmarks/profile.h"
#include "benchmarks/random.h"
#include "model/arch_json.h"
#include "model/cost.h"
#include "model/optimizer.h"

typedef struct bench_case {
    const char *name;
    int64_t hidden;
    int64_t layers;
    int64_t heads;
    int64_t kv_heads;
    int64_t head_dim;
    int64_t ffn;
    int64_t vocab;
    int64_t teacher_hidden;
    const char *config; // instead of the sizes
} bench_case;

// For the CPU: about 1, 10, 30 and 100 million parameters.
static const bench_case host_cases[] = {
    {"1m-v256", 128, 6, 2, 2, 64, 384, 256, 256, NULL},
    {"10m-v256", 320, 8, 5, 5, 64, 896, 256, 640, NULL},
    {"30m-v256", 512, 10, 8, 2, 64, 1408, 256, 1024, NULL},
    {"30m-v32k", 384, 8, 6, 2, 64, 1024, 32000, 768, NULL},
    {"100m-v32k", 768, 12, 12, 4, 64, 2048, 32000, 1536, NULL},
};

// For a device: Llama shapes with 32,000 ids, then the two students of the papers with 256,000.
static const bench_case device_cases[] = {
    {"0.1b", 768, 12, 12, 4, 64, 2048, 32000, 1536, NULL},
    {"0.5b", 1536, 16, 12, 4, 128, 4096, 32000, 3072, NULL},
    {"1b", 2048, 20, 16, 8, 128, 6144, 32000, 4096, NULL},
    {"4b", 0, 0, 0, 0, 0, 0, 0, 6144, COP_SOURCE_DIR "/configs/models/minitron-4b.json"},
    {"8b", 0, 0, 0, 0, 0, 0, 0, 6144, COP_SOURCE_DIR "/configs/models/minitron-8b.json"},
};

enum {
    HOST_CASES = sizeof host_cases / sizeof host_cases[0],
    DEVICE_CASES = sizeof device_cases / sizeof device_cases[0]
};

// bf16 tensor cores of H100 and H200 SXM without sparsity, for the share that papers quote.
static const double h200_flops = 989e12;

static const char *const state_names[] = {"full", "compact", "lean"};
static const char *const recompute_names[] = {"none", "selective", "block"};

typedef struct settings {
    const char *only;   // name of a case, or NULL
    const char *config; // a config.json, or NULL
    const char *device;
    cop_precision precision;
    cop_recompute recompute;
    cop_state_form state;
    int64_t batch;
    int64_t sequence;
    int64_t steps;
    bool is_frozen;
    bool is_profiling;
} settings;

static bool is_cpu_clock; // of the whole run

static double clock_seconds(void)
{
    struct timespec time;
    if (!is_cpu_clock || clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time) != 0) {
        return cop_clock_seconds();
    }
    return ((double)time.tv_sec + 1e-9 * (double)time.tv_nsec) / cop_system_threads();
}

// --- One case -----------------------------------------------------------------------------------

typedef struct bench {
    cop_backend *backend;
    bool is_device;
    cop_arch arch;
    cop_network *network;
    cop_optimizer *optimizer;
    int64_t tokens;
    int32_t *ids;  // host
    void *buffers; // device: what follows
    cop_head_loss_args loss;
    cop_matmul_args peak;
    void *copy; // [2 * COPY_BYTES]; devices only
    uint64_t planned_bytes;
} bench;

enum { COPY_BYTES = 1 << 28, ALIGNMENT = 256 };

static cop_status arch_of(cop_arch *out, const bench_case *at, cop_error *err)
{
    if (at->config != NULL) {
        return cop_arch_read(out, at->config, err);
    }
    *out = (cop_arch){.family = COP_FAMILY_LLAMA,
                      .vocab = at->vocab,
                      .hidden = at->hidden,
                      .head_dim = at->head_dim,
                      .context = 4096,
                      .layers = at->layers,
                      .norm = COP_NORM_RMS,
                      .norm_eps = 1e-5,
                      .activation = COP_ACTIVATION_SILU,
                      .is_gated = true,
                      .is_tied = true,
                      .rope = {.theta = 10000.0, .partial = 1.0},
                      .initializer_range = 0.02,
                      .bos = -1,
                      .eos = -1};
    for (int64_t i = 0; i < out->layers; i++) {
        out->layer[i] =
            (cop_layer_arch){.heads = at->heads, .kv_heads = at->kv_heads, .ffn = at->ffn};
    }
    return COP_OK;
}

// The next matrix of the block at `base` (NULL: only counts).
static cop_matrix take(char *base, uint64_t *at, cop_dtype dtype, int64_t rows, int64_t cols)
{
    void *data = base == NULL ? NULL : base + *at;
    *at +=
        ((uint64_t)(rows * cols) * cop_dtype_bytes(dtype) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    return cop_matrix_dense(data, dtype, rows, cols);
}

// Everything beside network and optimizer, in one block.
static uint64_t lay_out(bench *b, char *base, int64_t teacher, cop_dtype dtype)
{
    const int64_t size = b->is_device ? 8192 : 1024;
    const int64_t peak_rows = b->is_device ? 8192 : 2048;
    const cop_ops *ops = profile_inner(b->backend);
    uint64_t at = 0;
    b->loss.teacher_hidden = take(base, &at, dtype, b->tokens, teacher);
    b->loss.teacher_head = take(base, &at, dtype, b->arch.vocab, teacher);
    b->loss.d_hidden = take(base, &at, dtype, b->tokens, b->arch.hidden);
    b->loss.kl = take(base, &at, COP_F32, 1, b->tokens);
    b->loss.scratch = base == NULL ? NULL : base + at;
    at += ops->scratch_bytes(b->backend, COP_OP_HEAD_LOSS, &b->loss);
    at = (at + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    b->peak = (cop_matmul_args){.transpose_b = true, .alpha = 1.0F};
    b->peak.a = take(base, &at, dtype, peak_rows, size);
    b->peak.b = take(base, &at, dtype, size, size);
    b->peak.c = take(base, &at, COP_F32, peak_rows, size);
    b->peak.scratch = base == NULL ? NULL : base + at;
    at += ops->scratch_bytes(b->backend, COP_OP_MATMUL, &b->peak);
    at = (at + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    b->copy = base == NULL ? NULL : base + at;
    return at + (b->is_device ? 2 * (uint64_t)COPY_BYTES : 0);
}

static cop_status make_loss(bench *b, int64_t teacher, cop_dtype dtype, cop_error *err)
{
    cop_status status = COP_OK;
    const cop_parameter_view head = cop_network_head(b->network);
    uint64_t bytes = 0;
    b->loss =
        (cop_head_loss_args){.hidden = cop_matrix_dense(NULL, dtype, b->tokens, b->arch.hidden),
                             .head = head.working,
                             .kl_weight = 1.0F,
                             .temperature = 1.0F,
                             .grad_scale = 1.0F / (float)b->tokens,
                             .d_head = head.gradient};
    bytes = lay_out(b, NULL, teacher, dtype);
    COP_TRY(status,
            cop_backend_alloc(b->backend, &b->buffers, bytes, "LM head, teacher, peak", err));
    b->planned_bytes += bytes;
    (void)lay_out(b, b->buffers, teacher, dtype);
    COP_TRY(status, bench_random_fill(b->backend, b->loss.teacher_hidden, 1.0F, 3, err));
    COP_TRY(status, bench_random_fill(b->backend, b->loss.teacher_head, 0.05F, 4, err));
    COP_TRY(status, bench_random_fill(b->backend, b->peak.a, 0.5F, 1, err));
    COP_TRY(status, bench_random_fill(b->backend, b->peak.b, 0.5F, 2, err));

done:
    return status;
}

static cop_status setup(bench *b, const bench_case *at, const settings *with, cop_error *err)
{
    cop_status status = COP_OK;
    cop_network_options options = {.precision = with->precision,
                                   .batch = with->batch,
                                   .sequence = with->sequence,
                                   .is_training = true,
                                   .recompute = with->recompute,
                                   .freeze_vocabulary = with->is_frozen};
    cop_optimizer_options optimizer = COP_OPTIMIZER_OPTIONS_DEFAULT;
    const cop_dtype dtype = with->precision == COP_PRECISION_BF16 ? COP_BF16 : COP_F32;
    cop_plan plan = {0};
    uint32_t state = 7;

    cop_state_form_apply(with->state, &options, &optimizer);
    b->tokens = with->batch * with->sequence;
    COP_TRY(status, arch_of(&b->arch, at, err));
    COP_TRY(status, cop_network_plan(&plan, "student", &b->arch, &options, b->backend, err));
    COP_TRY(status,
            cop_optimizer_plan(&plan, "student", &b->arch, &options, &optimizer, b->backend, err));
    b->planned_bytes = cop_plan_total(&plan);
    COP_TRY(status, cop_network_create(&b->network, &b->arch, &options, b->backend, err));
    COP_TRY(status, cop_network_init_fast(b->network, 1, err));
    COP_TRY(status, cop_optimizer_create(&b->optimizer, b->network, &optimizer, err));
    b->ids = cop_alloc((size_t)b->tokens, sizeof *b->ids);
    if (b->ids == NULL) {
        status = COP_FAIL(err, COP_ERR_NOMEM, "step_bench: no memory for %s", at->name);
        goto done;
    }
    for (int64_t i = 0; i < b->tokens; i++) {
        b->ids[i] = (int32_t)(bench_random(&state) % (uint32_t)b->arch.vocab);
    }
    COP_TRY(status, make_loss(b, at->teacher_hidden, dtype, err));

done:
    return status;
}

static void teardown(bench *b)
{
    cop_backend_free(b->backend, b->buffers);
    cop_optimizer_destroy(b->optimizer);
    cop_network_destroy(b->network);
    cop_free(b->ids);
}

static cop_status run_step(bench *b, const settings *with, cop_error *err)
{
    cop_status status = COP_OK;
    const cop_forward_options pass = {
        .ids = b->ids, .batch = with->batch, .sequence = with->sequence, .keep = true};
    COP_TRY(status, cop_network_forward(b->network, &pass, &b->loss.hidden, err));
    COP_TRY(status, b->backend->ops->head_loss(b->backend, NULL, &b->loss, err));
    COP_TRY(status, cop_network_backward(b->network, b->loss.d_hidden, NULL, NULL, err));
    COP_TRY(status, cop_optimizer_step(b->optimizer, 1e-4, err));
    COP_TRY(status, cop_backend_synchronize(b->backend, NULL, err));

done:
    return status;
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a;
    const double y = *(const double *)b;
    return (x > y) - (x < y);
}

// The best rate so far of the product, and on a device of a copy (bytes read and written).
static cop_status measure_limits(bench *b, double *peak, double *bandwidth, cop_error *err)
{
    enum { RUNS = 8 };

    cop_status status = COP_OK;
    const cop_ops *ops = profile_inner(b->backend);
    const double flops =
        2.0 * (double)b->peak.c.rows * (double)b->peak.c.cols * (double)b->peak.a.cols;
    for (int i = 0; i < RUNS; i++) {
        double start = clock_seconds();
        COP_TRY(status, ops->matmul(b->backend, NULL, &b->peak, err));
        COP_TRY(status, cop_backend_synchronize(b->backend, NULL, err));
        const double rate = flops / (clock_seconds() - start);
        *peak = rate > *peak ? rate : *peak;
        if (b->is_device) {
            start = clock_seconds();
            COP_TRY(status, cop_backend_on_device(b->backend, NULL, b->copy,
                                                  (char *)b->copy + COPY_BYTES, COPY_BYTES, err));
            COP_TRY(status, cop_backend_synchronize(b->backend, NULL, err));
            const double moved = 2.0 * COPY_BYTES / (clock_seconds() - start);
            *bandwidth = moved > *bandwidth ? moved : *bandwidth;
        }
    }

done:
    return status;
}

// Runs the steps, measuring the limits between them.
static cop_status measure(bench *b, const settings *with, double *seconds, double *peak,
                          double *bandwidth, cop_error *err)
{
    cop_status status = COP_OK;
    COP_TRY(status, run_step(b, with, err)); // touches all memory, makes all kernels
    COP_TRY(status, run_step(b, with, err));
    profile_reset();
    for (int64_t i = 0; i < with->steps; i++) {
        COP_TRY(status, measure_limits(b, peak, bandwidth, err));
        seconds[i] = -clock_seconds();
        COP_TRY(status, run_step(b, with, err));
        seconds[i] += clock_seconds();
    }

done:
    return status;
}

static void print_case(const bench *b, const bench_case *at, const settings *with, double *seconds,
                       double peak, double bandwidth)
{
    const cop_cost cost = cop_cost_of(&b->arch, 1, with->sequence, COP_BF16, COP_BF16);
    const double tokens = (double)(with->batch * with->sequence);
    const double flops = tokens * cop_cost_train_flops(&b->arch, with->sequence);
    const double teacher = tokens * 2.0 * (double)b->arch.vocab * (double)at->teacher_hidden;
    double total = 0.0;
    for (int64_t i = 0; i < with->steps; i++) {
        total += seconds[i];
    }
    qsort(seconds, (size_t)with->steps, sizeof *seconds, compare);
    const double best = seconds[0];
    const double median = seconds[with->steps / 2];
    printf("{\"bench\": \"step\", \"case\": \"%s\", \"device\": \"%s\", \"precision\": \"%s\", "
           "\"clock\": \"%s\", \"recompute\": \"%s\", \"state\": \"%s\", \"frozen\": %s, "
           "\"params\": %lld, \"batch\": %lld, \"sequence\": %lld, \"threads\": %d, "
           "\"steps\": %lld, "
           "\"best_seconds\": %.4f, \"median_seconds\": %.4f, \"tokens_per_second\": %.0f, "
           "\"gflops\": %.1f, \"matmul_peak_gflops\": %.1f, \"percent_of_peak\": %.1f, "
           "\"percent_of_peak_median\": %.1f, \"percent_with_teacher_head\": %.1f, ",
           at->name, with->device, cop_precision_name(with->precision),
           is_cpu_clock ? "cpu" : "wall", recompute_names[with->recompute],
           state_names[with->state], with->is_frozen ? "true" : "false", (long long)cost.params,
           (long long)with->batch, (long long)with->sequence, cop_system_threads(),
           (long long)with->steps, best, median, tokens / best, flops / best / 1e9, peak / 1e9,
           100.0 * flops / best / peak, 100.0 * flops / median / peak,
           100.0 * (flops + teacher) / best / peak);
    if (b->is_device) {
        printf("\"percent_of_989_tflops\": %.1f, \"copy_gbytes_per_second\": %.1f, ",
               100.0 * flops / best / h200_flops, bandwidth / 1e9);
    }
    printf("\"planned_bytes\": %llu, \"peak_bytes\": %llu}\n", (unsigned long long)b->planned_bytes,
           (unsigned long long)b->backend->memory_peak_bytes);
    if (with->is_profiling) {
        profile_print(at->name, total, peak, bandwidth);
    }
    (void)fflush(stdout);
}

static cop_status run_case(cop_backend *backend, const bench_case *at, const settings *with,
                           cop_error *err)
{
    cop_status status = COP_OK;
    cop_device_info info;
    bench b = {.backend = backend};
    double *seconds = cop_alloc((size_t)with->steps, sizeof *seconds);
    double peak = 0.0;
    double bandwidth = 0.0;
    if (seconds == NULL) {
        COP_TRY(status, COP_FAIL(err, COP_ERR_NOMEM, "step_bench: no memory"));
    }
    COP_TRY(status, cop_backend_info(backend, &info, err));
    b.is_device = !info.is_host_memory;
    backend->memory_peak_bytes = backend->memory_used_bytes;
    COP_TRY(status, setup(&b, at, with, err));
    COP_TRY(status, measure(&b, with, seconds, &peak, &bandwidth, err));
    print_case(&b, at, with, seconds, peak, bandwidth);

done:
    teardown(&b);
    cop_free(seconds);
    return status;
}

// --- Command line -------------------------------------------------------------------------------

static int usage(const char *option)
{
    (void)fprintf(stderr,
                  "step_bench: %s (allowed: --case NAME, --config FILE, --device NAME, "
                  "--precision bf16|f32, --recompute none|selective|block, "
                  "--state full|compact|lean, --batch N, --sequence N, --steps N, "
                  "--clock wall|cpu, --frozen, --profile)\n",
                  option);
    return 2;
}

static bool parse_choice(const char *value, const char *const *names, int count, int *out)
{
    for (int i = 0; i < count; i++) {
        if (strcmp(value, names[i]) == 0) {
            *out = i;
            return true;
        }
    }
    return false;
}

static bool parse_option(settings *with, const char *key, const char *value)
{
    bool is_fine = true;
    int choice = 0;
    if (strcmp(key, "--case") == 0) {
        with->only = value;
    } else if (strcmp(key, "--config") == 0) {
        with->config = value;
    } else if (strcmp(key, "--device") == 0 || strcmp(key, "--backend") == 0) {
        with->device = value;
    } else if (strcmp(key, "--precision") == 0) {
        with->precision = strcmp(value, "f32") == 0 ? COP_PRECISION_F32 : COP_PRECISION_BF16;
        is_fine = strcmp(value, "f32") == 0 || strcmp(value, "bf16") == 0;
    } else if (strcmp(key, "--recompute") == 0) {
        is_fine = parse_choice(value, recompute_names, 3, &choice);
        with->recompute = (cop_recompute)choice;
    } else if (strcmp(key, "--state") == 0) {
        is_fine = parse_choice(value, state_names, 3, &choice);
        with->state = (cop_state_form)choice;
    } else if (strcmp(key, "--clock") == 0) {
        is_cpu_clock = strcmp(value, "cpu") == 0;
        is_fine = is_cpu_clock || strcmp(value, "wall") == 0;
    } else if (strcmp(key, "--batch") == 0) {
        is_fine = cop_text_to_i64(value, &with->batch) && with->batch > 0;
    } else if (strcmp(key, "--sequence") == 0) {
        is_fine = cop_text_to_i64(value, &with->sequence) && with->sequence > 0;
    } else if (strcmp(key, "--steps") == 0) {
        is_fine = cop_text_to_i64(value, &with->steps) && with->steps > 0;
    } else {
        is_fine = false;
    }
    return is_fine;
}

// The cases that the settings name. COP_ERR_CONFIG: none has that name.
static cop_status run_cases(cop_backend *backend, const settings *with, cop_error *err)
{
    cop_status status = COP_OK;
    int found = 0;
    if (with->config != NULL) {
        const bench_case own = {
            .name = with->config, .teacher_hidden = 6144, .config = with->config};
        return run_case(backend, &own, with, err);
    }
    for (int i = 0; i < HOST_CASES + DEVICE_CASES; i++) {
        const bench_case *at = i < HOST_CASES ? &host_cases[i] : &device_cases[i - HOST_CASES];
        const bool is_wanted =
            with->only == NULL ? i < HOST_CASES : strcmp(with->only, at->name) == 0;
        if (is_wanted) {
            found++;
            COP_TRY(status, run_case(backend, at, with, err));
        }
    }
    if (found == 0) {
        status =
            COP_FAIL(err, COP_ERR_CONFIG, "--case is %s (allowed: the names above)", with->only);
    }

done:
    return status;
}

int main(int argc, char **argv)
{
    cop_status status = COP_OK;
    cop_error err = {0};
    cop_backend *backend = NULL;
    settings with = {
        .device = "cpu", .precision = COP_PRECISION_BF16, .batch = 8, .sequence = 512, .steps = 5};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--profile") == 0) {
            with.is_profiling = true;
        } else if (strcmp(argv[i], "--frozen") == 0) {
            with.is_frozen = true;
        } else if (i + 1 == argc || !parse_option(&with, argv[i], argv[i + 1])) {
            return usage(argv[i]);
        } else {
            i++;
        }
    }
    COP_TRY(status, cop_backend_create(&backend, with.device, &err));
    if (with.is_profiling) {
        profile_install(backend, clock_seconds);
    }
    COP_TRY(status, run_cases(backend, &with, &err));

done:
    cop_backend_destroy(backend);
    if (status != COP_OK) {
        (void)fprintf(stderr, "step_bench: %s\n", err.message);
    }
    return status == COP_OK ? 0 : 1;
}
