#include "tests/kernels/sample_check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "kernels/random.h"
#include "tests/kernels/rig.h"

static const double boundary = 1e-5;

const sample_case sample_cases[] = {
    {COP_F32, 1, 1, 1, 1, 1, 0},        {COP_F32, 3, 5, 4, 1024, 2, 0},
    {COP_F32, 17, 129, 7, 50, 3, 100},  {COP_BF16, 9, 1025, 16, 50, 4, 0},
    {COP_F32, 4, 9001, 3, 300, 5, 7},   {COP_BF16, 2, 40000, 8, 1000, 6, (int64_t)1 << 40},
    {COP_F32, 40, 33, 5, 7, 7, 123456},
};
const int sample_cases_count = (int)(sizeof sample_cases / sizeof sample_cases[0]);

// Cumulated probabilities of a row, and its entropy.
static double cumulate(const cop_sample_targets_args *args, int64_t r, double *cumulated)
{
    const int64_t vocab = args->head.rows;
    double max = -HUGE_VAL;
    double total = 0.0;
    double cross = 0.0;
    for (int64_t v = 0; v < vocab; v++) {
        double u = 0.0;
        for (int64_t c = 0; c < args->hidden.cols; c++) {
            u += rig_get(args->hidden, r, c) * rig_get(args->head, v, c);
        }
        cumulated[v] = u;
        max = fmax(max, u);
    }
    for (int64_t v = 0; v < vocab; v++) {
        const double u = cumulated[v] - max;
        total += exp(u);
        cross += exp(u) * u;
        cumulated[v] = total;
    }
    for (int64_t v = 0; v < vocab; v++) {
        cumulated[v] /= total;
    }
    return log(total) - cross / total;
}

// The id of a draw; `is_near`: it may as well be another one.
static int64_t id_of(const double *cumulated, int64_t vocab, double uniform, bool *is_near)
{
    int64_t v = 0;
    while (v < vocab - 1 && !(cumulated[v] > uniform)) {
        v++;
    }
    *is_near = (v < vocab - 1 && cumulated[v] - uniform < boundary) ||
               (v > 0 && uniform - cumulated[v - 1] < boundary);
    return v;
}

// Draws of one row: which id each is, and how many may be another.
static int64_t expect_row(const cop_sample_targets_args *args, int64_t r, const double *cumulated,
                          int64_t *drawn)
{
    const uint64_t key = cop_random_key(args->seed, (uint64_t)(args->first_row + r));
    int64_t near = 0;
    for (int64_t k = 0; k < args->draws; k++) {
        bool is_near = false;
        drawn[k] = id_of(cumulated, args->head.rows,
                         (double)cop_random_uniform(cop_random_bits(key, (uint64_t)k)), &is_near);
        near += is_near ? 1 : 0;
    }
    return near;
}

// Draws of an id among those expected.
static int64_t count_of(const int64_t *drawn, int64_t draws, int64_t id)
{
    int64_t count = 0;
    for (int64_t k = 0; k < draws; k++) {
        count += drawn[k] == id ? 1 : 0;
    }
    return count;
}

static void check_row(const cop_sample_targets_args *args, int64_t r, const int64_t *drawn,
                      int64_t near, const char *what)
{
    const int64_t draws = args->draws;
    const int32_t *ids = args->ids + r * draws;
    int64_t used = 0;
    int64_t wrong = 0;
    double sum = 0.0;
    int64_t next = 0; // first draw of the next distinct id
    for (; used < draws && ids[used] >= 0; used++) {
        const double weight = rig_get(args->weights, r, used);
        const int64_t count = llround(weight * (double)draws);
        for (int64_t j = 0; j < used; j++) {
            if (ids[j] == ids[used]) {
                fail_msg("%s: row %lld holds id %d twice", what, (long long)r, (int)ids[j]);
            }
        }
        assert_true(ids[used] < args->head.rows && count >= 1);
        // f32 of count / draws.
        assert_true(fabs(weight - (double)count / (double)draws) < 1e-6);
        wrong += llabs(count - count_of(drawn, draws, ids[used]));
        sum += weight;
        while (next < draws && count_of(drawn, next, drawn[next]) > 0) {
            next++;
        }
        if (near == 0 && (next == draws || drawn[next] != ids[used])) {
            fail_msg("%s: row %lld, place %lld: id %d (allowed: %lld, in order of first draws)",
                     what, (long long)r, (long long)used, (int)ids[used],
                     next < draws ? (long long)drawn[next] : -1LL);
        }
        next++;
    }
    for (int64_t k = used; k < draws; k++) {
        assert_true(ids[k] == -1 && rig_get(args->weights, r, k) == 0.0);
    }
    assert_true(fabs(sum - 1.0) < 1e-5); // of up to 1024 values in f32
    if (wrong > 2 * near) {
        fail_msg("%s: row %lld: %lld counts differ, %lld draws are near a boundary", what,
                 (long long)r, (long long)wrong, (long long)near);
    }
}

void sample_check(cop_backend *backend, const sample_case *each, const char *what)
{
    rig self;
    rig_init(&self, COP_OP_SAMPLE_TARGETS, COP_F32, each->dtype == COP_BF16 ? 1U : 0U, 0);
    cop_sample_targets_args *args = &self.args.sample_targets;
    args->hidden = rig_matrix(&self, each->dtype, each->rows, each->cols, RIG_NORMAL);
    args->head = rig_matrix(&self, each->dtype, each->vocab, each->cols, RIG_NORMAL);
    args->draws = each->draws;
    args->seed = each->seed;
    args->first_row = each->first_row;
    args->ids = rig_ids(&self, each->rows * each->draws, 0, 1);
    args->weights = rig_parameter(&self, each->rows, each->draws, RIG_NORMAL);
    args->entropy = rig_parameter(&self, 1, each->rows, RIG_NORMAL);
    double *cumulated = cop_alloc((size_t)each->vocab, sizeof *cumulated);
    int64_t *drawn = cop_alloc((size_t)each->draws, sizeof *drawn);
    assert_non_null(cumulated);
    assert_non_null(drawn);
    rig_run(&self, backend);
    for (int64_t r = 0; r < each->rows; r++) {
        const double entropy = cumulate(args, r, cumulated);
        const double found = rig_get(args->entropy, 0, r);
        // The sums are the same products in another order, whatever the operands' type.
        if (!(fabs(found - entropy) <= 2e-5 * fmax(entropy, 1.0))) {
            fail_msg("%s: entropy of row %lld is %.9g (allowed: %.9g)", what, (long long)r, found,
                     entropy);
        }
        check_row(args, r, drawn, expect_row(args, r, cumulated, drawn), what);
    }
    cop_free(cumulated);
    cop_free(drawn);
    rig_release(&self);
}
