#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"
#include "report/report.h"
#include "report/trial_report.h"

static cop_status write_text(const char *directory, const char *name, const cop_text *text,
                             cop_error *err)
{
    char *path = cop_file_join(directory, name);
    if (path == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "%s/%s: out of memory", directory, name);
    }
    const cop_status status = cop_file_write(path, cop_text_view(text), text->length, err);
    cop_free(path);
    return status;
}

cop_status cop_report_write(const cop_report *report, const char *directory, cop_error *err)
{
    cop_status status = COP_OK;
    json_t *document = NULL;
    cop_text html = {0};
    cop_text csv = {0};
    char *path = cop_file_join(directory, "report.json");
    if (path == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "%s: out of memory", directory);
    }
    COP_TRY(status, cop_report_json(&document, report, err));
    COP_TRY(status, cop_report_csv(&csv, report, err));
    COP_TRY(status, cop_report_html(&html, report, document, true, err));
    COP_TRY(status, cop_json_write(document, path, err));
    COP_TRY(status, write_text(directory, "candidates.csv", &csv, err));
    COP_TRY(status, write_text(directory, "report.html", &html, err));
done:
    json_decref(document);
    cop_text_release(&html);
    cop_text_release(&csv);
    cop_free(path);
    return status;
}

cop_status cop_trial_report_write(const cop_trial_report *report, const char *directory,
                                  cop_error *err)
{
    cop_status status = COP_OK;
    json_t *document = NULL;
    cop_text html = {0};
    cop_text csv = {0};
    char *path = cop_file_join(directory, "report.json");
    if (path == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "%s: out of memory", directory);
    }
    COP_TRY(status, cop_trial_json(&document, report, err));
    COP_TRY(status, cop_trial_csv(&csv, report, err));
    COP_TRY(status, cop_trial_html(&html, report, err));
    COP_TRY(status, cop_json_write(document, path, err));
    COP_TRY(status, write_text(directory, "candidates.csv", &csv, err));
    COP_TRY(status, write_text(directory, "report.html", &html, err));
done:
    json_decref(document);
    cop_text_release(&html);
    cop_text_release(&csv);
    cop_free(path);
    return status;
}
