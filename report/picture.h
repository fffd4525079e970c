// Static SVG pictures for pages without the chart library or without JavaScript. Colours are the page's
// CSS variables.

#ifndef COP_REPORT_PICTURE_H
#define COP_REPORT_PICTURE_H

#include "report/report.h"

// Loss against the resource at the deepest stage, with intervals; nothing when no stage is finished.
void cop_picture_front(cop_text *out, const cop_report *report);
// Training loss of every probe; nothing when none was trained.
void cop_picture_curves(cop_text *out, const cop_report *report);

// Text with & < > " ' escaped.
void cop_picture_escape(cop_text *out, const char *text);

#endif
