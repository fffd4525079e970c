#include "tests/report/made.h"

#include "tests/support.h"

void make(made *m, const char *directory)
{
    cop_error err = {0};
    *m = (made){0};
    must_succeed(cop_store_open(&m->store, directory, COP_STORE_READ, &err), &err);
    must_succeed(cop_snapshot_read(&m->snapshot, m->store, &err), &err);
    must_succeed(cop_report_create(&m->report, &m->snapshot, directory, &err), &err);
    must_succeed(cop_report_json(&m->document, &m->report, &err), &err);
}

void made_release(made *m)
{
    json_decref(m->document);
    cop_report_release(&m->report);
    cop_snapshot_release(&m->snapshot);
    cop_store_destroy(m->store);
}
