// The plan is what is allocated, to the byte; and creation survives every failed allocation.

#include <stdlib.h>

#include "base/alloc.h"
#include "model/optimizer.h"
#include "tests/model/tiny.h"
#include "tests/support.h"

enum { BATCH = 2, SEQUENCE = 9 };

// A backend that counts what is asked of the one behind it.
static const cop_backend_type *inner_type;
static uint64_t allocated_bytes;

static cop_status counting_alloc(cop_backend *backend, void **out, uint64_t bytes, cop_error *err)
{
    allocated_bytes += bytes;
    return inner_type->memory_alloc(backend, out, bytes, err);
}

static uint64_t planned_bytes(const cop_arch *arch, const cop_network_options *options,
                              const cop_optimizer_options *optimizer, cop_backend *backend)
{
    cop_plan plan = {0};
    cop_error err = {0};
    assert_int_equal(cop_network_plan(&plan, "student", arch, options, backend, &err), COP_OK);
    if (options->is_training) {
        assert_int_equal(
            cop_optimizer_plan(&plan, "student", arch, options, optimizer, backend, &err), COP_OK);
    }
    return cop_plan_total(&plan);
}

// The forms of training: frozen vocabulary, narrow gradients, no masters, narrow moments.
enum { FORM_FROZEN = 1, FORM_NARROW_GRADIENTS = 2, FORM_LONE = 4, FORM_NARROW_MOMENTS = 8 };

enum { FORM_COUNT = 16 };

static void check_plan(const cop_arch *arch, const cop_network_options *options,
                       const cop_optimizer_options *optimizer_options)
{
    cop_backend *inner = tiny_backend("cpu");
    inner_type = inner->type;
    cop_backend_type counting_type = *inner->type;
    counting_type.memory_alloc = counting_alloc;
    inner->type = &counting_type;
    allocated_bytes = 0;
    const uint64_t planned = planned_bytes(arch, options, optimizer_options, inner);
    assert_int_equal(allocated_bytes, 0);
    cop_network *network = tiny_network(arch, options, inner);
    cop_optimizer *optimizer = NULL;
    cop_error err = {0};
    if (options->is_training) {
        assert_int_equal(cop_optimizer_create(&optimizer, network, optimizer_options, &err),
                         COP_OK);
    }
    assert_int_equal(allocated_bytes, planned);
    assert_int_equal(inner->memory_used_bytes, planned);
    cop_optimizer_destroy(optimizer);
    cop_network_destroy(network);
    inner->type = inner_type;
    cop_backend_destroy(inner);
}

static void the_plan_is_what_is_allocated(void **state)
{
    (void)state;
    for (int i = 0; i < TINY_COUNT * 2 * 4; i++) {
        const cop_arch arch = tiny_arch(i % TINY_COUNT);
        const int mode = i / (2 * TINY_COUNT); // inference, then the ways of recomputation
        const cop_network_options options = {
            .precision = i / TINY_COUNT % 2 == 0 ? COP_PRECISION_F32 : COP_PRECISION_BF16,
            .batch = BATCH,
            .sequence = SEQUENCE,
            .is_training = mode > 0,
            .recompute = mode > 0 ? (cop_recompute)(mode - 1) : COP_RECOMPUTE_NONE};
        const cop_optimizer_options optimizer_options = COP_OPTIMIZER_OPTIONS_DEFAULT;
        check_plan(&arch, &options, &optimizer_options);
    }
}

static void the_plan_is_what_is_allocated_in_every_form(void **state)
{
    (void)state;
    for (int i = 0; i < TINY_COUNT * FORM_COUNT; i++) {
        const cop_arch arch = tiny_arch(i % TINY_COUNT);
        const int form = i / TINY_COUNT;
        const cop_network_options options = {
            .precision = COP_PRECISION_BF16,
            .batch = BATCH,
            .sequence = SEQUENCE,
            .is_training = true,
            .freeze_vocabulary = (form & FORM_FROZEN) != 0,
            .gradients = (form & FORM_NARROW_GRADIENTS) != 0 ? COP_BF16 : COP_F32,
            .without_masters = (form & FORM_LONE) != 0};
        cop_optimizer_options optimizer_options = COP_OPTIMIZER_OPTIONS_DEFAULT;
        optimizer_options.moments = (form & FORM_NARROW_MOMENTS) != 0 ? COP_BF16 : COP_F32;
        check_plan(&arch, &options, &optimizer_options);
    }
}

static void a_step_allocates_nothing_but_the_first(void **state)
{
    (void)state;
    const cop_arch arch = tiny_arch(TINY_LLAMA);
    const cop_network_options options = {.precision = COP_PRECISION_BF16,
                                         .batch = BATCH,
                                         .sequence = SEQUENCE,
                                         .is_training = true,
                                         .recompute = COP_RECOMPUTE_BLOCK};
    const cop_optimizer_options optimizer_options = COP_OPTIMIZER_OPTIONS_DEFAULT;
    const int32_t ids[BATCH * SEQUENCE] = {0};
    float d_hidden[BATCH * SEQUENCE * 12] = {0};
    cop_backend *backend = tiny_backend("cpu");
    cop_network *network = tiny_network(&arch, &options, backend);
    cop_optimizer *optimizer = NULL;
    cop_error err = {0};
    cop_matrix hidden = {0};
    const cop_forward_options pass = {
        .ids = ids, .batch = BATCH, .sequence = SEQUENCE, .keep = true};
    const cop_matrix gradient = cop_matrix_dense(d_hidden, COP_F32, BATCH * SEQUENCE, arch.hidden);
    assert_int_equal(cop_optimizer_create(&optimizer, network, &optimizer_options, &err), COP_OK);
    // The first step may prepare: libraries make their kernels for each new shape.
    for (int i = 0; i < 2; i++) {
        cop_alloc_fail_after(i == 0 ? SIZE_MAX : 0);
        const cop_status forward = cop_network_forward(network, &pass, &hidden, &err);
        const cop_status backward = cop_network_backward(network, gradient, NULL, NULL, &err);
        const cop_status step = cop_optimizer_step(optimizer, 1e-3, &err);
        cop_alloc_fail_after(SIZE_MAX);
        assert_int_equal(forward, COP_OK);
        assert_int_equal(backward, COP_OK);
        assert_int_equal(step, COP_OK);
    }
    cop_optimizer_destroy(optimizer);
    cop_network_destroy(network);
    cop_backend_destroy(backend);
}

static void more_recomputation_needs_less_memory(void **state)
{
    (void)state;
    const cop_arch arch = tiny_arch(TINY_LLAMA);
    cop_backend *backend = tiny_backend("reference");
    const cop_optimizer_options optimizer = COP_OPTIMIZER_OPTIONS_DEFAULT;
    uint64_t bytes[3];
    for (int i = 0; i < 3; i++) {
        const cop_network_options options = {.batch = BATCH,
                                             .sequence = SEQUENCE,
                                             .is_training = true,
                                             .recompute = (cop_recompute)i};
        bytes[i] = planned_bytes(&arch, &options, &optimizer, backend);
    }
    assert_true(bytes[1] < bytes[0]);
    assert_true(bytes[2] < bytes[1]);
    cop_backend_destroy(backend);
}

typedef struct pair {
    cop_backend *backend;
    cop_network *network;
    cop_optimizer *optimizer;
} pair;

static cop_status create_pair(pair *at, cop_error *err)
{
    cop_status status = COP_OK;
    const cop_network_options options = {
        .precision = COP_PRECISION_BF16, .batch = BATCH, .sequence = SEQUENCE, .is_training = true};
    const cop_optimizer_options optimizer_options = COP_OPTIMIZER_OPTIONS_DEFAULT;
    cop_arch arch = tiny_arch(TINY_LLAMA);
    arch.layers = 1;
    COP_TRY(status, cop_network_create(&at->network, &arch, &options, at->backend, err));
    COP_TRY(status, cop_network_init(at->network, 1, err));
    COP_TRY(status, cop_optimizer_create(&at->optimizer, at->network, &optimizer_options, err));

done:
    return status;
}

static void destroy_pair(pair *at)
{
    cop_optimizer_destroy(at->optimizer);
    cop_network_destroy(at->network);
    at->optimizer = NULL;
    at->network = NULL;
}

static cop_status save_pair(pair *at, cop_error *err)
{
    return cop_optimizer_save(at->optimizer, "sweep.safetensors", err);
}

static cop_status load_pair(pair *at, cop_error *err)
{
    return cop_optimizer_load(at->optimizer, "sweep.safetensors", err);
}

// Runs `action` with one allocation more each time until it succeeds; `undo` follows each run.
static void sweep(pair *at, cop_status (*action)(pair *, cop_error *), void (*undo)(pair *))
{
    const size_t blocks = cop_alloc_live_blocks();
    cop_status status = COP_ERR_NOMEM;
    for (size_t n = 0; status != COP_OK; n++) {
        cop_error err = {0};
        assert_true(n < 10000);
        cop_alloc_fail_after(n);
        status = action(at, &err);
        cop_alloc_fail_after(SIZE_MAX);
        assert_true(n > 0 || status == COP_ERR_NOMEM);
        assert_int_equal(err.status, status);
        assert_true(status == COP_OK || status == COP_ERR_NOMEM);
        if (undo != NULL) {
            undo(at);
        }
        assert_int_equal(cop_alloc_live_blocks(), blocks);
    }
}

static void survives_every_failed_allocation(void **state)
{
    (void)state;
    cop_error err = {0};
    pair at = {.backend = tiny_backend("cpu")};
    sweep(&at, create_pair, destroy_pair);
    assert_int_equal(create_pair(&at, &err), COP_OK);
    sweep(&at, save_pair, NULL);
    sweep(&at, load_pair, NULL);
    destroy_pair(&at);
    cop_backend_destroy(at.backend);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_plan_is_what_is_allocated),
        cmocka_unit_test(the_plan_is_what_is_allocated_in_every_form),
        cmocka_unit_test(a_step_allocates_nothing_but_the_first),
        cmocka_unit_test(more_recomputation_needs_less_memory),
        cmocka_unit_test(survives_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
