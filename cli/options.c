// Options that commands share.

#include <inttypes.h>
#include <omp.h>
#include <string.h>

#include "cli/cli.h"

// argp ends the program while it parses, before any thread exists.
// NOLINTBEGIN(concurrency-mt-unsafe)

enum { KEY_JSON = 0x1000, KEY_FORCE, KEY_THREADS, KEY_PRECISION, KEY_DEVICE };

enum { THREADS_MAX = 4096 };

int64_t cop_cli_number(const struct argp_state *state, const char *option, const char *text,
                       int64_t min, int64_t max)
{
    int64_t value = 0;
    if (!cop_text_to_i64(text, &value) || value < min || value > max) {
        argp_error(state, "%s is %s (allowed: an integer in %" PRId64 "..%" PRId64 ")", option,
                   text, min, max);
    }
    return value;
}

double cop_cli_real(const struct argp_state *state, const char *option, const char *text,
                    double min, double max)
{
    double value = 0.0;
    if (!cop_text_to_f64(text, &value) || !(value >= min && value <= max)) {
        argp_error(state, "%s is %s (allowed: a number in %g..%g)", option, text, min, max);
    }
    return value;
}

int cop_cli_word(const struct argp_state *state, const char *option, const char *text,
                 const char *const *words, size_t count)
{
    cop_text allowed = {0};
    for (size_t i = 0; i < count; i++) {
        if (strcmp(text, words[i]) == 0) {
            cop_text_release(&allowed);
            return (int)i;
        }
        cop_text_appendf(&allowed, "%s%s", i > 0 ? ", " : "", words[i]);
    }
    argp_error(state, "%s is %s (allowed: %s)", option, text, cop_text_view(&allowed));
    return 0; // argp_error() has ended the program
}

void cop_cli_set_device(const struct argp_state *state, cop_cli_common *common, const char *option,
                        const char *name)
{
    if (!cop_backend_is_known(name)) {
        argp_error(state, "%s is %s (allowed: " COP_BACKEND_NAMES ")", option, name);
    }
    common->device = name;
}

static error_t parse_common(int key, char *text, struct argp_state *state)
{
    static const char *const precisions[] = {"auto", "f32", "bf16"};
    cop_cli_common *common = state->input;
    switch (key) {
    case KEY_JSON: common->is_json = true; break;
    case KEY_FORCE: common->is_forced = true; break;
    case KEY_THREADS:
        common->threads = (int)cop_cli_number(state, "--threads", text, 1, THREADS_MAX);
        omp_set_num_threads(common->threads);
        break;
    case KEY_PRECISION:
        common->precision =
            (cop_cli_precision)cop_cli_word(state, "--precision", text, precisions, 3);
        break;
    case KEY_DEVICE: cop_cli_set_device(state, common, "--device", text); break;
    case 'q': cop_cli_terminal_set(COP_CLI_QUIET); break;
    case 'v': cop_cli_terminal_set(COP_CLI_VERBOSE); break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static const struct argp_option json_options[] = {
    {"json", KEY_JSON, NULL, 0, "Print one JSON document", 1},
    {0},
};
static const struct argp_option force_options[] = {
    {"force", KEY_FORCE, NULL, 0, "Replace existing output", 1},
    {0},
};
static const struct argp_option run_options[] = {
    {"threads", KEY_THREADS, "N", 0, "Use N threads (default: all cores)", 1},
    {"quiet", 'q', NULL, 0, "Show warnings only", 1},
    {"verbose", 'v', NULL, 0, "Show more", 1},
    {0},
};
static const struct argp_option precision_options[] = {
    {"precision", KEY_PRECISION, "TYPE", 0,
     "f32, bf16 or auto (default): bf16 where the device multiplies it in hardware", 1},
    {0},
};
static const struct argp_option device_options[] = {
    {"device", KEY_DEVICE, "NAME", 0,
     "Compute on cpu, cuda, cuda:N, reference (slow and exact) or auto (default): the first GPU "
     "that "
     "works, else the CPU",
     1},
    {0},
};

const struct argp cop_cli_json_argp = {.options = json_options, .parser = parse_common};
const struct argp cop_cli_force_argp = {.options = force_options, .parser = parse_common};
const struct argp cop_cli_run_argp = {.options = run_options, .parser = parse_common};
const struct argp cop_cli_precision_argp = {.options = precision_options, .parser = parse_common};
const struct argp cop_cli_device_argp = {.options = device_options, .parser = parse_common};

// What cop_cli_parse() was called with: state->root_argp is argp's own, with --help beside it.
static const struct argp *command_argp;

void cop_cli_pass_common(struct argp_state *state, cop_cli_common *common)
{
    const struct argp_child *child = command_argp->children;
    for (int i = 0; child != NULL && child[i].argp != NULL; i++) {
        state->child_inputs[i] = common;
    }
}

void cop_cli_parse(const struct argp *argp, int argc, char **argv, void *arguments)
{
    command_argp = argp;
    if (argp_parse(argp, argc, argv, 0, NULL, arguments) != 0) {
        argp_failure(NULL, COP_EXIT_USAGE, 0, "the options cannot be read");
    }
}

// NOLINTEND(concurrency-mt-unsafe)
