// The settings reader on any bytes: every node is asked for in every form.

#include <math.h>
#include <stddef.h>
#include <stdint.h>

#include "base/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void visit(const cop_config_node *node)
{
    static const char *const words[] = {"layers", "hidden"};
    cop_error err = {0};
    int64_t integer;
    double real;
    bool flag;
    int choice;
    const char *text;
    (void)!cop_config_i64(&integer, node, INT64_MIN, INT64_MAX, &err);
    (void)!cop_config_f64(&real, node, -HUGE_VAL, HUGE_VAL, &err);
    (void)!cop_config_bool(&flag, node, &err);
    (void)!cop_config_text(&text, node, &err);
    (void)!cop_config_choice(&choice, node, words, 2, &err);
    (void)!cop_config_check_keys(node, words, 2, &err);
    for (size_t i = 0; i < cop_config_node_count(node); i++) {
        visit(cop_config_node_item(node, i));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    cop_config *config = NULL;
    if (cop_config_parse(&config, "fuzz.yaml", (const char *)data, bytes, NULL) == COP_OK) {
        visit(cop_config_root(config));
    }
    cop_config_destroy(config);
    return 0;
}
