#include "search/export.h"

#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/version.h"
#include "prune/slice.h"
#include "search/facts.h"
#include "search/study_file.h"

// Retraining as long as the published recipe did, per parameter: 94e9 tokens for 8.3e9 parameters
// (arXiv 2407.14679, section 4). A suggestion, nothing more.
static const double tokens_per_parameter = 11;

typedef struct exporter {
    const cop_snapshot *snapshot;
    const char *directory;
    const cop_candidate *candidate;
    const char *teacher_path;
    cop_study_file study;
    cop_checkpoint *teacher;
    cop_importance *importance;
    cop_selection *selection;
    cop_arch *arch;
} exporter;

static void exporter_release(exporter *e)
{
    cop_selection_destroy(e->selection);
    cop_importance_destroy(e->importance);
    cop_checkpoint_destroy(e->teacher);
    cop_study_file_release(&e->study);
    cop_free(e->arch);
}

static cop_status open_study(exporter *e, cop_error *err)
{
    cop_status status = COP_OK;
    char *path = cop_file_join(e->directory, "study.yaml");
    if (path == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "%s: out of memory", e->directory);
    }
    COP_TRY(status, cop_study_file_read(&e->study, path, false, err));
    e->teacher_path = cop_snapshot_fact(e->snapshot, COP_FACT_TEACHER);
    if (e->teacher_path == NULL) {
        status = COP_FAIL(err, COP_ERR_FORMAT, "%s/study.db: does not name the study's teacher",
                          e->directory);
    }
done:
    cop_free(path);
    return status;
}

static cop_status open_teacher(exporter *e, cop_error *err)
{
    cop_status status = COP_OK;
    cop_hash hash = {0};
    char text[COP_HASH_TEXT_BYTES];
    const char *wanted = cop_snapshot_fact(e->snapshot, "teacher_hash");
    COP_TRY(status, cop_checkpoint_open(&e->teacher, e->teacher_path, err));
    COP_TRY(status, cop_checkpoint_hash(e->teacher, &hash, err));
    if (wanted != NULL && strcmp(cop_hash_text(text, hash), wanted) != 0) {
        status = COP_FAIL(err, COP_ERR_CONFIG,
                          "%s: is not the teacher of %s: its hash is %s (allowed: %s)",
                          e->teacher_path, e->directory, text, wanted);
    }
done:
    return status;
}

// The file the search used; when the study was moved as a whole, the one in its directory.
static cop_status open_importance(exporter *e, cop_error *err)
{
    const char *named = cop_snapshot_fact(e->snapshot, COP_FACT_IMPORTANCE);
    if (e->study.select.order == COP_ORDER_RANDOM) {
        return COP_OK;
    }
    char *own = cop_file_join(e->directory, "importance.h5");
    if (own == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "%s: out of memory", e->directory);
    }
    const bool is_there = named != NULL && cop_file_exists(named);
    const cop_status status =
        cop_importance_read(&e->importance, is_there ? named : own, e->teacher, NULL, err);
    cop_free(own);
    return status;
}

static cop_dtype stored_dtype(const cop_checkpoint *teacher)
{
    const int64_t tensors = cop_arch_tensor_count(cop_checkpoint_arch(teacher));
    const cop_dtype first = cop_checkpoint_dtype(teacher);
    for (int64_t i = 0; i < tensors; i++) {
        cop_dtype dtype = COP_F32;
        (void)cop_checkpoint_view(teacher, i, &dtype);
        if (dtype != first) {
            return COP_F32; // holds each of them exactly
        }
    }
    return first == COP_F64 ? COP_F32 : first;
}

static const char *const loss_names[] = {
    [COP_PROBE_KL] = "kl", [COP_PROBE_CE] = "ce", [COP_PROBE_MIXED] = "mixed"};

// --- The recipe -----------------------------------------------------------------------------------

static void put_quoted(cop_text *out, const char *text)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                "0123456789@%_+=:,./-";
    if (text[0] != '\0' && text[strspn(text, plain)] == '\0') {
        cop_text_append(out, text);
        return;
    }
    cop_text_append(out, "'");
    for (const char *c = text; *c != '\0'; c++) {
        cop_text_append_bytes(out, *c == '\'' ? "'\\''" : c, *c == '\'' ? 4 : 1);
    }
    cop_text_append(out, "'");
}

// A YAML scalar in double quotes.
static void put_scalar(cop_text *out, const char *key, const char *text)
{
    cop_text_appendf(out, "%s: \"", key);
    for (const char *c = text; *c != '\0'; c++) {
        if (*c == '"' || *c == '\\') {
            cop_text_appendf(out, "\\%c", *c);
        } else if ((unsigned char)*c < 0x20) {
            cop_text_appendf(out, "\\x%02x", (unsigned)(unsigned char)*c);
        } else {
            cop_text_append_bytes(out, c, 1);
        }
    }
    cop_text_append(out, "\"\n");
}

// The recipe is read from anywhere: relative paths are completed by the working directory.
static void put_absolute(cop_text *out, const char *path)
{
    char directory[4096];
    if (path[0] != '/' && getcwd(directory, sizeof directory) != NULL) {
        cop_text_appendf(out, "%s/", directory);
    }
    cop_text_append(out, path);
}

static const char *fact_or(const exporter *e, const char *key, const char *fallback)
{
    const char *value = cop_snapshot_fact(e->snapshot, key);
    return value == NULL ? fallback : value;
}

static void put_command(cop_text *out, const exporter *e, const char *output, int64_t tokens)
{
    const cop_trainer_options *trainer = &e->study.trainer;
    cop_text target = {0};
    cop_text_appendf(&target, "%s-distilled", output);
    cop_text_append(out, "coppice distill --teacher ");
    put_quoted(out, e->teacher_path);
    cop_text_append(out, " --student ");
    put_quoted(out, output);
    cop_text_append(out, " --data ");
    put_quoted(out, fact_or(e, COP_FACT_TRAIN, "train.bin"));
    cop_text_append(out, " --validation ");
    put_quoted(out, fact_or(e, COP_FACT_VALIDATION, "valid.bin"));
    cop_text_appendf(out, " --loss %s", loss_names[e->study.probe_loss]);
    cop_text_appendf(out, " --tokens %" PRId64 " --batch %" PRId64 " --sequence %" PRId64, tokens,
                     trainer->batch, e->study.probe_sequence);
    cop_text_appendf(out, " --learning-rate %g -o ", trainer->schedule.peak);
    put_quoted(out, cop_text_view(&target));
    cop_text_release(&target);
}

static cop_status put_recipe(cop_text *out, cop_text *command, const exporter *e,
                             const char *output, const char *study, cop_error *err)
{
    const cop_trainer_options *trainer = &e->study.trainer;
    const double wanted = tokens_per_parameter * (double)e->candidate->cost.params;
    const int64_t step = trainer->batch * e->study.probe_sequence;
    const int64_t steps = step > 0 ? (int64_t)(wanted / (double)step) + 1 : 1;
    const int64_t tokens = steps * (step > 0 ? step : 1);
    put_command(command, e, output, tokens);
    cop_text_append(out,
                    "# How to retrain this pruned model. Tokens are a suggestion: 11 for each\n"
                    "# parameter, as in arXiv 2407.14679; fewer give a worse model sooner.\n"
                    "# Batch and learning rate are those of the search's probes.\n");
    put_scalar(out, "candidate", e->candidate->id);
    put_scalar(out, "teacher", e->teacher_path);
    put_scalar(out, "student", output);
    cop_text_append(out, "data:\n");
    put_scalar(out, "  train", fact_or(e, COP_FACT_TRAIN, ""));
    put_scalar(out, "  validation", fact_or(e, COP_FACT_VALIDATION, ""));
    put_scalar(out, "loss", loss_names[e->study.probe_loss]);
    cop_text_appendf(out, "temperature: %g\n", trainer->temperature);
    cop_text_appendf(out, "tokens: %" PRId64 "\nsteps: %" PRId64 "\n", tokens, steps);
    cop_text_appendf(out, "batch: %" PRId64 " # sequences per step\nsequence: %" PRId64 "\n",
                     trainer->batch, e->study.probe_sequence);
    cop_text_appendf(out, "learning_rate: %g # cosine to a tenth\n", trainer->schedule.peak);
    put_scalar(out, "command", cop_text_view(command));
    put_scalar(out, "study", study);
    put_scalar(out, "program", cop_version());
    const cop_status status = cop_text_check(command, "retrain.yaml", err);
    return status == COP_OK ? cop_text_check(out, "retrain.yaml", err) : status;
}

// --- Writing --------------------------------------------------------------------------------------

static cop_status check_output(const exporter *e, const char *output, bool force, cop_error *err)
{
    struct stat teacher;
    struct stat target;
    if (stat(e->teacher_path, &teacher) == 0 && stat(output, &target) == 0 &&
        teacher.st_dev == target.st_dev && teacher.st_ino == target.st_ino) {
        return COP_FAIL(err, COP_ERR_CONFIG, "%s: is the teacher (allowed: another directory)",
                        output);
    }
    if (stat(e->directory, &teacher) == 0 && stat(output, &target) == 0 &&
        teacher.st_dev == target.st_dev && teacher.st_ino == target.st_ino) {
        return COP_FAIL(err, COP_ERR_CONFIG, "%s: is the study itself (allowed: another directory)",
                        output);
    }
    return cop_file_check_absent(output, force, err);
}

static cop_status write_model(const exporter *e, const char *output, bool force, cop_text *command,
                              cop_error *err)
{
    cop_status status = COP_OK;
    cop_checkpoint_writer *writer = NULL;
    cop_text recipe = {0};
    cop_text provenance = {0};
    cop_text target = {0};
    cop_text study = {0};
    cop_checkpoint_options options = {
        .dtype = stored_dtype(e->teacher), .base = e->teacher_path, .force = force};
    cop_text_appendf(&provenance, "coppice %s pick %s of %s", cop_version(), e->candidate->id,
                     fact_or(e, COP_FACT_STUDY, e->directory));
    put_absolute(&target, output);
    put_absolute(&study, e->directory);
    COP_TRY(status, cop_text_check(&provenance, output, err));
    COP_TRY(status, cop_text_check(&target, output, err));
    COP_TRY(status, cop_text_check(&study, output, err));
    options.provenance = cop_text_view(&provenance);
    COP_TRY(status,
            put_recipe(&recipe, command, e, cop_text_view(&target), cop_text_view(&study), err));
    COP_TRY(status, cop_checkpoint_writer_create(&writer, output, e->arch, &options, err));
    COP_TRY(status, cop_slice(e->selection, e->teacher, cop_checkpoint_writer_sink(writer), err));
    COP_TRY(status, cop_checkpoint_writer_file(writer, "retrain.yaml", cop_text_view(&recipe),
                                               recipe.length, err));
    COP_TRY(status, cop_checkpoint_writer_commit(writer, err));
done:
    cop_checkpoint_writer_destroy(writer);
    cop_text_release(&recipe);
    cop_text_release(&provenance);
    cop_text_release(&target);
    cop_text_release(&study);
    return status;
}

cop_status cop_export_candidate(const cop_snapshot *snapshot, const char *directory, int64_t index,
                                const char *output, bool force, cop_text *command, cop_error *err)
{
    cop_status status = COP_OK;
    exporter e = {.snapshot = snapshot,
                  .directory = directory,
                  .candidate = &snapshot->candidate[index].candidate};
    COP_TRY(status, open_study(&e, err));
    COP_TRY(status, check_output(&e, output, force, err));
    COP_TRY(status, open_teacher(&e, err));
    COP_TRY(status, open_importance(&e, err));
    e.arch = cop_alloc(1, sizeof *e.arch);
    if (e.arch == NULL) {
        status = COP_FAIL(err, COP_ERR_NOMEM, "%s: out of memory", output);
        goto done;
    }
    *e.arch = cop_candidate_arch(e.candidate, cop_checkpoint_arch(e.teacher));
    COP_TRY(status, cop_selection_create(&e.selection, cop_checkpoint_arch(e.teacher), e.arch,
                                         e.importance, &e.study.select, err));
    COP_TRY(status, write_model(&e, output, force, command, err));
done:
    exporter_release(&e);
    return status;
}
