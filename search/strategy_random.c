// Random search, plain and stratified.

#include "base/alloc.h"
#include "search/strategy_internal.h"

typedef struct sampling {
    cop_proposals proposals;
    cop_spread spread;
    bool is_stratified;
    int64_t batch; // points proposed at a time, 0: as many as asked for
} sampling;

static void sampling_destroy(void *self)
{
    sampling *s = self;
    if (s != NULL) {
        cop_proposals_release(&s->proposals);
        cop_spread_release(&s->spread);
        cop_free(s);
    }
}

static cop_status create(void **self, const cop_domain *domain, const cop_strategy_options *options,
                         bool is_stratified, cop_error *err)
{
    cop_status status = COP_OK;
    sampling *s = cop_alloc(1, sizeof *s);

    *self = NULL;
    if (s == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "strategy: out of memory");
    }
    s->is_stratified = is_stratified;
    s->batch = options->batch;
    COP_TRY(status, cop_proposals_init(&s->proposals, domain, options->seed, err));
    if (is_stratified) {
        COP_TRY(status, cop_spread_init(&s->spread, domain, options->seed, err));
    }
    *self = s;
    s = NULL;

done:
    sampling_destroy(s);
    return status;
}

static cop_status random_create(void **self, const cop_domain *domain,
                                const cop_strategy_options *options, cop_error *err)
{
    return create(self, domain, options, false, err);
}

static cop_status stratified_create(void **self, const cop_domain *domain,
                                    const cop_strategy_options *options, cop_error *err)
{
    return create(self, domain, options, true, err);
}

static cop_status sampling_ask(void *self, int64_t batch, int32_t *genomes, int64_t limit,
                               int64_t *count, cop_error *err)
{
    cop_status status = COP_OK;
    sampling *s = self;
    const int64_t wanted = s->batch > 0 && s->batch < limit ? s->batch : limit;
    bool is_fresh = false;
    bool is_added = false;

    COP_TRY(status, cop_proposals_begin(&s->proposals, batch, &is_fresh, err));
    if (is_fresh && s->is_stratified) {
        cop_spread_begin(&s->spread);
    }
    while (!s->proposals.is_exhausted && cop_genome_set_count(s->proposals.batch) < wanted) {
        COP_TRY(status, s->is_stratified ? cop_spread_add(&s->spread, &s->proposals, &is_added, err)
                                         : cop_proposals_add_random(&s->proposals, &is_added, err));
        s->proposals.is_exhausted = !is_added;
    }
    cop_proposals_copy(&s->proposals, genomes, wanted, count);

done:
    return status;
}

static cop_status sampling_tell(void *self, int64_t batch, const cop_trial *trials, int64_t count,
                                cop_error *err)
{
    cop_status status = COP_OK;
    sampling *s = self;
    const int64_t known = cop_genome_set_count(s->proposals.told);

    (void)batch;
    COP_TRY(status, cop_proposals_tell(&s->proposals, trials, count, err));
    for (int64_t i = known; s->is_stratified && i < cop_genome_set_count(s->proposals.told); i++) {
        cop_spread_tell(&s->spread, cop_genome_set_view(s->proposals.told, i));
    }

done:
    return status;
}

const cop_strategy_type cop_strategy_random = {
    .name = "random",
    .help = "uniform over the feasible points, each at most once",
    .create = random_create,
    .ask = sampling_ask,
    .tell = sampling_tell,
    .destroy = sampling_destroy,
};

const cop_strategy_type cop_strategy_stratified = {
    .name = "stratified",
    .help = "random, spread evenly over size and depth/width; over the levels of axes without them",
    .create = stratified_create,
    .ask = sampling_ask,
    .tell = sampling_tell,
    .destroy = sampling_destroy,
};
