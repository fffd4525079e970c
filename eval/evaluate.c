#include "eval/evaluate.h"

#include <inttypes.h>

#include "base/alloc.h"

// What one evaluation needs beyond the network.
typedef struct evaluator {
    cop_network *network;
    cop_sampler *sampler;
    const cop_teacher *teacher; // NULL: none
    cop_backend *backend;
    cop_dtype wide; // of losses: f32, or f64
    int64_t batch;  // sequences of one pass
    int64_t sequence;
    int32_t *inputs;  // [n] host
    int32_t *targets; // [n] host
    void *losses;     // [n] host
    void *memory;     // device: targets, then LOSSES rows of n losses
    void *scratch;    // device
} evaluator;

enum { CROSS_ENTROPY = 0, KL, AGREE, TEACHER_CROSS_ENTROPY, LOSSES };

static cop_dtype wide_of(cop_precision precision)
{
    return precision == COP_PRECISION_F64 ? COP_F64 : COP_F32;
}

static uint64_t targets_bytes(int64_t rows)
{
    return ((uint64_t)rows * sizeof(int32_t) + 255) / 256 * 256;
}

static uint64_t device_bytes(int64_t rows, cop_dtype wide)
{
    return targets_bytes(rows) + (uint64_t)rows * LOSSES * cop_dtype_bytes(wide);
}

// The matrix of loss `kind` over `rows` rows; `memory` NULL while planning.
static cop_matrix loss_row(char *memory, int64_t rows_max, int kind, cop_dtype wide, int64_t rows)
{
    const uint64_t offset =
        targets_bytes(rows_max) + (uint64_t)kind * (uint64_t)rows_max * cop_dtype_bytes(wide);
    return cop_matrix_dense(memory == NULL ? NULL : memory + offset, wide, 1, rows);
}

static cop_head_loss_args head_args(char *memory, int64_t rows_max, cop_dtype wide,
                                    cop_matrix hidden, cop_matrix head, cop_matrix teacher_hidden,
                                    cop_matrix teacher_head)
{
    const int64_t rows = hidden.rows;
    cop_head_loss_args args = {
        .hidden = hidden,
        .head = head,
        .targets = (const int32_t *)(void *)memory,
        .temperature = 1.0F,
        .grad_scale = 1.0F,
        .cross_entropy = loss_row(memory, rows_max, CROSS_ENTROPY, wide, rows),
        .agree = loss_row(memory, rows_max, AGREE, wide, rows),
    };
    if (teacher_head.cols > 0) {
        args.teacher_hidden = teacher_hidden;
        args.teacher_head = teacher_head;
        args.kl = loss_row(memory, rows_max, KL, wide, rows);
        args.teacher_cross_entropy = loss_row(memory, rows_max, TEACHER_CROSS_ENTROPY, wide, rows);
    }
    return args;
}

static uint64_t scratch_bytes(cop_backend *backend, int64_t rows, cop_dtype wide, cop_matrix head,
                              cop_matrix teacher_head)
{
    const cop_head_loss_args args = head_args(
        NULL, rows, wide, cop_matrix_dense(NULL, head.dtype, rows, head.cols), head,
        cop_matrix_dense(NULL, teacher_head.dtype, rows, teacher_head.cols), teacher_head);
    return backend->ops->scratch_bytes(backend, COP_OP_HEAD_LOSS, &args);
}

cop_status cop_evaluate_plan(cop_plan *plan, const cop_arch *arch,
                             const cop_network_options *options, const cop_arch *teacher,
                             cop_backend *backend, cop_error *err)
{
    static const cop_dtype computes[] = {
        [COP_PRECISION_F32] = COP_F32,
        [COP_PRECISION_BF16] = COP_BF16,
        [COP_PRECISION_F64] = COP_F64,
    };
    const cop_dtype compute = computes[options->precision];
    const cop_dtype wide = wide_of(options->precision);
    const int64_t rows = options->batch * options->sequence;
    cop_matrix teacher_head = {0};

    if (options->batch < 1 || options->sequence < 1) {
        return COP_FAIL(err, COP_ERR_CONFIG,
                        "evaluation: batch %" PRId64 ", sequence %" PRId64 " (allowed: from 1)",
                        options->batch, options->sequence);
    }
    if (teacher != NULL) {
        teacher_head = cop_matrix_dense(NULL, compute, teacher->vocab, teacher->hidden);
    }
    const uint64_t scratch =
        scratch_bytes(backend, rows, wide,
                      cop_matrix_dense(NULL, compute, arch->vocab, arch->hidden), teacher_head);
    cop_plan_add(plan, "evaluation: LM head and losses", scratch + device_bytes(rows, wide));
    cop_plan_add_host(plan, "evaluation: batches",
                      (uint64_t)rows * (2 * sizeof(int32_t) + cop_dtype_bytes(wide)));
    return COP_OK;
}

static cop_status check(const evaluator *eval, int64_t first, int64_t count, cop_error *err)
{
    const int64_t vocab = cop_network_arch(eval->network)->vocab;
    const cop_network_options *settings = cop_network_settings(eval->network);
    if (first < 0 || count < 1) {
        return COP_FAIL(err, COP_ERR_CONFIG,
                        "evaluation: %" PRId64 " sequences from %" PRId64
                        " (allowed: at least 1, from 0)",
                        count, first);
    }
    if (eval->sequence > settings->sequence) {
        return COP_FAIL(err, COP_ERR_SHAPE,
                        "evaluation: sequences of %" PRId64 " (allowed: at most %" PRId64
                        ", which the network was made for)",
                        eval->sequence, settings->sequence);
    }
    if (eval->teacher == NULL) {
        return COP_OK;
    }
    if (eval->teacher->head.rows != vocab) {
        return COP_FAIL(err, COP_ERR_SHAPE,
                        "evaluation: the teacher's vocabulary is %" PRId64 ", the model's %" PRId64
                        " (allowed: the same)",
                        eval->teacher->head.rows, vocab);
    }
    if (eval->teacher->states.sequence != eval->sequence) {
        return COP_FAIL(err, COP_ERR_SHAPE,
                        "evaluation: the teacher has sequences of %" PRId64 " (allowed: %" PRId64
                        ")",
                        eval->teacher->states.sequence, eval->sequence);
    }
    return COP_OK;
}

static cop_status allocate(evaluator *eval, cop_error *err)
{
    const int64_t rows = eval->batch * eval->sequence;
    const cop_matrix head = cop_network_head(eval->network).working;
    const uint64_t scratch =
        scratch_bytes(eval->backend, rows, eval->wide, head,
                      eval->teacher != NULL ? eval->teacher->head : (cop_matrix){0});
    cop_status status = COP_OK;

    eval->inputs = cop_alloc((size_t)rows, sizeof *eval->inputs);
    eval->targets = cop_alloc((size_t)rows, sizeof *eval->targets);
    eval->losses = cop_alloc((size_t)rows, cop_dtype_bytes(eval->wide));
    if (eval->inputs == NULL || eval->targets == NULL || eval->losses == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM,
                        "evaluation: no memory for batches of %" PRId64 " tokens", rows);
    }
    COP_TRY(status, cop_backend_alloc(eval->backend, &eval->memory, device_bytes(rows, eval->wide),
                                      "evaluation: losses", err));
    if (scratch > 0) {
        COP_TRY(status, cop_backend_alloc(eval->backend, &eval->scratch, scratch,
                                          "evaluation: scratch", err));
    }

done:
    return status;
}

// Means of each sequence's positions.
static cop_status put_means(evaluator *eval, cop_matrix losses, int64_t count, double *out,
                            cop_error *err)
{
    cop_status status = COP_OK;

    COP_TRY(status,
            cop_backend_to_host(eval->backend, NULL, eval->losses, losses.data,
                                (uint64_t)losses.cols * cop_dtype_bytes(losses.dtype), err));
    COP_TRY(status, cop_backend_synchronize(eval->backend, NULL, err));
    for (int64_t s = 0; s < count; s++) {
        double sum = 0.0;
        for (int64_t t = s * eval->sequence; t < (s + 1) * eval->sequence; t++) {
            sum += losses.dtype == COP_F64 ? ((const double *)eval->losses)[t]
                                           : (double)((const float *)eval->losses)[t];
        }
        out[s] = sum / (double)eval->sequence;
    }

done:
    return status;
}

static cop_status run_batch(evaluator *eval, int64_t first, int64_t count, cop_matrix *hidden,
                            cop_matrix *teacher_hidden, cop_error *err)
{
    const cop_forward_options pass = {
        .ids = eval->inputs, .batch = count, .sequence = eval->sequence};
    const uint64_t rows = (uint64_t)count * (uint64_t)eval->sequence;
    cop_status status = COP_OK;

    COP_TRY(status,
            cop_sampler_fill(eval->sampler, first, count, eval->inputs, eval->targets, err));
    COP_TRY(status, cop_backend_to_device(eval->backend, NULL, eval->memory, eval->targets,
                                          rows * sizeof *eval->targets, err));
    if (eval->teacher != NULL) {
        COP_TRY(status, eval->teacher->states.states(eval->teacher->states.context, first, count,
                                                     teacher_hidden, err));
    }
    COP_TRY(status, cop_network_forward(eval->network, &pass, hidden, err));

done:
    return status;
}

// Evaluates sequences [first, first + count), whose means go to out's arrays from `at`.
static cop_status evaluate_batch(evaluator *eval, cop_evaluation *out, int64_t first, int64_t count,
                                 int64_t at, cop_error *err)
{
    const int64_t rows_max = eval->batch * eval->sequence;
    cop_status status = COP_OK;
    cop_matrix hidden = {0};
    cop_matrix teacher_hidden = {0};
    cop_head_loss_args args;

    COP_TRY(status, run_batch(eval, first, count, &hidden, &teacher_hidden, err));
    args = head_args(eval->memory, rows_max, eval->wide, hidden,
                     cop_network_head(eval->network).working, teacher_hidden,
                     eval->teacher != NULL ? eval->teacher->head : (cop_matrix){0});
    args.scratch = eval->scratch;
    COP_TRY(status, eval->backend->ops->head_loss(eval->backend, NULL, &args, err));
    COP_TRY(status, put_means(eval, args.cross_entropy, count, out->cross_entropy + at, err));
    COP_TRY(status, put_means(eval, args.agree, count, out->agreement + at, err));
    if (eval->teacher != NULL) {
        COP_TRY(status, put_means(eval, args.kl, count, out->kl + at, err));
        COP_TRY(status, put_means(eval, args.teacher_cross_entropy, count,
                                  out->teacher_cross_entropy + at, err));
    }

done:
    return status;
}

static cop_status create_result(cop_evaluation *result, int64_t count, int64_t sequence,
                                bool has_teacher, cop_error *err)
{
    const size_t n = (size_t)count;
    *result = (cop_evaluation){.sequences = count, .sequence_tokens = sequence};
    result->cross_entropy = cop_alloc(n, sizeof(double));
    result->agreement = cop_alloc(n, sizeof(double));
    bool is_complete = result->cross_entropy != NULL && result->agreement != NULL;
    if (has_teacher) {
        result->kl = cop_alloc(n, sizeof(double));
        result->teacher_cross_entropy = cop_alloc(n, sizeof(double));
        is_complete = is_complete && result->kl != NULL && result->teacher_cross_entropy != NULL;
    }
    if (!is_complete) {
        return COP_FAIL(err, COP_ERR_NOMEM, "evaluation: no memory for %" PRId64 " sequences",
                        count);
    }
    return COP_OK;
}

cop_status cop_evaluate(cop_evaluation *out, cop_network *network, cop_sampler *sampler,
                        int64_t first, int64_t count, const cop_teacher *teacher, cop_error *err)
{
    const cop_network_options *settings = cop_network_settings(network);
    evaluator eval = {
        .network = network,
        .sampler = sampler,
        .teacher = teacher,
        .backend = cop_network_backend(network),
        .wide = wide_of(settings->precision),
        .batch = count < settings->batch ? count : settings->batch,
        .sequence = cop_sampler_sequence(sampler),
    };
    cop_status status = COP_OK;
    cop_evaluation result = {0};

    *out = (cop_evaluation){0};
    COP_TRY(status, check(&eval, first, count, err));
    COP_TRY(status, allocate(&eval, err));
    COP_TRY(status, create_result(&result, count, eval.sequence, teacher != NULL, err));
    for (int64_t at = 0; at < count; at += eval.batch) {
        const int64_t part = count - at < eval.batch ? count - at : eval.batch;
        COP_TRY(status, evaluate_batch(&eval, &result, first + at, part, at, err));
    }
    *out = result;
    result = (cop_evaluation){0};

done:
    cop_evaluation_release(&result);
    cop_free(eval.inputs);
    cop_free(eval.targets);
    cop_free(eval.losses);
    cop_backend_free(eval.backend, eval.memory);
    cop_backend_free(eval.backend, eval.scratch);
    return status;
}

void cop_evaluation_release(cop_evaluation *evaluation)
{
    cop_free(evaluation->cross_entropy);
    cop_free(evaluation->kl);
    cop_free(evaluation->agreement);
    cop_free(evaluation->teacher_cross_entropy);
    *evaluation = (cop_evaluation){0};
}
