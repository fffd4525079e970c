// plan: what a search will cost before it starts.

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cli/trial_view.h"
#include "kernels/peak.h"
#include "search/search.h"

typedef struct arguments {
    cop_cli_common common;
    const char *study;
    double peak; // FLOP/s; 0: measured
    bool is_measured;
    double efficiency;     // share of the peak
    uint64_t device_bytes; // 0: those of the device
} arguments;

static const double measure_seconds = 1.0;

enum { KEY_PEAK = 256, KEY_EFFICIENCY, KEY_DEVICE_MEMORY };

// "139GiB", "80GB" or bytes.
static uint64_t parse_bytes(const struct argp_state *state, const char *text)
{
    static const struct {
        const char *name;
        double bytes;
    } units[] = {{"GiB", 1073741824.0}, {"GB", 1e9}, {"MiB", 1048576.0}, {"MB", 1e6}};

    char number[32];
    size_t length = strlen(text);
    double unit = 1.0;
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        const size_t name = strlen(units[i].name);
        if (length > name && strcmp(text + length - name, units[i].name) == 0) {
            unit = units[i].bytes;
            length -= name;
            break;
        }
    }
    (void)snprintf(number, sizeof number, "%.*s", (int)length, text);
    return (uint64_t)(unit * cop_cli_real(state, "--device-memory", number, 1e-3, 1e15 / unit));
}

// NOLINTBEGIN(concurrency-mt-unsafe): argp ends the program before any thread exists
static error_t parse(int key, char *text, struct argp_state *state)
{
    arguments *given = state->input;

    switch (key) {
    case KEY_PEAK: given->peak = cop_cli_real(state, "--peak", text, 1e6, 1e21); return 0;
    case KEY_EFFICIENCY:
        given->efficiency = cop_cli_real(state, "--efficiency", text, 0.01, 1.0);
        return 0;
    case KEY_DEVICE_MEMORY: given->device_bytes = parse_bytes(state, text); return 0;
    case ARGP_KEY_INIT: cop_cli_pass_common(state, &given->common); return 0;
    case ARGP_KEY_ARG:
        if (given->study != NULL) {
            argp_error(state, "one study file is expected, and \"%s\" is another", text);
        }
        given->study = text;
        return 0;
    case ARGP_KEY_NO_ARGS: argp_error(state, "the study file is missing"); return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

// NOLINTEND(concurrency-mt-unsafe)

static json_t *memory_json(const cop_plan *plan)
{
    json_t *lines = json_object();
    for (int i = 0; i < plan->count; i++) {
        (void)json_object_set_new(lines, plan->line[i].name,
                                  json_integer((json_int_t)plan->line[i].bytes));
    }
    return json_pack("{s:I, s:o}", "total_bytes", (json_int_t)cop_plan_total(plan), "lines", lines);
}

static double saving(const cop_search_plan *plan)
{
    return plan->tokens > 0 ? (double)plan->tokens_without_halving / (double)plan->tokens : 1.0;
}

static bool has_strategy(const cop_search_plan *plan)
{
    return strcmp(plan->strategy, "grid") != 0;
}

// What was not counted is null.
static json_t *counted_json(int64_t count)
{
    return count == INT64_MAX ? json_null() : json_integer((json_int_t)count);
}

static json_t *search_json(const cop_search_plan *plan)
{
    const bool is_counted = isfinite(plan->tokens_of_all) && plan->tokens > 0;
    return json_pack(
        "{s:o, s:f, s:o, s:I, s:s, s:I, s:o, s:o, s:o}", "size", counted_json(plan->size),
        "log10_size", plan->log10_size, "feasible", counted_json(plan->feasible), "sampled",
        (json_int_t)plan->sampled, "strategy", plan->strategy, "candidates",
        (json_int_t)plan->candidates, "fidelity",
        has_strategy(plan) ? json_integer(plan->fidelity) : json_null(), "tokens_of_all",
        is_counted ? json_real(plan->tokens_of_all) : json_null(), "saving_against_all",
        is_counted ? json_real(plan->tokens_of_all / (double)plan->tokens) : json_null());
}

static json_t *forms_json(const cop_search_plan *plan)
{
    json_t *list = json_array();
    for (int i = 0; i < COP_SEARCH_FORMS; i++) {
        const cop_memory_form *form = &plan->form[i].form;
        (void)json_array_append_new(
            list, json_pack("{s:s, s:b, s:s, s:I, s:I}", "state", cop_state_form_name(form->state),
                            "frozen_vocabulary", form->freezes_vocabulary, "recompute",
                            cop_recompute_name(form->recompute), "micro_batch",
                            (json_int_t)form->micro_batch, "device_bytes",
                            (json_int_t)plan->form[i].bytes));
    }
    return list;
}

static int print_json(const cop_search_plan *plan, const arguments *given)
{
    json_t *stages = json_array();

    for (int i = 0; i < plan->stages; i++) {
        (void)json_array_append_new(
            stages, json_pack("{s:i, s:I, s:I, s:f, s:f}", "stage", i, "candidates",
                              (json_int_t)plan->stage[i].candidates, "tokens",
                              (json_int_t)plan->stage[i].tokens, "flops", plan->stage[i].flops,
                              "seconds", plan->stage[i].seconds));
    }
    json_t *document = search_json(plan);
    json_t *costs = json_pack(
        "{s:o, s:{s:f, s:f}, s:I, s:I, s:f, s:f, s:f}", "stages", stages, "teacher", "flops",
        plan->teacher_flops, "seconds", plan->teacher_seconds, "tokens", (json_int_t)plan->tokens,
        "tokens_without_halving", (json_int_t)plan->tokens_without_halving, "saving", saving(plan),
        "flops", plan->flops, "seconds", plan->seconds);
    json_t *more =
        json_pack("{s:f, s:f, s:f, s:s, s:s, s:I, s:I, s:I, s:I, s:s, s:o, s:o}",
                  "flops_per_second", plan->flops_per_second, "peak_flops_per_second", given->peak,
                  "efficiency", given->efficiency, "device", plan->device, "precision",
                  cop_precision_name(plan->precision), "micro_batch", (json_int_t)plan->micro_batch,
                  "held_out_sequences", (json_int_t)plan->held_out_sequences, "teacher_cache_bytes",
                  (json_int_t)plan->teacher_cache_bytes, "checkpoint_bytes",
                  (json_int_t)plan->checkpoint_bytes, "largest", plan->largest, "memory",
                  memory_json(&plan->memory), "memory_teacher", memory_json(&plan->memory_teacher));
    if (document != NULL && costs != NULL && more != NULL) {
        (void)json_object_update(document, costs);
        (void)json_object_update(document, more);
    }
    json_decref(costs);
    json_decref(more);
    if (document != NULL) {
        (void)json_object_set_new(document, "memory_forms", forms_json(plan));
    }
    return cop_cli_print_json(document);
}

static void print_stages(const cop_search_plan *plan)
{
    static const char *const titles[] = {"stage", "candidates", "tokens", "FLOP", "time"};
    char text[COP_TEXT_NUMBER_BYTES];
    cop_cli_table table;

    cop_cli_table_init(&table, "lrrrr");
    for (size_t i = 0; i < sizeof titles / sizeof titles[0]; i++) {
        cop_cli_cell(&table, "%s", titles[i]);
    }
    cop_cli_cell(&table, "teacher: scores and states");
    cop_cli_cell(&table, "%s", "");
    cop_cli_cell(&table, "%s", "");
    cop_cli_cell(&table, "%.3g", plan->teacher_flops);
    cop_cli_cell(&table, "%s", cop_text_seconds(text, plan->teacher_seconds));
    for (int i = 0; i < plan->stages; i++) {
        if (i == 0) {
            cop_cli_cell(&table, "0: pruned loss");
        } else {
            cop_cli_cell(&table, "%d: rung %d", i, i);
        }
        cop_cli_cell(&table, "%lld", (long long)plan->stage[i].candidates);
        cop_cli_cell(&table, "%s", cop_text_count(text, (double)plan->stage[i].tokens));
        cop_cli_cell(&table, "%.3g", plan->stage[i].flops);
        cop_cli_cell(&table, "%s", cop_text_seconds(text, plan->stage[i].seconds));
    }
    cop_cli_cell(&table, "all");
    cop_cli_cell(&table, "%s", "");
    cop_cli_cell(&table, "%s", cop_text_count(text, (double)plan->tokens));
    cop_cli_cell(&table, "%.3g", plan->flops);
    cop_cli_cell(&table, "%s", cop_text_seconds(text, plan->seconds));
    cop_cli_table_print(&table);
}

// Which forms of training fit a device.
static void print_forms(const cop_search_plan *plan, uint64_t device_bytes)
{
    static const char *const titles[] = {"state", "vocabulary", "sequences", "memory", ""};
    char text[COP_TEXT_NUMBER_BYTES];
    cop_cli_table table;

    cop_cli_print("\nthe same probe on a device of %s, recompute %s:\n",
                  cop_text_bytes(text, device_bytes),
                  cop_recompute_name(plan->form[0].form.recompute));
    cop_cli_table_init(&table, "llrrl");
    for (size_t i = 0; i < sizeof titles / sizeof titles[0]; i++) {
        cop_cli_cell(&table, "%s", titles[i]);
    }
    for (int i = 0; i < COP_SEARCH_FORMS; i++) {
        const uint64_t bytes = plan->form[i].bytes;
        cop_cli_cell(&table, "%s", cop_state_form_name(plan->form[i].form.state));
        cop_cli_cell(&table, "%s", plan->form[i].form.freezes_vocabulary ? "frozen" : "trained");
        cop_cli_cell(&table, "%lld", (long long)plan->form[i].form.micro_batch);
        cop_cli_cell(&table, "%s", bytes > 0 ? cop_text_bytes(text, bytes) : "bf16 only");
        cop_cli_cell(&table, "%s", bytes > 0 && bytes <= device_bytes ? "fits" : "");
    }
    cop_cli_table_print(&table);
}

static void print_space(const cop_search_plan *plan)
{
    if (plan->size == INT64_MAX) {
        cop_cli_print("about 10^%.1f grid points", plan->log10_size);
    } else if (plan->feasible == INT64_MAX) {
        cop_cli_print("%lld grid points", (long long)plan->size);
    } else {
        cop_cli_print("%lld of %lld grid points are feasible", (long long)plan->feasible,
                      (long long)plan->size);
    }
    if (plan->feasible == INT64_MAX) {
        cop_cli_print(", too many to count what is feasible");
    }
    cop_cli_print("\n");
    if (has_strategy(plan)) {
        char stage[32] = "the pruned loss";
        if (plan->fidelity > 0) {
            (void)snprintf(stage, sizeof stage, "rung %d", plan->fidelity);
        }
        cop_cli_print("%s proposes %lld of them and learns from %s\n", plan->strategy,
                      (long long)plan->candidates, stage);
    }
    if (plan->sampled < plan->feasible) {
        cop_cli_print("costs are means of, and the largest is one of, %lld feasible ones drawn by "
                      "lot\n",
                      (long long)plan->sampled);
    }
    cop_cli_print("\n");
}

static void print_saving(const cop_search_plan *plan)
{
    char text[COP_TEXT_NUMBER_BYTES];
    cop_cli_print("all%s candidates to the last rung: %s tokens, %.1f times as many\n",
                  has_strategy(plan) ? " proposed" : "",
                  cop_text_count(text, (double)plan->tokens_without_halving), saving(plan));
    if (has_strategy(plan) && isfinite(plan->tokens_of_all) && plan->tokens > 0) {
        cop_cli_print("all feasible candidates to the last rung: %s tokens, %.1f times as many\n",
                      cop_text_count(text, plan->tokens_of_all),
                      plan->tokens_of_all / (double)plan->tokens);
    }
}

static int print_text(const cop_search_plan *plan, const arguments *given, cop_error *err)
{
    char a[COP_TEXT_NUMBER_BYTES];
    char b[COP_TEXT_NUMBER_BYTES];
    cop_text table = {0};
    const uint64_t teacher_bytes = cop_plan_total(&plan->memory_teacher);

    print_space(plan);
    print_stages(plan);
    cop_cli_print("\nat %s FLOP/s: %.0f %% of a matmul peak of %s FLOP/s in %s%s%s\n",
                  cop_text_count(a, plan->flops_per_second), 100.0 * given->efficiency,
                  cop_text_count(b, given->peak), cop_precision_name(plan->precision),
                  given->is_measured ? " on " : "", given->is_measured ? plan->device : "");
    print_saving(plan);
    cop_cli_print("disk: %s for the teacher's states%s, %s for the probes' states\n",
                  cop_text_bytes(a, plan->teacher_cache_bytes),
                  plan->sample_draws > 0 ? " and samples" : "",
                  cop_text_bytes(b, plan->checkpoint_bytes));
    cop_cli_print("memory of the teacher's pass: %s\n", cop_text_bytes(a, teacher_bytes));
    cop_cli_print("memory of the largest probe, %s, passes of %lld sequences:\n", plan->largest,
                  (long long)plan->micro_batch);
    cop_plan_append(&plan->memory, &table);
    const cop_status status = cop_text_check(&table, "memory plan", err);
    if (status == COP_OK) {
        cop_cli_print("%s", cop_text_view(&table));
        if (given->device_bytes > 0) {
            print_forms(plan, given->device_bytes);
        }
    }
    cop_text_release(&table);
    return cop_cli_finish(status, err);
}

int cop_cmd_plan(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"peak", KEY_PEAK, "FLOPS", 0,
         "Matmul peak of the device in FLOP/s, e.g. 790e12; measured on this one when absent", 0},
        {"efficiency", KEY_EFFICIENCY, "SHARE", 0,
         "Share of the peak that a search reaches, 0.6 when absent", 0},
        {"device-memory", KEY_DEVICE_MEMORY, "SIZE", 0,
         "Memory of a device that is not there, e.g. 139GiB or 80GB: passes are chosen for it, and "
         "a table says which forms of training fit it",
         0},
        {0},
    };
    static const struct argp_child children[] = {
        {&cop_cli_device_argp, 0, NULL, 0},
        {&cop_cli_json_argp, 0, NULL, 0},
        {&cop_cli_run_argp, 0, NULL, 0},
        {0},
    };
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .args_doc = "STUDY.yaml",
        .doc = "Says what a search will cost before it starts: candidates, tokens, FLOPs, time, "
               "memory, disk. Needs shapes only: the teacher may be a bare config.json. Of a study "
               "with an evaluator: evaluations for each fidelity, and their time once some are "
               "done.",
        .children = children,
    };
    arguments given = {.efficiency = 0.6};
    cop_error err = {0};
    cop_status status = COP_OK;
    cop_study_file study = {0};
    cop_backend *backend = NULL;
    static cop_search_plan plan; // large
    int code = COP_EXIT_DONE;
    cop_cli_parse(&argp, argc, argv, &given);

    COP_TRY(status, cop_study_file_read(&study, given.study, false, &err));
    if (study.free != NULL) {
        status = cop_trial_view_plan(&study, given.common.is_json, &code, &err);
        goto done;
    }
    COP_TRY(status, cop_search_plan_make_for(&plan, &study, cop_cli_device_of(&given.common),
                                             given.device_bytes, &err));
    given.is_measured = given.peak == 0.0;
    if (given.is_measured) {
        const cop_dtype dtype = plan.precision == COP_PRECISION_BF16 ? COP_BF16 : COP_F32;
        COP_TRY(status, cop_cli_backend(&backend, &given.common, &err));
        COP_TRY(status, cop_matmul_peak(backend, &given.peak, dtype, measure_seconds, &err));
    }
    cop_search_plan_time(&plan, given.peak, given.efficiency);
    code = given.common.is_json ? print_json(&plan, &given) : print_text(&plan, &given, &err);

done:
    cop_backend_destroy(backend);
    cop_study_file_release(&study);
    return status == COP_OK ? code : cop_cli_finish(status, &err);
}
