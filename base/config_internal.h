// What the reader of a settings document and its getters share.

#ifndef COP_BASE_CONFIG_INTERNAL_H
#define COP_BASE_CONFIG_INTERNAL_H

#include "base/config.h"

struct cop_config_node {
    const cop_config *config;
    cop_config_kind kind;
    int line; // from 1, of the value
    int column;
    int key_line; // of the key, or of the value where there is none
    int key_column;
    bool is_plain;           // a scalar without quotes
    char *path;              // owned
    char *key;               // owned; NULL unless the value of a mapping's key
    char *text;              // owned; NULL unless a scalar
    cop_config_node **items; // owned; of a list or mapping
    size_t count;
    size_t capacity;
};

struct cop_config {
    char *name;
    cop_config_node *root;
};

#endif
