// inspect: what users and programs read off a model.

#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "tests/cli/program.h"
#include "tests/support.h"

static json_t *inspect(const char *arguments)
{
    char line[256];
    json_t *json = NULL;
    cop_error err = {0};
    (void)snprintf(line, sizeof line, "$coppice inspect %s --json", arguments);
    program_result result = program_run(line);
    assert_string_equal(result.err, "");
    assert_int_equal(result.exit_code, 0);
    assert_int_equal(cop_json_parse(&json, "stdout", result.out, strlen(result.out), &err), COP_OK);
    program_release(&result);
    return json;
}

static int64_t integer(const json_t *json, const char *key)
{
    const json_t *value = json_object_get(json, key);
    assert_true(json_is_integer(value));
    return json_integer_value(value);
}

// The totals are those of the papers: arXiv 2407.14679 and 2408.11796.
static void counts_the_published_shapes_exactly(void **state)
{
    (void)state;

    static const struct {
        const char *name;
        int64_t params;
        int64_t params_non_embedding;
    } rows[] = {
        {"nemotron-4-15b", 15628775424, 12483047424},
        {"minitron-8b", 8271699968, 6174547968},
        {"minitron-4b", 4190509056, 2617645056},
        {"llama-3.1-minitron-4b-width", 4512746496, 3724741632},
        {"llama-3.1-minitron-4b-depth", 4540469248, 3489796096},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char path[128];
        (void)snprintf(path, sizeof path, "$source/configs/models/%s.json", rows[i].name);
        json_t *json = inspect(path);
        assert_int_equal(integer(json, "params"), rows[i].params);
        assert_int_equal(integer(json, "params_non_embedding"), rows[i].params_non_embedding);
        json_decref(json);
    }
}

static void gives_programs_every_promised_key(void **state)
{
    (void)state;
    json_t *json = inspect("$source/configs/models/minitron-8b.json --batch 8 --sequence 8192");
    assert_string_equal(json_string_value(json_object_get(json, "family")), "nemotron");
    assert_int_equal(integer(json, "layers"), 32);
    assert_int_equal(integer(json, "hidden"), 4096);
    assert_int_equal(integer(json, "heads"), 48);
    assert_int_equal(integer(json, "kv_heads"), 8);
    assert_int_equal(integer(json, "head_dim"), 128);
    assert_int_equal(integer(json, "ffn"), 16384);
    assert_int_equal(integer(json, "vocab"), 256000);
    assert_true(json_is_false(json_object_get(json, "tied")));
    // 2 * (matrices + head) + 4 * sequence * layers * heads * head_dim, without the norms.
    const int64_t matmul = 6174547968 - 2LL * 4096 * (2 * 32 + 1) + 256000LL * 4096;
    assert_int_equal(integer(json, "flops_per_token"), 2 * matmul + 4LL * 8192 * 32 * 48 * 128);
    const json_t *memory = json_object_get(json, "memory");
    const int64_t kv_bytes = 2LL * 8 * 8192 * 32 * 8 * 128 * 2;
    assert_int_equal(integer(memory, "weights_bytes"), 2 * 8271699968);
    assert_int_equal(integer(memory, "kv_cache_bytes"), kv_bytes);
    assert_int_equal(integer(memory, "total_bytes"), 2 * 8271699968 + kv_bytes);
    json_decref(json);
}

static void counts_in_the_types_that_are_asked_for(void **state)
{
    (void)state;
    json_t *json = inspect("$source/configs/models/minitron-4b.json --weights f32 --kv f32");
    const json_t *memory = json_object_get(json, "memory");
    assert_int_equal(integer(memory, "weights_bytes"), 4 * 4190509056);
    assert_int_equal(integer(memory, "kv_cache_bytes"), 2LL * 4096 * 32 * 8 * 128 * 4);
    json_decref(json);
}

static void shows_people_a_table(void **state)
{
    (void)state;
    program_expect("$coppice inspect $source/configs/models/minitron-8b.json", 0,
                   "*nemotron\nshape\n  32 layers, hidden 4096, 48 heads of 128 in 8 groups, ffn "
                   "16384, vocabulary 256000\n*8,271,699,968  8.27B\n*6,174,547,968  6.17B\n*",
                   "");
}

static void checks_the_weights_of_a_directory(void **state)
{
    (void)state;
    program_expect("$coppice inspect $source/tests/golden/llama", 0,
                   "*weights\n  21 tensors, all there, stored as f32", "");
    program_expect("cp -r $source/tests/golden/llama cut && "
                   "head -c 100000 $source/tests/golden/llama/model.safetensors "
                   ">cut/model.safetensors; $coppice inspect cut",
                   1, "", "coppice: cut/model.safetensors: *: data_offsets are *");
    program_expect("sed 's/\"hidden_size\": 48/\"hidden_size\": 60/' "
                   "$source/tests/golden/llama/config.json >cut/config.json; "
                   "cp $source/tests/golden/llama/model.safetensors cut; $coppice inspect cut",
                   1, "",
                   "coppice: cut/model.safetensors: *: shape is \\[*\\] (allowed: \\[*\\], which "
                   "follows from config.json)");
    program_expect("rm cut/model.safetensors; $coppice inspect cut", 0, "*shape\n*", "");
}

static void explains_what_it_cannot_read(void **state)
{
    (void)state;
    program_expect("$coppice inspect nowhere", 1, "",
                   "coppice: nowhere: cannot open: No such file or directory");
    program_expect("echo '{\"model_type\": \"gpt2\"}' >gpt.json; $coppice inspect gpt.json", 1, "",
                   "coppice: gpt.json: model_type is 'gpt2' (allowed: llama, nemotron)");
    program_expect("echo '{' >bad.json; $coppice inspect bad.json", 1, "",
                   "coppice: bad.json:2:0: string or '}' expected near end of file");
    program_expect("$coppice inspect", 2, "", "coppice inspect: MODEL is missing\n*");
    program_expect("$coppice inspect a b", 2, "",
                   "coppice inspect: more than one MODEL is given\n*");
    program_expect("$coppice inspect a --batch 0", 2, "",
                   "coppice inspect: --batch is 0 (allowed: an integer in 1..1048576)\n*");
    program_expect("$coppice inspect a --kv int8", 2, "",
                   "coppice inspect: --kv is int8 (allowed: f32, bf16)\n*");
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_the_published_shapes_exactly),
        cmocka_unit_test(gives_programs_every_promised_key),
        cmocka_unit_test(counts_in_the_types_that_are_asked_for),
        cmocka_unit_test(shows_people_a_table),
        cmocka_unit_test(checks_the_weights_of_a_directory),
        cmocka_unit_test(explains_what_it_cannot_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
