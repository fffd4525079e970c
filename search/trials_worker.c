// A rank that evaluates for rank 0, and the messages between them.

#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/processes.h"
#include "search/trials_internal.h"

// --- Messages -----------------------------------------------------------------------------------

cop_status cop_trials_send(int to, json_t *object, cop_error *err)
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

cop_status cop_trials_take(json_t **out, int *from, cop_error *err)
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

// --- Evaluating ---------------------------------------------------------------------------------

static cop_status answer(const cop_evaluator_answer *from, cop_error *err)
{
    json_t *message =
        json_pack("{s:I, s:f}", "ticket", (json_int_t)from->ticket, "seconds", from->seconds);
    if (from->outcome != COP_EVALUATOR_METRICS) {
        (void)json_object_set_new(message, "reason", json_string(from->reason));
        return cop_trials_send(0, message, err);
    }
    json_t *metrics = json_object();
    for (int i = 0; i < from->count; i++) {
        if (strlen(from->metrics[i].name) < COP_FREE_NAME_BYTES) {
            (void)json_object_set_new(metrics, from->metrics[i].name,
                                      json_real(from->metrics[i].value));
        }
    }
    (void)json_object_set_new(message, "metrics", metrics);
    return cop_trials_send(0, message, err);
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
        COP_TRY(status, cop_trials_take(&message, &from, err));
        if (from == 0 && json_object_size(message) == 0) {
            break;
        }
        if (from == 0) {
            COP_TRY(status, serve_one(run, pool, message, err));
        }
        if (!has_told && run->options->stop != NULL && *run->options->stop != 0) {
            has_told = true;
            COP_TRY(status, cop_trials_send(0, json_pack("{s:b}", "stop", 1), err));
        }
        if (from < 0 && cop_evaluator_free_slots(pool) == run->study->evaluator_processes) {
            cop_clock_pause(cop_trials_look_seconds);
            continue;
        }
        COP_TRY(status, cop_evaluator_wait(pool, from == 0 ? 0 : cop_trials_look_seconds, &found,
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
    if (cop_trials_send(0, json_pack("{s:s}", "note", line), NULL) != COP_OK) {
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
        COP_TRY(status, cop_trials_take(&message, &from, err));
        is_over = from == 0 && json_object_size(message) == 0;
        json_decref(message);
        message = NULL;
        cop_clock_pause(cop_trials_look_seconds);
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
        status = cop_trials_send(0, json_pack("{s:s}", "failed", own.message), err);
        return status == COP_OK ? wait_quit(err) : status;
    }
    return status == COP_OK ? COP_OK : COP_FAIL(err, status, "%s", own.message);
}
