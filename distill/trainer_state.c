#include <dirent.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "distill/trainer_internal.h"

static const char format_name[] = "coppice-training-1";

enum { STATE_BYTES_MAX = 1 << 20, NAME_BYTES = 64 };

// --- The fingerprint: everything that two runs must share to be the same run --------------------

static bool put(json_t *object, const char *key, json_t *value)
{
    return json_object_set_new(object, key, value) == 0;
}

static bool put_pairs(json_t *object, const cop_trainer_options *options)
{
    json_t *pairs = json_array();
    bool is_ok = pairs != NULL;
    for (int i = 0; is_ok && i < options->state_pairs; i++) {
        const cop_state_pair *pair = &options->state_pair[i];
        is_ok = json_array_append_new(pairs, json_pack("[I, I]", (json_int_t)pair->teacher_layer,
                                                       (json_int_t)pair->student_layer)) == 0;
    }
    if (!is_ok) {
        json_decref(pairs);
        return false;
    }
    return put(object, "state_pairs", pairs);
}

static bool put_numbers(json_t *object, const cop_trainer_options *options)
{
    const struct {
        const char *key;
        double value;
    } reals[] = {
        {"kl_weight", options->kl_weight},
        {"ce_weight", options->ce_weight},
        {"temperature", options->temperature},
        {"state_alpha", options->state_alpha},
        {"learning_rate", options->schedule.peak},
        {"minimum_learning_rate", options->schedule.minimum},
        {"beta1", options->optimizer.beta1},
        {"beta2", options->optimizer.beta2},
        {"eps", options->optimizer.eps},
        {"weight_decay", options->optimizer.weight_decay},
        {"clip_norm", options->optimizer.clip_norm},
    };

    const struct {
        const char *key;
        int64_t value;
    } integers[] = {
        {"batch", options->batch},
        {"sequence", options->sequence},
        {"sample_draws", options->sample_draws},
        {"first_sequence", options->first_sequence},
        {"seed", (int64_t)options->seed},
        {"steps", options->schedule.steps},
        {"warmup_steps", options->schedule.warmup_steps},
    };

    bool is_ok = true;
    for (size_t i = 0; is_ok && i < sizeof integers / sizeof integers[0]; i++) {
        is_ok = put(object, integers[i].key, json_integer((json_int_t)integers[i].value));
    }
    for (size_t i = 0; is_ok && i < sizeof reals / sizeof reals[0]; i++) {
        is_ok = put(object, reals[i].key, json_real(reals[i].value));
    }
    return is_ok;
}

// NULL: no memory.
static json_t *fingerprint(const cop_trainer *trainer)
{
    const cop_trainer_options *options = &trainer->options;
    char student[COP_ARCH_TEXT_BYTES];
    char batches[COP_HASH_TEXT_BYTES];
    char inputs[COP_HASH_TEXT_BYTES];
    json_t *object = json_object();
    bool is_ok = object != NULL;

    is_ok = is_ok && put(object, "student",
                         json_string(cop_arch_text(student, cop_network_arch(trainer->student))));
    is_ok = is_ok &&
            put(object, "precision",
                json_string(cop_precision_name(cop_network_settings(trainer->student)->precision)));
    const cop_network_options *settings = cop_network_settings(trainer->student);
    is_ok = is_ok && put(object, "state",
                         json_pack("{s:b, s:s, s:s}", "masters", !settings->without_masters,
                                   "gradients", cop_dtype_name(settings->gradients), "moments",
                                   cop_dtype_name(options->optimizer.moments)));
    is_ok = is_ok && put(object, "frozen_vocabulary", json_boolean(settings->freeze_vocabulary));
    is_ok = is_ok && put(object, "batches_hash",
                         json_string(cop_hash_text(batches, cop_sampler_hash(trainer->sampler))));
    is_ok =
        is_ok && put(object, "inputs_hash", json_string(cop_hash_text(inputs, options->inputs)));
    is_ok = is_ok &&
            put(object, "schedule",
                json_string(options->schedule.kind == COP_SCHEDULE_COSINE ? "cosine" : "constant"));
    is_ok =
        is_ok && put(object, "state_loss",
                     json_string(options->state_kind == COP_STATE_LOSS_COSINE ? "cosine" : "mse"));
    is_ok = is_ok && put_numbers(object, options) && put_pairs(object, options);
    if (!is_ok) {
        json_decref(object);
        return NULL;
    }
    return object;
}

// --- Saving -------------------------------------------------------------------------------------

// "<directory>/<kind>-<step>.safetensors", owned by the caller; NULL: no memory.
static char *part_path(const char *directory, const char *kind, int64_t step)
{
    char name[NAME_BYTES];
    (void)snprintf(name, sizeof name, "%s-%" PRId64 ".safetensors", kind, step);
    return cop_file_join(directory, name);
}

// Removes parts of other steps, and what an interrupted save left. What cannot be removed stays: it does
// no harm.
static void remove_others(const char *directory, int64_t step)
{
    char ending[NAME_BYTES];
    DIR *stream = opendir(directory);

    (void)snprintf(ending, sizeof ending, "-%" PRId64 ".safetensors", step);
    // NOLINTNEXTLINE(concurrency-mt-unsafe): the stream is this function's own.
    for (const struct dirent *entry = stream == NULL ? NULL : readdir(stream); entry != NULL;
         entry = readdir(stream)) { // NOLINT(concurrency-mt-unsafe): as above
        const char *name = entry->d_name;
        const size_t kind_length = strncmp(name, "training", 8) == 0      ? 8
                                   : strncmp(name, "projection", 10) == 0 ? 10
                                                                          : 0;
        const bool is_part = kind_length > 0 && name[kind_length] == '-';
        const bool is_left = kind_length > 0 && strstr(name, ".tmp.") != NULL;
        if ((is_part || is_left) && strcmp(name + kind_length, ending) != 0) {
            char *path = cop_file_join(directory, name);
            if (path != NULL) {
                (void)remove(path);
            }
            cop_free(path);
        }
    }
    if (stream != NULL) {
        (void)closedir(stream);
    }
}

static cop_status write_description(const cop_trainer *trainer, const char *directory,
                                    cop_error *err)
{
    cop_status status = COP_OK;
    json_t *options = fingerprint(trainer);
    char *path = cop_file_join(directory, "training.json");
    json_t *state = options == NULL ? NULL
                                    : json_pack("{s:s, s:I, s:O}", "format", format_name, "steps",
                                                (json_int_t)trainer->steps, "options", options);
    bool is_ok = state != NULL && path != NULL;

    if (is_ok && trainer->states != NULL && !isnan(trainer->last_states)) {
        is_ok = put(state, "last_logits_loss", json_real(trainer->last_logits)) &&
                put(state, "last_state_loss", json_real(trainer->last_states));
    }
    if (!is_ok) {
        status =
            COP_FAIL(err, COP_ERR_NOMEM, "%s: no memory to save the training state", directory);
        goto done;
    }
    COP_TRY(status, cop_json_write(state, path, err));

done:
    json_decref(state);
    json_decref(options);
    cop_free(path);
    return status;
}

// What lies beside the weights, the description last.
static cop_status finish_save(cop_trainer *trainer, const char *directory, const char *projection,
                              cop_error *err)
{
    cop_status status = COP_OK;

    if (trainer->states != NULL) {
        COP_TRY(status, cop_state_losses_save(trainer->states, projection, err));
    }
    COP_TRY(status, write_description(trainer, directory, err));
    remove_others(directory, trainer->steps);

done:
    return status;
}

cop_status cop_trainer_save(cop_trainer *trainer, const char *directory, cop_error *err)
{
    const bool is_first = cop_group_rank(trainer->group) == 0;
    cop_status status = COP_OK;
    char *weights = part_path(directory, "training", trainer->steps);
    char *projection = part_path(directory, "projection", trainer->steps);

    if (trainer->is_spoilt) {
        status = COP_FAIL(err, COP_ERR_DEVICE,
                          "%s: not saved: step %" PRId64 " failed (the last saved state stays)",
                          directory, trainer->steps + 1);
        goto done;
    }
    if (weights == NULL || projection == NULL) {
        status =
            COP_FAIL(err, COP_ERR_NOMEM, "%s: no memory to save the training state", directory);
        goto done;
    }
    if (is_first) {
        status = cop_file_make_directory(directory, err);
    }
    COP_TRY(status, cop_trainer_agree(trainer, status, err));
    COP_TRY(status, cop_optimizer_save(trainer->optimizer, weights, err));
    if (is_first) {
        status = finish_save(trainer, directory, projection, err);
    }
    COP_TRY(status, cop_trainer_agree(trainer, status, err));

done:
    cop_free(weights);
    cop_free(projection);
    return status;
}

// --- Loading ------------------------------------------------------------------------------------

static cop_status fail_option(const char *path, const char *key, const json_t *found,
                              const json_t *wanted, cop_error *err)
{
    cop_status status = COP_OK;
    char *found_text = NULL;
    char *wanted_text = NULL;

    COP_TRY(status, cop_json_text(&wanted_text, wanted, 0, err));
    if (found != NULL) {
        COP_TRY(status, cop_json_text(&found_text, found, 0, err));
    }
    status = COP_FAIL(err, COP_ERR_CONFIG,
                      "%s: %s of the interrupted run is %s, of this one %s (allowed: the same "
                      "options, or another output)",
                      path, key, found_text == NULL ? "missing" : found_text, wanted_text);

done:
    cop_free(found_text);
    cop_free(wanted_text);
    return status;
}

static cop_status check_fingerprint(const cop_trainer *trainer, const char *path,
                                    const json_t *state, cop_error *err)
{
    cop_status status = COP_OK;
    json_t *wanted = fingerprint(trainer);
    const json_t *found = json_object_get(state, "options");
    const char *key = NULL;
    json_t *value = NULL;

    if (wanted == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "%s: no memory to read it", path);
    }
    json_object_foreach(wanted, key, value)
    {
        const json_t *other = json_object_get(found, key);
        const bool is_thawed = trainer->options.thaws && json_is_false(value) &&
                               json_is_true(other) && strcmp(key, "frozen_vocabulary") == 0;
        if (!is_thawed && !json_equal(value, other)) {
            COP_TRY(status, fail_option(path, key, other, value, err));
        }
    }

done:
    json_decref(wanted);
    return status;
}

static cop_status read_description(cop_trainer *trainer, const char *path, int64_t *steps,
                                   double losses[2], cop_error *err)
{
    cop_status status = COP_OK;
    json_t *state = NULL;
    const char *format = NULL;
    const double unknown = -1.0;

    COP_TRY(status, cop_json_read(&state, path, STATE_BYTES_MAX, err));
    COP_TRY(status, cop_json_text_of(&format, state, "format", path, err));
    if (strcmp(format, format_name) != 0) {
        status = COP_FAIL(err, COP_ERR_FORMAT, "%s: format is '%s' (allowed: '%s')", path, format,
                          format_name);
        goto done;
    }
    COP_TRY(status, check_fingerprint(trainer, path, state, err));
    COP_TRY(status, cop_json_i64(steps, state, "steps", 0, INT64_MAX / 2, path, err));
    COP_TRY(status,
            cop_json_f64_or(&losses[0], state, "last_logits_loss", 0.0, 1e300, unknown, path, err));
    COP_TRY(status,
            cop_json_f64_or(&losses[1], state, "last_state_loss", 0.0, 1e300, unknown, path, err));

done:
    json_decref(state);
    return status;
}

static cop_status load_parts(cop_trainer *trainer, const char *directory, int64_t steps,
                             cop_error *err)
{
    cop_status status = COP_OK;
    char *weights = part_path(directory, "training", steps);
    char *projection = part_path(directory, "projection", steps);

    if (weights == NULL || projection == NULL) {
        status =
            COP_FAIL(err, COP_ERR_NOMEM, "%s: no memory to load the training state", directory);
        goto done;
    }
    // The smaller file first: each is checked whole before it changes anything.
    if (trainer->states != NULL) {
        COP_TRY(status, cop_state_losses_load(trainer->states, projection, err));
    }
    COP_TRY(status, cop_optimizer_load(trainer->optimizer, weights, err));
    if (cop_optimizer_steps(trainer->optimizer) != steps) {
        status = COP_FAIL(err, COP_ERR_FORMAT, "%s: steps is %" PRId64 " (allowed: %" PRId64 ")",
                          weights, cop_optimizer_steps(trainer->optimizer), steps);
    }

done:
    cop_free(weights);
    cop_free(projection);
    return status;
}

cop_status cop_trainer_load(cop_trainer *trainer, const char *directory, cop_error *err)
{
    cop_status status = COP_OK;
    char *path = cop_file_join(directory, "training.json");
    int64_t steps = 0;
    double losses[2] = {0.0, 0.0};

    if (path == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "%s: no memory to load the training state", directory);
    }
    status = read_description(trainer, path, &steps, losses, err);
    if (status == COP_OK) {
        status = load_parts(trainer, directory, steps, err);
    }
    COP_TRY(status, cop_trainer_agree(trainer, status, err));
    trainer->steps = steps;
    trainer->is_spoilt = false;
    trainer->last_logits = losses[0] >= 0.0 ? losses[0] : (double)NAN;
    trainer->last_states = losses[1] >= 0.0 ? losses[1] : (double)NAN;

done:
    cop_free(path);
    return status;
}

bool cop_trainer_has_state(const char *directory)
{
    char *path = cop_file_join(directory, "training.json");
    const bool has_state = path != NULL && cop_file_exists(path);
    cop_free(path);
    return has_state;
}
