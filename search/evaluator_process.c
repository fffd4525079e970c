// Starting a process of an external evaluator, and ending it.

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#ifdef __linux__
#    include <sys/prctl.h>
#endif

#include "base/alloc.h"
#include "base/clock.h"
#include "search/evaluator_internal.h"

enum { NUMBER_BYTES = 48, PAUSE_MS = 10, FILES_MAX = 65536, DRAIN_READS = 64 };

typedef struct pipes {
    int in[2];
    int out[2];
    int log[2];
} pipes;

// --- Starting -----------------------------------------------------------------------------------

static bool is_own_variable(const char *entry)
{
    static const char *const names[] = {"COPPICE_EVALUATOR=", "COPPICE_EVALUATORS="};
    return strncmp(entry, names[0], strlen(names[0])) == 0 ||
           strncmp(entry, names[1], strlen(names[1])) == 0;
}

// Our environment and two variables; the strings are borrowed. Made before fork(): behind it nothing may
// allocate.
static char **make_environment(char *number, char *count)
{
    size_t entries = 0;
    size_t kept = 0;
    while (environ != NULL && environ[entries] != NULL) {
        entries++;
    }
    char **out = cop_alloc(entries + 3, sizeof *out);
    if (out != NULL) {
        for (size_t i = 0; i < entries; i++) {
            if (!is_own_variable(environ[i])) {
                out[kept++] = environ[i];
            }
        }
        out[kept++] = number;
        out[kept] = count;
    }
    return out;
}

static void close_both(const int *ends)
{
    for (int i = 0; i < 2; i++) {
        if (ends[i] >= 0) {
            (void)close(ends[i]);
        }
    }
}

static bool open_pipes(pipes *out)
{
    *out = (pipes){{-1, -1}, {-1, -1}, {-1, -1}};
    // Our ends must not wait, the program's must: O_NONBLOCK belongs to one end.
    return pipe2(out->in, O_CLOEXEC) == 0 && pipe2(out->out, O_CLOEXEC) == 0 &&
           pipe2(out->log, O_CLOEXEC) == 0 && fcntl(out->in[1], F_SETFL, O_NONBLOCK) == 0 &&
           fcntl(out->out[0], F_SETFL, O_NONBLOCK) == 0 &&
           fcntl(out->log[0], F_SETFL, O_NONBLOCK) == 0;
}

// Between fork() and exec() only calls that are safe in a signal handler are allowed: another thread may have
// held any lock. All signals are blocked.
static void become(const pipes *pipe, const char *directory, char *command,
                   char *const *environment, pid_t parent)
{
    static const char refusal[] = "cannot enter the folder of the study\n";
    char shell[] = "sh";
    char flag[] = "-c";
    char *const arguments[] = {shell, flag, command, NULL};
    const struct sigaction fallback = {.sa_handler = SIG_DFL};
    sigset_t none;

    (void)setpgid(0, 0);
#ifdef __linux__
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
#endif
    if (getppid() != parent) { // it died before the line above
        _exit(127);
    }
    for (int i = 1; i < NSIG; i++) {
        struct sigaction now;
        // What nohup set stays.
        if (i != SIGHUP || sigaction(i, NULL, &now) != 0 || now.sa_handler != SIG_IGN) {
            (void)sigaction(i, &fallback, NULL);
        }
    }
    // Out of the way first: where stdin was closed, a pipe may have its number.
    const int from[3] = {fcntl(pipe->in[0], F_DUPFD, 3), fcntl(pipe->out[1], F_DUPFD, 3),
                         fcntl(pipe->log[1], F_DUPFD, 3)};
    for (int i = 0; i < 3; i++) {
        if (from[i] < 0 || dup2(from[i], i) < 0) {
            _exit(127);
        }
    }
    // Libraries open files without O_CLOEXEC.
    if (close_range(3, ~0U, 0) != 0) {
        for (int fd = 3; fd < FILES_MAX; fd++) {
            (void)close(fd);
        }
    }
    if (directory != NULL && chdir(directory) != 0) {
        (void)!write(2, refusal, sizeof refusal - 1);
        _exit(127);
    }
    (void)sigemptyset(&none);
    (void)pthread_sigmask(SIG_SETMASK, &none, NULL);
    (void)execve("/bin/sh", arguments, environment);
    _exit(127);
}

static void reset(cop_evaluator_process *process)
{
    process->sent_bytes = 0;
    process->input_bytes = 0;
    process->input_searched = 0;
    process->line_bytes = 0;
    process->is_line_cut = false;
    process->unasked = 0;
    process->last_line[0] = '\0';
    process->is_fresh = true;
}

cop_status cop_evaluator_process_start(cop_evaluator_process *process, cop_error *err)
{
    cop_status status = COP_OK;
    const cop_evaluator_options *const options = process->options;
    char number[NUMBER_BYTES];
    char count[NUMBER_BYTES];
    pipes pipe = {{-1, -1}, {-1, -1}, {-1, -1}};
    sigset_t all;
    sigset_t before;
    const pid_t parent = getpid();
    assert(process->pid == 0);
    (void)snprintf(number, sizeof number, "COPPICE_EVALUATOR=%d", process->number);
    (void)snprintf(count, sizeof count, "COPPICE_EVALUATORS=%d", options->processes);
    char **environment = make_environment(number, count);
    if (environment == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "evaluator %d: no memory to start it", process->number);
    }
    pid_t child = -1;
    if (open_pipes(&pipe)) {
        (void)sigfillset(&all);
        (void)pthread_sigmask(SIG_SETMASK, &all, &before);
        child = fork();
        if (child == 0) {
            become(&pipe, options->directory, process->command, environment, parent);
        }
        (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    }
    if (child < 0) {
        char text[128];
        status = COP_FAIL(err, COP_ERR_IO, "evaluator %d: cannot be started: %s", process->number,
                          strerror_r(errno, text, sizeof text));
        goto done;
    }
    (void)setpgid(child, child); // whoever of the two comes first
    reset(process);
    process->pid = child;
    process->in = pipe.in[1];
    process->out = pipe.out[0];
    process->log = pipe.log[0];
    pipe.in[1] = pipe.out[0] = pipe.log[0] = -1;

done:
    close_both(pipe.in);
    close_both(pipe.out);
    close_both(pipe.log);
    cop_free(environment);
    return status;
}

// --- Ending -------------------------------------------------------------------------------------

static void close_end(int *fd)
{
    if (*fd >= 0) {
        (void)close(*fd);
        *fd = -1;
    }
}

bool cop_evaluator_process_has_exited(const cop_evaluator_process *process)
{
    siginfo_t info = {0};
    // Left unreaped: its group keeps its number, and can be killed.
    const int result = waitid(P_PID, (id_t)process->pid, &info, WEXITED | WNOHANG | WNOWAIT);
    return result == 0 ? info.si_pid == process->pid : errno == ECHILD;
}

static void drain_log(cop_evaluator_process *process)
{
    for (int i = 0; i < DRAIN_READS && process->log >= 0; i++) {
        struct pollfd poll_log = {.fd = process->log, .events = POLLIN};
        if (poll(&poll_log, 1, 0) != 1) {
            return;
        }
        if (!cop_evaluator_receive_log(process)) {
            close_end(&process->log);
        }
    }
}

// Keeps its pipes from filling up. What it says on stdout is dropped.
static void drain(cop_evaluator_process *process)
{
    drain_log(process);
    process->input_bytes = process->input_searched = 0;
    if (process->out >= 0) {
        const cop_evaluator_read got = cop_evaluator_receive(process);
        if (got == COP_EVALUATOR_READ_END || got == COP_EVALUATOR_READ_NOMEM) {
            close_end(&process->out);
        }
    }
}

// Waits until all exited, or the time is over: false.
static bool wait_for_exits(cop_evaluator_process *processes, int count, double seconds)
{
    struct pollfd polls[2 * COP_EVALUATOR_PROCESSES_MAX];
    const double end = cop_clock_seconds() + seconds;
    for (;;) {
        nfds_t polled = 0;
        for (int i = 0; i < count; i++) {
            cop_evaluator_process *const process = &processes[i];
            if (process->pid > 0) {
                drain(process);
            }
            if (process->pid > 0 && !cop_evaluator_process_has_exited(process)) {
                polls[polled++] = (struct pollfd){.fd = process->out, .events = POLLIN};
                polls[polled++] = (struct pollfd){.fd = process->log, .events = POLLIN};
            }
        }
        if (polled == 0 || cop_clock_seconds() >= end) {
            return polled == 0;
        }
        (void)poll(polls, polled, PAUSE_MS); // those with fd -1 are passed over
    }
}

cop_evaluator_end cop_evaluator_process_end(cop_evaluator_process *process, double grace_seconds)
{
    cop_evaluator_end end = {0};
    int status = 0;
    pid_t reaped = -1;
    assert(process->pid > 0);
    close_end(&process->in);
    end.was_killed = !wait_for_exits(process, 1, grace_seconds);
    (void)kill(-process->pid, SIGKILL);
    (void)kill(process->pid, SIGKILL); // it may have left its group
    do {
        reaped = waitpid(process->pid, &status, 0);
    } while (reaped < 0 && errno == EINTR);
    if (reaped == process->pid) { // or who ignores SIGCHLD never learns
        end.is_known = true;
        end.was_signal = WIFSIGNALED(status);
        end.code = end.was_signal ? WTERMSIG(status) : WEXITSTATUS(status);
    }
    drain_log(process);
    cop_evaluator_flush_log(process, true);
    close_end(&process->out);
    close_end(&process->log);
    process->pid = 0;
    process->input_bytes = 0;
    process->input_searched = 0;
    return end;
}

void cop_evaluator_processes_stop(cop_evaluator_process *processes, int count, double stop_seconds)
{
    for (int i = 0; i < count; i++) {
        close_end(&processes[i].in);
    }
    if (!wait_for_exits(processes, count, stop_seconds)) {
        for (int i = 0; i < count; i++) {
            if (processes[i].pid > 0 && !cop_evaluator_process_has_exited(&processes[i])) {
                (void)kill(-processes[i].pid, SIGTERM);
            }
        }
        (void)wait_for_exits(processes, count, stop_seconds);
    }
    for (int i = 0; i < count; i++) {
        if (processes[i].pid > 0) {
            (void)cop_evaluator_process_end(&processes[i], 0);
        }
    }
}

const char *cop_evaluator_end_text(char *out, const cop_evaluator_end *end)
{
    static const struct {
        int number;
        const char *name;
    } names[] = {{SIGABRT, " (SIGABRT)"}, {SIGBUS, " (SIGBUS)"},   {SIGFPE, " (SIGFPE)"},
                 {SIGHUP, " (SIGHUP)"},   {SIGILL, " (SIGILL)"},   {SIGINT, " (SIGINT)"},
                 {SIGKILL, " (SIGKILL)"}, {SIGPIPE, " (SIGPIPE)"}, {SIGSEGV, " (SIGSEGV)"},
                 {SIGTERM, " (SIGTERM)"}, {SIGXCPU, " (SIGXCPU)"}};

    const char *name = "";
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        name = names[i].number == end->code ? names[i].name : name;
    }
    if (!end->is_known) {
        (void)snprintf(out, COP_EVALUATOR_LOG_BYTES, "ended");
    } else if (end->was_signal) {
        (void)snprintf(out, COP_EVALUATOR_LOG_BYTES, "was ended by signal %d%s", end->code, name);
    } else {
        (void)snprintf(out, COP_EVALUATOR_LOG_BYTES, "exited with status %d", end->code);
    }
    return out;
}
