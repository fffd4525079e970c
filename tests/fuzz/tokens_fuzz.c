// Token files on any bytes: ids that are accepted lie inside the vocabulary, all of them can be
// read, and cut into windows. An input is: one byte for the format (even: JSON side file, odd:
// Megatron index), two bytes for the length of the side file, the side file, the ids.

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "model/tokens.h"

// NOLINTNEXTLINE(readability-identifier-naming): libFuzzer's name
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static char folder[] = "/tmp/cop_tokens_fuzz.XXXXXX";

static void remove_folder(void)
{
    const cop_status status = cop_file_remove_tree(folder, NULL);
    (void)status; // a leftover in /tmp is no finding
}

static const char *write_file(const char *name, const uint8_t *data, size_t bytes)
{
    static char path[2][sizeof folder + 16];
    static unsigned turn;
    char *to = path[turn++ % 2];
    (void)snprintf(to, sizeof path[0], "%s/%s", folder, name);
    FILE *file = fopen(to, "wb");
    assert(file != NULL);
    const size_t written = fwrite(data, 1, bytes, file);
    const int closed = fclose(file);
    assert(written == bytes && closed == 0);
    return to;
}

static void walk(const cop_tokens *tokens)
{
    const int64_t count = cop_tokens_count(tokens);
    const int64_t vocab = cop_tokens_vocab(tokens);
    cop_sampler *sampler = NULL;
    for (int64_t i = 0; i < count; i++) {
        int32_t id = -1;
        cop_tokens_read(tokens, i, 1, &id);
        assert(id >= 0 && id < vocab);
    }
    if (cop_sampler_create(&sampler, tokens, 3, 1, true, NULL) == COP_OK) {
        int32_t inputs[3];
        int32_t targets[3];
        const cop_status status =
            cop_sampler_fill(sampler, cop_sampler_windows(sampler), 1, inputs, targets, NULL);
        assert(status == COP_OK && inputs[1] == targets[0] && inputs[2] == targets[1]);
    }
    cop_sampler_destroy(sampler);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static int is_ready;
    cop_tokens *tokens = NULL;
    cop_error err = {0};
    if (bytes < 3) {
        return 0;
    }
    if (!is_ready) {
        const char *made = mkdtemp(folder);
        is_ready = 1;
        assert(made != NULL);
        (void)atexit(remove_folder);
    }
    const size_t promised = (size_t)data[1] | (size_t)data[2] << 8;
    const size_t side_bytes = promised < bytes - 3 ? promised : bytes - 3;
    const char *side = write_file(data[0] % 2 == 0 ? "x.json" : "x.idx", data + 3, side_bytes);
    const char *ids = write_file("x.bin", data + 3 + side_bytes, bytes - 3 - side_bytes);
    for (int64_t vocab = 0; vocab <= 256; vocab += 256) {
        if (cop_tokens_open(&tokens, ids, vocab, &err) == COP_OK) {
            walk(tokens);
        } else {
            assert(err.message[0] != '\0' && strpbrk(err.message, "\n\r") == NULL);
        }
        cop_tokens_destroy(tokens);
    }
    (void)unlink(side);
    return 0;
}
