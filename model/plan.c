#include "model/plan.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/system.h"

// What OpenBLAS, oneDNN, OpenMP and the C library come to hold beyond our own allocations once work
// begins: generated kernels; packing buffers and stacks of each thread. Measured with training runs.
static const uint64_t libraries_bytes = 6u << 20;
static const uint64_t libraries_bytes_per_thread = 4u << 20;

static uint64_t saturated_sum(uint64_t a, uint64_t b)
{
    return b > UINT64_MAX - a ? UINT64_MAX : a + b;
}

void cop_plan_init(cop_plan *plan)
{
    memset(plan, 0, sizeof *plan);
    const uint64_t threads = (uint64_t)cop_system_threads();
    cop_plan_add_host(plan, "program and libraries",
                      cop_system_resident_bytes() + libraries_bytes +
                          threads * libraries_bytes_per_thread);
}

static void add(cop_plan *plan, const char *name, bool is_host, uint64_t bytes)
{
    int i = 0;
    while (i < plan->count && (plan->line[i].is_host != is_host ||
                               strncmp(plan->line[i].name, name, COP_PLAN_NAME_BYTES - 1) != 0)) {
        i++;
    }
    if (i == COP_PLAN_LINES_MAX) {
        i = COP_PLAN_LINES_MAX - 1;
        (void)snprintf(plan->line[i].name, COP_PLAN_NAME_BYTES, "everything else");
    } else if (i == plan->count) {
        (void)snprintf(plan->line[i].name, COP_PLAN_NAME_BYTES, "%s", name);
        plan->line[i].is_host = is_host;
        plan->count++;
    }
    plan->line[i].bytes = saturated_sum(plan->line[i].bytes, bytes);
}

void cop_plan_add(cop_plan *plan, const char *name, uint64_t bytes)
{
    add(plan, name, false, bytes);
}

void cop_plan_add_host(cop_plan *plan, const char *name, uint64_t bytes)
{
    add(plan, name, true, bytes);
}

void cop_plan_add_all(cop_plan *plan, const cop_plan *other)
{
    for (int i = 1; i < other->count; i++) {
        add(plan, other->line[i].name, other->line[i].is_host, other->line[i].bytes);
    }
}

// Lines of one place, or of both.
typedef enum place { PLACE_DEVICE = 0, PLACE_HOST, PLACE_ANY } place;

static bool is_in(const cop_plan_line *line, place where)
{
    return where == PLACE_ANY || line->is_host == (where == PLACE_HOST);
}

static uint64_t total_in(const cop_plan *plan, place where)
{
    uint64_t total = 0;
    for (int i = 0; i < plan->count; i++) {
        total = saturated_sum(total, is_in(&plan->line[i], where) ? plan->line[i].bytes : 0);
    }
    return total;
}

uint64_t cop_plan_total(const cop_plan *plan)
{
    return total_in(plan, PLACE_ANY);
}

uint64_t cop_plan_device_total(const cop_plan *plan)
{
    return total_in(plan, PLACE_DEVICE);
}

uint64_t cop_plan_host_total(const cop_plan *plan)
{
    return total_in(plan, PLACE_HOST);
}

uint64_t cop_plan_total_in(const cop_plan *plan, const cop_plan_room *room)
{
    return total_in(plan, room->is_one ? PLACE_ANY : PLACE_DEVICE);
}

bool cop_plan_fits(const cop_plan *plan, const cop_plan_room *room)
{
    if (room->is_one) {
        return cop_plan_total(plan) <= room->host_bytes;
    }
    return cop_plan_device_total(plan) <= room->device_bytes &&
           cop_plan_host_total(plan) <= room->host_bytes;
}

static void append_lines(const cop_plan *plan, place where, const char *total, cop_text *out)
{
    char number[COP_TEXT_NUMBER_BYTES];
    int width = (int)strlen(total);

    for (int i = 0; i < plan->count; i++) {
        const int length = is_in(&plan->line[i], where) ? (int)strlen(plan->line[i].name) : 0;
        width = length > width ? length : width;
    }
    for (int i = 0; i < plan->count; i++) {
        if (is_in(&plan->line[i], where)) {
            cop_text_appendf(out, "  %-*s %12s\n", width, plan->line[i].name,
                             cop_text_bytes(number, plan->line[i].bytes));
        }
    }
    cop_text_appendf(out, "  %-*s %12s\n", width, total,
                     cop_text_bytes(number, total_in(plan, where)));
}

void cop_plan_append(const cop_plan *plan, cop_text *out)
{
    append_lines(plan, PLACE_ANY, "total", out);
}

void cop_plan_append_room(const cop_plan *plan, const cop_plan_room *room, cop_text *out)
{
    if (room->is_one) {
        cop_plan_append(plan, out);
        return;
    }
    append_lines(plan, PLACE_DEVICE, "total on the device", out);
    append_lines(plan, PLACE_HOST, "total of the host", out);
}

// Appends the three largest lines, largest first.
static void append_largest(const cop_plan *plan, place where, cop_text *out)
{
    bool is_taken[COP_PLAN_LINES_MAX] = {false};

    for (int n = 0; n < 3; n++) {
        char number[COP_TEXT_NUMBER_BYTES];
        int best = -1;
        for (int i = 0; i < plan->count; i++) {
            if (!is_taken[i] && is_in(&plan->line[i], where) &&
                (best < 0 || plan->line[i].bytes > plan->line[best].bytes)) {
                best = i;
            }
        }
        if (best < 0) {
            return;
        }
        is_taken[best] = true;
        cop_text_appendf(out, "%s%s %s", n > 0 ? ", " : "", plan->line[best].name,
                         cop_text_bytes(number, plan->line[best].bytes));
    }
}

static cop_status check_place(const cop_plan *plan, const char *what, place where,
                              uint64_t available_bytes, const char *allowed, cop_error *err)
{
    static const char *const where_text[] = {" on the device", " of the host's memory", ""};
    const uint64_t total = total_in(plan, where);
    char needed[COP_TEXT_NUMBER_BYTES];
    char available[COP_TEXT_NUMBER_BYTES];
    cop_text largest = {0};

    if (total <= available_bytes) {
        return COP_OK;
    }
    append_largest(plan, where, &largest);
    const cop_status status =
        COP_FAIL(err, COP_ERR_NOMEM, "%s: needs %s%s, %s are free (largest: %s; allowed: %s)", what,
                 cop_text_bytes(needed, total), where_text[where],
                 cop_text_bytes(available, available_bytes), cop_text_view(&largest),
                 allowed != NULL ? allowed
                                 : "a smaller batch or sequence, more recomputation, or a smaller "
                                   "model");
    cop_text_release(&largest);
    return status;
}

cop_status cop_plan_check(const cop_plan *plan, const char *what, uint64_t available_bytes,
                          cop_error *err)
{
    return check_place(plan, what, PLACE_ANY, available_bytes, NULL, err);
}

cop_status cop_plan_check_room(const cop_plan *plan, const char *what, const cop_plan_room *room,
                               const char *allowed, cop_error *err)
{
    if (room->is_one) {
        return check_place(plan, what, PLACE_ANY, room->host_bytes, allowed, err);
    }
    const cop_status status =
        check_place(plan, what, PLACE_DEVICE, room->device_bytes, allowed, err);
    return status == COP_OK ? check_place(plan, what, PLACE_HOST, room->host_bytes, allowed, err)
                            : status;
}
