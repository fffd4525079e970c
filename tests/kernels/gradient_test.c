// Every backward of the reference against central differences of its forward, all in f64. The loss
// is the sum of the outputs weighted with random numbers, so that its gradient with respect to the
// outputs is those numbers. Error of the differences: h² f''' / 6 + 2^-53 |L| / h, about 1e-9 at
// h = 1e-5; 1e-6 of the largest gradient leaves room for curvature.
//
// Longer than the aim: one test file for one source, whose cases share what is above them.

#include <math.h>
#include <stdio.h>

#include "kernels/check.h"
#include "tests/kernels/rig.h"

static const double step = 1e-5;
static const double tolerance = 1e-6;

// Loss of the rig's forward operator.
typedef double (*loss_function)(rig *self, cop_backend *backend, cop_matrix weights);

static void check_gradient(rig *self, cop_backend *backend, loss_function loss, cop_matrix weights,
                           cop_matrix input, cop_matrix gradient, const char *name)
{
    double largest = 0.0;
    for (int64_t r = 0; r < gradient.rows; r++) {
        for (int64_t c = 0; c < gradient.cols; c++) {
            largest = fmax(largest, fabs(rig_get(gradient, r, c)));
        }
    }
    assert_true(largest > 0.0);
    for (int64_t r = 0; r < input.rows; r++) {
        for (int64_t c = 0; c < input.cols; c++) {
            const double value = rig_get(input, r, c);
            rig_put(input, r, c, value + step);
            const double above = loss(self, backend, weights);
            rig_put(input, r, c, value - step);
            const double below = loss(self, backend, weights);
            rig_put(input, r, c, value);
            const double want = (above - below) / (2.0 * step);
            const double got = rig_get(gradient, r, c);
            if (!(fabs(want - got) <= tolerance * fmax(largest, 1.0))) {
                fail_msg("%s: gradient of %s at [%lld, %lld] is %.12g, differences say %.12g",
                         cop_op_name(self->op), name, (long long)r, (long long)c, got, want);
            }
        }
    }
}

static double weighted(cop_matrix y, cop_matrix weights)
{
    double sum = 0.0;
    for (int64_t r = 0; r < y.rows; r++) {
        for (int64_t c = 0; c < y.cols; c++) {
            sum += rig_get(y, r, c) * rig_get(weights, r, c);
        }
    }
    return sum;
}

// A copy of a matrix's shape with zeros.
static cop_matrix zeros_like(rig *self, cop_matrix m)
{
    const cop_matrix copy = rig_matrix(self, COP_F64, m.rows, m.cols, RIG_NORMAL);
    for (int64_t r = 0; r < m.rows; r++) {
        for (int64_t c = 0; c < m.cols; c++) {
            rig_put(copy, r, c, 0.0);
        }
    }
    return copy;
}

// Runs another operator's struct in the same rig.
static void run_backward(rig *self, cop_backend *backend, cop_op op, rig_args args)
{
    rig other = *self;
    other.op = op;
    other.args = args;
    rig_run(&other, backend);
}

static double matmul_loss(rig *self, cop_backend *backend, cop_matrix weights)
{
    rig_run(self, backend);
    return weighted(self->args.matmul.c, weights);
}

static void three_layouts_of_matmul_are_a_product_and_its_gradients(void **state)
{
    (void)state;
    cop_backend *backend = rig_backend("reference");
    rig self;
    rig_init(&self, COP_OP_MATMUL, COP_F64, 0, 1);
    cop_matmul_args *forward = &self.args.matmul;
    *forward = (cop_matmul_args){
        .a = rig_parameter(&self, 5, 4, RIG_NORMAL),
        .b = rig_parameter(&self, 3, 4, RIG_NORMAL),
        .c = rig_parameter(&self, 5, 3, RIG_NORMAL),
        .transpose_b = true,
        .alpha = 1.0F,
    };
    const cop_matrix d_y = rig_parameter(&self, 5, 3, RIG_NORMAL);
    const cop_matrix d_x = rig_parameter(&self, 5, 4, RIG_NORMAL);
    const cop_matrix d_w = rig_parameter(&self, 3, 4, RIG_NORMAL);
    run_backward(&self, backend, COP_OP_MATMUL,
                 (rig_args){.matmul = {.a = d_y, .b = forward->b, .c = d_x, .alpha = 1.0F}});
    run_backward(
        &self, backend, COP_OP_MATMUL,
        (rig_args){
            .matmul = {.a = d_y, .b = forward->a, .c = d_w, .transpose_a = true, .alpha = 1.0F}});
    check_gradient(&self, backend, matmul_loss, d_y, forward->a, d_x, "x");
    check_gradient(&self, backend, matmul_loss, d_y, forward->b, d_w, "w");
    rig_release(&self);
    cop_backend_destroy(backend);
}

static double norm_loss(rig *self, cop_backend *backend, cop_matrix weights)
{
    rig_run(self, backend);
    return weighted(self->args.norm_forward.y, weights);
}

static void check_norm(cop_norm_kind kind, bool has_bias)
{
    cop_backend *backend = rig_backend("reference");
    rig self;
    rig_init(&self, COP_OP_NORM_FORWARD, COP_F64, 0, 1);
    cop_norm_forward_args *forward = &self.args.norm_forward;
    *forward = (cop_norm_forward_args){
        .kind = kind,
        .eps = 1e-3F,
        .x = rig_parameter(&self, 4, 7, RIG_NORMAL),
        .gain = rig_parameter(&self, 1, 7, RIG_NORMAL),
        .y = rig_parameter(&self, 4, 7, RIG_NORMAL),
        .stats = rig_parameter(&self, 4, 2, RIG_NORMAL),
    };
    if (has_bias) {
        forward->bias = rig_parameter(&self, 1, 7, RIG_NORMAL);
    }
    const cop_matrix d_y = rig_parameter(&self, 4, 7, RIG_NORMAL);
    const cop_matrix d_x = rig_parameter(&self, 4, 7, RIG_NORMAL);
    const cop_matrix d_gain = zeros_like(&self, forward->gain);
    const cop_matrix d_bias = zeros_like(&self, forward->gain);
    rig_run(&self, backend);
    run_backward(&self, backend, COP_OP_NORM_BACKWARD,
                 (rig_args){.norm_backward = {.kind = kind,
                                              .d_y = d_y,
                                              .x = forward->x,
                                              .gain = forward->gain,
                                              .stats = forward->stats,
                                              .d_x = d_x,
                                              .d_gain = d_gain,
                                              .d_bias = d_bias}});
    check_gradient(&self, backend, norm_loss, d_y, forward->x, d_x, "x");
    check_gradient(&self, backend, norm_loss, d_y, forward->gain, d_gain, "gain");
    if (has_bias) {
        check_gradient(&self, backend, norm_loss, d_y, forward->bias, d_bias, "bias");
    }
    rig_release(&self);
    cop_backend_destroy(backend);
}

static void norm_backward_is_the_gradient_of_every_kind(void **state)
{
    (void)state;
    check_norm(COP_NORM_RMS, false);
    check_norm(COP_NORM_LAYER, true);
    check_norm(COP_NORM_LAYER, false);
    check_norm(COP_NORM_LAYER_1P, true);
}

// The rotation is orthogonal: turning the weights back gives the gradient. The loss needs a fresh
// copy each time, because the operator works in place.
static double rope_loss(rig *self, cop_backend *backend, cop_matrix weights)
{
    rig once = *self;
    once.args.rope.x =
        rig_matrix(&once, COP_F64, self->args.rope.x.rows, self->args.rope.x.cols, RIG_NORMAL);
    for (int64_t r = 0; r < once.args.rope.x.rows; r++) {
        for (int64_t c = 0; c < once.args.rope.x.cols; c++) {
            rig_put(once.args.rope.x, r, c, rig_get(self->args.rope.x, r, c));
        }
    }
    rig_run(&once, backend);
    return weighted(once.args.rope.x, weights);
}

static void rope_inverse_is_the_gradient_of_rope(void **state)
{
    (void)state;
    cop_backend *backend = rig_backend("reference");
    rig self;
    rig_init(&self, COP_OP_ROPE, COP_F64, 0, 1);
    cop_rope_args *forward = &self.args.rope;
    *forward = (cop_rope_args){
        .x = rig_parameter(&self, 6, 14, RIG_NORMAL),
        .heads = 2,
        .head_dim = 7,
        .sequence = 3,
        .cos = rig_parameter(&self, 3, 2, RIG_NORMAL),
        .sin = rig_parameter(&self, 3, 2, RIG_NORMAL),
    };
    const cop_matrix weights = rig_parameter(&self, 6, 14, RIG_NORMAL);
    const cop_matrix d_x = zeros_like(&self, weights);
    for (int64_t r = 0; r < 6; r++) {
        for (int64_t c = 0; c < 14; c++) {
            rig_put(d_x, r, c, rig_get(weights, r, c));
        }
    }
    rig_args backward = {.rope = *forward};
    backward.rope.x = d_x;
    backward.rope.inverse = true;
    run_backward(&self, backend, COP_OP_ROPE, backward);
    check_gradient(&self, backend, rope_loss, weights, forward->x, d_x, "x");
    rig_release(&self);
    cop_backend_destroy(backend);
}

static double attention_loss(rig *self, cop_backend *backend, cop_matrix weights)
{
    rig_run(self, backend);
    return weighted(self->args.attention_forward.o, weights);
}

static void check_attention(int64_t heads, int64_t kv_heads, int64_t sequence, int64_t dim)
{
    cop_backend *backend = rig_backend("reference");
    rig self;
    rig_init(&self, COP_OP_ATTENTION_FORWARD, COP_F64, 0, 1);
    cop_attention_forward_args *forward = &self.args.attention_forward;
    const int64_t n = 2 * sequence;
    *forward = (cop_attention_forward_args){
        .batch = 2,
        .sequence = sequence,
        .heads = heads,
        .kv_heads = kv_heads,
        .head_dim = dim,
        .scale = 0.5F,
        .q = rig_parameter(&self, n, heads * dim, RIG_NORMAL),
        .k = rig_parameter(&self, n, kv_heads * dim, RIG_NORMAL),
        .v = rig_parameter(&self, n, kv_heads * dim, RIG_NORMAL),
        .o = rig_parameter(&self, n, heads * dim, RIG_NORMAL),
        .lse = rig_parameter(&self, 2 * heads, sequence, RIG_NORMAL),
    };
    const cop_matrix d_o = rig_parameter(&self, n, heads * dim, RIG_NORMAL);
    const cop_matrix d_q = rig_parameter(&self, n, heads * dim, RIG_NORMAL);
    const cop_matrix d_k = rig_parameter(&self, n, kv_heads * dim, RIG_NORMAL);
    const cop_matrix d_v = rig_parameter(&self, n, kv_heads * dim, RIG_NORMAL);
    rig_run(&self, backend);
    run_backward(&self, backend, COP_OP_ATTENTION_BACKWARD,
                 (rig_args){.attention_backward = {.batch = 2,
                                                   .sequence = sequence,
                                                   .heads = heads,
                                                   .kv_heads = kv_heads,
                                                   .head_dim = dim,
                                                   .scale = 0.5F,
                                                   .q = forward->q,
                                                   .k = forward->k,
                                                   .v = forward->v,
                                                   .o = forward->o,
                                                   .lse = forward->lse,
                                                   .d_o = d_o,
                                                   .d_q = d_q,
                                                   .d_k = d_k,
                                                   .d_v = d_v}});
    check_gradient(&self, backend, attention_loss, d_o, forward->q, d_q, "q");
    check_gradient(&self, backend, attention_loss, d_o, forward->k, d_k, "k");
    check_gradient(&self, backend, attention_loss, d_o, forward->v, d_v, "v");
    rig_release(&self);
    cop_backend_destroy(backend);
}

static void attention_backward_is_the_gradient_with_and_without_groups(void **state)
{
    (void)state;
    check_attention(2, 2, 5, 3);
    check_attention(4, 2, 5, 3);
    check_attention(3, 1, 4, 1);
}

static double activation_loss(rig *self, cop_backend *backend, cop_matrix weights)
{
    rig_run(self, backend);
    return weighted(self->args.activation_forward.y, weights);
}

static void activation_backward_is_the_gradient_of_every_kind(void **state)
{
    (void)state;
    cop_backend *backend = rig_backend("reference");
    for (int i = 0; i < 8; i++) {
        const cop_activation kind = (cop_activation)(i / 2);
        rig self;
        rig_init(&self, COP_OP_ACTIVATION_FORWARD, COP_F64, 0, 1);
        cop_activation_forward_args *forward = &self.args.activation_forward;
        *forward = (cop_activation_forward_args){
            .kind = kind,
            .up = rig_parameter(&self, 5, 7, RIG_NORMAL),
            .y = rig_parameter(&self, 5, 7, RIG_NORMAL),
        };
        const cop_matrix d_y = rig_parameter(&self, 5, 7, RIG_NORMAL);
        rig_args backward = {.activation_backward = {.kind = kind, .up = forward->up, .d_y = d_y}};
        backward.activation_backward.d_up = rig_parameter(&self, 5, 7, RIG_NORMAL);
        if (i % 2 != 0) {
            forward->gate = rig_parameter(&self, 5, 7, RIG_NORMAL);
            backward.activation_backward.gate = forward->gate;
            backward.activation_backward.d_gate = rig_parameter(&self, 5, 7, RIG_NORMAL);
        }
        run_backward(&self, backend, COP_OP_ACTIVATION_BACKWARD, backward);
        check_gradient(&self, backend, activation_loss, d_y, forward->up,
                       backward.activation_backward.d_up, "up");
        if (i % 2 != 0) {
            check_gradient(&self, backend, activation_loss, d_y, forward->gate,
                           backward.activation_backward.d_gate, "gate");
        }
        rig_release(&self);
    }
    cop_backend_destroy(backend);
}

static double embedding_loss(rig *self, cop_backend *backend, cop_matrix weights)
{
    rig_run(self, backend);
    return weighted(self->args.embedding_forward.y, weights);
}

static void embedding_backward_adds_up_repeated_ids(void **state)
{
    (void)state;
    static const int32_t ids[] = {2, 0, 2, 2, 1, 0};
    cop_backend *backend = rig_backend("reference");
    rig self;
    rig_init(&self, COP_OP_EMBEDDING_FORWARD, COP_F64, 0, 1);
    cop_embedding_forward_args *forward = &self.args.embedding_forward;
    *forward = (cop_embedding_forward_args){
        .ids = ids,
        .table = rig_parameter(&self, 4, 3, RIG_NORMAL),
        .y = rig_parameter(&self, 6, 3, RIG_NORMAL),
    };
    const cop_matrix d_y = rig_parameter(&self, 6, 3, RIG_NORMAL);
    const cop_matrix d_table = zeros_like(&self, forward->table);
    run_backward(&self, backend, COP_OP_EMBEDDING_BACKWARD,
                 (rig_args){.embedding_backward = {.ids = ids, .d_y = d_y, .d_table = d_table}});
    check_gradient(&self, backend, embedding_loss, d_y, forward->table, d_table, "table");
    rig_release(&self);
    cop_backend_destroy(backend);
}

// grad_scale * Σ (ce_weight * CE + kl_weight * τ² * KL), from the outputs without gradients.
static double head_loss(rig *self, cop_backend *backend, cop_matrix weights)
{
    (void)weights;
    rig once = *self;
    cop_head_loss_args *args = &once.args.head_loss;
    args->d_hidden.data = NULL;
    args->d_head.data = NULL;
    rig_run(&once, backend);
    const double tau = (double)args->temperature;
    double sum = 0.0;
    for (int64_t r = 0; r < args->hidden.rows; r++) {
        if (args->targets != NULL && args->targets[r] >= 0) {
            sum += (double)args->ce_weight * rig_get(args->cross_entropy, 0, r);
        }
        if (args->teacher_hidden.data != NULL || args->sample_ids != NULL) {
            sum += (double)args->kl_weight * tau * tau * rig_get(args->kl, 0, r);
        }
    }
    return sum * (double)args->grad_scale;
}

typedef enum teacher_form { NO_TEACHER, TEACHER, SAMPLE } teacher_form;

static void check_head(float ce_weight, float kl_weight, float temperature, teacher_form form)
{
    static const int32_t targets[] = {3, -1, 0, 7};
    static const int32_t sample[] = {3, 1, -1, 7, 0, 6, 2, -1, -1, 4, 4, 7};
    cop_backend *backend = rig_backend("reference");
    rig self;
    rig_init(&self, COP_OP_HEAD_LOSS, COP_F64, 0, 1);
    cop_head_loss_args *args = &self.args.head_loss;
    *args = (cop_head_loss_args){
        .hidden = rig_parameter(&self, 4, 5, RIG_NORMAL),
        .head = rig_parameter(&self, 8, 5, RIG_NORMAL),
        .targets = targets,
        .ce_weight = ce_weight,
        .kl_weight = kl_weight,
        .temperature = temperature,
        .grad_scale = 0.5F,
        .cross_entropy = rig_parameter(&self, 1, 4, RIG_NORMAL),
        .d_hidden = rig_parameter(&self, 4, 5, RIG_NORMAL),
    };
    if (form == TEACHER) {
        args->teacher_hidden = rig_parameter(&self, 4, 6, RIG_NORMAL);
        args->teacher_head = rig_parameter(&self, 8, 6, RIG_NORMAL);
    }
    if (form == SAMPLE) {
        self.padding = 0;
        args->sample_ids = sample;
        args->sample_weights = rig_parameter(&self, 4, 3, RIG_POSITIVE);
        args->sample_entropy = rig_parameter(&self, 1, 4, RIG_POSITIVE);
        // The gradient is that of weights that add up to 1 over a row, as a sample's do.
        for (int64_t r = 0; r < 4; r++) {
            double sum = 0.0;
            for (int64_t k = 0; k < 3; k++) {
                sum += sample[r * 3 + k] >= 0 ? rig_get(args->sample_weights, r, k) : 0.0;
            }
            for (int64_t k = 0; k < 3; k++) {
                rig_put(args->sample_weights, r, k, rig_get(args->sample_weights, r, k) / sum);
            }
        }
    }
    if (form != NO_TEACHER) {
        args->kl = rig_parameter(&self, 1, 4, RIG_NORMAL);
    }
    args->d_head = zeros_like(&self, args->head);
    rig_run(&self, backend);
    check_gradient(&self, backend, head_loss, args->hidden, args->hidden, args->d_hidden, "hidden");
    check_gradient(&self, backend, head_loss, args->hidden, args->head, args->d_head, "head");
    rig_release(&self);
    cop_backend_destroy(backend);
}

static void head_loss_gradients_are_those_of_its_losses(void **state)
{
    (void)state;
    check_head(1.0F, 0.0F, 1.0F, NO_TEACHER);
    check_head(0.0F, 1.0F, 1.0F, TEACHER);
    check_head(0.0F, 1.0F, 2.0F, TEACHER);
    check_head(0.25F, 0.5F, 1.0F, TEACHER);
    check_head(0.25F, 0.5F, 3.0F, TEACHER);
    check_head(0.0F, 1.0F, 1.0F, SAMPLE);
    check_head(0.25F, 0.5F, 1.0F, SAMPLE);
}

static double state_loss(rig *self, cop_backend *backend, cop_matrix weights)
{
    (void)weights;
    rig once = *self;
    once.args.state_loss.d_student.data = NULL;
    rig_run(&once, backend);
    double sum = 0.0;
    for (int64_t r = 0; r < once.args.state_loss.loss.cols; r++) {
        sum += rig_get(once.args.state_loss.loss, 0, r);
    }
    return sum * (double)once.args.state_loss.grad_scale;
}

static void state_loss_gradient_is_that_of_both_kinds(void **state)
{
    (void)state;
    cop_backend *backend = rig_backend("reference");
    for (int kind = 0; kind <= (int)COP_STATE_LOSS_COSINE; kind++) {
        rig self;
        rig_init(&self, COP_OP_STATE_LOSS, COP_F64, 0, 1);
        cop_state_loss_args *args = &self.args.state_loss;
        *args = (cop_state_loss_args){
            .kind = (cop_state_loss_kind)kind,
            .student = rig_parameter(&self, 4, 5, RIG_NORMAL),
            .teacher = rig_parameter(&self, 4, 5, RIG_NORMAL),
            .loss = rig_parameter(&self, 1, 4, RIG_NORMAL),
            .d_student = rig_parameter(&self, 4, 5, RIG_NORMAL),
            .grad_scale = 0.5F,
        };
        rig_run(&self, backend);
        check_gradient(&self, backend, state_loss, args->student, args->student, args->d_student,
                       "student");
        rig_release(&self);
    }
    cop_backend_destroy(backend);
}

// The bias enters every row: its gradient is the column sum. bias_add works in place, so the loss
// runs on a copy.
static double bias_loss(rig *self, cop_backend *backend, cop_matrix weights)
{
    rig once = *self;
    once.args.bias_add.x = zeros_like(&once, self->args.bias_add.x);
    rig_run(&once, backend);
    return weighted(once.args.bias_add.x, weights);
}

static void column_sum_is_the_gradient_of_a_bias(void **state)
{
    (void)state;
    cop_backend *backend = rig_backend("reference");
    rig self;
    rig_init(&self, COP_OP_BIAS_ADD, COP_F64, 0, 1);
    self.args.bias_add = (cop_bias_add_args){
        .x = rig_parameter(&self, 5, 3, RIG_NORMAL),
        .bias = rig_parameter(&self, 1, 3, RIG_NORMAL),
    };
    const cop_matrix d_y = rig_parameter(&self, 5, 3, RIG_NORMAL);
    const cop_matrix d_bias = zeros_like(&self, self.args.bias_add.bias);
    run_backward(&self, backend, COP_OP_COLUMN_SUM,
                 (rig_args){.column_sum = {.x = d_y, .sum = d_bias}});
    check_gradient(&self, backend, bias_loss, d_y, self.args.bias_add.bias, d_bias, "bias");
    rig_release(&self);
    cop_backend_destroy(backend);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(three_layouts_of_matmul_are_a_product_and_its_gradients),
        cmocka_unit_test(norm_backward_is_the_gradient_of_every_kind),
        cmocka_unit_test(rope_inverse_is_the_gradient_of_rope),
        cmocka_unit_test(attention_backward_is_the_gradient_with_and_without_groups),
        cmocka_unit_test(activation_backward_is_the_gradient_of_every_kind),
        cmocka_unit_test(embedding_backward_adds_up_repeated_ids),
        cmocka_unit_test(head_loss_gradients_are_those_of_its_losses),
        cmocka_unit_test(state_loss_gradient_is_that_of_both_kinds),
        cmocka_unit_test(column_sum_is_the_gradient_of_a_bias),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
