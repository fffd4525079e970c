// status, report and pick on a study that the program itself has run.

#include <jansson.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"
#include "search/store.h"
#include "tests/cli/program.h"
#include "tests/run/tiny_study.h"
#include "tests/support.h"

static int run_study(void **state)
{
    (void)state;
    static const char *const leftovers[] = {"tiny", "picked", "picked-distilled", "other", "kept"};
    for (size_t i = 0; i < sizeof leftovers / sizeof leftovers[0]; i++) {
        cop_error err = {0};
        assert_int_equal(cop_file_remove_tree(leftovers[i], &err), COP_OK);
    }
    tiny_study_make("tiny", COP_FAMILY_LLAMA, 1);
    program_expect("$coppice search -q tiny/study.yaml -o tiny/run --device cpu >/dev/null", 0, "",
                   "");
    return 0;
}

static json_t *run_json(const char *line)
{
    json_t *value = NULL;
    cop_error err = {0};
    program_result result = program_run(line);
    assert_int_equal(result.exit_code, 0);
    assert_string_equal(result.err, "");
    assert_int_equal(cop_json_parse(&value, line, result.out, strlen(result.out), &err), COP_OK);
    program_release(&result);
    return value;
}

static void a_study_stays_on_its_backend(void **state)
{
    (void)state;
    cop_store *store = NULL;
    char *value = NULL;
    cop_error err = {0};
    assert_int_equal(cop_store_open(&store, "tiny/run", COP_STORE_READ, &err), COP_OK);
    assert_int_equal(cop_store_get(store, "backend", &value, &err), COP_OK);
    assert_string_equal(value, "cpu");
    cop_free(value);
    assert_int_equal(cop_store_get(store, "device", &value, &err), COP_OK);
    assert_true(strncmp(value, "f32: OpenBLAS ", strlen("f32: OpenBLAS ")) == 0);
    cop_free(value);
    cop_store_destroy(store);
    static const char *const options[] = {"--device", "--backend", "-b"};
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
        char line[128];
        (void)snprintf(line, sizeof line, "$coppice search -q tiny/study.yaml -o tiny/run %s %s",
                       options[i], "reference");
        program_expect(line, 1, "",
                       "coppice: tiny/run: its results were computed by the backend cpu, this one "
                       "is reference (allowed: --device cpu, or another directory)");
    }
    program_expect("$coppice search tiny/study.yaml -o tiny/run --device tpu", 2, "",
                   "coppice search: --device is tpu (allowed: auto, cpu, cuda, cuda:<device>, "
                   "reference)\n*");
}

static void a_plan_names_its_device(void **state)
{
    (void)state;
    program_expect("$coppice plan tiny/study.yaml --device cpu", 0,
                   "*matmul peak of * FLOP/s in * on cpu: *", "");
    json_t *plan = run_json("$coppice plan tiny/study.yaml --device reference --peak 1e9 --json");
    const char *device = json_string_value(json_object_get(plan, "device"));
    assert_true(strncmp(device, "reference: ", strlen("reference: ")) == 0);
    json_decref(plan);
    program_expect("COP_CUDA_PLUGIN=/nowhere/x.so $coppice plan tiny/study.yaml --device cuda", 1,
                   "", "coppice: cuda: plugin: /nowhere/x.so: cannot open shared object file: *");
}

static void status_tells_how_far_it_is(void **state)
{
    (void)state;
    program_expect("$coppice status tiny/run", 0,
                   "tiny/run: finished\nstage  *\npruned *\nrung 1 *\nrung 2 *\nbest  *\nspent  *",
                   "");
    json_t *status = run_json("$coppice status tiny/run --json");
    assert_string_equal(json_string_value(json_object_get(status, "state")), "finished");
    assert_true(json_is_null(json_object_get(status, "running")));
    assert_true(json_is_null(json_object_get(status, "eta_seconds")));
    assert_int_equal(json_array_size(json_object_get(status, "stages")), 3);
    json_decref(status);
}

static void status_does_not_need_the_search_to_stop(void **state)
{
    (void)state;
    cop_store *owner = NULL;
    cop_error err = {0};
    assert_int_equal(cop_store_open(&owner, "tiny/run", COP_STORE_OWN, &err), COP_OK);
    program_expect("$coppice status tiny/run", 0, "tiny/run: running by process * on * since *",
                   "");
    program_expect("$coppice search -q tiny/study.yaml -o tiny/run", 1, "",
                   "coppice: tiny/run/study.lock: the study is in use by process *");
    cop_store_destroy(owner);
}

static void report_writes_three_files_and_replaces_them(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        program_expect("$coppice report tiny/run", 0,
                       "rung 2, *\nrank *\n1 *pick  *\nwritten: tiny/run/report.html, *", "");
    }
    program_expect("cd tiny/run && head -c 15 report.html && head -c 9 candidates.csv", 0,
                   "<!DOCTYPE html>id,stage,", "");
    json_t *printed = run_json("$coppice report tiny/run --json");
    json_t *written = NULL;
    cop_error err = {0};
    assert_int_equal(cop_json_read(&written, "tiny/run/report.json", (size_t)1 << 26, &err),
                     COP_OK);
    assert_true(json_equal(printed, written));
    json_decref(printed);
    json_decref(written);
}

static void pick_names_one_and_says_why(void **state)
{
    (void)state;
    program_expect("$coppice pick tiny/run", 0,
                   "L*\n  * layers, hidden *\n  why: *KL to the teacher after *\n"
                   "  runner-up: L*\n\nrung 2, *\nrank *",
                   "");
    json_t *pick = run_json("$coppice pick tiny/run --json");
    static const char *const keys[] = {"id",       "layers",   "hidden",    "heads",
                                       "kv_heads", "head_dim", "ffn",       "params",
                                       "metrics",  "reason",   "runner_up", "values"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        assert_non_null(json_object_get(pick, keys[i]));
    }
    json_decref(pick);
}

static void pick_keeps_to_limits(void **state)
{
    (void)state;
    json_t *all = run_json("$coppice pick tiny/run --json");
    char line[128];
    const json_int_t params = json_integer_value(json_object_get(all, "params"));
    (void)snprintf(line, sizeof line, "$coppice pick tiny/run --json --under params=%lld",
                   (long long)(params - 1));
    json_t *smaller = run_json(line);
    assert_true(json_integer_value(json_object_get(smaller, "params")) < params);
    json_decref(all);
    json_decref(smaller);
    program_expect("$coppice pick tiny/run --under params=1", 1, "",
                   "coppice: pick: no candidate has params <= 1 (nearest: L* with *)");
    program_expect("$coppice pick tiny/run --under parms=1", 1, "",
                   "coppice: limit: unknown quantity: parms; did you mean params\\? *");
    program_expect("$coppice pick tiny/run --under params", 2, "",
                   "coppice pick: --under: 'params' (allowed: <name>=<number>, as in *");
    program_expect("$coppice pick tiny/run --under params=4x", 2, "",
                   "coppice pick: --under: params is 4x *");
}

static void pick_writes_a_model_that_trains_on(void **state)
{
    (void)state;
    program_expect("$coppice pick tiny/run -o picked", 0,
                   "*  written: picked, with retrain.yaml\n\nretrain it with\n  coppice distill "
                   "--teacher /*/tiny/teacher --student /*/picked *",
                   "");
    json_t *pick = run_json("$coppice pick tiny/run --json");
    json_t *model = run_json("$coppice inspect picked --json");
    assert_int_equal(json_integer_value(json_object_get(model, "params")),
                     json_integer_value(json_object_get(pick, "params")));
    json_decref(pick);
    json_decref(model);
    program_expect("$coppice pick tiny/run -o picked", 1, "",
                   "coppice: picked: exists already (allowed: *");
    program_expect("$coppice pick tiny/run -o picked --force >/dev/null", 0, "", "");
    program_expect("$coppice pick tiny/run -o tiny/run --force", 1, "",
                   "coppice: tiny/run: is the study itself *");
    program_expect("$coppice pick tiny/run -o tiny/teacher --force", 1, "",
                   "coppice: tiny/teacher: is the teacher *");
    // The recipe's own command, but short.
    program_expect("sed -n 's/^command: \"coppice \\(.*\\)\"$/\\1/p' picked/retrain.yaml | "
                   "sed 's/--tokens [0-9]*/--steps 2/' >command && test -s command && "
                   "sh -c \"$coppice $(cat command) -q\" >/dev/null 2>&1 && "
                   "test -f picked-distilled/config.json",
                   0, "", "");
}

static void pick_refuses_another_teacher(void **state)
{
    (void)state;
    program_expect("cp -r tiny/teacher kept && "
                   "printf 'x' | dd of=tiny/teacher/model.safetensors bs=1 conv=notrunc seek=$(( "
                   "$(stat -c %s tiny/teacher/model.safetensors) - 3 )) 2>/dev/null",
                   0, "", "");
    program_expect("$coppice pick tiny/run -o other", 1, "",
                   "coppice: /*/tiny/teacher: is not the teacher of tiny/run: its hash is * "
                   "(allowed: *)");
    program_expect("rm -r tiny/teacher && mv kept tiny/teacher && test ! -e other", 0, "", "");
}

// A study whose candidates the surrogate proposes, learning from the first rung.
static void what_a_strategy_does_is_shown(void **state)
{
    (void)state;
    tiny_study_write("tiny", "search: {strategy: grid, seed: 3}",
                     "search: {strategy: surrogate, seed: 3, population: 6, batch: 3, "
                     "evaluations: 12, fidelity: 1}");
    program_expect(
        "$coppice plan tiny/study.yaml --peak 1e9", 0,
        "* of 36 grid points are feasible\nsurrogate proposes 12 of them and learns from "
        "rung 1\n\nstage *\n0: pruned loss * 12 *\n1: rung 1 * 12 *\n2: rung 2 * 5 *"
        "all proposed candidates to the last rung: * times as many\nall feasible "
        "candidates to the last rung: * times as many\n*",
        "");
    program_expect("$coppice search -q tiny/study.yaml -o tiny/proposed --device cpu >/dev/null", 0,
                   "", "");
    program_expect(
        "$coppice status tiny/proposed", 0,
        "tiny/proposed: finished\nstage  *\npruned * 12/12 *\nrung 1 * 12/12 *\nrung 2 "
        "* 5/5 *\nsearch   surrogate, batch *, 12 of 12 candidates evaluated\n"
        "model    loss: * predictions, *\nbest  *\nfront    * of 5 candidates *\nspent  *",
        "");
    program_expect("$coppice report tiny/proposed", 0,
                   "*\nsurrogate, seed 3: 12 candidates in * batches\nsurrogate's loss: * "
                   "predictions, *\ntau-b with the stage before *\nhypervolume *\n*",
                   "");
    json_t *status = run_json("$coppice status tiny/proposed --json");
    const json_t *search = json_object_get(status, "search");
    assert_int_equal(json_integer_value(json_object_get(search, "planned")), 12);
    assert_int_equal(json_integer_value(json_object_get(search, "evaluated")), 12);
    assert_int_equal(json_integer_value(json_object_get(search, "fidelity")), 1);
    json_t *report = run_json("$coppice report tiny/proposed --json");
    const json_t *study = json_object_get(report, "study");
    const json_t *loss = json_object_get(json_object_get(study, "surrogate"), "loss");
    const json_int_t batches = (json_int_t)json_array_size(json_object_get(study, "proposals"));
    assert_int_equal(json_integer_value(json_object_get(search, "batches")), batches);
    assert_true(json_integer_value(json_object_get(loss, "n")) > 0);
    assert_true(json_is_number(json_object_get(loss, "rmse")));
    assert_true(
        json_equal(json_object_get(study, "surrogate"), json_object_get(search, "surrogate")));
    const json_t *list = json_object_get(report, "candidates");
    assert_int_equal(json_array_size(list), 12);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *c = json_array_get(list, i);
        const json_t *mass = json_object_get(c, "importance_mass");
        const double layers = json_number_value(json_object_get(mass, "layers"));
        assert_int_equal(json_object_size(mass), 5);
        assert_true(layers > 0 && layers <= 1);
        // All of the teacher's four layers, or fewer.
        assert_int_equal(layers > 1 - 1e-9, json_integer_value(json_object_get(c, "layers")) == 4);
        assert_true(json_is_integer(json_object_get(c, "batch")));
    }
    json_decref(report);

    // Without the scores there is no importance, and still a report.
    program_expect("mv tiny/proposed/importance.h5 kept.h5 && $coppice report tiny/proposed --json "
                   ">without.json && mv kept.h5 tiny/proposed/importance.h5 && grep -c "
                   "'\"importance_mass\": null' without.json",
                   0, "12", "");
    json_decref(status);
    tiny_study_write("tiny", NULL, NULL);
}

static void wrong_directories_are_explained(void **state)
{
    (void)state;
    static const char *const commands[] = {"status", "report", "pick"};
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        char line[64];
        (void)snprintf(line, sizeof line, "$coppice %s nowhere", commands[i]);
        program_expect(line, 1, "",
                       "coppice: nowhere/study.db: does not exist (allowed: the directory of a "
                       "study, made by `coppice search`)");
        (void)snprintf(line, sizeof line, "$coppice %s", commands[i]);
        program_expect(line, 2, "", "coppice *: the study directory is missing\n*");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_study_stays_on_its_backend),
        cmocka_unit_test(a_plan_names_its_device),
        cmocka_unit_test(status_tells_how_far_it_is),
        cmocka_unit_test(status_does_not_need_the_search_to_stop),
        cmocka_unit_test(report_writes_three_files_and_replaces_them),
        cmocka_unit_test(pick_names_one_and_says_why),
        cmocka_unit_test(pick_keeps_to_limits),
        cmocka_unit_test(pick_writes_a_model_that_trains_on),
        cmocka_unit_test(pick_refuses_another_teacher),
        cmocka_unit_test(what_a_strategy_does_is_shown),
        cmocka_unit_test(wrong_directories_are_explained),
    };
    return cmocka_run_group_tests(tests, run_study, NULL);
}
