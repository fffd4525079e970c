// Everything up to the first stage, in the order that finds mistakes before they cost anything.

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/processes.h"
#include "base/system.h"
#include "search/facts.h"
#include "search/run_internal.h"
#include "search/space_sample.h"

enum { HELD_OUT_DEFAULT = 256 };

static cop_status nomem(const cop_run *run, cop_error *err)
{
    return COP_FAIL(err, COP_ERR_NOMEM, "%s: out of memory", run->options->directory);
}

// --- Teacher, data, space -----------------------------------------------------------------------

static cop_status check_context(const cop_run *run, cop_error *err)
{
    const int64_t context = cop_checkpoint_arch(run->teacher)->context;

    const struct {
        const char *key;
        int64_t value;
    } lengths[] = {
        {"probe.sequence", run->study->probe_sequence},
        {"data.calibration.sequence", run->study->calibration_settings.sequence},
    };

    cop_latency_budget budget[COP_STUDY_LATENCIES_MAX];
    const int latencies = cop_study_latencies(run->study, budget);

    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        if (lengths[i].value > context) {
            return COP_FAIL(err, COP_ERR_CONFIG,
                            "%s: %s is %" PRId64 " (allowed: up to %" PRId64
                            ", the teacher's context)",
                            run->study->path, lengths[i].key, lengths[i].value, context);
        }
    }
    for (int i = 0; i < latencies; i++) {
        const bool is_own = budget[i].name[0] == '\0';
        if (budget[i].sequence > context) {
            return COP_FAIL(err, COP_ERR_CONFIG,
                            "%s: budget.%s%s.sequence is %" PRId64 " (allowed: up to %" PRId64
                            ", the teacher's context)",
                            run->study->path, is_own ? "latency_ms" : "workloads.", budget[i].name,
                            budget[i].sequence, context);
        }
    }
    return COP_OK;
}

static cop_status open_space(cop_run *run, cop_error *err)
{
    cop_status status = COP_OK;
    cop_space *space = NULL;

    COP_TRY(status, cop_checkpoint_open(&run->teacher, run->study->teacher, err));
    COP_TRY(status, check_context(run, err));
    COP_TRY(status, cop_space_create(&space, run->study, cop_checkpoint_arch(run->teacher), err));
    COP_TRY(status,
            cop_space_sample(&run->candidates, &run->count, &run->report, run->study, space, err));

done:
    cop_space_destroy(space);
    return status;
}

static cop_status open_data(cop_run *run, cop_error *err)
{
    const cop_study_file *study = run->study;
    const int64_t vocab = cop_checkpoint_arch(run->teacher)->vocab;
    int64_t windows = 0;
    cop_status status = COP_OK;

    COP_TRY(status, cop_tokens_open(&run->train, study->train, vocab, err));
    COP_TRY(status, cop_tokens_open(&run->validation, study->validation, vocab, err));
    COP_TRY(status, cop_sampler_create(&run->train_sampler, run->train, study->probe_sequence,
                                       study->seed, true, err));
    COP_TRY(status, cop_sampler_create(&run->held_sampler, run->validation, study->probe_sequence,
                                       COP_HELD_OUT_SEED, true, err));
    windows = cop_sampler_windows(run->held_sampler);
    if (study->validation_sequences > windows) {
        status = COP_FAIL(err, COP_ERR_CONFIG,
                          "%s: data.validation_sequences is %" PRId64 " (allowed: up to %" PRId64
                          ", the windows of %" PRId64 " tokens in %s)",
                          study->path, study->validation_sequences, windows, study->probe_sequence,
                          study->validation);
        goto done;
    }
    run->held_count = study->validation_sequences;
    if (run->held_count == 0) {
        run->held_count = windows < HELD_OUT_DEFAULT ? windows : HELD_OUT_DEFAULT;
    }

done:
    return status;
}

// --- Sizes --------------------------------------------------------------------------------------

// Precision and pass size may depend on the machine; a study keeps those it was started with.
static cop_status stored_sizes(cop_run *run, cop_precision *precision, int64_t *micro_batch,
                               cop_error *err)
{
    cop_status status = COP_OK;
    char *text = NULL;

    COP_TRY(status, cop_footprint_precision(precision, run->study, run->backend, err));
    *micro_batch = run->study->micro_batch;
    COP_TRY(status, cop_store_get(run->store, "precision", &text, err));
    for (int i = COP_PRECISION_F32; text != NULL && i <= COP_PRECISION_BF16; i++) {
        if (strcmp(text, cop_precision_name((cop_precision)i)) == 0) {
            *precision = (cop_precision)i;
        }
    }
    cop_free(text);
    text = NULL;
    COP_TRY(status, cop_store_get(run->store, "micro_batch", &text, err));
    if (text != NULL && !cop_text_to_i64(text, micro_batch)) {
        status = COP_FAIL(err, COP_ERR_FORMAT, "%s/study.db: micro_batch is '%s'",
                          run->options->directory, text);
    }

done:
    cop_free(text);
    return status;
}

// What will be missing only hours later is said now.
static void note_limits(cop_run *run)
{
    const cop_study_file *study = run->study;
    const cop_candidate *largest = &run->candidates[run->footprint.largest];
    const int64_t sequences = cop_footprint_train_sequences(study, study->rungs);
    const int64_t windows = cop_sampler_windows(run->train_sampler);
    const int64_t proposed = cop_run_has_strategy(run) && study->evaluations < run->report.feasible
                                 ? study->evaluations
                                 : run->report.feasible;
    const int64_t probes =
        study->keep_pruned > 0 && study->keep_pruned < proposed && study->fidelity == 0
            ? study->keep_pruned
            : proposed;
    const uint64_t free_bytes = cop_system_disk_free_bytes(run->options->directory);
    uint64_t disk = (uint64_t)(probes + 1) * cop_footprint_checkpoint_bytes(study, largest);
    char needed[COP_TEXT_NUMBER_BYTES];
    char found[COP_TEXT_NUMBER_BYTES];

    if (study->probe_loss != COP_PROBE_CE &&
        !cop_footprint_is_online(study, cop_checkpoint_arch(run->teacher), run->footprint.precision,
                                 study->rungs)) {
        disk += cop_footprint_targets_bytes(study, cop_checkpoint_arch(run->teacher),
                                            run->footprint.precision, sequences) +
                cop_footprint_states_bytes(study, cop_checkpoint_arch(run->teacher),
                                           run->footprint.precision, run->held_count);
    }
    if (free_bytes > 0 && disk > free_bytes) {
        cop_run_note(run, COP_LOG_WARNING, "the study may need %s of disk, %s are free",
                     cop_text_bytes(needed, disk), cop_text_bytes(found, free_bytes));
    }
    if (sequences > windows) {
        cop_run_note(run, COP_LOG_WARNING,
                     "%s holds %" PRId64 " windows of %" PRId64 " tokens, the last rung sees each "
                     "%.1f times",
                     study->train, windows, study->probe_sequence,
                     (double)sequences / (double)windows);
    }
}

// The memory plan, line by line, before anything of it is allocated.
static cop_status note_plan(cop_run *run, cop_error *err)
{
    cop_text table = {0};
    cop_status status = COP_OK;

    cop_run_note(run, COP_LOG_INFO,
                 "memory of the largest probe, %s:", run->candidates[run->footprint.largest].id);
    cop_plan_append(&run->footprint.probe, &table);
    COP_TRY(status, cop_text_check(&table, "memory plan", err));
    for (const char *line = cop_text_view(&table); *line != '\0';) {
        const int length = (int)strcspn(line, "\n");
        cop_run_note(run, COP_LOG_INFO, "%.*s", length, line);
        line += length + (line[length] == '\n' ? 1 : 0);
    }

done:
    cop_text_release(&table);
    return status;
}

static cop_status plan_sizes(cop_run *run, cop_error *err)
{
    const cop_arch *teacher = cop_checkpoint_arch(run->teacher);
    cop_precision precision = COP_PRECISION_F32;
    int64_t micro_batch = 0;
    bool is_online = false;
    cop_device_info info = {0};
    cop_status status = COP_OK;

    COP_TRY(status, cop_backend_info(run->backend, &info, err));
    COP_TRY(status, stored_sizes(run, &precision, &micro_batch, err));
    is_online = cop_footprint_is_online(run->study, teacher, precision, run->study->rungs);
    COP_TRY(status, cop_footprint_make(&run->footprint, run->study, teacher, run->candidates,
                                       run->count, precision, micro_batch, is_online,
                                       info.memory_bytes, run->backend, err));
    cop_run_note(run, COP_LOG_INFO,
                 "%" PRId64 " candidates of %" PRId64 " grid points, %s, passes of %" PRId64
                 " x %" PRId64 " tokens",
                 run->report.feasible, run->report.size, cop_precision_name(precision),
                 run->footprint.micro_batch, run->study->probe_sequence);
    note_limits(run);
    COP_TRY(status, cop_run_plan_resident(run, err));
    COP_TRY(status, note_plan(run, err));
    COP_TRY(status, cop_run_check_memory(run, err));
    COP_TRY(status, cop_store_set(run->store, "precision", cop_precision_name(precision), err));
    COP_TRY(status, cop_run_set_i64(run, "micro_batch", run->footprint.micro_batch, err));

done:
    return status;
}

// --- Importance and teacher ---------------------------------------------------------------------

static cop_status obtain_importance(cop_run *run, const char *path, cop_error *err)
{
    cop_importance_settings settings = run->study->calibration_settings;
    const bool has_file = run->study->calibration[0] != '\0';
    cop_tokens *calibration = NULL;
    cop_status status = COP_OK;

    settings.precision = run->footprint.precision;
    if (has_file) {
        COP_TRY(status, cop_tokens_open(&calibration, run->study->calibration,
                                        cop_checkpoint_arch(run->teacher)->vocab, err));
        COP_TRY(status, cop_run_set_path(run, "calibration", run->study->calibration, err));
    }
    COP_TRY(status, cop_importance_obtain(&run->importance, path, run->teacher,
                                          has_file ? calibration : run->train, &settings,
                                          run->backend, false, NULL, err));

done:
    cop_tokens_destroy(calibration);
    return status;
}

static char *importance_path(const cop_run *run)
{
    return run->study->importance[0] != '\0'
               ? cop_alloc_string(run->study->importance)
               : cop_file_join(run->options->directory, "importance.h5");
}

// A file that the study names is taken as it is, whatever settings made it; it must be this teacher's.
static cop_status open_importance(cop_run *run, cop_hash *key, cop_error *err)
{
    const bool is_named = run->study->importance[0] != '\0';
    char text[COP_HASH_TEXT_BYTES];
    cop_status status = COP_OK;
    char *path = NULL;

    *key = (cop_hash){0};
    if (run->study->select.order == COP_ORDER_RANDOM) {
        return COP_OK;
    }
    path = importance_path(run);
    if (path == NULL) {
        return nomem(run, err);
    }
    if (!is_named || !cop_file_exists(path)) {
        COP_TRY(status, obtain_importance(run, path, err));
        cop_importance_destroy(run->importance);
        run->importance = NULL;
    }
    COP_TRY(status, cop_importance_read(&run->importance, path, run->teacher, key, err));
    COP_TRY(status,
            cop_run_claim(run, "importance_hash", "importance", cop_hash_text(text, *key), err));
    COP_TRY(status, cop_run_set_path(run, "importance", path, err));
    if (run->study->select.depth_metric == COP_DEPTH_PERPLEXITY &&
        cop_importance_perplexity(run->importance) == NULL) {
        status = COP_FAIL(err, COP_ERR_CONFIG,
                          "%s: holds no perplexities of layers, which prune.depth_metric asks for "
                          "(allowed: a file made with them)",
                          path);
    }

done:
    cop_free(path);
    return status;
}

static cop_status hash_inputs(cop_run *run, cop_hash importance, cop_error *err)
{
    const cop_select_options *select = &run->study->select;
    cop_status status = COP_OK;
    cop_hasher *hasher = NULL;
    cop_hash teacher = {0};
    char text[COP_HASH_TEXT_BYTES];

    COP_TRY(status, cop_checkpoint_hash(run->teacher, &teacher, err));
    COP_TRY(status, cop_hasher_create(&hasher, err));
    cop_hasher_add_text(hasher, cop_hash_text(text, teacher));
    cop_hasher_add_text(hasher, cop_hash_text(text, importance));
    cop_hasher_add_i64(hasher, (int64_t)select->order);
    cop_hasher_add_i64(hasher, (int64_t)select->aggregate);
    cop_hasher_add_i64(hasher, (int64_t)select->depth_metric);
    cop_hasher_add_i64(hasher, (int64_t)select->depth_shape);
    cop_hasher_add_i64(hasher, (int64_t)select->carry);
    cop_hasher_add_i64(hasher, select->keep_first_and_last ? 1 : 0);
    for (int i = 0; i < COP_LAYER_SET_WORDS; i++) {
        cop_hasher_add_i64(hasher, (int64_t)select->keep_layers.word[i]);
        cop_hasher_add_i64(hasher, (int64_t)select->drop_layers.word[i]);
    }
    cop_hasher_add_i64(hasher, (int64_t)select->seed);
    run->inputs = cop_hasher_value(hasher);

done:
    cop_hasher_destroy(hasher);
    return status;
}

// The teacher's head stays; its network goes once the states of the held-out text are on disk.
static cop_status open_teacher(cop_run *run, cop_error *err)
{
    const cop_teacher_options options = {.precision = run->footprint.precision,
                                         .batch = run->footprint.micro_batch,
                                         .sequence = run->study->probe_sequence,
                                         .draws = run->study->trainer.sample_draws};
    cop_status status = COP_OK;
    char *directory = cop_file_join(run->options->directory, "teacher-cache");

    if (directory == NULL) {
        return nomem(run, err);
    }
    COP_TRY(status, cop_teacher_model_create(&run->teacher_model, run->teacher, &options,
                                             run->backend, err));
    COP_TRY(status, cop_teacher_states_cached(&run->held_states, run->teacher_model,
                                              run->held_sampler, directory, run->held_count, err));
    cop_teacher_model_drop_network(run->teacher_model);

done:
    cop_free(directory);
    return status;
}

static cop_status record_space(cop_run *run, cop_error *err)
{
    cop_status status = COP_OK;
    cop_text excluded = {0};

    for (int i = 0; i < run->report.bounds; i++) {
        cop_text_appendf(&excluded, "%s%s: %" PRId64, i > 0 ? "; " : "", run->report.bound[i].text,
                         run->report.bound[i].excluded);
    }
    COP_TRY(status, cop_text_check(&excluded, "budget", err));
    if (!cop_run_has_strategy(run)) {
        COP_TRY(status, cop_store_add(run->store, run->candidates, run->count, err));
    }
    COP_TRY(status, cop_run_set_i64(run, COP_FACT_SPACE_SIZE, run->report.size, err));
    COP_TRY(status, cop_run_set_i64(run, COP_FACT_FEASIBLE, run->report.feasible, err));
    COP_TRY(status, cop_store_set(run->store, "excluded", cop_text_view(&excluded), err));

done:
    cop_text_release(&excluded);
    return status;
}

cop_status cop_run_open(cop_run *run, cop_error *err)
{
    cop_hash importance = {0};
    cop_status status = COP_OK;

    COP_TRY(status, open_space(run, err));
    COP_TRY(status, open_data(run, err));
    COP_TRY(status, cop_backend_create_own(&run->backend, run->options->backend, err));
    COP_TRY(status, cop_run_open_directory(run, err));
    COP_TRY(status, cop_run_identify(run, err));
    COP_TRY(status, cop_run_apply_changes(run, err));
    COP_TRY(status, plan_sizes(run, err));
    COP_TRY(status, open_importance(run, &importance, err));
    COP_TRY(status, hash_inputs(run, importance, err));
    COP_TRY(status, open_teacher(run, err));
    COP_TRY(status, cop_run_open_resident(run, err));
    COP_TRY(status, record_space(run, err));

done:
    return status;
}

cop_status cop_run_open_worker(cop_run *run, cop_precision precision, int64_t micro_batch,
                               cop_error *err)
{
    cop_hash importance = {0};
    cop_status status = COP_OK;
    char *path = importance_path(run);

    if (path == NULL) {
        return nomem(run, err);
    }
    COP_TRY(status, open_space(run, err));
    COP_TRY(status, open_data(run, err));
    COP_TRY(status, cop_backend_create_own(&run->backend, run->options->backend, err));
    run->footprint.precision = precision;
    run->footprint.micro_batch = micro_batch;
    if (run->study->select.order != COP_ORDER_RANDOM) {
        COP_TRY(status,
                cop_importance_read(&run->importance, path, run->teacher, &importance, err));
    }
    COP_TRY(status, hash_inputs(run, importance, err));
    COP_TRY(status, open_teacher(run, err));

done:
    cop_free(path);
    return status;
}

void cop_run_close(cop_run *run)
{
    cop_snapshot_release(&run->snapshot);
    cop_free(run->running);
    cop_teacher_states_destroy(run->train_states);
    cop_teacher_samples_destroy(run->train_samples);
    cop_teacher_states_destroy(run->held_states);
    cop_teacher_model_destroy(run->teacher_model);
    cop_resident_destroy(run->resident);
    cop_importance_destroy(run->importance);
    cop_sampler_destroy(run->train_sampler);
    cop_sampler_destroy(run->held_sampler);
    cop_tokens_destroy(run->train);
    cop_tokens_destroy(run->validation);
    cop_checkpoint_destroy(run->teacher);
    cop_backend_destroy(run->backend);
    cop_free(run->candidates);
    cop_store_destroy(run->store);
    if (run->log != NULL) {
        (void)fclose(run->log);
    }
}
