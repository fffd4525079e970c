// The LM head on the CUDA backend where the table of cases does not reach: calls that take several
// groups and pieces of tokens, rows that are more than 2^31 elements apart, and the draws of a
// teacher's distribution, in several thread orders.

#include <stdio.h>
#include <sys/mman.h>

#include "tests/cuda/backend.h"
#include "tests/cuda/head_host.h"
#include "tests/kernels/cases.h"
#include "tests/kernels/sample_check.h"

static cop_backend *reference;
static cop_backend *cuda;

static void must_be_ok(cop_status status, const cop_error *err)
{
    if (status != COP_OK) {
        fail_msg("%s", err->message);
    }
}

static void many_groups_and_pieces_give_what_one_gives(void **state)
{
    (void)state;
    static const int64_t chunks[][2] = {{4, 12}, {5, 5}, {7, 16}, {16, 7}, {1, 40}};
    static const unsigned mixes[] = {0U, ~0U, 5U};
    for (int i = 0; i < op_cases_count; i++) {
        const op_case *each = &op_cases[i];
        const bool is_head = each->op == COP_OP_HEAD_LOSS || each->op == COP_OP_SAMPLE_TARGETS;
        for (int t = 0; is_head && t < 3; t++) {
            rig self;
            rig_init(&self, each->op, COP_F32, mixes[t], 1);
            each->build(&self, each->size);
            rig_expect(&self, reference);
            for (size_t c = 0; c < sizeof chunks / sizeof chunks[0]; c++) {
                char what[96];
                (void)snprintf(what, sizeof what, "types %x, case %d, pieces of %d, groups of %d",
                               mixes[t], i, (int)chunks[c][0], (int)chunks[c][1]);
                cop_test_head_chunks(cuda, chunks[c][0], chunks[c][1]);
                rig_check(&self, cuda, what);
            }
            rig_release(&self);
        }
    }
    cop_test_head_chunks(cuda, 0, 0);
}

static void draws_by_the_inverse_of_the_cumulated_distribution(void **state)
{
    (void)state;
    for (int order = 0; order < cop_test_cuda_orders_count; order++) {
        cop_test_cuda_use_order(cop_test_cuda_orders[order]);
        for (int i = 0; i < sample_cases_count; i++) {
            char what[64];
            (void)snprintf(what, sizeof what, "cuda, %s, case %d", cop_test_cuda_orders[order], i);
            sample_check(cuda, &sample_cases[i], what);
            cop_test_head_chunks(cuda, 3, 3);
            sample_check(cuda, &sample_cases[i], what);
            cop_test_head_chunks(cuda, 0, 0);
        }
    }
    cop_test_cuda_use_order("forward");
}

enum { FAR_ROWS = 2, FAR_VOCAB = 64 };

static const int64_t far_stride = ((int64_t)1 << 31) + 64; // elements

// Memory that exists only where it is touched; `bytes` from the start of a page.
static void *far_memory(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

// 8,389 tokens of 256,000 logits pass 2^31 elements: two rows as far apart stand for them.
static void rows_beyond_two_to_the_31_elements_are_the_same_rows(void **state)
{
    (void)state;
    const size_t wide_bytes = (size_t)(far_stride + FAR_VOCAB) * sizeof(float);
    const size_t half_bytes = (size_t)(far_stride + FAR_VOCAB) * sizeof(uint16_t);
    float *z = far_memory(wide_bytes);
    float *u = far_memory(wide_bytes);
    uint16_t *d = far_memory(half_bytes);
    cop_error err = {0};
    rig self;
    if (z == NULL || u == NULL || d == NULL) {
        print_message("no address space for rows that far apart\n");
        skip();
    }
    rig_init(&self, COP_OP_HEAD_LOSS, COP_F32, 0, 0);
    cop_head_loss_args args = {
        .hidden = cop_matrix_dense(NULL, COP_F32, FAR_ROWS, 1),
        .head = cop_matrix_dense(NULL, COP_F32, FAR_VOCAB, 1),
        .teacher_hidden = rig_parameter(&self, FAR_ROWS, 1, RIG_NORMAL),
        .kl_weight = 1.0F,
        .temperature = 1.0F,
        .grad_scale = 1.0F,
        .kl = rig_parameter(&self, 1, FAR_ROWS, RIG_NORMAL),
    };
    const cop_sample_targets_args sample = {
        .hidden = args.hidden,
        .head = args.head,
        .draws = 50,
        .ids = rig_ids(&self, 50 * (int64_t)FAR_ROWS, 0, 1),
        .weights = rig_parameter(&self, FAR_ROWS, 50, RIG_NORMAL),
        .entropy = rig_parameter(&self, 1, FAR_ROWS, RIG_NORMAL),
    };
    for (int64_t v = 0; v < FAR_VOCAB; v++) {
        z[v] = (float)rig_uniform(&self);
        u[v] = (float)rig_uniform(&self);
        z[far_stride + v] = z[v];
        u[far_stride + v] = u[v];
    }
    const cop_matrix d_logits = {d, COP_BF16, FAR_ROWS, FAR_VOCAB, far_stride};
    must_be_ok(cop_test_head_rows(&args, z, u, d_logits, far_stride, &err), &err);
    must_be_ok(cop_test_sample_rows(&sample, u, far_stride, &err), &err);
    assert_true(rig_get(args.kl, 0, 0) > 0.0);
    assert_true(rig_get(args.kl, 0, 0) == rig_get(args.kl, 0, 1));
    assert_true(rig_get(sample.entropy, 0, 0) > 0.0);
    assert_true(rig_get(sample.entropy, 0, 0) == rig_get(sample.entropy, 0, 1));
    assert_memory_equal(d, d + far_stride, FAR_VOCAB * sizeof *d);
    assert_true(d[0] != 0 || d[1] != 0);
    rig_release(&self);
    (void)munmap(z, wide_bytes);
    (void)munmap(u, wide_bytes);
    (void)munmap(d, half_bytes);
}

// Once, in one order: the shim takes its time.
static void a_row_may_have_256000_logits(void **state)
{
    (void)state;
    const int64_t vocab = 256000;
    const sample_case sample = {COP_F32, 1, vocab, 2, 100, 8, 0};
    rig self;
    rig_init(&self, COP_OP_HEAD_LOSS, COP_F32, 0, 0);
    self.args.head_loss = (cop_head_loss_args){
        .hidden = rig_parameter(&self, 2, 3, RIG_NORMAL),
        .head = rig_parameter(&self, vocab, 3, RIG_NORMAL),
        .targets = rig_ids(&self, 2, 0, vocab),
        .teacher_hidden = rig_parameter(&self, 2, 2, RIG_NORMAL),
        .teacher_head = rig_parameter(&self, vocab, 2, RIG_NORMAL),
        .ce_weight = 0.5F,
        .kl_weight = 1.0F,
        .temperature = 1.0F,
        .grad_scale = 1.0F,
        .kl = rig_parameter(&self, 1, 2, RIG_NORMAL),
        .cross_entropy = rig_parameter(&self, 1, 2, RIG_NORMAL),
        .agree = rig_parameter(&self, 1, 2, RIG_NORMAL),
        .d_hidden = rig_parameter(&self, 2, 3, RIG_NORMAL),
    };
    rig_output_matrix(&self, "kl", self.args.head_loss.kl);
    rig_output_matrix(&self, "cross_entropy", self.args.head_loss.cross_entropy);
    rig_output_matrix(&self, "agree", self.args.head_loss.agree);
    rig_output_matrix(&self, "d_hidden", self.args.head_loss.d_hidden);
    cop_test_cuda_use_order("random:1");
    rig_expect(&self, reference);
    rig_check(&self, cuda, "256,000 logits");
    rig_release(&self);
    sample_check(cuda, &sample, "256,000 logits");
    cop_test_cuda_use_order("forward");
}

// What the plan of a pass at V = 256,000 says, which no test can allocate.
static void scratch_of_a_large_vocabulary_stays_below_three_gigabytes(void **state)
{
    (void)state;
    const int64_t vocab = 256000;
    const cop_head_loss_args args = {
        .hidden = cop_matrix_dense(NULL, COP_BF16, 8192, 4096),
        .head = cop_matrix_dense(NULL, COP_BF16, vocab, 4096),
        .teacher_hidden = cop_matrix_dense(NULL, COP_BF16, 8192, 6144),
        .teacher_head = cop_matrix_dense(NULL, COP_BF16, vocab, 6144),
        .d_hidden = cop_matrix_dense(NULL, COP_F32, 8192, 4096),
        .d_head = cop_matrix_dense(NULL, COP_F32, vocab, 4096),
    };
    const uint64_t d_logits = (uint64_t)4096 * (uint64_t)vocab * 2;
    const uint64_t logits = (uint64_t)384 * (uint64_t)vocab * 4;
    const uint64_t bytes = cuda->ops->scratch_bytes(cuda, COP_OP_HEAD_LOSS, &args);
    assert_true(bytes >= d_logits + 2 * logits);
    // The stand-in for cuBLASLt may ask for other scratch than its 32 MiB.
    assert_true(d_logits + 2 * logits + ((uint64_t)32 << 20) < 3000000000U);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_groups_and_pieces_give_what_one_gives),
        cmocka_unit_test(draws_by_the_inverse_of_the_cumulated_distribution),
        cmocka_unit_test(rows_beyond_two_to_the_31_elements_are_the_same_rows),
        cmocka_unit_test(a_row_may_have_256000_logits),
        cmocka_unit_test(scratch_of_a_large_vocabulary_stays_below_three_gigabytes),
    };
    cop_error err = {0};
    must_be_ok(cop_test_cuda_backend(&cuda, &err), &err);
    reference = rig_backend("reference");
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    cop_backend_destroy(reference);
    cop_backend_destroy(cuda);
    return failed;
}
