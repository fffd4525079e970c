#include "tests/search/space_fixture.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"

cop_arch space_teacher(int64_t layers)
{
    cop_arch arch = {.family = COP_FAMILY_LLAMA,
                     .vocab = 256,
                     .hidden = 64,
                     .head_dim = 16,
                     .context = 128,
                     .layers = layers,
                     .norm = COP_NORM_RMS,
                     .norm_eps = 1e-5,
                     .is_gated = true,
                     .rope = {.theta = 1e4, .partial = 1.0},
                     .initializer_range = 0.02,
                     .bos = -1,
                     .eos = -1};
    for (int64_t i = 0; i < layers; i++) {
        arch.layer[i] = (cop_layer_arch){.heads = 8, .kv_heads = 4, .ffn = 128};
    }
    return arch;
}

cop_status space_open(space_fixture *f, cop_arch teacher, const char *text, cop_error *err)
{
    char yaml[2048];
    cop_status status = COP_OK;

    *f = (space_fixture){.teacher = teacher};
    (void)snprintf(yaml, sizeof yaml, "teacher: t\n%s", text);
    COP_TRY(status, cop_study_file_parse(&f->study, "s.yaml", yaml, strlen(yaml), false, err));
    COP_TRY(status, cop_space_create(&f->space, &f->study, &f->teacher, err));

done:
    return status;
}

cop_status space_scan(space_fixture *f, cop_arch teacher, const char *text, cop_error *err)
{
    cop_status status = COP_OK;
    COP_TRY(status, space_open(f, teacher, text, err));
    COP_TRY(status, cop_space_feasible(&f->found, &f->count, &f->report, f->space, err));

done:
    return status;
}

cop_status space_open_domain(space_fixture *f, cop_arch teacher, const char *text,
                             const cop_space_features *features, cop_error *err)
{
    cop_status status = COP_OK;
    COP_TRY(status, space_open(f, teacher, text, err));
    COP_TRY(status, cop_space_domain_create(&f->domain, f->space, features, err));
    f->view = cop_space_domain_view(f->domain);

done:
    return status;
}

void space_release(space_fixture *f)
{
    cop_space_domain_destroy(f->domain);
    cop_free(f->found);
    cop_space_destroy(f->space);
    cop_study_file_release(&f->study);
    *f = (space_fixture){0};
}
