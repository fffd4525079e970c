// A candidate of a study as a model: pruned from the teacher exactly as the study pruned it, written as a Hugging
// Face directory, with retrain.yaml, the recipe of its full retraining, beside its weights.
//
// The weights are those of pruning, not of the short probe: a probe's learning rate has decayed over its
// few tokens, and a full retraining is meant to start from the teacher's own weights.

#ifndef COP_SEARCH_EXPORT_H
#define COP_SEARCH_EXPORT_H

#include "base/text.h"
#include "search/snapshot.h"

// Writes candidate `index` to `output`, which must not exist without `force`. The teacher and the importance
// file are found by the study's facts; a teacher whose weights are not those of the study is refused.
// `command` receives the `coppice distill` line of the recipe.
COP_MUST_CHECK cop_status cop_export_candidate(const cop_snapshot *snapshot, const char *directory,
                                               int64_t index, const char *output, bool force,
                                               cop_text *command, cop_error *err);

#endif
