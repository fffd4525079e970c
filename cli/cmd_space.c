// space: the grid of a study and what of it meets the budget, with exact costs. Needs no weights.

#include "base/alloc.h"
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
    return object;
}

static int print_json(const cop_candidate *candidates, int64_t count,
                      const cop_space_report *report)
{
    json_t *document = json_object();
    json_t *budget = json_array();
    json_t *list = json_array();

    for (int i = 0; i < report->bounds; i++) {
        json_t *bound = json_object();
        put(bound, "bound", json_string(report->bound[i].text));
        put(bound, "excluded", json_integer(report->bound[i].excluded));
        put(bound, "excluded_alone", json_integer(report->bound[i].only));
        (void)json_array_append_new(budget, bound);
    }
    for (int64_t i = 0; i < count; i++) {
        (void)json_array_append_new(list, candidate_json(&candidates[i]));
    }
    put(document, "size", json_integer(report->size));
    put(document, "feasible", json_integer(report->feasible));
    put(document, "invalid", json_integer(report->invalid));
    put(document, "duplicates", json_integer(report->duplicates));
    put(document, "budget", budget);
    put(document, "candidates", list);
    return cop_cli_print_json(document);
}

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
        cop_cli_cell(&table, "%lld", (long long)c->layers);
        cop_cli_cell(&table, "%lld", (long long)c->hidden);
        cop_cli_cell(&table, "%lld", (long long)c->heads);
        cop_cli_cell(&table, "%lld", (long long)c->kv_heads);
        cop_cli_cell(&table, "%lld", (long long)c->ffn);
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

// transformers 5 does not load every shape: better known before a search than after it.
static void warn_of_unportable(const cop_candidate *candidates, int64_t count,
                               const cop_arch *teacher)
{
    const char *first = NULL;
    int64_t found = 0;
    for (int64_t i = 0; i < count; i++) {
        const cop_arch arch = cop_candidate_arch(&candidates[i], teacher);
        if (!cop_arch_is_portable(&arch)) {
            first = first == NULL ? candidates[i].id : first;
            found++;
        }
    }
    if (found > 0) {
        cop_log(COP_LOG_WARNING,
                "%lld candidates, e.g. %s, have a hidden size that is no multiple of their heads: "
                "transformers 5 refuses to load such a Llama, version 4 loads it",
                (long long)found, first);
    }
}

int cop_cmd_space(int argc, char **argv)
{
    static const struct argp_child children[] = {{&cop_cli_json_argp, 0, NULL, 0}, {0}};
    static const struct argp argp = {
        .parser = parse,
        .args_doc = "STUDY.yaml",
        .doc = "Lists the candidates of a study that meet its budget, with exact costs. Needs no "
               "weights: the teacher may be a bare config.json. Order: layers vary slowest, then "
               "heads, kv_heads, ffn (or ffn_ratio), hidden. Of a study with an evaluator: its "
               "axes, objectives and bounds.",
        .children = children,
    };
    arguments given = {0};
    cop_error err = {0};
    cop_status status = COP_OK;
    cop_study_file study = {0};
    cop_arch *teacher = NULL;
    cop_space *space = NULL;
    cop_candidate *candidates = NULL;
    cop_space_report report = {0};
    int64_t count = 0;
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
    COP_TRY(status, cop_space_feasible(&candidates, &count, &report, space, &err));
    if (given.common.is_json) {
        code = print_json(candidates, count, &report);
    } else {
        print_table(candidates, count, &report);
    }
    warn_of_unportable(candidates, count, teacher);

done:
    cop_free(candidates);
    cop_space_destroy(space);
    cop_free(teacher);
    cop_study_file_release(&study);
    return status == COP_OK ? code : cop_cli_finish(status, &err);
}
