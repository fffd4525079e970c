// Ways to train the same model in less memory, and which of them fits.

#ifndef COP_DISTILL_MEMORY_FORM_H
#define COP_DISTILL_MEMORY_FORM_H

#include "model/optimizer.h"

typedef struct cop_memory_form {
    cop_recompute recompute;
    int64_t micro_batch; // sequences per pass
    cop_state_form state;
    bool freezes_vocabulary;
} cop_memory_form;

const char *cop_recompute_name(cop_recompute recompute); // "none", "selective", "block"

// The fewest sequences of a pass, a divisor of the batch, that a state allows: narrow gradients bear few
// passes (distill/trainer.h).
int64_t cop_memory_form_smallest_pass(int64_t batch, cop_state_form state);

// Plans a run in a form.
typedef cop_status (*cop_memory_form_plan)(void *context, const cop_memory_form *form,
                                           cop_plan *out, cop_error *err);

// Appends what would make a run fit, for the "allowed" part of a message: adds selective
// recomputation, the smallest micro-batch, compact state, a frozen vocabulary, lean state (where the
// precision has it) and recomputation of blocks to the form `now`, one after the other, and names all
// that is changed at the first that fits, with its total: "recompute selective and micro_batch 1 need
// 121.3 GiB". Where nothing fits it says what the least needs.
COP_MUST_CHECK cop_status cop_memory_form_advise(cop_text *out, const cop_memory_form *now,
                                                 int64_t batch, cop_precision precision,
                                                 const cop_plan_room *room,
                                                 cop_memory_form_plan plan, void *context,
                                                 cop_error *err);

#endif
