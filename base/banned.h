// Functions that do not compile in this project. The build includes this file before every C
// file; each name has a bounded, checked or repeatable replacement.

#ifndef COP_BASE_BANNED_H
#define COP_BASE_BANNED_H

// The real declarations first: a system header that came later would trip over the macros.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

// NOLINTBEGIN(readability-identifier-naming): the names are those of the functions.
#define COP_BANNED(name, instead) cop_banned_##name##_use_##instead

// Strings: unbounded, or silently unterminated.
#undef strcpy
#undef strcat
#undef strncpy
#undef strncat
#undef sprintf
#undef vsprintf
#undef strtok
#define strcpy(...)   COP_BANNED(strcpy, cop_text)
#define strcat(...)   COP_BANNED(strcat, cop_text)
#define strncpy(...)  COP_BANNED(strncpy, cop_text)
#define strncat(...)  COP_BANNED(strncat, cop_text)
#define sprintf(...)  COP_BANNED(sprintf, snprintf)
#define vsprintf(...) COP_BANNED(vsprintf, vsnprintf)
#define gets(...)     COP_BANNED(gets, getline)
#define strtok(...)   COP_BANNED(strtok, strtok_r)

// Numbers: no way to see an error.
#undef atoi
#undef atol
#undef atoll
#undef atof
#define atoi(...)  COP_BANNED(atoi, cop_text_to_i64)
#define atol(...)  COP_BANNED(atol, cop_text_to_i64)
#define atoll(...) COP_BANNED(atoll, cop_text_to_i64)
#define atof(...)  COP_BANNED(atof, cop_text_to_f64)

// Hidden shared state.
#undef rand
#undef srand
#undef strerror
#undef asctime
#undef ctime
#undef gmtime
#undef localtime
#define rand(...)      COP_BANNED(rand, cop_rng)
#define srand(...)     COP_BANNED(srand, cop_rng)
#define strerror(...)  COP_BANNED(strerror, strerror_r)
#define asctime(...)   COP_BANNED(asctime, strftime)
#define ctime(...)     COP_BANNED(ctime, strftime)
#define gmtime(...)    COP_BANNED(gmtime, gmtime_r)
#define localtime(...) COP_BANNED(localtime, localtime_r)

// The heap has one door; free() stays for what a library hands over.
#if defined(COP_BAN_HEAP) && !defined(COP_ALLOC_IMPLEMENTATION)
#    define malloc(...)        COP_BANNED(malloc, cop_alloc)
#    define calloc(...)        COP_BANNED(calloc, cop_alloc)
#    define realloc(...)       COP_BANNED(realloc, cop_realloc)
#    define aligned_alloc(...) COP_BANNED(aligned_alloc, cop_alloc)
#    define strdup(...)        COP_BANNED(strdup, cop_alloc_string)
#    define strndup(...)       COP_BANNED(strndup, cop_alloc_string)
#endif
// NOLINTEND(readability-identifier-naming)

#endif
