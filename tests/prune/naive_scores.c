#include "tests/prune/naive_scores.h"

#include <math.h>
#include <stdlib.h>

// --- Activations --------------------------------------------------------------------------------

static cop_status record(void *context, cop_tap tap, int64_t layer, const cop_matrix *value,
                         cop_error *err)
{
    (void)err;
    recording *to = context;
    if (layer >= 0) {
        to->value[tap][layer] = tiny_values(to->backend, value);
        to->cols[tap][layer] = value->cols;
    }
    return COP_OK;
}

static void recording_release(recording *record_of)
{
    for (int tap = 0; tap < TAPS; tap++) {
        for (int layer = 0; layer < COP_ARCH_LAYERS_MAX; layer++) {
            free(record_of->value[tap][layer]);
        }
    }
    free(record_of);
}

void run_open(teacher_run *run, const cop_arch *arch, cop_precision precision)
{
    cop_error err = {0};
    const cop_network_options options = {
        .precision = precision, .batch = BATCH, .sequence = SEQUENCE};
    run->backend = tiny_backend("reference");
    run->network = tiny_network(arch, &options, run->backend);
    tiny_fill(run->network, 3);
    run->tokens = text_open("naive.bin", SAMPLES * SEQUENCE + 1, arch->vocab, 9);
    for (int64_t i = 0; i < SAMPLES; i++) {
        int32_t ids[SEQUENCE];
        cop_matrix hidden;
        recording *to = calloc(1, sizeof *to);
        assert_non_null(to);
        to->backend = run->backend;
        cop_tokens_read(run->tokens, i * SEQUENCE, SEQUENCE, ids);
        const cop_forward_options pass = {
            .ids = ids, .batch = 1, .sequence = SEQUENCE, .tap = record, .tap_context = to};
        must(cop_network_forward(run->network, &pass, &hidden, &err), &err);
        run->recordings[i] = to;
    }
}

void run_close(teacher_run *run)
{
    for (int64_t i = 0; i < SAMPLES; i++) {
        recording_release(run->recordings[i]);
    }
    cop_tokens_destroy(run->tokens);
    cop_network_destroy(run->network);
    cop_backend_destroy(run->backend);
}

// --- The definitions ----------------------------------------------------------------------------

static double aggregate_of(const double *s, int64_t count, int which)
{
    double squares = 0.0;
    double absolutes = 0.0;
    double mean = 0.0;
    double variance = 0.0;
    for (int64_t i = 0; i < count; i++) {
        squares += s[i] * s[i];
        absolutes += fabs(s[i]) / (double)count;
        mean += s[i] / (double)count;
    }
    for (int64_t i = 0; i < count; i++) {
        variance += (s[i] - mean) * (s[i] - mean) / (double)count;
    }
    return which == COP_AGGREGATE_L2     ? sqrt(squares)
           : which == COP_AGGREGATE_MEAN ? absolutes
                                         : variance;
}

// Activation of one unit: `group` columns from `first` on.
static double activation(const recording *of, cop_tap tap, int64_t layer, int64_t t, int64_t first,
                         int64_t group)
{
    const double *row = of->value[tap][layer] + t * of->cols[tap][layer];
    double squares = 0.0;
    for (int64_t i = 0; i < group; i++) {
        squares += row[first + i] * row[first + i];
    }
    return group == 1 ? row[first] : sqrt(squares);
}

double naive_score(const teacher_run *run, cop_tap tap, int64_t layer, int64_t unit, int64_t group,
                   int aggregate)
{
    double of_sequence[SAMPLES];
    for (int64_t i = 0; i < SAMPLES; i++) {
        double s[SEQUENCE];
        for (int64_t t = 0; t < SEQUENCE; t++) {
            s[t] = activation(run->recordings[i], tap, layer, t, unit * group, group);
        }
        of_sequence[i] = aggregate_of(s, SEQUENCE, aggregate % 3);
    }
    return aggregate_of(of_sequence, SAMPLES, aggregate / 3);
}

double naive_influence(const teacher_run *run, int64_t layer, int64_t hidden)
{
    double cosines = 0.0;
    for (int64_t i = 0; i < SAMPLES; i++) {
        for (int64_t t = 0; t < SEQUENCE; t++) {
            const double *x = run->recordings[i]->value[COP_TAP_BLOCK_INPUT][layer] + t * hidden;
            const double *y = run->recordings[i]->value[COP_TAP_BLOCK_OUTPUT][layer] + t * hidden;
            double xy = 0.0;
            double xx = 0.0;
            double yy = 0.0;
            for (int64_t c = 0; c < hidden; c++) {
                xy += x[c] * y[c];
                xx += x[c] * x[c];
                yy += y[c] * y[c];
            }
            cosines += xy / sqrt(xx * yy);
        }
    }
    return 1.0 - cosines / (SAMPLES * SEQUENCE);
}

// exp of the mean cross-entropy, by the naive model without `layer` (-1: with all).
double naive_perplexity(const teacher_run *run, int64_t layer)
{
    naive_model model;
    bool kept[COP_ARCH_LAYERS_MAX];
    const cop_arch *arch = cop_network_arch(run->network);
    int32_t ids[SAMPLES * SEQUENCE + 1];
    double *logits = calloc((size_t)(ROWS * arch->vocab), sizeof *logits);
    double loss = 0.0;

    assert_non_null(logits);
    tiny_naive(&model, run->network);
    for (int64_t i = 0; i < COP_ARCH_LAYERS_MAX; i++) {
        kept[i] = i != layer;
    }
    cop_tokens_read(run->tokens, 0, SAMPLES * SEQUENCE + 1, ids);
    naive_forward(NULL, logits, &model, &(naive_masks){.layer = kept}, ids, SAMPLES, SEQUENCE);
    for (int64_t r = 0; r < ROWS; r++) {
        double sum = 0.0;
        for (int64_t v = 0; v < arch->vocab; v++) {
            sum += exp(logits[r * arch->vocab + v]);
        }
        loss += log(sum) - logits[r * arch->vocab + ids[r + 1]];
    }
    naive_release(&model);
    free(logits);
    return exp(loss / (SAMPLES * SEQUENCE));
}
