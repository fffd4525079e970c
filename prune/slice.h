// Cuts a teacher's tensors down to a selection: an exact copy of what stays (but for head residual
// carry-over, when chosen).

#ifndef COP_PRUNE_SLICE_H
#define COP_PRUNE_SLICE_H

#include "model/checkpoint.h"
#include "prune/select.h"

// Reads the teacher tensor by tensor, cuts, and puts each into the sink (canonical index of the target)
// in the stored dtype, or f32 where carry-over computes. Memory: the largest tensor and its cut.
COP_MUST_CHECK cop_status cop_slice(const cop_selection *selection, const cop_checkpoint *teacher,
                                    cop_tensor_sink sink, cop_error *err);

// One tensor of them, by its canonical index in the target.
COP_MUST_CHECK cop_status cop_slice_tensor(const cop_selection *selection,
                                           const cop_checkpoint *teacher, int64_t index,
                                           cop_tensor_sink sink, cop_error *err);

// Whether carry-over changes values of this tensor of the target.
bool cop_slice_is_carried(const cop_selection *selection, const cop_tensor_spec *to);

#endif
