// Results on stdout, failures on stderr.

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/json.h"
#include "cli/cli.h"

int cop_cli_fail(const cop_error *err)
{
    cop_cli_terminal_clear();
    const char *message = err->message[0] != '\0' ? err->message : cop_status_name(err->status);
    (void)fprintf(stderr, "coppice: %s\n", message);
    return COP_EXIT_FAILED;
}

int cop_cli_finish(cop_status status, const cop_error *err)
{
    return status == COP_OK ? COP_EXIT_DONE : cop_cli_fail(err);
}

void cop_cli_print(const char *format, ...)
{
    cop_cli_terminal_clear();
    va_list args;
    va_start(args, format);
    (void)vprintf(format, args); // main() looks at stdout's error flag
    va_end(args);
}

int cop_cli_print_json(json_t *value)
{
    cop_error err = {0};
    char *text = NULL;
    const cop_status status = cop_json_text(&text, value, 2, &err);
    if (status == COP_OK) {
        cop_cli_print("%s\n", text);
    }
    cop_free(text);
    json_decref(value);
    return cop_cli_finish(status, &err);
}

void cop_cli_table_init(cop_cli_table *table, const char *alignment)
{
    *table = (cop_cli_table){.alignment = alignment};
}

void cop_cli_cell(cop_cli_table *table, const char *format, ...)
{
    char cell[256];
    va_list args;
    va_start(args, format);
    const int wanted = vsnprintf(cell, sizeof cell, format, args);
    va_end(args);
    cop_text_append_bytes(&table->cells, wanted < 0 ? "" : cell, wanted < 0 ? 1 : strlen(cell) + 1);
    table->count++;
}

// Characters, not bytes: continuation bytes of UTF-8 take no room.
static size_t width_of(const char *text)
{
    size_t width = 0;
    for (; *text != '\0'; text++) {
        width += ((unsigned char)*text & 0xc0) != 0x80;
    }
    return width;
}

enum { COLUMNS_MAX = 32 };

void cop_cli_table_print(cop_cli_table *table)
{
    const size_t columns = strlen(table->alignment);
    size_t widths[COLUMNS_MAX] = {0};
    assert(columns > 0 && columns <= COLUMNS_MAX);
    if (table->cells.is_broken) {
        cop_cli_print("(out of memory)\n");
        table->count = 0;
    }
    const char *cell = cop_text_view(&table->cells);
    for (size_t i = 0; i < table->count; i++, cell += strlen(cell) + 1) {
        const size_t width = width_of(cell);
        widths[i % columns] = width > widths[i % columns] ? width : widths[i % columns];
    }
    cell = cop_text_view(&table->cells);
    for (size_t i = 0; i < table->count; i++, cell += strlen(cell) + 1) {
        const size_t column = i % columns;
        const int padding = (int)(widths[column] - width_of(cell));
        const bool is_last = column + 1 == columns || i + 1 == table->count;
        const bool is_right = table->alignment[column] == 'r';
        cop_cli_print("%s%*s%s%*s%s", column > 0 ? "  " : "", is_right ? padding : 0, "", cell,
                      is_right || is_last ? 0 : padding, "", is_last ? "\n" : "");
    }
    cop_text_release(&table->cells);
    *table = (cop_cli_table){0};
}
