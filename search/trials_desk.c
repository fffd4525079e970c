// Hands evaluations to the evaluator's processes, here and on other ranks, and records what comes back.
//
// Messages between ranks are JSON texts: to a worker {"ticket":…,"stage":…,"id":…,"values":"…"} or {} to quit;
// from it {"ticket":…,"seconds":…,"metrics":{…}} or {"ticket":…,"reason":…}, and {"failed":…} when its
// evaluator gave up.

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
static const double remote_wait_seconds = 0.002;

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

static cop_status send_json(int to, json_t *object, cop_error *err)
{
    char *text = NULL;
    cop_status status = cop_json_text(&text, object, 0, err);
    if (status == COP_OK) {
        status = cop_processes_send(to, text, strlen(text) + 1, err);
    }
    cop_free(text);
    json_decref(object);
    return status;
}

// The next message; *out NULL: none. Owned by the caller.
static cop_status take_json(json_t **out, int *from, cop_error *err)
{
    cop_status status = COP_OK;
    uint64_t bytes = 0;
    char *text = NULL;

    *out = NULL;
    COP_TRY(status, cop_processes_poll(from, &bytes, err));
    if (*from < 0) {
        goto done;
    }
    text = cop_alloc((size_t)bytes + 1, 1);
    if (text == NULL) {
        status = COP_FAIL(err, COP_ERR_NOMEM,
                          "search: no memory for a message of %" PRIu64 " bytes", bytes);
        goto done;
    }
    COP_TRY(status, cop_processes_receive(*from, text, bytes, err));
    COP_TRY(status, cop_json_parse(out, "message", text, strlen(text), err));

done:
    cop_free(text);
    return status;
}

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
        COP_TRY(status, take_json(&message, &from, err));
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
            COP_TRY(status,
                    send_json(rank,
                              json_pack("{s:I, s:i, s:s, s:s}", "ticket", (json_int_t)index,
                                        "stage", stage, "id", entry->id, "values", entry->values),
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
        COP_TRY(status,
                take_local(t, stage, desk->ranks > 1 ? remote_wait_seconds : wait_seconds, err));
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

// --- A worker -----------------------------------------------------------------------------------

static cop_status answer(const cop_evaluator_answer *from, cop_error *err)
{
    json_t *message =
        json_pack("{s:I, s:f}", "ticket", (json_int_t)from->ticket, "seconds", from->seconds);
    if (from->outcome != COP_EVALUATOR_METRICS) {
        (void)json_object_set_new(message, "reason", json_string(from->reason));
        return send_json(0, message, err);
    }
    json_t *metrics = json_object();
    for (int i = 0; i < from->count; i++) {
        if (strlen(from->metrics[i].name) < COP_FREE_NAME_BYTES) {
            (void)json_object_set_new(metrics, from->metrics[i].name,
                                      json_real(from->metrics[i].value));
        }
    }
    (void)json_object_set_new(message, "metrics", metrics);
    return send_json(0, message, err);
}

static cop_status serve_one(const cop_run *run, cop_evaluator *pool, json_t *message,
                            cop_error *err)
{
    const int stage = (int)json_integer_value(json_object_get(message, "stage"));
    return cop_evaluator_submit(pool, json_integer_value(json_object_get(message, "ticket")),
                                json_string_value(json_object_get(message, "id")),
                                json_string_value(json_object_get(message, "values")),
                                cop_trials_fidelity(run->study, stage), err);
}

static cop_status serve(cop_run *run, cop_evaluator *pool, cop_error *err)
{
    cop_status status = COP_OK;
    cop_evaluator_answer found = {0};
    json_t *message = NULL;
    bool has_told = false;

    for (;;) {
        bool has_one = false;
        int from = -1;
        json_decref(message);
        message = NULL;
        COP_TRY(status, take_json(&message, &from, err));
        if (from == 0 && json_object_size(message) == 0) {
            break;
        }
        if (from == 0) {
            COP_TRY(status, serve_one(run, pool, message, err));
        }
        if (!has_told && run->options->stop != NULL && *run->options->stop != 0) {
            has_told = true;
            COP_TRY(status, send_json(0, json_pack("{s:b}", "stop", 1), err));
        }
        if (from < 0 && cop_evaluator_free_slots(pool) == run->study->evaluator_processes) {
            cop_clock_pause(remote_wait_seconds);
            continue;
        }
        COP_TRY(status, cop_evaluator_wait(pool, from == 0 ? 0 : remote_wait_seconds, &found,
                                           &has_one, err));
        if (has_one) {
            COP_TRY(status, answer(&found, err));
            cop_evaluator_answer_release(&found);
        }
    }

done:
    json_decref(message);
    cop_evaluator_answer_release(&found);
    return status;
}

static void note_to_rank_0(void *context, const char *line)
{
    (void)context;
    if (send_json(0, json_pack("{s:s}", "note", line), NULL) != COP_OK) {
        cop_log(COP_LOG_INFO, "%s", line); // then here
    }
}

// After its evaluator gave up a worker says so and waits to be let go.
static cop_status wait_quit(cop_error *err)
{
    cop_status status = COP_OK;
    json_t *message = NULL;
    bool is_over = false;

    while (!is_over) {
        int from = -1;
        COP_TRY(status, take_json(&message, &from, err));
        is_over = from == 0 && json_object_size(message) == 0;
        json_decref(message);
        message = NULL;
        cop_clock_pause(remote_wait_seconds);
    }

done:
    return status;
}

cop_status cop_trials_serve(cop_run *run, cop_error *err)
{
    cop_error own = {0};
    cop_evaluator *pool = NULL;
    cop_status status = cop_trials_open_pool(&pool, run->study, false, note_to_rank_0, run, &own);

    if (status == COP_OK) {
        status = serve(run, pool, &own);
    }
    cop_evaluator_destroy(pool);
    if (status != COP_OK && status != COP_ERR_DEVICE) { // messages still work
        status = send_json(0, json_pack("{s:s}", "failed", own.message), err);
        return status == COP_OK ? wait_quit(err) : status;
    }
    return status == COP_OK ? COP_OK : COP_FAIL(err, status, "%s", own.message);
}
