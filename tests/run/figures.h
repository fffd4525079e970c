// Everything a study found, as text: two studies with equal text found the same, bit for bit.

#ifndef COP_TESTS_RUN_FIGURES_H
#define COP_TESTS_RUN_FIGURES_H

#include "search/search.h"

// Owned by the caller: cop_free(). Times are left out. Fails the test when the study cannot be read.
char *figures_of(const char *directory);

// Opens and reads; the test releases both.
void figures_read(const char *directory, cop_store **store, cop_snapshot *snapshot);

#endif
