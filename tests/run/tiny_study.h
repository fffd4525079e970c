// What a search in a test needs: a teacher that has learned something, text, and a study file.

#ifndef COP_TESTS_RUN_TINY_STUDY_H
#define COP_TESTS_RUN_TINY_STUDY_H

#include "model/arch.h"

// Makes the folder `directory` with teacher/, train.bin, valid.bin and study.yaml, a copy of
// configs/studies/tiny.yaml. Text with structure and a briefly trained teacher of the family, the same for
// the same seed. Fails the test when it cannot. What is there already is replaced.
void tiny_study_make(const char *directory, cop_family family, uint64_t seed);

// Only the study file, with `from` replaced by `to` in its text (NULL: nothing).
void tiny_study_write(const char *directory, const char *from, const char *to);

#endif
