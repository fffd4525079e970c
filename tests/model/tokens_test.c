#include "model/tokens.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"
#include "tests/support.h"

static const int32_t sample[] = {7, 0, 255, 42, 42};

enum { SAMPLE = sizeof sample / sizeof sample[0] };

static cop_status write_tokens(const char *path, int64_t vocab, const int32_t *ids, int64_t count,
                               cop_error *err)
{
    cop_tokens_writer *writer = NULL;
    cop_status status = COP_OK;
    COP_TRY(status, cop_tokens_writer_create(&writer, path, vocab, "byte", err));
    COP_TRY(status, cop_tokens_writer_source(writer, "some.txt", err));
    COP_TRY(status, cop_tokens_writer_put(writer, ids, count / 2, err));
    COP_TRY(status, cop_tokens_writer_put(writer, ids + count / 2, count - count / 2, err));
    COP_TRY(status, cop_tokens_writer_commit(writer, err));

done:
    cop_tokens_writer_destroy(writer);
    return status;
}

static void reads_back_what_it_wrote(void **state)
{
    (void)state;

    static const struct {
        int64_t vocab;
        size_t id_bytes;
    } rows[] = {{256, 2}, {65536, 2}, {65537, 4}, {INT32_MAX, 4}};

    cop_hash hashes[4];

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        cop_tokens *tokens = NULL;
        cop_error err = {0};
        int32_t got[SAMPLE] = {0};
        char *raw = NULL;
        size_t bytes = 0;
        assert_int_equal(write_tokens("t.bin", rows[i].vocab, sample, SAMPLE, &err), COP_OK);
        assert_int_equal(cop_file_read(&raw, &bytes, "t.bin", 1000, &err), COP_OK);
        cop_free(raw);
        assert_int_equal(bytes, SAMPLE * rows[i].id_bytes);
        assert_int_equal(cop_tokens_open(&tokens, "t.bin", rows[i].vocab, &err), COP_OK);
        assert_int_equal(cop_tokens_count(tokens), SAMPLE);
        assert_int_equal(cop_tokens_vocab(tokens), rows[i].vocab);
        assert_string_equal(cop_tokens_path(tokens), "t.bin");
        cop_tokens_read(tokens, 0, SAMPLE, got);
        assert_memory_equal(got, sample, sizeof sample);
        cop_tokens_read(tokens, 2, 1, got);
        assert_int_equal(got[0], 255);
        hashes[i] = cop_tokens_hash(tokens);
        cop_tokens_destroy(tokens);
        // The hash is of the ids, not of their width.
        assert_true(hashes[i].low == hashes[0].low && hashes[i].high == hashes[0].high);
    }
}

static void takes_the_files_word_on_the_vocabulary(void **state)
{
    (void)state;
    cop_tokens *tokens = NULL;
    cop_error err = {0};
    assert_int_equal(write_tokens("v.bin", 300, sample, SAMPLE, &err), COP_OK);
    assert_int_equal(cop_tokens_open(&tokens, "v.bin", 0, &err), COP_OK);
    assert_int_equal(cop_tokens_vocab(tokens), 300);
    cop_tokens_destroy(tokens);
}

static void names_vocabulary_and_source_beside_the_ids(void **state)
{
    (void)state;
    json_t *side = NULL;
    cop_error err = {0};
    assert_int_equal(write_tokens("s.bin", 256, sample, SAMPLE, &err), COP_OK);
    assert_int_equal(cop_json_read(&side, "s.json", 10000, &err), COP_OK);
    assert_string_equal(json_string_value(json_object_get(side, "format")), "coppice-tokens-1");
    assert_string_equal(json_string_value(json_object_get(side, "dtype")), "uint16");
    assert_int_equal(json_integer_value(json_object_get(side, "tokens")), SAMPLE);
    assert_int_equal(json_integer_value(json_object_get(side, "vocab")), 256);
    assert_string_equal(json_string_value(json_object_get(side, "tokenizer")), "byte");
    assert_string_equal(json_string_value(json_array_get(json_object_get(side, "source"), 0)),
                        "some.txt");
    assert_int_equal(strlen(json_string_value(json_object_get(side, "hash"))), 32);
    json_decref(side);
}

// The ids of each row are little-endian uint16.
static void says_what_is_wrong_with_a_token_file(void **state)
{
    (void)state;
#define SIDE(format, dtype, tokens, vocab, more)                                 \
    "{\"format\": \"" format "\", \"dtype\": \"" dtype "\", \"tokens\": " tokens \
    ", \"vocab\": " vocab more "}"

    static const struct {
        const char *ids;
        size_t bytes;
        const char *side;
        int64_t vocab;
        cop_status status;
        const char *want;
    } rows[] = {
        {"\7\0\1\0", 4, NULL, 256, COP_ERR_FORMAT,
         "bad.bin: neither bad.json nor bad.idx lies beside it (allowed: token files written by "
         "'coppice tokenize' or Megatron)"},
        {"\7\0\1\0", 4, "{", 256, COP_ERR_FORMAT,
         "bad.json:1:1: string or '}' expected near end of file"},
        {"\7\0\1\0", 4, "[]", 256, COP_ERR_FORMAT,
         "bad.json: is an array (allowed: an object with the key format)"},
        {"\7\0\1\0", 4, "{}", 256, COP_ERR_FORMAT, "bad.json: format is missing"},
        {"\7\0\1\0", 4, SIDE("nano", "uint16", "2", "256", ""), 256, COP_ERR_FORMAT,
         "bad.json: format is 'nano' (allowed: coppice-tokens-1)"},
        {"\7\0\1\0", 4, SIDE("coppice-tokens-1", "int8", "2", "256", ""), 256, COP_ERR_FORMAT,
         "bad.json: dtype is 'int8' (allowed: uint16, uint32)"},
        {"\7\0\1\0", 4, SIDE("coppice-tokens-1", "uint16", "-2", "256", ""), 256, COP_ERR_FORMAT,
         "bad.json: tokens is -2 (allowed: 0..9223372036854775807)"},
        {"\7\0\1\0", 4, SIDE("coppice-tokens-1", "uint16", "2", "0", ""), 256, COP_ERR_FORMAT,
         "bad.json: vocab is 0 (allowed: 1..2147483647)"},
        {"\7\0\1\0", 4, SIDE("coppice-tokens-1", "uint16", "3", "256", ""), 256, COP_ERR_FORMAT,
         "bad.json: promises 3 tokens, but bad.bin holds 2"},
        {"\7\0\1", 3, SIDE("coppice-tokens-1", "uint16", "2", "256", ""), 256, COP_ERR_FORMAT,
         "bad.bin: 3 bytes are no multiple of the 2 bytes of a uint16"},
        {"\7\0\1\0\0\0", 6, SIDE("coppice-tokens-1", "uint32", "2", "256", ""), 256, COP_ERR_FORMAT,
         "bad.bin: 6 bytes are no multiple of the 4 bytes of a uint32"},
        {"", 0, SIDE("coppice-tokens-1", "uint16", "0", "256", ""), 256, COP_ERR_FORMAT,
         "bad.bin: holds no tokens"},
        {"\7\0\1\0", 4, SIDE("coppice-tokens-1", "uint16", "2", "50257", ""), 256, COP_ERR_FORMAT,
         "bad.bin: tokenized with a vocabulary of 50257, the model has 256"},
        {"\7\0\0\1", 4, SIDE("coppice-tokens-1", "uint16", "2", "256", ""), 256, COP_ERR_FORMAT,
         "bad.bin: token 1 is 256 (allowed: 0..255)"},
        {"\7\0\0\1", 4, SIDE("coppice-tokens-1", "uint16", "2", "256", ""), 0, COP_ERR_FORMAT,
         "bad.bin: token 1 is 256 (allowed: 0..255)"},
        {"\377\377\377\377", 4, SIDE("coppice-tokens-1", "uint32", "1", "256", ""), 0,
         COP_ERR_FORMAT, "bad.bin: token 0 is 4294967295 (allowed: 0..255)"},
        {"\7\0\1\0", 4, SIDE("coppice-tokens-1", "uint16", "2", "256", ", \"hash\": \"12\""), 256,
         COP_ERR_FORMAT, "bad.json: hash is '12' (allowed: 32 hexadecimal digits)"},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        cop_tokens *tokens = NULL;
        cop_error err = {0};
        scratch_file("bad.bin", rows[i].ids, rows[i].bytes);
        (void)unlink("bad.json");
        if (rows[i].side != NULL) {
            scratch_file("bad.json", rows[i].side, strlen(rows[i].side));
        }
        assert_int_equal(cop_tokens_open(&tokens, "bad.bin", rows[i].vocab, &err), rows[i].status);
        assert_string_equal(err.message, rows[i].want);
        assert_null(tokens);
    }
}

static void refuses_ids_that_do_not_belong_to_their_side_file(void **state)
{
    (void)state;
    cop_tokens *tokens = NULL;
    cop_error err = {0};
    assert_int_equal(write_tokens("h.bin", 256, sample, SAMPLE, &err), COP_OK);
    scratch_file("h.bin", "\7\0\0\0\1\0\1\0\1\0", (size_t)2 * SAMPLE);
    assert_int_equal(cop_tokens_open(&tokens, "h.bin", 256, &err), COP_ERR_FORMAT);
    assert_null(tokens);
    assert_non_null(strstr(err.message, "h.bin: its ids have the hash "));
    assert_non_null(strstr(err.message, ": the two do not belong together"));
}

static void says_that_a_file_is_missing(void **state)
{
    (void)state;
    cop_tokens *tokens = NULL;
    cop_error err = {0};
    assert_int_equal(cop_tokens_open(&tokens, "none.bin", 256, &err), COP_ERR_IO);
    assert_non_null(strstr(err.message, "none.bin"));
    assert_non_null(strstr(err.message, "No such file or directory"));
}

static void refuses_to_write_ids_outside_the_vocabulary(void **state)
{
    (void)state;
    static const int32_t ids[] = {1, 256};
    static const int32_t negative[] = {1, -1};
    cop_error err = {0};
    (void)unlink("o.bin");
    assert_int_equal(write_tokens("o.bin", 256, ids, 2, &err), COP_ERR_FORMAT);
    assert_string_equal(err.message, "o.bin: token 1 is 256 (allowed: 0..255)");
    assert_int_equal(write_tokens("o.bin", 256, negative, 2, &err), COP_ERR_FORMAT);
    assert_string_equal(err.message, "o.bin: token 1 is -1 (allowed: 0..255)");
    assert_false(cop_file_exists("o.bin"));
    assert_int_equal(write_tokens("o.bin", 0, ids, 1, &err), COP_ERR_CONFIG);
    assert_string_equal(err.message, "o.bin: vocabulary is 0 (allowed: 1..2147483647)");
}

// --- Megatron -----------------------------------------------------------------------------------

typedef struct index_file {
    unsigned char bytes[256];
    size_t length;
} index_file;

static void append(index_file *index, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++) {
        index->bytes[index->length++] = (unsigned char)(value >> (8 * i));
    }
}

// The index of documents of `lengths` (count of them) with elements of `id_bytes`.
static index_file make_index(int code, uint64_t id_bytes, const uint32_t *lengths, uint64_t count)
{
    index_file index = {.length = 9};
    uint64_t position = 0;
    memcpy(index.bytes, "MMIDIDX\0\0", 9);
    append(&index, 1, 8);
    append(&index, (uint64_t)code, 1);
    append(&index, count, 8);
    append(&index, count + 1, 8);
    for (uint64_t i = 0; i < count; i++) {
        append(&index, lengths[i], 4);
    }
    for (uint64_t i = 0; i < count; i++) {
        append(&index, position, 8);
        position += lengths[i] * id_bytes;
    }
    for (uint64_t i = 0; i <= count; i++) {
        append(&index, i, 8);
    }
    return index;
}

static void reads_the_megatron_format(void **state)
{
    (void)state;

    static const struct {
        int code;
        uint64_t id_bytes;
    } rows[] = {{1, 1}, {3, 2}, {8, 2}, {4, 4}, {5, 8}};

    static const uint32_t lengths[] = {2, 0, 3};

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const index_file index = make_index(rows[i].code, rows[i].id_bytes, lengths, 3);
        index_file ids = {0};
        cop_tokens *tokens = NULL;
        cop_error err = {0};
        int32_t got[SAMPLE];
        for (int t = 0; t < SAMPLE; t++) {
            append(&ids, (uint64_t)sample[t], (int)rows[i].id_bytes);
        }
        scratch_file("m.bin", ids.bytes, ids.length);
        scratch_file("m.idx", index.bytes, index.length);
        assert_int_equal(cop_tokens_open(&tokens, "m.bin", 300, &err), COP_OK);
        assert_string_equal(err.message, "");
        assert_int_equal(cop_tokens_count(tokens), SAMPLE);
        assert_int_equal(cop_tokens_vocab(tokens), 300);
        cop_tokens_read(tokens, 0, SAMPLE, got);
        assert_memory_equal(got, sample, sizeof sample);
        cop_tokens_destroy(tokens);
        assert_int_equal(cop_tokens_open(&tokens, "m.bin", 0, &err), COP_OK);
        assert_int_equal(cop_tokens_vocab(tokens), 256); // largest id + 1
        cop_tokens_destroy(tokens);
        assert_int_equal(cop_tokens_open(&tokens, "m.bin", 200, &err), COP_ERR_FORMAT);
        assert_string_equal(err.message, "m.bin: token 2 is 255 (allowed: 0..199)");
    }
}

static void says_what_is_wrong_with_a_megatron_index(void **state)
{
    (void)state;

    enum { ROWS = 10 };

    static const uint32_t lengths[] = {2, 1};
    static const uint32_t longer[] = {2, 0xffffffff};
    static const uint32_t shorter[] = {2, 0};
    index_file index[ROWS];
    for (int i = 0; i < ROWS; i++) {
        index[i] = make_index(8, 2, lengths, 2);
    }
    index[0].bytes[0] = 'm';
    index[1].bytes[9] = 2;
    index[2].bytes[17] = 7;
    memset(index[3].bytes + 18, 0xff, 8); // sequences
    index[4].bytes[26]++;                 // documents
    index[5] = make_index(8, 2, longer, 2);
    index[6] = make_index(8, 2, shorter, 2);
    index[7].bytes[34 + 8 + 8]++; // position of the second sequence
    index[8].length = 33;
    index[9].length--;
    static const char *const want[ROWS] = {
        "n.idx: not an index of the Megatron format, version 1 (allowed: magic MMIDIDX)",
        "n.idx: not an index of the Megatron format, version 1 (allowed: magic MMIDIDX)",
        "n.idx: element type is 7 (allowed: 1 uint8, 3 int16, 4 int32, 5 int64, 8 uint16)",
        ("n.idx: 18446744073709551615 sequences and 3 documents do not fill the 48 bytes that "
         "follow"),
        "n.idx: 2 sequences and 4 documents do not fill the 48 bytes that follow",
        "n.idx: sequence 1 has 4294967295 tokens, but 2 bytes of ids are left in n.bin",
        "n.idx: its sequences have 4 bytes, n.bin has 6",
        "n.idx: sequence 1 begins at byte 5 (allowed: 4, the end of the one before)",
        "n.idx: not an index of the Megatron format, version 1 (allowed: magic MMIDIDX)",
        "n.idx: 2 sequences and 3 documents do not fill the 47 bytes that follow",
    };

    scratch_file("n.bin", "\1\0\2\0\3\0", 6);
    for (int i = 0; i < ROWS; i++) {
        cop_tokens *tokens = NULL;
        cop_error err = {0};
        scratch_file("n.idx", index[i].bytes, index[i].length);
        assert_int_equal(cop_tokens_open(&tokens, "n.bin", 300, &err), COP_ERR_FORMAT);
        assert_string_equal(err.message, want[i]);
        assert_null(tokens);
    }
}

static void refuses_negative_ids(void **state)
{
    (void)state;

    static const struct {
        int code;
        uint64_t id_bytes;
        const char *want;
    } rows[] = {
        {3, 2, "i.bin: token 0 is -1 (allowed: 0..299)"},
        {4, 4, "i.bin: token 0 is -1 (allowed: 0..299)"},
        {5, 8, "i.bin: token 0 is -1 (allowed: 0..299)"},
    };

    static const uint32_t lengths[] = {1};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const index_file index = make_index(rows[i].code, rows[i].id_bytes, lengths, 1);
        cop_tokens *tokens = NULL;
        cop_error err = {0};
        scratch_file("i.bin", "\377\377\377\377\377\377\377\377", rows[i].id_bytes);
        scratch_file("i.idx", index.bytes, index.length);
        assert_int_equal(cop_tokens_open(&tokens, "i.bin", 300, &err), COP_ERR_FORMAT);
        assert_string_equal(err.message, rows[i].want);
    }
}

// --- Trouble ------------------------------------------------------------------------------------

// A limit on the size of files stands for a full disk.
static void keeps_the_old_file_on_a_full_disk(void **state)
{
    (void)state;
    struct rlimit before;
    cop_error err = {0};
    cop_tokens *tokens = NULL;

    enum { MANY = 100000 };

    int32_t *ids = cop_alloc(MANY, sizeof *ids);
    assert_int_equal(write_tokens("full.bin", 256, sample, SAMPLE, &err), COP_OK);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    const struct rlimit limit = {.rlim_cur = 1000, .rlim_max = before.rlim_max};
    assert_true(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    const cop_status status = write_tokens("full.bin", 256, ids, MANY, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    cop_free(ids);
    assert_int_equal(status, COP_ERR_IO);
    assert_non_null(strstr(err.message, "full.bin"));
    assert_non_null(strstr(err.message, "File too large"));
    assert_int_equal(cop_tokens_open(&tokens, "full.bin", 256, &err), COP_OK);
    assert_int_equal(cop_tokens_count(tokens), SAMPLE);
    cop_tokens_destroy(tokens);
}

static void survives_every_failed_allocation(void **state)
{
    (void)state;
    const size_t live_before = cop_alloc_live_blocks();
    cop_status status = COP_ERR_NOMEM;
    for (size_t n = 0; status == COP_ERR_NOMEM && n < 1000; n++) {
        cop_alloc_fail_after(n);
        status = write_tokens("oom.bin", 256, sample, SAMPLE, NULL);
        cop_alloc_fail_after(SIZE_MAX);
        assert_int_equal(cop_alloc_live_blocks(), live_before);
    }
    assert_int_equal(status, COP_OK);
    status = COP_ERR_NOMEM;
    for (size_t n = 0; status == COP_ERR_NOMEM && n < 1000; n++) {
        cop_tokens *tokens = NULL;
        cop_alloc_fail_after(n);
        status = cop_tokens_open(&tokens, "oom.bin", 256, NULL);
        cop_alloc_fail_after(SIZE_MAX);
        assert_int_equal(tokens != NULL, status == COP_OK);
        cop_tokens_destroy(tokens);
        assert_int_equal(cop_alloc_live_blocks(), live_before);
    }
    assert_int_equal(status, COP_OK);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_back_what_it_wrote),
        cmocka_unit_test(takes_the_files_word_on_the_vocabulary),
        cmocka_unit_test(names_vocabulary_and_source_beside_the_ids),
        cmocka_unit_test(says_what_is_wrong_with_a_token_file),
        cmocka_unit_test(refuses_ids_that_do_not_belong_to_their_side_file),
        cmocka_unit_test(says_that_a_file_is_missing),
        cmocka_unit_test(refuses_to_write_ids_outside_the_vocabulary),
        cmocka_unit_test(reads_the_megatron_format),
        cmocka_unit_test(says_what_is_wrong_with_a_megatron_index),
        cmocka_unit_test(refuses_negative_ids),
        cmocka_unit_test(keeps_the_old_file_on_a_full_disk),
        cmocka_unit_test(survives_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
