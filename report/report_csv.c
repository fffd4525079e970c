// candidates.csv: one row for each candidate and stage, so that any tool can filter by stage. Lines end
// with CR LF and fields with commas, quotes or line ends are quoted (RFC 4180). Empty: not measured.

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "report/report.h"

static const char header[] =
    "id,stage,tokens,status,decision,rank,tied_with_next,on_front,front_probability,"
    "top_probability,loss,loss_low,loss_high,loss_above_best,loss_above_best_low,"
    "loss_above_best_high,cross_entropy,cross_entropy_low,cross_entropy_high,agreement,"
    "agreement_low,agreement_high,layers,hidden,heads,kv_heads,head_dim,ffn,ffn_ratio,params,"
    "params_non_embedding,memory_bytes,flops_per_token,reason\r\n";

static void put_text(cop_text *out, const char *text, const char *end)
{
    cop_text_append_csv(out, text);
    cop_text_append(out, end);
}

static void put_integer(cop_text *out, int64_t value)
{
    cop_text_appendf(out, "%" PRId64 ",", value);
}

static void put_real(cop_text *out, double value)
{
    cop_text_append_number(out, value);
    cop_text_append(out, ",");
}

static void put_estimate(cop_text *out, const cop_estimate *estimate)
{
    put_real(out, estimate->value);
    put_real(out, estimate->low);
    put_real(out, estimate->high);
}

static void put_figures(cop_text *out, const cop_snapshot_stage *stage, const cop_ranked *entry)
{
    if (entry == NULL) {
        cop_text_append(out, ",,,,,,,,,,,,,,,,,");
        return;
    }
    put_integer(out, entry->rank);
    cop_text_append(out, entry->is_tied_with_next ? "true," : "false,");
    cop_text_append(out, entry->on_front ? "true," : "false,");
    put_real(out, entry->front_probability);
    put_real(out, stage->probability);
    put_estimate(out, &entry->loss);
    put_estimate(out, &entry->difference_to_best);
    put_estimate(out, &entry->cross_entropy);
    put_estimate(out, &entry->agreement);
}

// `stage` -1: the candidate has not finished any.
static void put_row(cop_text *out, const cop_report *report, int64_t index, int stage)
{
    const cop_snapshot_candidate *c = &report->snapshot->candidate[index];
    const cop_candidate *a = &c->candidate;
    const cop_snapshot_stage *s = stage < 0 ? NULL : &c->stage[stage];
    put_text(out, a->id, ",");
    if (s == NULL) {
        cop_text_append(out, ",,");
    } else {
        put_integer(out, stage);
        put_integer(out, s->record.tokens);
    }
    put_text(out, cop_candidate_state_name(c->state), ",");
    put_text(out, s == NULL ? "" : s->decision, ",");
    put_figures(out, s, s == NULL ? NULL : cop_report_entry(report, index, stage));
    const int64_t sizes[] = {a->layers, a->hidden, a->heads, a->kv_heads, a->head_dim, a->ffn};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        put_integer(out, sizes[i]);
    }
    put_real(out, a->ffn_ratio);
    put_integer(out, a->cost.params);
    put_integer(out, a->cost.params_non_embedding);
    put_integer(out, a->cost.total_bytes);
    put_real(out, a->cost.flops_per_token);
    put_text(out, c->reason, "\r\n");
}

cop_status cop_report_csv(cop_text *out, const cop_report *report, cop_error *err)
{
    cop_text_append(out, header);
    for (int64_t i = 0; i < report->snapshot->count; i++) {
        const cop_snapshot_candidate *c = &report->snapshot->candidate[i];
        for (int s = 0; s <= c->last_stage; s++) {
            if (c->stage[s].is_done) {
                put_row(out, report, i, s);
            }
        }
        if (c->last_stage < 0) {
            put_row(out, report, i, -1);
        }
    }
    return cop_text_check(out, "candidates.csv", err);
}
