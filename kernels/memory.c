// Named allocations of device memory: what lives, under which name, and how much at most.

#include "kernels/memory.h"

#include <stdio.h>

#include "base/alloc.h"
#include "base/text.h"

enum { NAME_BYTES = 64 };

struct cop_allocation {
    void *memory;
    uint64_t bytes;
    char name[NAME_BYTES];
    struct cop_allocation *next;
};

cop_status cop_backend_alloc(cop_backend *backend, void **out, uint64_t bytes, const char *name,
                             cop_error *err)
{
    void *memory = NULL;
    *out = NULL;
    const cop_status status = backend->type->memory_alloc(backend, &memory, bytes, err);
    if (status != COP_OK) {
        return status;
    }
    struct cop_allocation *entry = cop_alloc(1, sizeof *entry);
    if (entry == NULL) {
        backend->type->memory_free(backend, memory);
        return COP_FAIL(err, COP_ERR_NOMEM, "%s: no memory to note an allocation", name);
    }
    *out = memory;
    entry->memory = memory;
    entry->bytes = bytes;
    (void)snprintf(entry->name, sizeof entry->name, "%s", name);
    entry->next = backend->allocations;
    backend->allocations = entry;
    backend->memory_used_bytes += bytes;
    if (backend->memory_used_bytes > backend->memory_peak_bytes) {
        backend->memory_peak_bytes = backend->memory_used_bytes;
    }
    return COP_OK;
}

void cop_backend_free(cop_backend *backend, void *memory)
{
    if (memory == NULL) {
        return;
    }
    struct cop_allocation **at = &backend->allocations;
    while (*at != NULL && (*at)->memory != memory) {
        at = &(*at)->next;
    }
    if (*at != NULL) {
        struct cop_allocation *entry = *at;
        backend->memory_used_bytes -= entry->bytes;
        *at = entry->next;
        cop_free(entry);
    }
    backend->type->memory_free(backend, memory);
}

void cop_backend_forget_memory(cop_backend *backend)
{
    while (backend->allocations != NULL) {
        struct cop_allocation *entry = backend->allocations;
        backend->allocations = entry->next;
        cop_free(entry);
    }
}

// The largest entry below (bytes, address) in the order of the report, or NULL.
static const struct cop_allocation *next_largest(const cop_backend *backend,
                                                 const struct cop_allocation *after)
{
    const struct cop_allocation *best = NULL;
    for (const struct cop_allocation *at = backend->allocations; at != NULL; at = at->next) {
        const bool is_below = after == NULL || at->bytes < after->bytes ||
                              (at->bytes == after->bytes && at->memory < after->memory);
        const bool is_above = best == NULL || at->bytes > best->bytes ||
                              (at->bytes == best->bytes && at->memory > best->memory);
        best = is_below && is_above ? at : best;
    }
    return best;
}

void cop_backend_memory_report(const cop_backend *backend, cop_text *out)
{
    char number[COP_TEXT_NUMBER_BYTES];
    const struct cop_allocation *at = NULL;
    while ((at = next_largest(backend, at)) != NULL) {
        cop_text_appendf(out, "  %-40s %12s\n", at->name, cop_text_bytes(number, at->bytes));
    }
    cop_text_appendf(out, "  %-40s %12s\n", "in use",
                     cop_text_bytes(number, backend->memory_used_bytes));
    cop_text_appendf(out, "  %-40s %12s\n", "most at once",
                     cop_text_bytes(number, backend->memory_peak_bytes));
}
