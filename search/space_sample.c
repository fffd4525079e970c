#include "search/space_sample.h"

#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "search/space_domain.h"
#include "search/strategy.h"

// Candidates with their blocks: one piece of memory.
typedef struct sample {
    cop_candidate candidate[COP_SPACE_SAMPLE]; // first: what the caller frees
    cop_layer_arch blocks[COP_SPACE_SAMPLE][COP_ARCH_LAYERS_MAX];
} sample;

static int64_t fill(sample *out, const cop_space_domain *domain, const int32_t *genomes,
                    int64_t found)
{
    const cop_domain *view = cop_space_domain_view(domain);
    int64_t count = 0;
    for (int64_t i = 0; i < found; i++) {
        const int32_t *genome = genomes + i * view->axes;
        if (view->violation(view->context, genome) <= 0 &&
            cop_space_domain_candidate(domain, genome, out->blocks[count],
                                       &out->candidate[count])) {
            count++;
        }
    }
    return count;
}

static cop_status draw(cop_candidate **out, int64_t *count, const cop_study_file *study,
                       const cop_space *space, cop_error *err)
{
    cop_strategy_options options = COP_STRATEGY_OPTIONS_DEFAULT;
    cop_status status = COP_OK;
    cop_space_domain *domain = NULL;
    cop_strategy *strategy = NULL;
    int32_t *genomes = NULL;
    int64_t found = 0;
    sample *drawn = cop_alloc(1, sizeof *drawn);

    COP_TRY(status, cop_space_domain_create(&domain, space, NULL, err));
    options.objectives = study->objectives;
    options.batch = COP_SPACE_SAMPLE;
    COP_TRY(status, cop_strategy_create(&strategy, &cop_strategy_random,
                                        cop_space_domain_view(domain), &options, err));
    genomes = cop_alloc((size_t)(COP_SPACE_SAMPLE * cop_space_domain_view(domain)->axes),
                        sizeof *genomes);
    if (genomes == NULL || drawn == NULL) {
        status = COP_FAIL(err, COP_ERR_NOMEM, "%s: out of memory", study->path);
        goto done;
    }
    COP_TRY(status, cop_strategy_ask(strategy, genomes, COP_SPACE_SAMPLE, &found, err));
    *count = fill(drawn, domain, genomes, found);
    if (*count == 0) {
        status = COP_FAIL(err, COP_ERR_CONFIG,
                          "%s: budget: no feasible candidate was found among %" PRId64
                          " drawn by lot (allowed: wider bounds, or a space nearer to them)",
                          study->path, found);
        goto done;
    }
    *out = drawn->candidate;
    drawn = NULL;

done:
    cop_free(drawn);
    cop_free(genomes);
    cop_strategy_destroy(strategy);
    cop_space_domain_destroy(domain);
    return status;
}

cop_status cop_space_sample(cop_candidate **out, int64_t *count, cop_space_report *report,
                            const cop_study_file *study, const cop_space *space, cop_error *err)
{
    const bool has_strategy = strcmp(study->strategy, "grid") != 0;
    cop_status status = COP_OK;

    *out = NULL;
    *count = 0;
    COP_TRY(status, cop_space_walk(space, report, NULL, NULL, err));
    COP_TRY(status, cop_space_check_report(space, report, err));
    if (has_strategy && report->feasible > COP_SPACE_LISTED_MAX) {
        status = draw(out, count, study, space, err);
    } else {
        status = cop_space_feasible(out, count, report, space, err);
    }

done:
    return status;
}
