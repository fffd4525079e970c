// Files that are part of the program: made at build time from report/page/ by report/embed.cmake.

#ifndef COP_REPORT_EMBEDDED_H
#define COP_REPORT_EMBEDDED_H

#include <stddef.h>

typedef struct cop_embedded {
    const unsigned char *data;
    size_t bytes;
} cop_embedded;

extern const cop_embedded cop_embedded_page;   // page.html, with markers such as @DATA@
extern const cop_embedded cop_embedded_style;  // page.css
extern const cop_embedded cop_embedded_script; // page.js
extern const cop_embedded cop_embedded_chart;  // Chart.js with its licence; 0 bytes without it

#endif
