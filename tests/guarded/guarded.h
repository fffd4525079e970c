// A backend whose memory is not the host's, for machines without such a device: the "cpu" backend
// with its memory closed to everybody outside of a backend's call. What works on it, with the same
// bits, does not lean on host memory.
//
// - Reading or writing device memory directly ends the program (SIGSEGV).
// - An operator that is handed a host pointer ends it with the operator's name.
// - copy_to_host() fills its target with 0xA5, and with the data only at synchronize().
//
// Linked with --wrap, the programs of other tests get it wherever they ask for "cpu".

#ifndef COP_TESTS_GUARDED_GUARDED_H
#define COP_TESTS_GUARDED_GUARDED_H

#include "kernels/backend.h"

// One at a time has the memory, which all that live share.
COP_MUST_CHECK cop_status cop_guarded_create(cop_backend **out, cop_error *err);

extern int64_t guarded_waits; // calls of synchronize()
extern bool guarded_is_off;   // "cpu" is the CPU's own again

#endif
