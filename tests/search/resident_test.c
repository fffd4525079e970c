// Whether the teacher's weights stay on the device in a search, and that candidates are the same where
// they do not.

#include <string.h>

#include "base/alloc.h"
#include "search/run_internal.h"
#include "tests/prune/fixture.h"

static void prune_with(cop_run *run, cop_network *network)
{
    cop_error err = {0};
    must(cop_run_open_resident(run, &err), &err);
    assert_int_equal(run->resident != NULL, run->is_resident);
    must(cop_run_prune(run, network, &err), &err);
    cop_resident_destroy(run->resident);
    run->resident = NULL;
}

static bool has_line(const cop_plan *plan, const char *name)
{
    for (int i = 0; i < plan->count; i++) {
        if (strcmp(plan->line[i].name, name) == 0) {
            return true;
        }
    }
    return false;
}

static void candidates_are_the_same_where_the_teacher_does_not_fit(void **state)
{
    (void)state;
    static cop_run run;
    static cop_study_file study;
    const cop_arch arch = teacher_arch(COP_FAMILY_LLAMA);
    const cop_network_options options = {
        .precision = COP_PRECISION_BF16, .batch = 1, .sequence = 4, .is_training = true};
    cop_arch target = arch;
    cop_error err = {0};
    target.hidden = 11;
    target.layers = 3;
    study.select = (cop_select_options){.order = COP_ORDER_RANDOM, .seed = 4};
    run.study = &study;
    run.backend = tiny_backend("cpu");
    run.teacher = teacher_open("teacher", &arch, COP_BF16, 3);
    cop_network *on_device = tiny_network(&target, &options, run.backend);
    cop_network *from_files = tiny_network(&target, &options, run.backend);

    cop_plan_add(&run.footprint.probe, "probe", 1 << 20);
    cop_plan_add(&run.footprint.teacher, "teacher", 1 << 20);
    must(cop_run_plan_resident(&run, &err), &err);
    assert_true(run.is_resident);
    assert_true(has_line(&run.footprint.probe, "teacher: resident weights"));
    assert_true(has_line(&run.footprint.teacher, "teacher: resident weights"));
    assert_int_equal(run.footprint.latency.count, 0);
    prune_with(&run, on_device);

    // The probe fits, but for nothing beside it: the plan is left as it was.
    memset(&run.footprint, 0, sizeof run.footprint);
    cop_plan_add(&run.footprint.probe, "probe", UINT64_MAX / 2);
    cop_plan_add(&run.footprint.teacher, "teacher", 1 << 20);
    must(cop_run_plan_resident(&run, &err), &err);
    assert_false(run.is_resident);
    assert_int_equal(run.footprint.probe.count, 1);
    prune_with(&run, from_files);

    for (int64_t i = 0; i < cop_arch_tensor_count(&target); i++) {
        const cop_tensor_spec spec = cop_arch_tensor(&target, i);
        const size_t count = (size_t)(spec.shape[0] * spec.shape[1]);
        const cop_parameter_view a = cop_network_parameter(on_device, i);
        const cop_parameter_view b = cop_network_parameter(from_files, i);
        assert_memory_equal(a.working.data, b.working.data,
                            count * cop_dtype_bytes(a.working.dtype));
        assert_memory_equal(a.master.data, b.master.data, count * cop_dtype_bytes(a.master.dtype));
    }
    cop_network_destroy(from_files);
    cop_network_destroy(on_device);
    cop_checkpoint_destroy(run.teacher);
    cop_backend_destroy(run.backend);
}

// Memory that others took after it was planned ends no study.
static void a_device_that_is_full_after_all_is_no_failure(void **state)
{
    (void)state;
    static cop_run run;
    const cop_arch arch = teacher_arch(COP_FAMILY_LLAMA);
    cop_error err = {0};
    run.backend = tiny_backend("cpu");
    run.teacher = teacher_open("teacher", &arch, COP_BF16, 3);
    run.is_resident = true;
    cop_alloc_fail_after(4);
    const cop_status status = cop_run_open_resident(&run, &err);
    cop_alloc_fail_after(SIZE_MAX);
    assert_int_equal(status, COP_OK);
    assert_null(run.resident);
    cop_checkpoint_destroy(run.teacher);
    cop_backend_destroy(run.backend);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(candidates_are_the_same_where_the_teacher_does_not_fit),
        cmocka_unit_test(a_device_that_is_full_after_all_is_no_failure),
    };
    return cmocka_run_group_tests_name("resident search", tests, NULL, NULL);
}
