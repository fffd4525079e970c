// For slurm_test.sh: makes the tiny study, and prints what a study found.
// Usage: slurm_study make DIR | slurm_study figures DIR

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/system.h"
#include "tests/run/figures.h"
#include "tests/run/tiny_study.h"

int main(int argc, char **argv)
{
    cop_system_silence_libraries();
    if (argc != 3) {
        (void)fprintf(stderr, "usage: %s make|figures DIR\n", argv[0]);
        return 2;
    }
    if (strcmp(argv[1], "make") == 0) {
        tiny_study_make(argv[2], COP_FAMILY_LLAMA, 1);
        return 0;
    }
    char *figures = figures_of(argv[2]);
    const int put = fputs(figures, stdout);
    cop_free(figures);
    return put < 0 ? 1 : 0;
}
