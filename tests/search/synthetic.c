#include "tests/search/synthetic.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/rng.h"
#include "search/ranking.h"
#include "tests/support.h"

enum { SEQUENCES = 48, RUNGS = 3, CANDIDATES = 30 };

static void check(cop_status status, const cop_error *err)
{
    if (status != COP_OK) {
        print_error("%s\n", err->message);
    }
    assert_int_equal(status, COP_OK);
}

cop_candidate synthetic_candidate(int64_t index, int64_t layers, int64_t hidden, int64_t ffn)
{
    cop_candidate c = {.grid_index = index,
                       .layers = layers,
                       .hidden = hidden,
                       .heads = hidden / 32,
                       .kv_heads = 2,
                       .head_dim = 32,
                       .ffn = ffn,
                       .ffn_ratio = (double)ffn / (double)hidden};
    (void)snprintf(c.id, sizeof c.id, "L%d-C%d-H%d-K2-F%d", (int)layers, (int)hidden,
                   (int)(hidden / 32), (int)ffn);
    c.cost.matmul_params = layers * (2 * hidden * hidden + 128 * hidden + 3 * hidden * ffn);
    c.cost.params_non_embedding = c.cost.matmul_params + (2 * layers + 1) * hidden;
    c.cost.params = c.cost.params_non_embedding + 512 * hidden;
    c.cost.weights_bytes = 2 * c.cost.params;
    c.cost.kv_cache_bytes = 4 * layers * 64 * 1024;
    c.cost.total_bytes = c.cost.weights_bytes + c.cost.kv_cache_bytes;
    c.cost.flops_per_token = 2 * (double)(c.cost.matmul_params + 256 * hidden);
    return c;
}

cop_stage_record synthetic_record(int stage, int64_t tokens, const double *values,
                                  int64_t sequences)
{
    cop_stage_record record = {.stage = stage, .tokens = tokens, .seconds = 2.5, .attempts = 1};
    cop_evaluation *e = &record.evaluation;
    const size_t count = (size_t)sequences;
    e->sequences = sequences;
    e->sequence_tokens = 256;
    e->kl = cop_alloc(count, sizeof(double));
    e->cross_entropy = cop_alloc(count, sizeof(double));
    e->agreement = cop_alloc(count, sizeof(double));
    e->teacher_cross_entropy = cop_alloc(count, sizeof(double));
    assert_true(e->kl && e->cross_entropy && e->agreement && e->teacher_cross_entropy);
    for (int64_t s = 0; s < sequences; s++) {
        e->kl[s] = values[s];
        e->cross_entropy[s] = values[s] + 1;
        e->agreement[s] = exp(-values[s]);
        e->teacher_cross_entropy[s] = 1;
    }
    return record;
}

void synthetic_losses(double *values, int64_t sequences, double mean, double noise, uint64_t index)
{
    cop_rng *difficulty = NULL;
    cop_rng *own = NULL;
    cop_error err = {0};
    check(cop_rng_create(&difficulty, 1, COP_RNG_TEST, 0, &err), &err);
    check(cop_rng_create(&own, 1, COP_RNG_TEST, 1 + index, &err), &err);
    for (int64_t s = 0; s < sequences; s++) {
        values[s] = mean + 0.1 * cop_rng_normal(difficulty) + noise * cop_rng_normal(own);
    }
    cop_rng_destroy(difficulty);
    cop_rng_destroy(own);
}

cop_store *synthetic_store(const char *directory)
{
    cop_store *store = NULL;
    cop_error err = {0};
    check(cop_file_remove_tree(directory, &err), &err);
    check(cop_store_open(&store, directory, COP_STORE_OWN, &err), &err);
    return store;
}

void synthetic_add(cop_store *store, const cop_candidate *candidate, int stage, int64_t tokens,
                   const double *values, int64_t sequences)
{
    cop_error err = {0};
    cop_stage_record record = synthetic_record(stage, tokens, values, sequences);
    check(cop_store_add(store, candidate, 1, &err), &err);
    check(cop_store_finish_stage(store, candidate->id, &record, NULL, 0, &err), &err);
    cop_evaluation_release(&record.evaluation);
}

// Loss of a model of this size after so many tokens: a power law in size, recovering with training.
static double expected_loss(const cop_candidate *c, int64_t tokens)
{
    const double size = (double)c->cost.params / 1e6;
    const double shape = 0.04 * fabs(log((double)c->ffn / (double)c->hidden / 3.0)) +
                         0.03 * fabs((double)c->layers - 6);
    const double recovery = exp(-(double)tokens / 1.2e6);
    return 0.18 + 0.55 / sqrt(size) + shape + (1.1 + 2.2 / size) * recovery;
}

static void finish_stage(cop_store *store, const cop_candidate *c, int stage, int64_t from,
                         int64_t to)
{
    double values[SEQUENCES];
    cop_curve_point curve[24];
    cop_error err = {0};
    int points = 0;
    int attempts = 0;
    synthetic_losses(values, SEQUENCES, expected_loss(c, to), 0.05,
                     (uint64_t)(c->grid_index * 8 + stage));
    cop_stage_record record = synthetic_record(stage, to, values, SEQUENCES);
    for (int i = 1; stage > 0 && i <= 24; i++) {
        const int64_t tokens = from + (to - from) * i / 24;
        const double wobble = 0.02 * sin((double)(i * 7 + c->grid_index));
        curve[points++] = (cop_curve_point){tokens, expected_loss(c, tokens) + wobble};
    }
    check(cop_store_attempt(store, c->id, stage, &attempts, &err), &err);
    check(cop_store_finish_stage(store, c->id, &record, curve, points, &err), &err);
    cop_evaluation_release(&record.evaluation);
}

static void promote(cop_store *store, const char *directory, int stage, int64_t keep)
{
    const cop_objective objectives[] = {COP_OBJECTIVE_LOSS, COP_OBJECTIVE_PARAMS};
    cop_store *reader = NULL;
    cop_snapshot snapshot = {0};
    cop_ranking ranking = {0};
    cop_error err = {0};
    char decision[CANDIDATES];
    check(cop_store_open(&reader, directory, COP_STORE_READ, &err), &err);
    check(cop_snapshot_read(&snapshot, reader, &err), &err);
    check(cop_ranking_make(&ranking, &snapshot, objectives, 2, stage, keep, 1, &err), &err);
    check(cop_ranking_promote(decision, &ranking, keep, 0.2, 1, &err), &err);
    for (int64_t i = 0; i < ranking.count; i++) {
        const cop_ranked *entry = &ranking.entry[i];
        const char *id = snapshot.candidate[entry->index].candidate.id;
        const bool is_last = stage == RUNGS;
        const char *word = is_last              ? "finished"
                           : decision[i] == 'p' ? "promoted"
                           : decision[i] == 'r' ? "rescued"
                                                : "eliminated";
        check(cop_store_promotion(store, id, stage, entry->top_probability, word, &err), &err);
        if (is_last || decision[i] == 'e') {
            check(cop_store_state(store, id, is_last ? COP_STATE_FINISHED : COP_STATE_ELIMINATED,
                                  "", &err),
                  &err);
        }
    }
    cop_ranking_release(&ranking);
    cop_snapshot_release(&snapshot);
    cop_store_destroy(reader);
}

// Which candidates go on; `all` is in grid order, as the snapshot is.
static void find_alive(bool *alive, const char *directory)
{
    cop_store *reader = NULL;
    cop_snapshot snapshot = {0};
    cop_error err = {0};
    check(cop_store_open(&reader, directory, COP_STORE_READ, &err), &err);
    check(cop_snapshot_read(&snapshot, reader, &err), &err);
    assert_int_equal(snapshot.count, CANDIDATES);
    for (int i = 0; i < CANDIDATES; i++) {
        alive[i] = snapshot.candidate[i].state == COP_STATE_PENDING;
    }
    cop_snapshot_release(&snapshot);
    cop_store_destroy(reader);
}

static const struct {
    const char *key;
    const char *value;
} facts[] = {
    {"study", "configs/studies/tiny.yaml"},
    {"seed", "1"},
    {"objectives", "loss,params"},
    {"rungs", "500000,2000000,6000000"},
    {"teacher", "work/teacher"},
    {"teacher_hash", "4b1d0c0ffee0123456789abcdef01234"},
    {"train_hash", "00112233445566778899aabbccddeeff"},
    {"program", "0.1.0"},
    {"command", "coppice search configs/studies/tiny.yaml -o study"},
    {"device", "f32: OpenBLAS; bf16: oneDNN; avx512"},
    {"space_size", "96"},
    {"feasible", "30"},
    {"excluded", "params >= 4e6: 22; params <= 6.5e6: 38"},
    {"stage.0", "done"},
    {"stalled.L4-C192-H6-K2-F512", ""},
};

void synthetic_study(const char *directory, bool is_running)
{
    static const int64_t tokens[] = {0, 500000, 2000000, 6000000};
    static const int64_t keep[] = {20, 10, 7, 4};
    cop_store *store = synthetic_store(directory);
    cop_candidate all[CANDIDATES];
    cop_error err = {0};
    for (int i = 0; i < CANDIDATES; i++) {
        all[i] =
            synthetic_candidate(3 * i + 1, 4 + i / 6, 192 + 32 * (i % 3), (512 + 128 * (i % 6)));
    }
    check(cop_store_add(store, all, CANDIDATES, &err), &err);
    for (size_t i = 0; i < sizeof facts / sizeof facts[0]; i++) {
        check(cop_store_set(store, facts[i].key, facts[i].value, &err), &err);
    }
    check(cop_store_state(store, all[29].id, COP_STATE_FAILED,
                          "step 12: loss is not finite: nan (learning rate 1e-04)", &err),
          &err);
    for (int stage = 0; stage <= RUNGS; stage++) {
        const bool is_partial = is_running && stage == RUNGS;
        bool alive[CANDIDATES];
        int done = 0;
        find_alive(alive, directory);
        for (int i = 0; i < CANDIDATES; i++) {
            if (!alive[i]) {
                continue;
            }
            if (is_partial && done == 2) {
                int attempts = 0;
                check(cop_store_attempt(store, all[i].id, stage, &attempts, &err), &err);
                check(cop_store_progress(store, all[i].id, stage, 3100000, 0.61, &err), &err);
                break;
            }
            finish_stage(store, &all[i], stage, stage > 0 ? tokens[stage - 1] : 0, tokens[stage]);
            done++;
        }
        if (!is_partial) {
            promote(store, directory, stage, keep[stage]);
        }
    }
    cop_store_destroy(store);
}
