// Which implementation of attention runs, and the one on tensor cores at sizes around its tiles, with
// q, k and v as column parts of one matrix. Each run here demands its implementation or looks at the
// count of products on tensor cores: on the host none passes by falling back. Tolerance:
// kernels/ops.h.

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "tests/cuda/backend.h"
#include "tests/cuda/tensor_count.h"
#include "tests/kernels/rig.h"

typedef struct shape {
    int64_t batch;
    int64_t sequence;
    int64_t heads;
    int64_t kv_heads;
    int64_t head_dim;
    int64_t padding; // of rows, in elements
} shape;

// Tiles have 128 or 64 rows and 32 or 64 columns; 8, 24, 80: heads that are padded to 64 and 128.
static const shape shapes[] = {
    {1, 1, 2, 1, 64, 0},   {2, 63, 2, 2, 64, 8},  {1, 64, 4, 1, 64, 0},   {2, 65, 3, 3, 64, 0},
    {1, 129, 6, 2, 64, 8}, {1, 200, 4, 1, 64, 0}, {2, 1, 4, 1, 128, 0},   {1, 63, 2, 1, 128, 8},
    {1, 64, 1, 1, 128, 0}, {1, 65, 2, 2, 128, 0}, {1, 129, 2, 1, 128, 0}, {1, 200, 2, 1, 128, 0},
    {1, 70, 2, 1, 8, 0},   {1, 70, 2, 1, 24, 8},  {1, 131, 2, 1, 80, 0},  {3, 33, 2, 2, 120, 0},
};

static cop_backend *reference;
static cop_backend *cuda;

static void demand(const char *implementation)
{
    // NOLINTNEXTLINE(concurrency-mt-unsafe): read by calls of this thread
    (void)setenv("COP_CUDA_ATTENTION", implementation, 1);
}

static cop_attention_forward_args forward_args(rig *self, shape of)
{
    cop_attention_forward_args args = {.batch = of.batch,
                                       .sequence = of.sequence,
                                       .heads = of.heads,
                                       .kv_heads = of.kv_heads,
                                       .head_dim = of.head_dim,
                                       .scale = 1.0F / sqrtf((float)of.head_dim)};
    const int64_t n = of.batch * of.sequence;
    const int64_t width = of.heads * of.head_dim;
    const int64_t kv_width = of.kv_heads * of.head_dim;
    const cop_matrix packed = rig_activation(self, n, width + 2 * kv_width, RIG_NORMAL);
    args.q = cop_matrix_part(packed, 0, n, 0, width);
    args.k = cop_matrix_part(packed, 0, n, width, kv_width);
    args.v = cop_matrix_part(packed, 0, n, width + kv_width, kv_width);
    args.o = rig_activation(self, n, width, RIG_NORMAL);
    args.lse = rig_parameter(self, of.batch * of.heads, of.sequence, RIG_NORMAL);
    return args;
}

static void build_forward(rig *self, shape of, unsigned types)
{
    rig_init(self, COP_OP_ATTENTION_FORWARD, COP_F32, types, of.padding);
    self->args.attention_forward = forward_args(self, of);
    rig_output_matrix(self, "o", self->args.attention_forward.o);
    rig_output_matrix(self, "lse", self->args.attention_forward.lse);
}

// o and lse come from the reference; the gradients are column parts of one matrix too.
static void build_backward(rig *self, shape of, unsigned types)
{
    rig_init(self, COP_OP_ATTENTION_FORWARD, COP_F32, types, of.padding);
    const cop_attention_forward_args from = forward_args(self, of);
    self->args.attention_forward = from;
    rig_run(self, reference);
    const int64_t n = from.q.rows;
    const cop_matrix packed =
        rig_activation(self, n, from.q.cols + from.k.cols + from.v.cols, RIG_NORMAL);
    cop_attention_backward_args args = {.batch = from.batch,
                                        .sequence = from.sequence,
                                        .heads = from.heads,
                                        .kv_heads = from.kv_heads,
                                        .head_dim = from.head_dim,
                                        .scale = from.scale,
                                        .q = from.q,
                                        .k = from.k,
                                        .v = from.v,
                                        .o = from.o,
                                        .lse = from.lse};
    args.d_q = cop_matrix_part(packed, 0, n, 0, from.q.cols);
    args.d_k = cop_matrix_part(packed, 0, n, from.q.cols, from.k.cols);
    args.d_v = cop_matrix_part(packed, 0, n, from.q.cols + from.k.cols, from.v.cols);
    args.d_o = rig_activation(self, n, from.q.cols, RIG_NORMAL);
    self->op = COP_OP_ATTENTION_BACKWARD;
    self->args.attention_backward = args;
    rig_output_matrix(self, "d_q", args.d_q);
    rig_output_matrix(self, "d_k", args.d_k);
    rig_output_matrix(self, "d_v", args.d_v);
}

typedef void (*builder)(rig *self, shape of, unsigned types);

static void compare(builder build, const char *implementation, shape of, unsigned types,
                    const char *order)
{
    char what[160];
    rig self;
    build(&self, of, types);
    rig_expect(&self, reference);
    (void)snprintf(what, sizeof what, "%s, %s, B %lld T %lld H %lld K %lld D %lld", implementation,
                   order, (long long)of.batch, (long long)of.sequence, (long long)of.heads,
                   (long long)of.kv_heads, (long long)of.head_dim);
    cop_test_cuda_use_order(order);
    demand(implementation);
    rig_check(&self, cuda, what);
    rig_release(&self);
}

static void compare_shapes(builder build)
{
    const int count = (int)(sizeof shapes / sizeof shapes[0]);
    const uint64_t conflicts = cop_test_bank_conflicts();
    for (int i = 0; i < count; i++) {
        const uint64_t products = cop_test_tensor_products();
        compare(build, "flash", shapes[i], ~0U,
                cop_test_cuda_orders[i % cop_test_cuda_orders_count]);
        assert_true(cop_test_tensor_products() > products || !cop_test_tensor_counts());
    }
    assert_int_equal(cop_test_bank_conflicts(), conflicts);
}

static void forward_on_tensor_cores_agrees_without_conflicts_of_banks(void **state)
{
    (void)state;
    compare_shapes(build_forward);
}

static void backward_on_tensor_cores_agrees_without_conflicts_of_banks(void **state)
{
    (void)state;
    compare_shapes(build_backward);
}

static void without_demand_aligned_bf16_runs_on_tensor_cores(void **state)
{
    (void)state;
    const uint64_t before = cop_test_tensor_products();
    compare(build_forward, "", shapes[1], ~0U, "forward");
    const uint64_t between = cop_test_tensor_products();
    compare(build_backward, "", shapes[1], ~0U, "forward");
    if (cop_test_tensor_counts()) {
        assert_true(between > before);
        assert_true(cop_test_tensor_products() > between);
    }
}

static void what_tensor_cores_cannot_take_runs_without_them(void **state)
{
    (void)state;
    const uint64_t before = cop_test_tensor_products();
    const shape odd_rows = {1, 40, 2, 1, 64, 3};
    const shape odd_depth = {1, 40, 2, 2, 33, 0};
    const shape deep = {1, 35, 2, 1, 264, 0};
    const shape even = {1, 40, 2, 1, 64, 0};
    const builder builders[] = {build_forward, build_backward};
    for (int i = 0; i < 2; i++) {
        compare(builders[i], "", odd_rows, ~0U, "forward");
        compare(builders[i], "", odd_depth, ~0U, "forward");
        compare(builders[i], "", deep, ~0U, "forward");
        compare(builders[i], "", even, 0U, "forward");
        compare(builders[i], "", even, 1U, "forward"); // q, k, v bf16, the rest f32
        compare(builders[i], "plain", even, ~0U, "forward");
    }
    assert_int_equal(cop_test_tensor_products(), before);
}

static void a_demand_that_cannot_be_met_is_refused(void **state)
{
    (void)state;
    const shape odd = {1, 9, 1, 1, 7, 0};
    const char *const demands[] = {"flash", "cudnn", "fast"}; // D = 7 suits neither
    for (int i = 0; i < 3; i++) {
        cop_error err = {0};
        rig self;
        build_forward(&self, odd, ~0U);
        demand(demands[i]);
        assert_int_equal(rig_try(&self, cuda, &err), COP_ERR_UNSUPPORTED);
        char wanted[64];
        (void)snprintf(wanted, sizeof wanted, "attention_forward: COP_CUDA_ATTENTION: %s",
                       demands[i]);
        assert_memory_equal(err.message, wanted, strlen(wanted));
        rig_release(&self);
    }
}

static void every_order_of_threads_gives_the_same_bits(void **state)
{
    (void)state;
    const builder builders[] = {build_forward, build_backward};
    const char *const implementations[] = {"flash", "plain"};
    for (int each = 0; each < 4; each++) {
        rig self;
        builders[each / 2](&self, shapes[4], ~0U);
        char *start = cop_alloc(self.used, 1);
        char *first = cop_alloc(self.used, 1);
        assert_non_null(start);
        assert_non_null(first);
        memcpy(start, self.memory, self.used);
        demand(implementations[each % 2]);
        for (int order = 0; order < cop_test_cuda_orders_count; order++) {
            memcpy(self.memory, start, self.used);
            cop_test_cuda_use_order(cop_test_cuda_orders[order]);
            rig_run(&self, cuda);
            if (order == 0) {
                memcpy(first, self.memory, self.used);
            }
            assert_memory_equal(self.memory, first, self.used);
        }
        cop_free(start);
        cop_free(first);
        rig_release(&self);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forward_on_tensor_cores_agrees_without_conflicts_of_banks),
        cmocka_unit_test(backward_on_tensor_cores_agrees_without_conflicts_of_banks),
        cmocka_unit_test(without_demand_aligned_bf16_runs_on_tensor_cores),
        cmocka_unit_test(what_tensor_cores_cannot_take_runs_without_them),
        cmocka_unit_test(a_demand_that_cannot_be_met_is_refused),
        cmocka_unit_test(every_order_of_threads_gives_the_same_bits),
    };
    const int unavailable = cop_test_cuda_open(&cuda);
    if (unavailable != 0) {
        return unavailable;
    }
    reference = rig_backend("reference");
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    cop_backend_destroy(reference);
    cop_backend_destroy(cuda);
    return failed;
}
