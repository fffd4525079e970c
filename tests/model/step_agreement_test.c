// A whole training step on the fast backend against the reference: losses and every gradient.

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/model/tiny.h"
#include "tests/support.h"

enum { BATCH = 3, SEQUENCE = 37 };

// Odd sizes, so that no kernel meets its favourite tile alone.
static cop_arch arch_of(int which)
{
    cop_arch arch = tiny_arch(which);
    arch.vocab = 131;
    arch.hidden = 72;
    arch.head_dim = 20;
    for (int64_t i = 0; i < arch.layers; i++) {
        arch.layer[i].ffn *= 9;
    }
    return arch;
}

static cop_network *run(const char *backend_name, cop_precision precision, int which,
                        cop_backend **backend, double *loss)
{
    const cop_arch arch = arch_of(which);
    const cop_network_options options = {.precision = precision,
                                         .batch = BATCH,
                                         .sequence = SEQUENCE,
                                         .is_training = true,
                                         .recompute = COP_RECOMPUTE_SELECTIVE};
    *backend = tiny_backend(backend_name);
    cop_network *network = tiny_network(&arch, &options, *backend);
    cop_error err = {0};
    assert_int_equal(cop_network_init(network, 21, &err), COP_OK);
    *loss = tiny_backward(network, BATCH, SEQUENCE, 22, 0.5F);
    return network;
}

// Largest distance of two networks' gradients over all tensors, each relative to its own largest
// element.
static double gradient_distance(cop_network *a, cop_network *b, char *worst, size_t bytes)
{
    const cop_arch *arch = cop_network_arch(a);
    double most = 0.0;
    for (int64_t i = 0; i < cop_arch_tensor_count(arch); i++) {
        const cop_tensor_spec spec = cop_arch_tensor(arch, i);
        const int64_t count = spec.shape[0] * spec.shape[1];
        double *left = calloc((size_t)count, sizeof *left);
        double *right = calloc((size_t)count, sizeof *right);
        cop_error err = {0};
        assert_int_equal(cop_network_read_gradient(a, i, COP_F64, left, &err), COP_OK);
        assert_int_equal(cop_network_read_gradient(b, i, COP_F64, right, &err), COP_OK);
        const double distance = tiny_distance(left, right, count);
        if (distance > most) {
            most = distance;
            (void)snprintf(worst, bytes, "%s", spec.name);
        }
        free(left);
        free(right);
    }
    return most;
}

typedef struct comparison {
    const char *backend;
    cop_precision precision;
    const char *against;
    cop_precision against_precision;
    double loss_tolerance;     // relative
    double gradient_tolerance; // relative to the largest element of the tensor
} comparison;

// f32: rounding of 2^-24 in each of about 100 operators on the way back, the worst element of the
// worst tensor. bf16: operands have 8 bits, 2^-9 per rounding; a gradient passes about 40 of them,
// and the small gradients of norms and key biases are sums of many terms that cancel.
static const comparison COMPARISONS[] = {
    {"cpu", COP_PRECISION_F32, "reference", COP_PRECISION_F64, 1e-5, 1e-4},
    {"reference", COP_PRECISION_F32, "reference", COP_PRECISION_F64, 1e-5, 1e-4},
    {"cpu", COP_PRECISION_BF16, "reference", COP_PRECISION_BF16, 5e-3, 1e-1},
    {"cpu", COP_PRECISION_BF16, "reference", COP_PRECISION_F64, 5e-3, 1e-1},
};

static void a_training_step_agrees_with_the_reference(void **state)
{
    (void)state;
    const int count = (int)(sizeof COMPARISONS / sizeof COMPARISONS[0]);
    for (int i = 0; i < count * TINY_COUNT; i++) {
        const comparison *at = &COMPARISONS[i % count];
        cop_backend *backends[2];
        double loss[2];
        char worst[COP_TENSOR_NAME_BYTES] = "";
        cop_network *found = run(at->backend, at->precision, i / count, &backends[0], &loss[0]);
        cop_network *expected =
            run(at->against, at->against_precision, i / count, &backends[1], &loss[1]);
        const double distance = gradient_distance(found, expected, worst, sizeof worst);
        if (!(fabs(loss[0] / loss[1] - 1.0) <= at->loss_tolerance)) {
            fail_msg("architecture %d, %s %s: loss %.9g instead of %.9g", i / count, at->backend,
                     cop_precision_name(at->precision), loss[0], loss[1]);
        }
        if (!(distance <= at->gradient_tolerance)) {
            fail_msg("architecture %d, %s %s against %s %s: gradient of %s off by %g", i / count,
                     at->backend, cop_precision_name(at->precision), at->against,
                     cop_precision_name(at->against_precision), worst, distance);
        }
        cop_network_destroy(found);
        cop_network_destroy(expected);
        cop_backend_destroy(backends[0]);
        cop_backend_destroy(backends[1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_training_step_agrees_with_the_reference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
