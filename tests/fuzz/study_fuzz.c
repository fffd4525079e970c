// study.yaml on any bytes: reading, the texts of its values, and the space it makes of a small teacher.

#include <stddef.h>
#include <stdint.h>

#include "base/alloc.h"
#include "search/space.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

enum { POINTS_MAX = 100000 };

static cop_arch teacher(void)
{
    cop_arch arch = {.vocab = 256,
                     .hidden = 4096,
                     .head_dim = 128,
                     .context = 4096,
                     .layers = 32,
                     .norm_eps = 1e-5,
                     .rope = {.theta = 1e4, .partial = 1.0}};
    for (int64_t i = 0; i < arch.layers; i++) {
        arch.layer[i] = (cop_layer_arch){.heads = 32, .kv_heads = 8, .ffn = 14336};
    }
    return arch;
}

static void scan(const cop_study_file *study)
{
    static cop_arch arch;
    static cop_layer_arch blocks[COP_ARCH_LAYERS_MAX];
    cop_space *space = NULL;
    cop_candidate *candidates = NULL;
    cop_candidate one;
    cop_space_report report;
    int64_t count = 0;

    arch = teacher();
    if (cop_space_create(&space, study, &arch, NULL) != COP_OK) {
        return;
    }
    const int64_t size = cop_space_size(space);
    (void)cop_space_at(space, size - 1, blocks, &one);
    (void)cop_space_at(space, size / 2, blocks, &one);
    if (size <= POINTS_MAX &&
        cop_space_feasible(&candidates, &count, &report, space, NULL) == COP_OK) {
        cop_free(candidates);
    }
    cop_space_destroy(space);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    for (int needs_data = 0; needs_data < 2; needs_data++) {
        cop_error err = {0};
        cop_text text = {0};
        cop_study_file study;
        if (cop_study_file_parse(&study, "folder/fuzz.yaml", (const char *)data, bytes,
                                 needs_data == 1, &err) != COP_OK) {
            continue;
        }
        for (size_t i = 0; i < cop_study_key_count(); i++) {
            (void)cop_study_key_value(&study, i, &text);
        }
        scan(&study);
        cop_text_release(&text);
        cop_study_file_release(&study);
    }
    return 0;
}
