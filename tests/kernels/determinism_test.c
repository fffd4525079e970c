// The same call gives the same bits: twice in a row for every operator, and with one thread or two
// for those that do not go through a matrix library's own choice of blocks.

#include <omp.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "kernels/check.h"
#include "tests/kernels/cases.h"

// Runs case `at` twice, with `first` and then `second` threads, and compares all memory.
static void compare_runs(int at, unsigned types, cop_backend *backend, int first, int second)
{
    rig self;
    rig_init(&self, op_cases[at].op, COP_F32, types, 1);
    op_cases[at].build(&self, op_cases[at].size);
    char *start = cop_alloc(self.used + 1, 1);
    char *once = cop_alloc(self.used + 1, 1);
    assert_non_null(start);
    assert_non_null(once);
    memcpy(start, self.memory, self.used);
    omp_set_num_threads(first);
    rig_run(&self, backend);
    memcpy(once, self.memory, self.used);
    memcpy(self.memory, start, self.used);
    omp_set_num_threads(second);
    rig_run(&self, backend);
    if (memcmp(once, self.memory, self.used) != 0) {
        fail_msg("%s: case %d, types %x differs between runs with %d and %d threads",
                 cop_op_name(self.op), at, types, first, second);
    }
    cop_free(start);
    cop_free(once);
    rig_release(&self);
}

static void the_same_call_gives_the_same_bits_twice(void **state)
{
    (void)state;
    cop_backend *backend = rig_backend("cpu");
    for (int i = 0; i < op_cases_count; i++) {
        compare_runs(i, 0U, backend, rig_threads(), rig_threads());
        compare_runs(i, ~0U, backend, rig_threads(), rig_threads());
    }
    cop_backend_destroy(backend);
}

static void reductions_give_the_same_bits_with_one_thread_and_two(void **state)
{
    (void)state;
    cop_backend *backend = rig_backend("cpu");
    for (int i = 0; i < op_cases_count; i++) {
        const cop_op op = op_cases[i].op;
        if (op == COP_OP_MATMUL || op == COP_OP_HEAD_LOSS || op == COP_OP_SAMPLE_TARGETS) {
            continue;
        }
        compare_runs(i, 0U, backend, 1, rig_threads());
        compare_runs(i, ~0U, backend, 1, rig_threads());
    }
    cop_backend_destroy(backend);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_call_gives_the_same_bits_twice),
        cmocka_unit_test(reductions_give_the_same_bits_with_one_thread_and_two),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
