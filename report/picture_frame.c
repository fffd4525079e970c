#include "report/picture_frame.h"

#include <math.h>
#include <stdio.h>

enum { WIDTH = 900, HEIGHT = 400, LEFT = 64, RIGHT = 16, TOP = 12, BOTTOM = 44, TICKS = 5 };

void cop_frame_add(cop_frame *f, double x, double y)
{
    if (isfinite(x) && isfinite(y)) {
        f->x_low = fmin(f->x_low, x);
        f->x_high = fmax(f->x_high, x);
        f->y_low = fmin(f->y_low, y);
        f->y_high = fmax(f->y_high, y);
    }
}

void cop_frame_widen(cop_frame *f, double share_x)
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

double cop_frame_x(const cop_frame *f, double x)
{
    return LEFT + (WIDTH - LEFT - RIGHT) * (x - f->x_low) / (f->x_high - f->x_low);
}

double cop_frame_y(const cop_frame *f, double y)
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

// "250k" for sizes, "0.25" for shares.
static const char *tick_text(char out[COP_TEXT_NUMBER_BYTES], double value, double step)
{
    if (fabs(value) < step / 2) {
        value = 0;
    }
    if (fabs(value) >= 1000 || value == floor(value)) {
        return cop_text_count(out, value);
    }
    (void)snprintf(out, COP_TEXT_NUMBER_BYTES, "%.4g", value);
    return out;
}

void cop_frame_draw(cop_text *out, const cop_frame *f, const char *x_title, const char *y_title)
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
            cop_text_appendf(out, "<path d=\"M%d %.1fH%d\"/>", LEFT, cop_frame_y(f, y),
                             WIDTH - RIGHT);
        }
    }
    cop_text_append(out, "</g><g fill=\"var(--soft)\">");
    for (int i = 0; i <= 2 * TICKS; i++) {
        const double x = (ceil(f->x_low / x_step) + i) * x_step;
        const double y = (ceil(f->y_low / y_step) + i) * y_step;
        if (x <= f->x_high) {
            cop_text_appendf(out, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%s</text>",
                             cop_frame_x(f, x), HEIGHT - BOTTOM + 18, tick_text(number, x, x_step));
        }
        if (y <= f->y_high) {
            cop_text_appendf(out, "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%.4g</text>",
                             LEFT - 8, cop_frame_y(f, y) + 4, fabs(y) < y_step / 2 ? 0.0 : y);
        }
    }
    cop_text_appendf(out, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">%s</text>",
                     (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, x_title);
    cop_text_appendf(out,
                     "<text transform=\"rotate(-90 14 %d)\" x=\"14\" y=\"%d\" "
                     "text-anchor=\"middle\">%s</text></g>",
                     (HEIGHT - BOTTOM) / 2, (HEIGHT - BOTTOM) / 2, y_title);
}
