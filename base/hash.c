#include "base/hash.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/alloc.h"
#include "base/file.h"

struct cop_hasher {
    XXH3_state_t *state; // from the library: its size is no part of the interface
};

cop_status cop_hasher_create(cop_hasher **out, cop_error *err)
{
    *out = NULL;
    cop_hasher *hasher = cop_alloc(1, sizeof *hasher);
    if (hasher == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "hash: out of memory");
    }
    hasher->state = XXH3_createState();
    if (hasher->state == NULL) {
        cop_free(hasher);
        return COP_FAIL(err, COP_ERR_NOMEM, "hash: out of memory");
    }
    (void)XXH3_128bits_reset(hasher->state); // fails for a NULL state only
    *out = hasher;
    return COP_OK;
}

void cop_hasher_destroy(cop_hasher *hasher)
{
    if (hasher != NULL) {
        (void)XXH3_freeState(hasher->state);
        cop_free(hasher);
    }
}

void cop_hasher_add_bytes(cop_hasher *hasher, const void *data, size_t bytes)
{
    if (bytes > 0) {
        (void)XXH3_128bits_update(hasher->state, data, bytes);
    }
}

static void add_u64(cop_hasher *hasher, uint64_t value)
{
    unsigned char bytes[8];
    for (int i = 0; i < 8; i++) {
        bytes[i] = (unsigned char)(value >> (8 * i));
    }
    cop_hasher_add_bytes(hasher, bytes, sizeof bytes);
}

void cop_hasher_add_text(cop_hasher *hasher, const char *text)
{
    const size_t length = strlen(text);
    add_u64(hasher, length);
    cop_hasher_add_bytes(hasher, text, length);
}

void cop_hasher_add_i64(cop_hasher *hasher, int64_t value)
{
    add_u64(hasher, (uint64_t)value);
}

void cop_hasher_add_f64(cop_hasher *hasher, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    add_u64(hasher, bits);
}

static cop_hash from_xxh(XXH128_hash_t hash)
{
    return (cop_hash){.high = hash.high64, .low = hash.low64};
}

cop_hash cop_hasher_value(const cop_hasher *hasher)
{
    return from_xxh(XXH3_128bits_digest(hasher->state));
}

cop_hash cop_hash_bytes(const void *data, size_t bytes)
{
    return from_xxh(XXH3_128bits(data, bytes));
}

cop_status cop_hash_file(cop_hash *out, const char *path, cop_error *err)
{
    enum { PIECE_BYTES = 1 << 20 };

    cop_status status = COP_OK;
    cop_hasher *hasher = NULL;
    unsigned char *piece = NULL;

    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return cop_file_fail(err, path, "open");
    }
    COP_TRY(status, cop_hasher_create(&hasher, err));
    piece = cop_alloc(PIECE_BYTES, 1);
    if (piece == NULL) {
        status = COP_FAIL(err, COP_ERR_NOMEM, "%s: out of memory while hashing", path);
        goto done;
    }
    for (;;) {
        const ssize_t got = read(fd, piece, PIECE_BYTES);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            status = cop_file_fail(err, path, "read");
            goto done;
        }
        if (got == 0) {
            break;
        }
        cop_hasher_add_bytes(hasher, piece, (size_t)got);
    }
    *out = cop_hasher_value(hasher);

done:
    cop_free(piece);
    cop_hasher_destroy(hasher);
    (void)close(fd); // read-only: nothing can be lost
    return status;
}

char *cop_hash_text(char *out, cop_hash hash)
{
    (void)snprintf(out, COP_HASH_TEXT_BYTES, "%016llx%016llx", (unsigned long long)hash.high,
                   (unsigned long long)hash.low);
    return out;
}
