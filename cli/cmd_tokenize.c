// tokenize: text to token files, with a held-out part when asked for. The text streams by: memory
// does not grow with it.

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/log.h"
#include "cli/cli.h"
#include "model/split.h"
#include "model/tokens.h"

enum { KEY_TOKENIZER = 0x2000, KEY_HELD_OUT, KEY_HELD_OUT_OUTPUT };

enum { PIECE = 65536, BYTE_VOCAB = 256, PROGRESS_MIN = 64 };

#define HELD_OUT_MIN 1e-6
#define HELD_OUT_MAX 0.5

typedef struct arguments {
    cop_cli_common common;
    char **texts; // [text_count], borrowed from argv
    int text_count;
    const char *tokenizer;
    const char *output;
    double held_out; // 0: none
    const char *held_out_output;
} arguments;

// NOLINTBEGIN(concurrency-mt-unsafe): argp ends the program before any thread exists
static error_t parse(int key, char *text, struct argp_state *state)
{
    arguments *given = state->input;
    switch (key) {
    case ARGP_KEY_INIT: cop_cli_pass_common(state, &given->common); break;
    case KEY_TOKENIZER: given->tokenizer = text; break;
    case 'o': given->output = text; break;
    case KEY_HELD_OUT:
        given->held_out = cop_cli_real(state, "--held-out", text, HELD_OUT_MIN, HELD_OUT_MAX);
        break;
    case KEY_HELD_OUT_OUTPUT: given->held_out_output = text; break;
    case ARGP_KEY_ARGS:
        given->texts = state->argv + state->next;
        given->text_count = state->argc - state->next;
        break;
    case ARGP_KEY_NO_ARGS: argp_error(state, "TEXT is missing"); break;
    case ARGP_KEY_END:
        if (given->tokenizer == NULL) {
            argp_error(state, "--tokenizer is missing (allowed: byte)");
        } else if (given->output == NULL) {
            argp_error(state, "-o FILE.bin is missing");
        } else if ((given->held_out > 0.0) != (given->held_out_output != NULL)) {
            argp_error(state, "--held-out and --held-out-output go together");
        }
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

// NOLINTEND(concurrency-mt-unsafe)

// The two outputs, and where the text has got to.
typedef struct tokenize_job {
    cop_tokens_writer *train;
    cop_tokens_writer *held_out; // NULL: no split
    int64_t train_count;
    int64_t held_out_count;
    cop_split split;
    cop_progress progress; // in 2^20 bytes
    int32_t *ids;          // [PIECE]
    unsigned char *bytes;  // [PIECE]
} tokenize_job;

// --- Checks -------------------------------------------------------------------------------------

static cop_status check_absent(const char *path, bool force, cop_error *err)
{
    cop_status status = COP_OK;
    char *side = cop_tokens_side_path(path);
    if (side == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "%s: no memory to write it", path);
    }
    COP_TRY(status, cop_file_check_absent(path, force, err));
    COP_TRY(status, cop_file_check_absent(side, force, err));

done:
    cop_free(side);
    return status;
}

// "x" and "x.bin" are two files, but have one side file.
static cop_status check_distinct(const arguments *given, cop_error *err)
{
    cop_status status = COP_OK;
    char *side = cop_tokens_side_path(given->output);
    char *held_out_side = cop_tokens_side_path(given->held_out_output);
    if (side == NULL || held_out_side == NULL) {
        status = COP_FAIL(err, COP_ERR_NOMEM, "%s: no memory to write it", given->output);
    } else if (strcmp(side, held_out_side) == 0) {
        status = COP_FAIL(err, COP_ERR_CONFIG,
                          "%s: --held-out-output would write over the file of -o (allowed: "
                          "another file)",
                          given->held_out_output);
    }
    cop_free(side);
    cop_free(held_out_side);
    return status;
}

static cop_status check_arguments(const arguments *given, cop_error *err)
{
    cop_status status = COP_OK;
    if (strcmp(given->tokenizer, "byte") != 0) {
        return COP_FAIL(err, COP_ERR_UNSUPPORTED,
                        "%s: tokenizers other than byte are not supported yet (allowed: byte)",
                        given->tokenizer);
    }
    COP_TRY(status, check_absent(given->output, given->common.is_forced, err));
    if (given->held_out_output != NULL) {
        COP_TRY(status, check_distinct(given, err));
        COP_TRY(status, check_absent(given->held_out_output, given->common.is_forced, err));
    }

done:
    return status;
}

// Bytes of all texts, 0 when one is no regular file.
static cop_status measure(int64_t *total, const arguments *given, cop_error *err)
{
    bool is_known = true;
    *total = 0;
    for (int i = 0; i < given->text_count; i++) {
        struct stat info = {0};
        if (strcmp(given->texts[i], "-") == 0) {
            is_known = false;
            continue;
        }
        if (stat(given->texts[i], &info) != 0) {
            return cop_file_fail(err, given->texts[i], "open");
        }
        if (S_ISDIR(info.st_mode)) {
            return COP_FAIL(err, COP_ERR_IO,
                            "%s: is a directory (allowed: files, or - for standard input)",
                            given->texts[i]);
        }
        is_known = is_known && S_ISREG(info.st_mode);
        *total += (int64_t)info.st_size;
    }
    *total = is_known ? *total : 0;
    return COP_OK;
}

// --- Work ---------------------------------------------------------------------------------------

static cop_status put(tokenize_job *job, int64_t count, cop_error *err)
{
    cop_status status = COP_OK;
    for (int64_t at = 0; at < count;) {
        bool is_held_out = false;
        const int64_t position = job->train_count + job->held_out_count;
        int64_t run = cop_split_run(&job->split, position, &is_held_out);
        run = run < count - at ? run : count - at;
        if (is_held_out) {
            COP_TRY(status, cop_tokens_writer_put(job->held_out, job->ids + at, run, err));
            job->held_out_count += run;
        } else {
            COP_TRY(status, cop_tokens_writer_put(job->train, job->ids + at, run, err));
            job->train_count += run;
        }
        at += run;
    }

done:
    return status;
}

static cop_status read_text(tokenize_job *job, int fd, const char *name, cop_error *err)
{
    for (;;) {
        const ssize_t got = read(fd, job->bytes, PIECE);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return cop_file_fail(err, name, "read");
        }
        if (got == 0) {
            return COP_OK;
        }
        for (ssize_t i = 0; i < got; i++) {
            job->ids[i] = job->bytes[i];
        }
        const cop_status status = put(job, got, err);
        if (status != COP_OK) {
            return status;
        }
        if (job->progress.total >= PROGRESS_MIN) {
            cop_progress_update(&job->progress, (job->train_count + job->held_out_count) >> 20,
                                NULL);
        }
    }
}

static cop_status add_text(tokenize_job *job, const char *path, cop_error *err)
{
    cop_status status = COP_OK;
    const bool is_stdin = strcmp(path, "-") == 0;
    const char *name = is_stdin ? "standard input" : path;
    const int fd = is_stdin ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return cop_file_fail(err, path, "open");
    }
    COP_TRY(status, cop_tokens_writer_source(job->train, name, err));
    if (job->held_out != NULL) {
        COP_TRY(status, cop_tokens_writer_source(job->held_out, name, err));
    }
    COP_TRY(status, read_text(job, fd, name, err));

done:
    if (!is_stdin) {
        (void)close(fd); // read-only: nothing can be lost
    }
    return status;
}

static cop_status check_counts(const tokenize_job *job, const arguments *given, cop_error *err)
{
    if (job->train_count == 0) {
        return COP_FAIL(err, COP_ERR_FORMAT, "%s: the text is empty", given->output);
    }
    if (job->held_out != NULL && job->held_out_count == 0) {
        return COP_FAIL(err, COP_ERR_FORMAT,
                        "%s: a text of %" PRId64 " bytes is too short to hold %g of it out in "
                        "blocks of %" PRId64,
                        given->held_out_output, job->train_count, given->held_out,
                        job->split.block);
    }
    return COP_OK;
}

static cop_status work(tokenize_job *job, const arguments *given, cop_error *err)
{
    cop_status status = COP_OK;
    int64_t total = 0;

    COP_TRY(status, check_arguments(given, err));
    COP_TRY(status, measure(&total, given, err));
    job->split = cop_split_of(given->held_out, total);
    job->ids = cop_alloc(PIECE, sizeof *job->ids);
    job->bytes = cop_alloc(PIECE, 1);
    if (job->ids == NULL || job->bytes == NULL) {
        status = COP_FAIL(err, COP_ERR_NOMEM, "%s: no memory to write it", given->output);
        goto done;
    }
    COP_TRY(status, cop_tokens_writer_create(&job->train, given->output, BYTE_VOCAB, "byte", err));
    if (given->held_out_output != NULL) {
        COP_TRY(status, cop_tokens_writer_create(&job->held_out, given->held_out_output, BYTE_VOCAB,
                                                 "byte", err));
    }
    cop_progress_init(&job->progress, "tokenize", "megabyte", total >> 20, 0);
    for (int i = 0; i < given->text_count; i++) {
        COP_TRY(status, add_text(job, given->texts[i], err));
    }
    COP_TRY(status, check_counts(job, given, err));
    COP_TRY(status, cop_tokens_writer_commit(job->train, err));
    if (job->held_out != NULL) {
        COP_TRY(status, cop_tokens_writer_commit(job->held_out, err));
    }

done:
    cop_free(job->ids);
    cop_free(job->bytes);
    cop_tokens_writer_destroy(job->train);
    cop_tokens_writer_destroy(job->held_out);
    return status;
}

static int print_json(const arguments *given, const tokenize_job *job)
{
    json_t *json = json_pack("{s:s, s:s, s:i, s:I}", "output", given->output, "tokenizer", "byte",
                             "vocab", (int)BYTE_VOCAB, "tokens", (json_int_t)job->train_count);
    json_t *held_out =
        given->held_out_output == NULL
            ? json_null()
            : json_pack("{s:s, s:I, s:I}", "output", given->held_out_output, "tokens",
                        (json_int_t)job->held_out_count, "block", (json_int_t)job->split.block);
    if (json_object_set_new(json, "held_out", held_out) != 0) {
        json_decref(json);
        json = NULL;
    }
    return cop_cli_print_json(json);
}

int cop_cmd_tokenize(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"tokenizer", KEY_TOKENIZER, "NAME", 0, "byte: one token for each byte (required)", 0},
        {"output", 'o', "FILE.bin", 0, "Token file; FILE.json is written beside it (required)", 0},
        {"held-out", KEY_HELD_OUT, "SHARE", 0,
         "Keep this share of the text, 1e-6 to 0.5, out of FILE.bin: about 32 blocks of 256 to "
         "65,536 bytes, evenly spread (of a pipe: blocks of 16,384)",
         0},
        {"held-out-output", KEY_HELD_OUT_OUTPUT, "FILE.bin", 0, "Token file for that share", 0},
        {0},
    };
    static const struct argp_child children[] = {
        {&cop_cli_json_argp, 0, NULL, 0}, {&cop_cli_force_argp, 0, NULL, 0}, {0}};
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .args_doc = "TEXT...",
        .doc = "Turns the files TEXT, one behind the other (- is standard input), into token files "
               "for training and evaluation.",
        .children = children,
    };
    arguments given = {0};
    tokenize_job job = {0};
    cop_error err = {0};
    cop_cli_parse(&argp, argc, argv, &given);

    const cop_status status = work(&job, &given, &err);
    if (status != COP_OK) {
        return cop_cli_fail(&err);
    }
    if (given.common.is_json) {
        return print_json(&given, &job);
    }
    cop_cli_print("%s: %" PRId64 " tokens, vocabulary %d\n", given.output, job.train_count,
                  (int)BYTE_VOCAB);
    if (given.held_out_output != NULL) {
        cop_cli_print("%s: %" PRId64 " tokens, held out in blocks of %" PRId64 "\n",
                      given.held_out_output, job.held_out_count, job.split.block);
    }
    return COP_EXIT_DONE;
}
