#include "tests/run/tiny_study.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/rng.h"
#include "distill/trainer.h"
#include "tests/support.h"

enum { VOCAB = 48, SEQUENCE = 32, TRAIN_TOKENS = 20000, VALID_TOKENS = 16 * SEQUENCE + 1 };

static void must(cop_status status, const cop_error *err)
{
    if (status != COP_OK) {
        fail_msg("%s", err->message);
    }
}

static void path_in(char out[512], const char *directory, const char *name)
{
    (void)snprintf(out, 512, "%s/%s", directory, name);
}

// Words of a small made-up language: the next id depends on the last one, with some noise.
static void write_tokens(const char *path, int64_t count, uint64_t seed)
{
    cop_error err = {0};
    cop_rng *rng = NULL;
    cop_tokens_writer *writer = NULL;
    int32_t *ids = cop_alloc((size_t)count, sizeof *ids);
    assert_non_null(ids);
    must(cop_rng_create(&rng, seed, COP_RNG_TEST, 1, &err), &err);
    for (int64_t i = 0; i < count; i++) {
        const uint64_t last = i > 0 ? (uint64_t)ids[i - 1] : 0;
        const bool is_noise = cop_rng_below(rng, 5) == 0;
        const uint64_t next = is_noise ? cop_rng_below(rng, VOCAB)
                                       : last * 7 + 3 + last * last % 5 * cop_rng_below(rng, 2);
        ids[i] = (int32_t)(next % VOCAB);
    }
    must(cop_tokens_writer_create(&writer, path, VOCAB, "byte", &err), &err);
    must(cop_tokens_writer_put(writer, ids, count, &err), &err);
    must(cop_tokens_writer_commit(writer, &err), &err);
    cop_tokens_writer_destroy(writer);
    cop_rng_destroy(rng);
    cop_free(ids);
}

static cop_arch arch_of(cop_family family)
{
    const bool is_llama = family == COP_FAMILY_LLAMA;
    cop_arch arch = {.family = family,
                     .vocab = VOCAB,
                     .hidden = 32,
                     .head_dim = 8,
                     .context = 64,
                     .layers = 4,
                     .norm = is_llama ? COP_NORM_RMS : COP_NORM_LAYER_1P,
                     .norm_eps = 1e-5,
                     .activation = is_llama ? COP_ACTIVATION_SILU : COP_ACTIVATION_RELU2,
                     .is_gated = is_llama,
                     .rope = {.theta = 1e4, .partial = is_llama ? 1.0 : 0.5},
                     .initializer_range = 0.05,
                     .bos = -1,
                     .eos = -1};
    for (int64_t i = 0; i < arch.layers; i++) {
        arch.layer[i] = (cop_layer_arch){.heads = 8, .kv_heads = 4, .ffn = 64};
    }
    return arch;
}

static void write_teacher(const char *path, const char *train, cop_family family, uint64_t seed)
{
    const cop_arch arch = arch_of(family);
    const cop_network_options network_options = {
        .precision = COP_PRECISION_F32, .batch = 8, .sequence = SEQUENCE, .is_training = true};
    const cop_checkpoint_options checkpoint_options = {.dtype = COP_F32, .force = true};
    cop_trainer_options options = cop_trainer_options_default();
    cop_error err = {0};
    cop_backend *backend = NULL;
    cop_network *network = NULL;
    cop_tokens *tokens = NULL;
    cop_sampler *sampler = NULL;
    cop_trainer *trainer = NULL;
    cop_checkpoint_writer *writer = NULL;

    options.batch = 8;
    options.micro_batch = 8;
    options.sequence = SEQUENCE;
    options.seed = seed;
    options.schedule =
        (cop_schedule){.peak = 5e-3, .minimum = 1e-3, .warmup_steps = 10, .steps = 150};
    must(cop_backend_create(&backend, "cpu", &err), &err);
    must(cop_network_create(&network, &arch, &network_options, backend, &err), &err);
    must(cop_network_init(network, seed, &err), &err);
    must(cop_tokens_open(&tokens, train, VOCAB, &err), &err);
    must(cop_sampler_create(&sampler, tokens, SEQUENCE, seed, true, &err), &err);
    must(cop_trainer_create(&trainer, network, sampler, NULL, NULL, &options, &err), &err);
    must(cop_trainer_run(trainer, options.schedule.steps, NULL, NULL, &err), &err);
    must(cop_checkpoint_writer_create(&writer, path, &arch, &checkpoint_options, &err), &err);
    must(cop_network_save(network, cop_checkpoint_writer_sink(writer), &err), &err);
    must(cop_checkpoint_writer_commit(writer, &err), &err);
    cop_checkpoint_writer_destroy(writer);
    cop_trainer_destroy(trainer);
    cop_sampler_destroy(sampler);
    cop_tokens_destroy(tokens);
    cop_network_destroy(network);
    cop_backend_destroy(backend);
}

void tiny_study_write(const char *directory, const char *from, const char *to)
{
    char path[512];
    cop_error err = {0};
    cop_text text = {0};
    char *yaml = NULL;

    must(cop_file_read(&yaml, NULL, COP_SOURCE_DIR "/configs/studies/tiny.yaml", 1 << 16, &err),
         &err);
    const char *at = from != NULL ? strstr(yaml, from) : NULL;
    if (from != NULL) {
        assert_non_null(at);
        cop_text_append_bytes(&text, yaml, (size_t)(at - yaml));
        cop_text_append(&text, to);
        cop_text_append(&text, at + strlen(from));
    } else {
        cop_text_append(&text, yaml);
    }
    must(cop_text_check(&text, "study", &err), &err);
    path_in(path, directory, "study.yaml");
    must(cop_file_write(path, text.data, text.length, &err), &err);
    cop_text_release(&text);
    cop_free(yaml);
}

void tiny_study_make(const char *directory, cop_family family, uint64_t seed)
{
    char train[512];
    char path[512];
    cop_error err = {0};

    must(cop_file_remove_tree(directory, &err), &err);
    must(cop_file_make_directory(directory, &err), &err);
    path_in(train, directory, "train.bin");
    write_tokens(train, TRAIN_TOKENS, seed);
    path_in(path, directory, "valid.bin");
    write_tokens(path, VALID_TOKENS, seed + 1);
    path_in(path, directory, "teacher");
    write_teacher(path, train, family, seed);
    tiny_study_write(directory, NULL, NULL);
}
