// Static SVG pictures of a study with an evaluator. Colours are the page's CSS variables.

#include <math.h>
#include <stdlib.h>

#include "report/picture.h"
#include "report/picture_frame.h"
#include "report/trial_report.h"

enum { POINTS_MAX = 3000 };

// --- Objectives -----------------------------------------------------------------------------------

// Where a result lies: two objectives, or the only one at its place in the order of the search.
static void place_of(double *x, double *y, const cop_trial_report *report,
                     const cop_trial_rank *entry)
{
    const bool is_course = report->space->objectives == 1;
    *x = is_course ? (double)report->trials.entry[entry->index].number : entry->objective[0];
    *y = entry->objective[is_course ? 0 : 1];
}

static void draw_point(cop_text *out, const cop_frame *f, const cop_trial_report *report,
                       const cop_trial_rank *entry)
{
    const bool is_front = report->place[entry->index].is_on_front;
    const bool is_pick = report->has_pick && report->pick.index == entry->index;
    double x = 0;
    double y = 0;
    place_of(&x, &y, report, entry);
    if (!isfinite(x) || !isfinite(y)) {
        return;
    }
    cop_text_appendf(out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"%s\" ", cop_frame_x(f, x),
                     cop_frame_y(f, y), is_front ? "4" : "2.5");
    cop_text_append(out, entry->violation > 0 ? "fill=\"none\" stroke=\"var(--bad)\""
                         : is_front           ? "fill=\"var(--accent)\""
                                              : "fill=\"var(--dim)\"");
    cop_text_append(out, "><title>");
    cop_picture_escape(out, report->trials.entry[entry->index].id);
    for (int k = 0; k < report->space->objectives; k++) {
        cop_text_appendf(out, "\n%s %.6g", report->space->objective[k], entry->objective[k]);
    }
    cop_text_appendf(out, "%s</title></circle>", entry->violation > 0 ? "\nbreaks a bound" : "");
    if (is_pick) {
        cop_text_appendf(out,
                         "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"9\" fill=\"none\" "
                         "stroke=\"var(--pick)\" stroke-width=\"3\"/>",
                         cop_frame_x(f, x), cop_frame_y(f, y));
    }
}

// Two objectives: what the front dominates begins at these steps.
static void draw_steps(cop_text *out, const cop_frame *f, const cop_trial_report *report)
{
    const cop_trial_stage *stage = &report->stage[report->deepest];
    if (report->space->objectives != 2 || report->front_count == 0) {
        return;
    }
    cop_text_append(out,
                    "<path fill=\"none\" stroke=\"var(--accent)\" stroke-opacity=\"0.6\" d=\"");
    for (int64_t i = 0; i < report->front_count && i < POINTS_MAX; i++) {
        const double *value = stage->ranking[i].objective;
        cop_text_appendf(out, i == 0 ? "M%.1f %.1f" : "H%.1fV%.1f", cop_frame_x(f, value[0]),
                         cop_frame_y(f, value[1]));
    }
    cop_text_append(out, "\"/>");
}

void cop_trial_picture_front(cop_text *out, const cop_trial_report *report)
{
    cop_frame f = COP_FRAME_EMPTY;
    if (report->deepest < 0) {
        return;
    }
    const cop_trial_stage *stage = &report->stage[report->deepest];
    const int64_t count = stage->count < POINTS_MAX ? stage->count : POINTS_MAX;
    for (int64_t i = 0; i < count; i++) {
        double x = 0;
        double y = 0;
        place_of(&x, &y, report, &stage->ranking[i]);
        cop_frame_add(&f, x, y);
    }
    if (!(f.x_high >= f.x_low)) {
        return; // nothing finite
    }
    cop_frame_widen(&f, 0.03);
    if (report->space->objectives == 1) {
        cop_frame_draw(out, &f, "candidate, in the order proposed", report->space->objective[0]);
    } else {
        cop_frame_draw(out, &f, report->space->objective[0], report->space->objective[1]);
    }
    draw_steps(out, &f, report);
    for (int64_t i = count - 1; i >= 0; i--) { // the best on top
        draw_point(out, &f, report, &stage->ranking[i]);
    }
    cop_text_append(out, "</svg>");
}

// --- Hypervolume ----------------------------------------------------------------------------------

void cop_trial_picture_history(cop_text *out, const cop_trial_report *report)
{
    const cop_report_volume *v = &report->history;
    const char *command = "M";
    cop_frame f = COP_FRAME_EMPTY;
    for (int i = 0; i < v->points; i++) {
        cop_frame_add(&f, (double)v->evaluations[i], v->history[i]);
    }
    if (v->points < 2 || !(f.x_high > f.x_low)) {
        return;
    }
    f.x_low = 0;
    cop_frame_widen(&f, 0.01);
    cop_frame_draw(out, &f, "evaluations", "hypervolume");
    cop_text_append(out, "<path fill=\"none\" stroke=\"var(--accent)\" stroke-width=\"2\" d=\"");
    for (int i = 0; i < v->points; i++) {
        if (isfinite(v->history[i])) {
            cop_text_appendf(out, "%s%.1f %.1f", command,
                             cop_frame_x(&f, (double)v->evaluations[i]),
                             cop_frame_y(&f, v->history[i]));
            command = "L";
        }
    }
    cop_text_append(out, "\"/></svg>");
}
