#include "search/strategy_surrogate.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "search/surrogate_internal.h"

static void destroy(void *context)
{
    cop_surrogate *self = context;
    if (self == NULL) {
        return;
    }
    cop_proposals_release(&self->proposals);
    cop_free(self->axis);
    cop_free(self->is_word);
    cop_free(self->low);
    cop_free(self->span);
    cop_free(self->features);
    cop_free(self->data.genome);
    cop_free(self->data.x);
    cop_free(self->data.objective);
    cop_free(self->data.violation);
    cop_free(self->data.is_usable);
    cop_free(self->data.is_feasible);
    cop_free(self->learned);
    cop_regression_destroy(self->feasibility);
    for (int j = 0; j < self->objectives; j++) {
        cop_regression_destroy(self->model[j]);
        cop_free(self->record[j].pair);
    }
    cop_free(self);
}

// What is known of one point is known of all.
static void find_known(cop_surrogate *self)
{
    const cop_domain *domain = self->proposals.domain;
    double value[COP_FRONT_OBJECTIVES_MAX];
    if (domain->known == NULL) {
        return;
    }
    for (int j = 0; j < COP_FRONT_OBJECTIVES_MAX; j++) {
        value[j] = (double)NAN;
    }
    memset(self->proposals.genome, 0, (size_t)domain->axes * sizeof *self->proposals.genome);
    cop_domain_canonicalize(domain, self->proposals.genome);
    domain->known(domain->context, self->proposals.genome, value);
    for (int j = 0; j < self->objectives; j++) {
        self->is_known[j] = !isnan(value[j]);
    }
}

static cop_status create(void **out, const cop_domain *domain, const cop_strategy_options *options,
                         cop_error *err)
{
    cop_status status = COP_OK;
    cop_surrogate *self = cop_alloc(1, sizeof *self);

    *out = NULL;
    if (self == NULL) {
        COP_TRY(status, COP_FAIL(err, COP_ERR_NOMEM, "surrogate: out of memory"));
    }
    self->options = *options;
    self->objectives = options->objectives;
    COP_TRY(status, cop_proposals_init(&self->proposals, domain, options->seed, err));
    COP_TRY(status, cop_surrogate_init_columns(self, err));
    find_known(self);
    for (int j = 0; j < self->objectives; j++) {
        self->record[j].scale = 1.0;
        if (!self->is_known[j]) {
            COP_TRY(status, cop_regression_create(&self->model[j], self->columns, self->is_word,
                                                  true, err));
        }
    }
    COP_TRY(status,
            cop_regression_create(&self->feasibility, self->columns, self->is_word, false, err));
    *out = self;
    self = NULL;

done:
    destroy(self);
    return status;
}

static cop_status fill_batch(cop_surrogate *self, cop_error *err)
{
    const int64_t design = cop_surrogate_design_size(self);
    const int64_t told = self->data.count;
    if (told < design) {
        return cop_surrogate_design(self, design - told, told == 0, err);
    }
    if (!cop_surrogate_can_model(self)) {
        return cop_surrogate_design(self, cop_surrogate_batch_size(self), false, err);
    }
    return cop_surrogate_propose(self, err);
}

static cop_status ask(void *context, int64_t batch, int32_t *genomes, int64_t limit, int64_t *count,
                      cop_error *err)
{
    cop_status status = COP_OK;
    cop_surrogate *self = context;
    bool is_fresh = false;

    COP_TRY(status, cop_proposals_begin(&self->proposals, batch, &is_fresh, err));
    if (is_fresh) {
        COP_TRY(status, fill_batch(self, err));
    }
    cop_proposals_copy(&self->proposals, genomes, limit, count);

done:
    if (status != COP_OK) {
        self->proposals.number = -1; // what is there of the batch is not all of it
    }
    return status;
}

static cop_status tell(void *context, int64_t batch, const cop_trial *trials, int64_t count,
                       cop_error *err)
{
    cop_status status = COP_OK;
    cop_surrogate *self = context;

    (void)batch;
    COP_TRY(status, cop_surrogate_judge(self, trials, count, err));
    COP_TRY(status, cop_surrogate_add(self, trials, count, err));
    COP_TRY(status, cop_proposals_tell(&self->proposals, trials, count, err));

done:
    return status;
}

const cop_strategy_type cop_strategy_surrogate = {
    .name = "surrogate",
    .help = "Gaussian processes and expected hypervolume improvement (Emmerich et al. 2011), "
            "batches by "
            "kriging believer (Ginsbourger et al. 2010)",
    .create = create,
    .ask = ask,
    .tell = tell,
    .destroy = destroy,
};

bool cop_strategy_is_surrogate(const cop_strategy *strategy)
{
    return cop_strategy_self(strategy, &cop_strategy_surrogate) != NULL;
}

cop_status cop_strategy_surrogate_calibration(cop_surrogate_calibration *out,
                                              const cop_strategy *strategy, int objective,
                                              cop_error *err)
{
    const cop_surrogate *self = cop_strategy_self(strategy, &cop_strategy_surrogate);
    if (self == NULL) {
        return COP_FAIL(err, COP_ERR_CONFIG,
                        "strategy: calibration is of another strategy (allowed: surrogate)");
    }
    if (objective < 0 || objective >= self->objectives) {
        return COP_FAIL(err, COP_ERR_CONFIG, "strategy: objective is %d (allowed: 0..%d)",
                        objective, self->objectives - 1);
    }
    const cop_surrogate_record *record = &self->record[objective];
    const double n = record->count > 0 ? (double)record->count : (double)NAN;
    double squares = 0.0;
    for (int64_t i = 0; i < record->count; i++) {
        const double gap = record->pair[i].y - record->pair[i].x;
        squares += gap * gap;
    }
    *out = (cop_surrogate_calibration){.n = record->count,
                                       .coverage50 = (double)record->inside50 / n,
                                       .coverage90 = (double)record->inside90 / n,
                                       .tau = (double)NAN,
                                       .rmse = sqrt(squares / n),
                                       .scale = record->scale,
                                       .is_exact = self->is_known[objective]};
    if (!out->is_exact) {
        out->is_logarithmic = cop_regression_is_logarithmic(self->model[objective]);
    }
    if (record->count == 0) {
        return COP_OK;
    }
    // Kendall's tau reorders its pairs.
    cop_kendall_pair *pair = cop_alloc(2 * (size_t)record->count, sizeof *pair);
    if (pair == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "surrogate: out of memory");
    }
    memcpy(pair, record->pair, (size_t)record->count * sizeof *pair);
    out->tau = cop_kendall_tau_b(pair, pair + record->count, record->count);
    cop_free(pair);
    return COP_OK;
}
