#include "cli/training_run.h"

#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/processes.h"
#include "base/system.h"
#include "base/version.h"
#include "cli/quality.h"
#include "cli/training_internal.h"

static const double save_interval_seconds = 300.0;

static volatile sig_atomic_t caught_signal;

static void note_signal(int number)
{
    caught_signal = number;
}

// The first signal asks for a stop after the step; a second one ends the program.
static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = note_signal, .sa_flags = (int)SA_RESETHAND};
    (void)sigemptyset(&action.sa_mask);
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
    (void)sigaction(SIGUSR1, &action, NULL); // what mpirun passes on to all
}

// --- While it runs ------------------------------------------------------------------------------

static double peak_share(const cop_training *run)
{
    return run->peak > 0.0 && run->seconds > 0.0 ? run->flops / run->seconds / run->peak : 0.0;
}

static void show_step(cop_training *run, const cop_trainer_step *step)
{
    char note[160];
    char peak[48] = "";
    const int64_t tokens = run->trainer_options.batch * run->trainer_options.sequence;
    if (run->peak > 0.0) {
        (void)snprintf(peak, sizeof peak, ", %.0f%% of matmul peak", 100.0 * peak_share(run));
    }
    (void)snprintf(note, sizeof note, "step %" PRId64 "/%" PRId64 ", loss %.4f%s", step->step,
                   run->trainer_options.schedule.steps, step->loss, peak);
    cop_progress_update(&run->progress, step->step * tokens, note);
}

static cop_status measure_and_show(cop_training *run, int64_t step, cop_error *err)
{
    cop_training_quality quality = {0};
    const cop_status status = cop_training_measure(run, &quality, err);
    if (status == COP_OK && run->validation_states != NULL) {
        cop_log(COP_LOG_INFO, "step %" PRId64 ": held-out loss %.4f, KL %.4f", step,
                quality.loss.value, quality.kl.value);
    } else if (status == COP_OK) {
        cop_log(COP_LOG_INFO, "step %" PRId64 ": held-out loss %.4f", step, quality.loss.value);
    }
    return status;
}

static bool is_save_due(const cop_training *run, int64_t step)
{
    const int64_t every = run->job->options->save_every;
    return every > 0 ? step % every == 0
                     : cop_clock_seconds() - run->saved_seconds >= save_interval_seconds;
}

static cop_status after_step(void *context, const cop_trainer_step *step, cop_error *err)
{
    cop_training *run = context;
    const int64_t every = run->job->options->eval_every;
    const bool is_last = step->step == run->trainer_options.schedule.steps;
    int64_t wish = 2 * (int64_t)caught_signal + (is_save_due(run, step->step) ? 1 : 0);
    cop_status status = COP_OK;

    run->last = *step;
    run->seconds += step->seconds;
    run->flops += step->flops;
    show_step(run, step);
    if (is_last) {
        goto done;
    }
    // One process's signal or clock is everybody's: they save together.
    COP_TRY(status, cop_processes_max(&wish, err));
    if (run->validation_count > 0 && every > 0 && step->step % every == 0) {
        if (cop_cli_is_speaker()) {
            status = measure_and_show(run, step->step, err);
        }
        COP_TRY(status, cop_processes_agree(status, err));
    }
    if (wish > 0) {
        COP_TRY(status, cop_trainer_save(run->trainer, run->state_directory, err));
        run->saved_seconds = cop_clock_seconds();
    }
    if (wish > 1) {
        run->signal_number = (int)(wish / 2);
        status = COP_FAIL(err, COP_ERR_IO,
                          "interrupted after step %" PRId64 " of %" PRId64
                          "; the same command continues from %s",
                          step->step, run->trainer_options.schedule.steps, run->state_directory);
    }

done:
    return status;
}

static cop_status train(cop_training *run, cop_error *err)
{
    const int64_t tokens = run->trainer_options.batch * run->trainer_options.sequence;
    const int64_t steps = run->trainer_options.schedule.steps;
    cop_status status = COP_OK;
    char note[48] = "";

    run->peak *= cop_processes_self().size;
    run->first_step = cop_trainer_steps(run->trainer);
    run->saved_seconds = cop_clock_seconds();
    cop_progress_init(&run->progress, run->job->verb, "token", steps * tokens,
                      run->first_step * tokens);
    catch_signals();
    status = cop_trainer_run(run->trainer, steps, after_step, run, err);
    run->failed_alone = status != COP_OK && cop_trainer_failed_alone(run->trainer);
    if (status != COP_OK) {
        goto done;
    }
    if (run->first_step < steps) {
        (void)snprintf(note, sizeof note, "loss %.4f, %.0f%% of matmul peak", run->last.loss,
                       100.0 * peak_share(run));
        run->progress.done = steps * tokens;
        cop_progress_finish(&run->progress, note);
    }

done:
    return status;
}

// --- The result ---------------------------------------------------------------------------------

static cop_status put_nowhere(void *context, int64_t index, cop_dtype dtype, const void *data,
                              cop_error *err)
{
    (void)context;
    (void)index;
    (void)dtype;
    (void)data;
    (void)err;
    return COP_OK;
}

// Opens the output of the process that writes; the others have none.
static cop_status open_output(cop_checkpoint_writer **out, const cop_training *run, cop_error *err)
{
    const cop_training_options *options = run->job->options;
    const cop_dtype stored =
        run->checkpoint != NULL ? cop_checkpoint_dtype(run->checkpoint) : COP_F32;
    cop_status status = COP_OK;
    cop_text provenance = {0};
    char date[COP_CLOCK_DATE_BYTES];

    cop_text_appendf(&provenance, "coppice %s, %s: %" PRId64 " steps of %" PRId64 " tokens of %s",
                     cop_version(), run->job->verb, run->trainer_options.schedule.steps,
                     run->trainer_options.batch * run->trainer_options.sequence, options->data);
    if (run->job->teacher != NULL) {
        cop_text_appendf(&provenance, ", teacher %s", run->job->teacher);
    }
    cop_text_appendf(&provenance, ", %s", cop_clock_date(date));
    const cop_checkpoint_options write = {
        .dtype = options->has_dtype ? options->dtype : stored,
        .base = run->job->model,
        .force = options->common.is_forced,
        .provenance = cop_text_view(&provenance),
    };
    COP_TRY(status, cop_text_check(&provenance, "provenance", err));
    status = cop_checkpoint_writer_create(out, options->output, &run->arch, &write, err);

done:
    cop_text_release(&provenance);
    return status;
}

// All processes bring the weights they hold; the first writes.
static cop_status write_model(cop_training *run, cop_error *err)
{
    cop_tensor_sink sink = {.put = put_nowhere};
    cop_status status = COP_OK;
    cop_checkpoint_writer *writer = NULL;

    if (cop_cli_is_speaker()) {
        status = open_output(&writer, run, err);
    }
    COP_TRY(status, cop_processes_agree(status, err));
    if (writer != NULL) {
        sink = cop_checkpoint_writer_sink(writer);
    }
    status = cop_network_save(run->network, sink, err);
    if (status == COP_OK && writer != NULL) {
        status = cop_checkpoint_writer_commit(writer, err);
    }
    COP_TRY(status, cop_processes_agree(status, err));
    if (cop_cli_is_speaker()) {
        status = cop_file_remove_tree(run->state_directory, err);
    }

done:
    cop_checkpoint_writer_destroy(writer);
    return status;
}

static void put(json_t *object, const char *key, json_t *value)
{
    (void)json_object_set_new(object, key, value); // out of memory shows when it is printed
}

static int print_json(const cop_training *run, const cop_training_quality *quality)
{
    const cop_trainer_options *options = &run->trainer_options;
    json_t *result = json_object();
    put(result, "output", json_string(run->job->options->output));
    put(result, "steps", json_integer(options->schedule.steps));
    put(result, "tokens",
        json_integer(options->schedule.steps * options->batch * options->sequence));
    put(result, "device", cop_cli_device_json(run->backend));
    put(result, "precision", json_string(cop_precision_name(run->precision)));
    put(result, "seconds", json_real(run->seconds));
    put(result, "peak_share", json_real(peak_share(run)));
    put(result, "peak_memory_bytes", json_integer((json_int_t)cop_system_resident_peak_bytes()));
    put(result, "planned_device_bytes", json_integer((json_int_t)run->planned_bytes));
    put(result, "peak_device_bytes", json_integer((json_int_t)run->backend->memory_peak_bytes));
    if (run->last.step > 0) {
        put(result, "loss", json_real(run->last.loss));
        put(result, "cross_entropy", json_real(run->last.cross_entropy));
        put(result, "kl", isnan(run->last.kl) ? json_null() : json_real(run->last.kl));
        put(result, "state_loss",
            isnan(run->last.state_loss) ? json_null() : json_real(run->last.state_loss));
    }
    if (run->validation_count > 0) {
        json_t *validation = json_object();
        put(validation, "sequences", json_integer(run->validation_count));
        put(validation, "loss", cop_cli_estimate_json(&quality->loss));
        put(validation, "agreement", cop_cli_estimate_json(&quality->agreement));
        if (run->validation_states != NULL) {
            put(validation, "kl", cop_cli_estimate_json(&quality->kl));
        }
        put(result, "validation", validation);
    }
    return cop_cli_print_json(result);
}

static void print_table(const cop_training *run, const cop_training_quality *quality)
{
    char tokens[COP_TEXT_NUMBER_BYTES];
    const cop_trainer_options *options = &run->trainer_options;
    cop_cli_print("%s: %" PRId64 " steps, %s tokens\n", run->job->options->output,
                  options->schedule.steps,
                  cop_text_count(tokens, (double)(options->schedule.steps * options->batch *
                                                  options->sequence)));
    if (run->last.step > 0) {
        cop_cli_print("last training loss %.4f, cross-entropy %.4f\n", run->last.loss,
                      run->last.cross_entropy);
    }
    if (run->validation_count > 0) {
        cop_cli_table table;
        cop_cli_table_init(&table, "lrr");
        cop_cli_estimate_heading(&table, "held-out");
        cop_cli_estimate_row(&table, "loss", &quality->loss);
        if (run->validation_states != NULL) {
            cop_cli_estimate_row(&table, "KL to the teacher", &quality->kl);
        }
        cop_cli_estimate_row(&table, "top-1 agreement", &quality->agreement);
        cop_cli_table_print(&table);
    }
}

// Saves the state of a finished run whose model could not be written, if that can be done.
static void keep_state(cop_training *run)
{
    cop_error err = {0};
    if (cop_trainer_save(run->trainer, run->state_directory, &err) == COP_OK) {
        cop_log(COP_LOG_WARNING, "%s: the trained state is kept; the same command writes the model",
                run->state_directory);
    } else {
        cop_log(COP_LOG_WARNING, "%s", err.message);
    }
}

// From the inputs to a trainer. Processes agree on each part before the next, so that nobody waits for one
// that has failed.
static cop_status prepare(cop_training *run, cop_error *err)
{
    const bool is_first = cop_cli_is_speaker();
    const bool is_turn = cop_processes_self().size == 1 || run->job->cache == NULL;
    cop_status status = COP_OK;

    COP_TRY(status, cop_processes_agree(cop_training_open(run, err), err));
    COP_TRY(status, cop_processes_agree(cop_training_join(run, err), err));
    COP_TRY(status, cop_processes_agree(cop_training_plan(run, err), err));
    if (is_first || is_turn) {
        status = cop_training_build_teacher(run, err);
    }
    COP_TRY(status, cop_processes_agree(status, err));
    if (!is_first && !is_turn) {
        status = cop_training_build_teacher(run, err);
    }
    COP_TRY(status, cop_processes_agree(status, err));
    COP_TRY(status, cop_processes_agree(cop_training_build(run, err), err));
    COP_TRY(status, cop_processes_agree(cop_training_resume(run, err), err));

done:
    return status;
}

// The first process measures, and says so.
static cop_status measure_result(cop_training *run, cop_training_quality *out, cop_error *err)
{
    cop_status status = COP_OK;
    if (run->validation_count > 0 && cop_cli_is_speaker()) {
        status = cop_training_measure(run, out, err);
    }
    return cop_processes_agree(status, err);
}

// What was planned against the most that was in use, line by line with --verbose.
static void report_memory(const cop_training *run)
{
    char planned[COP_TEXT_NUMBER_BYTES];
    char peak[COP_TEXT_NUMBER_BYTES];
    cop_text text = {0};
    cop_backend_memory_report(run->backend, &text);
    cop_log(COP_LOG_INFO, "memory: %s planned, at most %s in use",
            cop_text_bytes(planned, run->planned_bytes),
            cop_text_bytes(peak, run->backend->memory_peak_bytes));
    if (!text.is_broken) {
        for (const char *line = cop_text_view(&text); *line != '\0';) {
            const size_t length = strcspn(line, "\n");
            cop_log(COP_LOG_DEBUG, "%.*s", (int)length, line);
            line += length + (line[length] == '\n' ? 1 : 0);
        }
    }
    cop_text_release(&text);
}

int cop_training_run(const cop_training_job *job)
{
    cop_training run = {.job = job, .failed_alone = true};
    cop_training_quality quality = {0};
    cop_error err = {0};
    cop_status status = COP_OK;
    int code = COP_EXIT_DONE;
    int signal_number = 0;
    bool do_all_know = false;

    COP_TRY(status, cop_cli_join(&job->options->common, &err));
    run.failed_alone = false;
    COP_TRY(status, prepare(&run, &err));
    COP_TRY(status, train(&run, &err));
    COP_TRY(status, measure_result(&run, &quality, &err));
    report_memory(&run);
    status = write_model(&run, &err);
    if (status != COP_OK) { // the work of hours must not hang on a full disk
        keep_state(&run);
        goto done;
    }
    if (cop_cli_is_speaker()) {
        if (job->options->common.is_json) {
            code = print_json(&run, &quality);
        } else {
            print_table(&run, &quality);
        }
    }

done:
    signal_number = run.signal_number;
    do_all_know = !run.failed_alone;
    if (do_all_know) { // otherwise others may have to be ended first
        cop_training_release(&run);
    }
    code = cop_cli_leave(status, code, &err, do_all_know);
    cop_training_release(&run);
    return status != COP_OK && signal_number != 0 ? 128 + signal_number : code;
}
