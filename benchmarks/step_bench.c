// The training step of a student: forward pass, LM head with KL against cached hidden states of a
// teacher, backward pass, AdamW. Prints one JSON line per case with tokens/s, FLOP/s (the student's, by
// cop_cost_train_flops) and the share of the matmul peak, which is measured between the steps.
//
//     step_bench [--case NAME] [--precision bf16|f32] [--batch N] [--sequence N] [--steps N]
//                [--recompute none|selective|block] [--profile] [--backend NAME] [--clock wall|cpu]
//
// `--clock cpu` divides the process' CPU time by the threads, for the peak too: what a shared machine
// would have taken without its other guests. Run it with OMP_WAIT_POLICY=passive, so that waiting costs
// no CPU time.
//
// With --profile, a line per operator follows: its share of the step and, for matmuls, its rate.

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/system.h"
#include "base/text.h"
#include "kernels/cpu.h"
#include "model/cost.h"
#include "model/optimizer.h"

typedef struct bench_case {
    const char *name;
    int64_t hidden;
    int64_t layers;
    int64_t heads;
    int64_t kv_heads;
    int64_t ffn;
    int64_t vocab;
    int64_t teacher_hidden;
} bench_case;

// About 1, 10, 30 and 100 million parameters; a teacher of twice the width.
static const bench_case CASES[] = {
    {"1m-v256", 128, 6, 2, 2, 384, 256, 256},         {"10m-v256", 320, 8, 5, 5, 896, 256, 640},
    {"30m-v256", 512, 10, 8, 2, 1408, 256, 1024},     {"30m-v32k", 384, 8, 6, 2, 1024, 32000, 768},
    {"100m-v32k", 768, 12, 12, 4, 2048, 32000, 1536},
};

enum { CASES_COUNT = sizeof CASES / sizeof CASES[0] };

typedef struct settings {
    const char *only; // name of a case, or NULL
    const char *backend;
    cop_precision precision;
    cop_recompute recompute;
    int64_t batch;
    int64_t sequence;
    int64_t steps;
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

// --- Profile: a table of operators around another one ------------------------------------------

enum { MATMUL_FORWARD = COP_OP_COUNT, MATMUL_INPUT, MATMUL_WEIGHT, ROWS };

static struct {
    const cop_ops *inner;
    double seconds[ROWS];
    double flops[ROWS];
    int64_t calls[ROWS];
} profile;

static void note(int row, double start, double flops)
{
    profile.seconds[row] += clock_seconds() - start;
    profile.flops[row] += flops;
    profile.calls[row]++;
}

static cop_status profiled_matmul(cop_backend *backend, cop_stream *stream,
                                  const cop_matmul_args *args, cop_error *err)
{
    const double start = clock_seconds();
    const cop_status status = profile.inner->matmul(backend, stream, args, err);
    const int64_t depth = args->transpose_a ? args->a.rows : args->a.cols;
    note(args->transpose_a   ? MATMUL_WEIGHT
         : args->transpose_b ? MATMUL_FORWARD
                             : MATMUL_INPUT,
         start, 2.0 * (double)args->c.rows * (double)args->c.cols * (double)depth);
    return status;
}

#define PROFILED(NAME, ROW)                                                          \
    static cop_status profiled_##NAME(cop_backend *backend, cop_stream *stream,      \
                                      const cop_##NAME##_args *args, cop_error *err) \
    {                                                                                \
        const double start = clock_seconds();                                        \
        const cop_status status = profile.inner->NAME(backend, stream, args, err);   \
        note((ROW), start, 0.0);                                                     \
        return status;                                                               \
    }

PROFILED(norm_forward, COP_OP_NORM_FORWARD)
PROFILED(norm_backward, COP_OP_NORM_BACKWARD)
PROFILED(rope, COP_OP_ROPE)
PROFILED(attention_forward, COP_OP_ATTENTION_FORWARD)
PROFILED(attention_backward, COP_OP_ATTENTION_BACKWARD)
PROFILED(activation_forward, COP_OP_ACTIVATION_FORWARD)
PROFILED(activation_backward, COP_OP_ACTIVATION_BACKWARD)
PROFILED(embedding_forward, COP_OP_EMBEDDING_FORWARD)
PROFILED(embedding_backward, COP_OP_EMBEDDING_BACKWARD)
PROFILED(convert, COP_OP_CONVERT)
PROFILED(head_loss, COP_OP_HEAD_LOSS)
PROFILED(sum_squares, COP_OP_SUM_SQUARES)
PROFILED(adamw, COP_OP_ADAMW)

static const struct {
    int row;
    const char *name;
} PROFILE_NAMES[] = {
    {MATMUL_FORWARD, "matmul_forward"},
    {MATMUL_INPUT, "matmul_input_gradient"},
    {MATMUL_WEIGHT, "matmul_weight_gradient"},
    {COP_OP_NORM_FORWARD, "norm_forward"},
    {COP_OP_NORM_BACKWARD, "norm_backward"},
    {COP_OP_ROPE, "rope"},
    {COP_OP_ATTENTION_FORWARD, "attention_forward"},
    {COP_OP_ATTENTION_BACKWARD, "attention_backward"},
    {COP_OP_ACTIVATION_FORWARD, "activation_forward"},
    {COP_OP_ACTIVATION_BACKWARD, "activation_backward"},
    {COP_OP_EMBEDDING_FORWARD, "embedding_forward"},
    {COP_OP_EMBEDDING_BACKWARD, "embedding_backward"},
    {COP_OP_CONVERT, "convert"},
    {COP_OP_HEAD_LOSS, "head_loss"},
    {COP_OP_SUM_SQUARES, "sum_squares"},
    {COP_OP_ADAMW, "adamw"},
};

static void install_profile(cop_backend *backend, cop_ops *table)
{
    profile.inner = backend->ops;
    *table = *backend->ops;
    table->matmul = profiled_matmul;
    table->norm_forward = profiled_norm_forward;
    table->norm_backward = profiled_norm_backward;
    table->rope = profiled_rope;
    table->attention_forward = profiled_attention_forward;
    table->attention_backward = profiled_attention_backward;
    table->activation_forward = profiled_activation_forward;
    table->activation_backward = profiled_activation_backward;
    table->embedding_forward = profiled_embedding_forward;
    table->embedding_backward = profiled_embedding_backward;
    table->convert = profiled_convert;
    table->head_loss = profiled_head_loss;
    table->sum_squares = profiled_sum_squares;
    table->adamw = profiled_adamw;
    backend->ops = table;
}

static void print_profile(const char *name, double step_seconds, double peak)
{
    double rest = 1.0;
    double total = 0.0;
    for (size_t i = 0; i < sizeof PROFILE_NAMES / sizeof PROFILE_NAMES[0]; i++) {
        total += profile.seconds[PROFILE_NAMES[i].row];
    }
    for (size_t i = 0; i < sizeof PROFILE_NAMES / sizeof PROFILE_NAMES[0]; i++) {
        const int row = PROFILE_NAMES[i].row;
        const double seconds = profile.seconds[row];
        printf("{\"bench\": \"step_profile\", \"case\": \"%s\", \"op\": \"%s\", \"share\": %.4f, "
               "\"calls\": %lld",
               name, PROFILE_NAMES[i].name, seconds / step_seconds, (long long)profile.calls[row]);
        if (profile.flops[row] > 0) {
            printf(", \"gflops\": %.1f, \"percent_of_peak\": %.1f",
                   profile.flops[row] / seconds / 1e9, 100.0 * profile.flops[row] / seconds / peak);
        }
        printf("}\n");
    }
    rest -= total / step_seconds;
    printf("{\"bench\": \"step_profile\", \"case\": \"%s\", \"op\": \"everything else\", "
           "\"share\": %.4f}\n",
           name, rest);
}

// --- One case -----------------------------------------------------------------------------------

typedef struct bench {
    cop_backend *backend;
    cop_network *network;
    cop_optimizer *optimizer;
    int64_t tokens;
    int32_t *ids;
    void *teacher_hidden;
    void *teacher_head;
    void *d_hidden;
    float *kl;
    void *scratch;
    cop_head_loss_args loss;
} bench;

static cop_arch arch_of(const bench_case *at)
{
    cop_arch arch = {.family = COP_FAMILY_LLAMA,
                     .vocab = at->vocab,
                     .hidden = at->hidden,
                     .head_dim = 64,
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
    for (int64_t i = 0; i < arch.layers; i++) {
        arch.layer[i] =
            (cop_layer_arch){.heads = at->heads, .kv_heads = at->kv_heads, .ffn = at->ffn};
    }
    return arch;
}

static uint32_t next_random(uint32_t *state)
{
    *state = *state * 1664525U + 1013904223U;
    return *state >> 8;
}

static void fill(void *data, cop_dtype dtype, int64_t count, float scale, uint32_t seed)
{
    uint32_t state = seed;
    for (int64_t i = 0; i < count; i++) {
        const float value = scale * ((float)next_random(&state) / 8388608.0F - 1.0F);
        if (dtype == COP_BF16) {
            ((uint16_t *)data)[i] = cop_bf16_from_f32(value);
        } else {
            ((float *)data)[i] = value;
        }
    }
}

static cop_status allocate(bench *b, const bench_case *at, cop_dtype dtype, cop_error *err)
{
    const size_t element = cop_dtype_bytes(dtype);
    const size_t n = (size_t)b->tokens;
    b->ids = cop_alloc(n, sizeof *b->ids);
    b->teacher_hidden = cop_alloc(n * (size_t)at->teacher_hidden, element);
    b->teacher_head = cop_alloc((size_t)(at->vocab * at->teacher_hidden), element);
    b->d_hidden = cop_alloc(n * (size_t)at->hidden, element);
    b->kl = cop_alloc(n, sizeof *b->kl);
    if (b->ids == NULL || b->teacher_hidden == NULL || b->teacher_head == NULL ||
        b->d_hidden == NULL || b->kl == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "step_bench: no memory for %s", at->name);
    }
    return COP_OK;
}

static cop_status setup(bench *b, const bench_case *at, const settings *with, cop_error *err)
{
    cop_status status = COP_OK;
    const cop_arch arch = arch_of(at);
    const cop_network_options options = {.precision = with->precision,
                                         .batch = with->batch,
                                         .sequence = with->sequence,
                                         .is_training = true,
                                         .recompute = with->recompute};
    const cop_optimizer_options optimizer = COP_OPTIMIZER_OPTIONS_DEFAULT;
    const cop_dtype dtype = with->precision == COP_PRECISION_BF16 ? COP_BF16 : COP_F32;
    uint32_t state = 7;
    uint64_t bytes = 0;

    b->tokens = with->batch * with->sequence;
    COP_TRY(status, cop_network_create(&b->network, &arch, &options, b->backend, err));
    COP_TRY(status, cop_network_init_fast(b->network, 1, err));
    COP_TRY(status, cop_optimizer_create(&b->optimizer, b->network, &optimizer, err));
    COP_TRY(status, allocate(b, at, dtype, err));
    for (int64_t i = 0; i < b->tokens; i++) {
        b->ids[i] = (int32_t)(next_random(&state) % (uint32_t)at->vocab);
    }
    fill(b->teacher_hidden, dtype, b->tokens * at->teacher_hidden, 1.0F, 3);
    fill(b->teacher_head, dtype, at->vocab * at->teacher_hidden, 0.05F, 4);
    b->loss = (cop_head_loss_args){
        .hidden = cop_matrix_dense(NULL, dtype, b->tokens, at->hidden),
        .head = cop_network_head(b->network).working,
        .teacher_hidden = cop_matrix_dense(b->teacher_hidden, dtype, b->tokens, at->teacher_hidden),
        .teacher_head = cop_matrix_dense(b->teacher_head, dtype, at->vocab, at->teacher_hidden),
        .kl_weight = 1.0F,
        .temperature = 1.0F,
        .grad_scale = 1.0F / (float)b->tokens,
        .kl = cop_matrix_dense(b->kl, COP_F32, 1, b->tokens),
        .d_hidden = cop_matrix_dense(b->d_hidden, dtype, b->tokens, at->hidden),
        .d_head = cop_network_head(b->network).gradient};
    bytes = b->backend->ops->scratch_bytes(b->backend, COP_OP_HEAD_LOSS, &b->loss);
    COP_TRY(status, cop_backend_alloc(b->backend, &b->scratch, bytes + 64, "scratch", err));
    b->loss.scratch = b->scratch;

done:
    return status;
}

static void teardown(bench *b)
{
    cop_backend_free(b->backend, b->scratch);
    cop_optimizer_destroy(b->optimizer);
    cop_network_destroy(b->network);
    cop_free(b->ids);
    cop_free(b->teacher_hidden);
    cop_free(b->teacher_head);
    cop_free(b->d_hidden);
    cop_free(b->kl);
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

// As cop_cpu_matmul_peak(), by the chosen clock.
static cop_status measure_peak(bench *b, double *out, cop_dtype dtype, cop_error *err)
{
    enum { M = 2048, N = 1024, K = 1024, RUNS = 8 };

    cop_status status = COP_OK;
    const cop_ops *ops = profile.inner != NULL ? profile.inner : b->backend->ops;
    void *memory[4] = {NULL, NULL, NULL, NULL};
    cop_matmul_args args = {.a = cop_matrix_dense(NULL, dtype, M, K),
                            .b = cop_matrix_dense(NULL, dtype, N, K),
                            .c = cop_matrix_dense(NULL, COP_F32, M, N),
                            .transpose_b = true,
                            .alpha = 1.0F};
    const uint64_t bytes[4] = {M * K * sizeof(float), N * K * sizeof(float), M * N * sizeof(float),
                               64 + ops->scratch_bytes(b->backend, COP_OP_MATMUL, &args)};
    if (!is_cpu_clock) {
        return cop_cpu_matmul_peak(out, dtype, 0.2, err);
    }
    for (int i = 0; i < 4; i++) {
        COP_TRY(status, cop_backend_alloc(b->backend, &memory[i], bytes[i], "peak", err));
    }
    args.a.data = memory[0];
    args.b.data = memory[1];
    args.c.data = memory[2];
    args.scratch = memory[3];
    fill(memory[0], dtype, M * K, 0.5F, 1);
    fill(memory[1], dtype, N * K, 0.5F, 2);
    for (int i = 0; i < RUNS; i++) {
        const double start = clock_seconds();
        COP_TRY(status, ops->matmul(b->backend, NULL, &args, err));
        const double rate = 2.0 * M * N * K / (clock_seconds() - start);
        *out = rate > *out ? rate : *out;
    }

done:
    for (int i = 0; i < 4; i++) {
        cop_backend_free(b->backend, memory[i]);
    }
    return status;
}

// Runs the steps, measuring the peak between them.
static cop_status measure(bench *b, const settings *with, double *seconds, double *peak,
                          cop_error *err)
{
    cop_status status = COP_OK;
    const cop_dtype dtype = with->precision == COP_PRECISION_BF16 ? COP_BF16 : COP_F32;
    COP_TRY(status, run_step(b, with, err)); // touches all memory, makes all kernels
    memset(profile.seconds, 0, sizeof profile.seconds);
    memset(profile.flops, 0, sizeof profile.flops);
    memset(profile.calls, 0, sizeof profile.calls);
    for (int64_t i = 0; i < with->steps; i++) {
        double now = 0.0;
        COP_TRY(status, measure_peak(b, &now, dtype, err));
        *peak = now > *peak ? now : *peak;
        seconds[i] = -clock_seconds();
        COP_TRY(status, run_step(b, with, err));
        seconds[i] += clock_seconds();
    }

done:
    return status;
}

static void print_case(const bench_case *at, const settings *with, double *seconds, double peak)
{
    const cop_arch arch = arch_of(at);
    const cop_cost cost = cop_cost_of(&arch, 1, with->sequence, COP_BF16, COP_BF16);
    const double tokens = (double)(with->batch * with->sequence);
    const double flops = tokens * cop_cost_train_flops(&arch, with->sequence);
    const double teacher = tokens * 2.0 * (double)at->vocab * (double)at->teacher_hidden;
    double total = 0.0;
    for (int64_t i = 0; i < with->steps; i++) {
        total += seconds[i];
    }
    qsort(seconds, (size_t)with->steps, sizeof *seconds, compare);
    const double best = seconds[0];
    const double median = seconds[with->steps / 2];
    printf("{\"bench\": \"step\", \"case\": \"%s\", \"precision\": \"%s\", \"clock\": \"%s\", "
           "\"params\": %lld, \"batch\": %lld, \"sequence\": %lld, \"threads\": %d, "
           "\"steps\": %lld, "
           "\"best_seconds\": %.4f, \"median_seconds\": %.4f, \"tokens_per_second\": %.0f, "
           "\"gflops\": %.1f, \"matmul_peak_gflops\": %.1f, \"percent_of_peak\": %.1f, "
           "\"percent_of_peak_median\": %.1f, \"percent_with_teacher_head\": %.1f}\n",
           at->name, cop_precision_name(with->precision), is_cpu_clock ? "cpu" : "wall",
           (long long)cost.params, (long long)with->batch, (long long)with->sequence,
           cop_system_threads(), (long long)with->steps, best, median, tokens / best,
           flops / best / 1e9, peak / 1e9, 100.0 * flops / best / peak,
           100.0 * flops / median / peak, 100.0 * (flops + teacher) / best / peak);
    if (with->is_profiling) {
        print_profile(at->name, total, peak);
    }
    (void)fflush(stdout);
}

static cop_status run_case(cop_backend *backend, const bench_case *at, const settings *with,
                           cop_error *err)
{
    cop_status status = COP_OK;
    bench b = {.backend = backend};
    double *seconds = cop_alloc((size_t)with->steps, sizeof *seconds);
    double peak = 0.0;
    if (seconds == NULL) {
        COP_TRY(status, COP_FAIL(err, COP_ERR_NOMEM, "step_bench: no memory"));
    }
    COP_TRY(status, setup(&b, at, with, err));
    COP_TRY(status, measure(&b, with, seconds, &peak, err));
    print_case(at, with, seconds, peak);

done:
    teardown(&b);
    cop_free(seconds);
    return status;
}

// --- Command line -------------------------------------------------------------------------------

static int usage(const char *option)
{
    (void)fprintf(stderr,
                  "step_bench: %s (allowed: --case NAME, --backend NAME, --precision bf16|f32, "
                  "--recompute none|selective|block, --batch N, --sequence N, --steps N, "
                  "--clock wall|cpu, --profile)\n",
                  option);
    return 2;
}

static bool parse_option(settings *with, const char *key, const char *value)
{
    bool is_fine = true;
    if (strcmp(key, "--case") == 0) {
        with->only = value;
    } else if (strcmp(key, "--backend") == 0) {
        with->backend = value;
    } else if (strcmp(key, "--precision") == 0) {
        with->precision = strcmp(value, "f32") == 0 ? COP_PRECISION_F32 : COP_PRECISION_BF16;
        is_fine = strcmp(value, "f32") == 0 || strcmp(value, "bf16") == 0;
    } else if (strcmp(key, "--recompute") == 0) {
        with->recompute = strcmp(value, "block") == 0       ? COP_RECOMPUTE_BLOCK
                          : strcmp(value, "selective") == 0 ? COP_RECOMPUTE_SELECTIVE
                                                            : COP_RECOMPUTE_NONE;
    } else if (strcmp(key, "--clock") == 0) {
        is_cpu_clock = strcmp(value, "cpu") == 0;
        is_fine = is_cpu_clock || strcmp(value, "wall") == 0;
    } else if (strcmp(key, "--batch") == 0) {
        is_fine = cop_text_to_i64(value, &with->batch);
    } else if (strcmp(key, "--sequence") == 0) {
        is_fine = cop_text_to_i64(value, &with->sequence);
    } else if (strcmp(key, "--steps") == 0) {
        is_fine = cop_text_to_i64(value, &with->steps) && with->steps > 0;
    } else {
        is_fine = false;
    }
    return is_fine;
}

int main(int argc, char **argv)
{
    cop_status status = COP_OK;
    cop_error err = {0};
    cop_backend *backend = NULL;
    cop_ops table;
    settings with = {
        .backend = "cpu", .precision = COP_PRECISION_BF16, .batch = 8, .sequence = 512, .steps = 5};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--profile") == 0) {
            with.is_profiling = true;
        } else if (i + 1 == argc || !parse_option(&with, argv[i], argv[i + 1])) {
            return usage(argv[i]);
        } else {
            i++;
        }
    }
    COP_TRY(status, cop_backend_create(&backend, with.backend, &err));
    if (with.is_profiling) {
        install_profile(backend, &table);
    }
    for (int i = 0; i < CASES_COUNT; i++) {
        if (with.only == NULL || strcmp(with.only, CASES[i].name) == 0) {
            COP_TRY(status, run_case(backend, &CASES[i], &with, &err));
        }
    }

done:
    cop_backend_destroy(backend);
    if (status != COP_OK) {
        (void)fprintf(stderr, "step_bench: %s\n", err.message);
    }
    return status == COP_OK ? 0 : 1;
}
