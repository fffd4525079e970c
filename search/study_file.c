#include "search/study_file.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "search/study_internal.h"

enum { CHILDREN_MAX = 32, KEY_BYTES = 64 };

static const size_t study_bytes_max = (size_t)1 << 20;

// --- Which keys there are -----------------------------------------------------------------------

// Is `path` a key of the table, or a mapping above keys of it?
static bool is_leaf(const char *path)
{
    size_t count = 0;
    const cop_study_row *rows = cop_study_rows(&count);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(rows[i].path, path) == 0) {
            return true;
        }
    }
    return false;
}

// Names of the keys directly below `prefix`, in the order of the table.
static size_t children_of(char names[CHILDREN_MAX][KEY_BYTES], const char *prefix)
{
    const size_t length = strlen(prefix);
    size_t rows_count = 0;
    size_t count = 0;
    const cop_study_row *rows = cop_study_rows(&rows_count);

    for (size_t i = 0; i < rows_count && count < CHILDREN_MAX; i++) {
        const char *rest = rows[i].path;
        if (length > 0) {
            if (strncmp(rest, prefix, length) != 0 || rest[length] != '.') {
                continue;
            }
            rest += length + 1;
        }
        char name[KEY_BYTES];
        (void)snprintf(name, sizeof name, "%.*s", (int)strcspn(rest, "."), rest);
        if (count == 0 || strcmp(names[count - 1], name) != 0) {
            memcpy(names[count++], name, sizeof name);
        }
    }
    return count;
}

// Refuses keys that the table does not have, at any depth. With an evaluator axes and bounds have any names.
static cop_status check_tree(const cop_config_node *node, const char *prefix, bool has_free_names,
                             cop_error *err)
{
    char names[CHILDREN_MAX][KEY_BYTES];
    const char *words[CHILDREN_MAX];
    const size_t count = children_of(names, prefix);
    cop_status status = COP_OK;

    for (size_t i = 0; i < count; i++) {
        words[i] = names[i];
    }
    COP_TRY(status, cop_config_check_keys(node, words, count, err));
    for (size_t i = 0; i < cop_config_node_count(node); i++) {
        const cop_config_node *value = cop_config_node_value(node, i);
        const char *path = cop_config_node_path(value);
        if (!is_leaf(path) &&
            !(has_free_names && (strcmp(path, "space") == 0 || strcmp(path, "budget") == 0))) {
            COP_TRY(status, check_tree(value, path, has_free_names, err));
        }
    }

done:
    return status;
}

static const cop_config_node *find_path(const cop_config_node *root, const char *path)
{
    const cop_config_node *node = root;
    while (node != NULL && path[0] != '\0') {
        char key[KEY_BYTES];
        const size_t length = strcspn(path, ".");
        (void)snprintf(key, sizeof key, "%.*s", (int)length, path);
        node = cop_config_node_find(node, key);
        path += length + (path[length] == '.' ? 1 : 0);
    }
    return node;
}

// --- What keys mean together --------------------------------------------------------------------

// Fails at the key, or at the document when the key is absent.
#define FAIL_AT(study, key, err, ...)                                            \
    cop_config_fail(find_path(cop_config_root((study)->document), (key)) != NULL \
                        ? find_path(cop_config_root((study)->document), (key))   \
                        : cop_config_root((study)->document),                    \
                    (err), __VA_ARGS__)

static cop_status check_bounds(const cop_study_file *study, cop_error *err)
{
    const struct {
        const char *key;
        cop_bound bound;
    } bounds[] = {{"budget.params.min", study->params},
                  {"budget.params_non_embedding.min", study->params_non_embedding},
                  {"budget.memory_bytes.min", study->memory_bytes},
                  {"budget.flops_per_token.min", study->flops_per_token},
                  {"budget.latency_ms.min", study->latency_ms}};

    for (size_t i = 0; i < sizeof bounds / sizeof bounds[0]; i++) {
        if (bounds[i].bound.min > bounds[i].bound.max) {
            return FAIL_AT(study, bounds[i].key, err, "is %g (allowed: at most max, which is %g)",
                           bounds[i].bound.min, bounds[i].bound.max);
        }
    }
    return COP_OK;
}

// Tokens become whole optimizer steps.
static cop_status finish_rungs(cop_study_file *study, cop_error *err)
{
    const int64_t step = study->batch_tokens;

    if (step % study->probe_sequence != 0) {
        return FAIL_AT(study, "probe.batch_tokens", err,
                       "is %lld (allowed: multiples of probe.sequence, which is %lld)",
                       (long long)step, (long long)study->probe_sequence);
    }
    const int64_t batch = step / study->probe_sequence;
    if (study->micro_batch > 0 && batch % study->micro_batch != 0) {
        return FAIL_AT(study, "probe.micro_batch", err,
                       "is %lld (allowed: divisors of %lld, the sequences of a step)",
                       (long long)study->micro_batch, (long long)batch);
    }
    for (int i = 0; i < study->rungs; i++) {
        study->rung_tokens[i] = (study->rung_tokens[i] + step - 1) / step * step;
        if (i > 0 && study->rung_tokens[i] <= study->rung_tokens[i - 1]) {
            return FAIL_AT(study, "probe.rungs", err,
                           "rungs %d and %d are the same after rounding up to steps of %lld tokens",
                           i, i + 1, (long long)step);
        }
    }
    return COP_OK;
}

static cop_status finish_targets(cop_study_file *study, cop_error *err)
{
    const cop_config_node *root = cop_config_root(study->document);
    const bool is_samples = study->probe_targets == COP_TARGETS_SAMPLES;

    if (!is_samples && find_path(root, "probe.draws") != NULL) {
        return FAIL_AT(study, "probe.draws", err,
                       "has no use (allowed: with probe.targets samples)");
    }
    if (is_samples && study->probe_loss == COP_PROBE_CE) {
        return FAIL_AT(study, "probe.targets", err, "has no use (allowed: with KL in probe.loss)");
    }
    if (is_samples && study->trainer.temperature != 1.0) {
        return FAIL_AT(study, "probe.temperature", err, "is %g (allowed: 1 with targets samples)",
                       study->trainer.temperature);
    }
    study->trainer.sample_draws = is_samples ? study->probe_draws : 0;
    return COP_OK;
}

static cop_status finish_trainer(cop_study_file *study, cop_error *err)
{
    cop_trainer_options *trainer = &study->trainer;
    cop_schedule *schedule = &trainer->schedule;
    const int64_t first = study->rungs > 0 ? study->rung_tokens[0] / study->batch_tokens : 0;
    const int64_t last =
        study->rungs > 0 ? study->rung_tokens[study->rungs - 1] / study->batch_tokens : 0;

    if (study->probe_loss != COP_PROBE_MIXED) {
        if (find_path(cop_config_root(study->document), "probe.cross_entropy_weight") != NULL) {
            return FAIL_AT(study, "probe.cross_entropy_weight", err,
                           "has no use (allowed: with probe.loss mixed)");
        }
        trainer->ce_weight = study->probe_loss == COP_PROBE_CE ? 1.0 : 0.0;
    }
    trainer->kl_weight = 1.0 - trainer->ce_weight;
    if (schedule->minimum < 0.0) {
        schedule->minimum = 0.1 * schedule->peak;
    }
    if (schedule->minimum > schedule->peak) {
        return FAIL_AT(study, "probe.minimum_learning_rate", err,
                       "is %g (allowed: at most probe.learning_rate, which is %g)",
                       schedule->minimum, schedule->peak);
    }
    if (schedule->warmup_steps < 0) {
        schedule->warmup_steps = first / 10 < 100 ? first / 10 : 100;
    }
    if (last > 0 && schedule->warmup_steps >= last) {
        return FAIL_AT(study, "probe.warmup_steps", err,
                       "is %lld (allowed: fewer than the %lld steps of the last rung)",
                       (long long)schedule->warmup_steps, (long long)last);
    }
    schedule->steps = last;
    trainer->optimizer.eps = 1e-8;
    trainer->batch = study->batch_tokens / study->probe_sequence;
    trainer->micro_batch = study->micro_batch;
    trainer->sequence = study->probe_sequence;
    trainer->seed = study->seed;
    return COP_OK;
}

static cop_status check_data(const cop_study_file *study, bool needs_data, cop_error *err)
{
    if (!needs_data) {
        return COP_OK;
    }
    const char *missing = study->train[0] == '\0'        ? "data.train"
                          : study->validation[0] == '\0' ? "data.validation"
                          : study->rungs == 0            ? "probe.rungs"
                                                         : NULL;
    if (missing != NULL) {
        return FAIL_AT(study, "", err, "the key %s is missing", missing);
    }
    return COP_OK;
}

// What a strategy may spend, and when it is told.
static cop_status finish_search(cop_study_file *study, cop_error *err)
{
    const bool is_grid = strcmp(study->strategy, "grid") == 0;
    const int deepest = study->free != NULL && study->rungs > 0 ? study->rungs - 1 : study->rungs;

    if (study->generations > 0 && study->evaluations > 0) {
        return FAIL_AT(study, "search.generations", err,
                       "stands beside search.evaluations (allowed: one of the two)");
    }
    if (study->generations > 0) {
        study->evaluations = study->generations * study->population;
    } else if (study->evaluations == 0 && !is_grid) {
        study->evaluations = 20 * study->population;
    }
    if (study->fidelity < 0) {
        study->fidelity = study->free != NULL || study->rungs == 0 ? 0 : 1;
    }
    if (study->fidelity > deepest) {
        return FAIL_AT(study, "search.fidelity", err,
                       "is %lld (allowed: 0..%d, the stages of this study)",
                       (long long)study->fidelity, deepest);
    }
    if (is_grid && study->free == NULL && study->evaluations > 0) {
        return FAIL_AT(study, study->generations > 0 ? "search.generations" : "search.evaluations",
                       err,
                       "has no use (allowed: with another strategy; the grid is evaluated whole)");
    }
    return COP_OK;
}

static cop_status finish(cop_study_file *study, bool needs_data, cop_error *err)
{
    cop_status status = COP_OK;

    COP_TRY(status, finish_search(study, err));
    if (study->free != NULL) {
        goto done; // the rest is of pruning and probing
    }
    COP_TRY(status, check_data(study, needs_data, err));
    COP_TRY(status, check_bounds(study, err));
    COP_TRY(status, cop_study_space_check(study, err));
    COP_TRY(status, finish_rungs(study, err));
    COP_TRY(status, finish_targets(study, err));
    COP_TRY(status, finish_trainer(study, err));
    if (study->calibration_settings.sequence == 0) {
        study->calibration_settings.sequence = study->probe_sequence;
    }
    study->calibration_settings.with_perplexity =
        study->select.depth_metric == COP_DEPTH_PERPLEXITY;
    study->select.seed = study->seed;
    // The third word of the key stands for "auto"; the enum's third value is not offered.
    study->precision_is_auto = study->precision == COP_PRECISION_F64;
    if (study->precision_is_auto) {
        study->precision = COP_PRECISION_F32;
    }

done:
    return status;
}

// --- Reading ------------------------------------------------------------------------------------

static void init(cop_study_file *study, const char *name)
{
    const cop_bound unbounded = {.min = -HUGE_VAL, .max = HUGE_VAL};

    *study = (cop_study_file){.params = unbounded,
                              .params_non_embedding = unbounded,
                              .memory_bytes = unbounded,
                              .flops_per_token = unbounded,
                              .latency_ms = unbounded};
    study->trainer.schedule.minimum = -1.0;    // derived, unless the file names it
    study->trainer.schedule.warmup_steps = -1; // the same
    study->calibration_settings.sequence = 0;  // the same
    study->fidelity = -1;                      // the same
    (void)snprintf(study->path, sizeof study->path, "%s", name);
}

static bool starts_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

// Axes, objectives and bounds of an evaluator are read elsewhere.
static bool is_elsewhere(const cop_study_row *row)
{
    return starts_with(row->path, "space.") || starts_with(row->path, "budget.") ||
           strcmp(row->path, "objectives") == 0;
}

// What names files is allowed beside an evaluator: the program may read the study file, too.
static bool is_idle(const cop_study_row *row)
{
    return starts_with(row->path, "data.") || strcmp(row->path, "teacher") == 0 ||
           strcmp(row->path, "importance") == 0;
}

static cop_status read_key(cop_study_file *study, const cop_study_row *row, bool has_evaluator,
                           cop_error *err)
{
    const cop_config_node *root = cop_config_root(study->document);
    const cop_config_node *node =
        has_evaluator && is_elsewhere(row) ? NULL : find_path(root, row->path);

    if (node != NULL && has_evaluator && cop_study_row_needs_teacher(row) && !is_idle(row)) {
        return cop_config_fail(node, err, "has no use beside an evaluator (allowed: without)");
    }
    if (node != NULL && !has_evaluator && starts_with(row->path, "evaluator.")) {
        return cop_config_fail(node, err, "has no use (allowed: with evaluator.command)");
    }
    if (node != NULL) {
        return cop_study_row_read(study, row, node, err);
    }
    if (strcmp(row->fallback, "required") == 0 && !has_evaluator) {
        return cop_config_fail(root, err, "the key %s is missing", row->path);
    }
    cop_study_row_default(study, row);
    return COP_OK;
}

static cop_status read_keys(cop_study_file *study, cop_error *err)
{
    const cop_config_node *root = cop_config_root(study->document);
    const bool has_evaluator = find_path(root, "evaluator.command") != NULL;
    size_t count = 0;
    const cop_study_row *rows = cop_study_rows(&count);
    cop_status status = COP_OK;

    COP_TRY(status, check_tree(root, "", has_evaluator, err));
    for (size_t i = 0; i < count; i++) {
        COP_TRY(status, read_key(study, &rows[i], has_evaluator, err));
    }
    if (has_evaluator) {
        COP_TRY(status, cop_free_space_read(&study->free, root, err));
    }

done:
    return status;
}

cop_status cop_study_file_parse(cop_study_file *out, const char *name, const char *text,
                                size_t bytes, bool needs_data, cop_error *err)
{
    cop_status status = COP_OK;
    cop_study_file study;

    init(&study, name);
    *out = (cop_study_file){0};
    if (strlen(name) >= COP_STUDY_PATH_BYTES) {
        return COP_FAIL(err, COP_ERR_CONFIG, "%.100s…: the path has %zu bytes (allowed: up to %d)",
                        name, strlen(name), COP_STUDY_PATH_BYTES - 1);
    }
    COP_TRY(status, cop_config_parse(&study.document, name, text, bytes, err));
    COP_TRY(status, read_keys(&study, err));
    COP_TRY(status, finish(&study, needs_data, err));
    *out = study;
    study = (cop_study_file){0};

done:
    cop_study_file_release(&study);
    return status;
}

cop_status cop_study_file_read(cop_study_file *out, const char *path, bool needs_data,
                               cop_error *err)
{
    cop_status status = COP_OK;
    char *text = NULL;
    size_t bytes = 0;

    *out = (cop_study_file){0};
    COP_TRY(status, cop_file_read(&text, &bytes, path, study_bytes_max, err));
    COP_TRY(status, cop_study_file_parse(out, path, text, bytes, needs_data, err));

done:
    cop_free(text);
    return status;
}

void cop_study_file_release(cop_study_file *study)
{
    for (int i = 0; i < COP_SPACE_AXIS_COUNT; i++) {
        cop_free(study->axis[i].value);
        cop_free(study->layer_axis[i].value);
    }
    cop_free(study->ffn_ratio.value);
    cop_free_space_destroy(study->free);
    cop_free(study->kv_groups.value);
    cop_config_destroy(study->document);
    *study = (cop_study_file){0};
}

char *cop_study_file_directory(const char *path)
{
    const char *dot = strrchr(path, '.');
    const bool is_yaml = dot != NULL && (strcmp(dot, ".yaml") == 0 || strcmp(dot, ".yml") == 0);
    const size_t length = is_yaml ? (size_t)(dot - path) : strlen(path);
    const size_t bytes = length + sizeof ".study";
    char *out = cop_alloc(bytes, 1);

    if (out != NULL) {
        (void)snprintf(out, bytes, "%.*s.study", (int)length, path);
    }
    return out;
}
