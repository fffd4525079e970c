// Whole training steps on the CUDA backend against the reference: every switch of the architectures, in
// f32 and bf16, with each form of recomputation; and the same bits in every thread order.
//
// Tolerances. f32: the operators agree to 2e-5 and a dozen of them follow one another. bf16: both
// sides round activations to 8 bits at the same places, but a sum that lies near the middle of two
// values is rounded either way; the small gradients of key projections are sums of many terms that
// cancel, and differ by up to a tenth of their largest element, as those of the CPU do.
// Adam divides by the size of a gradient, so that weights are compared by the losses they give.
//
// Usage: step_test [--small]     one architecture in bf16 alone: for compute-sanitizer

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/optimizer.h"
#include "tests/cuda/backend.h"
#include "tests/model/tiny.h"
#include "tests/support.h"

enum { BATCH = 2, SEQUENCE = 9, STEPS = 4 };

static cop_backend *reference;
static cop_backend *cuda;

typedef struct trained {
    double loss[STEPS];
    double **gradient; // of the first step, by tensor
    double **weight;   // after the last step
    int64_t tensors;
} trained;

static double *read_values(cop_network *network, int64_t index, bool is_gradient)
{
    const cop_tensor_spec spec = cop_arch_tensor(cop_network_arch(network), index);
    double *values = calloc((size_t)(spec.shape[0] * spec.shape[1]), sizeof *values);
    cop_error err = {0};
    assert_non_null(values);
    const cop_status status = is_gradient
                                  ? cop_network_read_gradient(network, index, COP_F64, values, &err)
                                  : cop_network_read(network, index, COP_F64, values, &err);
    if (status != COP_OK) {
        fail_msg("%s", err.message);
    }
    return values;
}

static trained train(cop_backend *backend, const cop_arch *arch, cop_precision precision,
                     cop_recompute recompute)
{
    const cop_network_options options = {.precision = precision,
                                         .batch = BATCH,
                                         .sequence = SEQUENCE,
                                         .is_training = true,
                                         .recompute = recompute};
    const cop_optimizer_options optimizer_options = COP_OPTIMIZER_OPTIONS_DEFAULT;
    trained out = {.tensors = cop_arch_tensor_count(arch)};
    cop_optimizer *optimizer = NULL;
    cop_error err = {0};
    cop_network *network = tiny_network(arch, &options, backend);
    tiny_fill(network, 5);
    out.gradient = calloc((size_t)out.tensors, sizeof *out.gradient);
    out.weight = calloc((size_t)out.tensors, sizeof *out.weight);
    assert_true(out.gradient != NULL && out.weight != NULL);
    assert_int_equal(cop_optimizer_create(&optimizer, network, &optimizer_options, &err), COP_OK);
    for (int step = 0; step < STEPS; step++) {
        out.loss[step] = tiny_backward(network, BATCH, SEQUENCE, (uint64_t)step + 1, 0.5F);
        for (int64_t i = 0; step == 0 && i < out.tensors; i++) {
            out.gradient[i] = read_values(network, i, true);
        }
        assert_int_equal(cop_optimizer_step(optimizer, 1e-3, &err), COP_OK);
    }
    for (int64_t i = 0; i < out.tensors; i++) {
        out.weight[i] = read_values(network, i, false);
    }
    cop_optimizer_destroy(optimizer);
    cop_network_destroy(network);
    return out;
}

static void release(trained *at)
{
    for (int64_t i = 0; i < at->tensors; i++) {
        free(at->gradient[i]);
        free(at->weight[i]);
    }
    free(at->gradient);
    free(at->weight);
}

static void compare(const trained *got, const trained *want, const cop_arch *arch,
                    cop_precision precision, const char *what)
{
    const double loss_tolerance = precision == COP_PRECISION_F32 ? 1e-4 : 2e-2;
    const double gradient_tolerance = precision == COP_PRECISION_F32 ? 2e-4 : 1e-1;
    for (int step = 0; step < STEPS; step++) {
        if (!(fabs(got->loss[step] - want->loss[step]) <=
              loss_tolerance * fabs(want->loss[step]))) {
            fail_msg("%s: loss of step %d is %.9g, the reference says %.9g", what, step,
                     got->loss[step], want->loss[step]);
        }
    }
    for (int64_t i = 0; i < want->tensors; i++) {
        const cop_tensor_spec spec = cop_arch_tensor(arch, i);
        const double distance =
            tiny_distance(got->gradient[i], want->gradient[i], spec.shape[0] * spec.shape[1]);
        if (!(distance <= gradient_tolerance)) {
            fail_msg("%s: gradient of %s is off by %.3g of its largest (allowed: %.3g)", what,
                     spec.name, distance, gradient_tolerance);
        }
    }
}

static int arch_count = TINY_COUNT;

static void agree(cop_precision precision)
{
    static const cop_recompute forms[] = {COP_RECOMPUTE_NONE, COP_RECOMPUTE_SELECTIVE,
                                          COP_RECOMPUTE_BLOCK};
    for (int which = 0; which < arch_count; which++) {
        const cop_arch arch = tiny_arch(which);
        trained want = train(reference, &arch, precision, COP_RECOMPUTE_NONE);
        for (int form = 0; form < 3; form++) {
            char what[96];
            trained got = train(cuda, &arch, precision, forms[form]);
            (void)snprintf(what, sizeof what, "arch %d, %s, recompute %d", which,
                           cop_precision_name(precision), form);
            compare(&got, &want, &arch, precision, what);
            release(&got);
        }
        release(&want);
    }
}

static void steps_in_f32_agree_with_the_reference(void **state)
{
    (void)state;
    agree(COP_PRECISION_F32);
}

static void steps_in_bf16_agree_with_the_reference(void **state)
{
    (void)state;
    agree(COP_PRECISION_BF16);
}

// Recomputation included: the same operators on the same values.
static void steps_give_the_same_bits_whatever_the_order_of_threads(void **state)
{
    (void)state;
    const cop_arch arch = tiny_arch(TINY_LLAMA_BIASED);
    trained first = train(cuda, &arch, COP_PRECISION_BF16, COP_RECOMPUTE_NONE);
    for (int order = 0; order < cop_test_cuda_orders_count; order++) {
        cop_test_cuda_use_order(cop_test_cuda_orders[order]);
        trained again = train(cuda, &arch, COP_PRECISION_BF16,
                              order % 2 == 0 ? COP_RECOMPUTE_SELECTIVE : COP_RECOMPUTE_BLOCK);
        assert_memory_equal(first.loss, again.loss, sizeof first.loss);
        for (int64_t i = 0; i < first.tensors; i++) {
            const cop_tensor_spec spec = cop_arch_tensor(&arch, i);
            const size_t bytes = (size_t)(spec.shape[0] * spec.shape[1]) * sizeof(double);
            if (memcmp(first.gradient[i], again.gradient[i], bytes) != 0 ||
                memcmp(first.weight[i], again.weight[i], bytes) != 0) {
                fail_msg("%s: %s differs", cop_test_cuda_orders[order], spec.name);
            }
        }
        release(&again);
    }
    cop_test_cuda_use_order(cop_test_cuda_orders[0]);
    release(&first);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_in_f32_agree_with_the_reference),
        cmocka_unit_test(steps_in_bf16_agree_with_the_reference),
        cmocka_unit_test(steps_give_the_same_bits_whatever_the_order_of_threads),
    };
    const struct CMUnitTest small[] = {
        cmocka_unit_test(steps_in_bf16_agree_with_the_reference),
    };
    const bool is_small = argc > 1 && strcmp(argv[1], "--small") == 0;
    arch_count = is_small ? 1 : TINY_COUNT;
    const int unavailable = cop_test_cuda_open(&cuda);
    if (unavailable != 0) {
        return unavailable;
    }
    reference = tiny_backend("reference");
    const int failed = is_small ? cmocka_run_group_tests(small, NULL, NULL)
                                : cmocka_run_group_tests(tests, NULL, NULL);
    cop_backend_destroy(reference);
    cop_backend_destroy(cuda);
    return failed;
}
