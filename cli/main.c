// The program: finds the command, prepares the process, and makes sure that what was printed has
// arrived.

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/system.h"
#include "base/version.h"
#include "cli/cli.h"
#include "cli/revision.h"

typedef struct command {
    const char *name;
    const char *help;
    int (*run)(int argc, char **argv);
} command;

static const command commands[] = {
#define COP_COMMAND(name, help) {#name, help, cop_cmd_##name},
#include "cli/commands.h"
#undef COP_COMMAND
};

enum { COMMANDS = sizeof commands / sizeof commands[0] };

static void print_help(void)
{
    printf("Usage: coppice <command> [--help] [options]\n"
           "Cuts a trained language model back to a smaller one, lets it regrow by distillation,\n"
           "and searches for the architecture that regrows best within a budget.\n\n"
           "Commands:\n");
    for (size_t i = 0; i < COMMANDS; i++) {
        printf("  %-9s %s\n", commands[i].name, commands[i].help);
    }
    printf(
        "\n  coppice <command> --help   options of a command\n"
        "  coppice --version          version and revision\n\n"
        "Results go to standard output, with --json as one JSON document; messages and progress\n"
        "to standard error. Exit code: 0 done, 1 failed, 2 wrong usage.\n");
}

static const command *find_command(const char *name)
{
    const char *names[COMMANDS];
    for (size_t i = 0; i < COMMANDS; i++) {
        if (strcmp(commands[i].name, name) == 0) {
            return &commands[i];
        }
        names[i] = commands[i].name;
    }
    const char *nearest = cop_text_nearest(name, names, COMMANDS);
    (void)fprintf(stderr, "coppice: unknown command: %s (%s%s%ssee: coppice --help)\n", name,
                  nearest != NULL ? "did you mean " : "", nearest != NULL ? nearest : "",
                  nearest != NULL ? "? " : "");
    return NULL;
}

static int run_command(const char *name, int argc, char **argv)
{
    const command *found = find_command(name);
    if (found == NULL) {
        return COP_EXIT_USAGE;
    }
    char title[64]; // argp prints it in front of what it has to say
    (void)snprintf(title, sizeof title, "coppice %s", found->name);
    argv[0] = title;
    return found->run(argc, argv);
}

// Two settings are read by libraries while they are loaded, before main(); the cure of both is a
// second start.
// - OPENBLAS_CORETYPE: build hosts export it to get repeatable builds, and their users then run
//   without AVX-512. COPPICE_KEEP_CORETYPE=1 keeps the setting.
// - GOMP_SPINCOUNT: threads that wait for one another spin by default for milliseconds, and on a
//   machine whose cores others use too that costs several times the work itself. A short spin
//   costs nothing measurable on idle cores. OMP_WAIT_POLICY or GOMP_SPINCOUNT of the user win.
// NOLINTBEGIN(concurrency-mt-unsafe): before any thread exists
static void restart_with_library_settings(char **argv)
{
    static const char guard[] = "COPPICE_RESTARTED";
    const char *keep = getenv("COPPICE_KEEP_CORETYPE");
    const bool is_kept = keep != NULL && strcmp(keep, "1") == 0;
    const bool has_core_type = getenv("OPENBLAS_CORETYPE") != NULL && !is_kept;
    const bool has_policy = getenv("OMP_WAIT_POLICY") != NULL || getenv("GOMP_SPINCOUNT") != NULL;
    if (getenv(guard) == NULL && (has_core_type || !has_policy)) {
        if (has_core_type) {
            (void)unsetenv("OPENBLAS_CORETYPE");
            (void)unsetenv("OPENBLAS_L2_SIZE");
        }
        if (!has_policy) {
            (void)setenv("GOMP_SPINCOUNT", "1000", 1);
        }
        (void)setenv(guard, "1", 1);
        (void)execv("/proc/self/exe", argv); // on failure it only runs slower
    }
    (void)unsetenv(guard);
}

// NOLINTEND(concurrency-mt-unsafe)

// Runs at every exit, that of argp's --help too: a result that did not reach its file or pipe is
// a failure.
static void check_stdout(void)
{
    const bool had_error = ferror(stdout) != 0;
    const int flushed = fflush(stdout);
    if (had_error || flushed != 0) {
        char reason[128] = "write error";
        if (flushed != 0) {
            (void)strerror_r(errno, reason, sizeof reason);
        }
        (void)fprintf(stderr, "coppice: standard output: cannot write: %s\n", reason);
        _exit(COP_EXIT_FAILED);
    }
    cop_cli_terminal_clear();
}

int main(int argc, char **argv)
{
    restart_with_library_settings(argv);
    cop_system_silence_libraries();
    cop_version_set(COP_FULL_VERSION);
    (void)signal(SIGPIPE, SIG_IGN); // a closed pipe and a full disk become errors of write()
    (void)signal(SIGXFSZ, SIG_IGN);
    (void)atexit(check_stdout);
    cop_cli_terminal_start();
    argp_err_exit_status = COP_EXIT_USAGE;

    const char *first = argc > 1 ? argv[1] : "";
    const bool is_help = strcmp(first, "help") == 0;
    if (argc < 2) {
        (void)fprintf(stderr, "coppice: no command given (see: coppice --help)\n");
        return COP_EXIT_USAGE;
    }
    if (strcmp(first, "--version") == 0 || strcmp(first, "-V") == 0) {
        printf("coppice %s\n", cop_version());
        return COP_EXIT_DONE;
    }
    if (strcmp(first, "--help") == 0 || strcmp(first, "-h") == 0 || strcmp(first, "-?") == 0 ||
        (is_help && argc == 2)) {
        print_help();
        return COP_EXIT_DONE;
    }
    if (is_help) {
        char help_option[] = "--help";
        char *arguments[] = {argv[0], help_option, NULL};
        return run_command(argv[2], 2, arguments);
    }
    const int code = run_command(first, argc - 1, argv + 1);
    // Not only at exit: libraries that a command loaded flush before, and the reason would be lost.
    check_stdout();
    return code;
}
