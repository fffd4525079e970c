#include "benchmarks/curves.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/text.h"

enum { COLUMNS_MAX = 128, FILE_BYTES_MAX = 256 << 20 };

static const double pythia_step_tokens = 2097152; // 1024 sequences of 2048

// Where to find what in a row; -1: no such column.
typedef struct columns {
    int id;
    int tokens;
    int loss;
    int version; // of Pythia: only its rows that are "pythia-v1", "zero-shot"
    int shots;
    int dedup;
} columns;

typedef struct row {
    char id[CURVE_ID_BYTES];
    double tokens;
    double loss;
    int64_t line;
} row;

typedef struct rows {
    row *row;
    int64_t count;
    int64_t room;
} rows;

// Cuts a line at its commas, in place; quotes around a field are taken off.
static int split(char **field, char *line)
{
    int count = 0;
    char *at = line;
    while (count < COLUMNS_MAX) {
        const bool is_quoted = *at == '"';
        field[count++] = is_quoted ? at + 1 : at;
        if (is_quoted) {
            at = strchr(at + 1, '"');
            if (at == NULL) {
                return count;
            }
            *at++ = '\0';
        }
        at += strcspn(at, ",");
        if (*at == '\0') {
            return count;
        }
        *at++ = '\0';
    }
    return count;
}

static int find(char *const *field, int count, const char *name)
{
    for (int i = 0; i < count; i++) {
        if (strcmp(field[i], name) == 0) {
            return i;
        }
    }
    return -1;
}

static cop_status read_header(columns *out, char *line, bool is_pythia, const char *path,
                              cop_error *err)
{
    char *field[COLUMNS_MAX];
    const int count = split(field, line);
    *out = (columns){.id = find(field, count, is_pythia ? "model" : "id"),
                     .tokens = find(field, count, is_pythia ? "step" : "tokens"),
                     .loss = find(field, count, is_pythia ? "lambada_openai:ppl" : "loss"),
                     .version = find(field, count, "ver"),
                     .shots = find(field, count, "shots"),
                     .dedup = find(field, count, "dedup")};
    if (out->id < 0 || out->tokens < 0 || out->loss < 0 ||
        (is_pythia && (out->version < 0 || out->shots < 0 || out->dedup < 0))) {
        return COP_FAIL(err, COP_ERR_FORMAT, "%s:1: columns: some are absent (allowed: %s)", path,
                        is_pythia ? "ver, shots, dedup, model, step, lambada_openai:ppl"
                                  : "id, tokens, loss, and others");
    }
    return COP_OK;
}

static cop_status add(rows *to, const row *added, cop_error *err)
{
    if (to->count == to->room) {
        const int64_t room = to->room == 0 ? 256 : 2 * to->room;
        row *grown = cop_realloc(to->row, (size_t)room, sizeof *grown);
        if (grown == NULL) {
            return COP_FAIL(err, COP_ERR_NOMEM, "curves: out of memory for %lld rows",
                            (long long)room);
        }
        to->row = grown;
        to->room = room;
    }
    to->row[to->count++] = *added;
    return COP_OK;
}

static cop_status read_row(rows *to, char *line, const columns *c, int64_t number, bool is_pythia,
                           const char *path, cop_error *err)
{
    char *field[COLUMNS_MAX];
    row r = {.line = number};
    const int count = split(field, line);
    if (count <= c->id || count <= c->tokens || count <= c->loss) {
        return COP_FAIL(err, COP_ERR_FORMAT, "%s:%lld: fields: %d (allowed: as in the header)",
                        path, (long long)number, count);
    }
    if (field[c->loss][0] == '\0' || (is_pythia && (strcmp(field[c->version], "pythia-v1") != 0 ||
                                                    strcmp(field[c->shots], "zero-shot") != 0))) {
        return COP_OK;
    }
    if (!cop_text_to_f64(field[c->tokens], &r.tokens) || r.tokens < 0) {
        return COP_FAIL(err, COP_ERR_FORMAT, "%s:%lld: tokens: %s (allowed: numbers >= 0)", path,
                        (long long)number, field[c->tokens]);
    }
    if (!cop_text_to_f64(field[c->loss], &r.loss) || (is_pythia && r.loss <= 0)) {
        return COP_FAIL(err, COP_ERR_FORMAT, "%s:%lld: loss: %s (allowed: numbers)", path,
                        (long long)number, field[c->loss]);
    }
    const bool is_dedup = is_pythia && strcmp(field[c->dedup], "1") == 0;
    const int length =
        snprintf(r.id, sizeof r.id, "%s%s", field[c->id], is_dedup ? "-deduped" : "");
    if (length <= 0 || length >= (int)sizeof r.id) {
        return COP_FAIL(err, COP_ERR_FORMAT, "%s:%lld: id: %s (allowed: 1..%d bytes)", path,
                        (long long)number, field[c->id], CURVE_ID_BYTES - 1);
    }
    if (is_pythia) {
        r.tokens *= pythia_step_tokens;
        r.loss = log(r.loss);
    }
    return add(to, &r, err);
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a;
    const double y = *(const double *)b;
    return (x > y) - (x < y);
}

static int64_t find_candidate(const curves *c, const char *id)
{
    for (int64_t i = 0; i < c->count; i++) {
        if (strcmp(c->curve[i].id, id) == 0) {
            return i;
        }
    }
    return -1;
}

static cop_status list_tokens(curves *out, const rows *from, cop_error *err)
{
    out->tokens = cop_alloc((size_t)from->count + 1, sizeof *out->tokens);
    if (out->tokens == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "curves: out of memory");
    }
    for (int64_t i = 0; i < from->count; i++) {
        out->tokens[i] = from->row[i].tokens;
    }
    qsort(out->tokens, (size_t)from->count, sizeof *out->tokens, by_value);
    for (int64_t i = 0; i < from->count; i++) {
        if (out->points == 0 || out->tokens[i] > out->tokens[out->points - 1]) {
            out->tokens[out->points++] = out->tokens[i];
        }
    }
    return COP_OK;
}

static cop_status fill(curves *out, const rows *from, const char *path, cop_error *err)
{
    cop_status status = COP_OK;
    COP_TRY(status, list_tokens(out, from, err));
    out->curve = cop_alloc((size_t)from->count + 1, sizeof *out->curve);
    if (out->curve == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "curves: out of memory");
    }
    for (int64_t i = 0; i < from->count; i++) {
        const row *r = &from->row[i];
        int64_t at = find_candidate(out, r->id);
        if (at < 0) {
            at = out->count++;
            curve *added = &out->curve[at];
            memcpy(added->id, r->id, sizeof added->id);
            added->loss = cop_alloc((size_t)out->points, sizeof *added->loss);
            if (added->loss == NULL) {
                return COP_FAIL(err, COP_ERR_NOMEM, "curves: out of memory");
            }
            for (int64_t p = 0; p < out->points; p++) {
                added->loss[p] = (double)NAN;
            }
        }
        const double *found =
            bsearch(&r->tokens, out->tokens, (size_t)out->points, sizeof *found, by_value);
        double *loss = &out->curve[at].loss[found - out->tokens];
        if (!isnan(*loss)) {
            return COP_FAIL(err, COP_ERR_FORMAT,
                            "%s:%lld: %s at %g tokens: a second row (allowed: one)", path,
                            (long long)r->line, r->id, r->tokens);
        }
        *loss = r->loss;
    }
done:
    return status;
}

// Candidates whose end is not known cannot be judged.
static void leave_out_unfinished(curves *c)
{
    int64_t kept = 0;
    for (int64_t i = 0; i < c->count; i++) {
        if (isnan(c->curve[i].loss[c->points - 1])) {
            cop_free(c->curve[i].loss);
            c->left_out++;
        } else {
            c->curve[kept++] = c->curve[i];
        }
    }
    c->count = kept;
}

// Stages that some lack cannot be a rung.
static void leave_out_gaps(curves *c)
{
    int64_t kept = 0;
    for (int64_t p = 0; p < c->points; p++) {
        bool is_complete = true;
        for (int64_t i = 0; i < c->count; i++) {
            is_complete = is_complete && !isnan(c->curve[i].loss[p]);
        }
        if (is_complete) {
            c->tokens[kept] = c->tokens[p];
            for (int64_t i = 0; i < c->count; i++) {
                c->curve[i].loss[kept] = c->curve[i].loss[p];
            }
            kept++;
        }
    }
    c->points = kept;
}

static cop_status read(curves *out, const char *path, bool is_pythia, cop_error *err)
{
    cop_status status = COP_OK;
    char *text = NULL;
    char *rest = NULL;
    rows all = {0};
    columns c = {0};
    char *line = NULL;
    int64_t number = 1;
    *out = (curves){0};
    COP_TRY(status, cop_file_read(&text, NULL, path, FILE_BYTES_MAX, err));
    line = strtok_r(text, "\r\n", &rest);
    if (line == NULL) {
        status =
            COP_FAIL(err, COP_ERR_FORMAT, "%s:1: header: absent (allowed: id,tokens,loss)", path);
        goto done;
    }
    COP_TRY(status, read_header(&c, line, is_pythia, path, err));
    while ((line = strtok_r(NULL, "\r\n", &rest)) != NULL) {
        COP_TRY(status, read_row(&all, line, &c, ++number, is_pythia, path, err));
    }
    if (all.count == 0) {
        status =
            COP_FAIL(err, COP_ERR_FORMAT, "%s: rows with a loss: 0 (allowed: 1 or more)", path);
        goto done;
    }
    COP_TRY(status, fill(out, &all, path, err));
    leave_out_unfinished(out);
    leave_out_gaps(out);
done:
    cop_free(text);
    cop_free(all.row);
    if (status != COP_OK) {
        curves_release(out);
    }
    return status;
}

cop_status curves_read(curves *out, const char *path, cop_error *err)
{
    return read(out, path, false, err);
}

cop_status curves_read_pythia(curves *out, const char *folder, cop_error *err)
{
    char *path = cop_file_join(folder, "pythia/pythia_checkpoint_curves.csv");
    if (path == NULL) {
        *out = (curves){0};
        return COP_FAIL(err, COP_ERR_NOMEM, "curves: out of memory");
    }
    const cop_status status = read(out, path, true, err);
    cop_free(path);
    return status;
}

void curves_release(curves *c)
{
    for (int64_t i = 0; i < c->count; i++) {
        cop_free(c->curve[i].loss);
    }
    cop_free(c->curve);
    cop_free(c->tokens);
    *c = (curves){0};
}
