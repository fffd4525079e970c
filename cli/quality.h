// What the commands that train or measure models share: default sizes, checks, and how estimates are
// shown.

#ifndef COP_CLI_QUALITY_H
#define COP_CLI_QUALITY_H

#include "cli/cli.h"
#include "eval/evaluate.h"

// Tokens per sequence: `wanted`, or when that is 0 the smaller of 512 and the model's context.
// COP_ERR_CONFIG when the context is shorter than `wanted`.
COP_MUST_CHECK cop_status cop_cli_sequence(int64_t *out, int64_t wanted, const cop_arch *arch,
                                           cop_error *err);

// COP_ERR_SHAPE, with both numbers, unless the vocabularies have one size.
COP_MUST_CHECK cop_status cop_cli_check_vocabulary(const cop_checkpoint *teacher,
                                                   const cop_checkpoint *model, cop_error *err);

// {"value": …, "low": …, "high": …}
json_t *cop_cli_estimate_json(const cop_estimate *estimate);
// A row "name, mean, interval" of a table with three columns, and their heading.
void cop_cli_estimate_heading(cop_cli_table *table, const char *title);
void cop_cli_estimate_row(cop_cli_table *table, const char *name, const cop_estimate *estimate);

#endif
