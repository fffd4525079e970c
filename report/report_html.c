// report.html: the page of report/page/ with its markers replaced. All figures are in one JSON block.

#include <string.h>

#include "base/alloc.h"
#include "base/json.h"
#include "report/embedded.h"
#include "report/picture.h"

// JSON inside a <script> must not hold "</script" or "<!--": '<' can only occur in strings, where an
// escape means the same.
static cop_status put_data(cop_text *out, const json_t *document, cop_error *err)
{
    char *text = NULL;
    const cop_status status = cop_json_text(&text, document, 0, err);
    for (const char *c = text; status == COP_OK && *c != '\0';) {
        const size_t plain = strcspn(c, "<");
        cop_text_append_bytes(out, c, plain);
        c += plain;
        if (*c == '<') {
            cop_text_append(out, "\\u003c");
            c++;
        }
    }
    cop_free(text);
    return status;
}

static void put_embedded(cop_text *out, const cop_embedded *part)
{
    cop_text_append_bytes(out, part->data, part->bytes);
}

static void put_title(cop_text *out, const cop_report *report)
{
    cop_picture_escape(out, report->name);
    cop_text_append(out, " – architecture search");
}

static cop_status put_marker(cop_text *out, const char *name, size_t length,
                             const cop_report *report, const json_t *document, bool with_charts,
                             cop_error *err)
{
    static const char *const names[] = {"TITLE",         "STYLE", "REASON", "FRONT_PICTURE",
                                        "CURVE_PICTURE", "DATA",  "CHART",  "SCRIPT"};
    size_t at = 0;
    while (at < sizeof names / sizeof names[0] &&
           (strlen(names[at]) != length || memcmp(names[at], name, length) != 0)) {
        at++;
    }
    switch (at) {
    case 0: put_title(out, report); break;
    case 1: put_embedded(out, &cop_embedded_style); break;
    case 2:
        cop_picture_escape(out, report->has_pick ? report->pick.reason
                                                 : "No candidate has a finished stage yet");
        break;
    case 3: cop_picture_front(out, report); break;
    case 4: cop_picture_curves(out, report); break;
    case 5: return put_data(out, document, err);
    case 6:
        if (with_charts) {
            put_embedded(out, &cop_embedded_chart);
        }
        break;
    case 7: put_embedded(out, &cop_embedded_script); break;
    default: // an '@' of the page itself
        cop_text_append(out, "@");
        cop_text_append_bytes(out, name, length);
        cop_text_append(out, "@");
        break;
    }
    return COP_OK;
}

cop_status cop_report_html(cop_text *out, const cop_report *report, const json_t *document,
                           bool with_charts, cop_error *err)
{
    cop_status status = COP_OK;
    const char *at = (const char *)cop_embedded_page.data;
    const char *end = at + cop_embedded_page.bytes;
    while (at < end) {
        const char *mark = memchr(at, '@', (size_t)(end - at));
        const char *close = mark == NULL ? NULL : memchr(mark + 1, '@', (size_t)(end - mark - 1));
        if (close == NULL) {
            break;
        }
        cop_text_append_bytes(out, at, (size_t)(mark - at));
        COP_TRY(status, put_marker(out, mark + 1, (size_t)(close - mark - 1), report, document,
                                   with_charts, err));
        at = close + 1;
    }
    cop_text_append_bytes(out, at, (size_t)(end - at));
    status = cop_text_check(out, "report.html", err);
done:
    return status;
}
