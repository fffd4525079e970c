// Hopeless probes of a study: the curves that its database holds, cut to what the promotion may know.

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "base/alloc.h"
#include "search/hopeless.h"

enum { SMOOTH = 2 }; // points to either side

// A curve is fitted behind its warm-up: from its last point over this on.
static const double window = 64;

typedef struct contest {
    const cop_snapshot *snapshot;
    const cop_study_file *study;
    const cop_ranking *ranking;
    const char *decision;
    cop_hopeless_probe *probe; // [count]
    int64_t *entry;            // [count], into the ranking
    cop_hopeless_verdict *own; // [count]
    int64_t count;
    double *figures; // tokens, losses and weights of all
    char *best;      // [entries]: 'p' for who is among the best k now
} contest;

static void contest_release(contest *c)
{
    cop_free(c->probe);
    cop_free(c->entry);
    cop_free(c->own);
    cop_free(c->figures);
    cop_free(c->best);
}

// Training up to here tells nothing of the rest: warm-up, and rungs with a frozen vocabulary.
static int64_t tokens_before(const cop_study_file *study)
{
    const int64_t warmup = study->trainer.schedule.warmup_steps * study->batch_tokens;
    const int64_t frozen = study->freeze_vocabulary;
    const int64_t thawed =
        frozen < 1 ? 0 : study->rung_tokens[(frozen < study->rungs ? frozen : study->rungs) - 1];
    return warmup > thawed ? warmup : thawed;
}

// Mean of the losses near a point, against the noise of a single one.
static double smooth(const double *loss, int64_t count, int64_t at)
{
    double sum = 0;
    int64_t used = 0;
    for (int64_t i = at - SMOOTH; i <= at + SMOOTH; i++) {
        if (i >= 0 && i < count && isfinite(loss[i])) {
            sum += loss[i];
            used++;
        }
    }
    return sum / (double)used;
}

// The noise of a loss grows with it, as that of a KL does, and falls with the tokens that it is a mean over.
// The last point has weight 1: what is predicted is a loss as noisy as that one.
static void weigh(double *weight, const double *loss, int64_t count)
{
    const double last = count > 0 ? smooth(loss, count, count - 1) : 1;
    const double last_tokens = count > 0 ? weight[count - 1] : 1;
    for (int64_t i = 0; i < count; i++) {
        const double ratio = last / smooth(loss, count, i);
        weight[i] *= ratio > 0 && isfinite(ratio) ? ratio * ratio / last_tokens : 1 / last_tokens;
    }
}

// A point of a stored curve is the mean over the steps since the point before: it stands for their middle.
// Returns the points written.
static int64_t fill(double *tokens, double *loss, double *weight, const contest *c,
                    const cop_snapshot_candidate *candidate)
{
    const int64_t end = c->study->rung_tokens[c->ranking->stage - 1];
    const int64_t start = tokens_before(c->study);
    int64_t before = 0;
    int64_t count = 0;
    for (int64_t i = 0; i < candidate->curve_points; i++) {
        const cop_curve_point *point = &candidate->curve[i];
        const bool is_used = before >= start && point->tokens <= end &&
                             (double)point->tokens * window >= (double)end;
        if (is_used) {
            tokens[count] = 0.5 * ((double)before + (double)point->tokens);
            loss[count] = point->loss;
            weight[count++] = (double)(point->tokens - before);
        }
        before = point->tokens;
    }
    weigh(weight, loss, count);
    return count;
}

static void fill_objectives(cop_hopeless_probe *probe, const contest *c,
                            const cop_candidate *candidate)
{
    int at = 0;
    for (int k = 0; k < c->study->objectives; k++) {
        if (c->study->objective[k] != COP_OBJECTIVE_LOSS) {
            probe->other[at++] = cop_objective_value(candidate, c->study->objective[k], 0);
        }
    }
}

static cop_status contest_create(contest *c, int64_t keep, cop_error *err)
{
    const size_t entries = (size_t)c->ranking->count + 1;
    size_t points = 1;
    cop_status status = COP_OK;
    for (int64_t i = 0; i < c->ranking->count; i++) {
        points += (size_t)c->snapshot->candidate[c->ranking->entry[i].index].curve_points;
    }
    c->probe = cop_alloc(entries, sizeof *c->probe);
    c->entry = cop_alloc(entries, sizeof *c->entry);
    c->own = cop_alloc(entries, sizeof *c->own);
    c->figures = cop_alloc(3 * points, sizeof *c->figures);
    c->best = cop_alloc(entries, 1);
    if (c->probe == NULL || c->entry == NULL || c->own == NULL || c->figures == NULL ||
        c->best == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "hopeless probes: out of memory");
    }
    COP_TRY(status, cop_ranking_promote(c->best, c->ranking, keep, 0, c->study->seed, err));
    points = 0;
    for (int64_t i = 0; i < c->ranking->count; i++) {
        const cop_snapshot_candidate *candidate =
            &c->snapshot->candidate[c->ranking->entry[i].index];
        double *tokens = c->figures + 3 * points;
        double *loss = tokens + candidate->curve_points;
        double *weight = loss + candidate->curve_points;
        if (c->decision[i] == 'e') {
            continue;
        }
        points += (size_t)candidate->curve_points;
        cop_hopeless_probe *probe = &c->probe[c->count];
        *probe = (cop_hopeless_probe){.tokens = tokens, .loss = loss, .weight = weight};
        probe->points = fill(tokens, loss, weight, c, candidate);
        probe->is_exempt = c->decision[i] != 'p' || c->best[i] == 'p';
        fill_objectives(probe, c, &candidate->candidate);
        c->entry[c->count++] = i;
    }
done:
    return status;
}

// May hopeless ones be looked for after this rung?
static bool is_asked(const cop_study_file *study, int stage)
{
    return stage >= 1 && stage < study->rungs && stage > study->freeze_vocabulary &&
           (double)study->rung_tokens[stage - 1] * COP_HOPELESS_REACH >=
               (double)study->rung_tokens[study->rungs - 1];
}

static int count_asked(const cop_study_file *study)
{
    int count = 0;
    for (int s = 1; s < study->rungs; s++) {
        count += is_asked(study, s) ? 1 : 0;
    }
    return count;
}

cop_status cop_hopeless_find(cop_hopeless_verdict *verdict, const cop_snapshot *snapshot,
                             const cop_study_file *study, const cop_ranking *ranking,
                             const char *decision, int64_t places, cop_error *err)
{
    const int stage = ranking->stage;
    cop_status status = COP_OK;
    contest c = {.snapshot = snapshot, .study = study, .ranking = ranking, .decision = decision};
    for (int64_t i = 0; i < ranking->count; i++) {
        const double nan = (double)NAN;
        verdict[i] = (cop_hopeless_verdict){.probability = nan, .kth = nan};
    }
    if (!is_asked(study, stage)) {
        return COP_OK;
    }
    const int64_t keep = cop_hopeless_keep(study->keep, study->rungs - stage, places);
    const cop_hopeless_rule rule = {.tokens = (double)study->rung_tokens[study->rungs - 1],
                                    .keep = keep,
                                    .others = study->objectives - 1,
                                    .tests = count_asked(study),
                                    .seed = study->seed,
                                    .stage = stage};
    COP_TRY(status, contest_create(&c, keep, err));
    COP_TRY(status, cop_hopeless_judge(c.own, c.probe, c.count, &rule, err));
    for (int64_t i = 0; i < c.count; i++) {
        verdict[c.entry[i]] = c.own[i];
    }
done:
    contest_release(&c);
    return status;
}

// No draw among so many means less than one in so many.
static void write_probability(char out[16], double probability)
{
    if (probability > 0) {
        (void)snprintf(out, 16, "%.4f", probability);
    } else {
        (void)snprintf(out, 16, "below %.4f", 1.0 / COP_HOPELESS_DRAWS);
    }
}

void cop_hopeless_text(char *out, size_t bytes, const cop_hopeless_verdict *verdict,
                       const cop_study_file *study, int64_t keep)
{
    const cop_curve_prediction *loss = &verdict->loss;
    char top[16];
    char front[16];
    write_probability(top, verdict->probability);
    write_probability(front, verdict->front_probability);
    if (study->objectives == 1) {
        (void)snprintf(out, bytes,
                       "its training loss after rung %d is predicted as %.4f (%.4f to %.4f), that "
                       "of place %" PRId64 " as %.4f: probability %s of being among the best "
                       "%" PRId64,
                       study->rungs, loss->value, loss->low, loss->high, keep, verdict->kth, top,
                       keep);
    } else {
        (void)snprintf(out, bytes,
                       "its training loss after rung %d is predicted as %.4f (%.4f to %.4f): "
                       "probability %s of being among the best %" PRId64
                       " there, %s of being on the front",
                       study->rungs, loss->value, loss->low, loss->high, top, keep, front);
    }
}
