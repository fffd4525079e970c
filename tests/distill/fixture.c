#include "tests/distill/fixture.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/rng.h"

void must(cop_status status, const cop_error *err)
{
    if (status != COP_OK) {
        fail_msg("%s", err->message);
    }
}

void assert_close(double value, double expected, double tolerance)
{
    if (!(fabs(value - expected) <= tolerance)) {
        fail_msg("%.17g is not within %g of %.17g", value, tolerance, expected);
    }
}

cop_arch small_arch(cop_family family, int64_t hidden, int64_t layers)
{
    const bool is_llama = family == COP_FAMILY_LLAMA;
    cop_arch arch = {
        .family = family,
        .vocab = FIXTURE_VOCAB,
        .hidden = hidden,
        .head_dim = 8,
        .context = FIXTURE_CONTEXT,
        .layers = layers,
        .norm = is_llama ? COP_NORM_RMS : COP_NORM_LAYER_1P,
        .norm_eps = 1e-5,
        .activation = is_llama ? COP_ACTIVATION_SILU : COP_ACTIVATION_RELU2,
        .is_gated = is_llama,
        .rope = {.theta = 10000.0, .partial = is_llama ? 1.0 : 0.5, .factor = 1.0},
        .initializer_range = 0.1,
        .bos = -1,
        .eos = -1,
    };
    for (int64_t i = 0; i < layers; i++) {
        arch.layer[i] = (cop_layer_arch){.heads = 4, .kv_heads = 2, .ffn = 2 * hidden};
    }
    return arch;
}

void write_tokens(const char *path, int64_t count, uint64_t seed)
{
    cop_error err = {0};
    cop_tokens_writer *writer = NULL;
    cop_rng *rng = NULL;
    int32_t id = 0;

    (void)remove(path);
    must(cop_tokens_writer_create(&writer, path, FIXTURE_VOCAB, "test", &err), &err);
    must(cop_rng_create(&rng, seed, COP_RNG_TEST, 0, &err), &err);
    for (int64_t i = 0; i < count; i++) {
        id = cop_rng_uniform(rng) < 0.8 ? (id * 5 + 3) % FIXTURE_VOCAB
                                        : (int32_t)cop_rng_below(rng, FIXTURE_VOCAB);
        must(cop_tokens_writer_put(writer, &id, 1, &err), &err);
    }
    must(cop_tokens_writer_commit(writer, &err), &err);
    cop_tokens_writer_destroy(writer);
    cop_rng_destroy(rng);
}

void write_model(const char *directory, const cop_arch *arch, uint64_t seed)
{
    const cop_network_options options = {.batch = 1, .sequence = 1};
    const cop_checkpoint_options write = {.dtype = COP_F32, .force = true};
    cop_error err = {0};
    cop_backend *backend = NULL;
    cop_network *network = NULL;
    cop_checkpoint_writer *writer = NULL;

    must(cop_backend_create(&backend, "reference", &err), &err);
    must(cop_network_create(&network, arch, &options, backend, &err), &err);
    must(cop_network_init(network, seed, &err), &err);
    must(cop_checkpoint_writer_create(&writer, directory, arch, &write, &err), &err);
    must(cop_network_save(network, cop_checkpoint_writer_sink(writer), &err), &err);
    must(cop_checkpoint_writer_commit(writer, &err), &err);
    cop_checkpoint_writer_destroy(writer);
    cop_network_destroy(network);
    cop_backend_destroy(backend);
}

cop_network *make_student(cop_backend *backend, const cop_arch *arch, cop_precision precision,
                          int64_t batch, int64_t sequence, uint64_t seed)
{
    const cop_network_options options = {
        .precision = precision, .batch = batch, .sequence = sequence, .is_training = true};
    cop_error err = {0};
    cop_network *network = NULL;
    must(cop_network_create(&network, arch, &options, backend, &err), &err);
    must(cop_network_init(network, seed, &err), &err);
    return network;
}

void fixture_open(fixture_set *out, const char *name, const fixture_options *options)
{
    const cop_arch arch = small_arch(options->family, options->hidden, options->layers);
    const cop_teacher_options teacher = {
        .precision = options->precision,
        .batch = options->teacher_batch,
        .sequence = options->sequence,
        .draws = options->draws,
    };
    cop_error err = {0};
    char tokens[64];
    char model[64];

    (void)snprintf(tokens, sizeof tokens, "%s.bin", name);
    (void)snprintf(model, sizeof model, "%s-teacher", name);
    memset(out, 0, sizeof *out);
    write_tokens(tokens, 2000, 7);
    write_model(model, &arch, 11);
    must(cop_backend_create(&out->backend, options->backend == NULL ? "cpu" : options->backend,
                            &err),
         &err);
    must(cop_tokens_open(&out->tokens, tokens, FIXTURE_VOCAB, &err), &err);
    must(cop_sampler_create(&out->sampler, out->tokens, options->sequence, 3, true, &err), &err);
    must(cop_checkpoint_open(&out->checkpoint, model, &err), &err);
    must(cop_teacher_model_create(&out->model, out->checkpoint, &teacher, out->backend, &err),
         &err);
    must(cop_teacher_states_online(&out->states, out->model, out->sampler, &err), &err);
    out->teacher.head = cop_teacher_model_head(out->model);
    out->teacher.states = cop_teacher_states_source(out->states);
}

void fixture_close(fixture_set *fixture)
{
    cop_teacher_states_destroy(fixture->states);
    cop_teacher_model_destroy(fixture->model);
    cop_checkpoint_destroy(fixture->checkpoint);
    cop_sampler_destroy(fixture->sampler);
    cop_tokens_destroy(fixture->tokens);
    cop_backend_destroy(fixture->backend);
}

double *read_parameters(cop_network *network, int64_t *count)
{
    const cop_arch *arch = cop_network_arch(network);
    cop_error err = {0};
    int64_t total = 0;
    for (int64_t i = 0; i < cop_arch_tensor_count(arch); i++) {
        const cop_tensor_spec spec = cop_arch_tensor(arch, i);
        total += spec.shape[0] * spec.shape[1];
    }
    double *values = cop_alloc((size_t)total, sizeof *values);
    assert_non_null(values);
    int64_t at = 0;
    for (int64_t i = 0; i < cop_arch_tensor_count(arch); i++) {
        const cop_tensor_spec spec = cop_arch_tensor(arch, i);
        must(cop_network_read(network, i, COP_F64, values + at, &err), &err);
        at += spec.shape[0] * spec.shape[1];
    }
    *count = total;
    return values;
}
