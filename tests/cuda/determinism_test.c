// The element-wise operators and reductions give the same bits whichever thread comes first, and the
// right ones however their operands lie in memory: with rows that follow one another, that are
// aligned or not, and from a first element that is not aligned.

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "kernels/check.h"
#include "tests/cuda/backend.h"
#include "tests/kernels/cases.h"

typedef struct layout {
    int64_t padding;
    int64_t shift;
} layout;

static const layout layouts[] = {{0, 0}, {8, 0}, {3, 0}, {8, 1}};

enum { LAYOUTS = sizeof layouts / sizeof layouts[0] };

// Element types of the activations in order of construction.
static const unsigned mixes[] = {0U, ~0U, 0x55555555U};

enum { MIXES = sizeof mixes / sizeof mixes[0] };

static cop_backend *reference;
static cop_backend *cuda;

static bool is_ours(cop_op op)
{
    return op != COP_OP_MATMUL && op != COP_OP_ATTENTION_FORWARD &&
           op != COP_OP_ATTENTION_BACKWARD && op != COP_OP_HEAD_LOSS && op != COP_OP_SAMPLE_TARGETS;
}

static void build(rig *self, int at, unsigned types, layout how)
{
    rig_init(self, op_cases[at].op, COP_F32, types, how.padding);
    self->shift = how.shift;
    op_cases[at].build(self, op_cases[at].size);
}

static void compare_orders(int at, unsigned types)
{
    rig self;
    build(&self, at, types, layouts[at % LAYOUTS]);
    char *start = cop_alloc(self.used + 1, 1);
    char *once = cop_alloc(self.used + 1, 1);
    assert_non_null(start);
    assert_non_null(once);
    memcpy(start, self.memory, self.used);
    for (int order = 0; order < cop_test_cuda_orders_count; order++) {
        memcpy(self.memory, start, self.used);
        cop_test_cuda_use_order(cop_test_cuda_orders[order]);
        rig_run(&self, cuda);
        if (order == 0) {
            memcpy(once, self.memory, self.used);
        } else if (memcmp(once, self.memory, self.used) != 0) {
            fail_msg("%s: case %d, types %x: order %s gives other bits than %s",
                     cop_op_name(self.op), at, types, cop_test_cuda_orders[order],
                     cop_test_cuda_orders[0]);
        }
    }
    cop_free(start);
    cop_free(once);
    rig_release(&self);
}

static void every_order_of_threads_gives_the_same_bits(void **state)
{
    (void)state;
    for (int i = 0; i < op_cases_count; i++) {
        if (is_ours(op_cases[i].op)) {
            compare_orders(i, mixes[i % MIXES]);
        }
    }
}

static void every_layout_in_memory_agrees_with_the_reference(void **state)
{
    (void)state;
    for (int i = 0; i < op_cases_count; i++) {
        for (int l = 0; l < LAYOUTS && is_ours(op_cases[i].op); l++) {
            const int order = (i + l) % cop_test_cuda_orders_count;
            const unsigned types = mixes[(i + l) % MIXES];
            char what[96];
            (void)snprintf(what, sizeof what, "%s, types %x, case %d, padding %lld, shift %lld",
                           cop_test_cuda_orders[order], types, i, (long long)layouts[l].padding,
                           (long long)layouts[l].shift);
            rig self;
            build(&self, i, types, layouts[l]);
            rig_expect(&self, reference);
            cop_test_cuda_use_order(cop_test_cuda_orders[order]);
            rig_check(&self, cuda, what);
            rig_release(&self);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_order_of_threads_gives_the_same_bits),
        cmocka_unit_test(every_layout_in_memory_agrees_with_the_reference),
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
