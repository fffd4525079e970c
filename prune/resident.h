// A teacher's weights kept on the device, so that every candidate is cut from them there instead of
// being read and cut from the checkpoint again.
//
// The weights lie in the teacher's order and in the stored element type (f16 as f32), because a cut
// must give the bits of cop_slice(): kept units stay in the teacher's order, and a master in f32 must
// come from the stored value. One ranking per axis makes every selection the first units of one
// order (per layer for neurons and KV groups, inside each group for heads), but a copy of a prefix in
// that order would give the student another order of channels, thus other sums. So units are picked
// by index. The index rises, so reads stay within neighbouring lines; and where what stays is one
// run of the teacher's units (a layer untouched, an axis uncut, a prefix), there is no index, and
// the copy is a plain 2-D one.

#ifndef COP_PRUNE_RESIDENT_H
#define COP_PRUNE_RESIDENT_H

#include "model/network.h"
#include "prune/select.h"

typedef struct cop_resident cop_resident;

// Whether this checkpoint can be kept: f64 tensors cannot (their cut to bf16 rounds once, from f64).
bool cop_resident_supports(const cop_checkpoint *teacher);

// Adds what a resident needs on the device ("teacher: resident weights", "… indices") to a plan.
void cop_resident_plan(cop_plan *plan, const cop_checkpoint *teacher);

// Reads all tensors to the device. Teacher and backend are borrowed. COP_ERR_UNSUPPORTED as above,
// COP_ERR_NOMEM when the device is full, COP_ERR_IO from the files.
COP_MUST_CHECK cop_status cop_resident_create(cop_resident **out, const cop_checkpoint *teacher,
                                              cop_backend *backend, cop_error *err);
// For benchmarks only: a teacher of random bits without a checkpoint, at any size. It takes no part in
// carry-over: a cut whose heads are carried is COP_ERR_UNSUPPORTED. `dtype`: f32 or bf16.
COP_MUST_CHECK cop_status cop_resident_create_random(cop_resident **out, const cop_arch *arch,
                                                     cop_dtype dtype, cop_backend *backend,
                                                     cop_error *err);
void cop_resident_destroy(cop_resident *resident);

// Fills a network of the selection's architecture, on the same backend: the same bits as cop_slice()
// into its sink. Only enqueues work, but for query heads that carry-over changes: those are computed
// on the host from the checkpoint. COP_ERR_SHAPE when the selection is not of this teacher or the
// network not of the selection.
COP_MUST_CHECK cop_status cop_resident_cut(cop_resident *resident, const cop_selection *selection,
                                           cop_network *network, cop_error *err);

#endif
