// Libraries that are no plugin of this program: with the function, but another version or layout;
// without COP_TEST_VERSION, without the function.

#include "kernels/cuda/plugin.h"

#ifdef COP_TEST_VERSION

const cop_cuda_plugin *cop_cuda_plugin_table(void);

const cop_cuda_plugin *cop_cuda_plugin_table(void)
{
    static const cop_cuda_plugin table = {.version = COP_TEST_VERSION, .layout = 0x1234};
    return &table;
}

#else

int cop_test_no_plugin(void);

int cop_test_no_plugin(void)
{
    return 0;
}

#endif
