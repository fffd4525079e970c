#include "report/picture.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { WIDTH = 900, HEIGHT = 400, LEFT = 64, RIGHT = 16, TOP = 12, BOTTOM = 44, TICKS = 5 };

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

// Data range of a picture; grows by what is put in.
typedef struct frame {
    double x_low, x_high;
    double y_low, y_high;
} frame;

static void frame_add(frame *f, double x, double y)
{
    if (isfinite(x) && isfinite(y)) {
        f->x_low = fmin(f->x_low, x);
        f->x_high = fmax(f->x_high, x);
        f->y_low = fmin(f->y_low, y);
        f->y_high = fmax(f->y_high, y);
    }
}

static void frame_widen(frame *f, double share_x)
{
    const double x =
        f->x_high > f->x_low ? share_x * (f->x_high - f->x_low) : fmax(fabs(f->x_high), 1) * 0.05;
    const double y =
        f->y_high > f->y_low ? 0.05 * (f->y_high - f->y_low) : fmax(fabs(f->y_high), 1) * 0.05;
    f->x_low -= x;
    f->x_high += x;
    f->y_low -= y;
    f->y_high += y;
}

static double x_of(const frame *f, double x)
{
    return LEFT + (WIDTH - LEFT - RIGHT) * (x - f->x_low) / (f->x_high - f->x_low);
}

static double y_of(const frame *f, double y)
{
    return TOP + (HEIGHT - TOP - BOTTOM) * (f->y_high - y) / (f->y_high - f->y_low);
}

// The smallest of 1, 2, 5 times a power of ten that makes at most TICKS + 1 ticks.
static double tick_step(double low, double high)
{
    const double raw = (high - low) / TICKS;
    const double power = pow(10, floor(log10(raw)));
    const double mantissa = raw / power;
    return power * (mantissa <= 1 ? 1 : mantissa <= 2 ? 2 : mantissa <= 5 ? 5 : 10);
}

static void draw_axes(cop_text *out, const frame *f, const char *x_title, const char *y_title)
{
    char number[COP_TEXT_NUMBER_BYTES];
    const double x_step = tick_step(f->x_low, f->x_high);
    const double y_step = tick_step(f->y_low, f->y_high);
    cop_text_appendf(out,
                     "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"%s against %s\" "
                     "font-size=\"12\"><g stroke=\"var(--grid)\">",
                     WIDTH, HEIGHT, y_title, x_title);
    for (int i = 0; i <= 2 * TICKS; i++) {
        const double y = (ceil(f->y_low / y_step) + i) * y_step;
        if (y <= f->y_high) {
            cop_text_appendf(out, "<path d=\"M%d %.1fH%d\"/>", LEFT, y_of(f, y), WIDTH - RIGHT);
        }
    }
    cop_text_append(out, "</g><g fill=\"var(--soft)\">");
    for (int i = 0; i <= 2 * TICKS; i++) {
        const double x = (ceil(f->x_low / x_step) + i) * x_step;
        const double y = (ceil(f->y_low / y_step) + i) * y_step;
        if (x <= f->x_high) {
            cop_text_appendf(out, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%s</text>",
                             x_of(f, x), HEIGHT - BOTTOM + 18, cop_text_count(number, x));
        }
        if (y <= f->y_high) {
            cop_text_appendf(out, "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%.4g</text>",
                             LEFT - 8, y_of(f, y) + 4, fabs(y) < y_step / 2 ? 0.0 : y);
        }
    }
    cop_text_appendf(out, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">%s</text>",
                     (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, x_title);
    cop_text_appendf(out,
                     "<text transform=\"rotate(-90 14 %d)\" x=\"14\" y=\"%d\" "
                     "text-anchor=\"middle\">%s</text></g>",
                     (HEIGHT - BOTTOM) / 2, (HEIGHT - BOTTOM) / 2, y_title);
}

static void draw_point(cop_text *out, const frame *f, const cop_report *report,
                       const cop_ranked *entry)
{
    const double x = x_of(f, cop_report_resource(report, entry->index));
    const char *colour = entry->on_front ? "var(--accent)" : "var(--dim)";
    const bool is_pick = report->has_pick && report->pick.index == entry->index;
    cop_text_appendf(out, "<g fill=\"%s\" stroke=\"%s\"><title>", colour, colour);
    cop_picture_escape(out, report->snapshot->candidate[entry->index].candidate.id);
    cop_text_appendf(out, ": %.4f [%.4f, %.4f]</title>", entry->loss.value, entry->loss.low,
                     entry->loss.high);
    if (isfinite(entry->loss.low) && isfinite(entry->loss.high)) {
        cop_text_appendf(out, "<path d=\"M%.1f %.1fV%.1fm-4 0h8M%.1f %.1fh8\"/>", x,
                         y_of(f, entry->loss.low), y_of(f, entry->loss.high), x - 4,
                         y_of(f, entry->loss.low));
    }
    cop_text_appendf(out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"%s\"/></g>", x,
                     y_of(f, entry->loss.value), entry->on_front ? "5" : "3.5");
    if (is_pick) {
        cop_text_appendf(out,
                         "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"10\" fill=\"none\" "
                         "stroke=\"var(--pick)\" stroke-width=\"3\"/>",
                         x, y_of(f, entry->loss.value));
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
    frame f = {(double)INFINITY, -(double)INFINITY, (double)INFINITY, -(double)INFINITY};
    if (report->deepest < 0) {
        return;
    }
    const cop_ranking *ranking = &report->stage[report->deepest].ranking;
    for (int64_t i = 0; i < ranking->count; i++) {
        const cop_ranked *entry = &ranking->entry[i];
        const double x = cop_report_resource(report, entry->index);
        frame_add(&f, x, entry->loss.value);
        frame_add(&f, x, entry->loss.low);
        frame_add(&f, x, entry->loss.high);
    }
    if (!(f.x_high >= f.x_low)) {
        return; // nothing finite
    }
    frame_widen(&f, 0.05);
    draw_axes(out, &f, resource_title(report),
              report->has_teacher ? "KL to the teacher, nats per token"
                                  : "cross-entropy, nats per token");
    cop_text_append(out, "<path fill=\"none\" stroke=\"var(--accent)\" d=\"");
    for (int64_t i = 0; i < report->front_count; i++) { // steps down from the smallest
        const int64_t index = report->front[i];
        const cop_ranked *entry = cop_report_entry(report, index, report->deepest);
        const double x = x_of(&f, cop_report_resource(report, index));
        cop_text_appendf(out, i == 0 ? "M%.1f %.1f" : "H%.1fV%.1f", x, y_of(&f, entry->loss.value));
    }
    cop_text_append(out, "\"/>");
    for (int64_t i = ranking->count - 1; i >= 0; i--) { // the best on top
        if (isfinite(ranking->entry[i].loss.value)) {
            draw_point(out, &f, report, &ranking->entry[i]);
        }
    }
    cop_text_append(out, "</svg>");
}

static void draw_curve(cop_text *out, const frame *f, const cop_report *report, int64_t index)
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
            cop_text_appendf(out, "%s%.1f %.1f", command, x_of(f, (double)c->curve[i].tokens),
                             y_of(f, c->curve[i].loss));
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
    frame f = {(double)INFINITY, -(double)INFINITY, (double)INFINITY, -(double)INFINITY};
    for (int64_t i = 0; i < snapshot->count; i++) {
        for (int64_t k = 0; k < snapshot->candidate[i].curve_points; k++) {
            const cop_curve_point *point = &snapshot->candidate[i].curve[k];
            frame_add(&f, (double)point->tokens, point->loss);
        }
    }
    if (!(f.x_high >= f.x_low)) {
        return;
    }
    f.x_low = fmin(f.x_low, 0);
    frame_widen(&f, 0);
    draw_axes(out, &f, "tokens trained", "training loss");
    cop_text_append(out, "<g fill=\"none\" stroke-linejoin=\"round\">");
    for (int64_t i = 0; i < snapshot->count; i++) {
        draw_curve(out, &f, report, i);
    }
    cop_text_append(out, "</g></svg>");
}
