// train, distill, eval: from options to a written model, with everything that can go wrong on the way.

#include <stdio.h>
#include <string.h>

#include "tests/cli/program.h"
#include "tests/support.h"

static const char config[] =
    "{\"model_type\": \"llama\", \"architectures\": [\"LlamaForCausalLM\"], \"vocab_size\": 256, "
    "\"hidden_size\": 32, \"intermediate_size\": 64, \"num_hidden_layers\": 2, "
    "\"num_attention_heads\": 4, \"num_key_value_heads\": 2, \"head_dim\": 8, "
    "\"max_position_embeddings\": 64, \"rms_norm_eps\": 1e-5, \"rope_theta\": 10000.0, "
    "\"hidden_act\": \"silu\", \"initializer_range\": 0.02, \"tie_word_embeddings\": false}";

#define TRAIN "$coppice train --arch a.json --data d.bin --batch 4 --sequence 32 --threads 1 -q "

// A configuration, a text, a teacher and a student.
static int make_inputs(void **state)
{
    (void)state;
    (void)scratch_file("a.json", config, strlen(config));
    program_expect("rm -rf t s x x.training d.bin d.json big.json; "
                   "$coppice tokenize $source/LICENSE --tokenizer byte -o d.bin && "
                   "sed s/256/300/ a.json >big.json && " TRAIN "--steps 20 -o t && " TRAIN
                   "--steps 1 --seed 2 -o s && " TRAIN
                   "--arch big.json --steps 1 -o never; test $? = 1 && "
                   "printf '{}' >s/tokenizer.json",
                   0, NULL, NULL);
    return 0;
}

static void wrong_usage_exits_with_two_and_says_why(void **state)
{
    (void)state;

    const struct {
        const char *line;
        const char *err;
    } cases[] = {
        {"$coppice train --data d.bin -o x --steps 1", "*one of --arch and --model is needed*"},
        {"$coppice train --arch a.json --model t --data d.bin -o x --steps 1",
         "*one of --arch and --model is needed*"},
        {"$coppice train --arch a.json -o x --steps 1", "*--data is missing*"},
        {"$coppice train --arch a.json --data d.bin --steps 1", "*-o is missing*"},
        {TRAIN "-o x", "*one of --steps and --tokens is needed*"},
        {TRAIN "-o x --steps 1 --tokens 5", "*one of --steps and --tokens is needed*"},
        {TRAIN "-o x --steps 0.5", "*--steps is 0.5 (allowed: an integer in 1..*"},
        {TRAIN "-o x --steps 1 --schedule linear", "*--schedule is linear (allowed: cosine, "
                                                   "constant)*"},
        {TRAIN "-o x --steps 1 extra", "*too many arguments*"},
        {"$coppice distill --teacher t --data d.bin -o x --steps 1",
         "*--teacher and --student are needed*"},
        {"$coppice distill --teacher t --student s --data d.bin -o x --steps 1 --ce-weight 2",
         "*--ce-weight goes with --loss mixed*"},
        {"$coppice distill --teacher t --student s --data d.bin -o x --steps 1 --state-map 1-2",
         "*--state-map has 1-2 (allowed: emb, TEACHER:STUDENT)*"},
        {"$coppice distill --teacher t --student s --data d.bin -o x --steps 1 --state-map emb "
         "--cache c",
         "*--cache holds final states only: state losses run the teacher*"},
        {"$coppice distill --teacher t --student s --data d.bin -o x --steps 1 --draws 5",
         "*--draws goes with --targets samples*"},
        {"$coppice distill --teacher t --student s --data d.bin -o x --steps 1 --targets samples "
         "--loss ce",
         "*--targets samples goes with the KL of --loss kl or mixed alone*"},
        {"$coppice distill --teacher t --student s --data d.bin -o x --steps 1 --targets samples "
         "--temperature 2",
         "*--targets samples goes with --temperature 1*"},
        {"$coppice distill --teacher t --student s --data d.bin -o x --steps 1 --targets samples "
         "--draws 1025",
         "*--draws is 1025 (allowed: an integer in 1..1024)*"},
        {"$coppice eval", "*the model is missing*"},
        {"$coppice eval t", "*--data is missing*"},
        {"$coppice eval t --latency --teacher t", "*--teacher needs --data*"},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        program_expect(cases[i].line, 2, "", cases[i].err);
    }
    program_expect("test ! -e x", 0, "", "");
}

static void bad_input_fails_with_one_line_and_leaves_nothing(void **state)
{
    (void)state;

    const struct {
        const char *line;
        const char *err;
    } cases[] = {
        {TRAIN "-o x --steps 1 --data none.bin",
         "coppice: none.bin: cannot open: No such file or directory"},
        {TRAIN "-o x --steps 1 --arch big.json",
         "coppice: d.bin: tokenized with a vocabulary of 256, the model has 300"},
        {TRAIN "-o x --steps 1 --micro-batch 3",
         "coppice: --micro-batch: 3 (allowed: divisors of the batch, 4)"},
        {TRAIN "-o x --steps 1 --sequence 65",
         "coppice: --sequence: 65 (allowed: 1..64, the model's context)"},
        {TRAIN "-o t --steps 1", "coppice: t: exists already (allowed: a new path, or --force)"},
        {TRAIN "-o x --steps 1 --sequence 64 --batch 200000 --micro-batch 200000 --precision f32",
         "coppice: train: needs * are free (largest: student: activations *; allowed: *"},
        {"$coppice distill --teacher t --student s --data d.bin -o x --steps 1 --state-map 7:0 "
         "--sequence 32 -q",
         "coppice: state losses: teacher layer is 7 (allowed: 0..1, or -1 for the embedding)"},
        {"$coppice distill --teacher a.json --student s --data d.bin -o x --steps 1 -q",
         "coppice: a.json*"},
        {"$coppice eval t --data d.bin --sequences 100000 --sequence 32",
         "coppice: --sequences: 100000 (allowed: 1..*, what d.bin holds)"},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        program_expect(cases[i].line, 1, "", cases[i].err);
    }
    program_expect("test ! -e x && test ! -e x.training", 0, "", "");
}

static void vocabularies_of_teacher_and_student_must_agree(void **state)
{
    (void)state;
    program_expect("rm -rf wide wide.bin wide.json w.json; sed s/256/300/ a.json >w.json; "
                   "cp d.bin wide.bin; sed 's/\"vocab\": 256/\"vocab\": 300/' d.json >wide.json; "
                   "$coppice train --arch w.json --data wide.bin --steps 1 --batch 1 --sequence 32 "
                   "-q -o wide",
                   0, NULL, "");
    program_expect("$coppice distill --teacher wide --student s --data d.bin -o x --steps 1 -q", 1,
                   "",
                   "coppice: wide: the vocabulary has 300 ids, that of s 256 (allowed: the "
                   "same)");
    program_expect("$coppice eval s --teacher wide --data d.bin", 1, "",
                   "coppice: wide: the vocabulary has 300 ids, that of s 256 (allowed: the same)");
}

static void an_interrupted_run_says_how_to_go_on(void **state)
{
    (void)state;
    program_expect("rm -rf long long.training; "
                   "(exec " TRAIN "-o long --steps 1000000 --save-every 1) & "
                   "while test ! -f long.training/training.json; do :; done; "
                   "kill -INT $!; wait $!",
                   130, "",
                   "coppice: interrupted after step * of 1000000; the same command continues from "
                   "long.training");
    program_expect(TRAIN "-o long --steps 5", 1, "",
                   "coppice: long.training/training.json: steps of the interrupted run is 1000000, "
                   "of this one 5 (allowed: the same options, or another output)");
    program_expect("test ! -e long; rm -r long.training", 0, "", "");
}

// The files differ in the date of their header: the weights are compared.
static void a_killed_run_ends_with_the_same_weights(void **state)
{
    (void)state;
    program_expect("rm -rf whole parts parts.training; " TRAIN "-o whole --steps 120", 0,
                   "whole: 120 steps, 15.4k tokens\nlast training loss *", "");
    program_expect("(exec " TRAIN "-o parts --steps 120 --save-every 10) & "
                   "while test ! -f parts.training/training.json; do :; done; "
                   "kill -KILL $!; wait $!; true",
                   0, NULL, NULL);
    program_expect(TRAIN "-o parts --steps 120 --save-every 10", 0,
                   "parts: 120 steps, 15.4k tokens\n*", "");
    program_expect("test ! -e parts.training; tail -c 90000 whole/model.safetensors >w.bytes; "
                   "tail -c 90000 parts/model.safetensors | cmp - w.bytes",
                   0, "", "");
}

// A limit on the size of files stands for the full disk: write() fails either way.
static void a_model_that_cannot_be_written_is_not_lost(void **state)
{
    (void)state;
    program_expect("rm -rf full full.training; (ulimit -f 8; " TRAIN "--steps 3 -o full)", 1, "",
                   "coppice: warning: *\ncoppice: full*model.safetensors*");
    program_expect("test ! -e full; (ulimit -f 8; " TRAIN "--steps 3 --save-every 1 -o full)", 1,
                   "", "coppice: full.training/training-1.safetensors*");
    program_expect("test ! -e full; " TRAIN "--steps 3 -o full", 0, "full: 3 steps*", "");
    program_expect("ls -d full*", 0, "full", "");
}

static void distillation_writes_a_model_like_its_student(void **state)
{
    (void)state;
    program_expect("rm -rf x y cache; $coppice distill --teacher t --student s --data d.bin "
                   "--validation d.bin --steps 10 --batch 4 --sequence 32 -o x",
                   0,
                   "x: 10 steps, 1.28k tokens\nlast training loss *\nheld-out *\nloss *\nKL to the "
                   "teacher *\ntop-1 agreement *",
                   "device: *\nmemory:\n*  student: weights *\n  total *");
    program_expect("ls x", 0, "config.json\nmodel.safetensors\ntokenizer.json", "");
    program_expect("$coppice distill --teacher t --student s --data d.bin --steps 10 --batch 4 "
                   "--sequence 32 --cache cache --json -q -o y",
                   0, "{*\"steps\": 10,*\"tokens\": 1280,*\"kl\": *}", "");
    program_expect("tail -c 60000 x/model.safetensors >w.bytes; "
                   "tail -c 60000 y/model.safetensors | cmp - w.bytes",
                   0, "", "");
    program_expect("$coppice distill --teacher t --student s --data d.bin --steps 3 --batch 4 "
                   "--sequence 32 --state-loss cosine --loss mixed --force -q -o y",
                   0, "y: 3 steps*", "");
}

static void distillation_from_samples_is_the_same_online_and_cached(void **state)
{
    (void)state;
    program_expect("rm -rf x y cache; $coppice distill --teacher t --student s --data d.bin "
                   "--validation d.bin --targets samples --draws 20 --steps 6 --batch 4 "
                   "--sequence 32 -q -o x",
                   0,
                   "x: 6 steps, 768 tokens\nlast training loss *\nheld-out *\nloss *\nKL to the "
                   "teacher *\ntop-1 agreement *",
                   "");
    program_expect("$coppice distill --teacher t --student s --data d.bin --targets samples "
                   "--draws 20 --steps 6 --batch 4 --sequence 32 --cache cache --json -q -o y",
                   0, "{*\"steps\": 6,*\"kl\": *}", "");
    program_expect("ls cache", 0, "*-samples-0-24.h5", "");
    program_expect("tail -c 60000 x/model.safetensors >w.bytes; "
                   "tail -c 60000 y/model.safetensors | cmp - w.bytes",
                   0, "", "");
}

static void evaluation_prints_estimates_and_latency(void **state)
{
    (void)state;
    program_expect("$coppice eval t --data d.bin --sequence 32 --sequences 5", 0,
                   "t on d.bin: 5 sequences of 32 tokens, *\nmetric *mean *95% interval\n"
                   "loss (nats per token) *..*\nperplexity *..*\ntop-1 accuracy *..*",
                   "");
    program_expect("$coppice eval s --data d.bin --teacher t --sequence 32 --latency --json "
                   "--precision f32",
                   0,
                   "{*\"precision\": \"f32\",*\"loss\": {*\"value\": *\"low\": *\"high\": "
                   "*}*\"perplexity\": *\"agreement\": *\"kl\": *\"teacher_loss\": *\"latency\": "
                   "{*\"median_ms\": *\"repeats\": *}*}",
                   "");
    // KL to itself: 0 but for rounding. The teacher runs whole batches, the student the 3 sequences
    // there are, and a product over other rows may have other bits: with several threads OpenBLAS
    // cuts it elsewhere.
    program_expect("$coppice eval t --data d.bin --teacher t --sequence 32 --sequences 3 --json | "
                   "grep -cE '\"value\": (0\\.0,|[0-9.]+e-(0[7-9]|[1-9][0-9]),)'",
                   0, "1", "");
}

static void a_device_is_chosen_by_name(void **state)
{
    (void)state;
    program_expect("rm -rf r r.h5; " TRAIN "--steps 2 -o r --device reference --json", 0,
                   "{*\"device\": \"reference: *\",*\"precision\": \"f32\",*}", "");
    program_expect("$coppice eval r --data d.bin --sequence 32 --sequences 2 --device reference", 0,
                   "r on d.bin: 2 sequences of 32 tokens, f32, reference: *", "");
    program_expect("$coppice eval r --data d.bin --sequence 32 --sequences 2 --device cpu --json",
                   0, "{*\"device\": \"cpu: *", "");
    program_expect("$coppice score r --data d.bin --sequence 32 --samples 2 --device reference "
                   "--json --force -o r.h5",
                   0, "{*\"device\": \"reference: *\",*\"precision\": \"f32\",*}",
                   "device: reference: *");
}

static void a_device_that_is_not_there_fails_with_one_line(void **state)
{
    (void)state;
    static const char *const commands[] = {
        TRAIN "-o none --steps 1",
        "$coppice distill --teacher t --student s --data d.bin -o none --steps 1",
        "$coppice score t --data d.bin -o none.h5",
        "$coppice eval t --data d.bin",
    };
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        char line[256];
        (void)snprintf(line, sizeof line, "COP_CUDA_PLUGIN=/nowhere/x.so %s --device cuda",
                       commands[i]);
        program_expect(line, 1, "",
                       "coppice: cuda: plugin: /nowhere/x.so: cannot open shared object file: *");
        (void)snprintf(line, sizeof line, "%s --device tpu", commands[i]);
        program_expect(line, 2, "",
                       "coppice *: --device is tpu (allowed: auto, cpu, cuda, cuda:<device>, "
                       "reference)\nTry *");
        (void)snprintf(line, sizeof line, "%s --device cuda:-1", commands[i]);
        program_expect(line, 2, "", "coppice *: --device is cuda:-1 (allowed: *");
    }
    program_expect("test ! -e none && test ! -e none.training && test ! -e none.h5", 0, "", "");
}

// Without a word where there is no GPU at all, with one line where a GPU cannot be used.
static void the_cpu_is_used_where_no_gpu_works(void **state)
{
    (void)state;
    program_expect("COP_CUDA_PLUGIN=/nowhere/x.so $coppice eval t --data d.bin --sequence 32 "
                   "--sequences 2 --json >auto.json 2>auto.err && "
                   "grep -q '\"device\": \"cpu: ' auto.json && "
                   "if test -e /dev/nvidia0; then grep -q 'the CPU is used: cuda: plugin: "
                   "/nowhere/x.so: ' auto.err; else test ! -s auto.err; fi",
                   0, "", "");
}

static void several_models_share_one_table(void **state)
{
    (void)state;
    program_expect("$coppice eval t s --data d.bin --teacher t --sequence 32 --sequences 3", 0,
                   "model *params *loss *95% interval *perplexity *KL to teacher *agreement\n"
                   "t *0.0000 *100.0%\ns *%",
                   "");
    program_expect("$coppice eval t s --data d.bin --sequence 32 --sequences 3 --json", 0,
                   "{*\"models\": [*\"model\": \"t\"*\"model\": \"s\"*]*}", "");
    // What was measured before a failure is shown.
    program_expect("$coppice eval t missing --data d.bin --sequence 32 --sequences 3", 1,
                   "model *\nt *", "coppice: missing: *");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_usage_exits_with_two_and_says_why),
        cmocka_unit_test(bad_input_fails_with_one_line_and_leaves_nothing),
        cmocka_unit_test(vocabularies_of_teacher_and_student_must_agree),
        cmocka_unit_test(an_interrupted_run_says_how_to_go_on),
        cmocka_unit_test(a_killed_run_ends_with_the_same_weights),
        cmocka_unit_test(a_model_that_cannot_be_written_is_not_lost),
        cmocka_unit_test(distillation_writes_a_model_like_its_student),
        cmocka_unit_test(distillation_from_samples_is_the_same_online_and_cached),
        cmocka_unit_test(evaluation_prints_estimates_and_latency),
        cmocka_unit_test(a_device_is_chosen_by_name),
        cmocka_unit_test(a_device_that_is_not_there_fails_with_one_line),
        cmocka_unit_test(the_cpu_is_used_where_no_gpu_works),
        cmocka_unit_test(several_models_share_one_table),
    };
    return cmocka_run_group_tests_name("training", tests, make_inputs, NULL);
}
