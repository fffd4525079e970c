// score and prune, as a user runs them.

#include <jansson.h>
#include <math.h>
#include <string.h>

#include "base/json.h"
#include "tests/cli/program.h"
#include "tests/support.h"

static int make_inputs(void **state)
{
    (void)state;
    program_expect(
        "rm -rf t text.* *.h5 pruned* choice no-scores odd there refused* && "
        "cat $source/base/*.h $source/model/*.h | head -c 40000 > text.txt && "
        "$coppice tokenize text.txt --tokenizer byte -o text.bin >log 2>&1 && "
        "echo '{\"model_type\":\"llama\",\"hidden_size\":48,\"intermediate_size\":96,"
        "\"num_hidden_layers\":3,\"num_attention_heads\":6,\"num_key_value_heads\":2,\"head_dim\":"
        "8,"
        "\"vocab_size\":256,\"max_position_embeddings\":128,\"rms_norm_eps\":1e-5,"
        "\"initializer_range\":0.1,\"tie_word_embeddings\":false}' > arch.json && "
        "$coppice train --arch arch.json --data text.bin -o t --steps 2 --batch 2 --sequence 32 "
        "-q >log 2>&1 && "
        "$coppice score t --data text.bin -o scores.h5 --samples 8 --sequence 32 -q >log",
        0, NULL, NULL);
    return 0;
}

static void score_shows_the_plan_and_a_table(void **state)
{
    (void)state;
    program_expect(
        "rm -f fresh.h5; $coppice score t --data text.bin -o fresh.h5 --samples 8 "
        "--sequence 32 --precision f32",
        0,
        "fresh.h5: written\nlayer*block influence*perplexity without*\n*0 *\n*1 *\n*2 *\n"
        "channels (l2_mean): *\nperplexity of the whole model: *",
        "*teacher: weights*importance: *total*score*8/8*");
    program_expect("$coppice score t --data text.bin -o fresh.h5 --samples 8 --sequence 32 "
                   "--precision f32",
                   0, "fresh.h5: up to date, nothing was measured\n*", "");
}

static void score_prints_json(void **state)
{
    (void)state;
    cop_error err = {0};
    json_t *value = NULL;
    program_result result = program_run(
        "$coppice score t --data text.bin -o scores.h5 --samples 8 --sequence 32 --json");
    assert_int_equal(result.exit_code, 0);
    assert_int_equal(cop_json_parse(&value, "output", result.out, strlen(result.out), &err),
                     COP_OK);
    assert_true(json_is_true(json_object_get(value, "cached")));
    assert_int_equal(json_array_size(json_object_get(value, "layers")), 3);
    assert_int_equal(json_integer_value(json_object_get(value, "samples")), 8);
    assert_int_equal(strlen(json_string_value(json_object_get(value, "key"))), 32);
    json_decref(value);
    program_release(&result);
}

static void score_explains_refusals(void **state)
{
    (void)state;
    program_expect(
        "$coppice score t --data text.bin -o scores.h5 --samples 8 --sequence 16", 1, "",
        "coppice: scores.h5: holds scores of t on text.bin, 8 sequences of 32 tokens in * "
        "(allowed: those of t on text.bin, 8 of 16 in *, a new path, or --force)");
    program_expect("$coppice score t --data text.bin", 2, "",
                   "coppice score: --output is missing\n*");
    program_expect("$coppice score --data text.bin -o x.h5", 2, "",
                   "coppice score: MODEL is missing\n*");
    program_expect("$coppice score t --data text.bin -o x.h5 --samples 0", 2, "",
                   "coppice score: --samples is 0 (allowed: an integer in 1..16777216)\n*");
    program_expect("$coppice score t --data text.bin -o nowhere/x.h5", 1, "", "*nowhere/x.h5*");
    program_expect("$coppice score nowhere --data text.bin -o x.h5", 1, "",
                   "coppice: nowhere: is no directory (allowed: a model directory)");
    program_expect("head -c 100 scores.h5 > broken.h5; "
                   "$coppice score t --data text.bin -o broken.h5 --samples 8 --sequence 32",
                   1, "", "coppice: broken.h5: *");
    program_expect("test -e x.h5", 1, "", "");
}

static void prune_writes_a_model_that_loads(void **state)
{
    (void)state;
    program_expect("$coppice prune t --importance scores.h5 --to "
                   "layers=2,hidden=40,heads=4,kv_heads=2,ffn=64 -o pruned",
                   0,
                   "model*params*architecture\nt *llama 3L 48h 6/2 heads of 8 ffn 96 vocab 256\n"
                   "pruned*llama 2L 40h 4/2 heads of 8 ffn 64 vocab 256\nlayers kept: ? ?",
                   "");
    program_expect("$coppice inspect pruned", 0, "*", "");
    program_expect("grep -a -o 'importance_key' pruned/model.safetensors | head -1", 0,
                   "importance_key", "");
    program_expect("grep -a -o 'teacher_hash' pruned/model.safetensors | head -1", 0,
                   "teacher_hash", "");
    // What was pruned can be scored and pruned again.
    program_expect("$coppice score pruned --data text.bin -o again.h5 --samples 4 --sequence 32 -q",
                   0, "again.h5: written\n*", "");
    program_expect("$coppice prune pruned --importance again.h5 --to ffn=32 -o pruned2", 0, "*",
                   "");
    program_expect(
        "$coppice prune pruned --importance scores.h5 --to ffn=32 -o pruned3", 1, "",
        "coppice: scores.h5: scores of another teacher: t with weights * (allowed: scores "
        "of pruned with weights *; run coppice score on it)");
}

static void prune_takes_every_choice(void **state)
{
    (void)state;
    static const char *const choices[] = {
        "--order random --seed 3",
        "--order reversed",
        "--aggregation var_l2",
        "--depth-metric perplexity",
        "--depth contiguous --keep-ends",
        "--keep-layers 0,2 --drop-layers 1",
        "--carry kept-minus-pruned",
        "--carry pruned-minus-kept --dtype bf16",
        "--dtype f16",
    };
    for (size_t i = 0; i < sizeof choices / sizeof choices[0]; i++) {
        char line[256];
        (void)snprintf(line, sizeof line,
                       "$coppice prune t --importance scores.h5 --to layers=2,heads=4 -o choice "
                       "--force --json %s && $coppice inspect choice >log",
                       choices[i]);
        program_expect(line, 0, "{*\"kept_layers\": \\[*", "");
    }
    program_expect("$coppice prune t --importance scores.h5 --to layers=2 --keep-layers 0 "
                   "--drop-layers 2 -o listed --force",
                   0, "*layers kept: 0 1*", "");
    program_expect("$coppice prune t --order random --to ffn=50 -o no-scores", 0, "*", "");
    program_expect(
        "$coppice prune t --order random --to hidden=43 -o odd", 0, "*",
        "*transformers 5 refuses a Llama config whose hidden size (43) is no multiple of "
        "its heads (6)");
}

static void prune_explains_refusals(void **state)
{
    (void)state;

    static const struct {
        const char *arguments;
        int exit_code;
        const char *want;
    } rows[] = {
        {"--to layers=4", 1, "coppice: target: layers is 4 (allowed: 1..3)"},
        {"--to hidden=49", 1, "coppice: target: hidden is 49 (allowed: 1..48)"},
        {"--to heads=5", 1,
         "coppice: target: heads is 5 with 2 KV groups (allowed: multiples of 2 in 2..6, as the "
         "teacher has 3 heads in each group)"},
        {"--to kv_heads=1", 1,
         "coppice: target: heads is 6 with 1 KV groups (allowed: multiples of 1 in 1..3, as the "
         "teacher has 3 heads in each group)"},
        {"--to heads=2 --carry kept-minus-pruned", 1,
         "coppice: target: heads is 2 with 2 KV groups and carry-over (allowed: 4..6, *"},
        {"--to fnn=5", 2,
         "coppice prune: --to: unknown axis: fnn (did you mean ffn\\? allowed: layers, hidden, "
         "heads, "
         "kv_heads, ffn)\n*"},
        {"--to ffn", 2,
         "coppice prune: --to: 'ffn' (allowed: <axis>=<number>, as in layers=32,hidden=3072)\n*"},
        {"--to ffn=3x", 2, "coppice prune: --to: ffn is 3x (allowed: an integer in 1..1048576)\n*"},
        {"--to ffn=9,ffn=9", 2, "coppice prune: --to: ffn: is given twice\n*"},
        {"--to ffn=9 --order best", 2,
         "coppice prune: --order is best (allowed: importance, random, reversed)\n*"},
        {"--to ffn=9 --aggregation l2", 2, "coppice prune: --aggregation is l2 (allowed: l2_l2, *"},
        {"", 2, "coppice prune: --to is missing\n*"},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char line[256];
        (void)snprintf(line, sizeof line, "$coppice prune t --importance scores.h5 -o refused %s",
                       rows[i].arguments);
        program_expect(line, rows[i].exit_code, "", rows[i].want);
    }
    program_expect("$coppice prune t --to ffn=9 -o refused", 2, "",
                   "coppice prune: --importance is missing\n*");
    program_expect("$coppice prune t --importance scores.h5 --to ffn=9 -o t --force", 1, "",
                   "coppice: t: is the model itself (allowed: another directory)");
    program_expect("mkdir -p there && touch there/file && "
                   "$coppice prune t --importance scores.h5 --to ffn=9 -o there",
                   1, "", "coppice: there: exists already (allowed: a new path, or --force)");
    program_expect("(ulimit -f 20; $coppice prune t --importance scores.h5 --to ffn=90 -o refused)",
                   1, "", "coppice: refused*");
    program_expect("ls -d refused*", 2, "", NULL);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(score_shows_the_plan_and_a_table),
        cmocka_unit_test(score_prints_json),
        cmocka_unit_test(score_explains_refusals),
        cmocka_unit_test(prune_writes_a_model_that_loads),
        cmocka_unit_test(prune_takes_every_choice),
        cmocka_unit_test(prune_explains_refusals),
    };
    return cmocka_run_group_tests(tests, make_inputs, NULL);
}
