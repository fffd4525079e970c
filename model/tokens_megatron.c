// The index file of Megatron-LM's IndexedDataset, version 1, little-endian:
//     magic "MMIDIDX\0\0", 9 bytes; version, 8; element type, 1; sequences n, 8; documents d, 8;
//     lengths, 4 n; byte positions, 8 n; first sequence of each document, 8 d

#include <inttypes.h>
#include <string.h>

#include "model/tokens_internal.h"

enum { HEADER_BYTES = 34 };

static uint64_t read_le(const unsigned char *from, int bytes)
{
    uint64_t value = 0;
    for (int i = bytes - 1; i >= 0; i--) {
        value = value << 8 | from[i];
    }
    return value;
}

static cop_status read_element_type(struct cop_tokens *tokens, int code, const char *path,
                                    cop_error *err)
{
    static const struct {
        int code;
        int bytes;
        bool is_signed;
    } types[] = {{1, 1, false}, {3, 2, true}, {4, 4, true}, {5, 8, true}, {8, 2, false}};

    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (types[i].code == code) {
            tokens->id_bytes = types[i].bytes;
            tokens->is_signed = types[i].is_signed;
            return COP_OK;
        }
    }
    return COP_FAIL(err, COP_ERR_FORMAT,
                    "%s: element type is %d (allowed: 1 uint8, 3 int16, 4 int32, 5 int64, "
                    "8 uint16)",
                    path, code);
}

// The sequences must lie one behind the other and end with the ids.
static cop_status check_sequences(const struct cop_tokens *tokens, const unsigned char *lengths,
                                  uint64_t count, const char *path, cop_error *err)
{
    const unsigned char *positions = lengths + 4 * count;
    const uint64_t id_bytes = (uint64_t)tokens->id_bytes;
    uint64_t end = 0;

    for (uint64_t i = 0; i < count; i++) {
        const uint64_t length = read_le(lengths + 4 * i, 4);
        const uint64_t position = read_le(positions + 8 * i, 8);
        if (position != end) {
            return COP_FAIL(err, COP_ERR_FORMAT,
                            "%s: sequence %" PRIu64 " begins at byte %" PRIu64 " (allowed: %" PRIu64
                            ", the end of the one before)",
                            path, i, position, end);
        }
        // A negative length is a huge one here.
        if (length > (tokens->map.bytes - end) / id_bytes) {
            return COP_FAIL(err, COP_ERR_FORMAT,
                            "%s: sequence %" PRIu64 " has %" PRIu64 " tokens, but %zu bytes of ids "
                            "are left in %s",
                            path, i, length, tokens->map.bytes - (size_t)end, tokens->path);
        }
        end += length * id_bytes;
    }
    if (end != tokens->map.bytes) {
        return COP_FAIL(err, COP_ERR_FORMAT, "%s: its sequences have %" PRIu64 " bytes, %s has %zu",
                        path, end, tokens->path, tokens->map.bytes);
    }
    return COP_OK;
}

static cop_status check_index(struct cop_tokens *tokens, const cop_file_map *map, const char *path,
                              cop_error *err)
{
    static const unsigned char magic[9] = {'M', 'M', 'I', 'D', 'I', 'D', 'X', 0, 0};
    const unsigned char *raw = map->data;

    if (map->bytes < HEADER_BYTES || memcmp(raw, magic, sizeof magic) != 0 ||
        read_le(raw + 9, 8) != 1) {
        return COP_FAIL(err, COP_ERR_FORMAT,
                        "%s: not an index of the Megatron format, version 1 (allowed: magic "
                        "MMIDIDX)",
                        path);
    }
    const uint64_t sequences = read_le(raw + 18, 8);
    const uint64_t documents = read_le(raw + 26, 8);
    const uint64_t rest = map->bytes - HEADER_BYTES;
    if (sequences > rest / 12 || documents > rest / 8 || sequences * 12 + documents * 8 != rest) {
        return COP_FAIL(err, COP_ERR_FORMAT,
                        "%s: %" PRIu64 " sequences and %" PRIu64 " documents do not fill the "
                        "%" PRIu64 " bytes that follow",
                        path, sequences, documents, rest);
    }
    const cop_status status = read_element_type(tokens, raw[17], path, err);
    if (status != COP_OK) {
        return status;
    }
    return check_sequences(tokens, raw + HEADER_BYTES, sequences, path, err);
}

cop_status cop_tokens_read_index(struct cop_tokens *tokens, const char *index_path, cop_error *err)
{
    cop_file_map map = {0};
    cop_status status = COP_OK;

    COP_TRY(status, cop_file_map_open(&map, index_path, err));
    COP_TRY(status, check_index(tokens, &map, index_path, err));
    tokens->count = (int64_t)(tokens->map.bytes / (size_t)tokens->id_bytes);

done:
    cop_file_map_release(&map);
    return status;
}
