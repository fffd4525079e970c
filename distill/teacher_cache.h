// A teacher ready to teach: its LM head on the device, and its final hidden states for the batches of
// one sampler, either computed when asked (online) or read from HDF5 files that were computed once.
//
// Cache files: `<directory>/<key>-<first>-<count>.h5`, dataset /states [sequences, T * Ct] in the compute
// dtype (exact: the LM head reads the same bits), attributes teacher_hash, batches_hash, precision,
// first, count. key = hash(teacher, sampler, precision). Finished or absent; a missing range is
// computed by one pass of the teacher and added. With the final hidden state and the head, the
// teacher's distribution is exact over the full vocabulary.
//
// The second form is a random sample of that distribution (COP_OP_SAMPLE_TARGETS), which is unbiased
// and takes about 1/200 of the disk: `<directory>/<key>-samples-<first>-<count>.h5`, datasets
//   draws [ids]: 32 bits for each distinct id of each token, the id in bits 0..21, the number of draws
//     that gave it less one in bits 22..31; a token ends where its draws add up to the attribute `draws`;
//   starts [sequences + 1]: where each sequence begins in it;
//   entropy [sequences, T]: of the full distribution, f32;
// and the attributes above with draws and seed. A token takes 4 bytes per distinct id, 4 for its entropy:
// with 50 draws about 52 bytes, at most 204. The draws of a token depend on (seed, sequence number,
// position) alone, so that all students of one seed learn from the same ones.

#ifndef COP_DISTILL_TEACHER_CACHE_H
#define COP_DISTILL_TEACHER_CACHE_H

#include "model/network.h"
#include "model/teacher.h"
#include "model/tokens.h"

typedef struct cop_teacher_model cop_teacher_model; // head + how to run the teacher

typedef struct cop_teacher_options {
    cop_precision precision;
    int64_t batch;    // sequences of one teacher pass
    int64_t sequence; // T
    int64_t draws;    // S, of samples of its distributions; 0: none are asked for
} cop_teacher_options;

// Adds what a teacher needs to a plan: its head, the states of one source, and when `with_network` the
// whole network. Without it states come from a cache, which takes the memory of two or three windows:
// one is in use while the next one is read (distill/state_stream.h).
COP_MUST_CHECK cop_status cop_teacher_plan(cop_plan *plan, const cop_arch *arch,
                                           const cop_teacher_options *options, bool with_network,
                                           cop_backend *backend, cop_error *err);

// Device memory of one further source of states: `is_cached` as above.
uint64_t cop_teacher_states_bytes(const cop_arch *arch, const cop_teacher_options *options,
                                  bool is_cached, cop_backend *backend);

// Loads the head only; the network is loaded on the first need and can be dropped again.
// checkpoint and backend are borrowed.
COP_MUST_CHECK cop_status cop_teacher_model_create(cop_teacher_model **out,
                                                   const cop_checkpoint *checkpoint,
                                                   const cop_teacher_options *options,
                                                   cop_backend *backend, cop_error *err);
void cop_teacher_model_destroy(cop_teacher_model *teacher);
cop_matrix cop_teacher_model_head(const cop_teacher_model *teacher);
// The teacher's network, loading it when it is not there; borrowed.
COP_MUST_CHECK cop_status cop_teacher_model_network(cop_teacher_model *teacher, cop_network **out,
                                                    cop_error *err);
void cop_teacher_model_drop_network(cop_teacher_model *teacher);

// States of `sampler`'s sequences. Both forms are owned by the caller.
typedef struct cop_teacher_states cop_teacher_states;

// Online: one forward pass per request.
COP_MUST_CHECK cop_status cop_teacher_states_online(cop_teacher_states **out,
                                                    cop_teacher_model *teacher,
                                                    cop_sampler *sampler, cop_error *err);
// Cached: makes sure that files for sequences [0, count) lie in `directory`, computing what is missing (with
// progress), then reads windows of `batch` sequences from them ahead of use (distill/state_stream.h).
// COP_ERR_IO on a full disk, before anything is lost; needs count * T * Ct * bytes of disk, checked at
// the start. A file that can no longer be read is COP_ERR_IO of the request that needs it.
COP_MUST_CHECK cop_status cop_teacher_states_cached(cop_teacher_states **out,
                                                    cop_teacher_model *teacher,
                                                    cop_sampler *sampler, const char *directory,
                                                    int64_t count, cop_error *err);
void cop_teacher_states_destroy(cop_teacher_states *states);
cop_state_source cop_teacher_states_source(cop_teacher_states *states);

// Samples of the distributions of `sampler`'s tokens, `draws` of the teacher's options each. Both forms
// are owned by the caller and give the same bits.
typedef struct cop_teacher_samples cop_teacher_samples;

// Online: one forward pass and one draw per request, which waits for the device.
COP_MUST_CHECK cop_status cop_teacher_samples_online(cop_teacher_samples **out,
                                                     cop_teacher_model *teacher,
                                                     cop_sampler *sampler, uint64_t seed,
                                                     cop_error *err);
// Cached: as cop_teacher_states_cached(); a whole file lies in memory while it is made.
COP_MUST_CHECK cop_status cop_teacher_samples_cached(cop_teacher_samples **out,
                                                     cop_teacher_model *teacher,
                                                     cop_sampler *sampler, uint64_t seed,
                                                     const char *directory, int64_t count,
                                                     cop_error *err);
void cop_teacher_samples_destroy(cop_teacher_samples *samples);
cop_sample_source cop_teacher_samples_source(cop_teacher_samples *samples);
// Bytes of disk that the samples of one token take at most.
uint64_t cop_teacher_sample_bytes(int64_t draws);

#endif
