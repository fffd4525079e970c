// Round trips per second through external evaluators that answer at once. The evaluator is this program
// itself, started with the argument `answer`. The roof is one process asked by a bare write() and
// read() of the same lines. Prints one JSON line per number of processes.

#include "search/evaluator.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/system.h"
#include "base/version.h"

enum { REPEATS = 21, TRIPS = 10000, LINE_BYTES = 4096 };

#define VALUES "{\"x1\":1,\"x2\":500,\"x3\":0.25}"

static void stop(const char *message)
{
    (void)fprintf(stderr, "evaluator_bench: %s\n", message);
    exit(1);
}

// The evaluator: whole requests arrive one by one.
static int answer(void)
{
    char line[LINE_BYTES + 1];
    char reply[LINE_BYTES];
    ssize_t got = 0;
    while ((got = read(0, line, LINE_BYTES)) > 0) {
        line[got] = '\0';
        const char *const id = strstr(line, "\"id\":\"");
        const int length = id == NULL ? 0 : (int)strcspn(id + 6, "\"");
        const int bytes = snprintf(reply, sizeof reply,
                                   "{\"id\":\"%.*s\",\"metrics\":{\"f1\":0.125,\"f2\":1.5}}\n",
                                   length, id == NULL ? "" : id + 6);
        if (write(1, reply, (size_t)bytes) != bytes) {
            return 1;
        }
    }
    return 0;
}

static double cpu_seconds(void)
{
    struct rusage used;
    (void)getrusage(RUSAGE_SELF, &used);
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
           1e-6 * (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec);
}

static void ask_pool(cop_evaluator *pool)
{
    cop_error err = {0};
    int asked = 0;
    for (int taken = 0; taken < TRIPS;) {
        cop_evaluator_answer reply;
        bool has_one = false;
        for (; asked < TRIPS && cop_evaluator_free_slots(pool) > 0; asked++) {
            char id[32];
            (void)snprintf(id, sizeof id, "c%d", asked);
            if (cop_evaluator_submit(pool, asked, id, VALUES, 1, &err) != COP_OK) {
                stop(err.message);
            }
        }
        if (cop_evaluator_wait(pool, 1, &reply, &has_one, &err) != COP_OK) {
            stop(err.message);
        }
        if (has_one && reply.outcome != COP_EVALUATOR_METRICS) {
            stop(reply.reason);
        }
        taken += has_one;
        cop_evaluator_answer_release(&reply);
    }
}

static void ask_bare(int in, int out)
{
    static const char request[] = "{\"id\":\"c1234\",\"values\":" VALUES ",\"fidelity\":1}\n";
    char reply[LINE_BYTES];
    for (int i = 0; i < TRIPS; i++) {
        if (write(in, request, sizeof request - 1) != (ssize_t)(sizeof request - 1) ||
            read(out, reply, sizeof reply) <= 0) {
            stop("the bare pipe broke");
        }
    }
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a;
    const double y = *(const double *)b;
    return (x > y) - (x < y);
}

static void print(const char *name, int processes, double *seconds, double cpu)
{
    qsort(seconds, REPEATS, sizeof *seconds, compare);
    printf("{\"bench\": \"evaluator\", \"case\": \"%s\", \"processes\": %d, "
           "\"round_trips_per_second\": {\"best\": %.0f, \"median\": %.0f}, "
           "\"own_cpu_us_per_trip\": %.2f, \"program\": \"%s\"}\n",
           name, processes, TRIPS / seconds[0], TRIPS / seconds[REPEATS / 2],
           1e6 * cpu / (REPEATS * (double)TRIPS), cop_version());
    (void)fflush(stdout);
}

static void run_pool(const char *program, int processes)
{
    char command[LINE_BYTES];
    double seconds[REPEATS];
    cop_error err = {0};
    cop_evaluator *pool = NULL;
    cop_evaluator_options options = COP_EVALUATOR_OPTIONS_DEFAULT;
    (void)snprintf(command, sizeof command, "exec '%s' answer", program);
    options.command = command;
    options.processes = processes;
    options.timeout_seconds = 60;
    if (cop_evaluator_create(&pool, &options, &err) != COP_OK) {
        stop(err.message);
    }
    ask_pool(pool); // warm
    const double cpu = cpu_seconds();
    for (int i = 0; i < REPEATS; i++) {
        const double start = cop_clock_seconds();
        ask_pool(pool);
        seconds[i] = cop_clock_seconds() - start;
    }
    print("pool", processes, seconds, cpu_seconds() - cpu);
    cop_evaluator_destroy(pool);
}

static void run_bare(const char *program)
{
    int in[2];
    int out[2];
    double seconds[REPEATS];
    if (pipe(in) != 0 || pipe(out) != 0) {
        stop("no pipe");
    }
    const pid_t child = fork();
    if (child == 0) {
        if (dup2(in[0], 0) == 0 && dup2(out[1], 1) == 1 && close(in[1]) == 0) {
            (void)execl(program, program, "answer", (char *)NULL);
        }
        _exit(1);
    }
    (void)close(out[1]);
    ask_bare(in[1], out[0]); // warm
    const double cpu = cpu_seconds();
    for (int i = 0; i < REPEATS; i++) {
        const double start = cop_clock_seconds();
        ask_bare(in[1], out[0]);
        seconds[i] = cop_clock_seconds() - start;
    }
    print("bare pipes", 1, seconds, cpu_seconds() - cpu);
    (void)close(in[1]);
    (void)close(in[0]);
    (void)close(out[0]);
    (void)waitpid(child, NULL, 0);
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "answer") == 0) {
        return answer();
    }
    cop_system_silence_libraries();
    run_bare("/proc/self/exe");
    char program[LINE_BYTES] = "";
    if (readlink("/proc/self/exe", program, sizeof program - 1) < 0) {
        stop("where this program lies is unknown");
    }
    static const int counts[] = {1, 2, 8, 64};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        run_pool(program, counts[i]);
    }
    return 0;
}
