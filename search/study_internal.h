// What the reader of study.yaml shares among its files: the table of keys and the reading of values.

#ifndef COP_SEARCH_STUDY_INTERNAL_H
#define COP_SEARCH_STUDY_INTERNAL_H

#include "search/study_file.h"

typedef enum cop_study_kind {
    COP_STUDY_PATH = 0,  // text, relative to the study file; a char[COP_STUDY_PATH_BYTES]
    COP_STUDY_TEXT,      // as it stands; a char[COP_STUDY_PATH_BYTES]
    COP_STUDY_INTEGER,   // int64_t or uint64_t
    COP_STUDY_NUMBER,    // double
    COP_STUDY_BOOLEAN,   // bool
    COP_STUDY_CHOICE,    // an enum; the index of the word
    COP_STUDY_AXIS,      // cop_axis_values of whole sizes
    COP_STUDY_RATIOS,    // cop_axis_values of ratios
    COP_STUDY_LAYERS,    // cop_layer_set
    COP_STUDY_WORKLOADS, // names, each with its bounds
    COP_STUDY_OBJECTIVES,
    COP_STUDY_RUNGS,
    COP_STUDY_STRATEGY
} cop_study_kind;

enum { COP_STUDY_WORDS_MAX = 9 };

typedef struct cop_study_row {
    const char *path;
    cop_study_kind kind;
    size_t offset; // of the field in cop_study_file
    double min;
    double max;
    const char *words[COP_STUDY_WORDS_MAX]; // CHOICE; NULL behind the last
    const char *unit;
    // Converted like a value in the file. "none": the field keeps what it was initialized with,
    // "auto": it is derived once all keys are read, "required": an error.
    const char *fallback;
    const char *help;
    bool is_free; // does not change the results of a study
} cop_study_row;

// Is the key one of the teacher's job, without a use when an evaluator of the user's does it?
bool cop_study_row_needs_teacher(const cop_study_row *row);

const cop_study_row *cop_study_rows(size_t *count);

size_t cop_study_word_count(const cop_study_row *row);

// Reads the value of one key into its field.
COP_MUST_CHECK cop_status cop_study_row_read(cop_study_file *study, const cop_study_row *row,
                                             const cop_config_node *node, cop_error *err);

// Stores the fallback of a key that is absent.
void cop_study_row_default(cop_study_file *study, const cop_study_row *row);

// Reads one of the forms of an axis: a value, a list, {from, to, step}, {divisor, max_cut}, {values}; the
// mappings may have {min, max} beside.
COP_MUST_CHECK cop_status cop_study_axis_read(cop_axis_values *out, const cop_study_row *row,
                                              const cop_config_node *node, cop_error *err);

// --- study_space.c ------------------------------------------------------------------------------

// Two keys for one axis are refused.
COP_MUST_CHECK cop_status cop_study_space_check(const cop_study_file *study, cop_error *err);

COP_MUST_CHECK cop_status cop_study_layers_read(cop_layer_set *out, const cop_study_row *row,
                                                const cop_config_node *node, cop_error *err);
void cop_study_layers_append(cop_text *out, const cop_layer_set *layers);

COP_MUST_CHECK cop_status cop_study_workloads_read(cop_study_file *study,
                                                   const cop_config_node *node, cop_error *err);
void cop_study_workloads_append(cop_text *out, const cop_study_file *study);

#endif
