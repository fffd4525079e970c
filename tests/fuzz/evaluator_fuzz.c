// Answers of an external evaluator: any bytes, read in pieces of the size that the first byte says, cut
// into lines, and taken as answers. What is said about them is one line of text; metrics are finite.

#include <assert.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/alloc.h"
#include "search/evaluator_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void check_reason(const char *reason)
{
    assert(strlen(reason) < COP_ERROR_MESSAGE_BYTES);
    for (const char *c = reason; *c != '\0'; c++) {
        assert((unsigned char)*c >= 0x20 && *c != 0x7f);
    }
}

static void take(const char *line, size_t bytes)
{
    static const char *const required[] = {"loss"};
    cop_evaluator_answer answer = {.process = 1};
    bool is_in_step = false;
    cop_error err = {0};
    const cop_status status =
        cop_evaluator_answer_parse(&answer, &is_in_step, line, bytes, "a1", required, 1, &err);
    assert(status == COP_OK);
    check_reason(answer.reason);
    assert((answer.outcome == COP_EVALUATOR_METRICS) == (answer.reason[0] == '\0'));
    assert((answer.outcome == COP_EVALUATOR_METRICS) == (answer.metrics != NULL));
    assert(answer.outcome != COP_EVALUATOR_METRICS || (is_in_step && answer.count >= 1));
    for (int i = 0; i < answer.count; i++) {
        assert(isfinite(answer.metrics[i].value));
    }
    cop_evaluator_answer_release(&answer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    cop_evaluator_process process = {0};
    size_t lines = 0;
    size_t taken = 0;
    const size_t piece = bytes > 0 ? (size_t)data[0] + 1 : 1;
    process.input = cop_alloc(bytes + 1, 1);
    for (size_t from = 1; from < bytes && process.input != NULL; from += piece) {
        const char *line = NULL;
        size_t line_bytes = 0;
        size_t at = 0;
        const size_t got = bytes - from < piece ? bytes - from : piece;
        memcpy(process.input + process.input_bytes, data + from, got);
        process.input_bytes += got;
        while (cop_evaluator_next_line(&process, &at, &line, &line_bytes)) {
            take(line, line_bytes);
            lines++;
        }
        taken += at;
        cop_evaluator_consume(&process, at);
    }
    // However it came in pieces, no line is lost.
    size_t ends = 0;
    for (size_t i = 1; i < bytes; i++) {
        ends += data[i] == '\n';
    }
    assert(lines == ends);
    assert(bytes == 0 || taken + process.input_bytes == bytes - 1);
    cop_free(process.input);
    return 0;
}
