// space: the grid of a study and what of it meets the budget, with exact costs. Needs no weights.

#include <string.h>

#include "base/alloc.h"
#include "base/json.h"
#include "base/log.h"
#include "cli/trial_view.h"
#include "model/arch_json.h"
#include "search/space.h"

typedef struct arguments {
    cop_cli_common common;
    const char *study;
} arguments;

// NOLINTBEGIN(concurrency-mt-unsafe): argp ends the program before any thread exists
static error_t parse(int key, char *text, struct argp_state *state)
{
    arguments *given = state->input;

    switch (key) {
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

static void put(json_t *object, const char *key, json_t *value)
{
    (void)json_object_set_new(object, key, value);
}

// Axis values as the study names them: the ratio, too, where the space has one.
static json_t *values_of(const cop_candidate *candidate)
{
    json_t *values = json_object();

    put(values, "layers", json_integer(candidate->layers));
    put(values, "heads", json_integer(candidate->heads));
    put(values, "kv_heads", json_integer(candidate->kv_heads));
    if (candidate->ffn_ratio == candidate->ffn_ratio) {
        put(values, "ffn_ratio", json_real(candidate->ffn_ratio));
    } else {
        put(values, "ffn", json_integer(candidate->ffn));
    }
    put(values, "hidden", json_integer(candidate->hidden));
    return values;
}

// [[heads, kv_heads, ffn], …] of blocks that differ.
static json_t *blocks_of(const cop_candidate *candidate)
{
    json_t *blocks = json_array();

    for (int64_t i = 0; i < candidate->layers; i++) {
        const cop_layer_arch *block = &candidate->layer[i];
        (void)json_array_append_new(blocks,
                                    json_pack("[I, I, I]", (json_int_t)block->heads,
                                              (json_int_t)block->kv_heads, (json_int_t)block->ffn));
    }
    return blocks;
}

static json_t *candidate_json(const cop_candidate *candidate)
{
    json_t *object = json_object();

    put(object, "id", json_string(candidate->id));
    put(object, "layers", json_integer(candidate->layers));
    put(object, "hidden", json_integer(candidate->hidden));
    put(object, "heads", json_integer(candidate->heads));
    put(object, "kv_heads", json_integer(candidate->kv_heads));
    put(object, "head_dim", json_integer(candidate->head_dim));
    put(object, "ffn", json_integer(candidate->ffn));
    put(object, "params", json_integer(candidate->cost.params));
    put(object, "params_non_embedding", json_integer(candidate->cost.params_non_embedding));
    put(object, "memory_bytes", json_integer(candidate->cost.total_bytes));
    put(object, "flops_per_token", json_real(candidate->cost.flops_per_token));
    put(object, "values", values_of(candidate));
    if (candidate->layer != NULL) {
        put(object, "blocks", blocks_of(candidate));
    }
    return object;
}

// What is noticed of candidates as they pass by, however many there are.
typedef struct passing {
    const cop_arch *teacher;
    int64_t count;
    int64_t unportable;
    int64_t uneven; // of blocks that differ
    char first_unportable[COP_CANDIDATE_ID_BYTES];
} passing;

static void notice(passing *p, const cop_candidate *candidate)
{
    const cop_arch arch = cop_candidate_arch(candidate, p->teacher);
    p->count++;
    if (candidate->layer != NULL) {
        p->uneven++;
    } else if (!cop_arch_is_portable(&arch) && p->unportable++ == 0) {
        memcpy(p->first_unportable, candidate->id, sizeof p->first_unportable);
    }
}

// What is better known before a search than after it: transformers 5 does not load every shape, and a shape
// whose layers differ has no Hugging Face form.
static void warn(const passing *p)
{
    if (p->unportable > 0) {
        cop_log(COP_LOG_WARNING,
                "%lld candidates, e.g. %s, have a hidden size that is no multiple of their heads: "
                "transformers 5 refuses to load such a Llama, version 4 loads it",
                (long long)p->unportable, p->first_unportable);
    }
    if (p->uneven > 0) {
        cop_log(COP_LOG_WARNING,
                "%lld candidates have layers that differ in size: no Hugging Face config.json "
                "describes such a model, pick and prune refuse to write it",
                (long long)p->uneven);
    }
}

// --- JSON ---------------------------------------------------------------------------------------

// One candidate, indented as a part of the document.
static cop_status print_candidate(void *context, const cop_candidate *candidate, cop_error *err)
{
    passing *p = context;
    char *text = NULL;
    json_t *object = candidate_json(candidate);
    const cop_status status = cop_json_text(&text, object, 0, err);

    json_decref(object);
    if (status == COP_OK) {
        cop_cli_print("%s\n    %s", p->count > 0 ? "," : "", text);
        notice(p, candidate);
    }
    cop_free(text);
    return status;
}

// The report's own keys; a size beyond 2^53 as text, what was not counted as null.
static json_t *report_json(const cop_space_report *report, const cop_space *space, const char *size)
{
    const bool is_listed = cop_space_is_listed(space);
    json_t *document = json_object();
    json_t *budget = json_array();

    for (int i = 0; i < report->bounds; i++) {
        json_t *bound = json_object();
        put(bound, "bound", json_string(report->bound[i].text));
        put(bound, "excluded", is_listed ? json_integer(report->bound[i].excluded) : json_null());
        put(bound, "excluded_alone", is_listed ? json_integer(report->bound[i].only) : json_null());
        (void)json_array_append_new(budget, bound);
    }
    put(document, "size",
        report->size != INT64_MAX ? json_integer(report->size) : json_string(size));
    put(document, "log10_size", json_real(cop_space_log10_size(space)));
    put(document, "feasible", is_listed ? json_integer(report->feasible) : json_null());
    put(document, "invalid", is_listed ? json_integer(report->invalid) : json_null());
    put(document, "duplicates", is_listed ? json_integer(report->duplicates) : json_null());
    put(document, "budget", budget);
    return document;
}

// Candidates are printed as they are found: the document may be larger than memory.
static cop_status print_json(const cop_space *space, passing *p, cop_error *err)
{
    cop_status status = COP_OK;
    cop_space_report report = {0};
    cop_text size = {0};
    char *head = NULL;
    json_t *document = NULL;
    const bool is_listed = cop_space_is_listed(space);

    COP_TRY(status, cop_space_append_size(space, &size, err));
    if (is_listed) {
        COP_TRY(status, cop_space_walk(space, &report, NULL, NULL, err));
        COP_TRY(status, cop_space_check_report(space, &report, err));
    } else {
        cop_space_bounds(space, &report);
    }
    document = report_json(&report, space, cop_text_view(&size));
    COP_TRY(status, cop_json_text(&head, document, 2, err));
    // The document's closing brace waits for the candidates.
    cop_cli_print("%.*s,\n  \"candidates\": [", (int)(strrchr(head, '}') - head - 1), head);
    if (is_listed) {
        COP_TRY(status, cop_space_walk(space, &report, print_candidate, p, err));
    }
    cop_cli_print("%s]\n}\n", p->count > 0 ? "\n  " : "");

done:
    json_decref(document);
    cop_free(head);
    cop_text_release(&size);
    return status;
}

// --- Text ---------------------------------------------------------------------------------------

static void print_table(const cop_candidate *candidates, int64_t count,
                        const cop_space_report *report)
{
    static const char *const titles[] = {"layers", "hidden",        "heads",  "kv heads",  "ffn",
                                         "params", "non-embedding", "memory", "FLOP/token"};
    char text[COP_TEXT_NUMBER_BYTES];
    cop_cli_table table;

    cop_cli_table_init(&table, "rrrrrrrrr");
    for (size_t i = 0; i < sizeof titles / sizeof titles[0]; i++) {
        cop_cli_cell(&table, "%s", titles[i]);
    }
    for (int64_t i = 0; i < count; i++) {
        const cop_candidate *c = &candidates[i];
        const char *about = c->layer != NULL ? "~" : ""; // the mean of blocks that differ
        cop_cli_cell(&table, "%lld", (long long)c->layers);
        cop_cli_cell(&table, "%lld", (long long)c->hidden);
        cop_cli_cell(&table, "%s%lld", about, (long long)c->heads);
        cop_cli_cell(&table, "%s%lld", about, (long long)c->kv_heads);
        cop_cli_cell(&table, "%s%lld", about, (long long)c->ffn);
        cop_cli_cell(&table, "%lld", (long long)c->cost.params);
        cop_cli_cell(&table, "%lld", (long long)c->cost.params_non_embedding);
        cop_cli_cell(&table, "%s", cop_text_bytes(text, (uint64_t)c->cost.total_bytes));
        cop_cli_cell(&table, "%s", cop_text_count(text, c->cost.flops_per_token));
    }
    cop_cli_table_print(&table);
    cop_cli_print("%lld of %lld grid points are feasible", (long long)report->feasible,
                  (long long)report->size);
    if (report->invalid > 0) {
        cop_cli_print(", %lld are no architecture", (long long)report->invalid);
    }
    if (report->duplicates > 0) {
        cop_cli_print(", %lld are the same as another", (long long)report->duplicates);
    }
    cop_cli_print("\n");
    for (int i = 0; i < report->bounds; i++) {
        cop_cli_print("  %s excludes %lld, %lld of them alone\n", report->bound[i].text,
                      (long long)report->bound[i].excluded, (long long)report->bound[i].only);
    }
}

// A space that is too large to list.
static cop_status print_size(const cop_space *space, cop_error *err)
{
    cop_space_report report = {0};
    cop_text size = {0};
    const cop_status status = cop_space_append_size(space, &size, err);

    if (status == COP_OK) {
        cop_space_bounds(space, &report);
        cop_cli_print("%s grid points, about 10^%.1f: too many to list or to count what is "
                      "feasible. search.strategy random, stratified, nsga2, surrogate and knapsack "
                      "need no list.\n",
                      cop_text_view(&size), cop_space_log10_size(space));
        for (int i = 0; i < report.bounds; i++) {
            cop_cli_print("  %s\n", report.bound[i].text);
        }
    }
    cop_text_release(&size);
    return status;
}

static cop_status print_text(const cop_space *space, passing *p, cop_error *err)
{
    cop_status status = COP_OK;
    cop_space_report report = {0};
    cop_candidate *candidates = NULL;
    int64_t count = 0;

    if (!cop_space_is_listed(space)) {
        return print_size(space, err);
    }
    COP_TRY(status, cop_space_feasible(&candidates, &count, &report, space, err));
    print_table(candidates, count, &report);
    for (int64_t i = 0; i < count; i++) {
        notice(p, &candidates[i]);
    }

done:
    cop_free(candidates);
    return status;
}

int cop_cmd_space(int argc, char **argv)
{
    static const struct argp_child children[] = {{&cop_cli_json_argp, 0, NULL, 0}, {0}};
    static const struct argp argp = {
        .parser = parse,
        .args_doc = "STUDY.yaml",
        .doc = "Lists the candidates of a study that meet its budget, with exact costs. Needs no "
               "weights: the teacher may be a bare config.json. Order: layers vary slowest, then "
               "heads, kv_heads, ffn (or ffn_ratio), hidden, then the layers that choose by "
               "themselves. A space that is too large to list is told by its size. Of a study with "
               "an evaluator: its axes, objectives and bounds.",
        .children = children,
    };
    arguments given = {0};
    cop_error err = {0};
    cop_status status = COP_OK;
    cop_study_file study = {0};
    cop_arch *teacher = NULL;
    cop_space *space = NULL;
    passing noticed = {0};
    int code = COP_EXIT_DONE;
    cop_cli_parse(&argp, argc, argv, &given);

    COP_TRY(status, cop_study_file_read(&study, given.study, false, &err));
    if (study.free != NULL) {
        code = cop_trial_view_space(&study, given.common.is_json);
        goto done;
    }
    teacher = cop_alloc(1, sizeof *teacher);
    if (teacher == NULL) {
        status = COP_FAIL(&err, COP_ERR_NOMEM, "%s: out of memory", given.study);
        goto done;
    }
    COP_TRY(status, cop_arch_read(teacher, study.teacher, &err));
    COP_TRY(status, cop_space_create(&space, &study, teacher, &err));
    noticed.teacher = teacher;
    COP_TRY(status, given.common.is_json ? print_json(space, &noticed, &err)
                                         : print_text(space, &noticed, &err));
    warn(&noticed);

done:
    cop_space_destroy(space);
    cop_free(teacher);
    cop_study_file_release(&study);
    return status == COP_OK && code != COP_EXIT_DONE ? code : cop_cli_finish(status, &err);
}
