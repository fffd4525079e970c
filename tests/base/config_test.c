#include "base/config.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/text.h"
#include "tests/support.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

static cop_config *parse(const char *text)
{
    cop_config *config = NULL;
    cop_error err = {0};
    if (cop_config_parse(&config, "s.yaml", text, strlen(text), &err) != COP_OK) {
        fail_msg("%s", err.message);
    }
    return config;
}

static void reads_scalars_lists_and_mappings(void **state)
{
    (void)state;
    cop_config *config = parse("# a study\n"
                               "seed: 1\n"
                               "space:\n"
                               "  hidden: [256, 512]\n"
                               "  'kv heads': {from: 2, to: 8}\n"
                               "name: \"oak\"\n");
    const cop_config_node *root = cop_config_root(config);
    assert_int_equal(cop_config_node_kind(root), COP_CONFIG_MAPPING);
    assert_int_equal(cop_config_node_count(root), 3);
    assert_string_equal(cop_config_node_path(root), "");
    assert_string_equal(cop_config_node_key(root, 1), "space");
    const cop_config_node *space = cop_config_node_value(root, 1);
    const cop_config_node *hidden = cop_config_node_find(space, "hidden");
    assert_int_equal(cop_config_node_kind(hidden), COP_CONFIG_LIST);
    assert_int_equal(cop_config_node_count(hidden), 2);
    const cop_config_node *item = cop_config_node_item(hidden, 1);
    assert_string_equal(cop_config_node_path(item), "space.hidden[1]");
    assert_string_equal(cop_config_node_text(item), "512");
    assert_string_equal(cop_config_node_text(hidden), "");
    const cop_config_node *to = cop_config_node_find(cop_config_node_value(space, 1), "to");
    assert_string_equal(cop_config_node_path(to), "space.kv heads.to");
    assert_null(cop_config_node_find(root, "absent"));
    assert_null(cop_config_node_find(hidden, "absent"));
    cop_config_destroy(config);
    cop_config_destroy(NULL);
    assert_int_equal(cop_alloc_live_blocks(), 0);
}

static void refuses_what_is_no_plain_document(void **state)
{
    (void)state;

    const struct {
        const char *text;
        const char *want;
    } rows[] = {
        {"", "s.yaml: holds no settings"},
        {"# nothing\n", "s.yaml: holds no settings"},
        {"- a\n", "s.yaml:1:1: the document is no mapping of keys to values"},
        {"word\n", "s.yaml:1:1: the document is no mapping of keys to values"},
        {"a: 1\nb: 2\na: 3\n", "s.yaml:3:1: a: duplicate key (first on line 1)"},
        {"s:\n  x: 1\n  x: 2\n", "s.yaml:3:3: s.x: duplicate key (first on line 2)"},
        {"a: &x 1\nb: *x\n", "s.yaml:1:4: anchors and tags are not allowed"},
        {"a: *x\n", "s.yaml:1:4: aliases are not allowed"},
        {"*x : 1\n", "s.yaml:1:1: aliases are not allowed"},
        {"a: !!int 3\n", "s.yaml:1:4: anchors and tags are not allowed"},
        {"a: !secret {}\n", "s.yaml:1:4: anchors and tags are not allowed"},
        {"? [a]\n: 1\n", "s.yaml:1:3: a key is a list or mapping (allowed: a name)"},
        {"? \n: 1\n", "s.yaml:1:2: a key has 0 bytes (allowed: 1..128)"},
        {"a: 1\n---\nb: 2\n", "s.yaml:2:1: a second document (allowed: one)"},
        {"a: \"x\\0y\"\n", "s.yaml:1:4: a text holds a NUL character"},
        {"a:\n\tb: 1\n", "s.yaml:2:1: a tab is used for indentation (allowed: spaces)"},
        {"a:\n  b: 1\n \tc: 1\n", "s.yaml:3:2: a tab is used for indentation (allowed: spaces)"},
        {"a: [1, 2\nb: 3\n", "s.yaml:2:2: while parsing a flow sequence, did not find expected "
                             "',' or ']'"},
        {"a: 'open\n", "s.yaml:2:1: while scanning a quoted scalar, found unexpected end of "
                       "stream"},
        {"a: b: c\n", "s.yaml:1:5: mapping values are not allowed in this context"},
        {"a: \xff\n", "s.yaml: byte 3: invalid leading UTF-8 octet (allowed: UTF-8 text)"},
        {"a: \x01\n", "s.yaml: byte 3: control characters are not allowed (allowed: UTF-8 text)"},
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        cop_error err = {0};
        cop_config *config = NULL;
        assert_int_equal(
            cop_config_parse(&config, "s.yaml", rows[i].text, strlen(rows[i].text), &err),
            COP_ERR_CONFIG);
        assert_string_equal(err.message, rows[i].want);
        assert_null(config);
        assert_int_equal(cop_alloc_live_blocks(), 0);
    }
}

static void limits_hold(void **state)
{
    (void)state;
    cop_error err = {0};
    cop_config *config = NULL;
    cop_text text = {0};

    cop_text_append(&text, "a: ");
    for (int i = 0; i < 31; i++) {
        cop_text_append(&text, "[");
    }
    const size_t allowed_length = text.length;
    for (int i = 0; i < 31; i++) {
        cop_text_append(&text, "]");
    }
    assert_int_equal(cop_config_parse(&config, "s.yaml", text.data, text.length, &err), COP_OK);
    cop_config_destroy(config);
    text.length = allowed_length;
    for (int i = 0; i < 100000; i++) {
        cop_text_append(&text, "[");
    }
    assert_int_equal(cop_config_parse(&config, "s.yaml", text.data, text.length, &err),
                     COP_ERR_CONFIG);
    assert_string_equal(err.message, "s.yaml:1:35: nested deeper than 32 levels");
    cop_text_release(&text);

    cop_text_append(&text, "a: [");
    for (int i = 0; i < 100000; i++) {
        cop_text_append(&text, "1,");
    }
    cop_text_append(&text, "]");
    assert_int_equal(cop_config_parse(&config, "s.yaml", text.data, text.length, &err),
                     COP_ERR_CONFIG);
    assert_string_equal(err.message, "s.yaml:1:200001: more than 100000 entries");
    assert_int_equal(cop_config_parse(&config, "s.yaml", text.data, (size_t)5 << 20, &err),
                     COP_ERR_CONFIG);
    assert_string_equal(err.message, "s.yaml: has 5242880 bytes (allowed: at most 4194304)");
    cop_text_release(&text);
    assert_int_equal(cop_config_open(&config, "no/such.yaml", &err), COP_ERR_IO);
    assert_string_equal(err.message, "no/such.yaml: cannot open: No such file or directory");
}

static void an_unknown_key_gets_a_suggestion(void **state)
{
    (void)state;
    static const char *const keys[] = {"layers", "hidden", "heads"};
    cop_error err = {0};
    cop_config *config = parse("space:\n  layers: [1]\n  hiden:\n    - 3\n  color: red\n"
                               "other: 3\n");
    const cop_config_node *root = cop_config_root(config);
    const cop_config_node *space = cop_config_node_find(root, "space");
    assert_int_equal(cop_config_check_keys(space, keys, 3, &err), COP_ERR_CONFIG);
    assert_string_equal(err.message, "s.yaml:3:3: space.hiden: unknown key (did you mean hidden? "
                                     "allowed: layers, hidden, heads)");
    assert_int_equal(cop_config_check_keys(cop_config_node_find(root, "other"), keys, 3, &err),
                     COP_ERR_CONFIG);
    assert_string_equal(err.message,
                        "s.yaml:6:8: other: is 3 (allowed: a mapping of keys to values)");
    cop_config_destroy(config);

    config = parse("space: {color: red}\n");
    space = cop_config_node_find(cop_config_root(config), "space");
    assert_int_equal(cop_config_check_keys(space, keys, 3, &err), COP_ERR_CONFIG);
    assert_string_equal(err.message,
                        "s.yaml:1:9: space.color: unknown key (allowed: layers, hidden, heads)");
    cop_config_destroy(config);

    config = parse("layers: 1\nheads: 2\n");
    assert_int_equal(cop_config_check_keys(cop_config_root(config), keys, 3, &err), COP_OK);
    cop_config_destroy(config);
}

static void numbers_are_converted_strictly(void **state)
{
    (void)state;

    // One scalar, and what each getter says of it; NULL: it takes it.
    const struct {
        const char *yaml;
        const char *integer;
        const char *number;
    } rows[] = {
        {"x: 5", NULL, NULL},
        {"x: 1e1", NULL, NULL},
        {"x: 0.3x", "is 0.3x (allowed: an integer in 1..20)",
         "is 0.3x (allowed: a number in 1..20)"},
        {"x: 1.5", "is 1.5 (allowed: an integer in 1..20)", NULL},
        {"x: 010", "is 010 (allowed: an integer in 1..20)", "is 010 (allowed: a number in 1..20)"},
        {"x: nan", "is nan (allowed: an integer in 1..20)", "is nan (allowed: a number in 1..20)"},
        {"x: .inf", "is .inf (allowed: an integer in 1..20)",
         "is .inf (allowed: a number in 1..20)"},
        {"x: 1_0", "is 1_0 (allowed: an integer in 1..20)", "is 1_0 (allowed: a number in 1..20)"},
        {"x: '5'", "is \"5\" (allowed: an integer in 1..20)",
         "is \"5\" (allowed: a number in 1..20)"},
        {"x: 21", "is 21 (allowed: 1..20)", "is 21 (allowed: 1..20)"},
        {"x: -3", "is -3 (allowed: 1..20)", "is -3 (allowed: 1..20)"},
        {"x:", "is empty (allowed: an integer in 1..20)", "is empty (allowed: a number in 1..20)"},
        {"x: [5]", "is a list (allowed: an integer in 1..20)",
         "is a list (allowed: a number in 1..20)"},
        {"x: {a: 5}", "is a mapping (allowed: an integer in 1..20)",
         "is a mapping (allowed: a number in 1..20)"},
        {"x: 99999999999999999999", "is 99999999999999999999 (allowed: an integer in 1..20)",
         "is 99999999999999999999 (allowed: 1..20)"},
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        cop_error err = {0};
        cop_config *config = parse(rows[i].yaml);
        const cop_config_node *node = cop_config_node_find(cop_config_root(config), "x");
        char prefix[32];
        int64_t integer = -1;
        double number = -1.0;
        const bool is_integer = cop_config_i64(&integer, node, 1, 20, &err) == COP_OK;
        (void)snprintf(prefix, sizeof prefix, "s.yaml:1:%d: x: ", rows[i].yaml[2] == '\0' ? 3 : 4);
        assert_true(is_integer == (rows[i].integer == NULL));
        if (!is_integer) {
            assert_int_equal(integer, -1);
            assert_memory_equal(err.message, prefix, strlen(prefix));
            assert_string_equal(err.message + strlen(prefix), rows[i].integer);
        }
        const bool is_number = cop_config_f64(&number, node, 1.0, 20.0, &err) == COP_OK;
        assert_true(is_number == (rows[i].number == NULL));
        if (!is_number) {
            assert_true(number == -1.0);
            assert_string_equal(err.message + strlen(prefix), rows[i].number);
        }
        cop_config_destroy(config);
    }
}

static void words_are_converted_strictly(void **state)
{
    (void)state;
    static const char *const words[] = {"grid", "nsga2"};
    cop_error err = {0};
    bool flag = false;
    int choice = -1;
    const char *text = NULL;
    cop_config *config = parse("yes: maybe\ntrue: true\nquoted: \"true\"\nstrategy: nsga\n"
                               "good: 'grid'\nlist: [grid]\nempty: ''\nfar: quantum\n");
    const cop_config_node *root = cop_config_root(config);

    assert_int_equal(cop_config_bool(&flag, cop_config_node_find(root, "yes"), &err),
                     COP_ERR_CONFIG);
    assert_string_equal(err.message, "s.yaml:1:6: yes: is maybe (allowed: true, false)");
    assert_int_equal(cop_config_bool(&flag, cop_config_node_find(root, "true"), &err), COP_OK);
    assert_true(flag);
    assert_int_equal(cop_config_bool(&flag, cop_config_node_find(root, "quoted"), &err),
                     COP_ERR_CONFIG);

    assert_int_equal(
        cop_config_choice(&choice, cop_config_node_find(root, "strategy"), words, 2, &err),
        COP_ERR_CONFIG);
    assert_string_equal(err.message, "s.yaml:4:11: strategy: is nsga (did you mean nsga2? "
                                     "allowed: grid, nsga2)");
    assert_int_equal(cop_config_choice(&choice, cop_config_node_find(root, "good"), words, 2, &err),
                     COP_OK);
    assert_int_equal(choice, 0);
    assert_int_equal(cop_config_choice(&choice, cop_config_node_find(root, "far"), words, 2, &err),
                     COP_ERR_CONFIG);
    assert_string_equal(err.message, "s.yaml:8:6: far: is quantum (allowed: grid, nsga2)");
    assert_int_equal(cop_config_choice(&choice, cop_config_node_find(root, "list"), words, 2, &err),
                     COP_ERR_CONFIG);
    assert_string_equal(err.message, "s.yaml:6:7: list: is a list (allowed: grid, nsga2)");

    assert_int_equal(cop_config_text(&text, cop_config_node_find(root, "quoted"), &err), COP_OK);
    assert_string_equal(text, "true");
    assert_int_equal(cop_config_text(&text, cop_config_node_find(root, "empty"), &err),
                     COP_ERR_CONFIG);
    assert_string_equal(err.message,
                        "s.yaml:7:8: empty: is empty (allowed: a text that is not empty)");
    assert_int_equal(cop_config_fail(root, &err, "%s is missing", "teacher"), COP_ERR_CONFIG);
    assert_string_equal(err.message, "s.yaml:1:1: teacher is missing");
    cop_config_destroy(config);
}

static void survives_every_failed_allocation(void **state)
{
    (void)state;
    static const char yaml[] = "a: {b: [1, 2, {c: d}]}\nlong: 'text'\n";
    static const char *const keys[] = {"a"};
    bool is_done = false;
    size_t failures = 0;
    for (size_t n = 0; !is_done; n++) {
        cop_error err = {0};
        cop_config *config = NULL;
        cop_alloc_fail_after(n);
        const cop_status status = cop_config_parse(&config, "s.yaml", yaml, strlen(yaml), &err);
        if (status == COP_OK) {
            is_done = true;
            cop_alloc_fail_after(0); // a message is made without its list of words
            assert_int_equal(cop_config_check_keys(cop_config_root(config), keys, 1, &err),
                             COP_ERR_CONFIG);
            assert_string_equal(err.message, "s.yaml:2:1: long: unknown key");
        }
        cop_alloc_fail_after(SIZE_MAX);
        cop_config_destroy(config);
        assert_int_equal(cop_alloc_live_blocks(), 0);
        if (!is_done) {
            failures++;
            assert_int_equal(status, COP_ERR_NOMEM);
        }
    }
    assert_true(failures > 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_scalars_lists_and_mappings),
        cmocka_unit_test(refuses_what_is_no_plain_document),
        cmocka_unit_test(limits_hold),
        cmocka_unit_test(an_unknown_key_gets_a_suggestion),
        cmocka_unit_test(numbers_are_converted_strictly),
        cmocka_unit_test(words_are_converted_strictly),
        cmocka_unit_test(survives_every_failed_allocation),
    };
    return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
