#include "tests/host_shim/fiber.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/host_shim/sanitizer.h"

#if !defined(__x86_64__) && !defined(COP_FIBER_UCONTEXT)
#    define COP_FIBER_UCONTEXT
#endif
#ifdef COP_FIBER_UCONTEXT
#    include <ucontext.h>
#endif

namespace {

// The one who resumed the running fiber: where to go back to, and its stack for the sanitizer.
struct resumer {
    void *stack_pointer;
    void *sanitizer_stack;
    const void *stack_bottom;
    size_t stack_bytes;
#ifdef COP_FIBER_UCONTEXT
    ucontext_t machine;
#endif
};

resumer caller;
cop_fiber *running;

} // namespace

#ifndef COP_FIBER_UCONTEXT

// Saves the registers a function must preserve on the current stack, stores that stack's pointer
// in *from, and continues from the registers saved at `to`.
extern "C" void cop_fiber_swap(void **from, void *to);

__asm__(".text\n"
        ".globl cop_fiber_swap\n"
        ".hidden cop_fiber_swap\n"
        ".type cop_fiber_swap, @function\n"
        "cop_fiber_swap:\n"
        "    pushq %rbp\n"
        "    pushq %rbx\n"
        "    pushq %r12\n"
        "    pushq %r13\n"
        "    pushq %r14\n"
        "    pushq %r15\n"
        "    movq %rsp, (%rdi)\n"
        "    movq %rsi, %rsp\n"
        "    popq %r15\n"
        "    popq %r14\n"
        "    popq %r13\n"
        "    popq %r12\n"
        "    popq %rbx\n"
        "    popq %rbp\n"
        "    ret\n"
        ".size cop_fiber_swap, . - cop_fiber_swap\n");

#endif

// The two halves of a switch as AddressSanitizer wants to hear of them: before leaving a stack,
// and after arriving on the next one.
static void announce_leave(void **own_stack, const void *next_bottom, size_t next_bytes)
{
#if COP_HAS_ASAN
    __sanitizer_start_switch_fiber(own_stack, next_bottom, next_bytes);
#else
    (void)own_stack;
    (void)next_bottom;
    (void)next_bytes;
#endif
}

// NOLINTNEXTLINE(readability-non-const-parameter): written when there is a sanitizer
static void announce_arrival(void *own_stack, const void **previous_bottom, size_t *previous_bytes)
{
#if COP_HAS_ASAN
    __sanitizer_finish_switch_fiber(own_stack, previous_bottom, previous_bytes);
#else
    (void)own_stack;
    (void)previous_bottom;
    (void)previous_bytes;
#endif
}

// The bottom frame of every fiber. It never returns: a finished fiber waits here for its next
// start, which costs less than building a new stack.
static void fiber_main(void)
{
    announce_arrival(NULL, &caller.stack_bottom, &caller.stack_bytes);
    for (;;) {
        cop_fiber *self = running;
        self->entry(self->context);
        self->is_finished = true;
        cop_fiber_yield();
    }
}

// Lays out the first frame, so that the first switch to the fiber enters fiber_main().
static bool prepare(cop_fiber *fiber)
{
#ifdef COP_FIBER_UCONTEXT
    ucontext_t *machine = static_cast<ucontext_t *>(calloc(1, sizeof(ucontext_t)));
    if (machine == NULL || getcontext(machine) != 0) {
        free(machine);
        return false;
    }
    machine->uc_stack.ss_sp = fiber->stack;
    machine->uc_stack.ss_size = COP_FIBER_STACK_BYTES;
    makecontext(machine, fiber_main, 0);
    fiber->machine = machine;
#else
    void **top = reinterpret_cast<void **>(fiber->stack + COP_FIBER_STACK_BYTES);
    *--top = NULL; // a return address of zero ends back traces, and aligns the stack
    *--top = reinterpret_cast<void *>(fiber_main);
    for (int i = 0; i < 6; i++) {
        *--top = NULL; // the six saved registers
    }
    fiber->stack_pointer = top;
#endif
    return true;
}

bool cop_fiber_init(cop_fiber *fiber)
{
    *fiber = cop_fiber{};
    const size_t guard_bytes = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    void *mapping = mmap(NULL, guard_bytes + COP_FIBER_STACK_BYTES, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapping == MAP_FAILED) {
        return false;
    }
    fiber->mapping = static_cast<unsigned char *>(mapping);
    fiber->stack = fiber->mapping + guard_bytes;
    fiber->is_finished = true;
    if (mprotect(mapping, guard_bytes, PROT_NONE) != 0 || !prepare(fiber)) {
        cop_fiber_release(fiber);
        return false;
    }
    return true;
}

void cop_fiber_release(cop_fiber *fiber)
{
    if (fiber->mapping != NULL) {
        const size_t guard_bytes = static_cast<size_t>(fiber->stack - fiber->mapping);
        (void)munmap(fiber->mapping, guard_bytes + COP_FIBER_STACK_BYTES);
        free(fiber->machine);
    }
    *fiber = cop_fiber{};
}

void cop_fiber_start(cop_fiber *fiber, void (*entry)(void *context), void *context)
{
    assert(fiber->is_finished);
    fiber->entry = entry;
    fiber->context = context;
    fiber->is_finished = false;
}

void cop_fiber_resume(cop_fiber *fiber)
{
    assert(running == NULL && !fiber->is_finished);
    running = fiber;
    announce_leave(&caller.sanitizer_stack, fiber->stack, COP_FIBER_STACK_BYTES);
#ifdef COP_FIBER_UCONTEXT
    (void)swapcontext(&caller.machine, static_cast<ucontext_t *>(fiber->machine));
#else
    cop_fiber_swap(&caller.stack_pointer, fiber->stack_pointer);
#endif
    announce_arrival(caller.sanitizer_stack, NULL, NULL);
    running = NULL;
}

void cop_fiber_yield(void)
{
    cop_fiber *self = running;
    announce_leave(&self->sanitizer_stack, caller.stack_bottom, caller.stack_bytes);
#ifdef COP_FIBER_UCONTEXT
    (void)swapcontext(static_cast<ucontext_t *>(self->machine), &caller.machine);
#else
    cop_fiber_swap(&self->stack_pointer, caller.stack_pointer);
#endif
    announce_arrival(self->sanitizer_stack, &caller.stack_bottom, &caller.stack_bytes);
}
