#include "base/status.h"

#include <string.h>

#include "tests/support.h"

static void a_failure_keeps_its_place_and_message(void **state)
{
    (void)state;
    cop_error err = {0};
    const int line = __LINE__ + 1;
    assert_int_equal(COP_FAIL(&err, COP_ERR_CONFIG, "x.yaml: depth is %d", 7), COP_ERR_CONFIG);
    assert_int_equal(err.status, COP_ERR_CONFIG);
    assert_int_equal(err.source_line, line);
    assert_non_null(strstr(err.source_file, "status_test.c"));
    assert_string_equal(err.message, "x.yaml: depth is 7");
    assert_int_equal(COP_FAIL(NULL, COP_ERR_IO, "dropped"), COP_ERR_IO);
}

static void context_is_put_in_front(void **state)
{
    (void)state;
    cop_error err = {0};
    (void)COP_FAIL(&err, COP_ERR_IO, "disk full");
    (void)COP_FAIL(&err, err.status, "study.db: %s", err.message);
    assert_string_equal(err.message, "study.db: disk full");
}

static void foreign_text_stays_on_one_line(void **state)
{
    (void)state;
    cop_error err = {0};
    (void)COP_FAIL(&err, COP_ERR_FORMAT, "a\nb\tc\033[31md%c", 0x7f);
    assert_string_equal(err.message, "a b c [31md ");
}

static void a_long_message_is_cut_between_characters(void **state)
{
    (void)state;
    char text[1200];
    cop_error err = {0};
    for (size_t offset = 0; offset < 3; offset++) {
        memset(text, 'x', sizeof text);
        for (size_t i = offset; i + 3 < sizeof text; i += 3) {
            memcpy(text + i, "\xe2\x88\x9e", 3); // the infinity sign
        }
        text[sizeof text - 1] = '\0';
        (void)COP_FAIL(&err, COP_ERR_FORMAT, "%s", text);
        const size_t length = strlen(err.message);
        assert_true(length >= COP_ERROR_MESSAGE_BYTES - 4);
        assert_true(length < COP_ERROR_MESSAGE_BYTES);
        assert_int_equal((length - offset) % 3, 0);
        assert_memory_equal(err.message, text, length);
    }
}

static void every_status_has_a_name(void **state)
{
    (void)state;
    for (int i = COP_OK; i <= COP_ERR_DEVICE; i++) {
        assert_string_not_equal(cop_status_name((cop_status)i), "unknown status");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_failure_keeps_its_place_and_message),
        cmocka_unit_test(context_is_put_in_front),
        cmocka_unit_test(foreign_text_stays_on_one_line),
        cmocka_unit_test(a_long_message_is_cut_between_characters),
        cmocka_unit_test(every_status_has_a_name),
    };
    return cmocka_run_group_tests_name("status", tests, NULL, NULL);
}
