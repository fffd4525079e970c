#include "benchmarks/replay.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "search/curve_fit.h"
#include "search/hopeless.h"
#include "search/kendall.h"

enum { BOOTSTRAPS = 200, CURVE_POINTS_LEAST = 4 };

// A curve is fitted behind its warm-up: from the last point / this share on.
static const double curve_window = 64;

typedef struct replay {
    const curves *curves;
    const int *chosen;
    const replay_rule *rule;
    cop_rng *rng;
    int count;
    int true_best;
    double *seen; // [count, points], losses with noise
    bool alive[REPLAY_CANDIDATES_MAX];
    int order[REPLAY_CANDIDATES_MAX]; // the living, best first
    int living;
    double spent;
    int rung[REPLAY_RUNGS_MAX]; // points
    int rungs;
    int stable; // rungs in a row
    int empty;  // places of those stopped at the promotion before
} replay;

static double seen(const replay *r, int candidate, int point)
{
    return r->seen[(int64_t)candidate * r->curves->points + point];
}

static double truth(const replay *r, int candidate, int64_t point)
{
    return r->curves->curve[r->chosen[candidate]].loss[point];
}

// A rung is the measured point nearest to its tokens by ratio; the last one is the end.
static void place_rungs(replay *r)
{
    const curves *c = r->curves;
    const int last = (int)c->points - 1;
    double at = r->rule->first;
    while (r->rungs < REPLAY_RUNGS_MAX - 1) {
        int nearest = last;
        for (int p = 0; p < last; p++) {
            if (c->tokens[p] > 0 &&
                fabs(log(c->tokens[p] / at)) < fabs(log(c->tokens[nearest] / at))) {
                nearest = p;
            }
        }
        if (nearest == last) {
            break;
        }
        if (r->rungs == 0 || nearest > r->rung[r->rungs - 1]) {
            r->rung[r->rungs++] = nearest;
        }
        at /= r->rule->keep;
    }
    r->rung[r->rungs++] = last;
}

// The living, best first at a point; insertion keeps it repeatable.
static void sort_living(replay *r, int point)
{
    r->living = 0;
    for (int i = 0; i < r->count; i++) {
        if (!r->alive[i]) {
            continue;
        }
        int at = r->living++;
        for (; at > 0 && seen(r, r->order[at - 1], point) > seen(r, i, point); at--) {
            r->order[at] = r->order[at - 1];
        }
        r->order[at] = i;
    }
}

static int places(const replay *r, int living)
{
    const int wanted = (int)ceil(r->rule->keep * living - 1e-9);
    return wanted < 1 ? 1 : wanted;
}

static cop_status fit_at(cop_curve_fit *out, const replay *r, int candidate, int point,
                         cop_error *err)
{
    double loss[REPLAY_POINTS_MAX];
    double tokens[REPLAY_POINTS_MAX];
    int n = 0;
    for (int p = 0; p <= point; p++) {
        const double value = seen(r, candidate, p);
        if (r->curves->tokens[p] * curve_window >= r->curves->tokens[point] && !isnan(value)) {
            tokens[n] = r->curves->tokens[p];
            loss[n++] = value;
        }
    }
    return cop_curve_fit_make(out, tokens, loss, NULL, n, err);
}

// Gives up what will not be among the best at the end, as far as the curves up to `point` tell.
static cop_status stop_hopeless(replay *r, int point, replay_result *out, cop_error *err)
{
    cop_status status = COP_OK;
    cop_curve_fit *fits = cop_alloc((size_t)r->count, sizeof *fits);
    const double end = r->curves->tokens[r->curves->points - 1];
    int64_t kth = -1;
    if (fits == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "replay: out of memory");
    }
    for (int i = 0; i < r->count; i++) {
        if (r->alive[i]) {
            COP_TRY(status, fit_at(&fits[i], r, i, point, err));
        }
    }
    COP_TRY(status, cop_curve_kth(&kth, fits, r->count, 1, end, err));
    for (int i = 0; i < r->count && kth >= 0; i++) {
        if (r->alive[i] && i != kth && fits[i].points >= CURVE_POINTS_LEAST &&
            cop_curve_is_hopeless(&fits[i], &fits[kth], end)) {
            r->alive[i] = false;
            out->curve_stops++;
            out->stopped_the_best = out->stopped_the_best || i == r->true_best;
        }
    }
done:
    cop_free(fits);
    return status;
}

// Trains the living from one point to another; learning curves may stop some on the way.
static cop_status advance(replay *r, int from, int to, replay_result *out, cop_error *err)
{
    const double *tokens = r->curves->tokens;
    for (int p = from + 1; p <= to; p++) {
        const double before =
            p == from + 1 && (r->rule->starts_again || from < 0) ? 0 : tokens[p - 1];
        int living = 0;
        for (int i = 0; i < r->count; i++) {
            living += r->alive[i];
        }
        r->spent += living * (tokens[p] - before);
        if (r->rule->stops_curves && p < to && living > 1 && from >= 0) {
            const cop_status status = stop_hopeless(r, p, out, err);
            if (status != COP_OK) {
                return status;
            }
        }
    }
    return COP_OK;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a;
    const double y = *(const double *)b;
    return (x > y) - (x < y);
}

// The 2.5 % quantile of tau-b between two points among the living, over draws of the noise.
static double tau_bound(replay *r, int from, int to)
{
    double tau[BOOTSTRAPS];
    cop_kendall_pair pairs[REPLAY_CANDIDATES_MAX];
    cop_kendall_pair scratch[REPLAY_CANDIDATES_MAX];
    for (int b = 0; b < BOOTSTRAPS; b++) {
        for (int i = 0; i < r->living; i++) {
            const double noise = r->rule->noise;
            pairs[i].x = seen(r, r->order[i], from) + noise * cop_rng_normal(r->rng);
            pairs[i].y = seen(r, r->order[i], to) + noise * cop_rng_normal(r->rng);
        }
        tau[b] = cop_kendall_tau_b(pairs, scratch, r->living);
        if (isnan(tau[b])) {
            return tau[b];
        }
    }
    qsort(tau, BOOTSTRAPS, sizeof *tau, by_value);
    return tau[BOOTSTRAPS / 40];
}

// Is the order of the living the same as at the rung before: tau, and the best but for ties within twice
// the noise?
static bool is_settled(replay *r, int from, int to)
{
    const int top = r->rule->top < r->living ? r->rule->top : r->living;
    if (r->living < 3 || !(tau_bound(r, from, to) >= r->rule->tau_least)) {
        return false;
    }
    // Whoever was among the best before must not lie clearly behind the last of the best now.
    double cut[REPLAY_CANDIDATES_MAX];
    for (int i = 0; i < r->living; i++) {
        cut[i] = seen(r, r->order[i], from);
    }
    qsort(cut, (size_t)r->living, sizeof *cut, by_value);
    const double last = seen(r, r->order[top - 1], to);
    for (int i = 0; i < r->living; i++) {
        const bool was_top = seen(r, r->order[i], from) <= cut[top - 1];
        if (was_top && seen(r, r->order[i], to) > last + 2 * r->rule->noise) {
            return false;
        }
    }
    return true;
}

static bool is_in_reach(const replay *r, int rung)
{
    const double *tokens = r->curves->tokens;
    return tokens[r->rung[rung]] * COP_HOPELESS_REACH >= tokens[r->curves->points - 1];
}

// Stops who cannot win any more among the first `kept` of the order, of which those from `drawn_from` on were
// drawn by lot.
static cop_status stop_at_rung(replay *r, int rung, int going_on, int drawn_from, int kept,
                               replay_result *out, cop_error *err)
{
    const double end = r->curves->tokens[r->curves->points - 1];
    int tests = 0;
    for (int k = 0; k < r->rungs - 1; k++) {
        tests += is_in_reach(r, k) ? 1 : 0;
    }
    const cop_hopeless_rule rule = {.tokens = end,
                                    .keep =
                                        cop_hopeless_keep(r->rule->keep, r->rungs - 1 - rung, kept),
                                    .tests = tests,
                                    .seed = 1 + cop_rng_below(r->rng, 1u << 30),
                                    .stage = rung + 1};
    const int64_t points = r->curves->points;
    cop_status status = COP_OK;
    cop_hopeless_probe *probe = cop_alloc((size_t)going_on + 1, sizeof *probe);
    cop_hopeless_verdict *verdict = cop_alloc((size_t)going_on + 1, sizeof *verdict);
    int first = r->rung[rung];
    int left = going_on;
    if (probe == NULL || verdict == NULL) {
        status = COP_FAIL(err, COP_ERR_NOMEM, "replay: out of memory");
        goto done;
    }
    while (first > 0 &&
           r->curves->tokens[first - 1] * curve_window >= r->curves->tokens[r->rung[rung]] &&
           r->curves->tokens[first - 1] > 0) {
        first--;
    }
    for (int i = 0; i < going_on; i++) {
        probe[i] = (cop_hopeless_probe){.tokens = r->curves->tokens + first,
                                        .loss = r->seen + r->order[i] * points + first,
                                        .points = r->rung[rung] - first + 1,
                                        .is_exempt = i < rule.keep || i >= drawn_from};
    }
    COP_TRY(status, cop_hopeless_judge(verdict, probe, going_on, &rule, err));
    for (int i = going_on - 1; i >= 0 && left > 1; i--) {
        if (verdict[i].is_hopeless) {
            r->alive[r->order[i]] = false;
            left--;
            out->curve_stops++;
            out->stopped_the_best = out->stopped_the_best || r->order[i] == r->true_best;
        }
    }
    r->empty = kept - left;
done:
    cop_free(probe);
    cop_free(verdict);
    return status;
}

static cop_status promote(replay *r, int rung, replay_result *out, cop_error *err)
{
    const int kept = places(r, r->living + r->empty);
    const int going_on = kept < r->living ? kept : r->living;
    const int drawn = kept < r->living ? (int)floor(r->rule->rescue * kept) : 0;
    const bool had_best = r->alive[r->true_best];
    for (int i = going_on - drawn; i < r->living; i++) {
        r->alive[r->order[i]] = false;
    }
    for (int i = 0; i < drawn; i++) { // among those that are not promoted yet
        const int first = kept - drawn + i;
        const int at = first + (int)cop_rng_below(r->rng, (uint64_t)(r->living - first));
        const int rescued = r->order[at];
        r->order[at] = r->order[first];
        r->order[first] = rescued;
        r->alive[rescued] = true;
    }
    if (had_best && !r->alive[r->true_best]) {
        out->best_lost_at = rung + 1;
    }
    r->empty = kept - going_on;
    return r->rule->stops_at_rungs && is_in_reach(r, rung)
               ? stop_at_rung(r, rung, going_on, going_on - drawn, kept, out, err)
               : COP_OK;
}

static cop_status climb(replay *r, replay_result *out, cop_error *err)
{
    int from = -1;
    for (int rung = 0; rung < r->rungs; rung++) {
        const int to = r->rung[rung];
        cop_status status = advance(r, from, to, out, err);
        if (status != COP_OK) {
            return status;
        }
        out->rungs = rung + 1;
        sort_living(r, to);
        out->pick = r->order[0];
        r->stable = rung > 0 && is_settled(r, from, to) ? r->stable + 1 : 0;
        out->is_stable = r->stable >= 2;
        if (r->living == 1 || out->is_stable || rung == r->rungs - 1) {
            const double end = r->curves->tokens[r->curves->points - 1];
            const double done =
                r->rule->starts_again && to < r->curves->points - 1 ? 0 : r->curves->tokens[to];
            out->tokens = r->spent;
            out->tokens_with_pick = r->spent + end - done;
            return COP_OK;
        }
        status = promote(r, rung, out, err);
        if (status != COP_OK) {
            return status;
        }
        int living = 0;
        for (int i = 0; i < r->count; i++) {
            living += r->alive[i];
            out->pick = r->alive[i] && living == 1 ? i : out->pick;
        }
        if (living == 1) { // decided: nothing is left to compare with
            const double end = r->curves->tokens[r->curves->points - 1];
            out->tokens = r->spent;
            out->tokens_with_pick =
                r->spent + end - (r->rule->starts_again ? 0 : r->curves->tokens[to]);
            return COP_OK;
        }
        from = to;
    }
    return COP_OK;
}

cop_status replay_run(replay_result *out, const curves *all, const int *chosen, int count,
                      const replay_rule *rule, cop_rng *rng, cop_error *err)
{
    replay r = {.curves = all, .chosen = chosen, .rule = rule, .rng = rng, .count = count};
    const int64_t points = all->points;
    *out = (replay_result){0};
    if (count < 2 || count > REPLAY_CANDIDATES_MAX || points > REPLAY_POINTS_MAX ||
        !(rule->keep > 0 && rule->keep < 1) || !(rule->first > 0)) {
        return COP_FAIL(
            err, COP_ERR_CONFIG,
            "replay: %d candidates, %lld points, keep %g, first rung %g (allowed: 2..%d, "
            "up to %d, 0..1, > 0)",
            count, (long long)points, rule->keep, rule->first, REPLAY_CANDIDATES_MAX,
            REPLAY_POINTS_MAX);
    }
    r.seen = cop_alloc((size_t)(count * points), sizeof *r.seen);
    if (r.seen == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "replay: out of memory");
    }
    for (int i = 0; i < count; i++) {
        r.alive[i] = true;
        for (int64_t p = 0; p < points; p++) {
            r.seen[i * points + p] = truth(&r, i, p) + rule->noise * cop_rng_normal(rng);
        }
        r.true_best =
            truth(&r, i, points - 1) < truth(&r, r.true_best, points - 1) ? i : r.true_best;
    }
    place_rungs(&r);
    const cop_status status = climb(&r, out, err);
    out->true_best = r.true_best;
    out->tokens_all = count * all->tokens[points - 1];
    out->regret = truth(&r, out->pick, points - 1) - truth(&r, r.true_best, points - 1);
    cop_free(r.seen);
    return status;
}
