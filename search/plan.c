// What a search will cost, by formula.

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/system.h"
#include "model/arch_json.h"
#include "search/footprint.h"
#include "search/search.h"
#include "search/space_sample.h"

enum { HELD_OUT_DEFAULT = 256 };

// FLOPs per token of one candidate, or the mean of many.
typedef struct rates {
    double train;   // a training step, with the teacher's head unless it was sampled
    double forward; // an evaluation, with the teacher's head
    double head;    // the teacher's LM head
    double teacher; // the teacher's blocks
    double targets; // the teacher's pass over training text
} rates;

static double forward_flops(const cop_arch *arch, int64_t sequence)
{
    return cop_cost_train_flops(arch, sequence) / 3.0;
}

// Which candidates survive is not known yet: all stages count with the mean of the feasible ones.
static cop_status mean_rates(rates *out, const cop_study_file *study, const cop_arch *teacher,
                             const cop_candidate *candidates, int64_t count, cop_error *err)
{
    const int64_t sequence = study->probe_sequence;
    double sum = 0.0;
    cop_arch *arch = cop_alloc(1, sizeof *arch);

    if (arch == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "%s: out of memory", study->path);
    }
    for (int64_t i = 0; i < count; i++) {
        *arch = cop_candidate_arch(&candidates[i], teacher);
        sum += cop_cost_train_flops(arch, sequence);
    }
    cop_free(arch);
    out->head = 2.0 * (double)teacher->vocab * (double)teacher->hidden;
    out->teacher = forward_flops(teacher, sequence) - out->head;
    const bool is_sampled = study->trainer.sample_draws > 0;
    out->targets = out->teacher + (is_sampled ? out->head : 0.0);
    out->train =
        sum / (double)count + (study->probe_loss == COP_PROBE_CE || is_sampled ? 0.0 : out->head);
    out->forward = sum / (double)count / 3.0 + out->head;
    return COP_OK;
}

static bool has_strategy(const cop_study_file *study)
{
    return strcmp(study->strategy, "grid") != 0;
}

// Of `candidates` at the end of a stage.
static int64_t kept_of(const cop_study_file *study, int stage, int64_t candidates)
{
    if (has_strategy(study) && stage < (int)study->fidelity) {
        return candidates;
    }
    if (stage == 0) {
        return study->keep_pruned > 0 && study->keep_pruned < candidates ? study->keep_pruned
                                                                         : candidates;
    }
    const int64_t kept = (int64_t)ceil(study->keep * (double)candidates - 1e-9);
    return kept < 1 ? 1 : kept;
}

static cop_status plan_stages(cop_search_plan *plan, const cop_study_file *study, const rates *r,
                              cop_error *err)
{
    const int64_t held_tokens = plan->held_out_sequences * study->probe_sequence;
    const int64_t last = study->rung_tokens[study->rungs - 1];
    int64_t candidates = plan->candidates;

    if (candidates > INT64_MAX / 2 / last) {
        return COP_FAIL(err, COP_ERR_CONFIG,
                        "%s: %" PRId64 " candidates of %" PRId64
                        " tokens are more than can be counted (allowed: fewer of them)",
                        study->path, candidates, last);
    }
    plan->stages = study->rungs + 1;
    for (int stage = 0; stage <= study->rungs; stage++) {
        const int64_t before = stage < 2 ? 0 : study->rung_tokens[stage - 2];
        const int64_t trained = stage < 1 ? 0 : study->rung_tokens[stage - 1] - before;
        plan->stage[stage].candidates = candidates;
        plan->stage[stage].tokens = candidates * trained;
        plan->stage[stage].flops =
            (double)candidates * ((double)trained * r->train + (double)held_tokens * r->forward);
        plan->tokens += plan->stage[stage].tokens;
        plan->flops += plan->stage[stage].flops;
        candidates = kept_of(study, stage, candidates);
    }
    plan->tokens_without_halving = plan->candidates * last;
    plan->tokens_of_all =
        plan->feasible == INT64_MAX ? (double)NAN : (double)plan->feasible * (double)last;
    return COP_OK;
}

static void plan_candidates(cop_search_plan *plan, const cop_study_file *study,
                            const cop_space *space, const cop_space_report *report)
{
    plan->size = report->size;
    plan->log10_size = cop_space_log10_size(space);
    plan->feasible = report->feasible;
    plan->candidates = report->feasible;
    memcpy(plan->strategy, study->strategy, sizeof plan->strategy);
    if (has_strategy(study)) {
        plan->fidelity = (int)study->fidelity;
        plan->candidates =
            study->evaluations < report->feasible ? study->evaluations : report->feasible;
    }
}

// Scoring, unless the file is there; one pass over the held-out and the training text, or one in every step.
static void plan_teacher(cop_search_plan *plan, const cop_study_file *study,
                         const cop_arch *teacher, const rates *r)
{
    const cop_importance_settings *settings = &study->calibration_settings;
    const double held = (double)(plan->held_out_sequences * study->probe_sequence);
    const int64_t sequences = cop_footprint_train_sequences(study, study->rungs);
    const bool needs_score = study->select.order != COP_ORDER_RANDOM &&
                             !(study->importance[0] != '\0' && cop_file_exists(study->importance));

    plan->teacher_flops = held * r->teacher;
    if (needs_score) {
        // Leave-one-out passes run the layers behind the one left out: half of them on average.
        const double passes =
            1.0 + (settings->with_perplexity ? 0.5 * (double)teacher->layers : 0.0);
        const double blocks = forward_flops(teacher, settings->sequence) - r->head;
        plan->teacher_flops +=
            passes * blocks * (double)settings->samples * (double)settings->sequence;
    }
    plan->sample_draws = study->trainer.sample_draws;
    plan->teacher_cache_bytes =
        cop_footprint_states_bytes(study, teacher, plan->precision, plan->held_out_sequences);
    if (study->probe_loss == COP_PROBE_CE) {
        return;
    }
    if (cop_footprint_is_online(study, teacher, plan->precision, study->rungs)) {
        plan->teacher_flops += (double)plan->tokens * r->targets;
    } else {
        plan->teacher_flops += (double)(sequences * study->probe_sequence) * r->targets;
        plan->teacher_cache_bytes +=
            cop_footprint_targets_bytes(study, teacher, plan->precision, sequences);
    }
}

static void plan_disk(cop_search_plan *plan, const cop_study_file *study,
                      const cop_candidate *candidates, int64_t count)
{
    uint64_t largest = 0;
    for (int64_t i = 0; i < count; i++) {
        const uint64_t bytes = cop_footprint_checkpoint_bytes(study, &candidates[i]);
        largest = bytes > largest ? bytes : largest;
    }
    // All of the first rung lie on disk when it ends; one more while a state is replaced.
    plan->checkpoint_bytes =
        largest * (uint64_t)(plan->stages > 1 ? plan->stage[1].candidates + 1 : 0);
}

static cop_status count_held_out(cop_search_plan *plan, const cop_study_file *study,
                                 const cop_arch *teacher, cop_error *err)
{
    cop_status status = COP_OK;
    cop_tokens *tokens = NULL;
    int64_t windows = 0;

    plan->held_out_sequences =
        study->validation_sequences > 0 ? study->validation_sequences : HELD_OUT_DEFAULT;
    if (study->validation[0] != '\0' && cop_file_exists(study->validation)) {
        COP_TRY(status, cop_tokens_open(&tokens, study->validation, teacher->vocab, err));
        windows = (cop_tokens_count(tokens) - 1) / study->probe_sequence;
        if (windows >= 1 && windows < plan->held_out_sequences) {
            plan->held_out_sequences = windows;
        }
    }

done:
    cop_tokens_destroy(tokens);
    return status;
}

// What the largest probe needs in every form of state.
static cop_status plan_forms(cop_search_plan *plan, const cop_study_file *study,
                             const cop_arch *teacher, const cop_candidate *largest, bool is_online,
                             cop_backend *backend, cop_error *err)
{
    const int64_t batch = study->batch_tokens / study->probe_sequence;
    cop_status status = COP_OK;
    cop_plan *probe = cop_alloc(1, sizeof *probe);

    if (probe == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "%s: out of memory", study->path);
    }
    for (int i = 0; i < COP_SEARCH_FORMS; i++) {
        cop_memory_form *form = &plan->form[i].form;
        *form = cop_footprint_memory_form(study, plan->micro_batch);
        form->state = (cop_state_form)(i / 2);
        form->freezes_vocabulary = i % 2 == 1;
        const int64_t least = cop_memory_form_smallest_pass(batch, form->state);
        form->micro_batch = form->micro_batch < least ? least : form->micro_batch;
        if (form->state != COP_STATE_LEAN || plan->precision == COP_PRECISION_BF16) {
            COP_TRY(status, cop_footprint_probe(probe, study, teacher, largest, plan->precision,
                                                is_online, form, backend, err));
            plan->form[i].bytes = cop_plan_device_total(probe);
        }
    }

done:
    cop_free(probe);
    return status;
}

static cop_status plan_memory(cop_search_plan *plan, const cop_study_file *study,
                              const cop_arch *teacher, const cop_candidate *candidates,
                              int64_t count, const char *backend_name, uint64_t device_bytes,
                              cop_error *err)
{
    cop_device_info info = {0};
    cop_status status = COP_OK;
    cop_backend *backend = NULL;
    bool is_online = false;
    cop_footprint *footprint = cop_alloc(1, sizeof *footprint);

    if (footprint == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "%s: out of memory", study->path);
    }
    COP_TRY(status, cop_backend_create(&backend, backend_name, err));
    COP_TRY(status, cop_backend_info(backend, &info, err));
    memcpy(plan->device, info.name, sizeof plan->device);
    if (device_bytes == 0) {
        device_bytes = info.is_host_memory ? cop_system_memory_bytes() : info.memory_bytes;
    }
    COP_TRY(status, cop_footprint_precision(&plan->precision, study, backend, err));
    is_online = cop_footprint_is_online(study, teacher, plan->precision, study->rungs);
    COP_TRY(status,
            cop_footprint_make(footprint, study, teacher, candidates, count, plan->precision,
                               study->micro_batch, is_online, device_bytes, backend, err));
    plan->memory = footprint->probe;
    plan->memory_teacher = footprint->teacher;
    plan->micro_batch = footprint->micro_batch;
    memcpy(plan->largest, candidates[footprint->largest].id, sizeof plan->largest);
    COP_TRY(status, plan_forms(plan, study, teacher, &candidates[footprint->largest], is_online,
                               backend, err));

done:
    cop_free(footprint);
    cop_backend_destroy(backend);
    return status;
}

cop_status cop_search_plan_make(cop_search_plan *out, const cop_study_file *study,
                                const char *backend, cop_error *err)
{
    return cop_search_plan_make_for(out, study, backend, 0, err);
}

cop_status cop_search_plan_make_for(cop_search_plan *out, const cop_study_file *study,
                                    const char *backend, uint64_t device_bytes, cop_error *err)
{
    cop_status status = COP_OK;
    cop_space *space = NULL;
    cop_candidate *candidates = NULL;
    cop_space_report report = {0};
    rates r = {0};
    cop_arch *teacher = cop_alloc(1, sizeof *teacher);

    *out = (cop_search_plan){0};
    if (teacher == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "%s: out of memory", study->path);
    }
    if (study->rungs == 0) {
        status = COP_FAIL(err, COP_ERR_CONFIG, "%s: the key probe.rungs is missing", study->path);
        goto done;
    }
    COP_TRY(status, cop_arch_read(teacher, study->teacher, err));
    COP_TRY(status, cop_space_create(&space, study, teacher, err));
    COP_TRY(status, cop_space_sample(&candidates, &out->sampled, &report, study, space, err));
    plan_candidates(out, study, space, &report);
    COP_TRY(status, count_held_out(out, study, teacher, err));
    COP_TRY(status,
            plan_memory(out, study, teacher, candidates, out->sampled, backend, device_bytes, err));
    COP_TRY(status, mean_rates(&r, study, teacher, candidates, out->sampled, err));
    COP_TRY(status, plan_stages(out, study, &r, err));
    plan_teacher(out, study, teacher, &r);
    plan_disk(out, study, candidates, out->sampled);
    out->flops += out->teacher_flops;

done:
    cop_free(candidates);
    cop_space_destroy(space);
    cop_free(teacher);
    return status;
}

void cop_search_plan_time(cop_search_plan *plan, double peak, double efficiency)
{
    plan->flops_per_second = peak * efficiency;
    for (int i = 0; i < plan->stages; i++) {
        plan->stage[i].seconds = plan->stage[i].flops / plan->flops_per_second;
    }
    plan->teacher_seconds = plan->teacher_flops / plan->flops_per_second;
    plan->seconds = plan->flops / plan->flops_per_second;
}
