#include <inttypes.h>

#include "base/alloc.h"
#include "distill/sample_internal.h"
#include "distill/state_stream.h"
#include "distill/teacher_internal.h"
#include "model/tensor_load.h"

cop_dtype cop_precision_dtype(cop_precision precision)
{
    static const cop_dtype dtypes[] = {
        [COP_PRECISION_F32] = COP_F32,
        [COP_PRECISION_BF16] = COP_BF16,
        [COP_PRECISION_F64] = COP_F64,
    };
    return dtypes[precision];
}

static cop_network_options network_options(const cop_teacher_options *options)
{
    return (cop_network_options){
        .precision = options->precision,
        .batch = options->batch,
        .sequence = options->sequence,
    };
}

static cop_status check_options(const cop_arch *arch, const cop_teacher_options *options,
                                cop_error *err)
{
    if (options->batch < 1 || options->sequence < 1 || options->sequence > arch->context) {
        return COP_FAIL(err, COP_ERR_CONFIG,
                        "teacher: batch %" PRId64 ", sequence %" PRId64
                        " (allowed: from 1; a sequence of at most %" PRId64 ")",
                        options->batch, options->sequence, arch->context);
    }
    return COP_OK;
}

uint64_t cop_teacher_states_bytes(const cop_arch *arch, const cop_teacher_options *options,
                                  bool is_cached, cop_backend *backend)
{
    const uint64_t element = cop_dtype_bytes(cop_precision_dtype(options->precision));
    const uint64_t window =
        (uint64_t)options->batch * (uint64_t)options->sequence * (uint64_t)arch->hidden * element;
    return window * (is_cached ? (uint64_t)cop_state_stream_windows(backend) : 1);
}

cop_status cop_teacher_plan(cop_plan *plan, const cop_arch *arch,
                            const cop_teacher_options *options, bool with_network,
                            cop_backend *backend, cop_error *err)
{
    const cop_network_options network = network_options(options);
    const uint64_t element = cop_dtype_bytes(cop_precision_dtype(options->precision));
    const uint64_t width = (uint64_t)arch->hidden * element;
    cop_status status = COP_OK;

    COP_TRY(status, check_options(arch, options, err));
    cop_plan_add(plan, "teacher: LM head", (uint64_t)arch->vocab * width);
    cop_plan_add(plan, "teacher: loading", cop_staging_bytes(arch));
    cop_plan_add(plan, "teacher: states of a batch",
                 cop_teacher_states_bytes(arch, options, !with_network, backend));
    if (options->draws > 0) {
        const uint64_t tokens = (uint64_t)options->batch * (uint64_t)options->sequence;
        const uint64_t weight = sizeof(int32_t) + sizeof(float);
        // On the host two windows of them, and one on the device.
        cop_plan_add(plan, "teacher: samples of a batch",
                     3 * tokens * ((uint64_t)options->draws * weight + sizeof(float)));
    }
    if (options->draws > 0 && with_network) {
        cop_plan_add(plan, "teacher: drawing of samples",
                     cop_sample_maker_bytes(arch, options, backend));
    }
    if (with_network) {
        COP_TRY(status, cop_network_plan(plan, "teacher", arch, &network, backend, err));
    }

done:
    return status;
}

// Reads the LM head to the device. What it is converted through is freed again.
static cop_status load_head(cop_teacher_model *teacher, cop_error *err)
{
    const cop_arch *arch = cop_checkpoint_arch(teacher->checkpoint);
    const int64_t index =
        cop_arch_find(arch, arch->is_tied ? COP_ROLE_EMBEDDING : COP_ROLE_HEAD, -1);
    const uint64_t bytes =
        (uint64_t)arch->vocab * (uint64_t)arch->hidden * cop_dtype_bytes(teacher->dtype);
    cop_status status = COP_OK;
    cop_staging staging = {.bytes = cop_staging_bytes(arch)};
    cop_dtype stored = COP_F32;

    (void)cop_checkpoint_view(teacher->checkpoint, index, &stored);
    COP_TRY(status,
            cop_backend_alloc(teacher->backend, &teacher->head, bytes, "teacher: LM head", err));
    if (stored != teacher->dtype) {
        COP_TRY(status, cop_backend_alloc(teacher->backend, &staging.memory, staging.bytes,
                                          "teacher: loading", err));
    }
    COP_TRY(status, cop_tensor_load(teacher->backend, teacher->checkpoint, index,
                                    cop_teacher_model_head(teacher), staging, err));
    COP_TRY(status, cop_backend_synchronize(teacher->backend, NULL, err));

done:
    cop_backend_free(teacher->backend, staging.memory);
    return status;
}

cop_status cop_teacher_model_create(cop_teacher_model **out, const cop_checkpoint *checkpoint,
                                    const cop_teacher_options *options, cop_backend *backend,
                                    cop_error *err)
{
    cop_status status = COP_OK;
    cop_teacher_model *teacher = NULL;

    *out = NULL;
    COP_TRY(status, check_options(cop_checkpoint_arch(checkpoint), options, err));
    teacher = cop_alloc(1, sizeof *teacher);
    if (teacher == NULL) {
        status = COP_FAIL(err, COP_ERR_NOMEM, "%s: no memory for a teacher",
                          cop_checkpoint_path(checkpoint));
        goto done;
    }
    teacher->checkpoint = checkpoint;
    teacher->backend = backend;
    teacher->options = *options;
    teacher->dtype = cop_precision_dtype(options->precision);
    COP_TRY(status, load_head(teacher, err));
    *out = teacher;
    teacher = NULL;

done:
    cop_teacher_model_destroy(teacher);
    return status;
}

void cop_teacher_model_destroy(cop_teacher_model *teacher)
{
    if (teacher != NULL) {
        cop_teacher_model_drop_network(teacher);
        cop_backend_free(teacher->backend, teacher->head);
        cop_free(teacher);
    }
}

cop_matrix cop_teacher_model_head(const cop_teacher_model *teacher)
{
    const cop_arch *arch = cop_checkpoint_arch(teacher->checkpoint);
    return cop_matrix_dense(teacher->head, teacher->dtype, arch->vocab, arch->hidden);
}

int64_t cop_teacher_row(const cop_teacher_model *teacher)
{
    return teacher->options.sequence * cop_checkpoint_arch(teacher->checkpoint)->hidden;
}

cop_status cop_teacher_model_network(cop_teacher_model *teacher, cop_network **out, cop_error *err)
{
    const cop_network_options options = network_options(&teacher->options);
    cop_status status = COP_OK;
    cop_network *network = NULL;

    *out = NULL;
    if (teacher->network == NULL) {
        COP_TRY(status, cop_network_create(&network, cop_checkpoint_arch(teacher->checkpoint),
                                           &options, teacher->backend, err));
        COP_TRY(status, cop_network_load(network, teacher->checkpoint, err));
        teacher->network = network;
        network = NULL;
    }
    *out = teacher->network;

done:
    cop_network_destroy(network);
    return status;
}

void cop_teacher_model_drop_network(cop_teacher_model *teacher)
{
    cop_network_destroy(teacher->network);
    teacher->network = NULL;
}

cop_status cop_teacher_run_window(cop_teacher_model *teacher, cop_sampler *sampler, int64_t first,
                                  int32_t *ids, cop_matrix *hidden, cop_error *err)
{
    const cop_forward_options pass = {
        .ids = ids,
        .batch = teacher->options.batch,
        .sequence = teacher->options.sequence,
    };
    cop_status status = COP_OK;
    cop_network *network = NULL;

    COP_TRY(status, cop_teacher_model_network(teacher, &network, err));
    COP_TRY(status, cop_sampler_fill(sampler, first, teacher->options.batch, ids, NULL, err));
    COP_TRY(status, cop_network_forward(network, &pass, hidden, err));

done:
    return status;
}
