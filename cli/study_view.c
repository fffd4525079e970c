#include "cli/study_view.h"

#include <math.h>
#include <stdio.h>

cop_status cop_study_view_open(cop_study_view *out, const char *directory, cop_error *err)
{
    cop_status status = COP_OK;
    *out = (cop_study_view){0};
    COP_TRY(status, cop_store_open(&out->store, directory, COP_STORE_READ, err));
    COP_TRY(status, cop_snapshot_read(&out->snapshot, out->store, err));
done:
    return status;
}

cop_status cop_study_view_analyse(cop_study_view *view, const char *directory, cop_error *err)
{
    return cop_report_create(&view->report, &view->snapshot, directory, err);
}

void cop_study_view_release(cop_study_view *view)
{
    cop_report_release(&view->report);
    cop_snapshot_release(&view->snapshot);
    cop_store_destroy(view->store);
    *view = (cop_study_view){0};
}

char *cop_study_view_estimate(char *out, const cop_estimate *estimate)
{
    if (!isfinite(estimate->value)) {
        (void)snprintf(out, COP_ESTIMATE_TEXT_BYTES, "-");
    } else {
        (void)snprintf(out, COP_ESTIMATE_TEXT_BYTES, "%.4f [%.4f, %.4f]", estimate->value,
                       estimate->low, estimate->high);
    }
    return out;
}

char *cop_study_view_stage(char *out, int stage, int64_t tokens)
{
    char count[COP_TEXT_NUMBER_BYTES];
    if (stage == 0) {
        (void)snprintf(out, COP_ESTIMATE_TEXT_BYTES, "pruned, no training");
    } else {
        (void)snprintf(out, COP_ESTIMATE_TEXT_BYTES, "rung %d, %s tokens", stage,
                       cop_text_count(count, (double)tokens));
    }
    return out;
}

static const char *mark_of(const cop_report *report, const cop_ranked *entry)
{
    const bool is_pick = report->has_pick && report->pick.index == entry->index;
    return is_pick && entry->on_front                           ? "front, pick"
           : is_pick                                            ? "pick"
           : entry->on_front && entry->front_probability < 0.95 ? "front?"
           : entry->on_front                                    ? "front"
                                                                : "";
}

void cop_study_view_ranking(const cop_report *report, const cop_ranking *ranking, int64_t rows)
{
    static const char *const titles[] = {"rank",  "candidate",  "layers",    "hidden",
                                         "heads", "ffn",        "params",    "loss",
                                         "95 %",  "above best", "agreement", ""};
    char text[COP_ESTIMATE_TEXT_BYTES];
    cop_cli_table table;
    cop_cli_table_init(&table, "llrrrrrrlrrl");
    for (size_t i = 0; i < sizeof titles / sizeof titles[0]; i++) {
        cop_cli_cell(&table, "%s", titles[i]);
    }
    for (int64_t i = 0; i < ranking->count && i < rows; i++) {
        const cop_ranked *entry = &ranking->entry[i];
        const cop_candidate *c = &report->snapshot->candidate[entry->index].candidate;
        const bool is_tied =
            (i + 1 < ranking->count && ranking->entry[i + 1].rank == entry->rank) ||
            (i > 0 && ranking->entry[i - 1].rank == entry->rank);
        cop_cli_cell(&table, "%d%s", entry->rank, is_tied ? " tie" : "");
        cop_cli_cell(&table, "%s", c->id);
        cop_cli_cell(&table, "%lld", (long long)c->layers);
        cop_cli_cell(&table, "%lld", (long long)c->hidden);
        cop_cli_cell(&table, "%lld/%lld", (long long)c->heads, (long long)c->kv_heads);
        cop_cli_cell(&table, "%lld", (long long)c->ffn);
        cop_cli_cell(&table, "%s", cop_text_count(text, (double)c->cost.params));
        cop_cli_cell(&table, "%.4f", entry->loss.value);
        cop_cli_cell(&table, "%.4f to %.4f", entry->loss.low, entry->loss.high);
        if (i == 0) {
            cop_cli_cell(&table, "-");
        } else {
            cop_cli_cell(&table, "%+.4f", entry->difference_to_best.value);
        }
        cop_cli_cell(&table, "%.1f %%", 100 * entry->agreement.value);
        cop_cli_cell(&table, "%s", mark_of(report, entry));
    }
    cop_cli_table_print(&table);
}
