// A study as figures to decide from: ranks and ties per stage, the front, its knee and marginal rates,
// the pick and what would change it. Written as report.html, report.json and candidates.csv.
//
// Everything but provenance is a function of the stored figures alone: the same study gives the same
// figures. Dates, seconds and attempts stand under provenance. Figures of different stages are never in
// one ranking.

#ifndef COP_REPORT_REPORT_H
#define COP_REPORT_REPORT_H

#include <jansson.h>

#include "base/text.h"
#include "report/volume.h"
#include "search/importance_mass.h"
#include "search/ranking.h"

enum { COP_REPORT_STAGES_MAX = COP_SNAPSHOT_STAGES_MAX, COP_REPORT_TEXT_BYTES = 768 };

typedef struct cop_report_stage {
    cop_ranking ranking;          // best first; count 0 when nothing finished it
    cop_rank_agreement agreement; // with the stage before; NaN at stage 0
    int64_t entered;              // candidates that finished, failed or are running here
    int64_t promoted;
    int64_t rescued;
    int64_t eliminated;
    int64_t failed;
    int64_t running;
    int64_t tokens;       // cumulative, of each candidate
    int64_t tokens_spent; // trained in this stage by all
    double seconds;
} cop_report_stage;

// From one member of the front to the next larger one.
typedef struct cop_report_step {
    int64_t from; // indices into the snapshot
    int64_t to;
    cop_estimate gain;       // loss of `from` minus loss of `to`, paired
    double gain_per_percent; // for each 1 % more of the resource
    bool is_flat;            // the interval of the gain holds 0
} cop_report_step;

typedef struct cop_report {
    const cop_snapshot *snapshot; // borrowed
    char name[128];
    char directory[1024];
    cop_objective objective[4];
    int objectives;
    cop_objective resource; // what the loss is traded against: the first objective beside it
    uint64_t seed;
    char strategy[16]; // "grid" when the study does not say
    int64_t batches;   // that a strategy proposed; 0: a grid
    bool has_teacher;  // loss is KL to the teacher, otherwise cross-entropy
    int stages;        // that the study has or plans, the pruned stage included
    cop_report_stage stage[COP_REPORT_STAGES_MAX];
    int deepest;    // with a finished candidate; -1: none
    int64_t *front; // [front_count] indices into the snapshot, smallest resource first; owned
    int64_t front_count;
    cop_report_step *step; // [front_count - 1], owned
    // Knees of the front, both after scaling it to [0, 1]; -1 with fewer than three points.
    int64_t knee_by_distance; // farthest below the line between the ends
    int64_t knee_by_ideal;    // smallest Manhattan distance to the ideal point
    bool has_pick;
    cop_pick pick;
    double pick_lowest_share; // share of resamples in which the pick has the lowest loss
    char pick_change[COP_REPORT_TEXT_BYTES]; // what would change the pick
    int64_t evaluations;                     // finished stages of all candidates
    int64_t tokens;                          // trained by all candidates
    int64_t failures;
    double seconds;
    cop_report_volume volume; // of the deepest stage
    cop_report_volume
        history; // of the one that a strategy learns from; of a grid, of the pruned stage
    double (*mass)
        [COP_MASS_AXES]; // [snapshot->count] shares of importance that stay, owned; NULL: not known
} cop_report;

// `directory` is named in the report; objectives, seed and rungs come from the facts, or from the
// study.yaml in it, or are loss and params. `snapshot` is borrowed and must outlive the report.
COP_MUST_CHECK cop_status cop_report_create(cop_report *out, const cop_snapshot *snapshot,
                                            const char *directory, cop_error *err);
void cop_report_release(cop_report *report);

// Entry of a candidate in the ranking of a stage, or NULL.
const cop_ranked *cop_report_entry(const cop_report *report, int64_t index, int stage);
bool cop_report_is_on_front(const cop_report *report, int64_t index);
double cop_report_resource(const cop_report *report, int64_t index);

// Fills mass: from the scores that the study used, when they and the teacher's config.json are still where they
// were, or the scores lie in the study directory. Files of another study are taken as absent. COP_ERR_NOMEM.
COP_MUST_CHECK cop_status cop_report_find_mass(cop_report *report, cop_error *err);
// Fills volume and history. COP_ERR_NOMEM.
COP_MUST_CHECK cop_status cop_report_find_volume(cop_report *report, cop_error *err);

// The document of report.json (DESIGN.md section 4). Owned by the caller.
COP_MUST_CHECK cop_status cop_report_json(json_t **out, const cop_report *report, cop_error *err);
// One candidate with its figures, as in "candidates" of the document.
json_t *cop_report_json_candidate(const cop_report *report, int64_t index);
// Parts of it: what a strategy proposed, the space, a candidate's blocks and importance, agreement within sizes.
json_t *cop_report_json_proposals(const cop_report *report);
json_t *cop_report_json_space(const cop_report *report);
json_t *cop_report_json_blocks(const cop_candidate *candidate);
json_t *cop_report_json_mass(const cop_report *report, int64_t index);
json_t *cop_report_json_within(const cop_rank_agreement *agreement);
// A fact as a number where it is one, as text elsewhere; null without it.
json_t *cop_report_json_fact(const cop_report *report, const char *key);
// {value, low, high}; what is not finite is null.
json_t *cop_report_json_estimate(const cop_estimate *estimate);

// candidates.csv, RFC 4180: a header and one row for each candidate and stage it entered.
COP_MUST_CHECK cop_status cop_report_csv(cop_text *out, const cop_report *report, cop_error *err);

// One page that needs no network. `with_charts` false, or a build without Chart.js: static pictures.
COP_MUST_CHECK cop_status cop_report_html(cop_text *out, const cop_report *report,
                                          const json_t *document, bool with_charts, cop_error *err);

// Writes the three files into `directory`, each atomically.
COP_MUST_CHECK cop_status cop_report_write(const cop_report *report, const char *directory,
                                           cop_error *err);

#endif
