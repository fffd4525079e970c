// How well a surrogate predicted, kept beside the results of its study: one fact for each objective, as of the last
// batch. A function of the results alone: a search that was interrupted stores what an undisturbed one does.

#ifndef COP_SEARCH_CALIBRATION_H
#define COP_SEARCH_CALIBRATION_H

#include "search/store.h"
#include "search/strategy_surrogate.h"

// Stores COP_FACT_CALIBRATION_PREFIX + name[objective] for each objective, e.g.
//   {"n": 12, "coverage50": 0.5, "coverage90": 0.91, "tau": 0.8, "rmse": 0.02, "scale": 1.1,
//    "is_logarithmic": false, "is_exact": false}
// with null for what is not known. Nothing for strategies other than the surrogate.
// COP_ERR_IO, COP_ERR_NOMEM.
COP_MUST_CHECK cop_status cop_calibration_store(cop_store *store, const cop_strategy *strategy,
                                                const char *const *name, int objectives,
                                                cop_error *err);

#endif
