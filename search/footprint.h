// Memory of a search, known before anything is allocated, and the size of its passes.

#ifndef COP_SEARCH_FOOTPRINT_H
#define COP_SEARCH_FOOTPRINT_H

#include "distill/memory_form.h"
#include "search/study_file.h"

typedef struct cop_footprint {
    cop_plan probe;   // the largest candidate: teacher's head, student, training or evaluation
    cop_plan teacher; // the teacher while it is scored or run
    cop_plan latency; // the largest candidate timed; empty without a latency budget
    int64_t micro_batch;
    cop_precision precision;
    int64_t largest; // index of the candidate that `probe` is of
} cop_footprint;

// Precision: the study's, or for `auto` bf16 where the backend has fast bf16 matmuls.
COP_MUST_CHECK cop_status cop_footprint_precision(cop_precision *out, const cop_study_file *study,
                                                  cop_backend *backend, cop_error *err);

// Plans all candidates with these precision and micro-batch, and finds the largest. micro_batch 0: the
// largest divisor of the step's sequences that makes at most 8192 tokens and needs at most 80 % of
// `memory_bytes`, of the device where that has memory of its own. `is_online`: the teacher's network lies beside the student's.
COP_MUST_CHECK cop_status cop_footprint_make(cop_footprint *out, const cop_study_file *study,
                                             const cop_arch *teacher,
                                             const cop_candidate *candidates, int64_t count,
                                             cop_precision precision, int64_t micro_batch,
                                             bool is_online, uint64_t memory_bytes,
                                             cop_backend *backend, cop_error *err);

// The probe of one candidate in another form of training.
COP_MUST_CHECK cop_status cop_footprint_probe(cop_plan *out, const cop_study_file *study,
                                              const cop_arch *teacher,
                                              const cop_candidate *candidate,
                                              cop_precision precision, bool is_online,
                                              const cop_memory_form *form, cop_backend *backend,
                                              cop_error *err);
// The form that a study asks for, with these passes.
cop_memory_form cop_footprint_memory_form(const cop_study_file *study, int64_t micro_batch);

// Bytes on disk: of the teacher's states of `sequences` sequences, of a candidate's saved state.
uint64_t cop_footprint_states_bytes(const cop_study_file *study, const cop_arch *teacher,
                                    cop_precision precision, int64_t sequences);
uint64_t cop_footprint_checkpoint_bytes(const cop_study_file *study,
                                        const cop_candidate *candidate);

// Sequences of training text that the rungs up to `rung` (from 1) need.
int64_t cop_footprint_train_sequences(const cop_study_file *study, int rung);

// Whether the teacher runs in every step of a rung, because its states would not fit the allowance.
bool cop_footprint_is_online(const cop_study_file *study, const cop_arch *teacher,
                             cop_precision precision, int rung);

// Options of a probe: the study's with these sizes, in a rung (from 1; 0: it is not trained).
cop_trainer_options cop_footprint_trainer(const cop_study_file *study, int64_t micro_batch,
                                          int rung);
cop_network_options cop_footprint_network(const cop_study_file *study, cop_precision precision,
                                          int64_t micro_batch, int rung);

#endif
