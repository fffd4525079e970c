#include "report/picture.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "report/picture_frame.h"

void cop_picture_escape(cop_text *out, const char *text)
{
    for (const char *c = text; *c != '\0'; c++) {
        switch (*c) {
        case '&': cop_text_append(out, "&amp;"); break;
        case '<': cop_text_append(out, "&lt;"); break;
        case '>': cop_text_append(out, "&gt;"); break;
        case '"': cop_text_append(out, "&quot;"); break;
        case '\'': cop_text_append(out, "&#39;"); break;
        default: cop_text_append_bytes(out, c, 1); break;
        }
    }
}

static void draw_point(cop_text *out, const cop_frame *f, const cop_report *report,
                       const cop_ranked *entry)
{
    const double x = cop_frame_x(f, cop_report_resource(report, entry->index));
    const char *colour = entry->on_front ? "var(--accent)" : "var(--dim)";
    const bool is_pick = report->has_pick && report->pick.index == entry->index;
    cop_text_appendf(out, "<g fill=\"%s\" stroke=\"%s\"><title>", colour, colour);
    cop_picture_escape(out, report->snapshot->candidate[entry->index].candidate.id);
    cop_text_appendf(out, ": %.4f [%.4f, %.4f]</title>", entry->loss.value, entry->loss.low,
                     entry->loss.high);
    if (isfinite(entry->loss.low) && isfinite(entry->loss.high)) {
        cop_text_appendf(out, "<path d=\"M%.1f %.1fV%.1fm-4 0h8M%.1f %.1fh8\"/>", x,
                         cop_frame_y(f, entry->loss.low), cop_frame_y(f, entry->loss.high), x - 4,
                         cop_frame_y(f, entry->loss.low));
    }
    cop_text_appendf(out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"%s\"/></g>", x,
                     cop_frame_y(f, entry->loss.value), entry->on_front ? "5" : "3.5");
    if (is_pick) {
        cop_text_appendf(out,
                         "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"10\" fill=\"none\" "
                         "stroke=\"var(--pick)\" stroke-width=\"3\"/>",
                         x, cop_frame_y(f, entry->loss.value));
    }
}

static const char *resource_title(const cop_report *report)
{
    switch (report->resource) {
    case COP_OBJECTIVE_MEMORY: return "memory, bytes";
    case COP_OBJECTIVE_FLOPS: return "FLOPs per token";
    case COP_OBJECTIVE_LOSS:
    case COP_OBJECTIVE_PARAMS:
    default: return "parameters";
    }
}

void cop_picture_front(cop_text *out, const cop_report *report)
{
    cop_frame f = COP_FRAME_EMPTY;
    if (report->deepest < 0) {
        return;
    }
    const cop_ranking *ranking = &report->stage[report->deepest].ranking;
    for (int64_t i = 0; i < ranking->count; i++) {
        const cop_ranked *entry = &ranking->entry[i];
        const double x = cop_report_resource(report, entry->index);
        cop_frame_add(&f, x, entry->loss.value);
        cop_frame_add(&f, x, entry->loss.low);
        cop_frame_add(&f, x, entry->loss.high);
    }
    if (!(f.x_high >= f.x_low)) {
        return; // nothing finite
    }
    cop_frame_widen(&f, 0.05);
    cop_frame_draw(out, &f, resource_title(report),
                   report->has_teacher ? "KL to the teacher, nats per token"
                                       : "cross-entropy, nats per token");
    cop_text_append(out, "<path fill=\"none\" stroke=\"var(--accent)\" d=\"");
    for (int64_t i = 0; i < report->front_count; i++) { // steps down from the smallest
        const int64_t index = report->front[i];
        const cop_ranked *entry = cop_report_entry(report, index, report->deepest);
        const double x = cop_frame_x(&f, cop_report_resource(report, index));
        cop_text_appendf(out, i == 0 ? "M%.1f %.1f" : "H%.1fV%.1f", x,
                         cop_frame_y(&f, entry->loss.value));
    }
    cop_text_append(out, "\"/>");
    for (int64_t i = ranking->count - 1; i >= 0; i--) { // the best on top
        if (isfinite(ranking->entry[i].loss.value)) {
            draw_point(out, &f, report, &ranking->entry[i]);
        }
    }
    cop_text_append(out, "</svg>");
}

static void draw_curve(cop_text *out, const cop_frame *f, const cop_report *report, int64_t index)
{
    const cop_snapshot_candidate *c = &report->snapshot->candidate[index];
    const bool is_pick = report->has_pick && report->pick.index == index;
    const bool is_front = cop_report_is_on_front(report, index);
    const bool is_out = c->state == COP_STATE_ELIMINATED || c->state == COP_STATE_FAILED;
    const char *command = "M";
    cop_text_appendf(out,
                     "<path stroke=\"var(--%s)\" stroke-width=\"%s\" stroke-opacity=\"%s\" d=\"",
                     is_pick    ? "pick"
                     : is_front ? "accent"
                                : "dim",
                     is_pick ? "2.5" : "1.4", is_out ? "0.5" : "1");
    for (int64_t i = 0; i < c->curve_points; i++) {
        if (isfinite(c->curve[i].loss)) {
            cop_text_appendf(out, "%s%.1f %.1f", command,
                             cop_frame_x(f, (double)c->curve[i].tokens),
                             cop_frame_y(f, c->curve[i].loss));
            command = "L";
        }
    }
    cop_text_append(out, "\"><title>");
    cop_picture_escape(out, c->candidate.id);
    cop_text_append(out, "</title></path>");
}

void cop_picture_curves(cop_text *out, const cop_report *report)
{
    const cop_snapshot *snapshot = report->snapshot;
    cop_frame f = COP_FRAME_EMPTY;
    for (int64_t i = 0; i < snapshot->count; i++) {
        for (int64_t k = 0; k < snapshot->candidate[i].curve_points; k++) {
            const cop_curve_point *point = &snapshot->candidate[i].curve[k];
            cop_frame_add(&f, (double)point->tokens, point->loss);
        }
    }
    if (!(f.x_high >= f.x_low)) {
        return;
    }
    f.x_low = fmin(f.x_low, 0);
    cop_frame_widen(&f, 0);
    cop_frame_draw(out, &f, "tokens trained", "training loss");
    cop_text_append(out, "<g fill=\"none\" stroke-linejoin=\"round\">");
    for (int64_t i = 0; i < snapshot->count; i++) {
        draw_curve(out, &f, report, i);
    }
    cop_text_append(out, "</g></svg>");
}
