// Hands evaluations to the evaluator's processes, here and on other ranks, and records what comes back.
//

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/processes.h"
#include "search/trials_internal.h"

static const double flush_seconds =
    0.02; // longest that a result waits for company on its way to disk
static const double wait_seconds = 0.2; // between two looks at the stop flag

struct cop_trials_desk {
    int ranks;
    int64_t *free_slots; // [ranks], of rank 1 …
    int64_t *queue;      // [capacity] trials to evaluate, a ring
    int *tries;          // [capacity] by trial
    int64_t capacity;
    int64_t next; // of the queue
    int64_t queued;
    int64_t outstanding;
    int64_t *finished; // [capacity] trials with a result or a failure that is not on disk yet
    int64_t finished_count;
    double finished_since;
    int64_t done; // of this study, for the progress
};

// --- Life ---------------------------------------------------------------------------------------

cop_status cop_trials_desk_create(cop_trials_desk **out, cop_trials_run *t, cop_error *err)
{
    const cop_processes self = cop_processes_self();
    cop_trials_desk *desk = cop_alloc(1, sizeof *desk);

    *out = NULL;
    if (desk != NULL) {
        desk->ranks = self.size;
        desk->free_slots = cop_alloc((size_t)self.size, sizeof *desk->free_slots);
    }
    if (desk == NULL || desk->free_slots == NULL) {
        cop_free(desk);
        return COP_FAIL(err, COP_ERR_NOMEM, "search: no memory for %d processes", self.size);
    }
    for (int i = 1; i < self.size; i++) {
        desk->free_slots[i] = t->run->study->evaluator_processes;
    }
    *out = desk;
    return COP_OK;
}

void cop_trials_desk_destroy(cop_trials_desk *desk)
{
    if (desk == NULL) {
        return;
    }
    for (int rank = 1; rank < desk->ranks; rank++) {
        if (cop_processes_send(rank, "{}", 3, NULL) != COP_OK) {
            cop_processes_abort(1); // who hears nothing would wait for ever
        }
    }
    cop_free(desk->free_slots);
    cop_free(desk->queue);
    cop_free(desk->tries);
    cop_free(desk->finished);
    cop_free(desk);
}

static cop_status grow(cop_trials_run *t, cop_error *err)
{
    cop_trials_desk *desk = t->desk;
    const size_t wanted = (size_t)t->trials.count + 1;

    if ((int64_t)wanted <= desk->capacity) {
        return COP_OK;
    }
    const size_t capacity = 2 * wanted;
    int64_t *queue = cop_realloc(desk->queue, capacity, sizeof *queue);
    desk->queue = queue != NULL ? queue : desk->queue;
    int64_t *finished = cop_realloc(desk->finished, capacity, sizeof *finished);
    desk->finished = finished != NULL ? finished : desk->finished;
    int *tries = cop_realloc(desk->tries, capacity, sizeof *tries);
    desk->tries = tries != NULL ? tries : desk->tries;
    if (queue == NULL || finished == NULL || tries == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "search: no memory for %zu points", capacity);
    }
    desk->capacity = (int64_t)capacity;
    return COP_OK;
}

// --- Recording ----------------------------------------------------------------------------------

static cop_status flush(cop_trials_run *t, int stage, cop_error *err)
{
    cop_trials_desk *desk = t->desk;
    const int64_t count = desk->finished_count;

    if (count == 0) {
        return COP_OK;
    }
    desk->finished_count = 0;
    return cop_store_finish_trials(t->run->store, &t->trials, desk->finished, count, stage, err);
}

static void add_finished(cop_trials_run *t, int64_t index)
{
    cop_trials_desk *desk = t->desk;
    if (desk->finished_count == 0) {
        desk->finished_since = cop_clock_seconds();
    }
    desk->finished[desk->finished_count++] = index;
    desk->done++;
    cop_progress_update(&t->run->progress, t->run->progress.resumed + desk->done, NULL);
}

static void take_failure(cop_trials_run *t, int64_t index, const char *reason)
{
    cop_trials_desk *desk = t->desk;
    cop_trial_entry *entry = &t->trials.entry[index];
    const int allowed = (int)t->run->study->evaluator_attempts;

    entry->failures++;
    (void)snprintf(entry->reason, sizeof entry->reason, "%s", reason);
    if (++desk->tries[index] < allowed) {
        cop_run_note(t->run, COP_LOG_WARNING, "%s is tried again: %s", entry->id, reason);
        desk->queue[desk->queued++ % desk->capacity] = index;
        return;
    }
    entry->is_failed = true;
    cop_run_note(t->run, COP_LOG_WARNING, "%s: failed after %d attempts: %s", entry->id,
                 desk->tries[index], reason);
    add_finished(t, index);
}

// `result` owns its metrics; the trial takes them.
static void take_result(cop_trials_run *t, int64_t index, int stage, cop_trial_result *result)
{
    cop_trial_result *to = &t->trials.entry[index].result[stage];
    cop_free(to->metric);
    *to = *result;
    to->is_done = true;
    to->fidelity = cop_trials_fidelity(t->run->study, stage);
    *result = (cop_trial_result){0};
    add_finished(t, index);
}

// --- This process's evaluator -------------------------------------------------------------------

static cop_status copy_metrics(cop_trial_result *out, const cop_evaluator_answer *answer,
                               cop_error *err)
{
    *out = (cop_trial_result){.seconds = answer->seconds};
    out->metric = cop_alloc((size_t)answer->count + 1, sizeof *out->metric);
    if (out->metric == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "search: no memory for %d metrics", answer->count);
    }
    for (int i = 0; i < answer->count; i++) {
        const cop_evaluator_metric *from = &answer->metrics[i];
        if (strlen(from->name) < COP_FREE_NAME_BYTES) { // longer ones nothing can ask for
            cop_metric *to = &out->metric[out->metrics++];
            (void)snprintf(to->name, sizeof to->name, "%s", from->name);
            to->value = from->value;
        }
    }
    return COP_OK;
}

static cop_status take_local(cop_trials_run *t, int stage, double seconds, cop_error *err)
{
    cop_status status = COP_OK;
    cop_evaluator_answer answer = {0};
    bool has_one = true;

    if (cop_evaluator_free_slots(t->pool) == t->run->study->evaluator_processes) {
        cop_clock_pause(t->desk->outstanding > 0 ? seconds : 0); // nothing here, others are at work
        return COP_OK;
    }
    while (has_one) {
        COP_TRY(status, cop_evaluator_wait(t->pool, seconds, &answer, &has_one, err));
        seconds = 0;
        if (!has_one) {
            break;
        }
        t->desk->outstanding--;
        if (answer.outcome == COP_EVALUATOR_METRICS) {
            cop_trial_result result = {0};
            COP_TRY(status, copy_metrics(&result, &answer, err));
            take_result(t, answer.ticket, stage, &result);
        } else {
            take_failure(t, answer.ticket, answer.reason);
        }
        cop_evaluator_answer_release(&answer);
        if (cop_evaluator_free_slots(t->pool) > 0 && t->desk->next < t->desk->queued) {
            break; // work for it first
        }
    }

done:
    cop_evaluator_answer_release(&answer);
    return status;
}

// --- Other ranks --------------------------------------------------------------------------------

static cop_status parse_result(cop_trial_result *out, json_t *message, cop_error *err)
{
    json_t *metrics = json_object_get(message, "metrics");
    const char *key = NULL;
    json_t *value = NULL;

    *out = (cop_trial_result){.seconds = json_number_value(json_object_get(message, "seconds"))};
    out->metric = cop_alloc(json_object_size(metrics) + 1, sizeof *out->metric);
    if (out->metric == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "search: no memory for metrics");
    }
    json_object_foreach(metrics, key, value)
    {
        cop_metric *metric = &out->metric[out->metrics++];
        (void)snprintf(metric->name, sizeof metric->name, "%s", key);
        metric->value = json_number_value(value);
    }
    return COP_OK;
}

static cop_status take_remote_one(cop_trials_run *t, int from, json_t *message, int stage,
                                  cop_error *err)
{
    const char *failed = json_string_value(json_object_get(message, "failed"));
    const char *note = json_string_value(json_object_get(message, "note"));
    const char *reason = json_string_value(json_object_get(message, "reason"));
    const int64_t ticket = json_integer_value(json_object_get(message, "ticket"));
    cop_trial_result result = {0};
    cop_status status = COP_OK;

    if (note != NULL) {
        cop_run_note(t->run, COP_LOG_INFO, "[%d] %s", from, note);
        return COP_OK;
    }
    if (json_object_get(message, "stop") != NULL) {
        t->run->wants_stop = true;
        return COP_OK;
    }
    if (failed != NULL) {
        return COP_FAIL(err, COP_ERR_CONFIG, "%s", failed);
    }
    if (ticket < 0 || ticket >= t->trials.count) {
        return COP_FAIL(err, COP_ERR_FORMAT, "search: rank %d answered ticket %" PRId64, from,
                        ticket);
    }
    t->desk->outstanding--;
    t->desk->free_slots[from]++;
    if (reason != NULL) {
        take_failure(t, ticket, reason);
        return COP_OK;
    }
    COP_TRY(status, parse_result(&result, message, err));
    take_result(t, ticket, stage, &result);

done:
    return status;
}

static cop_status take_remote(cop_trials_run *t, int stage, cop_error *err)
{
    cop_status status = COP_OK;
    json_t *message = NULL;
    int from = 0;

    while (from >= 0 && t->desk->ranks > 1) {
        json_decref(message);
        message = NULL;
        COP_TRY(status, cop_trials_take(&message, &from, err));
        if (from >= 0) {
            COP_TRY(status, take_remote_one(t, from, message, stage, err));
        }
    }

done:
    json_decref(message);
    return status;
}

static cop_status hand_out(cop_trials_run *t, int stage, cop_error *err)
{
    cop_trials_desk *desk = t->desk;
    const double fidelity = cop_trials_fidelity(t->run->study, stage);
    cop_status status = COP_OK;

    while (desk->next < desk->queued && cop_evaluator_free_slots(t->pool) > 0) {
        const int64_t index = desk->queue[desk->next % desk->capacity];
        const cop_trial_entry *entry = &t->trials.entry[index];
        COP_TRY(status,
                cop_evaluator_submit(t->pool, index, entry->id, entry->values, fidelity, err));
        desk->next++;
        desk->outstanding++;
    }
    for (int rank = 1; rank < desk->ranks; rank++) {
        while (desk->next < desk->queued && desk->free_slots[rank] > 0) {
            const int64_t index = desk->queue[desk->next % desk->capacity];
            const cop_trial_entry *entry = &t->trials.entry[index];
            COP_TRY(status, cop_trials_send(rank,
                                            json_pack("{s:I, s:i, s:s, s:s}", "ticket",
                                                      (json_int_t)index, "stage", stage, "id",
                                                      entry->id, "values", entry->values),
                                            err));
            desk->next++;
            desk->outstanding++;
            desk->free_slots[rank]--;
        }
    }

done:
    return status;
}

// --- One list -----------------------------------------------------------------------------------

static void fill_queue(cop_trials_run *t, const int64_t *list, int64_t count, int stage)
{
    cop_trials_desk *desk = t->desk;
    desk->next = 0;
    desk->queued = 0;
    for (int64_t i = 0; i < count; i++) {
        const cop_trial_entry *entry = &t->trials.entry[list[i]];
        desk->tries[list[i]] = 0;
        if (!entry->is_failed && !entry->result[stage].is_done) {
            desk->queue[desk->queued++] = list[i];
        }
    }
}

static void note_stop(cop_trials_run *t)
{
    if (!t->run->is_stopped) {
        t->run->is_stopped = true;
        t->desk->queued = t->desk->next; // nothing more is handed out
        if (t->desk->outstanding > 0) {
            cop_run_note(t->run, COP_LOG_INFO,
                         "stopping: %" PRId64 " evaluations end first; a second interrupt gives "
                         "them up",
                         t->desk->outstanding);
        }
    }
}

cop_status cop_trials_evaluate(cop_trials_run *t, const int64_t *list, int64_t count, int stage,
                               cop_error *err)
{
    cop_trials_desk *desk = t->desk;
    cop_status status = COP_OK;

    COP_TRY(status, grow(t, err));
    fill_queue(t, list, count, stage);
    while (desk->next < desk->queued || desk->outstanding > 0) {
        if (cop_run_should_stop(t->run)) {
            note_stop(t);
        }
        COP_TRY(status, hand_out(t, stage, err));
        COP_TRY(status, take_local(t, stage,
                                   desk->ranks > 1 ? cop_trials_look_seconds : wait_seconds, err));
        COP_TRY(status, take_remote(t, stage, err));
        if (t->run->is_stopped) {
            desk->queued = desk->next; // a failed one is not tried again
        }
        if (desk->finished_count > 0 &&
            cop_clock_seconds() - desk->finished_since >= flush_seconds) {
            COP_TRY(status, flush(t, stage, err));
        }
    }
    COP_TRY(status, flush(t, stage, err));

done:
    if (status != COP_OK) { // what came back stays, if the disk takes it
        cop_error other = {0};
        if (flush(t, stage, &other) != COP_OK) {
            cop_run_note(t->run, COP_LOG_DEBUG, "%s", other.message);
        }
    }
    return status;
}
