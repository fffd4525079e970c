// report.json. Its keys are a contract: more may be added, none renamed.

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/version.h"
#include "model/arch_json.h"
#include "report/json_build.h"
#include "report/report.h"
#include "report/surrogate_json.h"
#include "search/facts.h"

json_t *cop_report_json_estimate(const cop_estimate *estimate)
{
    json_t *object = json_object();
    cop_build_put(object, "value", cop_build_real(estimate->value));
    cop_build_put(object, "low", cop_build_real(estimate->low));
    cop_build_put(object, "high", cop_build_real(estimate->high));
    return object;
}

// A figure with the fidelity it was measured at.
static json_t *metric(const cop_estimate *estimate, int64_t tokens)
{
    json_t *object = cop_report_json_estimate(estimate);
    cop_build_put(object, "tokens", json_integer(tokens));
    return object;
}

static json_t *metrics_of(const cop_ranked *entry, int64_t tokens)
{
    json_t *object = json_object();
    const cop_estimate perplexity = {exp(entry->cross_entropy.value), exp(entry->cross_entropy.low),
                                     exp(entry->cross_entropy.high)};
    cop_build_put(object, "loss", metric(&entry->loss, tokens));
    cop_build_put(object, "cross_entropy", metric(&entry->cross_entropy, tokens));
    cop_build_put(object, "perplexity", metric(&perplexity, tokens));
    cop_build_put(object, "agreement", metric(&entry->agreement, tokens));
    cop_build_put(object, "loss_above_best", metric(&entry->difference_to_best, tokens));
    return object;
}

static json_t *values_of(const cop_candidate *c)
{
    json_t *object = json_object();
    cop_build_put(object, "layers", json_integer(c->layers));
    cop_build_put(object, "heads", json_integer(c->heads));
    cop_build_put(object, "kv_heads", json_integer(c->kv_heads));
    if (isfinite(c->ffn_ratio)) {
        cop_build_put(object, "ffn_ratio", json_real(c->ffn_ratio));
    } else {
        cop_build_put(object, "ffn", json_integer(c->ffn));
    }
    cop_build_put(object, "hidden", json_integer(c->hidden));
    return object;
}

static void put_arch(json_t *object, const cop_candidate *c)
{
    cop_build_put(object, "values", values_of(c));
    cop_build_put(object, "layers", json_integer(c->layers));
    cop_build_put(object, "hidden", json_integer(c->hidden));
    cop_build_put(object, "heads", json_integer(c->heads));
    cop_build_put(object, "kv_heads", json_integer(c->kv_heads));
    cop_build_put(object, "head_dim", json_integer(c->head_dim));
    cop_build_put(object, "ffn", json_integer(c->ffn));
    cop_build_put(object, "params", json_integer(c->cost.params));
    cop_build_put(object, "params_non_embedding", json_integer(c->cost.params_non_embedding));
    cop_build_put(object, "memory_bytes", json_integer(c->cost.total_bytes));
    cop_build_put(object, "flops_per_token", cop_build_real(c->cost.flops_per_token));
}

static json_t *stage_of(const cop_report *report, int64_t index, int stage)
{
    const cop_snapshot_stage *s = &report->snapshot->candidate[index].stage[stage];
    const cop_ranked *entry = cop_report_entry(report, index, stage);
    json_t *object = json_object();
    cop_build_put(object, "stage", json_integer(stage));
    cop_build_put(object, "tokens", json_integer(s->record.tokens));
    if (entry != NULL) {
        cop_build_put(object, "rank", json_integer(entry->rank));
        cop_build_put(object, "is_tied_with_next", json_boolean(entry->is_tied_with_next));
        cop_build_put(object, "on_front", json_boolean(entry->on_front));
        cop_build_put(object, "front_probability", cop_build_real(entry->front_probability));
        cop_build_put(object, "best_probability", cop_build_real(entry->best_probability));
        cop_build_put(object, "metrics", metrics_of(entry, s->record.tokens));
    }
    cop_build_put(object, "top_probability", cop_build_real(s->probability));
    cop_build_put(object, "decision", cop_build_text(s->decision[0] == '\0' ? NULL : s->decision));
    return object;
}

json_t *cop_report_json_candidate(const cop_report *report, int64_t index)
{
    const cop_snapshot_candidate *c = &report->snapshot->candidate[index];
    const int last = c->last_stage;
    const cop_ranked *entry = cop_report_entry(report, index, last);
    json_t *object = json_object();
    json_t *stages = json_array();
    cop_build_put(object, "id", cop_build_text(c->candidate.id));
    put_arch(object, &c->candidate);
    if (c->candidate.layer != NULL) {
        cop_build_put(object, "blocks", cop_report_json_blocks(&c->candidate));
    }
    cop_build_put(object, "importance_mass", cop_report_json_mass(report, index));
    cop_build_put(object, "batch", c->batch < 0 ? json_null() : json_integer(c->batch));
    cop_build_put(object, "status", cop_build_text(cop_candidate_state_name(c->state)));
    cop_build_put(object, "reason", cop_build_text(c->reason[0] == '\0' ? NULL : c->reason));
    cop_build_put(object, "stage", last < 0 ? json_null() : json_integer(last));
    cop_build_put(object, "tokens", json_integer(last < 0 ? 0 : c->stage[last].record.tokens));
    cop_build_put(object, "rank", entry == NULL ? json_null() : json_integer(entry->rank));
    cop_build_put(object, "on_front", json_boolean(cop_report_is_on_front(report, index)));
    cop_build_put(object, "metrics",
                  entry == NULL ? json_object() : metrics_of(entry, c->stage[last].record.tokens));
    if (c->running_stage >= 0) {
        json_t *running = json_object();
        cop_build_put(running, "stage", json_integer(c->running_stage));
        cop_build_put(running, "tokens", json_integer(c->running_tokens));
        cop_build_put(object, "running", running);
    }
    for (int s = 0; s <= last; s++) {
        if (c->stage[s].is_done) {
            cop_build_add(stages, stage_of(report, index, s));
        }
    }
    cop_build_put(object, "stages", stages);
    return object;
}

static json_t *curve_of(const cop_snapshot_candidate *c)
{
    json_t *points = json_array();
    for (int64_t i = 0; i < c->curve_points; i++) {
        json_t *point = json_array();
        cop_build_add(point, json_integer(c->curve[i].tokens));
        cop_build_add(point, cop_build_real(c->curve[i].loss));
        cop_build_add(points, point);
    }
    return points;
}

static const char *unit_of(cop_objective objective)
{
    switch (objective) {
    case COP_OBJECTIVE_LOSS: return "nats per token";
    case COP_OBJECTIVE_MEMORY: return "bytes";
    case COP_OBJECTIVE_FLOPS: return "FLOPs per token";
    case COP_OBJECTIVE_PARAMS:
    default: return "parameters";
    }
}

static const char *definition_of(const cop_report *report, cop_objective objective)
{
    switch (objective) {
    case COP_OBJECTIVE_LOSS:
        return report->has_teacher
                   ? "KL(teacher || candidate) over the full vocabulary, mean over held-out text"
                   : "cross-entropy on held-out text";
    case COP_OBJECTIVE_MEMORY: return "weights and KV cache at the budget's batch and sequence";
    case COP_OBJECTIVE_FLOPS: return "forward pass, per token, at the budget's sequence";
    case COP_OBJECTIVE_PARAMS:
    default: return "all tensors, embeddings included; a tied head counts once";
    }
}

static json_t *objectives_of(const cop_report *report)
{
    json_t *list = json_array();
    for (int i = 0; i < report->objectives; i++) {
        const cop_objective objective = report->objective[i];
        json_t *object = json_object();
        cop_build_put(object, "name", cop_build_text(cop_objective_name(objective)));
        cop_build_put(object, "unit", cop_build_text(unit_of(objective)));
        cop_build_put(object, "direction", cop_build_text("minimise"));
        cop_build_put(object, "definition", cop_build_text(definition_of(report, objective)));
        cop_build_add(list, object);
    }
    return list;
}

// The teacher's own figures, when its config.json is still where it was.
static void put_teacher(json_t *object, const cop_report *report)
{
    const char *path = cop_snapshot_fact(report->snapshot, COP_FACT_TEACHER);
    cop_arch *arch = cop_alloc(1, sizeof *arch);
    if (path != NULL && arch != NULL && cop_arch_read(arch, path, NULL) == COP_OK) {
        char text[COP_ARCH_TEXT_BYTES];
        const cop_cost cost = cop_cost_of(arch, 1, 1, COP_BF16, COP_BF16);
        cop_build_put(object, "teacher_params", json_integer(cost.params));
        cop_build_put(object, "teacher_arch", cop_build_text(cop_arch_text(text, arch)));
    }
    cop_free(arch);
}

static json_t *study_of(const cop_report *report)
{
    const cop_snapshot *snapshot = report->snapshot;
    json_t *object = json_object();
    json_t *held_out = json_object();
    cop_build_put(object, "name", cop_build_text(report->name));
    cop_build_put(object, "seed", json_integer((json_int_t)report->seed));
    cop_build_put(object, "strategy", cop_build_text(report->strategy));
    cop_build_put(object, "proposals", cop_report_json_proposals(report));
    cop_build_put(object, "candidates", json_integer(snapshot->count));
    cop_build_put(object, "stages", json_integer(report->stages));
    cop_build_put(object, "deepest_stage",
                  report->deepest < 0 ? json_null() : json_integer(report->deepest));
    cop_build_put(object, "failures", json_integer(report->failures));
    cop_build_put(object, "space", cop_report_json_space(report));
    cop_build_put(object, "hypervolume",
                  cop_report_json_volume(&report->volume, &report->history, report->objectives));
    cop_build_put(object, "surrogate", cop_report_json_surrogate(snapshot->fact, snapshot->facts));
    cop_build_put(object, "stopped_early", cop_report_json_fact(report, COP_FACT_STABLE));
    put_teacher(object, report);
    if (report->deepest >= 0) {
        const cop_ranked *best = &report->stage[report->deepest].ranking.entry[0];
        const cop_evaluation *e =
            &snapshot->candidate[best->index].stage[report->deepest].record.evaluation;
        cop_build_put(held_out, "sequences", json_integer(e->sequences));
        cop_build_put(held_out, "tokens", json_integer(e->sequences * e->sequence_tokens));
        if (e->teacher_cross_entropy != NULL) {
            double sum = 0;
            for (int64_t i = 0; i < e->sequences; i++) {
                sum += e->teacher_cross_entropy[i];
            }
            cop_build_put(held_out, "teacher_cross_entropy",
                          cop_build_real(sum / (double)e->sequences));
        }
    }
    cop_build_put(object, "held_out", held_out);
    return object;
}

static json_t *id_at(const cop_report *report, int64_t index)
{
    return index < 0 ? json_null()
                     : cop_build_text(report->snapshot->candidate[index].candidate.id);
}

static json_t *pick_of(const cop_report *report)
{
    json_t *object = json_object();
    const cop_pick *pick = &report->pick;
    cop_build_put(object, "id", id_at(report, pick->index));
    cop_build_put(
        object, "reason",
        cop_build_text(report->has_pick ? pick->reason : "no candidate has a finished stage yet"));
    cop_build_put(object, "runner_up", id_at(report, pick->runner_up));
    if (report->has_pick) {
        cop_build_put(object, "stage", json_integer(pick->stage));
        cop_build_put(object, "is_tie", json_boolean(pick->is_tie));
        cop_build_put(object, "difference", cop_report_json_estimate(&pick->difference));
        cop_build_put(object, "lowest_share", cop_build_real(report->pick_lowest_share));
        cop_build_put(object, "change",
                      cop_build_text(report->pick_change[0] == '\0' ? NULL : report->pick_change));
    }
    return object;
}

static json_t *rungs_of(const cop_report *report)
{
    json_t *list = json_array();
    for (int s = 0; s < report->stages; s++) {
        const cop_report_stage *stage = &report->stage[s];
        json_t *object = json_object();
        json_t *agreement = cop_report_json_estimate(&stage->agreement.tau);
        cop_build_put(object, "stage", json_integer(s));
        cop_build_put(object, "tokens",
                      stage->ranking.count > 0 ? json_integer(stage->tokens) : json_null());
        cop_build_put(object, "entered", json_integer(stage->entered));
        cop_build_put(object, "finished", json_integer(stage->ranking.count));
        cop_build_put(object, "promoted", json_integer(stage->promoted));
        cop_build_put(object, "rescued", json_integer(stage->rescued));
        cop_build_put(object, "eliminated", json_integer(stage->eliminated));
        cop_build_put(object, "failed", json_integer(stage->failed));
        cop_build_put(object, "running", json_integer(stage->running));
        cop_build_put(object, "tokens_spent", json_integer(stage->tokens_spent));
        cop_build_put(agreement, "shared", json_integer(stage->agreement.shared));
        cop_build_put(object, "tau_with_previous", agreement);
        cop_build_put(object, "tau_within_size", cop_report_json_within(&stage->agreement));
        cop_build_add(list, object);
    }
    return list;
}

// Groups of at least two that share a rank, per stage.
static json_t *ties_of(const cop_report *report)
{
    json_t *list = json_array();
    for (int s = 0; s < report->stages; s++) {
        const cop_ranking *ranking = &report->stage[s].ranking;
        for (int64_t i = 0; i < ranking->count;) {
            int64_t end = i + 1;
            while (end < ranking->count && ranking->entry[end].rank == ranking->entry[i].rank) {
                end++;
            }
            if (end - i > 1) {
                json_t *group = json_object();
                json_t *ids = json_array();
                for (int64_t k = i; k < end; k++) {
                    cop_build_add(ids, id_at(report, ranking->entry[k].index));
                }
                cop_build_put(group, "stage", json_integer(s));
                cop_build_put(group, "rank", json_integer(ranking->entry[i].rank));
                cop_build_put(group, "ids", ids);
                cop_build_add(list, group);
            }
            i = end;
        }
    }
    return list;
}

static json_t *steps_of(const cop_report *report)
{
    json_t *list = json_array();
    for (int64_t i = 0; i + 1 < report->front_count; i++) {
        const cop_report_step *step = &report->step[i];
        json_t *object = json_object();
        cop_build_put(object, "from", id_at(report, step->from));
        cop_build_put(object, "to", id_at(report, step->to));
        cop_build_put(object, "gain", cop_report_json_estimate(&step->gain));
        cop_build_put(object, "gain_per_percent", cop_build_real(step->gain_per_percent));
        cop_build_put(object, "is_flat", json_boolean(step->is_flat));
        cop_build_add(list, object);
    }
    return list;
}

static json_t *knee_of(const cop_report *report)
{
    json_t *object = json_object();
    const bool is_known = report->knee_by_distance >= 0 && report->knee_by_ideal >= 0;
    cop_build_put(object, "by_distance", id_at(report, report->knee_by_distance));
    cop_build_put(object, "by_ideal", id_at(report, report->knee_by_ideal));
    cop_build_put(object, "agree",
                  is_known ? json_boolean(report->knee_by_distance == report->knee_by_ideal)
                           : json_null());
    return object;
}

static json_t *provenance_of(const cop_report *report)
{
    const cop_snapshot *snapshot = report->snapshot;
    json_t *object = json_object();
    json_t *facts = json_object();
    json_t *seconds = json_array();
    json_t *retries = json_object();
    for (int64_t i = 0; i < snapshot->facts; i++) {
        const cop_fact *fact = &snapshot->fact[i];
        if (cop_fact_is_provenance(fact->key)) {
            cop_build_put(facts, fact->key, cop_build_text(fact->value));
        }
    }
    for (int s = 0; s < report->stages; s++) {
        cop_build_add(seconds, cop_build_real(report->stage[s].seconds));
    }
    for (int64_t i = 0; i < snapshot->count; i++) {
        int more = 0;
        for (int s = 0; s < COP_SNAPSHOT_STAGES_MAX; s++) {
            const int attempts = snapshot->candidate[i].stage[s].record.attempts;
            more += attempts > 1 ? attempts - 1 : 0;
        }
        if (more > 0) {
            cop_build_put(retries, snapshot->candidate[i].candidate.id, json_integer(more));
        }
    }
    cop_build_put(object, "command", cop_report_json_fact(report, COP_FACT_COMMAND));
    cop_build_put(object, "directory", cop_build_text(report->directory));
    cop_build_put(object, "report_version", cop_build_text(cop_version()));
    cop_build_put(object, "seconds", cop_build_real(report->seconds));
    cop_build_put(object, "seconds_per_stage", seconds);
    cop_build_put(object, "retries", retries);
    cop_build_put(object, "resamples", json_integer(COP_RANKING_RESAMPLES));
    cop_build_put(object, "facts", facts);
    return object;
}

static json_t *candidates_of(const cop_report *report)
{
    json_t *list = json_array();
    for (int64_t i = 0; i < report->snapshot->count; i++) {
        json_t *candidate = cop_report_json_candidate(report, i);
        cop_build_put(candidate, "curve", curve_of(&report->snapshot->candidate[i]));
        cop_build_add(list, candidate);
    }
    return list;
}

cop_status cop_report_json(json_t **out, const cop_report *report, cop_error *err)
{
    json_t *front = json_array();
    *out = json_object();
    if (*out == NULL) {
        json_decref(front);
        return COP_FAIL(err, COP_ERR_NOMEM, "report: out of memory");
    }
    for (int64_t i = 0; i < report->front_count; i++) {
        cop_build_add(front, id_at(report, report->front[i]));
    }
    cop_build_put(*out, "study", study_of(report));
    cop_build_put(*out, "objectives", objectives_of(report));
    cop_build_put(*out, "pick", pick_of(report));
    cop_build_put(*out, "front", front);
    cop_build_put(*out, "front_steps", steps_of(report));
    cop_build_put(*out, "knee", knee_of(report));
    cop_build_put(*out, "stages", rungs_of(report));
    cop_build_put(*out, "ties", ties_of(report));
    cop_build_put(*out, "evaluations", json_integer(report->evaluations));
    cop_build_put(*out, "tokens", json_integer(report->tokens));
    cop_build_put(*out, "candidates", candidates_of(report));
    cop_build_put(*out, "provenance", provenance_of(report));
    return COP_OK;
}
