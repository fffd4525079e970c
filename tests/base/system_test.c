#include "base/system.h"

#include <gsl/gsl_errno.h>
#include <gsl/gsl_sf_log.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/version.h"
#include "tests/support.h"

static void says_something_plausible_about_the_machine(void **state)
{
    (void)state;
    char name[64] = "";
    cop_system_cpu_name(name, (int)sizeof name);
    assert_true(strlen(name) > 0);
    assert_true(cop_system_threads() >= 1);
    assert_true(cop_system_memory_bytes() > (uint64_t)64 << 20);
    assert_true(cop_system_memory_free_bytes() > 0);
    assert_true(cop_system_memory_free_bytes() <= cop_system_memory_bytes());
    assert_true(cop_system_disk_free_bytes(".") > 0);
    assert_int_equal(cop_system_disk_free_bytes("no/such/place"), 0);
    assert_string_not_equal(cop_version(), "");
}

static void touched_memory_is_resident(void **state)
{
    (void)state;
    const size_t bytes = (size_t)32 << 20;
    const uint64_t before = cop_system_resident_bytes();
    unsigned char *memory = cop_alloc(bytes, 1);
    assert_non_null(memory);
    memset(memory, 1, bytes);
    const uint64_t after = cop_system_resident_bytes();
    assert_int_equal(memory[bytes - 1], 1);
    cop_free(memory);
    assert_true(after >= before + bytes / 2); // the allocator may reuse pages that it had
    // The kernel counts in batches: the two need not agree to the page.
    assert_true(cop_system_resident_peak_bytes() + ((uint64_t)1 << 20) >= after);
}

static void time_moves_on(void **state)
{
    (void)state;
    const double start = cop_clock_seconds();
    const struct timespec pause = {.tv_nsec = 2000000};
    (void)nanosleep(&pause, NULL);
    assert_true(cop_clock_seconds() > start);
    char date[COP_CLOCK_DATE_BYTES];
    assert_int_equal(strlen(cop_clock_date(date)), strlen("2025-01-31T12:00:00Z"));
    assert_int_equal(date[10], 'T');
    assert_int_equal(date[19], 'Z');
}

static void a_failing_library_does_not_end_the_process(void **state)
{
    (void)state;
    gsl_sf_result result;
    assert_int_equal(gsl_sf_log_e(-1.0, &result), GSL_EDOM);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(says_something_plausible_about_the_machine),
        cmocka_unit_test(touched_memory_is_resident),
        cmocka_unit_test(time_moves_on),
        cmocka_unit_test(a_failing_library_does_not_end_the_process),
    };
    return cmocka_run_group_tests_name("system", tests, NULL, NULL);
}
