// The teacher's weights on the device for the whole search, where they fit beside all else: what a
// candidate keeps is then cut from them. Where they do not, it is cut from the mapped checkpoint: the
// same bits, later.

#include "prune/slice.h"
#include "search/run_internal.h"

// Whether a plan still fits with the teacher's weights beside it.
static bool fits(const cop_plan *plan, const cop_checkpoint *teacher, const cop_plan_room *room)
{
    cop_plan both = *plan;
    cop_resident_plan(&both, teacher);
    return cop_plan_fits(&both, room);
}

cop_status cop_run_plan_resident(cop_run *run, cop_error *err)
{
    cop_footprint *f = &run->footprint;
    cop_plan *const plans[] = {&f->probe, &f->teacher, &f->latency};
    cop_plan alone = {0};
    cop_plan_room room = {0};
    char text[COP_TEXT_NUMBER_BYTES];
    cop_status status = COP_OK;

    run->is_resident = false;
    if (!cop_resident_supports(run->teacher)) {
        cop_run_note(run, COP_LOG_INFO,
                     "candidates are cut from the teacher's files: f64 weights are not kept on the "
                     "device");
        return COP_OK;
    }
    COP_TRY(status, cop_plan_room_of(&room, run->backend, err));
    cop_resident_plan(&alone, run->teacher);
    (void)cop_text_bytes(text, cop_plan_total(&alone));
    // The teacher's passes between two rungs find it there too.
    run->is_resident = true;
    for (size_t i = 0; i < sizeof plans / sizeof plans[0]; i++) {
        run->is_resident =
            run->is_resident && (plans[i]->count == 0 || fits(plans[i], run->teacher, &room));
    }
    if (!run->is_resident) {
        cop_run_note(run, COP_LOG_INFO,
                     "candidates are cut from the teacher's files: its weights, %s, do not fit "
                     "beside them",
                     text);
        return COP_OK;
    }
    for (size_t i = 0; i < sizeof plans / sizeof plans[0]; i++) {
        if (plans[i]->count > 0) {
            cop_resident_plan(plans[i], run->teacher);
        }
    }
    cop_run_note(run, COP_LOG_INFO,
                 "candidates are cut on the device from the teacher's weights, %s", text);

done:
    return status;
}

cop_status cop_run_open_resident(cop_run *run, cop_error *err)
{
    cop_error own = {0};

    if (!run->is_resident) {
        return COP_OK;
    }
    const cop_status status = cop_resident_create(&run->resident, run->teacher, run->backend, &own);
    if (status == COP_ERR_NOMEM) { // others may have taken the memory since it was planned
        cop_run_note(run, COP_LOG_WARNING, "candidates are cut from the teacher's files: %s",
                     own.message);
        return COP_OK;
    }
    return status == COP_OK ? COP_OK : COP_FAIL(err, status, "%s", own.message);
}

cop_status cop_run_prune(cop_run *run, cop_network *network, cop_error *err)
{
    cop_status status = COP_OK;
    cop_selection *selection = NULL;

    COP_TRY(status, cop_selection_create(&selection, cop_checkpoint_arch(run->teacher),
                                         cop_network_arch(network), run->importance,
                                         &run->study->select, err));
    if (run->resident != NULL) {
        COP_TRY(status, cop_resident_cut(run->resident, selection, network, err));
    } else {
        COP_TRY(status, cop_slice(selection, run->teacher, cop_network_sink(network), err));
    }

done:
    cop_selection_destroy(selection);
    return status;
}
