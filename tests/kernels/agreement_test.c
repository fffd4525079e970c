// The fast operators against the reference: every operator at odd sizes, in every mix of element
// types, on every instruction set this CPU has, with one thread and two. The tolerance is the one
// of kernels/ops.h: 2e-5 of the largest magnitude for f32, 2e-2 when bf16 is involved.

#include <omp.h>
#include <stdio.h>

#include "kernels/check.h"
#include "kernels/cpu/simd.h"
#include "tests/kernels/cases.h"

static const char *const simd_names[COP_SIMD_COUNT] = {"baseline", "avx2", "avx512", "avx512_bf16"};

// Element types of the activations in order of construction: all f32, all bf16, two mixes.
static const unsigned mixes[] = {0U, ~0U, 0x55555555U, 0xAAAAAAAAU};

static void compare_case(int at, unsigned types, cop_backend *reference, cop_backend *fast)
{
    const op_case *each = &op_cases[at];
    const cop_simd best = cop_simd_best();
    rig self;
    rig_init(&self, each->op, COP_F32, types, at % 2 == 0 ? 3 : 0);
    each->build(&self, each->size);
    rig_expect(&self, reference);
    for (int simd = 0; simd <= (int)best; simd++) {
        for (int threads = 1; threads <= rig_threads(); threads++) {
            char what[160];
            (void)snprintf(what, sizeof what, "%s, %d threads, types %x, case %d: %lld %lld %lld",
                           simd_names[simd], threads, types, at, (long long)each->size[0],
                           (long long)each->size[1], (long long)each->size[2]);
            cop_simd_use((cop_simd)simd);
            omp_set_num_threads(threads);
            rig_check(&self, fast, what);
        }
    }
    rig_release(&self);
}

static void compare_all(cop_op op)
{
    cop_backend *reference = rig_backend("reference");
    cop_backend *fast = rig_backend("cpu");
    int compared = 0;
    for (int i = 0; i < op_cases_count; i++) {
        for (size_t t = 0; op_cases[i].op == op && t < sizeof mixes / sizeof mixes[0]; t++) {
            compare_case(i, mixes[t], reference, fast);
            compared++;
        }
    }
    assert_true(compared > 0);
    cop_backend_destroy(reference);
    cop_backend_destroy(fast);
}

#define AGREEMENT_TEST(name, OP)                               \
    static void name##_agrees_with_the_reference(void **state) \
    {                                                          \
        (void)state;                                           \
        compare_all(OP);                                       \
    }

AGREEMENT_TEST(matmul, COP_OP_MATMUL)
AGREEMENT_TEST(norm_forward, COP_OP_NORM_FORWARD)
AGREEMENT_TEST(norm_backward, COP_OP_NORM_BACKWARD)
AGREEMENT_TEST(rope, COP_OP_ROPE)
AGREEMENT_TEST(attention_forward, COP_OP_ATTENTION_FORWARD)
AGREEMENT_TEST(attention_backward, COP_OP_ATTENTION_BACKWARD)
AGREEMENT_TEST(activation_forward, COP_OP_ACTIVATION_FORWARD)
AGREEMENT_TEST(activation_backward, COP_OP_ACTIVATION_BACKWARD)
AGREEMENT_TEST(embedding_forward, COP_OP_EMBEDDING_FORWARD)
AGREEMENT_TEST(embedding_backward, COP_OP_EMBEDDING_BACKWARD)
AGREEMENT_TEST(bias_add, COP_OP_BIAS_ADD)
AGREEMENT_TEST(column_sum, COP_OP_COLUMN_SUM)
AGREEMENT_TEST(add, COP_OP_ADD)
AGREEMENT_TEST(convert, COP_OP_CONVERT)
AGREEMENT_TEST(gather, COP_OP_GATHER)
AGREEMENT_TEST(head_loss, COP_OP_HEAD_LOSS)
AGREEMENT_TEST(state_loss, COP_OP_STATE_LOSS)
AGREEMENT_TEST(sum_squares, COP_OP_SUM_SQUARES)
AGREEMENT_TEST(adamw, COP_OP_ADAMW)
AGREEMENT_TEST(sequence_moments, COP_OP_SEQUENCE_MOMENTS)
AGREEMENT_TEST(row_cosine, COP_OP_ROW_COSINE)
AGREEMENT_TEST(sample_targets, COP_OP_SAMPLE_TARGETS)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matmul_agrees_with_the_reference),
        cmocka_unit_test(norm_forward_agrees_with_the_reference),
        cmocka_unit_test(norm_backward_agrees_with_the_reference),
        cmocka_unit_test(rope_agrees_with_the_reference),
        cmocka_unit_test(attention_forward_agrees_with_the_reference),
        cmocka_unit_test(attention_backward_agrees_with_the_reference),
        cmocka_unit_test(activation_forward_agrees_with_the_reference),
        cmocka_unit_test(activation_backward_agrees_with_the_reference),
        cmocka_unit_test(embedding_forward_agrees_with_the_reference),
        cmocka_unit_test(embedding_backward_agrees_with_the_reference),
        cmocka_unit_test(bias_add_agrees_with_the_reference),
        cmocka_unit_test(column_sum_agrees_with_the_reference),
        cmocka_unit_test(add_agrees_with_the_reference),
        cmocka_unit_test(convert_agrees_with_the_reference),
        cmocka_unit_test(gather_agrees_with_the_reference),
        cmocka_unit_test(head_loss_agrees_with_the_reference),
        cmocka_unit_test(state_loss_agrees_with_the_reference),
        cmocka_unit_test(sum_squares_agrees_with_the_reference),
        cmocka_unit_test(adamw_agrees_with_the_reference),
        cmocka_unit_test(sequence_moments_agrees_with_the_reference),
        cmocka_unit_test(row_cosine_agrees_with_the_reference),
        cmocka_unit_test(sample_targets_agrees_with_the_reference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
