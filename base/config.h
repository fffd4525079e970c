// YAML settings over libyaml. Every node keeps its file, line and column; unknown
// and duplicate keys are refused, with a suggestion; numbers and booleans are converted strictly.
// Messages: `file:line:column: key.path: what is wrong: value (allowed: …)`.

#ifndef COP_BASE_CONFIG_H
#define COP_BASE_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef struct cop_config cop_config;           // a document, owned
typedef struct cop_config_node cop_config_node; // borrowed from its document

typedef enum cop_config_kind {
    COP_CONFIG_SCALAR,
    COP_CONFIG_LIST,
    COP_CONFIG_MAPPING
} cop_config_kind;

// Reads a file of at most 4 MiB holding exactly one document whose root is a mapping. Aliases,
// tags, nesting above 32 levels and duplicate keys are refused.
COP_MUST_CHECK cop_status cop_config_open(cop_config **out, const char *path, cop_error *err);
// The same from memory; `name` stands for the file in messages.
COP_MUST_CHECK cop_status cop_config_parse(cop_config **out, const char *name, const char *text,
                                           size_t bytes, cop_error *err);
void cop_config_destroy(cop_config *config);

const cop_config_node *cop_config_root(const cop_config *config);
cop_config_kind cop_config_node_kind(const cop_config_node *node);
const char *cop_config_node_path(const cop_config_node *node); // "space.hidden[2]"
const char *cop_config_node_text(const cop_config_node *node); // of a scalar; "" otherwise
size_t cop_config_node_count(const cop_config_node *node);     // list items or mapping entries
const cop_config_node *cop_config_node_item(const cop_config_node *list, size_t index);
const char *cop_config_node_key(const cop_config_node *mapping, size_t index);
const cop_config_node *cop_config_node_value(const cop_config_node *mapping, size_t index);
// The entry of a key, or NULL.
const cop_config_node *cop_config_node_find(const cop_config_node *mapping, const char *key);

// COP_FAIL with the node's position and key path in front of the message.
cop_status cop_config_fail(const cop_config_node *node, cop_error *err, const char *format, ...)
    COP_PRINTF(3, 4);

// Refuses keys that are not in `keys` (with the nearest one as suggestion) and nodes that are no
// mapping.
COP_MUST_CHECK cop_status cop_config_check_keys(const cop_config_node *mapping,
                                                const char *const *keys, size_t count,
                                                cop_error *err);

// Strict scalars: quoted scalars are no numbers; `1e9` and `1_000` … only `1e9` is an integer.
COP_MUST_CHECK cop_status cop_config_i64(int64_t *out, const cop_config_node *node, int64_t min,
                                         int64_t max, cop_error *err);
COP_MUST_CHECK cop_status cop_config_f64(double *out, const cop_config_node *node, double min,
                                         double max, cop_error *err);
COP_MUST_CHECK cop_status cop_config_bool(bool *out, const cop_config_node *node, cop_error *err);
// Borrowed; must not be empty.
COP_MUST_CHECK cop_status cop_config_text(const char **out, const cop_config_node *node,
                                          cop_error *err);
// Index of the scalar in `words`; the message lists the words.
COP_MUST_CHECK cop_status cop_config_choice(int *out, const cop_config_node *node,
                                            const char *const *words, size_t count, cop_error *err);

#endif
