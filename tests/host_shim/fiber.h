// Fibers: functions with a stack of their own that hand control back in the middle.
//
// The shim runs each CUDA thread as one fiber. A fiber gives control back when its thread waits
// (cop_fiber_yield) or when its entry returns; it may then be started again on the same stack.
// All fibers run on the operating system thread that resumes them: nothing here is parallel.
//
// Stacks are mapped with an inaccessible page below, so that an overflow faults instead of
// writing into a neighbour. AddressSanitizer is told of every switch. On x86-64 a switch is a
// dozen instructions; elsewhere, or with -DCOP_FIBER_UCONTEXT, it is swapcontext(), about ten
// times slower because of its two system calls.
//
// Fibers do not save the floating-point control words: code that changes the rounding mode must
// restore it before it yields.

#ifndef COP_TESTS_HOST_SHIM_FIBER_H
#define COP_TESTS_HOST_SHIM_FIBER_H

#include <stddef.h>

enum { COP_FIBER_STACK_BYTES = 256 * 1024 }; // address space; pages are used as they are touched

typedef struct cop_fiber {
    void (*entry)(void *context); // what the next start runs
    void *context;                // borrowed
    unsigned char *mapping;       // owned: guard page, then the stack; NULL until init
    unsigned char *stack;         // lowest usable byte
    void *stack_pointer;          // x86-64: where the suspended fiber left off
    void *machine;                // ucontext: owned ucontext_t of the suspended fiber
    void *sanitizer_stack;        // AddressSanitizer's second stack of this fiber
    bool is_finished;             // entry has returned, or nothing was started yet
} cop_fiber;

// Maps a stack for *fiber. Returns false when memory is exhausted; *fiber is then all zero.
bool cop_fiber_init(cop_fiber *fiber);

// Unmaps the stack and leaves *fiber all zero; may be called twice. What a suspended fiber held
// is not freed.
void cop_fiber_release(cop_fiber *fiber);

// Makes the next resume begin entry(context). The fiber must be finished or freshly initialized.
void cop_fiber_start(cop_fiber *fiber, void (*entry)(void *context), void *context);

// Runs the fiber until it yields or its entry returns (fiber->is_finished). Not from a fiber.
void cop_fiber_resume(cop_fiber *fiber);

// Gives control back to the caller of cop_fiber_resume(). Only from inside a fiber.
void cop_fiber_yield(void);

#endif
