// What a report needs to know about a study beside its figures.

#ifndef COP_REPORT_SETTINGS_H
#define COP_REPORT_SETTINGS_H

#include "report/report.h"

// Fills name, objectives, resource, seed, strategy and the planned number of stages.
COP_MUST_CHECK cop_status cop_report_settings(cop_report *report, cop_error *err);

// "…/studies/tiny.yaml" is called "tiny"; without its path (NULL), the directory "runs/tiny/" is.
void cop_report_set_name(char *out, size_t bytes, const char *path, const char *directory);

#endif
