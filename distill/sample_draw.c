#include <inttypes.h>

#include "base/alloc.h"
#include "distill/layout.h"
#include "distill/sample_internal.h"

// The operator's arguments for a window, in the block at `base`; NULL: its size alone.
static cop_sample_targets_args lay_out(uint64_t *bytes, char *base, const cop_arch *arch,
                                       const cop_teacher_options *options, cop_backend *backend)
{
    const int64_t rows = options->batch * options->sequence;
    const cop_dtype dtype = cop_precision_dtype(options->precision);
    cop_sample_targets_args args = {
        .hidden = cop_matrix_dense(NULL, dtype, rows, arch->hidden),
        .head = cop_matrix_dense(NULL, dtype, arch->vocab, arch->hidden),
        .draws = options->draws,
    };
    *bytes = 0;
    args.ids = cop_layout_take(base, bytes, (uint64_t)(rows * options->draws) * sizeof *args.ids);
    args.weights = cop_layout_matrix(base, bytes, COP_F32, rows, options->draws);
    args.entropy = cop_layout_matrix(base, bytes, COP_F32, 1, rows);
    args.scratch = cop_layout_take(
        base, bytes, backend->ops->scratch_bytes(backend, COP_OP_SAMPLE_TARGETS, &args));
    return args;
}

uint64_t cop_sample_maker_bytes(const cop_arch *arch, const cop_teacher_options *options,
                                cop_backend *backend)
{
    uint64_t bytes = 0;
    (void)lay_out(&bytes, NULL, arch, options, backend);
    return bytes;
}

cop_status cop_sample_maker_init(cop_sample_maker *maker, cop_teacher_model *teacher,
                                 cop_sampler *sampler, uint64_t seed, cop_error *err)
{
    const cop_arch *arch = cop_checkpoint_arch(teacher->checkpoint);
    const cop_teacher_options *options = &teacher->options;
    cop_status status = COP_OK;
    uint64_t bytes = cop_sample_maker_bytes(arch, options, teacher->backend);
    cop_sample_targets_args args;

    maker->teacher = teacher;
    maker->sampler = sampler;
    maker->seed = seed;
    maker->tokens = cop_alloc((size_t)(options->batch * options->sequence), sizeof *maker->tokens);
    if (maker->tokens == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "teacher samples: no memory for ids");
    }
    COP_TRY(status, cop_backend_alloc(teacher->backend, &maker->memory, bytes,
                                      "teacher: drawing of samples", err));
    args = lay_out(&bytes, maker->memory, arch, options, teacher->backend);
    maker->dev = (cop_sample_rows){
        .ids = args.ids, .weights = args.weights.data, .entropy = args.entropy.data};
    maker->scratch = args.scratch;

done:
    return status;
}

void cop_sample_maker_release(cop_sample_maker *maker)
{
    if (maker->teacher != NULL) {
        cop_backend_free(maker->teacher->backend, maker->memory);
    }
    cop_free(maker->tokens);
    *maker = (cop_sample_maker){0};
}

cop_status cop_sample_maker_run(cop_sample_maker *maker, int64_t first, cop_sample_rows to,
                                cop_error *err)
{
    cop_teacher_model *teacher = maker->teacher;
    cop_backend *backend = teacher->backend;
    const int64_t draws = teacher->options.draws;
    const int64_t rows = teacher->options.batch * teacher->options.sequence;
    const uint64_t bytes = (uint64_t)(rows * draws) * sizeof *to.ids;
    cop_sample_targets_args args = {
        .head = cop_teacher_model_head(teacher),
        .draws = draws,
        .seed = maker->seed,
        .first_row = first * teacher->options.sequence,
        .ids = maker->dev.ids,
        .weights = cop_matrix_dense(maker->dev.weights, COP_F32, rows, draws),
        .entropy = cop_matrix_dense(maker->dev.entropy, COP_F32, 1, rows),
        .scratch = maker->scratch,
    };
    cop_status status = COP_OK;

    COP_TRY(status, cop_teacher_run_window(teacher, maker->sampler, first, maker->tokens,
                                           &args.hidden, err));
    COP_TRY(status, backend->ops->sample_targets(backend, NULL, &args, err));
    COP_TRY(status, cop_backend_to_host(backend, NULL, to.ids, maker->dev.ids, bytes, err));
    COP_TRY(status, cop_backend_to_host(backend, NULL, to.weights, maker->dev.weights, bytes, err));
    COP_TRY(status, cop_backend_to_host(backend, NULL, to.entropy, maker->dev.entropy,
                                        (uint64_t)rows * sizeof *to.entropy, err));
    COP_TRY(status, cop_backend_synchronize(backend, NULL, err));

done:
    return status;
}

cop_status cop_sample_rows_init(cop_sample_rows *rows, int64_t count, int64_t draws, cop_error *err)
{
    rows->ids = cop_alloc((size_t)(count * draws), sizeof *rows->ids);
    rows->weights = cop_alloc((size_t)(count * draws), sizeof *rows->weights);
    rows->entropy = cop_alloc((size_t)count, sizeof *rows->entropy);
    if (rows->ids == NULL || rows->weights == NULL || rows->entropy == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "teacher samples: no memory for %" PRId64 " tokens",
                        count);
    }
    return COP_OK;
}

void cop_sample_rows_release(cop_sample_rows *rows)
{
    cop_free(rows->ids);
    cop_free(rows->weights);
    cop_free(rows->entropy);
    *rows = (cop_sample_rows){0};
}
