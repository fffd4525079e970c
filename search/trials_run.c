// The loop of a study with an evaluator: batches, then fidelities.

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "search/calibration.h"
#include "search/facts.h"
#include "search/trials.h"
#include "search/trials_internal.h"

enum { ASK_MAX = 4096 };

static cop_status nomem(const cop_run *run, cop_error *err)
{
    return COP_FAIL(err, COP_ERR_NOMEM, "%s: out of memory", run->options->directory);
}

// --- Opening ------------------------------------------------------------------------------------

cop_status cop_trials_open_pool(cop_evaluator **out, const cop_study_file *study, bool has_answered,
                                cop_evaluator_log log, void *context, cop_error *err)
{
    char directory[COP_STUDY_PATH_BYTES];
    const char *slash = strrchr(study->path, '/');
    cop_evaluator_options options = COP_EVALUATOR_OPTIONS_DEFAULT;

    (void)snprintf(directory, sizeof directory, "%.*s",
                   slash == NULL ? 1 : (int)(slash - study->path) + 1,
                   slash == NULL ? "." : study->path);
    options.command = study->evaluator_command;
    options.directory = directory;
    options.processes = (int)study->evaluator_processes;
    options.timeout_seconds = study->evaluator_timeout_seconds;
    options.restarts = (int)study->evaluator_restarts;
    options.has_answered = has_answered;
    options.required = study->free->required;
    options.required_count = study->free->required_count;
    options.log = log;
    options.log_context = context;
    return cop_evaluator_create(out, &options, err);
}

static void note_line(void *context, const char *line)
{
    cop_run_note(context, COP_LOG_INFO, "%s", line);
}

// Results of another fidelity than the stage's are of no use any more.
static void drop_changed(cop_trials *trials, const cop_study_file *study)
{
    for (int64_t i = 0; i < trials->count; i++) {
        for (int s = 0; s < COP_TRIAL_STAGES_MAX; s++) {
            cop_trial_result *result = &trials->entry[i].result[s];
            if (s >= cop_trials_stages(study) ||
                result->fidelity != cop_trials_fidelity(study, s)) {
                cop_free(result->metric);
                *result = (cop_trial_result){0};
            }
        }
    }
}

static bool has_results(const cop_trials_run *t)
{
    for (int64_t i = 0; i < t->trials.count; i++) {
        for (int s = 0; s < COP_TRIAL_STAGES_MAX; s++) {
            if (t->trials.entry[i].result[s].is_done) {
                return true;
            }
        }
    }
    return false;
}

static cop_status open_trials(cop_trials_run *t, cop_error *err)
{
    cop_run *run = t->run;
    cop_status status = COP_OK;

    COP_TRY(status, cop_run_open_directory(run, err));
    COP_TRY(status, cop_run_identify_trials(run, err));
    if ((run->changes & (COP_CHANGED_SPACE | COP_CHANGED_BUDGET)) != 0) {
        COP_TRY(status, cop_store_detach_trials(run->store, err));
    }
    COP_TRY(status, cop_run_extended(run, err));
    COP_TRY(status, cop_trials_read(&t->trials, run->store, false, err));
    COP_TRY(status, cop_trials_read(&t->detached, run->store, true, err));
    drop_changed(&t->trials, run->study);
    drop_changed(&t->detached, run->study);
    COP_TRY(status,
            cop_trials_open_pool(&t->pool, run->study, has_results(t), note_line, run, err));

done:
    return status;
}

static cop_status open_strategy(cop_trials_run *t, cop_error *err)
{
    const cop_study_file *study = t->run->study;
    cop_strategy_options options = COP_STRATEGY_OPTIONS_DEFAULT;

    options.objectives = t->space->objectives;
    options.population = study->population;
    options.batch = study->batch;
    options.seed = study->seed;
    return cop_strategy_create(&t->strategy, cop_strategy_find(study->strategy), &t->domain,
                               &options, err);
}

// --- Batches ------------------------------------------------------------------------------------

static double metric_of(const void *context, const char *name)
{
    return cop_trial_metric(context, name);
}

// Tells the strategy what came of trials [first, first + count).
static cop_status tell(cop_trials_run *t, int64_t first, int64_t count, cop_error *err)
{
    const cop_free_space *space = t->space;
    const int stage = (int)t->run->study->fidelity;
    cop_status status = COP_OK;
    cop_trial *told = cop_alloc((size_t)count + 1, sizeof *told);
    int32_t *genomes = cop_alloc((size_t)(count * space->axes) + 1, sizeof *genomes);

    if (told == NULL || genomes == NULL) {
        status = nomem(t->run, err);
        goto done;
    }
    for (int64_t i = 0; i < count; i++) {
        const cop_trial_entry *entry = &t->trials.entry[first + i];
        const cop_trial_result *result = &entry->result[stage];
        int32_t *genome = genomes + i * space->axes;
        if (!cop_free_space_parse(space, entry->values, genome)) {
            status = COP_FAIL(err, COP_ERR_FORMAT,
                              "%s/study.db: trial %s is no point of the study's space",
                              t->run->options->directory, entry->id);
            goto done;
        }
        told[i] = (cop_trial){.genome = genome, .is_failed = !result->is_done};
        if (result->is_done) {
            told[i].violation = cop_free_space_violation(space, metric_of, result);
            for (int k = 0; k < space->objectives; k++) {
                told[i].objective[k] = cop_trial_metric(result, space->objective[k]);
            }
        }
    }
    COP_TRY(status, cop_strategy_tell(t->strategy, told, count, err));

done:
    cop_free(told);
    cop_free(genomes);
    return status;
}

static void move_results(cop_trial_entry *to, cop_trial_entry *from)
{
    to->is_failed = from->is_failed;
    to->failures = from->failures;
    memcpy(to->reason, from->reason, sizeof to->reason);
    memcpy(to->result, from->result, sizeof to->result);
    memset(from->result, 0, sizeof from->result);
}

// Appends one proposal; what a detached trial knows of it is taken over.
static cop_status append(cop_trials_run *t, int64_t batch, const int32_t *genome, cop_error *err)
{
    char id[COP_FREE_ID_BYTES];
    cop_text values = {0};
    cop_trial_entry *entry = NULL;
    int64_t old = -1;
    cop_status status = COP_OK;

    cop_free_space_values(&values, t->space, genome);
    COP_TRY(status, cop_text_check(&values, "space", err));
    COP_TRY(status, cop_free_space_id(id, t->space, genome, err));
    entry = cop_trials_append(&t->trials, batch, id, cop_text_view(&values));
    if (entry == NULL) {
        status = nomem(t->run, err);
        goto done;
    }
    old = cop_trials_find(&t->detached, id);
    if (old >= 0) {
        move_results(entry, &t->detached.entry[old]);
        t->reused++;
    }

done:
    cop_text_release(&values);
    return status;
}

// Asks for a batch of which `known` points are stored already, from trial `first` on.
static cop_status ask(cop_trials_run *t, int64_t batch, int64_t first, int64_t known, int64_t limit,
                      int64_t *count, cop_error *err)
{
    const int axes = t->space->axes;
    cop_status status = COP_OK;
    cop_text values = {0};
    int32_t *genomes = cop_alloc((size_t)(limit * axes) + 1, sizeof *genomes);

    if (genomes == NULL) {
        return nomem(t->run, err);
    }
    COP_TRY(status, cop_strategy_ask(t->strategy, genomes, limit, count, err));
    for (int64_t i = 0; i < known && i < *count; i++) {
        cop_text_release(&values);
        cop_free_space_values(&values, t->space, genomes + i * axes);
        COP_TRY(status, cop_text_check(&values, "space", err));
        if (strcmp(cop_text_view(&values), t->trials.entry[first + i].values) != 0) {
            status = COP_FAIL(err, COP_ERR_FORMAT,
                              "%s/study.db: batch %" PRId64 " is not what this program proposes: "
                              "it was begun by another version (allowed: that one, or another "
                              "directory)",
                              t->run->options->directory, batch);
            goto done;
        }
    }
    for (int64_t i = known; i < *count; i++) {
        COP_TRY(status, append(t, batch, genomes + i * axes, err));
    }
    if (*count > known) {
        COP_TRY(status, cop_store_add_trials(t->run->store, &t->trials, first + known,
                                             *count - known, err));
    }
    *count = *count > known ? *count : known;

done:
    cop_text_release(&values);
    cop_free(genomes);
    return status;
}

static cop_status evaluate_range(cop_trials_run *t, int64_t first, int64_t count, int stage,
                                 cop_error *err)
{
    int64_t *list = cop_alloc((size_t)count + 1, sizeof *list);
    if (list == NULL) {
        return nomem(t->run, err);
    }
    for (int64_t i = 0; i < count; i++) {
        list[i] = first + i;
    }
    const cop_status status = cop_trials_evaluate(t, list, count, stage, err);
    cop_free(list);
    return status;
}

// How many trials of the store belong to the batch that begins with trial `first`.
static int64_t stored_batch(const cop_trials *trials, int64_t first)
{
    int64_t end = first;
    while (end < trials->count && trials->entry[end].batch == trials->entry[first].batch) {
        end++;
    }
    return end - first;
}

static cop_status store_calibration(const cop_trials_run *t, cop_error *err)
{
    const char *name[COP_FRONT_OBJECTIVES_MAX];
    for (int k = 0; k < t->space->objectives; k++) {
        name[k] = t->space->objective[k];
    }
    return cop_calibration_store(t->run->store, t->strategy, name, t->space->objectives, err);
}

// One batch, new or stored. Whole batches behind which another one is stored need not be asked for again.
static cop_status run_batch(cop_trials_run *t, int64_t batch, int64_t first, int64_t *count,
                            cop_error *err)
{
    const cop_study_file *study = t->run->study;
    const int stage = (int)study->fidelity;
    const int64_t known = stored_batch(&t->trials, first);
    const int64_t left = study->evaluations > 0 ? study->evaluations - first : INT64_MAX;
    cop_status status = COP_OK;

    *count = known;
    if (first + known == t->trials.count && left > known) {
        const int64_t limit = left < ASK_MAX ? left : ASK_MAX;
        COP_TRY(status, ask(t, batch, first, known, limit, count, err));
    }
    if (*count == 0) {
        goto done;
    }
    COP_TRY(status, evaluate_range(t, first, *count, stage, err));
    if (t->run->is_stopped) {
        goto done;
    }
    COP_TRY(status, tell(t, first, *count, err));
    if (first + *count == t->trials.count) { // replayed batches would only store what is stored
        COP_TRY(status, store_calibration(t, err));
    }

done:
    return status;
}

static void start_progress(cop_trials_run *t)
{
    const cop_study_file *study = t->run->study;
    int64_t done = 0;
    for (int64_t i = 0; i < t->trials.count; i++) {
        const cop_trial_entry *entry = &t->trials.entry[i];
        done += entry->is_failed || entry->result[study->fidelity].is_done ? 1 : 0;
    }
    const double size = cop_free_space_size(t->space);
    const double wanted = study->evaluations > 0 ? (double)study->evaluations : size;
    (void)snprintf(t->run->what, sizeof t->run->what, "%s:", study->strategy);
    cop_progress_init(&t->run->progress, t->run->what, "evaluation",
                      (int64_t)fmin(fmin(wanted, size), 0x1p52), done);
}

static cop_status run_strategy(cop_trials_run *t, cop_error *err)
{
    cop_status status = COP_OK;
    int64_t first = 0;
    int64_t count = 1;

    start_progress(t);
    for (int64_t batch = 0; count > 0 && !t->run->is_stopped; batch++) {
        COP_TRY(status, run_batch(t, batch, first, &count, err));
        first += count;
        if (t->run->study->evaluations > 0 && first >= t->run->study->evaluations) {
            break;
        }
    }
    if (t->trials.count == 0) {
        status = COP_FAIL(err, COP_ERR_CONFIG, "%s: space: holds no point", t->run->study->path);
    }

done:
    return status;
}

// --- Fidelities ---------------------------------------------------------------------------------

static cop_status run_stage(cop_trials_run *t, int stage, cop_error *err)
{
    const cop_study_file *study = t->run->study;
    cop_status status = COP_OK;
    cop_trial_rank *ranking = NULL;
    char *decision = NULL;
    int64_t *list = NULL;
    int64_t count = 0;
    int64_t kept = 0;

    COP_TRY(status, cop_trials_rank(&ranking, &count, &t->trials, t->space, stage - 1, err));
    decision = cop_alloc((size_t)count + 1, 1);
    list = cop_alloc((size_t)count + 1, sizeof *list);
    if (decision == NULL || list == NULL) {
        status = nomem(t->run, err);
        goto done;
    }
    COP_TRY(status, cop_trials_promote(decision, ranking, count, stage - 1, study->keep,
                                       study->rescue, study->seed, err));
    cop_trials_keep_promoted(&t->trials, ranking, count, decision, stage - 1);
    for (int64_t i = 0; i < count; i++) {
        if (decision[i] != 'e') {
            list[kept++] = ranking[i].index;
        }
    }
    cop_run_note(t->run, COP_LOG_INFO, "fidelity %g: %" PRId64 " of %" PRId64 " points go on",
                 cop_trials_fidelity(study, stage), kept, count);
    (void)snprintf(t->run->what, sizeof t->run->what, "fidelity %d/%d:", stage + 1,
                   cop_trials_stages(study));
    cop_progress_init(&t->run->progress, t->run->what, "evaluation", kept, 0);
    COP_TRY(status, cop_trials_evaluate(t, list, kept, stage, err));

done:
    cop_free(ranking);
    cop_free(decision);
    cop_free(list);
    return status;
}

// Nothing ever came back: that is a failure of the evaluator, not a result.
static cop_status check_results(const cop_trials_run *t, cop_error *err)
{
    const int stage = (int)t->run->study->fidelity;
    for (int64_t i = 0; i < t->trials.count; i++) {
        if (t->trials.entry[i].result[stage].is_done) {
            return COP_OK;
        }
    }
    const cop_trial_entry *first = &t->trials.entry[0];
    return COP_FAIL(err, COP_ERR_CONFIG, "%s: no evaluation succeeded; the first is %s: %s",
                    t->run->options->directory, first->id, first->reason);
}

static cop_status run_all(cop_trials_run *t, cop_error *err)
{
    const int stages = cop_trials_stages(t->run->study);
    char date[COP_CLOCK_DATE_BYTES];
    cop_status status = COP_OK;

    COP_TRY(status, open_trials(t, err));
    COP_TRY(status, open_strategy(t, err));
    COP_TRY(status, run_strategy(t, err));
    if (!t->run->is_stopped) {
        COP_TRY(status, check_results(t, err));
    }
    for (int s = (int)t->run->study->fidelity + 1; s < stages && !t->run->is_stopped; s++) {
        COP_TRY(status, run_stage(t, s, err));
    }
    if (t->run->is_stopped) {
        cop_run_note(t->run, COP_LOG_INFO, "stopped; the same command continues");
        goto done;
    }
    if (t->reused > 0) {
        cop_run_note(t->run, COP_LOG_INFO, "%" PRId64 " evaluations were used again", t->reused);
    }
    COP_TRY(status, cop_store_set(t->run->store, COP_FACT_FINISHED, cop_clock_date(date), err));
    cop_run_note(t->run, COP_LOG_INFO, "the study is finished");

done:
    return status;
}

cop_status cop_trials_search(cop_run *run, cop_error *err)
{
    cop_trials_run t = {
        .run = run, .space = run->study->free, .domain = cop_free_space_domain(run->study->free)};
    cop_status status = cop_trials_desk_create(&t.desk, &t, err);

    if (status == COP_OK) {
        status = run_all(&t, err);
    }
    cop_trials_desk_destroy(t.desk); // which lets the other processes go, whatever happened
    cop_evaluator_destroy(t.pool);
    cop_strategy_destroy(t.strategy);
    cop_trials_release(&t.trials);
    cop_trials_release(&t.detached);
    return status;
}
