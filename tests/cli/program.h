// Runs the program as a user does, and keeps what it printed.

#ifndef COP_TESTS_CLI_PROGRAM_H
#define COP_TESTS_CLI_PROGRAM_H

#include <stdbool.h>
#include <stddef.h>

typedef struct program_result {
    int exit_code; // -1 when a signal ended it
    char *out;     // standard output, owned: program_release()
    char *err;     // standard error, owned
} program_result;

// Runs a line of shell in the working directory of the test. In it $coppice is the program and
// $source the repository.
program_result program_run(const char *line);
void program_release(program_result *result);

// Runs a line and fails the test unless the exit code is right and the outputs match the patterns:
// `*` any characters, `?` one, `\` takes the meaning from the next character. A final line end
// need not be named. NULL: not compared.
void program_expect(const char *line, int exit_code, const char *out, const char *err);

#endif
