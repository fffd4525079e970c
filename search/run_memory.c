// Memory of a run against what is free.

#include <stdio.h>

#include "search/run_internal.h"

typedef struct probe_form {
    const cop_run *run;
    bool is_online;
} probe_form;

static cop_status plan_form(void *context, const cop_memory_form *form, cop_plan *out,
                            cop_error *err)
{
    const probe_form *at = context;
    const cop_run *run = at->run;
    return cop_footprint_probe(out, run->study, cop_checkpoint_arch(run->teacher),
                               &run->candidates[run->footprint.largest], run->footprint.precision,
                               at->is_online, form, run->backend, err);
}

// Refuses probes that do not fit, saying what would.
static cop_status check_probe(const cop_run *run, const cop_plan_room *room, cop_error *err)
{
    const cop_study_file *study = run->study;
    const cop_footprint *f = &run->footprint;
    const cop_memory_form now = cop_footprint_memory_form(study, f->micro_batch);
    probe_form context = {.run = run,
                          .is_online =
                              cop_footprint_is_online(study, cop_checkpoint_arch(run->teacher),
                                                      f->precision, study->rungs)};
    cop_status status = COP_OK;
    cop_text advice = {0};
    char what[96];

    if (cop_plan_fits(&f->probe, room)) {
        return COP_OK;
    }
    (void)snprintf(what, sizeof what, "the probe of %s", run->candidates[f->largest].id);
    COP_TRY(status,
            cop_memory_form_advise(&advice, &now, study->batch_tokens / study->probe_sequence,
                                   f->precision, room, plan_form, &context, err));
    status = cop_plan_check_room(&f->probe, what, room, cop_text_view(&advice), err);

done:
    cop_text_release(&advice);
    return status;
}

cop_status cop_run_check_memory(const cop_run *run, cop_error *err)
{
    const cop_footprint *f = &run->footprint;
    cop_plan_room room = {0};
    cop_status status = COP_OK;

    COP_TRY(status, cop_plan_room_of(&room, run->backend, err));
    COP_TRY(status, cop_plan_check_room(&f->teacher, "the teacher", &room, NULL, err));
    COP_TRY(status, check_probe(run, &room, err));
    if (f->latency.count > 0) {
        COP_TRY(status,
                cop_plan_check_room(&f->latency, "the timed forward pass", &room, NULL, err));
    }

done:
    return status;
}
