// Draws the end of all curves, many times, and counts.

#include "search/hopeless.h"

#include <gsl/gsl_cdf.h>
#include <math.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "search/resample.h"

enum { DRAWS = COP_HOPELESS_DRAWS, CURVES = 2 }; // the whole curve, its later half

int64_t cop_hopeless_keep(double share, int rungs, int64_t places)
{
    int64_t kept = places;
    for (int r = 0; r < rungs; r++) {
        kept = (int64_t)ceil(share * (double)kept - 1e-9);
    }
    return kept < 1 ? 1 : kept;
}

typedef struct judge {
    const cop_hopeless_probe *probe;
    const cop_hopeless_rule *rule;
    int64_t count;
    int64_t points;        // of all probes, when they have the same; else 0
    double *loss;          // [count, points], without what all share
    cop_curve_fit *fit;    // [count]
    double *draw;          // [count, DRAWS]
    double *quantile;      // [DRAWS]
    int64_t *order;        // [DRAWS]
    int64_t *hits;         // [2, count]: in the top, on the front
    cop_front_point *sort; // [2, count], the second half for the sort
    int64_t *scratch;      // [count]
} judge;

static void judge_release(judge *j)
{
    cop_free(j->loss);
    cop_free(j->fit);
    cop_free(j->draw);
    cop_free(j->quantile);
    cop_free(j->order);
    cop_free(j->hits);
    cop_free(j->sort);
    cop_free(j->scratch);
}

static cop_status judge_create(judge *j, cop_error *err)
{
    const size_t count = (size_t)j->count + 1;
    j->loss = cop_alloc((size_t)(j->count * j->points) + 1, sizeof *j->loss);
    j->fit = cop_alloc(count, sizeof *j->fit);
    j->draw = cop_alloc(count * DRAWS, sizeof *j->draw);
    j->quantile = cop_alloc(DRAWS, sizeof *j->quantile);
    j->order = cop_alloc(DRAWS, sizeof *j->order);
    j->hits = cop_alloc(2 * count, sizeof *j->hits);
    j->sort = cop_alloc(2 * count, sizeof *j->sort);
    j->scratch = cop_alloc(count, sizeof *j->scratch);
    if (j->loss == NULL || j->fit == NULL || j->draw == NULL || j->quantile == NULL ||
        j->order == NULL || j->hits == NULL || j->sort == NULL || j->scratch == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "hopeless probes: out of memory for %lld curves",
                        (long long)j->count);
    }
    return COP_OK;
}

static int64_t first_point(const cop_hopeless_probe *p, int curve)
{
    return curve == 0 ? 0 : p->points / 2;
}

static cop_status fit_all(judge *j, int curve, bool is_cleaned, cop_error *err)
{
    cop_status status = COP_OK;
    for (int64_t i = 0; i < j->count; i++) {
        const cop_hopeless_probe *p = &j->probe[i];
        const int64_t from = first_point(p, curve);
        const double *loss = is_cleaned ? j->loss + i * j->points : p->loss;
        COP_TRY(status, cop_curve_fit_make(&j->fit[i], p->tokens + from, loss + from,
                                           p->weight == NULL ? NULL : p->weight + from,
                                           p->points - from, err));
    }
done:
    return status;
}

// A residual of a fit is this times what the fit says it should be.
static double unit_of(const judge *j, int64_t i, int64_t point)
{
    const double *weight = j->probe[i].weight;
    return j->fit[i].scatter / sqrt(weight == NULL ? 1 : weight[point]);
}

// Takes out of all losses what their residuals share at a point. They must have the same points.
static void clean(judge *j, int curve)
{
    for (int64_t p = first_point(&j->probe[0], curve); p < j->points; p++) {
        const double tokens = j->probe[0].tokens[p];
        double sum = 0;
        double used = 0;
        for (int64_t i = 0; i < j->count; i++) {
            const cop_curve_prediction fitted = cop_curve_predict(&j->fit[i], tokens);
            const double z = (j->probe[i].loss[p] - fitted.value) / unit_of(j, i, p);
            if (isfinite(z)) {
                sum += z;
                used += 1;
            }
        }
        const double common = used > 0 ? sum / used : 0;
        for (int64_t i = 0; i < j->count; i++) {
            const double shared = common * unit_of(j, i, p);
            j->loss[i * j->points + p] = j->probe[i].loss[p] - (isfinite(shared) ? shared : 0);
        }
    }
}

static bool have_same_points(const cop_hopeless_probe *probe, int64_t count)
{
    for (int64_t i = 1; i < count; i++) {
        if (probe[i].points != probe[0].points) {
            return false;
        }
        for (int64_t p = 0; p < probe[0].points; p++) {
            if (probe[i].tokens[p] != probe[0].tokens[p]) {
                return false;
            }
        }
    }
    return count > 1;
}

static void fill_quantiles(double *out, double freedom)
{
    for (int r = 0; r < DRAWS; r++) {
        const double at = (r + 0.5) / DRAWS;
        out[r] = isinf(freedom) ? gsl_cdf_ugaussian_Pinv(at) : gsl_cdf_tdist_Pinv(at, freedom);
    }
}

// A loss below 0 is none: a curve that leads there does not follow the form.
static bool is_sound(const cop_curve_fit *fit, const cop_curve_prediction *loss)
{
    return fit->is_converged && fit->freedom > 0 && isfinite(loss->error) && loss->value > 0;
}

// A mean over few takes some of each probe's own noise out with what all share.
static cop_curve_prediction predict(const judge *j, int64_t i)
{
    cop_curve_prediction loss = cop_curve_predict(&j->fit[i], j->rule->tokens);
    if (j->points > 0) {
        const double wider = sqrt((double)j->count / ((double)j->count - 1));
        loss.error *= wider;
        loss.low = loss.value - wider * (loss.value - loss.low);
        loss.high = loss.value + wider * (loss.high - loss.value);
    }
    return loss;
}

// One whose end is not known does not keep others out.
static cop_status draw_all(judge *j, int curve, cop_error *err)
{
    cop_status status = COP_OK;
    cop_rng *rng = NULL;
    double freedom = 0; // of the quantiles at hand
    COP_TRY(status, cop_rng_create(&rng, j->rule->seed, COP_RNG_BOOTSTRAP,
                                   COP_RESAMPLE_CURVES + CURVES * (uint64_t)j->rule->stage +
                                       (uint64_t)curve,
                                   err));
    for (int r = 0; r < DRAWS; r++) {
        j->order[r] = r;
    }
    for (int64_t i = 0; i < j->count; i++) {
        const cop_curve_prediction p = predict(j, i);
        const bool is_known = is_sound(&j->fit[i], &p);
        double *draw = j->draw + i * DRAWS;
        if (is_known && p.freedom != freedom) {
            freedom = p.freedom;
            fill_quantiles(j->quantile, freedom);
        }
        cop_rng_shuffle(rng, j->order, DRAWS);
        for (int r = 0; r < DRAWS; r++) {
            draw[r] = is_known ? p.value + p.error * j->quantile[j->order[r]] : (double)INFINITY;
        }
    }
done:
    cop_rng_destroy(rng);
    return status;
}

static void count_hits(judge *j)
{
    int64_t *on_front = j->hits + j->count;
    for (int64_t i = 0; i < 2 * j->count; i++) {
        j->hits[i] = 0;
    }
    for (int r = 0; r < DRAWS; r++) {
        for (int64_t i = 0; i < j->count; i++) {
            cop_front_point *point = &j->sort[i];
            point->index = i;
            point->value[0] = j->draw[i * DRAWS + r];
            for (int k = 0; k < j->rule->others; k++) {
                point->value[1 + k] = j->probe[i].other[k];
            }
        }
        cop_front_sort(j->sort, j->count, 1 + j->rule->others, j->sort + j->count, j->scratch);
        for (int64_t i = 0; i < j->count; i++) {
            const cop_front_point *point = &j->sort[i];
            j->hits[point->index] += i < j->rule->keep ? 1 : 0;
            on_front[point->index] += point->front == 0 ? 1 : 0;
        }
    }
}

// What one of the two curves says of a probe: it stays hopeless only when both agree.
static void conclude(const judge *j, int64_t i, int curve, cop_hopeless_verdict *out)
{
    const cop_curve_fit *fit = &j->fit[i];
    const double level = COP_CURVE_HOPELESS / fmax(j->rule->tests, 1);
    const cop_curve_prediction loss = predict(j, i);
    const double top = (double)j->hits[i] / DRAWS;
    const double front = (double)j->hits[j->count + i] / DRAWS;
    const bool is_falling = fit->form == COP_CURVE_FLOOR || fit->form == COP_CURVE_POWER;
    if (curve == 0) {
        out->loss = loss;
        out->probability = top;
        out->front_probability = front;
        out->is_hopeless = !j->probe[i].is_exempt && j->probe[i].points >= COP_HOPELESS_POINTS_MIN;
    }
    if (!is_sound(fit, &loss) || !is_falling) {
        out->probability = (double)NAN;
        out->front_probability = (double)NAN;
    } else if (!isnan(out->probability)) {
        out->probability = fmax(out->probability, top);
        out->front_probability = fmax(out->front_probability, front);
    }
    out->is_hopeless = out->is_hopeless && out->probability < level &&
                       (j->rule->others == 0 || out->front_probability < level);
}

cop_status cop_hopeless_judge(cop_hopeless_verdict *verdict, const cop_hopeless_probe *probes,
                              int64_t count, const cop_hopeless_rule *rule, cop_error *err)
{
    cop_status status = COP_OK;
    judge j = {.probe = probes, .rule = rule, .count = count};
    j.points = have_same_points(probes, count) ? probes[0].points : 0;
    int64_t kth = -1;
    double kth_loss = (double)NAN;
    COP_TRY(status, cop_front_check(count, 1 + rule->others, err));
    COP_TRY(status, judge_create(&j, err));
    for (int curve = 0; curve < CURVES; curve++) {
        COP_TRY(status, fit_all(&j, curve, false, err));
        if (j.points > 0) {
            clean(&j, curve);
            COP_TRY(status, fit_all(&j, curve, true, err));
        }
        if (curve == 0) {
            COP_TRY(status, cop_curve_kth(&kth, j.fit, count, rule->keep, rule->tokens, err));
            kth_loss = kth < 0 ? kth_loss : cop_curve_predict(&j.fit[kth], rule->tokens).value;
        }
        COP_TRY(status, draw_all(&j, curve, err));
        count_hits(&j);
        for (int64_t i = 0; i < count; i++) {
            verdict[i].kth = kth_loss;
            conclude(&j, i, curve, &verdict[i]);
        }
    }
done:
    judge_release(&j);
    return status;
}
