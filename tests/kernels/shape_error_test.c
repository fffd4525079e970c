// Arguments that do not fit are refused with a message that names the operator, what is wrong, the
// value found and the values allowed; nothing is written.

#include <stdio.h>
#include <string.h>

#include "kernels/check.h"
#include "tests/kernels/rig.h"

// A set of operands that fit; each case spoils one of them.
typedef struct operands {
    float memory[4096];
    double sums[64];
    int32_t ids[16];
} operands;

static _Alignas(64) operands ok;

static cop_matrix matrix(int64_t rows, int64_t cols)
{
    return cop_matrix_dense(ok.memory, COP_F32, rows, cols);
}

static cop_matrix typed(cop_dtype dtype, int64_t rows, int64_t cols)
{
    return cop_matrix_dense(ok.memory, dtype, rows, cols);
}

static cop_matrix narrow(cop_matrix m)
{
    m.stride = m.cols - 1;
    return m;
}

static void expect(cop_op op, rig_args args, const char *backend_name, cop_status status,
                   const char *message)
{
    rig self = {.op = op, .args = args};
    cop_backend *backend = rig_backend(backend_name);
    const operands before = ok;
    cop_error err = {0};
    assert_int_equal(rig_try(&self, backend, &err), status);
    assert_string_equal(err.message, message);
    assert_memory_equal(&before, &ok, sizeof ok);
    cop_backend_destroy(backend);
}

static void shapes_that_do_not_fit_are_refused_with_the_sizes(void **state)
{
    (void)state;
    const cop_matrix none = {0};
    expect(COP_OP_MATMUL,
           (rig_args){.matmul = {.a = matrix(3, 4), .b = matrix(5, 6), .c = matrix(3, 6)}}, "cpu",
           COP_ERR_SHAPE,
           "matmul: op(a) is [3, 4], op(b) [5, 6] (allowed: columns of op(a) = rows of op(b))");
    expect(COP_OP_MATMUL,
           (rig_args){.matmul = {.a = matrix(3, 4), .b = matrix(4, 6), .c = matrix(3, 5)}},
           "reference", COP_ERR_SHAPE, "matmul: c is [3, 5] (allowed: [3, 6])");
    expect(COP_OP_MATMUL,
           (rig_args){.matmul = {.a = narrow(matrix(3, 4)), .b = matrix(4, 6), .c = matrix(3, 6)}},
           "cpu", COP_ERR_SHAPE, "matmul: stride of a is 3 (allowed: 4 or more)");
    expect(COP_OP_NORM_FORWARD,
           (rig_args){.norm_forward = {.x = matrix(3, 4), .gain = matrix(1, 5), .y = matrix(3, 4)}},
           "cpu", COP_ERR_SHAPE, "norm_forward: gain is [1, 5] (allowed: [1, 4])");
    expect(COP_OP_NORM_FORWARD,
           (rig_args){.norm_forward = {.x = matrix(3, 4),
                                       .residual = matrix(3, 4),
                                       .gain = matrix(1, 4),
                                       .y = matrix(3, 4)}},
           "cpu", COP_ERR_SHAPE, "norm_forward: sum is absent (allowed: [3, 4])");
    expect(COP_OP_NORM_FORWARD,
           (rig_args){.norm_forward = {.x = matrix(3, 4),
                                       .gain = matrix(1, 4),
                                       .bias = matrix(1, 4),
                                       .y = matrix(3, 4)}},
           "cpu", COP_ERR_SHAPE, "norm_forward: bias is present (allowed: absent for rms)");
    expect(COP_OP_ROPE,
           (rig_args){.rope = {.x = matrix(6, 8),
                               .heads = 2,
                               .head_dim = 4,
                               .sequence = 4,
                               .cos = matrix(4, 2),
                               .sin = matrix(4, 2)}},
           "cpu", COP_ERR_SHAPE, "rope: rows of x is 6 (allowed: multiples of 4)");
    expect(COP_OP_ROPE,
           (rig_args){.rope = {.x = matrix(4, 8),
                               .heads = 2,
                               .head_dim = 4,
                               .sequence = 4,
                               .cos = matrix(4, 3),
                               .sin = matrix(4, 3)}},
           "cpu", COP_ERR_SHAPE, "rope: columns of cos are 3 (allowed: 0..2)");
    expect(COP_OP_ATTENTION_FORWARD,
           (rig_args){.attention_forward = {.batch = 1,
                                            .sequence = 4,
                                            .heads = 3,
                                            .kv_heads = 2,
                                            .head_dim = 2,
                                            .q = matrix(4, 6),
                                            .k = matrix(4, 4),
                                            .v = matrix(4, 4),
                                            .o = matrix(4, 6)}},
           "cpu", COP_ERR_SHAPE, "attention_forward: heads is 3 (allowed: multiples of 2)");
    expect(COP_OP_ACTIVATION_FORWARD,
           (rig_args){.activation_forward = {.kind = (cop_activation)9,
                                             .up = matrix(3, 4),
                                             .y = matrix(3, 4)}},
           "cpu", COP_ERR_UNSUPPORTED, "activation_forward: kind is 9 (allowed: 0..3)");
    expect(COP_OP_COLUMN_SUM, (rig_args){.column_sum = {.x = matrix(3, 4), .sum = matrix(1, 3)}},
           "cpu", COP_ERR_SHAPE, "column_sum: sum is [1, 3] (allowed: [1, 4])");
    expect(COP_OP_GATHER, (rig_args){.gather = {.x = matrix(3, 4), .y = matrix(5, 4)}}, "cpu",
           COP_ERR_SHAPE, "gather: rows of y are 5 (allowed: 0..3)");
    expect(COP_OP_ADAMW,
           (rig_args){.adamw = {.parameter = matrix(3, 4),
                                .gradient = matrix(3, 4),
                                .m = matrix(3, 4),
                                .v = matrix(3, 4)}},
           "cpu", COP_ERR_SHAPE, "adamw: step is 0 (allowed: 1 or more)");
    expect(COP_OP_SUM_SQUARES, (rig_args){.sum_squares = {.x = none, .sum = NULL}}, "cpu",
           COP_ERR_SHAPE, "sum_squares: sum is absent (allowed: a pointer)");
    expect(COP_OP_SEQUENCE_MOMENTS,
           (rig_args){
               .sequence_moments = {.x = matrix(4, 6), .sequence = 2, .group = 4, .out = ok.sums}},
           "cpu", COP_ERR_SHAPE, "sequence_moments: columns of x is 6 (allowed: multiples of 4)");
}

static void ids_outside_their_table_are_refused_with_their_position(void **state)
{
    (void)state;
    ok.ids[2] = 7;
    expect(
        COP_OP_EMBEDDING_FORWARD,
        (rig_args){.embedding_forward = {.ids = ok.ids, .table = matrix(7, 4), .y = matrix(4, 4)}},
        "cpu", COP_ERR_SHAPE, "embedding_forward: ids[2] is 7 (allowed: 0..6)");
    expect(COP_OP_GATHER,
           (rig_args){.gather = {.x = matrix(4, 4), .y = matrix(4, 4), .col_index = ok.ids}},
           "reference", COP_ERR_SHAPE, "gather: col_index[2] is 7 (allowed: 0..3)");
    ok.ids[1] = -1;
    expect(COP_OP_EMBEDDING_BACKWARD,
           (rig_args){
               .embedding_backward = {.ids = ok.ids, .d_y = matrix(4, 4), .d_table = matrix(8, 4)}},
           "cpu", COP_ERR_SHAPE, "embedding_backward: ids[1] is -1 (allowed: 0..7)");
    expect(COP_OP_HEAD_LOSS,
           (rig_args){.head_loss = {.hidden = matrix(4, 4),
                                    .head = matrix(5, 4),
                                    .targets = ok.ids,
                                    .ce_weight = 1.0F,
                                    .temperature = 1.0F}},
           "cpu", COP_ERR_SHAPE, "head_loss: targets[2] is 7 (allowed: -2147483648..4)");
    ok.ids[1] = ok.ids[2] = 0;
}

static void weights_without_what_they_weigh_are_refused(void **state)
{
    (void)state;
    const cop_head_loss_args base = {
        .hidden = matrix(4, 4), .head = matrix(5, 4), .targets = ok.ids, .temperature = 1.0F};
    rig_args args = {.head_loss = base};
    args.head_loss.kl_weight = 0.5F;
    expect(COP_OP_HEAD_LOSS, args, "cpu", COP_ERR_SHAPE,
           "head_loss: kl_weight is 0.5 (allowed: 0 without teacher_hidden)");
    args.head_loss = base;
    args.head_loss.targets = NULL;
    args.head_loss.ce_weight = 1.0F;
    expect(COP_OP_HEAD_LOSS, args, "cpu", COP_ERR_SHAPE,
           "head_loss: ce_weight is 1 (allowed: 0 without targets)");
    args.head_loss = base;
    args.head_loss.temperature = 0.0F;
    expect(COP_OP_HEAD_LOSS, args, "cpu", COP_ERR_SHAPE,
           "head_loss: temperature is 0 (allowed: > 0)");
    args.head_loss = base;
    args.head_loss.d_head = matrix(5, 4);
    expect(COP_OP_HEAD_LOSS, args, "cpu", COP_ERR_SHAPE,
           "head_loss: d_head is present (allowed: absent without d_hidden)");
}

static void element_types_that_a_backend_lacks_are_refused(void **state)
{
    (void)state;
    expect(COP_OP_ADD, (rig_args){.add = {.x = typed(COP_F64, 2, 3), .y = matrix(2, 3)}}, "cpu",
           COP_ERR_UNSUPPORTED, "add: type of x is f64 (allowed: f32 or bf16)");
    expect(COP_OP_ADD, (rig_args){.add = {.x = typed(COP_I32, 2, 3), .y = matrix(2, 3)}},
           "reference", COP_ERR_UNSUPPORTED, "add: type of x is i32 (allowed: f32, bf16 or f64)");
    expect(COP_OP_COLUMN_SUM,
           (rig_args){.column_sum = {.x = matrix(2, 3), .sum = typed(COP_BF16, 1, 3)}}, "cpu",
           COP_ERR_UNSUPPORTED, "column_sum: type of sum is bf16 (allowed: f32)");
    expect(COP_OP_MATMUL,
           (rig_args){.matmul = {.a = matrix(2, 3), .b = typed(COP_BF16, 3, 2), .c = matrix(2, 2)}},
           "cpu", COP_ERR_UNSUPPORTED, "matmul: type of b is bf16 (allowed: f32, as a)");
    expect(COP_OP_MATMUL,
           (rig_args){.matmul = {.a = matrix(2, 3), .b = matrix(3, 2), .c = typed(COP_BF16, 2, 2)}},
           "cpu", COP_ERR_UNSUPPORTED, "matmul: type of c is bf16 (allowed: f32, or f32 as a)");
}

static void supports_and_scratch_bytes_do_not_look_at_data(void **state)
{
    (void)state;
    cop_backend *backend = rig_backend("cpu");
    const cop_matrix planned = cop_matrix_dense(NULL, COP_BF16, 64, 32);
    cop_column_sum_args sum = {.x = planned, .sum = cop_matrix_dense(NULL, COP_F32, 1, 32)};
    assert_true(backend->ops->supports(backend, COP_OP_COLUMN_SUM, &sum));
    assert_true(backend->ops->scratch_bytes(backend, COP_OP_COLUMN_SUM, &sum) > 0);
    sum.sum.cols = 31;
    assert_false(backend->ops->supports(backend, COP_OP_COLUMN_SUM, &sum));
    const cop_convert_args convert = {.x = planned, .y = planned};
    assert_true(backend->ops->supports(backend, COP_OP_CONVERT, &convert));
    assert_int_equal(backend->ops->scratch_bytes(backend, COP_OP_CONVERT, &convert), 0);
    assert_false(backend->ops->supports(backend, COP_OP_COUNT, &convert));
    cop_backend_destroy(backend);
}

static void head_loss_scratch_is_bounded_however_many_tokens(void **state)
{
    (void)state;
    cop_backend *backend = rig_backend("cpu");
    const int64_t tokens[] = {4096, 1 << 20};
    uint64_t bytes[2];
    for (int i = 0; i < 2; i++) {
        const cop_head_loss_args args = {
            .hidden = cop_matrix_dense(NULL, COP_F32, tokens[i], 64),
            .head = cop_matrix_dense(NULL, COP_F32, 32000, 64),
            .teacher_hidden = cop_matrix_dense(NULL, COP_F32, tokens[i], 64),
            .teacher_head = cop_matrix_dense(NULL, COP_F32, 32000, 64),
            .temperature = 1.0F,
        };
        bytes[i] = backend->ops->scratch_bytes(backend, COP_OP_HEAD_LOSS, &args);
    }
    assert_int_equal(bytes[0], bytes[1]);
    assert_true(bytes[0] <= 72U << 20);
    cop_backend_destroy(backend);
}

static void absent_or_unaligned_scratch_is_refused(void **state)
{
    (void)state;
    cop_backend *backend = rig_backend("cpu");
    cop_error err = {0};
    cop_row_cosine_args args = {.x = matrix(2, 3), .y = matrix(2, 3), .sum = ok.sums};
    assert_int_equal(backend->ops->row_cosine(backend, NULL, &args, &err), COP_ERR_SHAPE);
    assert_string_equal(err.message,
                        "row_cosine: scratch is absent (allowed: 256 bytes, aligned to 64)");
    args.scratch = ok.ids + 1;
    assert_int_equal(backend->ops->row_cosine(backend, NULL, &args, &err), COP_ERR_SHAPE);
    assert_string_equal(err.message,
                        "row_cosine: scratch is not aligned (allowed: 256 bytes, aligned to 64)");
    cop_backend_destroy(backend);
}

static void unknown_backends_are_refused_with_the_known_ones(void **state)
{
    (void)state;
    cop_backend *backend = NULL;
    cop_error err = {0};
    assert_int_equal(cop_backend_create(&backend, "tpu", &err), COP_ERR_CONFIG);
    assert_null(backend);
    assert_string_equal(
        err.message, "backend: name is tpu (allowed: auto, cpu, cuda, cuda:<device>, reference)");
}

static void a_part_of_a_matrix_points_into_it(void **state)
{
    (void)state;
    const cop_matrix part = cop_matrix_part(typed(COP_BF16, 6, 10), 2, 3, 4, 5);
    assert_ptr_equal(part.data, (char *)ok.memory + (ptrdiff_t)(2 * 10 + 4) * 2);
    assert_int_equal(part.rows, 3);
    assert_int_equal(part.cols, 5);
    assert_int_equal(part.stride, 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes_that_do_not_fit_are_refused_with_the_sizes),
        cmocka_unit_test(ids_outside_their_table_are_refused_with_their_position),
        cmocka_unit_test(weights_without_what_they_weigh_are_refused),
        cmocka_unit_test(element_types_that_a_backend_lacks_are_refused),
        cmocka_unit_test(supports_and_scratch_bytes_do_not_look_at_data),
        cmocka_unit_test(head_loss_scratch_is_bounded_however_many_tokens),
        cmocka_unit_test(absent_or_unaligned_scratch_is_refused),
        cmocka_unit_test(unknown_backends_are_refused_with_the_known_ones),
        cmocka_unit_test(a_part_of_a_matrix_points_into_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
