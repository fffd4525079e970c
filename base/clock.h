// Monotonic time, and the date for provenance.

#ifndef COP_BASE_CLOCK_H
#define COP_BASE_CLOCK_H

enum { COP_CLOCK_DATE_BYTES = 24 };

double cop_clock_seconds(void);  // monotonic, arbitrary origin
char *cop_clock_date(char *out); // "2025-01-31T12:00:00Z"; `out` has COP_CLOCK_DATE_BYTES bytes

// Sleeps; a signal ends it early.
void cop_clock_pause(double seconds);

#endif
