// The study database: what is written is read back, nothing acknowledged is lost, damage is noticed.
//
// Longer than the aim: one test file for one source, whose cases share what is above them.

#include "search/store.h"

#include <math.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/file.h"
#include "search/snapshot.h"
#include "tests/search/synthetic.h"
#include "tests/support.h"

enum { SEQUENCES = 8 };

static const double losses[SEQUENCES] = {0.5, 0.25, 1, 2, 0.125, 4, 0.75, 3};

static void read_study(cop_snapshot *out, const char *directory)
{
    cop_store *reader = NULL;
    cop_error err = {0};
    must_succeed(cop_store_open(&reader, directory, COP_STORE_READ, &err), &err);
    must_succeed(cop_snapshot_read(out, reader, &err), &err);
    cop_store_destroy(reader);
}

static void reads_back_what_was_written(void **state)
{
    (void)state;
    cop_store *store = synthetic_store("back");
    cop_candidate c[2] = {synthetic_candidate(7, 4, 256, 1024),
                          synthetic_candidate(3, 4, 192, 512)};
    cop_error err = {0};
    cop_snapshot s = {0};
    int attempts = 0;
    const cop_curve_point curve[] = {{100, 3.5}, {200, 2.5}};
    cop_stage_record record = synthetic_record(1, 200, losses, SEQUENCES);
    c[0].ffn_ratio = (double)NAN;

    must_succeed(cop_store_set(store, "b", "two", &err), &err);
    must_succeed(cop_store_set(store, "a", "one", &err), &err);
    must_succeed(cop_store_set(store, "b", "2", &err), &err);
    must_succeed(cop_store_add(store, c, 2, &err), &err);
    must_succeed(cop_store_add(store, c, 2, &err), &err); // a second time: nothing happens
    must_succeed(cop_store_attempt(store, c[0].id, 1, &attempts, &err), &err);
    assert_int_equal(attempts, 1);
    must_succeed(cop_store_attempt(store, c[0].id, 1, &attempts, &err), &err);
    assert_int_equal(attempts, 2);
    must_succeed(cop_store_finish_stage(store, c[0].id, &record, curve, 2, &err), &err);
    must_succeed(cop_store_promotion(store, c[0].id, 1, 0.875, "promoted", &err), &err);
    must_succeed(cop_store_state(store, c[1].id, COP_STATE_FAILED, "no luck", &err), &err);
    must_succeed(cop_store_progress(store, c[0].id, 2, 300, (double)NAN, &err), &err);
    char *value = NULL;
    must_succeed(cop_store_get(store, "b", &value, &err), &err);
    assert_string_equal(value, "2");
    cop_free(value);
    must_succeed(cop_store_get(store, "none", &value, &err), &err);
    assert_null(value);

    read_study(&s, "back"); // while the owner has it open
    assert_int_equal(s.facts, 2);
    assert_string_equal(cop_snapshot_fact(&s, "a"), "one");
    assert_null(cop_snapshot_fact(&s, "c"));
    assert_int_equal(s.count, 2);
    assert_int_equal(cop_snapshot_find(&s, c[1].id), 0); // grid order
    assert_int_equal(cop_snapshot_find(&s, "x"), -1);
    const cop_snapshot_candidate *first = &s.candidate[0];
    const cop_snapshot_candidate *second = &s.candidate[1];
    assert_int_equal(first->state, COP_STATE_FAILED);
    assert_string_equal(first->reason, "no luck");
    assert_int_equal(first->last_stage, -1);
    assert_int_equal(first->running_stage, -1);
    assert_int_equal(second->candidate.cost.total_bytes, c[0].cost.total_bytes);
    assert_true(isnan(second->candidate.ffn_ratio));
    assert_int_equal(second->last_stage, 1);
    assert_false(second->stage[0].is_done);
    assert_true(second->stage[1].is_done);
    assert_int_equal(second->stage[1].record.attempts, 2);
    assert_int_equal(second->stage[1].record.tokens, 200);
    assert_memory_equal(second->stage[1].record.evaluation.kl, losses, sizeof losses);
    assert_string_equal(second->stage[1].decision, "promoted");
    assert_true(second->stage[1].probability == 0.875);
    assert_int_equal(second->curve_points, 2);
    assert_memory_equal(second->curve, curve, sizeof curve);
    assert_int_equal(second->running_stage, 2);
    assert_int_equal(second->running_tokens, 300);
    cop_snapshot_release(&s);
    cop_evaluation_release(&record.evaluation);
    cop_store_destroy(store);
}

static void replaces_the_curve_of_an_interrupted_attempt(void **state)
{
    (void)state;
    cop_store *store = synthetic_store("curve");
    const cop_candidate c = synthetic_candidate(0, 4, 256, 1024);
    const cop_curve_point rest[] = {{30, 1.5}, {40, 1.25}};
    cop_stage_record record = synthetic_record(1, 40, losses, SEQUENCES);
    cop_error err = {0};
    cop_snapshot s = {0};
    must_succeed(cop_store_add(store, &c, 1, &err), &err);
    must_succeed(cop_store_progress(store, c.id, 1, 10, 3, &err), &err);
    must_succeed(cop_store_progress(store, c.id, 1, 20, 2, &err), &err);
    must_succeed(cop_store_progress(store, c.id, 1, 35, 9, &err),
                 &err); // then killed, resumed from 20
    must_succeed(cop_store_progress(store, c.id, 1, 30, 8, &err), &err);
    must_succeed(cop_store_finish_stage(store, c.id, &record, rest, 2, &err), &err);
    read_study(&s, "curve");
    const cop_curve_point want[] = {{10, 3}, {20, 2}, {30, 1.5}, {40, 1.25}};
    assert_int_equal(s.candidate[0].curve_points, 4);
    assert_memory_equal(s.candidate[0].curve, want, sizeof want);
    assert_int_equal(s.candidate[0].running_stage, -1);
    cop_snapshot_release(&s);
    cop_evaluation_release(&record.evaluation);
    cop_store_destroy(store);
}

static void forgets_what_is_behind_a_stage(void **state)
{
    (void)state;
    cop_store *store = synthetic_store("forgets");
    const cop_candidate c = synthetic_candidate(0, 4, 256, 1024);
    const cop_curve_point curve[] = {{20, 2}, {40, 1.5}};
    cop_error err = {0};
    cop_snapshot s = {0};
    must_succeed(cop_store_add(store, &c, 1, &err), &err);
    for (int stage = 0; stage < 3; stage++) {
        cop_stage_record record = synthetic_record(stage, 20 * stage, losses, SEQUENCES);
        must_succeed(cop_store_finish_stage(store, c.id, &record, curve + (stage == 2 ? 1 : 0),
                                            stage == 0 ? 0 : 1, &err),
                     &err);
        cop_evaluation_release(&record.evaluation);
    }
    const size_t blocks = cop_alloc_live_blocks();
    cop_alloc_fail_after(0); // needs none
    const cop_status status = cop_store_forget(store, c.id, 1, &err);
    cop_alloc_fail_after(SIZE_MAX);
    must_succeed(status, &err);
    assert_int_equal(cop_alloc_live_blocks(), blocks);
    read_study(&s, "forgets");
    assert_true(s.candidate[0].stage[0].is_done && s.candidate[0].stage[1].is_done);
    assert_false(s.candidate[0].stage[2].is_done);
    assert_int_equal(s.candidate[0].curve_points, 1);
    cop_snapshot_release(&s);
    cop_store_destroy(store);
}

static void says_what_is_wrong_with_a_request(void **state)
{
    (void)state;
    cop_store *store = synthetic_store("request");
    cop_store *other = NULL;
    cop_error err = {0};
    const cop_candidate c = synthetic_candidate(0, 4, 256, 1024);
    cop_stage_record record = synthetic_record(13, 40, losses, SEQUENCES);
    must_succeed(cop_store_add(store, &c, 1, &err), &err);

    assert_int_equal(cop_store_state(store, "L9", COP_STATE_FAILED, "", &err), COP_ERR_CONFIG);
    assert_string_equal(err.message, "request/study.db: candidate L9 is not in this study");
    assert_int_equal(cop_store_promotion(store, c.id, 1, 0, "promoted", &err), COP_ERR_CONFIG);
    assert_string_equal(err.message, "request/study.db: candidate L4-C256-H8-K2-F1024 has not "
                                     "finished stage 1");
    assert_int_equal(cop_store_finish_stage(store, c.id, &record, NULL, 0, &err), COP_ERR_CONFIG);
    assert_string_equal(err.message, "request/study.db: stage is 13 (allowed: 0..12)");
    must_succeed(cop_store_open(&other, "request", COP_STORE_READ, &err), &err);
    assert_int_equal(cop_store_set(other, "a", "b", &err), COP_ERR_UNSUPPORTED);
    assert_string_equal(err.message, "request/study.db: is open for reading only");
    cop_store_destroy(other);
    assert_int_equal(cop_store_open(&other, "nowhere", COP_STORE_READ, &err), COP_ERR_IO);
    assert_string_equal(err.message, "nowhere/study.db: does not exist (allowed: the directory of "
                                     "a study, made by `coppice search`)");
    assert_null(other);
    cop_evaluation_release(&record.evaluation);
    cop_store_destroy(store);
}

static void refuses_a_second_owner_by_name(void **state)
{
    (void)state;
    cop_store *store = synthetic_store("owned");
    cop_store *second = NULL;
    cop_error err = {0};
    char want[128];
    char owner[256];
    assert_int_equal(cop_store_open(&second, "owned", COP_STORE_OWN, &err), COP_ERR_IO);
    (void)snprintf(want, sizeof want, "owned/study.lock: the study is in use by process %ld on ",
                   (long)getpid());
    assert_memory_equal(err.message, want, strlen(want));
    assert_null(second);
    assert_true(cop_store_owner("owned", owner, sizeof owner));
    assert_non_null(strstr(owner, " since 2"));
    cop_store_destroy(store);
    assert_false(cop_store_owner("owned", owner, sizeof owner));
    must_succeed(cop_store_open(&second, "owned", COP_STORE_OWN, &err), &err);
    cop_store_destroy(second);
}

// A child that writes finished stages for ever and tells each one through a pipe once it is written.
static pid_t start_writer(const char *directory, const cop_candidate *c, int count, int *from_child)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        cop_store *store = NULL;
        cop_error err = {0};
        if (cop_store_open(&store, directory, COP_STORE_OWN, &err) != COP_OK ||
            cop_store_add(store, c, count, &err) != COP_OK) {
            _exit(2);
        }
        for (int i = 0;; i++) {
            double values[SEQUENCES];
            for (int s = 0; s < SEQUENCES; s++) {
                values[s] = i + s;
            }
            cop_stage_record record = synthetic_record(i / count % 12 + 1, i, values, SEQUENCES);
            const char *id = c[i % count].id;
            if (cop_store_finish_stage(store, id, &record, NULL, 0, &err) != COP_OK ||
                cop_store_progress(store, id, 1, i, 1, &err) != COP_OK ||
                write(ends[1], &i, sizeof i) != (ssize_t)sizeof i) {
                _exit(3);
            }
            cop_evaluation_release(&record.evaluation);
        }
    }
    (void)close(ends[1]);
    *from_child = ends[0];
    return child;
}

static void check_rows(const char *directory, const cop_candidate *c, int count, int last)
{
    cop_snapshot s = {0};
    read_study(&s, directory);
    for (int i = last; i >= 0 && i > last - count; i--) { // the newest of each candidate
        const int64_t at = cop_snapshot_find(&s, c[i % count].id);
        assert_true(at >= 0);
        const cop_snapshot_stage *stage = &s.candidate[at].stage[i / count % 12 + 1];
        assert_true(stage->is_done);
        assert_true(stage->record.tokens >= i);
        assert_true(stage->record.evaluation.kl[1] == (double)stage->record.tokens + 1);
    }
    cop_snapshot_release(&s);
}

static void loses_nothing_acknowledged_by_kill_9(void **state)
{
    (void)state;
    cop_candidate c[4];
    cop_error err = {0};
    for (int i = 0; i < 4; i++) {
        c[i] = synthetic_candidate(i, 4 + i, 256, 1024);
    }
    for (int round = 0; round < 4; round++) {
        int from_child = -1;
        int last = -1;
        int told = 0;
        const int enough = 5 + 17 * round;
        must_succeed(cop_file_remove_tree("killed", &err), &err);
        const pid_t child = start_writer("killed", c, 4, &from_child);
        while (last < enough && read(from_child, &told, sizeof told) == (ssize_t)sizeof told) {
            last = told;
        }
        assert_true(last >= enough);
        const struct timespec moment = {.tv_nsec = 137000L * round}; // into the next transaction
        (void)nanosleep(&moment, NULL);
        assert_int_equal(kill(child, SIGKILL), 0);
        int status = 0;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status));
        while (read(from_child, &told, sizeof told) == (ssize_t)sizeof told) {
            last = told;
        }
        (void)close(from_child);
        check_rows("killed", c, 4, last); // a reader, on what the killed process left
        cop_store *store = NULL;          // the dead owner's lock is no obstacle
        must_succeed(cop_store_open(&store, "killed", COP_STORE_OWN, &err), &err);
        cop_store_destroy(store);
        check_rows("killed", c, 4, last);
    }
}

static void is_read_whole_while_an_owner_writes(void **state)
{
    (void)state;
    cop_candidate c[2] = {synthetic_candidate(0, 4, 256, 1024),
                          synthetic_candidate(1, 5, 256, 1024)};
    cop_error err = {0};
    int from_child = -1;
    int told = 0;
    must_succeed(cop_file_remove_tree("busy", &err), &err);
    const pid_t child = start_writer("busy", c, 2, &from_child);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(read(from_child, &told, sizeof told), sizeof told);
        check_rows("busy", c, 2, told - 24 > 0 ? told - 24 : -1);
    }
    (void)kill(child, SIGKILL);
    (void)waitpid(child, NULL, 0);
    (void)close(from_child);
}

static void survives_a_full_disk(void **state)
{
    (void)state;
    cop_store *store = synthetic_store("full");
    const cop_candidate c = synthetic_candidate(0, 4, 256, 1024);
    cop_error err = {0};
    cop_snapshot s = {0};
    struct rlimit old;
    cop_stage_record record = synthetic_record(1, 10, losses, SEQUENCES);
    synthetic_add(store, &c, 0, 0, losses, SEQUENCES);
    assert_true(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    struct rlimit tight = {.rlim_cur = 20000, .rlim_max = old.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
    cop_status status = COP_OK;
    for (int i = 0; i < 200 && status == COP_OK; i++) {
        record.stage = 1 + i % 12;
        status = cop_store_finish_stage(store, c.id, &record, NULL, 0, &err);
    }
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(status, COP_ERR_IO);
    assert_memory_equal(err.message, "full/study.db: cannot write: ", 29);
    record.stage = 12;
    must_succeed(cop_store_finish_stage(store, c.id, &record, NULL, 0, &err), &err); // space again
    read_study(&s, "full");
    assert_memory_equal(s.candidate[0].stage[0].record.evaluation.kl, losses, sizeof losses);
    assert_true(s.candidate[0].stage[12].is_done);
    cop_snapshot_release(&s);
    cop_evaluation_release(&record.evaluation);
    cop_store_destroy(store);
}

// Opens and reads; returns the status and leaves nothing behind.
static cop_status try_study(const char *directory, cop_error *err)
{
    cop_store *store = NULL;
    cop_snapshot s = {0};
    cop_status status = cop_store_open(&store, directory, COP_STORE_READ, err);
    if (status == COP_OK) {
        status = cop_snapshot_read(&s, store, err);
    }
    cop_snapshot_release(&s);
    cop_store_destroy(store);
    return status;
}

static void notices_damage(void **state)
{
    (void)state;
    cop_store *store = synthetic_store("good");
    cop_error err = {0};
    char *data = NULL;
    size_t bytes = 0;
    for (int i = 0; i < 12; i++) {
        const cop_candidate c = synthetic_candidate(i, 4 + i, 256, 1024);
        synthetic_add(store, &c, 0, 0, losses, SEQUENCES);
        must_succeed(cop_store_set(store, c.id, "a fact of some length", &err), &err);
    }
    cop_store_destroy(store);
    must_succeed(cop_file_read(&data, &bytes, "good/study.db", (size_t)1 << 24, &err), &err);
    must_succeed(cop_file_make_directory("bad", &err), &err);

    for (size_t at = 0; at < bytes; at += 1021) { // cut anywhere
        (void)scratch_file("bad/study.db", data, at);
        const cop_status status = try_study("bad", &err);
        assert_int_equal(status, COP_ERR_FORMAT);
        assert_memory_equal(err.message, "bad/study.db: ", 14);
    }
    int refused = 0;
    for (size_t at = 0; at < bytes; at += 97) { // one byte different
        const char keep = data[at];
        data[at] = (char)(data[at] ^ 0x55);
        (void)scratch_file("bad/study.db", data, bytes);
        data[at] = keep;
        if (try_study("bad", &err) != COP_OK) {
            assert_memory_equal(err.message, "bad/study.db: ", 14);
            assert_null(strchr(err.message, '\n'));
            refused++;
        }
    }
    assert_true(refused > 40);                               // most of the rest is free space
    for (size_t at = 0; at + sizeof losses <= bytes; at++) { // in a figure
        if (memcmp(data + at, losses, sizeof losses) == 0) {
            data[at + 3] = (char)(data[at + 3] ^ 1);
            (void)scratch_file("bad/study.db", data, bytes);
            assert_int_equal(try_study("bad", &err), COP_ERR_FORMAT);
            assert_non_null(strstr(err.message, "bad/study.db: the study database is damaged: the "
                                                "checksum of a stage of candidate 'L"));
            break;
        }
    }
    cop_free(data);
}

static void refuses_foreign_and_newer_databases(void **state)
{
    (void)state;
    cop_error err = {0};

    const struct {
        const char *sql;
        const char *want;
    } rows[] = {
        {"CREATE TABLE t (a)", "foreign/study.db: is an SQLite database, but no study of coppice"},
        {"CREATE TABLE t (a); PRAGMA application_id = 1129271376; PRAGMA user_version = 7",
         "foreign/study.db: schema version is 7, made by a newer coppice (allowed: 1..2)"},
        {"PRAGMA user_version = 0; VACUUM", "foreign/study.db: holds no study yet"},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        sqlite3 *db = NULL;
        must_succeed(cop_file_remove_tree("foreign", &err), &err);
        must_succeed(cop_file_make_directory("foreign", &err), &err);
        assert_int_equal(sqlite3_open("foreign/study.db", &db), SQLITE_OK);
        assert_int_equal(sqlite3_exec(db, rows[i].sql, NULL, NULL, NULL), SQLITE_OK);
        assert_int_equal(sqlite3_close(db), SQLITE_OK);
        assert_int_equal(try_study("foreign", &err), COP_ERR_FORMAT);
        assert_string_equal(err.message, rows[i].want);
    }
    (void)scratch_file("foreign/study.db", "no database at all, but long enough", 35);
    assert_int_equal(try_study("foreign", &err), COP_ERR_FORMAT);
    assert_string_equal(err.message, "foreign/study.db: the study database is damaged: file is not "
                                     "a database");
}

static void survives_every_failed_allocation(void **state)
{
    (void)state;
    const cop_candidate c = synthetic_candidate(0, 4, 256, 1024);
    const cop_curve_point point = {1, 1};
    cop_error err = {0};
    cop_store *store = synthetic_store("memory");
    cop_stage_record record = synthetic_record(1, 1, losses, SEQUENCES);
    must_succeed(cop_store_add(store, &c, 1, &err), &err);
    must_succeed(cop_store_set(store, "a", "b", &err), &err);
    must_succeed(cop_store_finish_stage(store, c.id, &record, &point, 1, &err), &err);
    cop_evaluation_release(&record.evaluation);
    cop_store_destroy(store);
    const size_t blocks = cop_alloc_live_blocks();
    for (size_t n = 0;; n++) {
        cop_alloc_fail_after(n);
        const cop_status status = try_study("memory", &err);
        cop_alloc_fail_after(SIZE_MAX);
        assert_int_equal(cop_alloc_live_blocks(), blocks);
        if (status == COP_OK) {
            assert_true(n > 8);
            break;
        }
        assert_int_equal(status, COP_ERR_NOMEM);
    }
}

// A group is seen by others when it ends; a record in it that fails leaves the others whole.
static void records_of_a_group_are_whole_or_absent(void **state)
{
    (void)state;
    const double values[] = {1.0, 2.0};
    cop_error err = {0};
    cop_store *reader = NULL;
    char *found = NULL;
    cop_store *store = synthetic_store("store_group");
    const cop_candidate c = synthetic_candidate(0, 2, 16, 32);
    cop_stage_record record = synthetic_record(1, 100, values, 2);
    assert_int_equal(cop_store_add(store, &c, 1, &err), COP_OK);
    assert_int_equal(cop_store_open(&reader, "store_group", COP_STORE_READ, &err), COP_OK);

    cop_store_group(store);
    assert_int_equal(cop_store_progress(store, c.id, 1, 50, 3.0, &err), COP_OK);
    assert_int_equal(cop_store_finish_stage(store, "nobody", &record, NULL, 0, &err),
                     COP_ERR_CONFIG);
    assert_int_equal(cop_store_set(store, "key", "value", &err), COP_OK);
    assert_int_equal(cop_store_finish_stage(store, c.id, &record, NULL, 0, &err), COP_OK);
    assert_int_equal(cop_store_get(reader, "key", &found, &err), COP_OK);
    assert_null(found);
    assert_int_equal(cop_store_group_end(store, &err), COP_OK);
    assert_int_equal(cop_store_get(reader, "key", &found, &err), COP_OK);
    assert_string_equal(found, "value");
    cop_free(found);

    cop_store_group(store); // an empty one
    assert_int_equal(cop_store_group_end(store, &err), COP_OK);
    assert_int_equal(cop_store_set(store, "key", "after", &err), COP_OK);
    cop_snapshot snapshot = {0};
    assert_int_equal(cop_snapshot_read(&snapshot, reader, &err), COP_OK);
    assert_true(snapshot.candidate[0].stage[1].is_done);
    assert_int_equal(snapshot.candidate[0].curve_points, 1);
    cop_snapshot_release(&snapshot);
    cop_evaluation_release(&record.evaluation);
    cop_store_destroy(reader);
    cop_store_destroy(store);
}

static void opens_a_folder_with_an_odd_name(void **state)
{
    (void)state;
    cop_error err = {0};
    cop_snapshot s = {0};
    cop_store_destroy(synthetic_store("50% of? a #study"));
    read_study(&s, "50% of? a #study");
    assert_int_equal(s.count, 0);
    cop_snapshot_release(&s);
    must_succeed(cop_file_remove_tree("50% of? a #study", &err), &err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_back_what_was_written),
        cmocka_unit_test(replaces_the_curve_of_an_interrupted_attempt),
        cmocka_unit_test(forgets_what_is_behind_a_stage),
        cmocka_unit_test(says_what_is_wrong_with_a_request),
        cmocka_unit_test(refuses_a_second_owner_by_name),
        cmocka_unit_test(loses_nothing_acknowledged_by_kill_9),
        cmocka_unit_test(is_read_whole_while_an_owner_writes),
        cmocka_unit_test(survives_a_full_disk),
        cmocka_unit_test(notices_damage),
        cmocka_unit_test(refuses_foreign_and_newer_databases),
        cmocka_unit_test(survives_every_failed_allocation),
        cmocka_unit_test(records_of_a_group_are_whole_or_absent),
        cmocka_unit_test(opens_a_folder_with_an_odd_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
