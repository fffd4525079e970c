// Messages and progress on stderr.

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "cli/cli.h"

static const double plain_interval_seconds = 10.0;

static struct {
    bool is_terminal;
    bool is_line_open; // a progress line stands on the screen, without a line end
    cop_cli_verbosity verbosity;
    double plain_seconds; // when the last plain progress line was printed; negative: never
} terminal;

static int columns(void)
{
    struct winsize size = {0};
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col < 20) {
        return 80;
    }
    return size.ws_col;
}

void cop_cli_terminal_clear(void)
{
    if (terminal.is_line_open) {
        (void)fputs("\r\033[K", stderr);
        terminal.is_line_open = false;
    }
}

static void show_progress(const char *line)
{
    if (terminal.is_terminal) {
        // A line that wraps could not be rewritten.
        (void)fprintf(stderr, "\r%.*s\033[K", columns() - 1, line);
        (void)fflush(stderr);
        terminal.is_line_open = true;
        return;
    }
    const double now = cop_clock_seconds();
    if (terminal.plain_seconds < 0.0 || now - terminal.plain_seconds >= plain_interval_seconds) {
        terminal.plain_seconds = now;
        (void)fprintf(stderr, "%s\n", line);
    }
}

static void show(void *context, cop_log_level level, const char *line)
{
    (void)context;
    const bool is_quiet = terminal.verbosity == COP_CLI_QUIET;
    switch (level) {
    case COP_LOG_PROGRESS:
        if (!is_quiet) {
            show_progress(line);
        }
        return;
    case COP_LOG_DEBUG:
        if (terminal.verbosity != COP_CLI_VERBOSE) {
            return;
        }
        break;
    case COP_LOG_INFO:
        if (is_quiet) {
            return;
        }
        break;
    case COP_LOG_WARNING: break;
    }
    cop_cli_terminal_clear();
    (void)fprintf(stderr, "%s%s\n", level == COP_LOG_WARNING ? "coppice: warning: " : "", line);
}

void cop_cli_terminal_start(void)
{
    terminal.is_terminal = isatty(STDERR_FILENO) != 0;
    terminal.verbosity = COP_CLI_NORMAL;
    terminal.plain_seconds = -1.0;
    cop_log_set_sink(show, NULL);
}

void cop_cli_terminal_set(cop_cli_verbosity verbosity)
{
    terminal.verbosity = verbosity;
}
