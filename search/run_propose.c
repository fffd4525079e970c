// Candidates by a strategy: batch after batch is proposed, evaluated up to search.fidelity, and told.
//
// What is proposed is in the database before it is evaluated; the strategy's state is not: it is told the stored
// batches again. A study that was interrupted proposes what an undisturbed one does.

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "model/arch.h"
#include "search/calibration.h"
#include "search/importance_mass.h"
#include "search/layer_mass.h"
#include "search/resample.h"
#include "search/run_internal.h"
#include "search/space_domain.h"
#include "search/strategy.h"

typedef struct proposer {
    cop_run *run;
    cop_space *space;
    cop_space_domain *domain;
    cop_importance_mass *mass; // NULL: pruned in random order
    cop_layer_mass *layers;    // NULL: not asked for
    cop_strategy *strategy;
    int axes;
    int64_t *proposed; // [snapshot.count] candidates by batch and slot; owned
    int64_t count;
} proposer;

bool cop_run_has_strategy(const cop_run *run)
{
    return strcmp(run->study->strategy, "grid") != 0;
}

static cop_status nomem(const cop_run *run, cop_error *err)
{
    return COP_FAIL(err, COP_ERR_NOMEM, "%s: out of memory", run->options->directory);
}

// --- Opening ------------------------------------------------------------------------------------

static void describe_mass(const void *context, const cop_candidate *candidate, double *features)
{
    cop_importance_mass_of(context, candidate, features);
}

static cop_status open_all(proposer *p, cop_error *err)
{
    const cop_study_file *study = p->run->study;
    const cop_arch *teacher = cop_checkpoint_arch(p->run->teacher);
    const cop_strategy_type *type = cop_strategy_find(study->strategy);
    cop_space_features features = {.describe = describe_mass};
    cop_space_scores scores;
    cop_strategy_options options = COP_STRATEGY_OPTIONS_DEFAULT;
    cop_status status = COP_OK;

    COP_TRY(status, cop_space_create(&p->space, study, teacher, err));
    if (p->run->importance != NULL) {
        COP_TRY(status, cop_importance_mass_create(&p->mass, p->run->importance, teacher,
                                                   study->select.aggregate, err));
        features.context = p->mass;
        features.count = COP_MASS_AXES;
    }
    if (p->run->importance != NULL && type == &cop_strategy_knapsack) {
        COP_TRY(status, cop_layer_mass_create(&p->layers, p->run->importance, p->space,
                                              &study->select, err));
        scores = cop_layer_mass_scores(p->layers);
        features.scores = &scores;
    }
    COP_TRY(status, cop_space_domain_create(&p->domain, p->space, &features, err));
    p->axes = cop_space_domain_view(p->domain)->axes;
    options.objectives = study->objectives;
    options.population = study->population;
    options.batch = study->batch;
    options.seed = study->seed;
    COP_TRY(status, cop_strategy_create(&p->strategy, type, cop_space_domain_view(p->domain),
                                        &options, err));

done:
    return status;
}

static void release(proposer *p)
{
    cop_strategy_destroy(p->strategy);
    cop_space_domain_destroy(p->domain);
    cop_importance_mass_destroy(p->mass);
    cop_layer_mass_destroy(p->layers);
    cop_space_destroy(p->space);
    cop_free(p->proposed);
}

// --- The stored proposals -----------------------------------------------------------------------

typedef struct place {
    int64_t batch;
    int64_t slot;
    int64_t index;
} place;

static int compare_places(const void *a, const void *b)
{
    const place *x = a;
    const place *y = b;
    if (x->batch != y->batch) {
        return x->batch < y->batch ? -1 : 1;
    }
    return (x->slot > y->slot) - (x->slot < y->slot);
}

static cop_status order_proposals(proposer *p, cop_error *err)
{
    const cop_snapshot *snapshot = &p->run->snapshot;
    place *places = cop_alloc((size_t)snapshot->count + 1, sizeof *places);

    cop_free(p->proposed);
    p->proposed = cop_alloc((size_t)snapshot->count + 1, sizeof *p->proposed);
    p->count = 0;
    if (places == NULL || p->proposed == NULL) {
        cop_free(places);
        return nomem(p->run, err);
    }
    for (int64_t i = 0; i < snapshot->count; i++) {
        const cop_snapshot_candidate *c = &snapshot->candidate[i];
        if (c->batch >= 0) {
            places[p->count++] = (place){c->batch, c->slot, i};
        }
    }
    qsort(places, (size_t)p->count, sizeof *places, compare_places);
    for (int64_t i = 0; i < p->count; i++) {
        p->proposed[i] = places[i].index;
    }
    cop_free(places);
    return COP_OK;
}

static cop_status reread(proposer *p, cop_error *err)
{
    cop_status status = COP_OK;
    cop_snapshot_release(&p->run->snapshot);
    COP_TRY(status, cop_snapshot_read(&p->run->snapshot, p->run->store, err));
    COP_TRY(status, order_proposals(p, err));

done:
    return status;
}

static int64_t stored_batch(const proposer *p, int64_t batch, int64_t first)
{
    int64_t end = first;
    while (end < p->count && p->run->snapshot.candidate[p->proposed[end]].batch == batch) {
        end++;
    }
    return end - first;
}

// --- Asking -------------------------------------------------------------------------------------

// Points behind the `known` stored ones of the batch are new: they are added.
static cop_status add_new(proposer *p, const int32_t *genomes, int64_t count, int64_t known,
                          int64_t batch, cop_error *err)
{
    cop_status status = COP_OK;
    cop_candidate *candidates = cop_alloc((size_t)count + 1, sizeof *candidates);
    cop_layer_arch(*blocks)[COP_ARCH_LAYERS_MAX] = cop_alloc((size_t)count + 1, sizeof *blocks);

    if (candidates == NULL || blocks == NULL) {
        status = nomem(p->run, err);
        goto done;
    }
    for (int64_t i = 0; i < count; i++) {
        if (!cop_space_domain_candidate(p->domain, genomes + i * p->axes, blocks[i],
                                        &candidates[i])) {
            status = COP_FAIL(err, COP_ERR_CONFIG,
                              "%s: space: %s finds no architecture within the budget any more",
                              p->run->study->path, p->run->study->strategy);
            goto done;
        }
    }
    COP_TRY(status,
            cop_store_propose(p->run->store, candidates + known, count - known, batch, known, err));

done:
    cop_free(candidates);
    cop_free(blocks);
    return status;
}

static cop_status check_known(const proposer *p, const int32_t *genomes, int64_t first,
                              int64_t known, int64_t batch, cop_error *err)
{
    for (int64_t i = 0; i < known; i++) {
        cop_candidate candidate;
        cop_layer_arch blocks[COP_ARCH_LAYERS_MAX];
        const cop_snapshot_candidate *stored = &p->run->snapshot.candidate[p->proposed[first + i]];
        if (!cop_space_domain_candidate(p->domain, genomes + i * p->axes, blocks, &candidate) ||
            strcmp(candidate.id, stored->candidate.id) != 0) {
            return COP_FAIL(
                err, COP_ERR_FORMAT,
                "%s/study.db: batch %" PRId64 " is not what this program proposes: it "
                "was begun by another version (allowed: that one, or another directory)",
                p->run->options->directory, batch);
        }
    }
    return COP_OK;
}

// Infeasible points are proposed only when no feasible one was found: then there is nothing to gain.
static int64_t count_feasible(const proposer *p, const int32_t *genomes, int64_t count)
{
    const cop_domain *domain = cop_space_domain_view(p->domain);
    int64_t feasible = 0;
    while (feasible < count &&
           domain->violation(domain->context, genomes + feasible * p->axes) <= 0) {
        feasible++;
    }
    return feasible;
}

static cop_status ask(proposer *p, int64_t batch, int64_t first, int64_t known, int64_t left,
                      cop_error *err)
{
    enum { ASK_MAX = 4096 };

    const int64_t limit = left < ASK_MAX ? left : ASK_MAX;
    int64_t count = 0;
    cop_status status = COP_OK;
    int32_t *genomes = cop_alloc((size_t)(limit * p->axes) + 1, sizeof *genomes);

    if (genomes == NULL) {
        return nomem(p->run, err);
    }
    COP_TRY(status, cop_strategy_ask(p->strategy, genomes, limit, &count, err));
    count = count_feasible(p, genomes, count);
    COP_TRY(status, check_known(p, genomes, first, known < count ? known : count, batch, err));
    if (count > known) {
        COP_TRY(status, add_new(p, genomes, count, known, batch, err));
        COP_TRY(status, reread(p, err));
    }

done:
    cop_free(genomes);
    return status;
}

// --- Telling ------------------------------------------------------------------------------------

// A candidate outside of a latency budget was measured, but not evaluated: by how much it is outside.
static cop_status latency_violation(const proposer *p, const char *id, double *out, cop_error *err)
{
    cop_latency_budget budget[COP_STUDY_LATENCIES_MAX];
    const int count = cop_study_latencies(p->run->study, budget);
    cop_latencies found;
    cop_status status = COP_OK;

    *out = 0;
    COP_TRY(status, cop_run_stored_latencies(p->run, id, &found, err));
    for (int i = 0; i < count; i++) {
        const double ms = found.ms[i];
        const cop_bound bound = budget[i].bound;
        if (ms > bound.max) {
            *out += (ms - bound.max) / fmax(bound.max, 1e-9);
        } else if (ms < bound.min) {
            *out += (bound.min - ms) / fmax(bound.min, 1e-9);
        }
    }
    *out = fmax(*out, 1e-9);

done:
    return status;
}

static double loss_of(const cop_snapshot_stage *stage)
{
    const cop_evaluation *e = &stage->record.evaluation;
    return cop_resamples_mean(e->kl != NULL ? e->kl : e->cross_entropy, e->sequences);
}

static cop_status fill_trial(const proposer *p, cop_trial *out, int32_t *genome, int64_t index,
                             cop_error *err)
{
    const cop_study_file *study = p->run->study;
    const cop_snapshot_candidate *c = &p->run->snapshot.candidate[index];
    const cop_snapshot_stage *stage = &c->stage[study->fidelity];

    if (!cop_space_domain_genome(p->domain, &c->candidate, genome)) {
        return COP_FAIL(err, COP_ERR_FORMAT, "%s/study.db: %s is no point of the study's space",
                        p->run->options->directory, c->candidate.id);
    }
    *out = (cop_trial){.genome = genome};
    if (!stage->is_done) {
        out->is_failed = c->state == COP_STATE_FAILED;
        out->objective[0] = (double)NAN;
        for (int k = 1; k < study->objectives; k++) {
            out->objective[k] = cop_objective_value(&c->candidate, study->objective[k], 0);
        }
        return out->is_failed ? COP_OK
                              : latency_violation(p, c->candidate.id, &out->violation, err);
    }
    for (int k = 0; k < study->objectives; k++) {
        out->objective[k] = cop_objective_value(&c->candidate, study->objective[k], loss_of(stage));
    }
    return COP_OK;
}

static cop_status tell(proposer *p, int64_t first, int64_t count, cop_error *err)
{
    cop_status status = COP_OK;
    cop_trial *trials = cop_alloc((size_t)count + 1, sizeof *trials);
    int32_t *genomes = cop_alloc((size_t)(count * p->axes) + 1, sizeof *genomes);

    if (trials == NULL || genomes == NULL) {
        status = nomem(p->run, err);
        goto done;
    }
    for (int64_t i = 0; i < count; i++) {
        COP_TRY(status,
                fill_trial(p, &trials[i], genomes + i * p->axes, p->proposed[first + i], err));
    }
    COP_TRY(status, cop_strategy_tell(p->strategy, trials, count, err));

done:
    cop_free(trials);
    cop_free(genomes);
    return status;
}

// After the last batch there is: replaying those before it would only store what is stored.
static cop_status store_calibration(const proposer *p, cop_error *err)
{
    const cop_study_file *study = p->run->study;
    const char *name[COP_FRONT_OBJECTIVES_MAX];
    for (int k = 0; k < study->objectives; k++) {
        name[k] = cop_objective_name(study->objective[k]);
    }
    return cop_calibration_store(p->run->store, p->strategy, name, study->objectives, err);
}

// --- The loop -----------------------------------------------------------------------------------

static cop_status run_batch(proposer *p, int64_t batch, int64_t first, int64_t *count,
                            cop_error *err)
{
    cop_run *run = p->run;
    const int64_t left = run->study->evaluations - first;
    const int64_t known = stored_batch(p, batch, first);
    cop_status status = COP_OK;

    if (first + known == p->count && left > known) {
        COP_TRY(status, ask(p, batch, first, known, left, err));
    }
    *count = stored_batch(p, batch, first);
    for (int s = 0; *count > 0 && s <= (int)run->study->fidelity && !run->is_stopped; s++) {
        COP_TRY(status, cop_run_evaluate(run, s, err));
    }
    if (*count > 0 && !run->is_stopped) {
        COP_TRY(status, order_proposals(p, err));
        COP_TRY(status, tell(p, first, *count, err));
        if (first + *count == p->count) {
            COP_TRY(status, store_calibration(p, err));
        }
        cop_run_note(run, COP_LOG_INFO,
                     "batch %" PRId64 " of %s: %" PRId64 " candidates, %" PRId64 " in all",
                     batch + 1, run->study->strategy, *count, first + *count);
    }

done:
    return status;
}

// Nobody was left out on the way to search.fidelity.
static cop_status promote_all(proposer *p, cop_error *err)
{
    cop_run *run = p->run;
    cop_status status = COP_OK;
    for (int s = 0; s < (int)run->study->fidelity; s++) {
        char key[32];
        for (int64_t i = 0; i < run->snapshot.count; i++) {
            const cop_snapshot_candidate *c = &run->snapshot.candidate[i];
            if (c->stage[s].is_done && c->stage[s].decision[0] == '\0') {
                COP_TRY(status, cop_store_promotion(run->store, c->candidate.id, s, (double)NAN,
                                                    "promoted", err));
            }
        }
        (void)snprintf(key, sizeof key, "stage.%d", s);
        COP_TRY(status, cop_store_set(run->store, key, "done", err));
    }

done:
    return status;
}

static cop_status propose(proposer *p, cop_error *err)
{
    cop_run *run = p->run;
    cop_status status = COP_OK;
    int64_t first = 0;
    int64_t count = 1;

    COP_TRY(status, open_all(p, err));
    COP_TRY(status, reread(p, err));
    run->is_proposing = true;
    for (int64_t batch = 0; count > 0 && first < run->study->evaluations && !run->is_stopped;
         batch++) {
        COP_TRY(status, run_batch(p, batch, first, &count, err));
        first += count;
    }
    run->is_proposing = false;
    if (!run->is_stopped) {
        COP_TRY(status, cop_run_set_i64(run, "proposed", first, err));
        COP_TRY(status, promote_all(p, err));
    }

done:
    run->is_proposing = false;
    return status;
}

cop_status cop_run_propose(cop_run *run, cop_error *err)
{
    char key[32];
    bool is_done = false;
    cop_status status = COP_OK;
    proposer p = {.run = run};

    (void)snprintf(key, sizeof key, "stage.%d", (int)run->study->fidelity);
    COP_TRY(status, cop_run_is(run, key, "done", &is_done, err));
    if (!is_done) {
        COP_TRY(status, propose(&p, err));
    }

done:
    release(&p);
    return status;
}
