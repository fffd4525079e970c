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
    cop_plan_add(plan, "program and libraries",
                 cop_system_resident_bytes() + libraries_bytes +
                     threads * libraries_bytes_per_thread);
}

void cop_plan_add(cop_plan *plan, const char *name, uint64_t bytes)
{
    int i = 0;
    while (i < plan->count && strncmp(plan->line[i].name, name, COP_PLAN_NAME_BYTES - 1) != 0) {
        i++;
    }
    if (i == COP_PLAN_LINES_MAX) {
        i = COP_PLAN_LINES_MAX - 1;
        (void)snprintf(plan->line[i].name, COP_PLAN_NAME_BYTES, "everything else");
    } else if (i == plan->count) {
        (void)snprintf(plan->line[i].name, COP_PLAN_NAME_BYTES, "%s", name);
        plan->count++;
    }
    plan->line[i].bytes = saturated_sum(plan->line[i].bytes, bytes);
}

void cop_plan_add_all(cop_plan *plan, const cop_plan *other)
{
    for (int i = 1; i < other->count; i++) {
        cop_plan_add(plan, other->line[i].name, other->line[i].bytes);
    }
}

uint64_t cop_plan_total(const cop_plan *plan)
{
    uint64_t total = 0;
    for (int i = 0; i < plan->count; i++) {
        total = saturated_sum(total, plan->line[i].bytes);
    }
    return total;
}

void cop_plan_append(const cop_plan *plan, cop_text *out)
{
    char number[COP_TEXT_NUMBER_BYTES];
    int width = (int)strlen("total");

    for (int i = 0; i < plan->count; i++) {
        const int length = (int)strlen(plan->line[i].name);
        width = length > width ? length : width;
    }
    for (int i = 0; i < plan->count; i++) {
        cop_text_appendf(out, "  %-*s %12s\n", width, plan->line[i].name,
                         cop_text_bytes(number, plan->line[i].bytes));
    }
    cop_text_appendf(out, "  %-*s %12s\n", width, "total",
                     cop_text_bytes(number, cop_plan_total(plan)));
}

// Appends the three largest lines, largest first.
static void append_largest(const cop_plan *plan, cop_text *out)
{
    bool is_taken[COP_PLAN_LINES_MAX] = {false};

    for (int n = 0; n < 3 && n < plan->count; n++) {
        char number[COP_TEXT_NUMBER_BYTES];
        int best = -1;
        for (int i = 0; i < plan->count; i++) {
            if (!is_taken[i] && (best < 0 || plan->line[i].bytes > plan->line[best].bytes)) {
                best = i;
            }
        }
        is_taken[best] = true;
        cop_text_appendf(out, "%s%s %s", n > 0 ? ", " : "", plan->line[best].name,
                         cop_text_bytes(number, plan->line[best].bytes));
    }
}

cop_status cop_plan_check(const cop_plan *plan, const char *what, uint64_t available_bytes,
                          cop_error *err)
{
    const uint64_t total = cop_plan_total(plan);
    char needed[COP_TEXT_NUMBER_BYTES];
    char available[COP_TEXT_NUMBER_BYTES];
    cop_text largest = {0};

    if (total <= available_bytes) {
        return COP_OK;
    }
    append_largest(plan, &largest);
    const cop_status status = COP_FAIL(
        err, COP_ERR_NOMEM,
        "%s: needs %s, %s are free (largest: %s; allowed: a smaller batch or sequence, more "
        "recomputation, or a smaller model)",
        what, cop_text_bytes(needed, total), cop_text_bytes(available, available_bytes),
        cop_text_view(&largest));
    cop_text_release(&largest);
    return status;
}
