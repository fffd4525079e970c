#include "base/version.h"

static const char *version = COP_PROJECT_VERSION;

const char *cop_version(void)
{
    return version;
}

void cop_version_set(const char *full_version)
{
    version = full_version;
}
