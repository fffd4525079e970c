// An external evaluator that behaves as its first argument says: well, or badly in one way.

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { ID_BYTES = 128, LINE_BYTES = 4 << 20 };

static char request[LINE_BYTES];
static const char *mode;
static const char *argument;
static int requests;

static bool is(const char *name)
{
    return strcmp(mode, name) == 0;
}

static void sleep_for_ever(void)
{
    for (;;) {
        (void)pause();
    }
}

static long argument_number(void)
{
    return strtol(argument, NULL, 10);
}

// The sum of all numbers in "values", which are the last but one member.
static double sum_values(void)
{
    double sum = 0;
    const char *at = strstr(request, "\"values\":{");
    const char *const end = at == NULL ? NULL : strchr(at, '}');
    for (at = at == NULL ? NULL : at + 9; at != NULL && at < end; at = strchr(at + 1, ':')) {
        sum += strtod(at + 1, NULL);
    }
    return sum;
}

static double fidelity(void)
{
    const char *at = strstr(request, "\"fidelity\":");
    return at == NULL ? -1 : strtod(at + 11, NULL);
}

static const char *request_id(void)
{
    static char id[ID_BYTES];
    const char *const from = strstr(request, "\"id\":\"");
    const size_t length = from == NULL ? 0 : strcspn(from + 6, "\"");
    (void)snprintf(id, sizeof id, "%.*s", (int)length, from == NULL ? "" : from + 6);
    return id;
}

static int count_files(void)
{
    int files = -1; // the folder itself
    DIR *const folder = opendir("/proc/self/fd");
    const struct dirent *entry;
    while (folder != NULL && (entry = readdir(folder)) != NULL) { // NOLINT(concurrency-mt-unsafe)
        files += entry->d_name[0] != '.';
    }
    if (folder != NULL) {
        (void)closedir(folder);
    }
    return files;
}

static void answer_surroundings(void)
{
    struct sigaction action;
    sigset_t blocked;
    const char *const number = getenv("COPPICE_EVALUATOR"); // NOLINT(concurrency-mt-unsafe)
    const char *const count = getenv("COPPICE_EVALUATORS"); // NOLINT(concurrency-mt-unsafe)
    const bool is_plain = sigaction(SIGPIPE, NULL, &action) == 0 && action.sa_handler == SIG_DFL &&
                          sigaction(SIGINT, NULL, &action) == 0 && action.sa_handler == SIG_DFL &&
                          pthread_sigmask(SIG_SETMASK, NULL, &blocked) == 0 &&
                          sigismember(&blocked, SIGTERM) == 0 &&
                          sigismember(&blocked, SIGPIPE) == 0;
    printf(
        "{\"id\":\"%s\",\"metrics\":{\"number\":%s,\"count\":%s,\"files\":%d,\"plain_signals\":%d,"
        "\"leads_group\":%d,\"pid\":%ld}}\n",
        request_id(), number == NULL ? "null" : number, count == NULL ? "null" : count,
        count_files(), is_plain, getpgrp() == getpid(), (long)getpid());
}

// `argument` with @ for the id and $ for a line end.
static void answer_text(void)
{
    for (const char *c = argument; *c != '\0'; c++) {
        if (*c == '@') {
            printf("%s", request_id());
        } else {
            (void)putchar(*c == '$' ? '\n' : *c);
        }
    }
    (void)putchar('\n');
}

static void answer_sum(void)
{
    printf("{\"id\":\"%s\",\"metrics\":{\"sum\":%.17g,\"fidelity\":%.17g}}\n", request_id(),
           sum_values(), fidelity());
}

static void write_bytes(int fd, char byte, long count)
{
    char block[4096];
    memset(block, byte, sizeof block);
    while (count > 0) {
        const ssize_t written =
            write(fd, block, count < (long)sizeof block ? (size_t)count : sizeof block);
        if (written <= 0) {
            exit(9); // NOLINT(concurrency-mt-unsafe)
        }
        count -= written;
    }
}

static void answer(void)
{
    requests++;
    if (is("hang") && strstr(request, "\"hang\"") != NULL) {
        (void)fprintf(stderr, "this takes long\n");
        sleep_for_ever();
    } else if (is("die") && requests == argument_number()) {
        (void)fprintf(stderr, "first line\nno more \"memory\"\n");
        exit(7); // NOLINT(concurrency-mt-unsafe)
    } else if (is("crash")) {
        (void)raise((int)argument_number());
    } else if (is("say")) {
        answer_text();
    } else if (is("surroundings")) {
        answer_surroundings();
        if (strcmp(argument, "hang") == 0) {
            (void)fflush(stdout);
            sleep_for_ever();
        }
    } else if (is("long")) {
        write_bytes(1, 'x', argument_number());
        sleep_for_ever();
    } else if (is("flood")) {
        for (;;) {
            printf("{\"step\":1}\n");
        }
    } else if (is("halves")) {
        const struct timespec pause_time = {.tv_nsec = 2000000};
        printf("{\"id\":\"%s\",\"met", request_id());
        (void)fflush(stdout);
        (void)nanosleep(&pause_time, NULL);
        printf("rics\":{\"sum\":%.17g,\"fidelity\":1}}\r\n", sum_values());
    } else if (is("twice")) {
        printf("\n \t\r\n");
        answer_sum();
        answer_sum();
        answer_sum();
    } else if (is("mark")) { // a long answer, and then a file
        printf("%30000s", "");
        answer_sum();
        (void)fflush(stdout);
        FILE *const mark = fopen(argument, "w");
        if (mark != NULL) {
            (void)fclose(mark);
        }
    } else if (is("once")) {
        answer_sum();
        (void)fflush(stdout);
        exit(0); // NOLINT(concurrency-mt-unsafe)
    } else if (!is("silent")) {
        if (is("log")) {
            for (long i = 0; i < argument_number(); i++) {
                (void)fprintf(stderr, "line %ld\n", i);
            }
        }
        answer_sum();
    }
    (void)fflush(stdout);
}

static void start(void)
{
    if (is("exit")) {
        (void)fprintf(stderr, "no module named torch\n");
        exit(3); // NOLINT(concurrency-mt-unsafe)
    } else if (is("close_out")) {
        (void)close(1);
        sleep_for_ever();
    } else if (is("close_in")) {
        (void)close(0);
        sleep_for_ever();
    } else if (is("leave")) { // the pipes stay open in a child of it
        if (fork() == 0) {
            sleep_for_ever();
        }
        exit(5); // NOLINT(concurrency-mt-unsafe)
    } else if (is("write_first")) {
        write_bytes(1, '\n', 1 << 20);
        write_bytes(2, '\n', 1 << 20);
    } else if (is("stubborn")) {
        (void)signal(SIGTERM, SIG_IGN);
    }
}

int main(int argc, char **argv)
{
    mode = argc > 1 ? argv[1] : "sum";
    argument = argc > 2 ? argv[2] : "";
    start();
    while (fgets(request, sizeof request, stdin) != NULL) {
        answer();
    }
    if (is("stubborn")) {
        sleep_for_ever();
    }
    return 0;
}
