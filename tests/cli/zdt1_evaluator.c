// An external evaluator for tests: ZDT1 (Zitzler, Deb, Thiele 2000) of all numbers among the values, with the
// error of a cheap measurement added at fidelities below 100. A value "broken" is answered with an error. With an argument each answer takes so many milliseconds; with a second one each
// request is noted in that file before.

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { LINE_BYTES = 1 << 16 };

static void answer(const char *line)
{
    const char *id = strstr(line, "\"id\":\"") + 6;
    const int length = (int)strcspn(id, "\"");
    const char *at = strstr(line, "\"values\":{") + 10;
    const char *end = strchr(at, '}');
    const double fidelity = strtod(strstr(line, "\"fidelity\":") + 11, NULL);
    double first = 0;
    double others = 0;
    int count = 0;
    for (at = strchr(at, ':'); at != NULL && at < end; at = strchr(at + 1, ':')) {
        const double value = strtod(at + 1, NULL);
        first = count == 0 ? value : first;
        others += count == 0 ? 0 : value;
        count++;
    }
    if (strstr(line, "\"broken\"") != NULL) {
        (void)printf("{\"id\":\"%.*s\",\"error\":\"is broken\"}\n", length, id);
        return;
    }
    const double g = 1 + (count > 1 ? 9 * others / (count - 1) : 0);
    const double f2 = g * (1 - sqrt(first / g)) + (fidelity < 100 ? 0.01 * sin(99 * g) : 0);
    (void)printf("{\"id\":\"%.*s\",\"metrics\":{\"f1\":%.17g,\"f2\":%.17g,\"g\":%.17g}}\n", length,
                 id, first, f2, g);
}

// "<id> <fidelity>", one write: several processes append.
static void note(const char *path, const char *line)
{
    char text[LINE_BYTES];
    const char *id = strstr(line, "\"id\":\"") + 6;
    const double fidelity = strtod(strstr(line, "\"fidelity\":") + 11, NULL);
    const int bytes =
        snprintf(text, sizeof text, "%.*s %g\n", (int)strcspn(id, "\""), id, fidelity);
    const int file = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (file < 0 || bytes < 0 || write(file, text, (size_t)bytes) != bytes) {
        exit(3); // who counts on the log must see it
    }
    (void)close(file);
}

int main(int argc, char **argv)
{
    static char line[LINE_BYTES];
    const long milliseconds = argc > 1 ? strtol(argv[1], NULL, 10) : 0;
    const struct timespec pause = {milliseconds / 1000, milliseconds % 1000 * 1000000};
    while (fgets(line, sizeof line, stdin) != NULL) {
        if (argc > 2) {
            note(argv[2], line);
        }
        (void)nanosleep(&pause, NULL);
        answer(line);
        (void)fflush(stdout);
    }
    return 0;
}
