// What successive halving saves and what it loses, replayed on finished curves over many seeds: random
// subsets of the candidates and fresh measurement noise. Prints one JSON line for each pool and rule.
//
//     halving_bench [--curves FILE.csv] [--noise SD] [--seeds N]
//
// Curves that stop probes: "always" asks after every measurement whether one reaches the best, at 5 %; "at
// rungs" is the rule of search/hopeless.h.
//
// Pools: the published Pythia curves (10 to 15 of 15 models, log perplexity on LAMBADA; standard deviation
// of the noise 0.02: what is left of the evaluation noise of 5,153 passages in a paired comparison); 81
// made-up power laws that cross, with few points as held-out losses are, with many as training losses are, and
// with many whose form is not a power law, since the learning rate decays; or the file of --curves
// (columns id, tokens, loss).

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/system.h"
#include "base/text.h"
#include "base/version.h"
#include "benchmarks/curves.h"
#include "benchmarks/replay.h"
#include "search/kendall.h"

enum {
    SEEDS = 200,
    SYNTHETIC = 81,
    SYNTHETIC_POINTS = 21,
    FINE_POINTS = 161,
    SYNTHETIC_MANY = 243
};

typedef struct pool {
    const char *name;
    curves curves;
    int least; // candidates of a subset
    int most;
    double noise;
} pool;

static void stop(const char *message)
{
    (void)fprintf(stderr, "halving_bench: %s\n", message);
    exit(1); // NOLINT(concurrency-mt-unsafe): one thread
}

static void must(cop_status status, const cop_error *err)
{
    if (status != COP_OK) {
        stop(err->message);
    }
}

// Curves as those of students of one teacher: ends 0.1 apart, larger models fall later, so that early
// rungs mislead. `bend`: mean fall by the decay of the learning rate, which differs between candidates.
static void make_synthetic(curves *out, int count, int points, double bend)
{
    cop_error err = {0};
    cop_rng *rng = NULL;
    must(cop_rng_create(&rng, 1, COP_RNG_TEST, 81, &err), &err);
    *out = (curves){.points = points, .count = count};
    out->tokens = cop_alloc((size_t)points, sizeof *out->tokens);
    out->curve = cop_alloc((size_t)count, sizeof *out->curve);
    if (out->tokens == NULL || out->curve == NULL) {
        stop("out of memory");
    }
    for (int p = 0; p < points; p++) {
        out->tokens[p] = 1e6 * pow(2, 10.0 * p / (points - 1));
    }
    for (int i = 0; i < count; i++) {
        out->curve[i].loss = cop_alloc((size_t)points, sizeof *out->curve[i].loss);
        if (out->curve[i].loss == NULL) {
            stop("out of memory");
        }
        (void)snprintf(out->curve[i].id, sizeof out->curve[i].id, "made-up %d", i);
        const double quality = cop_rng_normal(rng);
        const double a = 2 - 0.1 * quality;
        const double b = 1.5 + 0.15 * quality + 0.1 * cop_rng_normal(rng); // at the first point
        const double c = 0.35 + 0.1 * cop_rng_uniform(rng);
        const double fall = bend > 0 ? bend * (1 + 0.3 * cop_rng_normal(rng)) : 0;
        for (int p = 0; p < points; p++) {
            const double decayed =
                0.5 - 0.5 * cos(3.14159265358979 * out->tokens[p] / out->tokens[points - 1]);
            out->curve[i].loss[p] = a + b * pow(out->tokens[p] / 1e6, -c) - fall * decayed;
        }
    }
    cop_rng_destroy(rng);
}

// Kendall's tau of each stage with the end, all candidates.
static void print_taus(const pool *p)
{
    const curves *c = &p->curves;
    cop_kendall_pair *pairs = cop_alloc((size_t)c->count, 2 * sizeof *pairs);
    if (pairs == NULL) {
        stop("out of memory");
    }
    for (int64_t n = 0; n < c->points; n++) {
        for (int64_t i = 0; i < c->count; i++) {
            pairs[i] = (cop_kendall_pair){c->curve[i].loss[n], c->curve[i].loss[c->points - 1]};
        }
        const double tau = cop_kendall_tau_b(pairs, pairs + c->count, c->count);
        if (!isnan(tau)) {
            printf("{\"bench\": \"halving_tau\", \"pool\": \"%s\", \"tokens\": %.6g, "
                   "\"share_of_training\": %.4f, \"tau\": %.3f}\n",
                   p->name, c->tokens[n], c->tokens[n] / c->tokens[c->points - 1], tau);
        }
    }
    cop_free(pairs);
}

typedef struct tally {
    int runs;
    int same;
    int tied;       // regret within twice the noise
    int lost_first; // the best went at the first rung
    int lost_later;
    int lost_by_curve;
    int stable;
    double share;
    double share_with_pick;
    double regret;
    double regret_most;
    double curve_stops;
    double rungs;
} tally;

static void add(tally *t, const replay_result *r, double noise)
{
    t->runs++;
    t->same += r->pick == r->true_best;
    t->tied += r->regret <= 2 * noise;
    t->lost_first += r->best_lost_at == 1;
    t->lost_later += r->best_lost_at > 1;
    t->lost_by_curve += r->stopped_the_best;
    t->stable += r->is_stable;
    t->share += r->tokens / r->tokens_all;
    t->share_with_pick += r->tokens_with_pick / r->tokens_all;
    t->regret += r->regret;
    t->regret_most = fmax(t->regret_most, r->regret);
    t->curve_stops += r->curve_stops;
    t->rungs += r->rungs;
}

// Wilson's interval of a share at 95 %.
static void wilson(double *low, double *high, int hits, int runs)
{
    const double z = 1.959964;
    const double n = runs;
    const double p = hits / n;
    const double middle = (p + z * z / (2 * n)) / (1 + z * z / n);
    const double half = z / (1 + z * z / n) * sqrt(p * (1 - p) / n + z * z / (4 * n * n));
    *low = middle - half;
    *high = middle + half;
}

static void print(const pool *p, const replay_rule *rule, const tally *t)
{
    double low = 0;
    double high = 0;
    const double n = t->runs;
    wilson(&low, &high, t->same, t->runs);
    printf(
        "{\"bench\": \"halving\", \"pool\": \"%s\", \"first_rung_share\": %.4f, \"keep\": %.3f, "
        "\"rescue\": %.2f, \"noise\": %.3g, \"curves\": \"%s\", \"stability\": %s, \"continue\": "
        "%s, "
        "\"seeds\": %d, \"rungs\": %.2f, \"tokens_share\": %.4f, \"tokens_share_with_pick\": %.4f, "
        "\"target\": 0.1, \"same_pick\": %.3f, \"same_pick_low\": %.3f, \"same_pick_high\": %.3f, "
        "\"same_or_tied\": %.3f, \"regret_mean\": %.4f, \"regret_most\": %.4f, "
        "\"best_lost_at_first_rung\": %.3f, \"best_lost_later\": %.3f, "
        "\"best_stopped_by_curve\": %.3f, \"curve_stops\": %.2f, \"ended_stable\": %.3f, "
        "\"program\": \"%s\"}\n",
        p->name, rule->first / p->curves.tokens[p->curves.points - 1], rule->keep, rule->rescue,
        rule->noise,
        rule->stops_at_rungs ? "at rungs"
        : rule->stops_curves ? "always"
                             : "off",
        rule->tau_least <= 1 ? "true" : "false", rule->starts_again ? "false" : "true", t->runs,
        t->rungs / n, t->share / n, t->share_with_pick / n, t->same / n, low, high, t->tied / n,
        t->regret / n, t->regret_most, t->lost_first / n, t->lost_later / n, t->lost_by_curve / n,
        t->curve_stops / n, t->stable / n, cop_version());
}

static void run(const pool *p, const replay_rule *rule, int seeds)
{
    tally t = {0};
    cop_error err = {0};
    for (int seed = 1; seed <= seeds; seed++) {
        cop_rng *rng = NULL;
        int64_t order[REPLAY_CANDIDATES_MAX];
        int chosen[REPLAY_CANDIDATES_MAX];
        replay_result result;
        must(cop_rng_create(&rng, (uint64_t)seed, COP_RNG_RESCUE, 0, &err), &err);
        for (int i = 0; i < p->curves.count; i++) {
            order[i] = i;
        }
        cop_rng_shuffle(rng, order, (size_t)p->curves.count);
        const int count =
            p->least + (int)cop_rng_below(rng, (uint64_t)p->most - (uint64_t)p->least + 1);
        for (int i = 0; i < count; i++) {
            chosen[i] = (int)order[i];
        }
        must(replay_run(&result, &p->curves, chosen, count, rule, rng, &err), &err);
        add(&t, &result, rule->noise);
        cop_rng_destroy(rng);
    }
    print(p, rule, &t);
}

static void run_pool(const pool *p, int seeds)
{
    const double firsts[] = {0.0036, 0.007, 0.021, 0.091, 0.3}; // Pythia: steps 512 … 43,000
    if (p->curves.count < 2 || p->curves.count > REPLAY_CANDIDATES_MAX) {
        stop("fewer than 2 or more than 512 candidates have a loss at the last stage");
    }
    print_taus(p);
    for (size_t f = 0; f < sizeof firsts / sizeof *firsts; f++) {
        const double end = p->curves.tokens[p->curves.points - 1];
        // Plain; with learning curves; halves; halves until the order is stable; not continued; with
        // learning curves at rungs.
        for (int kind = 0; kind < 6; kind++) {
            const replay_rule rule = {.first = firsts[f] * end,
                                      .keep = kind == 2 || kind == 3 ? 0.5 : 1.0 / 3,
                                      .rescue = 0.1,
                                      .noise = p->noise,
                                      .tau_least = kind == 3 ? 0.8 : 2,
                                      .top = 3,
                                      .stops_curves = kind == 1,
                                      .stops_at_rungs = kind == 5,
                                      .starts_again = kind == 4};
            run(p, &rule, seeds);
        }
    }
}

static void run_made_up(const char *name, int count, int points, double bend, double noise,
                        int seeds)
{
    pool p = {.name = name, .least = SYNTHETIC, .most = SYNTHETIC, .noise = noise};
    make_synthetic(&p.curves, count, points, bend);
    run_pool(&p, seeds);
    curves_release(&p.curves);
}

int main(int argc, char **argv)
{
    cop_system_silence_libraries();
    const char *path = NULL;
    double noise = -1;
    int64_t seeds = SEEDS;
    cop_error err = {0};
    for (int i = 1; i < argc; i += 2) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        const bool is_good = strcmp(argv[i], "--curves") == 0 ? (path = value)[0] != '\0'
                             : strcmp(argv[i], "--noise") == 0
                                 ? cop_text_to_f64(value, &noise) && noise >= 0
                                 : strcmp(argv[i], "--seeds") == 0 &&
                                       cop_text_to_i64(value, &seeds) && seeds >= 1 &&
                                       seeds <= 1000000;
        if (!is_good) {
            (void)fprintf(stderr,
                          "usage: halving_bench [--curves FILE.csv] [--noise SD] [--seeds N]\n");
            return 2;
        }
    }
    if (path != NULL) {
        pool p = {.name = "file", .noise = noise < 0 ? 0 : noise};
        must(curves_read(&p.curves, path, &err), &err);
        p.most = (int)p.curves.count;
        p.least = p.most - p.most / 4; // some left out, so that seeds differ
        run_pool(&p, (int)seeds);
        curves_release(&p.curves);
        return 0;
    }
    run_made_up("made_up", SYNTHETIC, SYNTHETIC_POINTS, 0, noise < 0 ? 0.005 : noise, (int)seeds);
    run_made_up("made_up_fine", SYNTHETIC_MANY, FINE_POINTS, 0, noise < 0 ? 0.02 : noise,
                (int)seeds);
    run_made_up("made_up_bent", SYNTHETIC_MANY, FINE_POINTS, 0.1, noise < 0 ? 0.02 : noise,
                (int)seeds);
    pool pythia = {.name = "pythia", .least = 10, .most = 15, .noise = noise < 0 ? 0.02 : noise};
    must(curves_read_pythia(&pythia.curves, COP_REFERENCE_DATA, &err), &err);
    run_pool(&pythia, (int)seeds);
    curves_release(&pythia.curves);
    return 0;
}
