#include "tests/model/sample.h"

#include <dirent.h>

#include "tests/support.h"

cop_arch sample_arch(void)
{
    cop_arch arch = {.family = COP_FAMILY_LLAMA,
                     .vocab = 12,
                     .hidden = 8,
                     .head_dim = 6,
                     .context = 64,
                     .layers = 2,
                     .norm = COP_NORM_RMS,
                     .norm_eps = 1e-5,
                     .activation = COP_ACTIVATION_SILU,
                     .is_gated = true,
                     .rope = {.theta = 1e4, .partial = 1.0},
                     .initializer_range = 0.02,
                     .bos = 1,
                     .eos = 2};
    arch.layer[0] = arch.layer[1] = (cop_layer_arch){.heads = 4, .kv_heads = 2, .ffn = 20};
    return arch;
}

// A value that bf16 holds exactly, another for each tensor and place.
static float value_of(int64_t tensor, int64_t i)
{
    return (float)((tensor * 31 + i * 7) % 251 - 125) / 64.0f;
}

int64_t sample_fill(float *out, const cop_arch *arch, int64_t tensor)
{
    const cop_tensor_spec spec = cop_arch_tensor(arch, tensor);
    const int64_t count = spec.shape[0] * spec.shape[1];
    assert_true(count <= SAMPLE_ELEMENTS_MAX);
    for (int64_t i = 0; i < count; i++) {
        out[i] = value_of(tensor, i);
    }
    return count;
}

cop_status sample_write(const char *directory, const cop_arch *arch,
                        const cop_checkpoint_options *options, cop_error *err)
{
    cop_checkpoint_writer *writer = NULL;
    cop_tensor_sink sink = {0};
    cop_status status = COP_OK;
    COP_TRY(status, cop_checkpoint_writer_create(&writer, directory, arch, options, err));
    sink = cop_checkpoint_writer_sink(writer);
    // Backwards: any order is fine.
    for (int64_t t = cop_arch_tensor_count(arch) - 1; t >= 0; t--) {
        float values[SAMPLE_ELEMENTS_MAX];
        sample_fill(values, arch, t);
        COP_TRY(status, sink.put(sink.context, t, COP_F32, values, err));
    }
    COP_TRY(status, cop_checkpoint_writer_commit(writer, err));

done:
    cop_checkpoint_writer_destroy(writer);
    return status;
}

void sample_write_good(const char *directory, cop_dtype dtype, uint64_t shard_bytes)
{
    const cop_arch arch = sample_arch();
    const cop_checkpoint_options options = {
        .dtype = dtype, .shard_bytes = shard_bytes, .force = true, .provenance = "a test"};
    cop_error err = {0};
    assert_int_equal(sample_write(directory, &arch, &options, &err), COP_OK);
    assert_string_equal(err.message, "");
}

cop_checkpoint *sample_open(const char *directory)
{
    cop_checkpoint *checkpoint = NULL;
    cop_error err = {0};
    const cop_status status = cop_checkpoint_open(&checkpoint, directory, &err);
    assert_string_equal(err.message, "");
    assert_int_equal(status, COP_OK);
    return checkpoint;
}

void sample_check(const cop_checkpoint *checkpoint)
{
    const cop_arch *arch = cop_checkpoint_arch(checkpoint);
    for (int64_t t = 0; t < cop_arch_tensor_count(arch); t++) {
        float want[SAMPLE_ELEMENTS_MAX];
        float got[SAMPLE_ELEMENTS_MAX] = {0};
        double wide[SAMPLE_ELEMENTS_MAX] = {0};
        uint16_t narrow[SAMPLE_ELEMENTS_MAX] = {0};
        const int64_t count = sample_fill(want, arch, t);
        assert_int_equal(cop_checkpoint_read(checkpoint, t, COP_F32, got, NULL), COP_OK);
        assert_int_equal(cop_checkpoint_read(checkpoint, t, COP_F64, wide, NULL), COP_OK);
        assert_int_equal(cop_checkpoint_read(checkpoint, t, COP_BF16, narrow, NULL), COP_OK);
        assert_memory_equal(got, want, (size_t)count * sizeof *want);
        for (int64_t i = 0; i < count; i++) {
            assert_true(wide[i] == (double)want[i]);
            assert_true(cop_bf16_to_f32(narrow[i]) == want[i]);
        }
    }
}

int sample_count_files(const char *directory)
{
    int count = 0;
    DIR *folder = opendir(directory);
    assert_non_null(folder);
    // NOLINTNEXTLINE(concurrency-mt-unsafe): one thread
    for (const struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder)) {
        count += entry->d_name[0] != '.' ? 1 : 0;
    }
    assert_int_equal(closedir(folder), 0);
    return count;
}
