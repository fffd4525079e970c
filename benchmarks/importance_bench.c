// The importance pass: forward passes over calibration text with every place measured, with and
// without leave-one-out perplexity. Prints one JSON line per case with tokens/s, FLOP/s (matmuls and
// causal attention that the pass needs) and the share of the matmul peak, which is measured between
// the runs; and the same for the bare forward pass, which says what measuring costs.
//
//     importance_bench [--case NAME | --config FILE] [--device NAME] [--precision bf16|f32] [--batch N]
//                      [--sequence N] [--samples N] [--repeats N]
//
// --config takes a config.json and gives the model random weights; leave-one-out perplexity is then left
// out, whose cost grows with the square of the layers.

#include "prune/importance.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/system.h"
#include "base/text.h"
#include "benchmarks/random.h"
#include "kernels/peak.h"
#include "model/arch_json.h"
#include "model/cost.h"

typedef struct bench_case {
    const char *name;
    int64_t hidden;
    int64_t layers;
    int64_t heads;
    int64_t kv_heads;
    int64_t ffn;
    int64_t vocab;
} bench_case;

static const bench_case cases[] = {
    {"10m-v256", 320, 8, 5, 5, 896, 256},
    {"30m-v32k", 384, 8, 6, 2, 1024, 32000},
    {"100m-v32k", 768, 12, 12, 4, 2048, 32000},
};

enum { CASE_COUNT = sizeof cases / sizeof cases[0] };

typedef struct settings {
    const char *only;   // name of a case, or NULL
    const char *config; // a config.json, or NULL
    const char *device;
    cop_precision precision;
    int64_t batch;
    int64_t sequence;
    int64_t samples;
    int64_t repeats;
} settings;

static cop_arch arch_of_case(const bench_case *at)
{
    cop_arch arch = {.family = COP_FAMILY_LLAMA,
                     .vocab = at->vocab,
                     .hidden = at->hidden,
                     .head_dim = 64,
                     .context = 8192,
                     .layers = at->layers,
                     .norm = COP_NORM_RMS,
                     .norm_eps = 1e-5,
                     .activation = COP_ACTIVATION_SILU,
                     .is_gated = true,
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

// Per token: all blocks, forward, the causal half of attention counted once.
static double block_flops(const cop_arch *arch, int64_t sequence)
{
    const double head = 6.0 * (double)arch->vocab * (double)arch->hidden;
    return (cop_cost_train_flops(arch, sequence) - head) / 3.0;
}

// Per token: leave-one-out runs the blocks behind each layer, and the LM head once more than layers.
static double perplexity_flops(const cop_arch *arch, int64_t sequence)
{
    const double layers = (double)arch->layers;
    return block_flops(arch, sequence) * (layers - 1.0) / 2.0 +
           2.0 * (layers + 1.0) * (double)arch->vocab * (double)arch->hidden;
}

static cop_status make_text(cop_tokens **out, const cop_arch *arch, int64_t count, const char *path,
                            cop_error *err)
{
    cop_status status = COP_OK;
    cop_tokens_writer *writer = NULL;
    uint32_t state = 1;

    COP_TRY(status, cop_tokens_writer_create(&writer, path, arch->vocab, "benchmark", err));
    for (int64_t i = 0; i < count; i++) {
        const int32_t id = (int32_t)(bench_random(&state) % (uint32_t)arch->vocab);
        COP_TRY(status, cop_tokens_writer_put(writer, &id, 1, err));
    }
    COP_TRY(status, cop_tokens_writer_commit(writer, err));
    COP_TRY(status, cop_tokens_open(out, path, arch->vocab, err));

done:
    cop_tokens_writer_destroy(writer);
    return status;
}

typedef enum mode { MODE_FORWARD = 0, MODE_SCORES, MODE_PERPLEXITY, MODES } mode;

static const char *const mode_names[MODES] = {"forward alone", "scores", "scores and perplexity"};

// The same passes without measuring.
static cop_status run_forward(cop_network *network, const cop_tokens *tokens, const settings *with,
                              cop_error *err)
{
    cop_status status = COP_OK;
    const int64_t n = with->batch * with->sequence;
    int32_t *ids = cop_alloc((size_t)n, sizeof *ids);
    if (ids == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "importance_bench: no memory");
    }
    for (int64_t first = 0; first < with->samples; first += with->batch) {
        cop_matrix hidden;
        const cop_forward_options pass = {
            .ids = ids, .batch = with->batch, .sequence = with->sequence};
        cop_tokens_read(tokens, first * with->sequence, n, ids);
        COP_TRY(status, cop_network_forward(network, &pass, &hidden, err));
        COP_TRY(status, cop_backend_synchronize(cop_network_backend(network), NULL, err));
    }

done:
    cop_free(ids);
    return status;
}

static cop_status run_once(cop_network *network, const cop_tokens *tokens, const settings *with,
                           mode which, cop_error *err)
{
    cop_importance *scores = NULL;
    const cop_importance_settings importance = {
        .samples = with->samples,
        .sequence = with->sequence,
        .with_perplexity = which == MODE_PERPLEXITY,
        .precision = with->precision,
    };
    if (which == MODE_FORWARD) {
        return run_forward(network, tokens, with, err);
    }
    const cop_status status = cop_importance_measure(&scores, network, tokens, &importance, err);
    cop_importance_destroy(scores);
    return status;
}

static void print_line(const char *name, const cop_arch *arch, const settings *with, mode which,
                       double seconds, double peak)
{
    const double tokens = (double)(with->samples * with->sequence);
    const double flops =
        tokens * (block_flops(arch, with->sequence) +
                  (which == MODE_PERPLEXITY ? perplexity_flops(arch, with->sequence) : 0.0));
    printf("{\"bench\": \"importance\", \"case\": \"%s\", \"mode\": \"%s\", \"device\": \"%s\", "
           "\"precision\": \"%s\", "
           "\"batch\": %lld, \"sequence\": %lld, \"samples\": %lld, \"threads\": %d, "
           "\"best_seconds\": %.4f, \"tokens_per_second\": %.0f, \"gflops\": %.1f, "
           "\"matmul_peak_gflops\": %.1f, \"percent_of_peak\": %.1f}\n",
           name, mode_names[which], with->device, cop_precision_name(with->precision),
           (long long)with->batch, (long long)with->sequence, (long long)with->samples,
           cop_system_threads(), seconds, tokens / seconds, flops / seconds / 1e9, peak / 1e9,
           100.0 * flops / seconds / peak);
    (void)fflush(stdout);
}

static cop_status run_case(cop_backend *backend, const char *name, const cop_arch *arch,
                           const settings *with, const char *path, cop_error *err)
{
    cop_status status = COP_OK;
    const int modes = with->config != NULL ? MODE_PERPLEXITY : MODES;
    const cop_network_options options = {
        .precision = with->precision, .batch = with->batch, .sequence = with->sequence};
    const cop_dtype dtype = with->precision == COP_PRECISION_BF16 ? COP_BF16 : COP_F32;
    cop_network *network = NULL;
    cop_tokens *tokens = NULL;
    double best[MODES] = {1e30, 1e30, 1e30};
    double peak = 0.0;

    COP_TRY(status, make_text(&tokens, arch, with->samples * with->sequence + 1, path, err));
    COP_TRY(status, cop_network_create(&network, arch, &options, backend, err));
    COP_TRY(status, cop_network_init_fast(network, 1, err));
    for (int64_t repeat = 0; repeat < with->repeats; repeat++) {
        for (int which = 0; which < modes; which++) {
            double now = 0.0;
            COP_TRY(status, cop_matmul_peak(backend, &now, dtype, 0.2, err));
            peak = now > peak ? now : peak;
            const double start = cop_clock_seconds();
            COP_TRY(status, run_once(network, tokens, with, (mode)which, err));
            const double seconds = cop_clock_seconds() - start;
            best[which] = seconds < best[which] ? seconds : best[which];
        }
    }
    for (int which = 0; which < modes; which++) {
        print_line(name, arch, with, (mode)which, best[which], peak);
    }

done:
    cop_network_destroy(network);
    cop_tokens_destroy(tokens);
    return status;
}

static cop_status run_cases(cop_backend *backend, const settings *with, const char *path,
                            cop_error *err)
{
    cop_status status = COP_OK;
    cop_arch arch;
    if (with->config != NULL) {
        COP_TRY(status, cop_arch_read(&arch, with->config, err));
        COP_TRY(status, run_case(backend, with->config, &arch, with, path, err));
        goto done;
    }
    for (int i = 0; i < CASE_COUNT; i++) {
        if (with->only == NULL || strcmp(with->only, cases[i].name) == 0) {
            arch = arch_of_case(&cases[i]);
            COP_TRY(status, run_case(backend, cases[i].name, &arch, with, path, err));
        }
    }

done:
    return status;
}

// --- Command line -------------------------------------------------------------------------------

static int usage(const char *option)
{
    (void)fprintf(stderr,
                  "importance_bench: %s (allowed: --case NAME, --config FILE, --device NAME, "
                  "--precision bf16|f32, --batch N, "
                  "--sequence N, --samples N, a multiple of the batch, --repeats N)\n",
                  option);
    return 2;
}

static bool parse_option(settings *with, const char *key, const char *value)
{
    const struct {
        const char *key;
        int64_t *to;
    } numbers[] = {{"--batch", &with->batch},
                   {"--sequence", &with->sequence},
                   {"--samples", &with->samples},
                   {"--repeats", &with->repeats}};

    if (strcmp(key, "--case") == 0) {
        with->only = value;
        return true;
    }
    if (strcmp(key, "--config") == 0) {
        with->config = value;
        return true;
    }
    if (strcmp(key, "--device") == 0) {
        with->device = value;
        return true;
    }
    if (strcmp(key, "--precision") == 0) {
        with->precision = strcmp(value, "f32") == 0 ? COP_PRECISION_F32 : COP_PRECISION_BF16;
        return strcmp(value, "f32") == 0 || strcmp(value, "bf16") == 0;
    }
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        if (strcmp(key, numbers[i].key) == 0) {
            return cop_text_to_i64(value, numbers[i].to) && *numbers[i].to > 0;
        }
    }
    return false;
}

int main(int argc, char **argv)
{
    cop_status status = COP_OK;
    cop_error err = {0};
    cop_backend *backend = NULL;
    char path[64];
    char side[64];
    settings with = {.device = "cpu",
                     .precision = COP_PRECISION_BF16,
                     .batch = 8,
                     .sequence = 512,
                     .samples = 32,
                     .repeats = 3};

    for (int i = 1; i < argc; i += 2) {
        if (i + 1 == argc || !parse_option(&with, argv[i], argv[i + 1])) {
            return usage(argv[i]);
        }
    }
    if (with.samples % with.batch != 0) {
        return usage("--samples");
    }
    (void)snprintf(path, sizeof path, "importance_bench.%ld.bin", (long)getpid());
    (void)snprintf(side, sizeof side, "importance_bench.%ld.json", (long)getpid());
    COP_TRY(status, cop_backend_create(&backend, with.device, &err));
    status = run_cases(backend, &with, path, &err);
    (void)unlink(path);
    (void)unlink(side);

done:
    cop_backend_destroy(backend);
    if (status != COP_OK) {
        (void)fprintf(stderr, "importance_bench: %s\n", err.message);
    }
    return status == COP_OK ? 0 : 1;
}
