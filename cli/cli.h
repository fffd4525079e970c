// What all commands share: options, failing, and printing. Only this folder prints or exits.
//
// A command is `int cop_cmd_<name>(int argc, char **argv)` in cmd_<name>.c and one line in
// commands.h. It returns the exit code: 0 done, 1 failed (one line on stderr); wrong usage exits
// with 2 inside cop_cli_parse(). stdout is the result, stderr everything else.

#ifndef COP_CLI_CLI_H
#define COP_CLI_CLI_H

#include <argp.h>
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "base/text.h"
#include "model/network.h"

#define COP_COMMAND(name, help) int cop_cmd_##name(int argc, char **argv);
#include "cli/commands.h"
#undef COP_COMMAND

enum { COP_EXIT_DONE = 0, COP_EXIT_FAILED = 1, COP_EXIT_USAGE = 2 };

typedef enum cop_cli_precision {
    COP_CLI_PRECISION_AUTO, // bf16 where the device multiplies it in hardware, f32 elsewhere
    COP_CLI_PRECISION_F32,
    COP_CLI_PRECISION_BF16
} cop_cli_precision;

// What the shared options fill in. Start from `= {0}`.
typedef struct cop_cli_common {
    bool is_json;                // --json: one JSON document on stdout
    bool is_forced;              // --force: existing output is replaced
    int threads;                 // --threads N; 0: all. Already applied
    cop_cli_precision precision; // --precision
    const char *device;          // --device: a name that the backends know; NULL: "auto"
} cop_cli_common;

// Shared options, to be named as children of a command's struct argp:
//     static const struct argp_child children[] = {{&cop_cli_json_argp, 0, NULL, 0}, …, {0}};
// Every child's input is a cop_cli_common *, handed over in ARGP_KEY_INIT by
//     cop_cli_pass_common(state, &arguments->common);
extern const struct argp cop_cli_json_argp;      // --json
extern const struct argp cop_cli_force_argp;     // --force
extern const struct argp cop_cli_run_argp;       // --threads N, -q, -v
extern const struct argp cop_cli_precision_argp; // --precision f32|bf16|auto
extern const struct argp cop_cli_device_argp;    // --device NAME
void cop_cli_pass_common(struct argp_state *state, cop_cli_common *common);

// The device to compute on, for cop_backend_create(), and its backend; the caller destroys it.
const char *cop_cli_device_of(const cop_cli_common *common);
COP_MUST_CHECK cop_status cop_cli_backend(cop_backend **out, const cop_cli_common *common,
                                          cop_error *err);
// For an option of another name that sets it; wrong usage exits with 2.
void cop_cli_set_device(const struct argp_state *state, cop_cli_common *common, const char *option,
                        const char *name);
// A progress line that names it, and its name for a result.
void cop_cli_note_device(cop_backend *backend, cop_precision precision);
json_t *cop_cli_device_json(cop_backend *backend);
// The precision to compute in: `auto` is decided by the device.
COP_MUST_CHECK cop_status cop_cli_precision_of(cop_precision *out, const cop_cli_common *common,
                                               cop_backend *backend, cop_error *err);
// Checks a plan against what is free on the device and on the host.
COP_MUST_CHECK cop_status cop_cli_check_memory(const cop_plan *plan, const char *what,
                                               cop_backend *backend, cop_error *err);

// Parses; on wrong usage prints why and exits with 2, on --help exits with 0.
void cop_cli_parse(const struct argp *argp, int argc, char **argv, void *arguments);

// For a command's own option parser: number options in a range, numbers as in `4.2e9`. Wrong
// usage exits with 2, naming `option` ("--steps").
int64_t cop_cli_number(const struct argp_state *state, const char *option, const char *text,
                       int64_t min, int64_t max);
double cop_cli_real(const struct argp_state *state, const char *option, const char *text,
                    double min, double max);
// Index of `text` in `words`.
int cop_cli_word(const struct argp_state *state, const char *option, const char *text,
                 const char *const *words, size_t count);

// For commands that mpirun may start several times (base/processes.h), after parsing: joins the others.
// Only the first process speaks from then on. Threads are shared out, crowds are warned about.
COP_MUST_CHECK cop_status cop_cli_join(const cop_cli_common *common, cop_error *err);
// Whether this process prints and writes.
bool cop_cli_is_speaker(void);
// Leaves them; returns the exit code: `code`, or after printing it that of a failure. A failure that not all processes know of ends
// them all at once.
int cop_cli_leave(cop_status status, int code, const cop_error *err, bool do_all_know);

// Prints "coppice: <message>" on stderr; returns COP_EXIT_FAILED.
int cop_cli_fail(const cop_error *err);
// COP_EXIT_DONE, or cop_cli_fail().
int cop_cli_finish(cop_status status, const cop_error *err);

// Result lines on stdout. A failed write is reported when the program ends, with exit code 1.
void cop_cli_print(const char *format, ...) COP_PRINTF(1, 2);
// Prints an indented document and drops the reference; NULL stands for exhausted memory. Returns
// the exit code.
int cop_cli_print_json(json_t *value);

// A table: cells from left to right, row by row; columns get as wide as they need.
// `alignment` has a letter for each column: l(eft) or r(ight).
typedef struct cop_cli_table {
    const char *alignment; // borrowed
    cop_text cells;        // each with its NUL
    size_t count;
} cop_cli_table;

void cop_cli_table_init(cop_cli_table *table, const char *alignment);
void cop_cli_cell(cop_cli_table *table, const char *format, ...) COP_PRINTF(2, 3);
// Prints the table and releases it.
void cop_cli_table_print(cop_cli_table *table);

// The log sink: a line that rewrites itself on a terminal, plain lines elsewhere, progress then
// at most every ten seconds. Quiet: warnings only.
typedef enum cop_cli_verbosity { COP_CLI_QUIET, COP_CLI_NORMAL, COP_CLI_VERBOSE } cop_cli_verbosity;

void cop_cli_terminal_start(void);
void cop_cli_terminal_set(cop_cli_verbosity verbosity);
// Ends a progress line that is on the screen, so that other text starts on a line of its own.
void cop_cli_terminal_clear(void);

#endif
