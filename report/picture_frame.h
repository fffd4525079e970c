// The frame of a static SVG picture: its range of data, axes with ticks, and where a value lies in it.

#ifndef COP_REPORT_PICTURE_FRAME_H
#define COP_REPORT_PICTURE_FRAME_H

#include "base/text.h"

// Grows by what is put in.
typedef struct cop_frame {
    double x_low, x_high;
    double y_low, y_high;
} cop_frame;

#define COP_FRAME_EMPTY                          \
    {                                            \
        HUGE_VAL, -HUGE_VAL, HUGE_VAL, -HUGE_VAL \
    }

// Values that are not finite change nothing.
void cop_frame_add(cop_frame *f, double x, double y);
// Leaves room around the data: a share of the width on either side, five percent above and below.
void cop_frame_widen(cop_frame *f, double share_x);
double cop_frame_x(const cop_frame *f, double x);
double cop_frame_y(const cop_frame *f, double y);
// Opens the <svg>, which the caller closes. Titles are put in as they are.
void cop_frame_draw(cop_text *out, const cop_frame *f, const char *x_title, const char *y_title);

#endif
