// The loop over stages and candidates.

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/processes.h"
#include "search/facts.h"
#include "search/trials.h"
#include "search/workers.h"

static cop_status reread(cop_run *run, cop_error *err)
{
    cop_snapshot_release(&run->snapshot);
    return cop_snapshot_read(&run->snapshot, run->store, err);
}

static int64_t count_entrants(const cop_run *run, int stage)
{
    int64_t count = 0;
    for (int64_t i = 0; i < run->snapshot.count; i++) {
        count += cop_run_enters(run, i, stage) ? 1 : 0;
    }
    return count;
}

// Tokens that `stage` puts through a student, per candidate: trained and evaluated.
static int64_t stage_tokens(const cop_run *run, int stage)
{
    const cop_study_file *study = run->study;
    const int64_t before = stage < 2 ? 0 : study->rung_tokens[stage - 2];
    const int64_t trained = stage < 1 ? 0 : study->rung_tokens[stage - 1] - before;
    return trained + run->held_count * study->probe_sequence;
}

// What is ahead, by the shares that promotions keep.
static int64_t tokens_ahead(const cop_run *run, int stage, int64_t entrants)
{
    int64_t total = 0;
    int64_t candidates = entrants;
    for (int s = stage; s <= run->study->rungs; s++) {
        total += candidates * stage_tokens(run, s);
        if (s == 0 && run->study->keep_pruned > 0 && run->study->keep_pruned < candidates) {
            candidates = run->study->keep_pruned;
        } else if (s > 0) {
            candidates = (int64_t)((double)candidates * run->study->keep + 0.999999);
        }
    }
    return total;
}

// Saved states of candidates that went out are of no use; an interruption may have left some.
static cop_status clean(cop_run *run, cop_error *err)
{
    cop_status status = COP_OK;
    char *path = NULL;

    for (int64_t i = 0; i < run->snapshot.count; i++) {
        const cop_snapshot_candidate *c = &run->snapshot.candidate[i];
        if (c->state != COP_STATE_ELIMINATED && c->state != COP_STATE_FAILED) {
            continue;
        }
        path = cop_run_checkpoint_path(run, c->candidate.id);
        if (path == NULL) {
            status = COP_FAIL(err, COP_ERR_NOMEM, "%s: out of memory", run->options->directory);
            goto done;
        }
        COP_TRY(status, cop_file_remove_tree(path, err));
        cop_free(path);
        path = NULL;
    }

done:
    cop_free(path);
    return status;
}

// The teacher's samples of the training text of this rung.
static cop_status prepare_samples(cop_run *run, const char *directory, int64_t sequences,
                                  bool is_online, cop_error *err)
{
    const uint64_t seed = run->study->seed;
    cop_status status = COP_OK;

    if (is_online) {
        return cop_teacher_samples_online(&run->train_samples, run->teacher_model,
                                          run->train_sampler, seed, err);
    }
    COP_TRY(status,
            cop_teacher_samples_cached(&run->train_samples, run->teacher_model, run->train_sampler,
                                       seed, directory, sequences, err));
    cop_teacher_model_drop_network(run->teacher_model);

done:
    return status;
}

// The teacher's states for the training text of this rung: from files, or computed in every step.
cop_status cop_run_prepare_teacher(cop_run *run, int stage, cop_error *err)
{
    const cop_arch *arch = cop_checkpoint_arch(run->teacher);
    const int64_t sequences = cop_footprint_train_sequences(run->study, stage);
    cop_status status = COP_OK;
    char *directory = NULL;

    cop_teacher_states_destroy(run->train_states);
    cop_teacher_samples_destroy(run->train_samples);
    run->train_states = NULL;
    run->train_samples = NULL;
    if (stage < 1 || run->study->probe_loss == COP_PROBE_CE) {
        return COP_OK;
    }
    const bool is_online =
        cop_footprint_is_online(run->study, arch, run->footprint.precision, stage);
    const bool is_sampled = run->study->trainer.sample_draws > 0;
    if (is_online && !is_sampled) {
        return cop_teacher_states_online(&run->train_states, run->teacher_model, run->train_sampler,
                                         err);
    }
    directory = cop_file_join(run->options->directory, "teacher-cache");
    if (directory == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "%s: out of memory", run->options->directory);
    }
    if (is_sampled) {
        status = prepare_samples(run, directory, sequences, is_online, err);
        goto done;
    }
    COP_TRY(status, cop_teacher_states_cached(&run->train_states, run->teacher_model,
                                              run->train_sampler, directory, sequences, err));
    cop_teacher_model_drop_network(run->teacher_model);

done:
    cop_free(directory);
    return status;
}

int64_t cop_run_next(cop_run *run)
{
    const int stage = run->queue.stage;
    for (int64_t i = run->queue.next; i < run->snapshot.count; i++) {
        if (!cop_run_enters(run, i, stage)) {
            continue;
        }
        run->queue.number++;
        if (run->snapshot.candidate[i].stage[stage].is_done ||
            run->snapshot.candidate[i].state == COP_STATE_FAILED) {
            continue;
        }
        run->queue.next = i + 1;
        return i;
    }
    run->queue.next = run->snapshot.count;
    return -1;
}

static void set_title(cop_run *run)
{
    if (run->queue.stage == 0) {
        (void)snprintf(run->what, sizeof run->what,
                       "pruned loss, candidate %" PRId64 "/%" PRId64 ":", run->queue.number,
                       run->queue.entrants);
    } else {
        (void)snprintf(run->what, sizeof run->what,
                       "rung %d/%d, candidate %" PRId64 "/%" PRId64 ":", run->queue.stage,
                       run->study->rungs, run->queue.number, run->queue.entrants);
    }
}

static cop_status run_candidates(cop_run *run, int stage, int64_t entrants, cop_error *err)
{
    cop_status status = COP_OK;

    run->queue.stage = stage;
    run->queue.entrants = entrants;
    run->queue.number = 0;
    run->queue.next = 0;
    while (!run->is_stopped) {
        if (run->workers != NULL) {
            COP_TRY(status, cop_workers_serve(run, err));
        }
        const int64_t index = run->workers != NULL ? cop_workers_next(run) : cop_run_next(run);
        if (index < 0) {
            break;
        }
        set_title(run);
        COP_TRY(status, cop_run_candidate(run, index, stage, err));
    }

done:
    return run->workers != NULL ? cop_workers_settle(run, status, err) : status;
}

cop_status cop_run_evaluate(cop_run *run, int stage, cop_error *err)
{
    cop_status status = COP_OK;
    int64_t entrants = 0;
    int64_t todo = 0;

    COP_TRY(status, reread(run, err));
    COP_TRY(status, clean(run, err));
    entrants = count_entrants(run, stage);
    for (int64_t i = 0; i < run->snapshot.count; i++) {
        const cop_snapshot_candidate *c = &run->snapshot.candidate[i];
        todo += cop_run_enters(run, i, stage) && !c->stage[stage].is_done &&
                        c->state != COP_STATE_FAILED
                    ? 1
                    : 0;
    }
    cop_progress_init(&run->progress, run->what, "token",
                      run->is_proposing ? entrants * stage_tokens(run, stage)
                                        : tokens_ahead(run, stage, entrants),
                      (entrants - todo) * stage_tokens(run, stage));
    run->tokens_done = run->progress.resumed;
    if (todo > 0) {
        COP_TRY(status, cop_run_prepare_teacher(run, stage, err));
    }
    COP_TRY(status, run_candidates(run, stage, entrants, err));
    if (!run->is_stopped) {
        COP_TRY(status, reread(run, err));
    }

done:
    return status;
}

static cop_status run_stage(cop_run *run, int stage, bool *is_last, cop_error *err)
{
    char key[32];
    char *early = NULL;
    bool is_done = false;
    cop_status status = COP_OK;

    (void)snprintf(key, sizeof key, "stage.%d", stage);
    COP_TRY(status, cop_run_is(run, key, "done", &is_done, err));
    if (!is_done) {
        COP_TRY(status, cop_run_evaluate(run, stage, err));
        if (run->is_stopped) {
            goto done;
        }
        COP_TRY(status, cop_run_promote(run, stage, is_last, err));
        COP_TRY(status, cop_store_set(run->store, key, "done", err));
    } else {
        COP_TRY(status, reread(run, err));
        COP_TRY(status, clean(run, err));
        COP_TRY(status, cop_store_get(run->store, COP_FACT_STABLE, &early, err));
        *is_last = stage == run->study->rungs ||
                   (early != NULL && stage > 0 && count_entrants(run, stage + 1) == 0);
    }

done:
    cop_free(early);
    return status;
}

static cop_status run_all(cop_run *run, cop_error *err)
{
    char date[COP_CLOCK_DATE_BYTES];
    char *finished = NULL;
    bool is_last = false;
    int first = 0;
    cop_status status = COP_OK;

    status = cop_run_open(run, err);
    if (cop_processes_self().size > 1) {
        status = cop_workers_start(run, status, err);
    }
    if (status != COP_OK) {
        goto done;
    }
    if (cop_run_has_strategy(run)) {
        first = (int)run->study->fidelity;
        COP_TRY(status, cop_run_propose(run, err));
    }
    for (int stage = first; !is_last && !run->is_stopped; stage++) {
        COP_TRY(status, run_stage(run, stage, &is_last, err));
    }
    if (run->is_stopped) {
        cop_run_note(run, COP_LOG_INFO, "stopped; the same command continues");
        goto done;
    }
    COP_TRY(status, cop_store_get(run->store, COP_FACT_FINISHED, &finished, err));
    if (finished == NULL || finished[0] == '\0') {
        COP_TRY(status, cop_store_set(run->store, COP_FACT_FINISHED, cop_clock_date(date), err));
        cop_run_note(run, COP_LOG_INFO, "the study is finished");
    } else {
        cop_run_note(run, COP_LOG_INFO, "the study was finished on %s", finished);
    }

done:
    cop_free(finished);
    return status;
}

cop_status cop_search_run(const cop_study_file *study, const cop_search_options *options,
                          cop_error *err)
{
    cop_error own = {0};
    cop_run *run = cop_alloc(1, sizeof *run);

    if (options->was_stopped != NULL) {
        *options->was_stopped = false;
    }
    if (run == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "%s: out of memory", study->path);
    }
    run->study = study;
    run->options = options;
    run->is_worker = cop_processes_self().rank > 0;
    // The message is wanted for the log even when the caller does not want it.
    const bool has_evaluator = study->free != NULL;
    cop_status (*const work)(cop_run *, cop_error *) =
        run->is_worker ? (has_evaluator ? cop_trials_serve : cop_worker_run)
                       : (has_evaluator ? cop_trials_search : run_all);
    const cop_status status = work(run, err != NULL ? err : &own);
    cop_workers_quit(run);
    if (status != COP_OK) {
        cop_run_note(run, COP_LOG_DEBUG, "failed: %s", err != NULL ? err->message : own.message);
    } else if (run->is_stopped && options->was_stopped != NULL) {
        *options->was_stopped = true;
    }
    cop_run_close(run);
    cop_free(run);
    return status;
}
