#include "distill/state_losses.h"

#include <assert.h>

#include "distill/layout.h"
#include "distill/state_losses_internal.h"

static cop_matrix absent(cop_dtype dtype)
{
    return (cop_matrix){.dtype = dtype};
}

// --- Operators of one pair, also used to ask for scratch memory ---------------------------------

// y -> p = y Wᵀ
static cop_matmul_args project_args(const cop_state_losses *losses, int64_t rows)
{
    return (cop_matmul_args){
        .a = cop_layout_rows(losses->y, rows),
        .b = losses->working,
        .c = cop_layout_rows(losses->p, rows),
        .transpose_b = true,
        .alpha = 1.0F,
        .scratch = losses->scratch,
    };
}

// d_W += d_pᵀ y
static cop_matmul_args weight_args(const cop_state_losses *losses, int64_t rows)
{
    return (cop_matmul_args){
        .a = cop_layout_rows(losses->d_p, rows),
        .b = cop_layout_rows(losses->y, rows),
        .c = losses->gradient,
        .transpose_a = true,
        .alpha = 1.0F,
        .beta = 1.0F,
        .scratch = losses->scratch,
    };
}

// d_y = d_p W
static cop_matmul_args input_args(const cop_state_losses *losses, int64_t rows)
{
    return (cop_matmul_args){
        .a = cop_layout_rows(losses->d_p, rows),
        .b = losses->working,
        .c = cop_layout_rows(losses->d_y, rows),
        .alpha = 1.0F,
        .scratch = losses->scratch,
    };
}

static cop_norm_backward_args norm_args(const cop_state_losses *losses, int pair,
                                        cop_matrix gradient, int64_t rows)
{
    const cop_student_state *state = &losses->state[pair];
    return (cop_norm_backward_args){
        .kind = losses->student_norm,
        .d_y = cop_layout_rows(losses->d_y, rows),
        .x = cop_layout_rows(state->x, rows),
        .gain = losses->student_ones,
        .stats = cop_layout_rows(state->stats, rows),
        .d_x = gradient,
        .d_gain = absent(losses->wide),
        .d_bias = absent(losses->wide),
        .accumulate = true,
        .scratch = losses->scratch,
    };
}

static cop_sum_squares_args norm_squared_args(const cop_state_losses *losses)
{
    return (cop_sum_squares_args){
        .x = losses->gradient, .sum = losses->norm_squared, .scratch = losses->scratch};
}

uint64_t cop_state_losses_scratch(const cop_state_losses *losses)
{
    const cop_ops *ops = losses->backend->ops;
    const int64_t rows = losses->options.tokens_pass;
    const cop_matmul_args matmuls[] = {project_args(losses, rows), weight_args(losses, rows),
                                       input_args(losses, rows)};
    const cop_norm_backward_args norm = norm_args(losses, 0, losses->state[0].x, rows);
    const cop_sum_squares_args squares = norm_squared_args(losses);
    uint64_t largest = ops->scratch_bytes(losses->backend, COP_OP_NORM_BACKWARD, &norm);
    const uint64_t other = ops->scratch_bytes(losses->backend, COP_OP_SUM_SQUARES, &squares);
    largest = other > largest ? other : largest;
    for (size_t i = 0; i < sizeof matmuls / sizeof matmuls[0]; i++) {
        const uint64_t bytes = ops->scratch_bytes(losses->backend, COP_OP_MATMUL, &matmuls[i]);
        largest = bytes > largest ? bytes : largest;
    }
    return largest;
}

// --- One pass -----------------------------------------------------------------------------------

void cop_state_losses_begin(cop_state_losses *losses, int64_t tokens, int64_t row, float grad_scale)
{
    assert(tokens <= losses->options.tokens_pass && row >= 0 &&
           row + tokens <= losses->options.tokens);
    losses->rows = tokens;
    losses->row = row;
    losses->grad_scale = grad_scale;
}

// Whether this tap is the state that a pair calls `wanted`.
static bool is_state(cop_tap tap, int64_t layer, int64_t wanted)
{
    return wanted < 0 ? tap == COP_TAP_EMBEDDING : tap == COP_TAP_BLOCK_OUTPUT && layer == wanted;
}

cop_status cop_state_losses_teacher_tap(void *context, cop_tap tap, int64_t layer,
                                        const cop_matrix *value, cop_error *err)
{
    cop_state_losses *losses = context;
    cop_status status = COP_OK;

    for (int i = 0; i < losses->options.pairs; i++) {
        if (!is_state(tap, layer, losses->options.pair[i].teacher_layer)) {
            continue;
        }
        const cop_norm_forward_args args = {
            .kind = losses->teacher_norm,
            .eps = losses->teacher_eps,
            .x = *value,
            .gain = losses->teacher_ones,
            .y = cop_layout_rows(losses->state[i].teacher, losses->rows),
        };
        COP_TRY(status, losses->backend->ops->norm_forward(losses->backend, NULL, &args, err));
    }

done:
    return status;
}

cop_status cop_state_losses_student_tap(void *context, cop_tap tap, int64_t layer,
                                        const cop_matrix *value, cop_error *err)
{
    cop_state_losses *losses = context;
    cop_status status = COP_OK;

    for (int i = 0; i < losses->options.pairs; i++) {
        if (is_state(tap, layer, losses->options.pair[i].student_layer)) {
            const cop_convert_args args = {.x = *value,
                                           .y = cop_layout_rows(losses->state[i].x, losses->rows)};
            COP_TRY(status, losses->backend->ops->convert(losses->backend, NULL, &args, err));
        }
    }

done:
    return status;
}

// Where the losses of a pair go for the rows of this pass.
static cop_matrix loss_part(const cop_state_losses *losses, int pair)
{
    cop_matrix row = cop_matrix_part(losses->loss, pair, 1, 0, losses->loss.cols);
    return cop_matrix_part(row, 0, 1, losses->row, losses->rows);
}

// y = norm(x), p = y Wᵀ, loss, and d_p when it is wanted.
static cop_status compare(cop_state_losses *losses, int pair, bool with_gradient, cop_error *err)
{
    const cop_ops *ops = losses->backend->ops;
    const int64_t rows = losses->rows;
    const cop_student_state *state = &losses->state[pair];
    const cop_norm_forward_args norm = {
        .kind = losses->student_norm,
        .eps = losses->student_eps,
        .x = cop_layout_rows(state->x, rows),
        .gain = losses->student_ones,
        .y = cop_layout_rows(losses->y, rows),
        .stats = cop_layout_rows(state->stats, rows),
    };
    const cop_matmul_args project = project_args(losses, rows);
    const cop_state_loss_args loss = {
        .kind = losses->options.kind,
        .student = project.c,
        .teacher = cop_layout_rows(state->teacher, rows),
        .loss = loss_part(losses, pair),
        .d_student = with_gradient ? cop_layout_rows(losses->d_p, rows) : absent(losses->compute),
        .grad_scale = losses->grad_scale,
    };
    cop_status status = COP_OK;

    COP_TRY(status, ops->norm_forward(losses->backend, NULL, &norm, err));
    COP_TRY(status, ops->matmul(losses->backend, NULL, &project, err));
    COP_TRY(status, ops->state_loss(losses->backend, NULL, &loss, err));

done:
    return status;
}

static cop_status inject_pair(cop_state_losses *losses, int pair, cop_matrix gradient,
                              cop_error *err)
{
    const cop_ops *ops = losses->backend->ops;
    const int64_t rows = losses->rows;
    const cop_matmul_args weight = weight_args(losses, rows);
    const cop_matmul_args input = input_args(losses, rows);
    const cop_norm_backward_args norm = norm_args(losses, pair, gradient, rows);
    cop_status status = COP_OK;

    COP_TRY(status, compare(losses, pair, true, err));
    COP_TRY(status, ops->matmul(losses->backend, NULL, &weight, err));
    COP_TRY(status, ops->matmul(losses->backend, NULL, &input, err));
    COP_TRY(status, ops->norm_backward(losses->backend, NULL, &norm, err));

done:
    return status;
}

cop_status cop_state_losses_inject(void *context, cop_tap tap, int64_t layer, cop_matrix *gradient,
                                   cop_error *err)
{
    cop_state_losses *losses = context;
    cop_status status = COP_OK;

    for (int i = 0; i < losses->options.pairs; i++) {
        if (is_state(tap, layer, losses->options.pair[i].student_layer)) {
            COP_TRY(status, inject_pair(losses, i, *gradient, err));
        }
    }

done:
    return status;
}

cop_status cop_state_losses_measure(cop_state_losses *losses, cop_error *err)
{
    cop_status status = COP_OK;
    for (int i = 0; status == COP_OK && i < losses->options.pairs; i++) {
        status = compare(losses, i, false, err);
    }
    return status;
}

// --- Between passes -----------------------------------------------------------------------------

cop_status cop_state_losses_publish(cop_state_losses *losses, cop_error *err)
{
    if (losses->compute == losses->wide) {
        return COP_OK;
    }
    const cop_convert_args args = {.x = losses->master, .y = losses->working};
    return losses->backend->ops->convert(losses->backend, NULL, &args, err);
}

cop_status cop_state_losses_update(cop_state_losses *losses, double learning_rate, cop_error *err)
{
    const cop_ops *ops = losses->backend->ops;
    const cop_optimizer_options *optimizer = &losses->options.optimizer;
    const bool is_clipped = optimizer->clip_norm > 0.0;
    const cop_sum_squares_args squares = norm_squared_args(losses);
    const cop_adamw_args args = {
        .parameter = losses->master,
        .working = losses->compute == losses->wide ? absent(losses->wide) : losses->working,
        .gradient = losses->gradient,
        .m = losses->m,
        .v = losses->v,
        .learning_rate = (float)learning_rate,
        .beta1 = (float)optimizer->beta1,
        .beta2 = (float)optimizer->beta2,
        .eps = (float)optimizer->eps,
        .weight_decay = (float)optimizer->weight_decay,
        .step = losses->steps + 1,
        .norm_squared = is_clipped ? losses->norm_squared : NULL,
        .max_norm = (float)optimizer->clip_norm,
        .zero_gradient = true,
    };
    cop_status status = COP_OK;

    COP_TRY(status, cop_group_all_reduce(losses->options.group, NULL, losses->gradient.data,
                                         losses->gradient.rows * losses->gradient.cols,
                                         losses->gradient.dtype, err));
    if (is_clipped) {
        COP_TRY(status, cop_backend_zero(losses->backend, NULL, losses->norm_squared,
                                         sizeof *losses->norm_squared, err));
        COP_TRY(status, ops->sum_squares(losses->backend, NULL, &squares, err));
    }
    COP_TRY(status, ops->adamw(losses->backend, NULL, &args, err));
    losses->steps++;

done:
    return status;
}

cop_status cop_state_losses_fetch(cop_state_losses *losses, cop_error *err)
{
    const int64_t count = losses->options.pairs * losses->options.tokens;
    cop_status status = COP_OK;
    const int64_t tokens = losses->options.tokens;

    for (int i = 0; i < losses->options.pairs; i++) {
        const cop_matrix row = cop_matrix_part(losses->loss, i, 1, 0, tokens);
        COP_TRY(status, cop_group_all_gather(losses->options.group, NULL, row.data, tokens,
                                             tokens / cop_group_size(losses->options.group),
                                             row.dtype, err));
    }
    COP_TRY(status, cop_backend_to_host(losses->backend, NULL, losses->host, losses->loss.data,
                                        (uint64_t)count * cop_dtype_bytes(losses->wide), err));

done:
    return status;
}

double cop_state_losses_value(const cop_state_losses *losses)
{
    const int64_t count = losses->options.pairs * losses->options.tokens;
    double sum = 0.0;

    for (int64_t i = 0; i < count; i++) {
        sum += losses->wide == COP_F64 ? ((const double *)losses->host)[i]
                                       : (double)((const float *)losses->host)[i];
    }
    return sum / (double)losses->options.tokens;
}

cop_matrix cop_state_losses_projection(const cop_state_losses *losses)
{
    return losses->master;
}

cop_matrix cop_state_losses_gradient(const cop_state_losses *losses)
{
    return losses->gradient;
}
