#include "distill/memory_form.h"

#include <inttypes.h>

#include "base/alloc.h"
#include "distill/trainer.h"

const char *cop_recompute_name(cop_recompute recompute)
{
    switch (recompute) {
    case COP_RECOMPUTE_NONE: return "none";
    case COP_RECOMPUTE_SELECTIVE: return "selective";
    case COP_RECOMPUTE_BLOCK: return "block";
    default: return "unknown";
    }
}

enum { MEASURES = 6 };

int64_t cop_memory_form_smallest_pass(int64_t batch, cop_state_form state)
{
    const int64_t passes = state == COP_STATE_LEAN ? COP_NARROW_PASSES_MAX : batch;
    int64_t micro = 1;
    while (micro < batch && (batch % micro != 0 || batch / micro > passes)) {
        micro++;
    }
    return micro;
}

// Takes measure number `measure`. false: it changes nothing.
static bool take(cop_memory_form *form, int measure, int64_t batch, cop_precision precision)
{
    const cop_memory_form before = *form;
    switch (measure) {
    case 0:
        form->recompute =
            form->recompute == COP_RECOMPUTE_NONE ? COP_RECOMPUTE_SELECTIVE : form->recompute;
        break;
    case 1: form->micro_batch = cop_memory_form_smallest_pass(batch, form->state); break;
    case 2: form->state = form->state == COP_STATE_FULL ? COP_STATE_COMPACT : form->state; break;
    case 3: form->freezes_vocabulary = true; break;
    case 4:
        if (precision == COP_PRECISION_BF16) {
            form->state = COP_STATE_LEAN;
            form->micro_batch = cop_memory_form_smallest_pass(batch, form->state);
        }
        break;
    default: form->recompute = COP_RECOMPUTE_BLOCK; break;
    }
    return form->recompute != before.recompute || form->micro_batch != before.micro_batch ||
           form->state != before.state || form->freezes_vocabulary != before.freezes_vocabulary;
}

// The parts of `form` that are not those of `now`.
static void append_changes(cop_text *out, const cop_memory_form *now, const cop_memory_form *form)
{
    const size_t start = out->length;
    const char *const joint = " and ";
    if (form->recompute != now->recompute) {
        cop_text_appendf(out, "recompute %s", cop_recompute_name(form->recompute));
    }
    if (form->micro_batch != now->micro_batch) {
        cop_text_appendf(out, "%smicro_batch %" PRId64, out->length > start ? joint : "",
                         form->micro_batch);
    }
    if (form->state != now->state) {
        cop_text_appendf(out, "%sstate %s", out->length > start ? joint : "",
                         cop_state_form_name(form->state));
    }
    if (form->freezes_vocabulary != now->freezes_vocabulary) {
        cop_text_appendf(out, "%sa frozen vocabulary", out->length > start ? joint : "");
    }
}

cop_status cop_memory_form_advise(cop_text *out, const cop_memory_form *now, int64_t batch,
                                  cop_precision precision, const cop_plan_room *room,
                                  cop_memory_form_plan plan, void *context, cop_error *err)
{
    cop_status status = COP_OK;
    cop_memory_form form = *now;
    char number[COP_TEXT_NUMBER_BYTES];
    uint64_t needed = 0;
    bool fits = false;
    bool is_changed = false;
    cop_plan *found = cop_alloc(1, sizeof *found);

    if (found == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "memory plan: out of memory");
    }
    for (int i = 0; i < MEASURES && !fits; i++) {
        if (take(&form, i, batch, precision)) {
            COP_TRY(status, plan(context, &form, found, err));
            needed = cop_plan_total_in(found, room);
            fits = cop_plan_fits(found, room);
            is_changed = true;
        }
    }
    if (!fits) {
        cop_text_append(out, "a shorter sequence, or a smaller model");
    }
    if (!fits && is_changed) {
        cop_text_append(out, "; even ");
    }
    if (is_changed) {
        append_changes(out, now, &form);
        cop_text_appendf(out, " need %s", cop_text_bytes(number, needed));
    }

done:
    cop_free(found);
    return status;
}
