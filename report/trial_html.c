// report.html of a study with an evaluator: a page without scripts, in the looks of report/page/.

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/version.h"
#include "report/embedded.h"
#include "report/picture.h"
#include "report/surrogate_json.h"
#include "report/trial_report.h"
#include "search/facts.h"

enum { ROWS_MAX = 500, AXES_MAX = 10, METRICS_MAX = 12, FAILURES_MAX = 100 };

// --- Parts ----------------------------------------------------------------------------------------

static void open_card(cop_text *out, const char *title)
{
    cop_text_appendf(out, "<section class=\"card\"><h2>%s</h2>\n", title);
}

static void close_card(cop_text *out)
{
    cop_text_append(out, "</section>\n");
}

static void put_number(cop_text *out, double value)
{
    cop_text_append(out, "<td>");
    if (isfinite(value)) {
        cop_text_appendf(out, "%.6g", value);
    }
    cop_text_append(out, "</td>");
}

static void put_left(cop_text *out, const char *text)
{
    cop_text_append(out, "<td class=\"l\">");
    cop_picture_escape(out, text);
    cop_text_append(out, "</td>");
}

static void put_tile(cop_text *out, const char *key, const char *value)
{
    cop_text_appendf(out,
                     "<div class=\"tile\"><div class=\"v\">%s</div><div class=\"k\">%s</div></div>",
                     value, key);
}

static int shown_axes(const cop_trial_report *report)
{
    return report->space->axes <= AXES_MAX ? report->space->axes : 0;
}

static int64_t shown_metrics(const cop_trial_report *report)
{
    return report->metrics < METRICS_MAX ? report->metrics : METRICS_MAX;
}

// --- Head -----------------------------------------------------------------------------------------

static void put_head(cop_text *out, const cop_trial_report *report)
{
    static const char icon[] =
        "<svg viewBox=\"0 0 24 24\" width=\"22\" height=\"22\" aria-hidden=\"true\"><path d=\"M12 "
        "22v-7M9 22h6M12 15c-4 0-6-2-6-6 4 0 6 2 6 6Zm0 0c4 0 6-3 6-8-4 0-6 3-6 8Zm0-3V4\" "
        "fill=\"none\" stroke=\"currentColor\" stroke-width=\"1.8\" "
        "stroke-linecap=\"round\"/></svg>";
    char size[COP_TEXT_NUMBER_BYTES];
    cop_text_append(out, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                         "<meta name=\"viewport\" content=\"width=device-width, "
                         "initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n"
                         "<title>");
    cop_picture_escape(out, report->name);
    cop_text_append(out, " – architecture search</title>\n<style>\n");
    cop_text_append_bytes(out, cop_embedded_style.data, cop_embedded_style.bytes);
    cop_text_appendf(out,
                     "</style>\n</head>\n<body>\n<header class=\"top\"><div class=\"brand\">%s"
                     "coppice</div><h1>",
                     icon);
    cop_picture_escape(out, report->name);
    cop_text_appendf(
        out,
        "</h1><p class=\"lead\">%s over %d %s, %s points, measured by a program of its "
        "own; %s. Minimised: ",
        report->study->strategy, report->space->axes, report->space->axes == 1 ? "axis" : "axes",
        cop_text_count(size, cop_free_space_size(report->space)),
        report->is_finished ? "finished" : "not finished yet");
    for (int i = 0; i < report->space->objectives; i++) {
        cop_text_appendf(out, "%s%s", i > 0 ? ", " : "", report->space->objective[i]);
    }
    cop_text_append(out, ".</p></header>\n<main>\n");
}

static void put_pick(cop_text *out, const cop_trial_report *report)
{
    cop_text_append(out, "<section class=\"card pick\"><h2>Recommended</h2>");
    if (!report->has_pick) {
        cop_text_append(out, report->deepest < 0
                                 ? "<p>No candidate has a result yet.</p></section>\n"
                                 : "<p>No candidate meets all bounds.</p></section>\n");
        return;
    }
    const cop_trial_entry *entry = &report->trials.entry[report->pick.index];
    const cop_trial_result *result = cop_trial_report_result(report, report->pick.index);
    cop_text_append(out, "<div class=\"id\">");
    cop_picture_escape(out, entry->id);
    cop_text_append(out, "</div><p>");
    cop_picture_escape(out, report->pick.reason);
    cop_text_append(out, "</p><div class=\"chips\">");
    for (int64_t i = 0; i < shown_metrics(report); i++) {
        const double value = cop_trial_metric(result, report->metric[i]);
        if (isfinite(value)) {
            cop_text_appendf(out, "<span class=\"chip\">%s <b>%.6g</b></span>", report->metric[i],
                             value);
        }
    }
    cop_text_append(out, "</div><pre>");
    cop_picture_escape(out, entry->values);
    cop_text_append(out, "</pre>");
    if (report->pick.runner_up >= 0) {
        cop_text_append(out, "<p class=\"note\">Runner-up: ");
        cop_picture_escape(out, report->trials.entry[report->pick.runner_up].id);
        cop_text_append(out, "</p>");
    }
    close_card(out);
}

static void put_tiles(cop_text *out, const cop_trial_report *report)
{
    char text[COP_TEXT_NUMBER_BYTES];
    cop_text_append(out, "<div class=\"tiles\">");
    put_tile(out, "candidates", cop_text_count(text, (double)report->trials.count));
    put_tile(out, "evaluations", cop_text_count(text, (double)report->evaluations));
    put_tile(out, "on the front", cop_text_count(text, (double)report->front_count));
    put_tile(out, "failed", cop_text_count(text, (double)report->failures));
    if (isfinite(report->volume.value)) {
        (void)snprintf(text, sizeof text, "%.5g", report->volume.value);
        put_tile(out, "hypervolume", text);
    }
    cop_text_append(out, "</div>\n");
}

// How well the surrogate predicted; nothing for other strategies.
static void put_surrogate(cop_text *out, const cop_trial_report *report)
{
    cop_text text = {0};
    cop_report_append_surrogate(&text, report->trials.fact, report->trials.facts, "; ");
    if (text.length > 0 && !text.is_broken) {
        open_card(out, "Surrogate");
        cop_text_append(out, "<p>Before each point was measured: ");
        cop_picture_escape(out, cop_text_view(&text));
        cop_text_append(out, ".</p>");
        close_card(out);
    }
    cop_text_release(&text);
}

// --- Tables ---------------------------------------------------------------------------------------

static void put_titles(cop_text *out, const cop_trial_report *report)
{
    cop_text_append(out, "<div class=\"scroll long\"><table><thead><tr><th>rank</th>"
                         "<th class=\"l\">candidate</th>");
    for (int i = 0; i < shown_axes(report); i++) {
        cop_text_appendf(out, "<th>%s</th>", report->space->axis[i].name);
    }
    for (int64_t i = 0; i < shown_metrics(report); i++) {
        cop_text_appendf(out, "<th>%s</th>", report->metric[i]);
    }
    cop_text_append(out, report->study->rungs > 0 ? "<th>fidelity</th>" : "");
    cop_text_append(out, "<th class=\"l\">status</th></tr></thead><tbody>\n");
}

static void put_values(cop_text *out, const cop_trial_report *report, const cop_trial_entry *entry)
{
    json_t *values = NULL;
    if (shown_axes(report) == 0) {
        return;
    }
    const cop_status status =
        cop_json_parse(&values, entry->id, entry->values, strlen(entry->values), NULL);
    for (int i = 0; i < report->space->axes; i++) {
        const json_t *value =
            status == COP_OK ? json_object_get(values, report->space->axis[i].name) : NULL;
        if (json_is_string(value)) {
            cop_text_append(out, "<td>");
            cop_picture_escape(out, json_string_value(value));
            cop_text_append(out, "</td>");
        } else {
            put_number(out, value == NULL ? (double)NAN : json_number_value(value));
        }
    }
    json_decref(values);
}

static void put_row(cop_text *out, const cop_trial_report *report, int64_t index)
{
    const cop_trial_entry *entry = &report->trials.entry[index];
    const cop_trial_place *place = &report->place[index];
    const cop_trial_rank *rank = cop_trial_report_entry(report, index);
    const cop_trial_result *result = cop_trial_report_result(report, index);
    const bool is_pick = report->has_pick && report->pick.index == index;
    cop_text_appendf(out, "<tr class=\"%s\"><td>%lld</td><td class=\"l\" title=\"",
                     is_pick              ? "is-pick"
                     : place->is_on_front ? "is-front"
                                          : "",
                     (long long)place->rank);
    cop_picture_escape(out, entry->values);
    cop_text_append(out, "\">");
    cop_picture_escape(out, entry->id);
    cop_text_append(out, is_pick ? "<span class=\"tag pick\">pick</span>" : "");
    cop_text_append(out, place->is_on_front ? "<span class=\"tag good\">front</span>" : "");
    cop_text_append(out, rank != NULL && rank->violation > 0
                             ? "<span class=\"tag bad\">breaks a bound</span>"
                             : "");
    cop_text_append(out, "</td>");
    put_values(out, report, entry);
    for (int64_t i = 0; i < shown_metrics(report); i++) {
        put_number(out, cop_trial_metric(result, report->metric[i]));
    }
    if (report->study->rungs > 0) {
        put_number(out, result->fidelity);
    }
    put_left(out, cop_candidate_state_name(place->state));
    cop_text_append(out, "</tr>\n");
}

static void put_front(cop_text *out, const cop_trial_report *report)
{
    open_card(out, "The front");
    if (report->front_count == 0) {
        cop_text_append(out, "<p class=\"empty\">Empty.</p>");
        close_card(out);
        return;
    }
    cop_text_appendf(out,
                     "<p class=\"note\">Feasible candidates that no other one beats in every "
                     "objective, lowest %s first%s.</p>",
                     report->space->objective[0],
                     report->front_count > ROWS_MAX ? "; the first 500" : "");
    put_titles(out, report);
    for (int64_t i = 0; i < report->front_count && i < ROWS_MAX; i++) {
        put_row(out, report, report->stage[report->deepest].ranking[i].index);
    }
    cop_text_append(out, "</tbody></table></div>");
    close_card(out);
}

// The best first: those that came furthest, by rank.
static void put_all(cop_text *out, const cop_trial_report *report)
{
    int64_t rows = 0;
    int64_t with_result = 0;
    for (int s = report->first; s < report->stages; s++) {
        with_result = report->stage[s].count > with_result ? report->stage[s].count : with_result;
    }
    open_card(out, "All candidates");
    cop_text_appendf(out,
                     "<p class=\"note\">%s%lld of %lld have a result. Ranks compare candidates of "
                     "one fidelity. All are in candidates.csv and report.json.</p>",
                     with_result > ROWS_MAX ? "The best 500. " : "", (long long)with_result,
                     (long long)report->trials.count);
    put_titles(out, report);
    for (int s = report->stages - 1; s >= report->first; s--) {
        const cop_trial_stage *stage = &report->stage[s];
        for (int64_t i = 0; i < stage->count && rows < ROWS_MAX; i++) {
            if (report->place[stage->ranking[i].index].stage == s) {
                put_row(out, report, stage->ranking[i].index);
                rows++;
            }
        }
    }
    cop_text_append(out, "</tbody></table></div>");
    close_card(out);
}

static void put_stages(cop_text *out, const cop_trial_report *report)
{
    if (report->study->rungs == 0) {
        return;
    }
    open_card(out, "Fidelities");
    cop_text_append(out, "<div class=\"scroll\"><table><thead><tr><th>stage</th><th>fidelity</th>"
                         "<th>in</th><th>finished</th><th>failed</th><th>promoted</th>"
                         "<th>rescued</th></tr></thead><tbody>\n");
    for (int s = report->first; s < report->stages; s++) {
        const cop_trial_stage *stage = &report->stage[s];
        cop_text_appendf(out,
                         "<tr><td>%d</td><td>%.6g</td><td>%lld</td><td>%lld</td><td>%lld</td>"
                         "<td>%lld</td><td>%lld</td></tr>\n",
                         s, stage->fidelity, (long long)stage->entered, (long long)stage->count,
                         (long long)stage->failed, (long long)stage->promoted,
                         (long long)stage->rescued);
    }
    cop_text_append(out, "</tbody></table></div>");
    close_card(out);
}

static void put_failures(cop_text *out, const cop_trial_report *report)
{
    int64_t rows = 0;
    if (report->failures == 0) {
        return;
    }
    open_card(out, "Failures");
    cop_text_appendf(out, "<p class=\"note\">%lld candidates gave no result%s.</p>",
                     (long long)report->failures,
                     report->failures > FAILURES_MAX ? "; the first 100" : "");
    cop_text_append(out, "<div class=\"scroll long\"><table><thead><tr><th "
                         "class=\"l\">candidate</th><th class=\"l\">reason</th></tr></thead>"
                         "<tbody>\n");
    for (int64_t i = 0; i < report->trials.count && rows < FAILURES_MAX; i++) {
        if (report->place[i].state == COP_STATE_FAILED) {
            cop_text_append(out, "<tr>");
            put_left(out, report->trials.entry[i].id);
            cop_text_append(out, "<td class=\"l wrap\">");
            cop_picture_escape(out, cop_trial_report_reason(report, i));
            cop_text_append(out, "</td></tr>\n");
            rows++;
        }
    }
    cop_text_append(out, "</tbody></table></div>");
    close_card(out);
}

// --- The end --------------------------------------------------------------------------------------

static void put_pair(cop_text *out, const char *key, const char *value)
{
    cop_text_append(out, "<dt>");
    cop_picture_escape(out, key);
    cop_text_append(out, "</dt><dd>");
    cop_picture_escape(out, value);
    cop_text_append(out, "</dd>");
}

static void put_provenance(cop_text *out, const cop_trial_report *report)
{
    char seconds[COP_TEXT_NUMBER_BYTES];
    const char *command = cop_trials_fact(&report->trials, COP_FACT_COMMAND);
    open_card(out, "Provenance");
    if (command != NULL) {
        cop_text_append(out, "<pre>");
        cop_picture_escape(out, command);
        cop_text_append(out, "</pre>");
    }
    cop_text_append(out, "<dl>");
    put_pair(out, "evaluator", report->study->evaluator_command);
    for (int64_t i = 0; i < report->trials.facts; i++) {
        const cop_fact *fact = &report->trials.fact[i];
        if (strcmp(fact->key, COP_FACT_COMMAND) != 0 && strchr(fact->key, '.') == NULL) {
            put_pair(out, fact->key, fact->value);
        }
    }
    put_pair(out, "evaluation time, all processes", cop_text_seconds(seconds, report->seconds));
    put_pair(out, "report made by", cop_version());
    put_pair(out, "study directory", report->directory);
    cop_text_append(out, "</dl>");
    close_card(out);
}

static void put_pictures(cop_text *out, const cop_trial_report *report)
{
    const size_t before = out->length;
    open_card(out, report->space->objectives == 1 ? "Course of the search" : "Objectives");
    cop_text_append(out, "<figure class=\"chart static\">");
    cop_trial_picture_front(out, report);
    cop_text_appendf(
        out,
        "</figure><div class=\"legend\"><span><i style=\"background:var(--accent)\"></i>"
        "front</span><span><i style=\"background:var(--dim)\"></i>others</span>%s<span>"
        "<i style=\"border:2px solid var(--pick)\"></i>pick</span></div>",
        report->space->bounds > 0 ? "<span><i style=\"border:1px solid "
                                    "var(--bad)\"></i>break a bound</span>"
                                  : "");
    close_card(out);
    if (report->deepest < 0 && !out->is_broken) {
        out->length = before;
        out->data[before] = '\0';
    }
    if (report->history.points >= 2 && isfinite(report->history.value)) {
        open_card(out, "Hypervolume");
        cop_text_append(out, "<p class=\"note\">Of the front so far, each objective scaled to the "
                             "range of all feasible results, against 1.1 in each.</p>"
                             "<figure class=\"chart static\">");
        cop_trial_picture_history(out, report);
        cop_text_append(out, "</figure>");
        close_card(out);
    }
}

cop_status cop_trial_html(cop_text *out, const cop_trial_report *report, cop_error *err)
{
    put_head(out, report);
    put_pick(out, report);
    put_tiles(out, report);
    put_surrogate(out, report);
    put_pictures(out, report);
    put_front(out, report);
    put_stages(out, report);
    put_all(out, report);
    put_failures(out, report);
    put_provenance(out, report);
    cop_text_append(out, "</main>\n<footer>Hover over a point for its figures. Everything is in "
                         "report.json and candidates.csv, too.</footer>\n</body>\n</html>\n");
    return cop_text_check(out, "report.html", err);
}
