// space, plan and the mistakes of search, as users see them.

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "tests/cli/program.h"
#include "tests/support.h"

#define STUDIES "$source/configs/studies/"

static json_t *run_json(const char *line)
{
    json_t *value = NULL;
    cop_error err = {0};
    program_result result = program_run(line);
    assert_string_equal(result.err, "");
    assert_int_equal(result.exit_code, 0);
    assert_int_equal(cop_json_parse(&value, line, result.out, strlen(result.out), &err), COP_OK);
    program_release(&result);
    return value;
}

static int64_t integer(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    assert_true(json_is_integer(value));
    return json_integer_value(value);
}

static void space_gives_programs_every_promised_key(void **state)
{
    (void)state;
    static const char *const keys[] = {
        "id",  "layers", "hidden",       "heads",           "kv_heads", "head_dim",
        "ffn", "params", "memory_bytes", "flops_per_token", "values",   "params_non_embedding"};
    json_t *space = run_json("$coppice space " STUDIES "minitron-8b.yaml --json");
    const json_t *candidates = json_object_get(space, "candidates");
    assert_int_equal(integer(space, "size"), 160);
    assert_int_equal(integer(space, "feasible"), 15);
    assert_int_equal(json_array_size(candidates), 15);
    for (size_t i = 0; i < 15; i++) {
        const json_t *candidate = json_array_get(candidates, i);
        for (size_t k = 0; k < sizeof keys / sizeof keys[0]; k++) {
            assert_non_null(json_object_get(candidate, keys[k]));
        }
    }
    // The published Minitron 8B is the last of them.
    const json_t *last = json_array_get(candidates, 14);
    assert_string_equal(json_string_value(json_object_get(last, "id")), "L32-C4096-H48-K8-F16384");
    assert_int_equal(integer(last, "params"), 8271699968);
    const json_t *values = json_object_get(last, "values");
    assert_int_equal(integer(values, "layers"), 32);
    assert_true(json_real_value(json_object_get(values, "ffn_ratio")) == 4.0);
    json_decref(space);

    space = run_json("$coppice space " STUDIES "minitron-4b.yaml --json");
    assert_int_equal(integer(space, "size"), 240);
    assert_int_equal(integer(space, "feasible"), 18);
    json_decref(space);
}

static void space_prints_a_table(void **state)
{
    (void)state;
    program_expect("$coppice space " STUDIES "minitron-8b.yaml", 0,
                   "layers  hidden  heads *\n*8271699968 *\n15 of 160 grid points are feasible\n"
                   "  params >= 7800000000 excludes 39, 39 of them alone\n"
                   "  params <= 8500000000 excludes 106, 106 of them alone",
                   "");
}

#define MODELS "$source/configs/models/"

static void layers_that_choose_by_themselves_have_blocks(void **state)
{
    (void)state;
    json_t *space = run_json("printf \"teacher: " MODELS "nemotron-4-15b.json\\nspace: {layers: 2, "
                             "ffn@layer: [24576, 8192]}\\n\" > layered.yaml;"
                             " $coppice space layered.yaml --json 2>&1 | grep -v ^coppice");
    const json_t *candidates = json_object_get(space, "candidates");
    assert_int_equal(integer(space, "size"), 4);
    assert_int_equal(json_array_size(candidates), 4);
    const json_t *first = json_array_get(candidates, 0);
    assert_string_equal(json_string_value(json_object_get(first, "id")), "L2-C6144-H48-K8-F24576");
    assert_null(json_object_get(first, "blocks"));
    const json_t *second = json_array_get(candidates, 1);
    const json_t *block = json_array_get(json_object_get(second, "blocks"), 1);
    assert_int_equal(json_integer_value(json_array_get(block, 2)), 8192);
    assert_int_equal(integer(second, "ffn"), 16384);
    json_decref(space);
    program_expect("$coppice space layered.yaml", 0,
                   "layers *~16384 *\n4 of 4 grid points are feasible",
                   "*2 candidates have layers that differ in size: *");
}

static void a_space_beyond_any_list_is_told_by_its_size(void **state)
{
    (void)state;
    program_expect("printf \"teacher: " MODELS "nemotron-4-15b.json\\nspace: {ffn@layer: {divisor: "
                   "1024, max_cut: 0.4}}\\nbudget: {params: {max: 8e9}}\\n\" > huge.yaml;"
                   " $coppice space huge.yaml",
                   0,
                   "100000000000000000000000000000000 grid points, about 10^32.0: *\n  params <= "
                   "8000000000",
                   "");
    json_t *space = run_json("$coppice space huge.yaml --json");
    assert_string_equal(json_string_value(json_object_get(space, "size")),
                        "100000000000000000000000000000000");
    assert_true(json_is_null(json_object_get(space, "feasible")));
    assert_int_equal(json_array_size(json_object_get(space, "candidates")), 0);
    json_decref(space);
}

static void plan_says_what_a_search_costs(void **state)
{
    (void)state;
    program_expect("$coppice plan " STUDIES "minitron-8b.yaml --peak 790e12", 0,
                   "15 of 160 grid points are feasible\n\nstage *\nteacher: *\n0: pruned loss *\n"
                   "1: rung 1 *\n2: rung 2 *\n3: rung 3 *\nall *\n\nat 474T FLOP/s: 60 % of a "
                   "matmul peak of 790T FLOP/s in bf16\nall candidates to the last rung: 122M "
                   "tokens, 4.4 times as many\ndisk: *\nmemory of the teacher's pass: *\nmemory of "
                   "the largest probe, L32-C5120-H32-K8-F12800, *\n*total *",
                   "");
    json_t *plan = run_json("$coppice plan " STUDIES "minitron-4b.yaml --peak 790e12 --json");
    assert_int_equal(integer(plan, "feasible"), 18);
    assert_int_equal(json_array_size(json_object_get(plan, "stages")), 4);
    assert_true(integer(json_object_get(plan, "memory"), "total_bytes") > INT64_C(4190509056) * 16);
    json_decref(plan);
}

static void mistakes_are_one_line(void **state)
{
    (void)state;
    program_expect("printf 'teacher: t\\nprobe: {keep: 0.3x}\\n' > bad.yaml;"
                   " $coppice space bad.yaml",
                   1, "",
                   "coppice: bad.yaml:2:15: probe.keep: is 0.3x (allowed: a number in 1e-06..1)");
    program_expect("printf 'teacher: t\\n' > bare.yaml; $coppice search bare.yaml", 1, "",
                   "coppice: bare.yaml:1:1: the key data.train is missing");
    program_expect("$coppice plan bare.yaml", 1, "",
                   "coppice: bare.yaml: the key probe.rungs is missing");
    program_expect("$coppice space bare.yaml", 1, "", "coppice: t*");
    program_expect("$coppice space missing.yaml", 1, "", "coppice: missing.yaml: *");
    program_expect("$coppice space", 2, "", "coppice space: the study file is missing*");
    program_expect("$coppice space a b", 2, "",
                   "coppice space: one study file is expected, and \"b\" is another*");
    program_expect("$coppice plan " STUDIES "minitron-8b.yaml --efficiency 2", 2, "",
                   "coppice plan: *--efficiency*");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(space_gives_programs_every_promised_key),
        cmocka_unit_test(space_prints_a_table),
        cmocka_unit_test(layers_that_choose_by_themselves_have_blocks),
        cmocka_unit_test(a_space_beyond_any_list_is_told_by_its_size),
        cmocka_unit_test(plan_says_what_a_search_costs),
        cmocka_unit_test(mistakes_are_one_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
