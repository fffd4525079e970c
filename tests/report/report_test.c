// Reports of made-up studies: the contract of report.json, candidates.csv read back, the page.
//
// Longer than the aim: one test file for one source, whose cases share what is above them.

#include "report/report.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"
#include "report/embedded.h"
#include "report/picture.h"
#include "tests/report/made.h"
#include "tests/search/synthetic.h"
#include "tests/support.h"

enum { SEQUENCES = 12 };

// The study "whole", which the group made once, under another name.
static void copy_study(const char *directory)
{
    char path[64];
    cop_error err = {0};
    must_succeed(cop_file_remove_tree(directory, &err), &err);
    must_succeed(cop_file_make_directory(directory, &err), &err);
    (void)snprintf(path, sizeof path, "%s/study.db", directory);
    must_succeed(cop_file_copy(path, "whole/study.db", &err), &err);
}

static int make_whole(void **state)
{
    (void)state;
    synthetic_study("whole", false);
    return 0;
}

static const char *text_at(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    assert_true(json_is_string(value));
    return json_string_value(value);
}

static const json_t *candidate_named(const json_t *document, const char *id)
{
    const json_t *list = json_object_get(document, "candidates");
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (strcmp(text_at(json_array_get(list, i), "id"), id) == 0) {
            return json_array_get(list, i);
        }
    }
    fail_msg("no candidate %s", id);
    return NULL;
}

// A study of `count` candidates that finished the pruned stage; `values` [count][SEQUENCES].
static void small_study(const char *directory, int count, double values[][SEQUENCES])
{
    cop_store *store = synthetic_store(directory);
    for (int i = 0; i < count; i++) {
        const cop_candidate c = synthetic_candidate(i, 2 + i, 64, 256);
        synthetic_add(store, &c, 0, 0, values[i], SEQUENCES);
    }
    cop_store_destroy(store);
}

static void has_every_key_that_programs_rely_on(void **state)
{
    (void)state;
    made m;
    make(&m, "whole");
    static const char *const top[] = {"study", "objectives",  "candidates", "front",
                                      "pick",  "evaluations", "tokens",     "provenance"};
    static const char *const each[] = {"id",     "values",   "layers",   "hidden",
                                       "heads",  "kv_heads", "head_dim", "ffn",
                                       "params", "stage",    "tokens",   "metrics",
                                       "status", "on_front", "rank",     "params_non_embedding"};
    static const char *const figures[] = {"value", "low", "high", "tokens"};
    for (size_t i = 0; i < sizeof top / sizeof top[0]; i++) {
        assert_non_null(json_object_get(m.document, top[i]));
    }
    const json_t *list = json_object_get(m.document, "candidates");
    assert_int_equal(json_array_size(list), 30);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *c = json_array_get(list, i);
        for (size_t k = 0; k < sizeof each / sizeof each[0]; k++) {
            assert_non_null(json_object_get(c, each[k]));
        }
        const json_t *loss = json_object_get(json_object_get(c, "metrics"), "loss");
        for (size_t k = 0; loss != NULL && k < sizeof figures / sizeof figures[0]; k++) {
            assert_true(json_is_number(json_object_get(loss, figures[k])));
        }
        assert_int_equal(loss == NULL, strcmp(text_at(c, "status"), "failed") == 0);
    }
    const json_t *front = json_object_get(m.document, "front");
    assert_true(json_array_size(front) >= 3);
    for (size_t i = 0; i < json_array_size(front); i++) {
        const json_t *c = candidate_named(m.document, json_string_value(json_array_get(front, i)));
        assert_true(json_is_true(json_object_get(c, "on_front")));
        assert_int_equal(json_integer_value(json_object_get(c, "stage")), 3);
    }
    const json_t *pick = json_object_get(m.document, "pick");
    assert_non_null(candidate_named(m.document, text_at(pick, "id")));
    assert_non_null(strstr(text_at(pick, "reason"), "KL to the teacher after 6.00M tokens"));
    assert_int_equal(json_integer_value(json_object_get(m.document, "evaluations")), 66);
    assert_int_equal(json_integer_value(json_object_get(m.document, "tokens")),
                     20 * 500000 + 10 * 1500000 + 7 * 4000000);
    assert_string_equal(text_at(json_object_get(m.document, "study"), "name"), "tiny");
    made_release(&m);
}

static void keeps_stages_apart(void **state)
{
    (void)state;
    made m;
    make(&m, "whole");
    static const int64_t finished[] = {29, 20, 10, 7};
    const json_t *stages = json_object_get(m.document, "stages");
    assert_int_equal(json_array_size(stages), 4);
    for (int s = 0; s < 4; s++) {
        const json_t *stage = json_array_get(stages, (size_t)s);
        const json_t *tau = json_object_get(json_object_get(stage, "tau_with_previous"), "value");
        assert_int_equal(json_integer_value(json_object_get(stage, "finished")), finished[s]);
        assert_int_equal(json_is_null(tau), s == 0);
        int64_t ranked = 0; // ranks of one stage: from 1, none above its number of candidates
        const json_t *list = json_object_get(m.document, "candidates");
        for (size_t i = 0; i < json_array_size(list); i++) {
            const json_t *of = json_object_get(json_array_get(list, i), "stages");
            for (size_t k = 0; k < json_array_size(of); k++) {
                const json_t *entry = json_array_get(of, k);
                if (json_integer_value(json_object_get(entry, "stage")) == s) {
                    const json_int_t rank = json_integer_value(json_object_get(entry, "rank"));
                    assert_true(rank >= 1 && rank <= finished[s]);
                    ranked++;
                }
            }
        }
        assert_int_equal(ranked, finished[s]);
    }
    const json_t *first = json_array_get(stages, 0);
    assert_int_equal(json_integer_value(json_object_get(first, "entered")), 30);
    assert_int_equal(json_integer_value(json_object_get(first, "failed")), 1);
    assert_int_equal(json_integer_value(json_object_get(first, "promoted")) +
                         json_integer_value(json_object_get(first, "rescued")),
                     20);
    made_release(&m);
}

// --- CSV ----------------------------------------------------------------------------------------

// Splits one record of RFC 4180; returns where the next begins.
static const char *read_record(const char *at, char fields[][256], int *count)
{
    *count = 0;
    for (;;) {
        size_t length = 0;
        const bool is_quoted = *at == '"';
        at += is_quoted ? 1 : 0;
        for (;;) {
            if (is_quoted && at[0] == '"' && at[1] == '"') {
                at++;
            } else if (is_quoted ? *at == '"' : strchr(",\r", *at) != NULL) {
                break;
            }
            assert_true(*at != '\0' && length < 255);
            fields[*count][length++] = *at++;
        }
        fields[(*count)++][length] = '\0';
        at += is_quoted ? 1 : 0;
        if (*at == ',') {
            at++;
            continue;
        }
        assert_memory_equal(at, "\r\n", 2);
        return at + 2;
    }
}

static void writes_a_table_that_reads_back(void **state)
{
    (void)state;
    made m;
    cop_text csv = {0};
    cop_error err = {0};
    static char header[64][256];
    static char fields[64][256];
    int columns = 0;
    int count = 0;
    int rows = 0;
    copy_study("table");
    cop_store *store = NULL;
    must_succeed(cop_store_open(&store, "table", COP_STORE_OWN, &err), &err);
    must_succeed(cop_store_state(store, "L8-C256-H8-K2-F1152", COP_STATE_FAILED,
                                 "said \"no\", twice,\nand stopped", &err),
                 &err);
    cop_store_destroy(store);
    make(&m, "table");
    must_succeed(cop_report_csv(&csv, &m.report, &err), &err);
    const char *at = read_record(cop_text_view(&csv), header, &columns);
    assert_string_equal(header[0], "id");
    assert_string_equal(header[10], "loss");
    assert_string_equal(header[columns - 1], "reason");
    while (*at != '\0') {
        at = read_record(at, fields, &count);
        assert_int_equal(count, columns);
        const json_t *c = candidate_named(m.document, fields[0]);
        if (fields[1][0] == '\0') {
            assert_string_equal(fields[columns - 1], "said \"no\", twice,\nand stopped");
            assert_string_equal(fields[10], "");
        } else {
            const json_t *stage =
                json_array_get(json_object_get(c, "stages"), (size_t)(fields[1][0] - '0'));
            double loss = 0;
            assert_true(cop_text_to_f64(fields[10], &loss));
            assert_true(loss == json_real_value(json_object_get(
                                    json_object_get(json_object_get(stage, "metrics"), "loss"),
                                    "value"))); // to the last bit
        }
        rows++;
    }
    assert_int_equal(rows, 66 + 1);
    cop_text_release(&csv);
    made_release(&m);
}

static void documents_every_column(void **state)
{
    (void)state;
    made m;
    cop_text csv = {0};
    cop_error err = {0};
    char *page = NULL;
    static char header[64][256];
    int columns = 0;
    make(&m, "whole");
    must_succeed(cop_report_csv(&csv, &m.report, &err), &err);
    must_succeed(cop_file_read(&page, NULL, COP_SOURCE_DIR "/docs/study.md", (size_t)1 << 20, &err),
                 &err);
    (void)read_record(cop_text_view(&csv), header, &columns);
    for (int i = 0; i < columns; i++) {
        char name[300];
        (void)snprintf(name, sizeof name, "`%.200s`", header[i]);
        if (strstr(page, name) == NULL) {
            fail_msg("docs/study.md does not name the column %s", name);
        }
    }
    cop_free(page);
    cop_text_release(&csv);
    made_release(&m);
}

// --- Page ---------------------------------------------------------------------------------------

static size_t count_of(const char *text, const char *word)
{
    size_t count = 0;
    for (const char *at = strstr(text, word); at != NULL; at = strstr(at + 1, word)) {
        count++;
    }
    return count;
}

static void makes_a_page_that_needs_nothing_else(void **state)
{
    (void)state;
    made m;
    cop_error err = {0};
    make(&m, "whole");
    for (int with_charts = 0; with_charts < 2; with_charts++) {
        cop_text page = {0};
        json_t *read = NULL;
        must_succeed(cop_report_html(&page, &m.report, m.document, with_charts == 1, &err), &err);
        const char *html = cop_text_view(&page);
        const char *data = strstr(html, "id=\"data\">");
        assert_non_null(data);
        data += strlen("id=\"data\">");
        must_succeed(
            cop_json_parse(&read, "data", data, (size_t)(strstr(data, "</script>") - data), &err),
            &err);
        assert_true(json_equal(read, m.document));
        json_decref(read);
        assert_int_equal(count_of(html, "<script src"), 0);
        assert_int_equal(count_of(html, "<link"), 0);
        assert_int_equal(count_of(html, "@import"), 0);
        assert_int_equal(count_of(html, "url("), 0);
        assert_int_equal(count_of(html, "<img"), 0);
        if (with_charts == 0) { // the library names its home in a comment
            assert_int_equal(count_of(html, "://"), count_of(html, "http://www.w3.org/2000/svg"));
        }
        const bool has_library = with_charts == 1 && cop_embedded_chart.bytes > 0;
        assert_int_equal(count_of(html, "Chart.js v"), has_library ? 1 : 0);
        assert_true(count_of(html, "<circle") > 5); // the static picture is there in any case
        assert_int_equal(count_of(html, "@DATA@") + count_of(html, "@TITLE@"), 0);
        cop_text_release(&page);
    }
    made_release(&m);
}

static void escapes_what_a_study_is_called(void **state)
{
    (void)state;
    static const char *const evil = "</script><script>alert(1)</script><!-- \" & '";
    made m;
    cop_error err = {0};
    cop_text page = {0};
    double values[1][SEQUENCES] = {{0.5}};
    small_study("evil", 1, values);
    cop_store *store = NULL;
    must_succeed(cop_store_open(&store, "evil", COP_STORE_OWN, &err), &err);
    must_succeed(cop_store_set(store, "study", "/x/</script><script>alert(1).yaml", &err), &err);
    must_succeed(cop_store_set(store, "command", evil, &err), &err);
    must_succeed(cop_store_set(store, "device", "\xff\xfe not UTF-8", &err), &err);
    must_succeed(cop_store_state(store, "L2-C64-H2-K2-F256", COP_STATE_ELIMINATED, evil, &err),
                 &err);
    cop_store_destroy(store);
    make(&m, "evil");
    must_succeed(cop_report_html(&page, &m.report, m.document, false, &err), &err);
    const char *html = cop_text_view(&page);
    assert_int_equal(count_of(html, "</script"), 3); // data, library, page
    assert_int_equal(count_of(html, "<script"), 3);
    assert_int_equal(count_of(html, "<!--"), 0);
    assert_non_null(strstr(html, "\\u003c/script>\\u003cscript>alert(1)"));
    const json_t *provenance = json_object_get(m.document, "provenance");
    assert_string_equal(text_at(provenance, "command"), evil);
    assert_string_equal(text_at(json_object_get(provenance, "facts"), "device"), "?? not UTF-8");
    cop_text_release(&page);
    made_release(&m);
}

// --- Odd studies ---------------------------------------------------------------------------------

static void describes_an_empty_study(void **state)
{
    (void)state;
    made m;
    cop_error err = {0};
    cop_text csv = {0};
    cop_store_destroy(synthetic_store("empty"));
    make(&m, "empty");
    const json_t *pick = json_object_get(m.document, "pick");
    assert_true(json_is_null(json_object_get(pick, "id")));
    assert_string_equal(text_at(pick, "reason"), "no candidate has a finished stage yet");
    assert_int_equal(json_array_size(json_object_get(m.document, "front")), 0);
    must_succeed(cop_report_csv(&csv, &m.report, &err), &err);
    assert_int_equal(count_of(cop_text_view(&csv), "\r\n"), 1);
    must_succeed(cop_report_write(&m.report, "empty", &err), &err);
    cop_text_release(&csv);
    made_release(&m);
}

static void describes_a_single_candidate(void **state)
{
    (void)state;
    made m;
    cop_error err = {0};
    double values[1][SEQUENCES] = {{0.5, 0.25, 0.75}};
    small_study("single", 1, values);
    make(&m, "single");
    const json_t *pick = json_object_get(m.document, "pick");
    assert_string_equal(text_at(pick, "id"), "L2-C64-H2-K2-F256");
    assert_true(json_is_null(json_object_get(pick, "runner_up")));
    assert_true(json_is_null(json_object_get(json_object_get(m.document, "knee"), "by_distance")));
    must_succeed(cop_report_write(&m.report, "single", &err), &err);
    made_release(&m);
}

static void writes_null_for_what_is_not_finite(void **state)
{
    (void)state;
    made m;
    cop_error err = {0};
    cop_text csv = {0};
    cop_text picture = {0};
    double values[3][SEQUENCES] = {{0.5, 0.25}, {(double)NAN}, {(double)INFINITY}};
    small_study("finite", 3, values);
    make(&m, "finite");
    const json_t *c = candidate_named(m.document, "L3-C64-H2-K2-F256");
    const json_t *loss = json_object_get(json_object_get(c, "metrics"), "loss");
    assert_true(json_is_null(json_object_get(loss, "value")));
    assert_true(json_is_null(json_object_get(loss, "high")));
    must_succeed(cop_report_csv(&csv, &m.report, &err), &err);
    assert_int_equal(count_of(cop_text_view(&csv), "nan"), 0);
    assert_int_equal(count_of(cop_text_view(&csv), "inf"), 0);
    cop_picture_front(&picture, &m.report);
    assert_int_equal(count_of(cop_text_view(&picture), "<circle"), 2); // one point, and the pick
    assert_int_equal(count_of(cop_text_view(&picture), "nan"), 0);
    cop_text_release(&picture);
    must_succeed(cop_report_write(&m.report, "finite", &err), &err);
    cop_text_release(&csv);
    made_release(&m);

    double all[2][SEQUENCES] = {{(double)NAN}, {(double)NAN}}; // nothing to pick
    small_study("finite", 2, all);
    make(&m, "finite");
    assert_false(m.report.has_pick);
    assert_int_equal(m.report.front_count, 0);
    must_succeed(cop_report_write(&m.report, "finite", &err), &err);
    made_release(&m);
}

static void finds_the_knee_where_it_is(void **state)
{
    (void)state;
    made m;
    double values[5][SEQUENCES];
    static const double means[] = {1.0, 0.4, 0.35, 0.32, 0.3}; // a sharp corner at the second
    for (int i = 0; i < 5; i++) {
        synthetic_losses(values[i], SEQUENCES, means[i], 0.001, (uint64_t)i);
    }
    small_study("knee", 5, values);
    make(&m, "knee");
    assert_int_equal(m.report.front_count, 5);
    assert_int_equal(m.report.knee_by_distance, 1);
    assert_int_equal(m.report.knee_by_ideal, 1);
    assert_true(m.report.step[0].gain.low > 0.5 && m.report.step[0].gain.high < 0.7);
    assert_false(m.report.step[0].is_flat);
    assert_true(m.report.step[0].gain_per_percent > m.report.step[1].gain_per_percent);
    made_release(&m);
}

static void is_the_same_for_the_same_figures(void **state)
{
    (void)state;
    char *text[2] = {NULL};
    char *csv[2] = {NULL};
    cop_error err = {0};
    for (int i = 0; i < 2; i++) {
        made m;
        const char *directory = i == 0 ? "first" : "second";
        cop_text table = {0};
        if (i == 0) {
            synthetic_study(directory, false);
        } else {
            copy_study(directory);
        }
        if (i == 1) { // took longer, was interrupted
            cop_store *store = NULL;
            int attempts = 0;
            must_succeed(cop_store_open(&store, directory, COP_STORE_OWN, &err), &err);
            must_succeed(cop_store_attempt(store, "L4-C192-H6-K2-F512", 0, &attempts, &err), &err);
            must_succeed(
                cop_store_state(store, "L4-C192-H6-K2-F512", COP_STATE_ELIMINATED, "", &err), &err);
            must_succeed(cop_store_set(store, "finished", "2025-01-31T12:00:00Z", &err), &err);
            cop_store_destroy(store);
        }
        make(&m, directory);
        must_succeed(cop_report_csv(&table, &m.report, &err), &err);
        csv[i] = table.data;
        (void)json_object_del(m.document, "provenance");
        must_succeed(cop_json_text(&text[i], m.document, 1, &err), &err);
        made_release(&m);
    }
    assert_string_equal(text[0], text[1]);
    assert_string_equal(csv[0], csv[1]);
    for (int i = 0; i < 2; i++) {
        cop_free(text[i]);
        cop_free(csv[i]);
    }
}

static void refuses_what_it_cannot_write_or_understand(void **state)
{
    (void)state;
    made m;
    cop_error err = {0};
    cop_report report = {0};
    cop_store *store = NULL;
    double values[1][SEQUENCES] = {{0.5}};
    small_study("odd", 1, values);
    make(&m, "odd");
    assert_int_equal(cop_report_write(&m.report, "odd/none", &err), COP_ERR_IO);
    assert_memory_equal(err.message, "odd/none/report.json", 20);
    made_release(&m);
    must_succeed(cop_store_open(&store, "odd", COP_STORE_OWN, &err), &err);
    must_succeed(cop_store_set(store, "objectives", "loss,beauty", &err), &err);
    cop_snapshot snapshot = {0};
    must_succeed(cop_snapshot_read(&snapshot, store, &err), &err);
    assert_int_equal(cop_report_create(&report, &snapshot, "odd", &err), COP_ERR_FORMAT);
    assert_string_equal(err.message,
                        "odd: objectives of the study are unknown: loss,beauty (allowed: loss, "
                        "params, memory_bytes, flops_per_token)");
    cop_snapshot_release(&snapshot);
    cop_store_destroy(store);
}

static void survives_every_failed_allocation(void **state)
{
    (void)state;
    made m;
    cop_error err = {0};
    double values[3][SEQUENCES] = {{0.5, 0.25}, {0.25, 0.25}, {0.1}};
    small_study("memory", 3, values);
    make(&m, "memory");
    const size_t blocks = cop_alloc_live_blocks();
    for (size_t n = 0;; n++) {
        cop_report report = {0};
        cop_alloc_fail_after(n);
        const cop_status status = cop_report_create(&report, &m.snapshot, "memory", &err);
        cop_alloc_fail_after(SIZE_MAX);
        cop_report_release(&report);
        assert_int_equal(cop_alloc_live_blocks(), blocks);
        if (status == COP_OK) {
            assert_true(n > 20);
            break;
        }
        assert_int_equal(status, COP_ERR_NOMEM);
    }
    made_release(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(has_every_key_that_programs_rely_on),
        cmocka_unit_test(keeps_stages_apart),
        cmocka_unit_test(writes_a_table_that_reads_back),
        cmocka_unit_test(documents_every_column),
        cmocka_unit_test(makes_a_page_that_needs_nothing_else),
        cmocka_unit_test(escapes_what_a_study_is_called),
        cmocka_unit_test(describes_an_empty_study),
        cmocka_unit_test(describes_a_single_candidate),
        cmocka_unit_test(writes_null_for_what_is_not_finite),
        cmocka_unit_test(finds_the_knee_where_it_is),
        cmocka_unit_test(is_the_same_for_the_same_figures),
        cmocka_unit_test(refuses_what_it_cannot_write_or_understand),
        cmocka_unit_test(survives_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, make_whole, NULL);
}
