#include "tests/prune/fixture.h"

#include <math.h>
#include <stdlib.h>

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
    const double bound = tolerance * fmax(1.0, fabs(expected));
    if (!(fabs(value - expected) <= bound)) {
        fail_msg("%.17g is not within %g of %.17g", value, bound, expected);
    }
}

cop_arch teacher_arch(cop_family family)
{
    const bool is_llama = family == COP_FAMILY_LLAMA;
    cop_arch arch = tiny_arch(is_llama ? TINY_LLAMA : TINY_NEMOTRON);
    arch.vocab = 29;
    arch.hidden = 16;
    arch.head_dim = is_llama ? 6 : 8;
    arch.layers = 4;
    for (int64_t i = 0; i < arch.layers; i++) {
        arch.layer[i] = (cop_layer_arch){.heads = 6, .kv_heads = 2, .ffn = 20};
    }
    return arch;
}

cop_arch biased_arch(void)
{
    cop_arch arch = teacher_arch(COP_FAMILY_LLAMA);
    arch.attention_bias = true;
    arch.mlp_bias = true;
    arch.is_tied = true;
    return arch;
}

cop_checkpoint *teacher_open(const char *directory, const cop_arch *arch, cop_dtype dtype,
                             uint64_t seed)
{
    cop_error err = {0};
    cop_checkpoint_writer *writer = NULL;
    cop_checkpoint *checkpoint = NULL;
    const cop_checkpoint_options options = {.dtype = dtype, .force = true};

    must(cop_checkpoint_writer_create(&writer, directory, arch, &options, &err), &err);
    for (int64_t i = 0; i < cop_arch_tensor_count(arch); i++) {
        const cop_tensor_spec spec = cop_arch_tensor(arch, i);
        const int64_t elements = spec.shape[0] * spec.shape[1];
        const double center = spec.rank == 1 && arch->norm == COP_NORM_RMS ? 1.0 : 0.0;
        double *values = calloc((size_t)elements, sizeof *values);
        cop_rng *rng = NULL;
        assert_non_null(values);
        must(cop_rng_create(&rng, seed, COP_RNG_TEST, (uint64_t)i, &err), &err);
        for (int64_t k = 0; k < elements; k++) {
            values[k] = center + 0.4 * cop_rng_normal(rng);
        }
        must(cop_checkpoint_writer_put(writer, i, COP_F64, values, &err), &err);
        cop_rng_destroy(rng);
        free(values);
    }
    must(cop_checkpoint_writer_commit(writer, &err), &err);
    cop_checkpoint_writer_destroy(writer);
    must(cop_checkpoint_open(&checkpoint, directory, &err), &err);
    return checkpoint;
}

cop_tokens *text_open_ids(const char *path, const int32_t *ids, int64_t count, int64_t vocab)
{
    cop_error err = {0};
    cop_tokens_writer *writer = NULL;
    cop_tokens *tokens = NULL;

    must(cop_file_remove_tree(path, &err), &err);
    must(cop_tokens_writer_create(&writer, path, vocab, "test", &err), &err);
    must(cop_tokens_writer_put(writer, ids, count, &err), &err);
    must(cop_tokens_writer_commit(writer, &err), &err);
    cop_tokens_writer_destroy(writer);
    must(cop_tokens_open(&tokens, path, vocab, &err), &err);
    return tokens;
}

cop_tokens *text_open(const char *path, int64_t count, int64_t vocab, uint64_t seed)
{
    int32_t *ids = calloc((size_t)count, sizeof *ids);
    assert_non_null(ids);
    tiny_ids(ids, count, vocab, seed);
    cop_tokens *tokens = text_open_ids(path, ids, count, vocab);
    free(ids);
    return tokens;
}

cop_importance *random_scores(const cop_arch *arch, uint64_t seed)
{
    cop_error err = {0};
    cop_importance *scores = NULL;
    cop_rng *rng = NULL;
    const cop_layer_arch widest = cop_importance_widest(arch);

    must(cop_importance_create(&scores, arch->layers, widest.heads, widest.kv_heads, widest.ffn,
                               arch->hidden, true, &err),
         &err);
    must(cop_rng_create(&rng, seed, COP_RNG_TEST, 77, &err), &err);
    const int64_t count =
        COP_AGGREGATES *
            (arch->layers * (widest.heads + widest.kv_heads + widest.ffn) + arch->hidden) +
        2 * arch->layers;
    for (int64_t i = 0; i < count; i++) {
        scores->storage[i] = cop_rng_uniform(rng);
    }
    scores->teacher_perplexity = 3.5;
    cop_rng_destroy(rng);
    return scores;
}
