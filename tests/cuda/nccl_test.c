// NCCL as far as it goes without a GPU: it is found, it makes identities, and a group without a device is refused
// in words.

#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/cuda.h"
#include "kernels/cuda/group.h"
#include "tests/support.h"

static void a_library_that_is_not_there_is_named(void **state)
{
    (void)state;
    unsigned char id[COP_GROUP_IDENTITY_BYTES];
    cop_error err = {0};
    (void)setenv("COP_NCCL", "/nowhere/libnccl.so", 1); // NOLINT(concurrency-mt-unsafe)
    assert_int_equal(cop_cuda_group_functions.identity(id, &err), COP_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "nccl: /nowhere/libnccl.so: "));
    assert_non_null(
        strstr(err.message, "(allowed: NCCL on the loader's path, or COP_NCCL=<file>)"));
    (void)setenv("COP_NCCL", "libm.so.6", 1); // NOLINT(concurrency-mt-unsafe)
    assert_int_equal(cop_cuda_group_functions.identity(id, &err), COP_ERR_UNSUPPORTED);
    assert_string_equal(err.message, "nccl: ncclGetUniqueId is missing in the library found");
    (void)unsetenv("COP_NCCL"); // NOLINT(concurrency-mt-unsafe)
}

static void identities_differ(void **state)
{
    (void)state;
    unsigned char a[COP_GROUP_IDENTITY_BYTES] = {0};
    unsigned char b[COP_GROUP_IDENTITY_BYTES] = {0};
    cop_error err = {0};
    const cop_status status = cop_cuda_group_functions.identity(a, &err);
    if (status == COP_ERR_UNSUPPORTED) {
        print_message("%s\n", err.message);
        skip();
    }
    assert_int_equal(status, COP_OK);
    assert_int_equal(cop_cuda_group_functions.identity(b, &err), COP_OK);
    assert_memory_not_equal(a, b, sizeof a);
}

static void a_group_without_its_device_is_refused(void **state)
{
    (void)state;
    const unsigned char id[COP_GROUP_IDENTITY_BYTES] = {0};
    cop_cuda cuda = {.device = 1000};
    cop_backend backend = {.context = &cuda};
    cop_group *group = NULL;
    cop_error err = {0};
    const cop_status status = cop_cuda_group_functions.create(&group, &backend, 0, 2, id, &err);
    assert_true(status == COP_ERR_DEVICE || status == COP_ERR_UNSUPPORTED);
    assert_null(group);
    assert_true(strncmp(err.message, "nccl: ", 6) == 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_library_that_is_not_there_is_named),
        cmocka_unit_test(identities_differ),
        cmocka_unit_test(a_group_without_its_device_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
