// Trains one candidate through one rung. Its state is saved while it runs and at the end, so that the next
// rung, or the next process, continues with the same bits.

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/file.h"
#include "search/run_internal.h"

enum { CURVE_POINTS = 40 }; // of a rung

static const double report_seconds = 2.0; // for `status` in another process

typedef struct probe {
    cop_run *run;
    const char *id;
    const char *directory; // of its saved state
    int rung;
    int64_t first_step; // of the rung
    int64_t last_step;  // of the rung
    int64_t interval;   // steps between two points of the curve
    int64_t step;       // done
    double sum;         // of the losses since the last point
    int64_t count;      // of the losses since the last point
    double seconds;     // spent on the rung before this process
    double start_seconds;
    double saved_seconds;
    double reported_seconds;
    bool wants_save;
    bool is_stopping;
    // The curve of this rung so far, tokens and loss: saved, too, as what was reported may not have reached the
    // database when all processes were killed.
    double point[2 * (CURVE_POINTS + 2)];
    int64_t points;
} probe;

enum { EXTRA_HEAD = 3 }; // doubles before the points

// --- What is saved beside the trainer's state ----------------------------------------------------

// "<directory>/probe-<step>.bin": sum, count and seconds, then the points of the curve, as doubles. It is named by the step, so that
// it cannot be taken for that of another state.
static char *extra_path(const probe *p, int64_t step)
{
    char name[48];
    (void)snprintf(name, sizeof name, "probe-%" PRId64 ".bin", step);
    return cop_file_join(p->directory, name);
}

static double seconds_so_far(const probe *p)
{
    return p->seconds + cop_clock_seconds() - p->start_seconds;
}

static cop_status save(probe *p, cop_trainer *trainer, int64_t *saved_step, cop_error *err)
{
    double extra[EXTRA_HEAD + sizeof p->point / sizeof p->point[0]] = {p->sum, (double)p->count,
                                                                       seconds_so_far(p)};
    const size_t bytes = (EXTRA_HEAD + 2 * (size_t)p->points) * sizeof extra[0];
    cop_status status = COP_OK;
    char *path = extra_path(p, p->step);
    char *old = *saved_step >= 0 && *saved_step != p->step ? extra_path(p, *saved_step) : NULL;

    if (path == NULL) {
        status = COP_FAIL(err, COP_ERR_NOMEM, "%s: out of memory", p->directory);
        goto done;
    }
    COP_TRY(status, cop_file_make_directory(p->directory, err));
    memcpy(extra + EXTRA_HEAD, p->point, 2 * (size_t)p->points * sizeof extra[0]);
    COP_TRY(status, cop_file_write(path, extra, bytes, err));
    COP_TRY(status, cop_trainer_save(trainer, p->directory, err));
    if (old != NULL) {
        COP_TRY(status, cop_file_remove_tree(old, err));
    }
    COP_TRY(status, cop_run_saved(p->run, p->step * p->run->study->batch_tokens, err));
    *saved_step = p->step;
    p->saved_seconds = cop_clock_seconds();

done:
    cop_free(path);
    cop_free(old);
    return status;
}

static cop_status load_extra(probe *p, cop_error *err)
{
    const int64_t points_max = (int64_t)(sizeof p->point / sizeof p->point[0]) / 2;
    double extra[EXTRA_HEAD] = {0.0};
    cop_status status = COP_OK;
    char *data = NULL;
    size_t bytes = 0;
    int64_t points = 0;
    char *path = extra_path(p, p->step);

    if (path == NULL) {
        status = COP_FAIL(err, COP_ERR_NOMEM, "%s: out of memory", p->directory);
        goto done;
    }
    COP_TRY(status, cop_file_read(&data, &bytes, path, sizeof extra + sizeof p->point, err));
    points = bytes < sizeof extra ? -1 : (int64_t)((bytes - sizeof extra) / (2 * sizeof extra[0]));
    if (points < 0 || points > points_max ||
        bytes != sizeof extra + (size_t)points * 2 * sizeof extra[0]) {
        status = COP_FAIL(err, COP_ERR_FORMAT,
                          "%s: has %zu bytes (allowed: %zu, and %zu for each point)", path, bytes,
                          sizeof extra, 2 * sizeof extra[0]);
        goto done;
    }
    memcpy(extra, data, sizeof extra);
    if (p->step > p->first_step) { // a state at the end of the rung before starts afresh
        p->sum = extra[0];
        p->count = (int64_t)extra[1];
        p->seconds = extra[2];
        p->points = points;
        memcpy(p->point, data + sizeof extra, (size_t)points * 2 * sizeof extra[0]);
    }

done:
    cop_free(path);
    cop_free(data);
    return status;
}

// Continues from the saved state. One that cannot be read is dropped: training starts again, which costs
// time but gives the same figures.
static cop_status load(probe *p, cop_trainer *trainer, bool *is_loaded, cop_error *err)
{
    cop_error own = {0};
    cop_status status = COP_OK;

    *is_loaded = false;
    if (!cop_trainer_has_state(p->directory)) {
        return COP_OK;
    }
    status = cop_trainer_load(trainer, p->directory, &own);
    if (status == COP_OK) {
        p->step = cop_trainer_steps(trainer);
        status = load_extra(p, &own);
    }
    if (status == COP_ERR_NOMEM || status == COP_ERR_DEVICE) {
        return COP_FAIL(err, status, "%s", own.message);
    }
    *is_loaded = status == COP_OK && p->step <= p->last_step;
    if (!*is_loaded) {
        cop_run_note(p->run, COP_LOG_WARNING, "%s: starts again without its saved state: %s", p->id,
                     own.message);
        p->step = 0;
        p->points = 0;
        return cop_file_remove_tree(p->directory, err);
    }
    return COP_OK;
}

// --- Running ------------------------------------------------------------------------------------

static cop_status report(probe *p, double loss, cop_error *err)
{
    p->reported_seconds = cop_clock_seconds();
    return cop_run_progress(p->run, p->id, p->rung, p->step * p->run->study->batch_tokens, loss,
                            err);
}

// After every step. Points of the curve lie at steps that depend on the study alone.
static cop_status after_step(void *context, const cop_trainer_step *step, cop_error *err)
{
    probe *p = context;
    cop_run *run = p->run;
    char note[96];
    cop_status status = COP_OK;

    p->step = step->step;
    p->sum += step->loss;
    p->count++;
    (void)snprintf(note, sizeof note, "step %" PRId64 "/%" PRId64 ", loss %.4f", p->step,
                   p->last_step, step->loss);
    cop_run_count(run, run->study->batch_tokens, note);

    const double now = cop_clock_seconds();
    // Trained again from the start, steps of rungs before have their points already.
    const bool is_behind = p->step <= p->first_step;
    const bool is_point =
        !is_behind && ((p->step - p->first_step) % p->interval == 0 || p->step == p->last_step);
    if (p->step == p->first_step) {
        p->sum = 0.0;
        p->count = 0;
    }
    if (is_point) {
        const double mean = p->sum / (double)p->count;
        if (p->points < CURVE_POINTS + 2) {
            p->point[2 * p->points] = (double)(p->step * run->study->batch_tokens);
            p->point[2 * p->points + 1] = mean;
            p->points++;
        }
        p->sum = 0.0;
        p->count = 0;
        COP_TRY(status, report(p, mean, err));
    } else if (now - p->reported_seconds >= report_seconds) {
        COP_TRY(status, report(p, (double)NAN, err));
    }
    p->is_stopping = cop_run_should_stop(run);
    p->wants_save = p->is_stopping || now - p->saved_seconds >= run->study->checkpoint_seconds;
    if (p->wants_save && p->step < p->last_step) {
        // Leaves cop_trainer_run(), between two steps, without a failure.
        status = COP_FAIL(err, COP_ERR_UNSUPPORTED, "%s: to be saved", p->id);
    }

done:
    return status;
}

static cop_status run_steps(probe *p, cop_trainer *trainer, int64_t *saved_step, cop_error *err)
{
    cop_status status = COP_OK;

    while (p->step < p->last_step && !p->is_stopping) {
        p->wants_save = false;
        status = cop_trainer_run(trainer, p->last_step, after_step, p, err);
        if (status != COP_OK && !p->wants_save) {
            goto done;
        }
        status = COP_OK;
        if (!p->run->is_dropped) {
            COP_TRY(status, save(p, trainer, saved_step, err));
        }
    }
    // Asked to stop with the last step: the rung is trained, its evaluation comes first.
    p->run->is_stopped = p->is_stopping && p->step < p->last_step;

done:
    return status;
}

static cop_status create_trainer(cop_run *run, cop_network *network, int rung, cop_trainer **out,
                                 cop_error *err)
{
    cop_trainer_options options =
        cop_footprint_trainer(run->study, run->footprint.micro_batch, rung);
    cop_teacher teacher = {.head = cop_teacher_model_head(run->teacher_model)};

    options.inputs = run->inputs;
    if (run->train_samples != NULL) {
        teacher.samples = cop_teacher_samples_source(run->train_samples);
    } else if (run->train_states != NULL) {
        teacher.states = cop_teacher_states_source(run->train_states);
    } else {
        return cop_trainer_create(out, network, run->train_sampler, NULL, NULL, &options, err);
    }
    return cop_trainer_create(out, network, run->train_sampler, &teacher, run->teacher_model,
                              &options, err);
}

cop_status cop_run_train(cop_run *run, const cop_candidate *candidate, int rung,
                         cop_network *network, double *seconds, cop_error *err)
{
    const cop_study_file *study = run->study;
    const int64_t first = rung > 1 ? study->rung_tokens[rung - 2] / study->batch_tokens : 0;
    const int64_t last = study->rung_tokens[rung - 1] / study->batch_tokens;
    const double now = cop_clock_seconds();
    cop_status status = COP_OK;
    cop_trainer *trainer = NULL;
    bool is_loaded = false;
    int64_t saved_step = -1;
    char *directory = cop_run_checkpoint_path(run, candidate->id);
    probe p = {.run = run,
               .id = candidate->id,
               .directory = directory,
               .rung = rung,
               .first_step = first,
               .last_step = last,
               .interval = (last - first + CURVE_POINTS - 1) / CURVE_POINTS,
               .start_seconds = now,
               .saved_seconds = now,
               .reported_seconds = now};

    if (directory == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "%s: out of memory", candidate->id);
    }
    COP_TRY(status, create_trainer(run, network, rung, &trainer, err));
    COP_TRY(status, load(&p, trainer, &is_loaded, err));
    if (is_loaded) {
        for (int64_t i = 0; i < p.points; i++) {
            COP_TRY(status, cop_run_progress(run, p.id, rung, (int64_t)p.point[2 * i],
                                             p.point[2 * i + 1], err));
        }
        saved_step = p.step;
        cop_run_count(run, (p.step > first ? p.step - first : 0) * study->batch_tokens, NULL);
    } else {
        cop_trainer_destroy(trainer);
        trainer = NULL;
        COP_TRY(status, cop_run_prune(run, network, err));
        COP_TRY(status, create_trainer(run, network, rung, &trainer, err));
    }
    COP_TRY(status, run_steps(&p, trainer, &saved_step, err));
    *seconds = seconds_so_far(&p);

done:
    cop_trainer_destroy(trainer);
    cop_free(directory);
    return status;
}
