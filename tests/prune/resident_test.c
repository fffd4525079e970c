// A candidate cut from a resident teacher is, bit for bit, the one cut from its checkpoint.

#include "prune/resident.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "tests/device_memory.h"
#include "tests/prune/fixture.h"

static const cop_network_options forms[] = {
    {.precision = COP_PRECISION_F32, .batch = 1, .sequence = 4},
    {.precision = COP_PRECISION_F32, .batch = 1, .sequence = 4, .is_training = true},
    {.precision = COP_PRECISION_BF16, .batch = 1, .sequence = 4},
    {.precision = COP_PRECISION_BF16, .batch = 1, .sequence = 4, .is_training = true},
};

enum { FORMS = sizeof forms / sizeof forms[0], SELECTIONS = 24 };

static int64_t between(cop_rng *rng, int64_t low, int64_t high)
{
    return low + (int64_t)cop_rng_below(rng, (uint64_t)(high - low + 1));
}

// Any target that can be cut out of a teacher of equal layers.
static cop_arch random_target(const cop_arch *teacher, cop_rng *rng)
{
    cop_arch target = *teacher;
    const cop_layer_arch *from = &teacher->layer[0];
    const int64_t kv_heads = between(rng, 1, from->kv_heads);
    const int64_t heads = kv_heads * between(rng, 1, from->heads / from->kv_heads);
    const int64_t ffn = between(rng, 1, from->ffn);
    target.layers = between(rng, 1, teacher->layers);
    target.hidden = between(rng, 1, teacher->hidden);
    for (int64_t i = 0; i < target.layers; i++) {
        target.layer[i] = (cop_layer_arch){.heads = heads, .kv_heads = kv_heads, .ffn = ffn};
    }
    return target;
}

static void expect_same_parameters(cop_network *a, cop_network *b)
{
    const cop_arch *arch = cop_network_arch(a);
    for (int64_t i = 0; i < cop_arch_tensor_count(arch); i++) {
        const cop_tensor_spec spec = cop_arch_tensor(arch, i);
        const size_t count = (size_t)(spec.shape[0] * spec.shape[1]);
        const cop_parameter_view x = cop_network_parameter(a, i);
        const cop_parameter_view y = cop_network_parameter(b, i);
        assert_device_equal(cop_network_backend(a), x.working.data, cop_network_backend(b),
                            y.working.data, count * cop_dtype_bytes(x.working.dtype));
        assert_int_equal(x.master.rows, y.master.rows);
        if (x.master.rows > 0) {
            assert_device_equal(cop_network_backend(a), x.master.data, cop_network_backend(b),
                                y.master.data, count * cop_dtype_bytes(x.master.dtype));
        }
    }
}

static void compare(cop_resident *resident, const cop_checkpoint *teacher,
                    const cop_selection *selection, const cop_network_options *form,
                    cop_backend *backend)
{
    cop_error err = {0};
    cop_network *cut = tiny_network(cop_selection_arch(selection), form, backend);
    cop_network *sliced = tiny_network(cop_selection_arch(selection), form, backend);
    must(cop_resident_cut(resident, selection, cut, &err), &err);
    must(cop_slice(selection, teacher, cop_network_sink(sliced), &err), &err);
    expect_same_parameters(cut, sliced);
    cop_network_destroy(sliced);
    cop_network_destroy(cut);
}

// Random targets by random scores in every order, with and without carry-over, for each stored type.
static void compare_many(const cop_arch *arch, cop_dtype dtype, uint64_t seed)
{
    cop_error err = {0};
    cop_rng *rng = NULL;
    cop_resident *resident = NULL;
    cop_backend *backend = tiny_backend("cpu");
    cop_checkpoint *teacher = teacher_open("resident", arch, dtype, seed);
    must(cop_rng_create(&rng, seed, COP_RNG_TEST, 99, &err), &err);
    must(cop_resident_create(&resident, teacher, backend, &err), &err);
    for (int i = 0; i < SELECTIONS; i++) {
        const cop_arch target = i == 0 ? *arch : random_target(arch, rng);
        const int64_t ratio = target.layer[0].heads / target.layer[0].kv_heads;
        const int64_t whole = arch->layer[0].heads / arch->layer[0].kv_heads;
        cop_select_options options = {
            .order = (cop_order)(i % 3),
            .aggregate = i % 2,
            .depth_shape = i % 4 == 0 ? COP_DEPTH_CONTIGUOUS : COP_DEPTH_SCATTERED,
            .carry = 2 * ratio >= whole ? (cop_carry)(i / 3 % 3) : COP_CARRY_OFF,
            .seed = seed + (uint64_t)i,
        };
        cop_importance *scores = random_scores(arch, seed + (uint64_t)i);
        cop_selection *selection = NULL;
        must(cop_selection_create(&selection, arch, &target, scores, &options, &err), &err);
        for (int f = 0; f < FORMS; f++) {
            compare(resident, teacher, selection, &forms[f], backend);
        }
        cop_selection_destroy(selection);
        cop_importance_destroy(scores);
    }
    cop_resident_destroy(resident);
    cop_rng_destroy(rng);
    cop_checkpoint_destroy(teacher);
    cop_backend_destroy(backend);
}

static void a_cut_is_the_slice_bit_for_bit(void **state)
{
    (void)state;
    static const cop_dtype dtypes[] = {COP_F32, COP_BF16, COP_F16};
    for (int family = 0; family < 3; family++) {
        const cop_arch arch = family == 2 ? biased_arch() : teacher_arch((cop_family)family);
        for (int d = 0; d < 3; d++) {
            compare_many(&arch, dtypes[d], 20 + (uint64_t)(3 * family + d));
        }
    }
}

static void the_reference_in_f64_is_cut_too(void **state)
{
    (void)state;
    const cop_network_options form = {
        .precision = COP_PRECISION_F64, .batch = 1, .sequence = 4, .is_training = true};
    const cop_arch arch = teacher_arch(COP_FAMILY_NEMOTRON);
    cop_error err = {0};
    cop_resident *resident = NULL;
    cop_selection *selection = NULL;
    cop_rng *rng = NULL;
    cop_backend *backend = tiny_backend("reference");
    cop_checkpoint *teacher = teacher_open("resident", &arch, COP_BF16, 3);
    must(cop_rng_create(&rng, 5, COP_RNG_TEST, 1, &err), &err);
    const cop_arch target = random_target(&arch, rng);
    const cop_select_options options = {.order = COP_ORDER_RANDOM, .seed = 4};
    must(cop_resident_create(&resident, teacher, backend, &err), &err);
    must(cop_selection_create(&selection, &arch, &target, NULL, &options, &err), &err);
    compare(resident, teacher, selection, &form, backend);
    cop_selection_destroy(selection);
    cop_resident_destroy(resident);
    cop_rng_destroy(rng);
    cop_checkpoint_destroy(teacher);
    cop_backend_destroy(backend);
}

// What is allocated is what was planned.
static void needs_what_its_plan_says(void **state)
{
    (void)state;
    const cop_arch arch = biased_arch();
    cop_error err = {0};
    cop_plan plan;
    cop_resident *resident = NULL;
    cop_backend *backend = tiny_backend("cpu");
    cop_checkpoint *teacher = teacher_open("resident", &arch, COP_F16, 3);
    cop_plan_init(&plan);
    const uint64_t before = cop_plan_total(&plan);
    cop_resident_plan(&plan, teacher);
    must(cop_resident_create(&resident, teacher, backend, &err), &err);
    assert_int_equal(backend->memory_used_bytes, cop_plan_total(&plan) - before);
    cop_resident_destroy(resident);
    cop_resident_destroy(NULL);
    assert_int_equal(backend->memory_used_bytes, 0);
    cop_checkpoint_destroy(teacher);
    cop_backend_destroy(backend);
}

static void refuses_what_does_not_belong_together(void **state)
{
    (void)state;
    const cop_arch arch = teacher_arch(COP_FAMILY_LLAMA);
    cop_arch larger = arch;
    cop_arch smaller = arch;
    cop_error err = {0};
    cop_resident *resident = NULL;
    cop_selection *selection = NULL;
    const cop_select_options options = {.order = COP_ORDER_RANDOM, .seed = 4};
    larger.hidden = 32;
    smaller.hidden = 15;
    cop_backend *backend = tiny_backend("cpu");
    cop_checkpoint *teacher = teacher_open("resident", &arch, COP_F32, 3);
    must(cop_resident_create(&resident, teacher, backend, &err), &err);

    // A selection of a wider teacher names channels that this one does not have.
    must(cop_selection_create(&selection, &larger, &arch, NULL, &options, &err), &err);
    cop_network *network = tiny_network(&arch, &forms[0], backend);
    assert_int_equal(cop_resident_cut(resident, selection, network, &err), COP_ERR_SHAPE);
    assert_non_null(strstr(err.message, "resident teacher: unit "));
    assert_non_null(strstr(err.message, " is kept (allowed: 0..15 of this teacher)"));
    cop_selection_destroy(selection);

    // A network of another shape than the selection's.
    must(cop_selection_create(&selection, &arch, &smaller, NULL, &options, &err), &err);
    assert_int_equal(cop_resident_cut(resident, selection, network, &err), COP_ERR_SHAPE);
    assert_non_null(strstr(err.message, "resident teacher: the network is llama 4L 16h"));
    cop_network_destroy(network);
    cop_selection_destroy(selection);
    cop_resident_destroy(resident);
    cop_checkpoint_destroy(teacher);
    cop_backend_destroy(backend);
}

static void survives_every_failed_allocation(void **state)
{
    (void)state;
    const cop_arch arch = teacher_arch(COP_FAMILY_LLAMA);
    const cop_select_options options = {.order = COP_ORDER_RANDOM, .seed = 4};
    cop_arch target = arch;
    cop_error err = {0};
    cop_selection *selection = NULL;
    target.hidden = 11;
    cop_backend *backend = tiny_backend("cpu");
    cop_checkpoint *teacher = teacher_open("resident", &arch, COP_F16, 3);
    cop_network *network = tiny_network(&target, &forms[3], backend);
    must(cop_selection_create(&selection, &arch, &target, NULL, &options, &err), &err);
    const size_t live = cop_alloc_live_blocks();
    size_t allowed = 0;
    for (cop_status status = COP_ERR_NOMEM; status != COP_OK; allowed++) {
        cop_resident *resident = NULL;
        cop_alloc_fail_after(allowed);
        status = cop_resident_create(&resident, teacher, backend, &err);
        if (status == COP_OK) {
            status = cop_resident_cut(resident, selection, network, &err);
        }
        cop_resident_destroy(resident);
        cop_alloc_fail_after(SIZE_MAX);
        assert_int_equal(cop_alloc_live_blocks(), live);
        assert_true(status == COP_OK || status == COP_ERR_NOMEM);
        assert_true(allowed < 1000);
    }
    assert_true(allowed > 8);
    cop_selection_destroy(selection);
    cop_network_destroy(network);
    cop_checkpoint_destroy(teacher);
    cop_backend_destroy(backend);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cut_is_the_slice_bit_for_bit),
        cmocka_unit_test(the_reference_in_f64_is_cut_too),
        cmocka_unit_test(needs_what_its_plan_says),
        cmocka_unit_test(refuses_what_does_not_belong_together),
        cmocka_unit_test(survives_every_failed_allocation),
    };
    return cmocka_run_group_tests_name("resident", tests, NULL, NULL);
}
