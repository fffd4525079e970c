#include "search/footprint.h"

#include <math.h>

#include "base/alloc.h"
#include "eval/evaluate.h"
#include "prune/importance.h"

enum { PASS_TOKENS = 8192 };

static const double memory_share = 0.8;

// Weights at their best and two moments of AdamW, on disk.
static uint64_t state_bytes(cop_state_form form)
{
    switch (form) {
    case COP_STATE_COMPACT: return 4 + 2 * 2;
    case COP_STATE_LEAN: return 2 + 2 * 2;
    case COP_STATE_FULL:
    default: return 4 + 2 * 4;
    }
}

cop_status cop_footprint_precision(cop_precision *out, const cop_study_file *study,
                                   cop_backend *backend, cop_error *err)
{
    cop_device_info info = {0};

    *out = study->precision;
    if (!study->precision_is_auto) {
        return COP_OK;
    }
    const cop_status status = cop_backend_info(backend, &info, err);
    if (status == COP_OK && info.has_bf16_matmul) {
        *out = COP_PRECISION_BF16;
    }
    return status;
}

cop_trainer_options cop_footprint_trainer(const cop_study_file *study, int64_t micro_batch,
                                          int rung)
{
    cop_trainer_options options = study->trainer;
    cop_network_options unused = {0};
    options.micro_batch = micro_batch;
    options.thaws = rung > study->freeze_vocabulary;
    cop_state_form_apply(study->state, &unused, &options.optimizer);
    return options;
}

cop_network_options cop_footprint_network(const cop_study_file *study, cop_precision precision,
                                          int64_t micro_batch, int rung)
{
    cop_optimizer_options unused = {0};
    cop_network_options options = {.precision = precision,
                                   .batch = micro_batch,
                                   .sequence = study->probe_sequence,
                                   .is_training = rung > 0,
                                   .recompute = study->recompute,
                                   .freeze_vocabulary =
                                       rung > 0 && rung <= study->freeze_vocabulary};
    cop_state_form_apply(study->state, &options, &unused);
    return options;
}

int64_t cop_footprint_train_sequences(const cop_study_file *study, int rung)
{
    return rung < 1 ? 0 : study->rung_tokens[rung - 1] / study->probe_sequence;
}

uint64_t cop_footprint_states_bytes(const cop_study_file *study, const cop_arch *teacher,
                                    cop_precision precision, int64_t sequences)
{
    const uint64_t element = precision == COP_PRECISION_BF16 ? 2 : 4;
    return (uint64_t)sequences * (uint64_t)study->probe_sequence * (uint64_t)teacher->hidden *
           element;
}

uint64_t cop_footprint_targets_bytes(const cop_study_file *study, const cop_arch *teacher,
                                     cop_precision precision, int64_t sequences)
{
    const int64_t draws = study->trainer.sample_draws;
    return draws == 0 ? cop_footprint_states_bytes(study, teacher, precision, sequences)
                      : (uint64_t)sequences * (uint64_t)study->probe_sequence *
                            cop_teacher_sample_bytes(draws);
}

uint64_t cop_footprint_checkpoint_bytes(const cop_study_file *study, const cop_candidate *candidate)
{
    return (uint64_t)candidate->cost.params * state_bytes(study->state);
}

bool cop_footprint_is_online(const cop_study_file *study, const cop_arch *teacher,
                             cop_precision precision, int rung)
{
    const int64_t sequences = cop_footprint_train_sequences(study, rung);
    return study->probe_loss != COP_PROBE_CE && rung >= 1 &&
           cop_footprint_targets_bytes(study, teacher, precision, sequences) >
               study->teacher_cache_bytes;
}

// --- Plans --------------------------------------------------------------------------------------

typedef struct planner {
    const cop_study_file *study;
    const cop_arch *teacher;
    cop_precision precision;
    int64_t micro_batch;
    bool is_online;
    cop_backend *backend;
} planner;

static cop_teacher_options teacher_options(const planner *p)
{
    return (cop_teacher_options){.precision = p->precision,
                                 .batch = p->micro_batch,
                                 .sequence = p->study->probe_sequence,
                                 .draws = p->study->trainer.sample_draws};
}

// A probe trains, then evaluates with the same network: the larger of the two.
static cop_status plan_probe(cop_plan *out, const planner *p, const cop_arch *arch, cop_error *err)
{
    const int last = p->study->rungs > 0 ? p->study->rungs : 1; // in which least is frozen
    const cop_teacher_options teacher = teacher_options(p);
    const cop_network_options network =
        cop_footprint_network(p->study, p->precision, p->micro_batch, last);
    const cop_trainer_options trainer = cop_footprint_trainer(p->study, p->micro_batch, last);
    const cop_arch *trains_with = p->study->probe_loss == COP_PROBE_CE ? NULL : p->teacher;
    cop_status status = COP_OK;
    cop_plan *evaluation = cop_alloc(1, sizeof *evaluation);

    if (evaluation == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "memory plan: out of memory");
    }
    cop_plan_init(out);
    COP_TRY(status, cop_teacher_plan(out, p->teacher, &teacher, p->is_online, p->backend, err));
    // Of held-out text, beside those of the training text.
    cop_plan_add(out, "teacher: states of a batch",
                 cop_teacher_states_bytes(p->teacher, &teacher, true, p->backend));
    COP_TRY(status, cop_network_plan(out, "student", arch, &network, p->backend, err));
    *evaluation = *out;
    COP_TRY(status, cop_evaluate_plan(evaluation, arch, &network, p->teacher, p->backend, err));
    COP_TRY(status, cop_trainer_plan(out, arch, &network, &trainer, trains_with, p->backend, err));
    if (cop_plan_total(evaluation) > cop_plan_total(out)) {
        *out = *evaluation;
    }

done:
    cop_free(evaluation);
    return status;
}

cop_memory_form cop_footprint_memory_form(const cop_study_file *study, int64_t micro_batch)
{
    return (cop_memory_form){.recompute = study->recompute,
                             .micro_batch = micro_batch,
                             .state = study->state,
                             .freezes_vocabulary =
                                 study->freeze_vocabulary >= study->rungs && study->rungs > 0};
}

cop_status cop_footprint_probe(cop_plan *out, const cop_study_file *study, const cop_arch *teacher,
                               const cop_candidate *candidate, cop_precision precision,
                               bool is_online, const cop_memory_form *form, cop_backend *backend,
                               cop_error *err)
{
    planner p = {.teacher = teacher,
                 .precision = precision,
                 .micro_batch = form->micro_batch,
                 .is_online = is_online,
                 .backend = backend};
    cop_status status = COP_OK;
    cop_study_file *trial = cop_alloc(1, sizeof *trial);
    cop_arch *arch = cop_alloc(1, sizeof *arch);

    if (trial == NULL || arch == NULL) {
        status = COP_FAIL(err, COP_ERR_NOMEM, "memory plan: out of memory");
        goto done;
    }
    *trial = *study; // what it owns stays the study's
    trial->recompute = form->recompute;
    trial->state = form->state;
    trial->freeze_vocabulary = form->freezes_vocabulary ? COP_STUDY_RUNGS_MAX : 0;
    *arch = cop_candidate_arch(candidate, teacher);
    p.study = trial;
    COP_TRY(status, plan_probe(out, &p, arch, err));

done:
    cop_free(trial);
    cop_free(arch);
    return status;
}

// The teacher scores units before its states are computed: the larger of the two.
static cop_status plan_teacher(cop_plan *out, const planner *p, cop_error *err)
{
    cop_importance_settings settings = p->study->calibration_settings;
    const cop_teacher_options teacher = teacher_options(p);
    cop_status status = COP_OK;
    cop_plan *score = cop_alloc(1, sizeof *score);

    if (score == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "memory plan: out of memory");
    }
    settings.precision = p->precision;
    const cop_network_options network = {.precision = p->precision,
                                         .batch = cop_importance_batch(&settings),
                                         .sequence = settings.sequence};
    cop_plan_init(out);
    *score = *out;
    COP_TRY(status, cop_teacher_plan(out, p->teacher, &teacher, true, p->backend, err));
    // Of held-out text, while those of the training text are computed.
    cop_plan_add(out, "teacher: states of a batch",
                 cop_teacher_states_bytes(p->teacher, &teacher, true, p->backend));
    COP_TRY(status, cop_network_plan(score, "teacher", p->teacher, &network, p->backend, err));
    COP_TRY(status, cop_importance_plan(score, p->teacher, &settings, p->backend, err));
    if (cop_plan_total(score) > cop_plan_total(out)) {
        *out = *score;
    }

done:
    cop_free(score);
    return status;
}

static cop_status plan_latency(cop_plan *out, const planner *p, const cop_arch *arch,
                               const cop_latency_budget *budget, cop_error *err)
{
    const cop_network_options network = {
        .precision = p->precision, .batch = budget->batch, .sequence = budget->sequence};
    const cop_teacher_options teacher = teacher_options(p);
    cop_status status = COP_OK;

    cop_plan_init(out);
    COP_TRY(status, cop_teacher_plan(out, p->teacher, &teacher, false, p->backend, err));
    COP_TRY(status, cop_network_plan(out, "student", arch, &network, p->backend, err));

done:
    return status;
}

static cop_status plan_largest(cop_footprint *out, const planner *p,
                               const cop_candidate *candidates, int64_t count, cop_error *err)
{
    cop_status status = COP_OK;
    cop_arch *arch = cop_alloc(1, sizeof *arch);
    cop_plan *plan = cop_alloc(1, sizeof *plan);
    cop_latency_budget budget[COP_STUDY_LATENCIES_MAX];
    const int latencies = cop_study_latencies(p->study, budget);
    uint64_t most = 0;

    if (arch == NULL || plan == NULL) {
        status = COP_FAIL(err, COP_ERR_NOMEM, "memory plan: out of memory");
        goto done;
    }
    for (int64_t i = 0; i < count; i++) {
        *arch = cop_candidate_arch(&candidates[i], p->teacher);
        COP_TRY(status, plan_probe(plan, p, arch, err));
        const uint64_t total = cop_plan_total(plan);
        if (i == 0 || total > most) {
            most = total;
            out->probe = *plan;
            out->largest = i;
        }
    }
    *arch = cop_candidate_arch(&candidates[out->largest], p->teacher);
    for (int i = 0; i < latencies; i++) {
        COP_TRY(status, plan_latency(plan, p, arch, &budget[i], err));
        if (i == 0 || cop_plan_total(plan) > cop_plan_total(&out->latency)) {
            out->latency = *plan;
        }
    }

done:
    cop_free(arch);
    cop_free(plan);
    return status;
}

// The next smaller divisor of `batch`, or 0.
static int64_t smaller_divisor(int64_t batch, int64_t below)
{
    for (int64_t d = below - 1; d >= 1; d--) {
        if (batch % d == 0) {
            return d;
        }
    }
    return 0;
}

cop_status cop_footprint_make(cop_footprint *out, const cop_study_file *study,
                              const cop_arch *teacher, const cop_candidate *candidates,
                              int64_t count, cop_precision precision, int64_t micro_batch,
                              bool is_online, uint64_t memory_bytes, cop_backend *backend,
                              cop_error *err)
{
    const int64_t batch = study->batch_tokens / study->probe_sequence;
    const int64_t most = PASS_TOKENS / study->probe_sequence;
    const bool is_given = micro_batch > 0;
    planner p = {.study = study,
                 .teacher = teacher,
                 .precision = precision,
                 .micro_batch = micro_batch,
                 .is_online = is_online,
                 .backend = backend};
    cop_plan_room room = {.host_bytes = memory_bytes, .is_one = true};
    cop_device_info info = {0};
    cop_status status = COP_OK;

    COP_TRY(status, cop_backend_info(backend, &info, err));
    room.is_one = info.is_host_memory;
    if (!is_given) {
        p.micro_batch = smaller_divisor(batch, (most < batch ? most : batch) + 1);
        const int64_t least = cop_memory_form_smallest_pass(batch, study->state);
        p.micro_batch = p.micro_batch > least ? p.micro_batch : least;
    }
    for (;;) {
        *out = (cop_footprint){.micro_batch = p.micro_batch, .precision = precision};
        COP_TRY(status, plan_largest(out, &p, candidates, count, err));
        const int64_t next = smaller_divisor(batch, p.micro_batch);
        const double needed = (double)cop_plan_total_in(&out->probe, &room);
        if (is_given || next < cop_memory_form_smallest_pass(batch, study->state) ||
            needed <= memory_share * (double)memory_bytes) {
            break;
        }
        p.micro_batch = next;
    }
    COP_TRY(status, plan_teacher(&out->teacher, &p, err));

done:
    return status;
}
