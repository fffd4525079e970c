// Published points of other projects, in the folder COP_REFERENCE_DATA; it may be absent.

#ifndef COP_TESTS_SEARCH_REFERENCE_H
#define COP_TESTS_SEARCH_REFERENCE_H

#include <stdint.h>
#include <stdio.h>

enum { REFERENCE_ROWS_MAX = 10001 };

// A file of the folder for reading; skips the running test when the folder is absent.
FILE *reference_open(const char *name);

// Numbers of a text file, at most `limit`, without lines that start with '#'.
int64_t reference_numbers(double *values, int64_t limit, const char *name);

// A column of hwgpt/hwgpt_s.csv, by name of `length` characters, into values[row * stride].
int64_t reference_column(double *values, int64_t stride, const char *column, size_t length);

#endif
