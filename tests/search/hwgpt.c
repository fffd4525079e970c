#include "tests/search/hwgpt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { INPUTS = 80, WIDTH = 128, HIDDEN = 4, LAYERS = 12 };

// Weights lie by input, so that a layer adds whole rows: no sum is reordered, and compilers vectorise it.
struct hwgpt_net {
    double weight[HIDDEN][WIDTH][WIDTH]; // [layer][input][output]
    double bias[HIDDEN][WIDTH];
    double last_weight[WIDTH];
    double last_bias;
};

static const double embeds[] = {192, 384, 768};

static int layers_of(const int32_t *genome)
{
    return 10 + (int)genome[1];
}

static void canonicalize(const void *context, int32_t *genome)
{
    (void)context;
    for (int i = 3 + 2 * layers_of(genome); i < HWGPT_AXES; i++) {
        genome[i] = 0;
    }
}

static double params_of(const int32_t *genome)
{
    const double embed = embeds[genome[0]];
    double ratios = 0;
    double heads = 0;
    for (int j = 0; j < layers_of(genome); j++) {
        ratios += 2 + genome[3 + 2 * j];
        heads += 4 + 4 * genome[4 + 2 * j];
    }
    return 100608 * embed + 3 * embed * embed * ratios + 256 * embed * heads;
}

static double value(const void *context, int axis, int32_t level)
{
    (void)context;
    switch (axis) {
    case 0: return embeds[level];
    case 1: return 10 + level;
    case 2: return level;
    default: return axis % 2 == 1 ? 2 + level : 4 + 4 * level;
    }
}

static void strata(const void *context, const int32_t *genome, double *size, double *shape)
{
    (void)context;
    *size = params_of(genome);
    *shape = layers_of(genome) / embeds[genome[0]];
}

static void add_row(double *sum, const double *row)
{
    for (int i = 0; i < WIDTH; i++) {
        sum[i] += row[i];
    }
}

static double perplexity_of(const hwgpt_net *net, const int32_t *genome)
{
    double x[WIDTH];
    double y[WIDTH];
    memcpy(x, net->bias[0], sizeof x);
    add_row(x, net->weight[0][genome[0]]);
    add_row(x, net->weight[0][3 + genome[1]]);
    add_row(x, net->weight[0][genome[2] == 1 ? 78 : 79]);
    for (int j = 0; j < layers_of(genome); j++) {
        add_row(x, net->weight[0][6 + 3 * j + genome[3 + 2 * j]]);
        add_row(x, net->weight[0][42 + 3 * j + genome[4 + 2 * j]]);
    }
    for (int layer = 1; layer < HIDDEN; layer++) {
        memcpy(y, net->bias[layer], sizeof y);
        for (int i = 0; i < WIDTH; i++) {
            if (x[i] > 0) {
                for (int k = 0; k < WIDTH; k++) {
                    y[k] += x[i] * net->weight[layer][i][k];
                }
            }
        }
        memcpy(x, y, sizeof x);
    }
    double out = net->last_bias;
    for (int i = 0; i < WIDTH; i++) {
        out += x[i] > 0 ? x[i] * net->last_weight[i] : 0;
    }
    return out;
}

void hwgpt_evaluate(const hwgpt_net *net, const int32_t *genome, double objective[2])
{
    objective[0] = perplexity_of(net, genome);
    objective[1] = params_of(genome);
}

static bool read_net(hwgpt_net *net, FILE *file)
{
    for (int layer = 0; layer < HIDDEN + 1; layer++) {
        int outputs = 0;
        int inputs = 0;
        if (fscanf(file, "%*15s %d %d", &outputs, &inputs) != 2 || inputs > WIDTH ||
            outputs != (layer == HIDDEN ? 1 : WIDTH)) {
            return false;
        }
        for (int k = 0; k < outputs * (inputs + 1); k++) {
            double number = 0;
            if (fscanf(file, "%lf", &number) != 1) {
                return false;
            }
            const bool is_bias = k >= outputs * inputs;
            if (layer == HIDDEN) {
                *(is_bias ? &net->last_bias : &net->last_weight[k]) = number;
            } else if (is_bias) {
                net->bias[layer][k - outputs * inputs] = number;
            } else {
                net->weight[layer][k % inputs][k / inputs] = number;
            }
        }
    }
    return true;
}

bool hwgpt_init(problem *self)
{
    // The table's ranges (truths_s.txt): what a hypervolume is normalised by.
    static const double table_low[] = {22.15914, 24649728.0};
    static const double table_high[] = {41.91942, 176318976.0};

    for (int i = 0; i < HWGPT_AXES; i++) {
        self->levels[i] = i == 2 ? 2 : 3;
        self->is_ordered[i] = true;
    }
    memcpy(self->low, table_low, sizeof table_low);
    memcpy(self->high, table_high, sizeof table_high);
    self->domain.canonicalize = canonicalize;
    self->domain.value = value;
    self->domain.strata = strata;
    FILE *file = fopen(COP_REFERENCE_DATA "/hwgpt/ppl_mlp_s.txt", "r");
    if (file == NULL) {
        return false;
    }
    self->net = calloc(1, sizeof *self->net);
    const bool is_read = self->net != NULL && read_net(self->net, file);
    (void)fclose(file);
    return is_read;
}
