#include "cli/quality.h"

#include <inttypes.h>

enum { SEQUENCE_DEFAULT = 512 };

cop_status cop_cli_sequence(int64_t *out, int64_t wanted, const cop_arch *arch, cop_error *err)
{
    const int64_t longest = arch->context < SEQUENCE_DEFAULT ? arch->context : SEQUENCE_DEFAULT;
    if (wanted > arch->context) {
        return COP_FAIL(err, COP_ERR_CONFIG,
                        "--sequence: %" PRId64 " (allowed: 1..%" PRId64 ", the model's context)",
                        wanted, arch->context);
    }
    *out = wanted > 0 ? wanted : longest;
    return COP_OK;
}

cop_status cop_cli_check_vocabulary(const cop_checkpoint *teacher, const cop_checkpoint *model,
                                    cop_error *err)
{
    const int64_t vocab = cop_checkpoint_arch(teacher)->vocab;
    const int64_t other = cop_checkpoint_arch(model)->vocab;
    if (vocab != other) {
        return COP_FAIL(err, COP_ERR_SHAPE,
                        "%s: the vocabulary has %" PRId64 " ids, that of %s %" PRId64
                        " (allowed: the same)",
                        cop_checkpoint_path(teacher), vocab, cop_checkpoint_path(model), other);
    }
    return COP_OK;
}

json_t *cop_cli_estimate_json(const cop_estimate *estimate)
{
    return json_pack("{s:f, s:f, s:f}", "value", estimate->value, "low", estimate->low, "high",
                     estimate->high);
}

void cop_cli_estimate_heading(cop_cli_table *table, const char *title)
{
    cop_cli_cell(table, "%s", title);
    cop_cli_cell(table, "mean");
    cop_cli_cell(table, "95%% interval");
}

void cop_cli_estimate_row(cop_cli_table *table, const char *name, const cop_estimate *estimate)
{
    cop_cli_cell(table, "%s", name);
    cop_cli_cell(table, "%.4f", estimate->value);
    cop_cli_cell(table, "%.4f..%.4f", estimate->low, estimate->high);
}
