// Compiled by ctest once as it is, and once for each banned function: those must not compile.

#include <stdarg.h>
#include <stddef.h>

int probe(char *to, const char *from, va_list args, const time_t *when, const struct tm *parts);

int probe(char *to, const char *from, va_list args, const time_t *when, const struct tm *parts)
{
    (void)to;
    (void)from;
    (void)args;
    (void)when;
    (void)parts;
#if defined(USE_STRCPY)
    strcpy(to, from);
#elif defined(USE_STRCAT)
    strcat(to, from);
#elif defined(USE_STRNCPY)
    strncpy(to, from, 3);
#elif defined(USE_STRNCAT)
    strncat(to, from, 3);
#elif defined(USE_SPRINTF)
    sprintf(to, "%s", from);
#elif defined(USE_VSPRINTF)
    vsprintf(to, from, args);
#elif defined(USE_GETS)
    gets(to);
#elif defined(USE_STRTOK)
    strtok(to, from);
#elif defined(USE_ATOI)
    return atoi(from);
#elif defined(USE_ATOL)
    return (int)atol(from);
#elif defined(USE_ATOLL)
    return (int)atoll(from);
#elif defined(USE_ATOF)
    return (int)atof(from);
#elif defined(USE_RAND)
    return rand();
#elif defined(USE_SRAND)
    srand(1);
#elif defined(USE_STRERROR)
    return strerror(1)[0];
#elif defined(USE_ASCTIME)
    return asctime(parts)[0];
#elif defined(USE_CTIME)
    return ctime(when)[0];
#elif defined(USE_GMTIME)
    return gmtime(when)->tm_sec;
#elif defined(USE_LOCALTIME)
    return localtime(when)->tm_sec;
#elif defined(USE_MALLOC)
    free(malloc(1));
#elif defined(USE_CALLOC)
    free(calloc(1, 1));
#elif defined(USE_REALLOC)
    free(realloc(to, 1));
#elif defined(USE_STRDUP)
    free(strdup(from));
#endif
    return 0;
}
