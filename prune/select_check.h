// Whether a target can be cut from a teacher: what cop_selection_create() refuses.

#ifndef COP_PRUNE_SELECT_CHECK_H
#define COP_PRUNE_SELECT_CHECK_H

#include "prune/select.h"

// Everything that can be told before the layers are chosen. COP_ERR_CONFIG names the axis or option,
// its value and what is allowed; COP_ERR_SHAPE: scores of another shape than the teacher's.
COP_MUST_CHECK cop_status cop_select_check(const cop_arch *teacher, const cop_arch *target,
                                           const cop_importance *importance,
                                           const cop_select_options *options, cop_error *err);

// Widths of each target layer against the teacher's layer it comes from; `layers` NULL: the same.
COP_MUST_CHECK cop_status cop_select_check_layers(const cop_arch *teacher, const cop_arch *target,
                                                  const int32_t *layers,
                                                  const cop_select_options *options,
                                                  cop_error *err);

#endif
