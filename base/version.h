// Which program wrote a file: for provenance and bug reports.

#ifndef COP_BASE_VERSION_H
#define COP_BASE_VERSION_H

// "0.1.0", or what cop_version_set() said, e.g. "0.1.0 (5bcde44)". Never NULL.
const char *cop_version(void);

// Once, at start; borrowed: a string literal. The program knows its revision, libraries do not, so
// that they need not be rebuilt with every commit.
void cop_version_set(const char *full_version);

#endif
