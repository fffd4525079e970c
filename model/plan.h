// Memory plan of a run: bytes known by name before anything is allocated, printed as a table,
// and refused with the numbers when they do not fit.

#ifndef COP_MODEL_PLAN_H
#define COP_MODEL_PLAN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "base/text.h"

enum { COP_PLAN_LINES_MAX = 64, COP_PLAN_NAME_BYTES = 64 };

typedef struct cop_plan_line {
    char name[COP_PLAN_NAME_BYTES];
    uint64_t bytes;
    bool is_host; // in the host's memory, whatever the device
} cop_plan_line;

typedef struct cop_plan {
    cop_plan_line line[COP_PLAN_LINES_MAX];
    int count;
} cop_plan;

// What is free. Where the device's memory is the host's, all lines share the host's.
typedef struct cop_plan_room {
    uint64_t device_bytes;
    uint64_t host_bytes;
    bool is_one;
} cop_plan_room;

// Starts with the line "program and libraries": what the process holds already, plus the known
// growth of the matmul libraries.
void cop_plan_init(cop_plan *plan);
// Adds bytes to the line `name`, making it when new. Surplus lines are folded into the last. The first
// is for memory of the device, the second for memory of the host.
void cop_plan_add(cop_plan *plan, const char *name, uint64_t bytes);
void cop_plan_add_host(cop_plan *plan, const char *name, uint64_t bytes);
// Appends (rather than the maximum) all lines of `other`, except its first.
void cop_plan_add_all(cop_plan *plan, const cop_plan *other);
uint64_t cop_plan_total(const cop_plan *plan);
uint64_t cop_plan_device_total(const cop_plan *plan);
uint64_t cop_plan_host_total(const cop_plan *plan);
// What counts against the memory that trained models lie in: all lines, or those of the device.
uint64_t cop_plan_total_in(const cop_plan *plan, const cop_plan_room *room);
bool cop_plan_fits(const cop_plan *plan, const cop_plan_room *room);
// A table with one line per entry and the total.
void cop_plan_append(const cop_plan *plan, cop_text *out);
// The same as two tables, of the device and of the host, where they are two.
void cop_plan_append_room(const cop_plan *plan, const cop_plan_room *room, cop_text *out);
// COP_ERR_NOMEM "<what>: needs 12.1 GiB, 9.8 GiB are free (largest: …; allowed: …)" when the total
// exceeds `available_bytes`, naming the three largest lines and what would help.
COP_MUST_CHECK cop_status cop_plan_check(const cop_plan *plan, const char *what,
                                         uint64_t available_bytes, cop_error *err);
// The same for what is free in two places. `allowed` says what would help; NULL: as above.
COP_MUST_CHECK cop_status cop_plan_check_room(const cop_plan *plan, const char *what,
                                              const cop_plan_room *room, const char *allowed,
                                              cop_error *err);

#endif
