#include "tests/cli/program.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "base/alloc.h"
#include "base/file.h"
#include "tests/support.h"

static const char out_path[] = "program.stdout";
static const char err_path[] = "program.stderr";

static char *take_file(const char *path)
{
    char *text = NULL;
    size_t length = 0;
    cop_error err = {0};
    if (cop_file_read(&text, &length, path, (size_t)64 << 20, &err) != COP_OK) {
        fail_msg("%s", err.message);
    }
    if (length > 0 && text[length - 1] == '\n') {
        text[length - 1] = '\0';
    }
    return text;
}

program_result program_run(const char *line)
{
    char script[8192];
    const int length =
        snprintf(script, sizeof script, "coppice='%s'; source='%s'; { %s\n} >%s 2>%s", COP_PROGRAM,
                 COP_SOURCE_DIR, line, out_path, err_path);
    assert_in_range(length, 1, sizeof script - 1);
    // NOLINTNEXTLINE(concurrency-mt-unsafe): one thread; the lines come from the tests
    const int status = system(script);
    return (program_result){
        .exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1,
        .out = take_file(out_path),
        .err = take_file(err_path),
    };
}

void program_release(program_result *result)
{
    cop_free(result->out);
    cop_free(result->err);
    *result = (program_result){0};
}

// fnmatch() without brackets, which JSON is full of.
static bool matches(const char *pattern, const char *text)
{
    const char *star = NULL; // the last `*`, and what it has taken so far
    const char *star_text = NULL;
    if (pattern == NULL) {
        return true;
    }
    while (*text != '\0') {
        const bool is_escaped = pattern[0] == '\\' && pattern[1] != '\0';
        const char wanted = pattern[is_escaped ? 1 : 0];
        if (!is_escaped && wanted == '*') {
            star = pattern++;
            star_text = text;
        } else if ((!is_escaped && wanted == '?') || wanted == *text) {
            pattern += is_escaped ? 2 : 1;
            text++;
        } else if (star != NULL) {
            pattern = star + 1;
            text = ++star_text;
        } else {
            return false;
        }
    }
    pattern += strspn(pattern, "*");
    return *pattern == '\0';
}

void program_expect(const char *line, int exit_code, const char *out, const char *err)
{
    program_result result = program_run(line);
    const bool is_right =
        result.exit_code == exit_code && matches(out, result.out) && matches(err, result.err);
    if (!is_right) {
        print_error("$ %s\nexit code %d (expected %d)\nstdout: %s\nexpected: %s\nstderr: %s\n"
                    "expected: %s\n",
                    line, result.exit_code, exit_code, result.out, out != NULL ? out : "(anything)",
                    result.err, err != NULL ? err : "(anything)");
    }
    program_release(&result);
    assert_true(is_right);
}
