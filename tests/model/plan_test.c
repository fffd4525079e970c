#include "model/plan.h"

#include <stdio.h>
#include <string.h>

#include "base/system.h"
#include "tests/support.h"

static void starts_with_what_the_process_holds(void **state)
{
    (void)state;
    cop_plan plan;
    cop_plan_init(&plan);
    assert_int_equal(plan.count, 1);
    assert_string_equal(plan.line[0].name, "program and libraries");
    // At least a megabyte is resident in any process that got this far.
    assert_true(plan.line[0].bytes > 1 << 20);
    assert_true(plan.line[0].bytes < cop_system_memory_bytes());
}

static void adds_up_lines_of_one_name(void **state)
{
    (void)state;
    cop_plan plan = {0};
    cop_plan_add(&plan, "a", 1);
    cop_plan_add(&plan, "b", 2);
    cop_plan_add(&plan, "a", 4);
    assert_int_equal(plan.count, 2);
    assert_int_equal(plan.line[0].bytes, 5);
    assert_int_equal(cop_plan_total(&plan), 7);
    cop_plan_add(&plan, "a", UINT64_MAX - 1);
    assert_true(plan.line[0].bytes == UINT64_MAX);
    assert_true(cop_plan_total(&plan) == UINT64_MAX);
}

static void leaves_out_the_first_line_of_another_plan(void **state)
{
    (void)state;
    cop_plan plan = {0};
    cop_plan other = {0};
    cop_plan_add(&plan, "program", 100);
    cop_plan_add(&plan, "student", 10);
    cop_plan_add(&other, "program", 100);
    cop_plan_add(&other, "student", 1);
    cop_plan_add(&other, "teacher", 5);
    cop_plan_add_all(&plan, &other);
    assert_int_equal(plan.count, 3);
    assert_int_equal(cop_plan_total(&plan), 116);
}

static void folds_surplus_lines_into_the_last(void **state)
{
    (void)state;
    cop_plan plan = {0};
    for (int i = 0; i < COP_PLAN_LINES_MAX + 5; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "line %d", i);
        cop_plan_add(&plan, name, 1);
    }
    assert_int_equal(plan.count, COP_PLAN_LINES_MAX);
    assert_string_equal(plan.line[COP_PLAN_LINES_MAX - 1].name, "everything else");
    assert_int_equal(plan.line[COP_PLAN_LINES_MAX - 1].bytes, 6);
    assert_int_equal(cop_plan_total(&plan), COP_PLAN_LINES_MAX + 5);
}

static void adds_up_names_that_are_cut_to_the_same(void **state)
{
    (void)state;
    char name[COP_PLAN_NAME_BYTES + 20];
    cop_plan plan = {0};
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    cop_plan_add(&plan, name, 1);
    cop_plan_add(&plan, name, 2);
    assert_int_equal(plan.count, 1);
    assert_int_equal(plan.line[0].bytes, 3);
}

static void prints_a_table(void **state)
{
    (void)state;
    cop_plan plan = {0};
    cop_text text = {0};
    cop_plan_add(&plan, "student: weights", 3u << 20);
    cop_plan_add(&plan, "rest", 1u << 20);
    cop_plan_append(&plan, &text);
    assert_string_equal(cop_text_view(&text), "  student: weights      3.0 MiB\n"
                                              "  rest                  1.0 MiB\n"
                                              "  total                 4.0 MiB\n");
    cop_text_release(&text);
}

static void names_the_largest_lines_when_memory_is_short(void **state)
{
    (void)state;
    cop_plan plan = {0};
    cop_error err = {0};
    cop_plan_add(&plan, "small", 1u << 20);
    cop_plan_add(&plan, "large", 8u << 20);
    cop_plan_add(&plan, "middle", 2u << 20);
    cop_plan_add(&plan, "tiny", 1u << 10);
    assert_int_equal(cop_plan_check(&plan, "probe", 12u << 20, &err), COP_OK);
    assert_int_equal(cop_plan_check(&plan, "probe", 8u << 20, &err), COP_ERR_NOMEM);
    assert_string_equal(err.message,
                        "probe: needs 11.0 MiB, 8.0 MiB are free (largest: large 8.0 MiB, middle "
                        "2.0 MiB, small 1.0 MiB; allowed: a smaller batch or sequence, more "
                        "recomputation, or a smaller model)");
}

static void counts_the_device_and_the_host_apart(void **state)
{
    (void)state;
    cop_plan plan = {0};
    cop_error err = {0};
    cop_text text = {0};
    cop_plan_room room = {.device_bytes = 8u << 20, .host_bytes = 4u << 20};
    cop_plan_add_host(&plan, "program", 3u << 20);
    cop_plan_add(&plan, "weights", 8u << 20);
    assert_int_equal(cop_plan_device_total(&plan), 8u << 20);
    assert_int_equal(cop_plan_host_total(&plan), 3u << 20);
    assert_true(cop_plan_fits(&plan, &room));
    assert_int_equal(cop_plan_check_room(&plan, "probe", &room, NULL, &err), COP_OK);
    cop_plan_append_room(&plan, &room, &text);
    assert_string_equal(cop_text_view(&text), "  weights                  8.0 MiB\n"
                                              "  total on the device      8.0 MiB\n"
                                              "  program                3.0 MiB\n"
                                              "  total of the host      3.0 MiB\n");
    cop_text_release(&text);
    room.device_bytes = 7u << 20;
    assert_false(cop_plan_fits(&plan, &room));
    assert_int_equal(cop_plan_check_room(&plan, "probe", &room, "less", &err), COP_ERR_NOMEM);
    assert_string_equal(err.message, "probe: needs 8.0 MiB on the device, 7.0 MiB are free "
                                     "(largest: weights 8.0 MiB; allowed: less)");
    room = (cop_plan_room){.device_bytes = 8u << 20, .host_bytes = 2u << 20};
    assert_int_equal(cop_plan_check_room(&plan, "probe", &room, "less", &err), COP_ERR_NOMEM);
    assert_string_equal(err.message, "probe: needs 3.0 MiB of the host's memory, 2.0 MiB are free "
                                     "(largest: program 3.0 MiB; allowed: less)");
    room = (cop_plan_room){.host_bytes = 10u << 20, .is_one = true};
    assert_int_equal(cop_plan_total_in(&plan, &room), 11u << 20);
    assert_int_equal(cop_plan_check_room(&plan, "probe", &room, "less", &err), COP_ERR_NOMEM);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(starts_with_what_the_process_holds),
        cmocka_unit_test(adds_up_lines_of_one_name),
        cmocka_unit_test(leaves_out_the_first_line_of_another_plan),
        cmocka_unit_test(folds_surplus_lines_into_the_last),
        cmocka_unit_test(adds_up_names_that_are_cut_to_the_same),
        cmocka_unit_test(prints_a_table),
        cmocka_unit_test(names_the_largest_lines_when_memory_is_short),
        cmocka_unit_test(counts_the_device_and_the_host_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
