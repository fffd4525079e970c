// A study of a teacher read back from its directory and analysed; a failure fails the test.

#ifndef COP_TESTS_REPORT_MADE_H
#define COP_TESTS_REPORT_MADE_H

#include "report/report.h"

typedef struct made {
    cop_store *store;
    cop_snapshot snapshot;
    cop_report report;
    json_t *document; // report.json
} made;

void make(made *m, const char *directory);
void made_release(made *m);

#endif
