#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/host_shim/cuda_host.h"
#include "tests/host_shim/cuda_host_internal.h"
#include "tests/host_shim/sanitizer.h"

static void print_place(const cop_thread *at)
{
    (void)fprintf(stderr, "cop_cuda_host: kernel %s, block (%u,%u,%u)", cop_cuda_host_now.kernel,
                  blockIdx.x, blockIdx.y, blockIdx.z);
    if (at != NULL) {
        (void)fprintf(stderr, ", thread (%u,%u,%u)", at->index.x, at->index.y, at->index.z);
    }
}

void cop_cuda_host_fail(const cop_thread *at, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    print_place(at);
    (void)fprintf(stderr, ": ");
    (void)vfprintf(stderr, format, args);
    (void)fprintf(stderr, "\n");
    va_end(args);
    abort();
}

// Sanitizers know the source line of a bad access; only the shim knows which thread it was.
static void explain_report(void)
{
    if (cop_cuda_host_now.kernel != NULL && cop_cuda_host_now.running != NULL) {
        print_place(cop_cuda_host_now.running);
        (void)fprintf(stderr, ": stopped by a sanitizer\n");
    }
}

// NOLINTBEGIN(readability-identifier-naming): UBSan calls this, by this name, before each of its reports. (It does not share the death callback
// of AddressSanitizer when gcc links both.) Without UBSan nobody calls it.
extern "C" __attribute__((visibility("default"))) void __ubsan_on_report(void);

void __ubsan_on_report(void)
{
    explain_report();
}

// NOLINTEND(readability-identifier-naming)

const char *cop_cuda_host_describe(char *text, size_t text_bytes, const cop_thread *other)
{
    if (other->state == COP_THREAD_DONE) {
        (void)snprintf(text, text_bytes, "thread (%u,%u,%u) has returned", other->index.x,
                       other->index.y, other->index.z);
    } else {
        (void)snprintf(text, text_bytes, "thread (%u,%u,%u) waits in %s at %s:%d", other->index.x,
                       other->index.y, other->index.z, other->operation, other->file, other->line);
    }
    return text;
}

void cop_cuda_host_explain_reports(void)
{
#if COP_HAS_ASAN
    __sanitizer_set_death_callback(explain_report);
#endif
}
