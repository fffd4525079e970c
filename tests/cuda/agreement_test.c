// The CUDA operators against the reference: every operator of the table at odd sizes, in every mix of
// element types. On the host in several thread orders, which must all give the same bits; on a
// device twice. The tolerance is the one of kernels/ops.h.
// Usage: agreement_test [operator]     one operator alone, by name

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "kernels/check.h"
#include "tests/cuda/backend.h"
#include "tests/kernels/cases.h"

// Element types of the activations in order of construction: all f32, all bf16, two mixes.
static const unsigned mixes[] = {0U, ~0U, 0x55555555U, 0xAAAAAAAAU};

static cop_backend *reference;
static cop_backend *cuda;

static void compare_case(int at, unsigned types)
{
    const op_case *each = &op_cases[at];
    rig self;
    rig_init(&self, each->op, COP_F32, types, at % 2 == 0 ? 3 : 0);
    each->build(&self, each->size);
    rig_expect(&self, reference);
    char what[160];
    (void)snprintf(what, sizeof what, "cuda, types %x, case %d: %lld %lld %lld", types, at,
                   (long long)each->size[0], (long long)each->size[1], (long long)each->size[2]);
    cop_test_cuda_use_order(cop_test_cuda_orders[0]);
    rig_check(&self, cuda, what);
    rig_run(&self, cuda);
    char *first = cop_alloc(self.used + 1, 1);
    assert_non_null(first);
    memcpy(first, self.memory, self.used);
    // On a device the one order runs again.
    for (int order = cop_test_cuda_orders_count > 1 ? 1 : 0; order < cop_test_cuda_orders_count;
         order++) {
        memcpy(self.memory, self.start, self.used);
        cop_test_cuda_use_order(cop_test_cuda_orders[order]);
        rig_run(&self, cuda);
        if (memcmp(self.memory, first, self.used) != 0) {
            fail_msg("%s: %s: other bits in the order %s", cop_op_name(each->op), what,
                     cop_test_cuda_orders[order]);
        }
    }
    cop_free(first);
    rig_release(&self);
}

static void agrees_with_the_reference(void **state)
{
    const cop_op op = *(const cop_op *)*state;
    int compared = 0;
    for (int i = 0; i < op_cases_count; i++) {
        for (size_t t = 0; op_cases[i].op == op && t < sizeof mixes / sizeof mixes[0]; t++) {
            compare_case(i, mixes[t]);
            compared++;
        }
    }
    assert_true(compared > 0);
}

int main(int argc, char **argv)
{
    static cop_op ops[COP_OP_COUNT];
    struct CMUnitTest tests[COP_OP_COUNT];
    size_t count = 0;
    for (int op = 0; op < COP_OP_COUNT; op++) {
        if (argc > 1 && strcmp(argv[1], cop_op_name((cop_op)op)) != 0) {
            continue;
        }
        ops[count] = (cop_op)op;
        tests[count] = (struct CMUnitTest){.name = cop_op_name((cop_op)op),
                                           .test_func = agrees_with_the_reference,
                                           .initial_state = &ops[count]};
        count++;
    }
    const int unavailable = cop_test_cuda_open(&cuda);
    if (unavailable != 0) {
        return unavailable;
    }
    reference = rig_backend("reference");
    const int failed = _cmocka_run_group_tests("operators", tests, count, NULL, NULL);
    cop_backend_destroy(reference);
    cop_backend_destroy(cuda);
    return failed;
}
