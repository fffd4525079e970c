// How well the surrogate of a study predicted, from its facts (search/calibration.h).

#ifndef COP_REPORT_SURROGATE_JSON_H
#define COP_REPORT_SURROGATE_JSON_H

#include <jansson.h>

#include "base/text.h"
#include "search/snapshot.h"

// Do facts of this key stand under provenance? Not results, nor what the search only keeps books with.
bool cop_fact_is_provenance(const char *key);

// {objective: {n, coverage50, coverage90, tau, rmse, scale, is_logarithmic, is_exact}}; null when the study has
// none.
json_t *cop_report_json_surrogate(const cop_fact *fact, int64_t facts);

// The same as a sentence for each objective that had to be predicted, `separator` behind each but the last:
// "loss: 24 predictions, tau-b 0.85, 50 % intervals hold 46 %, 90 % intervals 88 %, off by 0.012". Nothing when
// there is none.
void cop_report_append_surrogate(cop_text *out, const cop_fact *fact, int64_t facts,
                                 const char *separator);

#endif
