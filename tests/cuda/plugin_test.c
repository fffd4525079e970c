// Why there is no CUDA backend is said in plain words, and the CPU takes its place: whatever the file
// is that should be the plugin, and where there is a plugin but no driver.

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda_plugin.h"
#include "tests/support.h"

static void use_plugin(const char *path)
{
    // NOLINTNEXTLINE(concurrency-mt-unsafe): this test has one thread
    assert_int_equal(setenv("COP_CUDA_PLUGIN", path, 1), 0);
}

static void expect_refusal(const char *pattern)
{
    cop_backend *backend = NULL;
    cop_error err = {0};
    assert_int_equal(cop_backend_create(&backend, "cuda", &err), COP_ERR_UNSUPPORTED);
    assert_null(backend);
    if (fnmatch(pattern, err.message, 0) != 0) {
        fail_msg("the message is\n  %s\nand should be like\n  %s", err.message, pattern);
    }
    assert_string_equal(cop_cuda_plugin_path(), "");
}

static void expect_cpu(void)
{
    cop_backend *backend = NULL;
    cop_device_info info;
    cop_error err = {0};
    assert_int_equal(cop_backend_create(&backend, "auto", &err), COP_OK);
    assert_int_equal(cop_backend_info(backend, &info, &err), COP_OK);
    assert_true(info.is_host_memory);
    cop_backend_destroy(backend);
}

static void a_file_that_is_not_there_is_named(void **state)
{
    (void)state;
    use_plugin("/nowhere/libcop_cuda.so");
    expect_refusal("cuda: plugin: /nowhere/libcop_cuda.so: cannot open shared object file: *");
    expect_cpu();
}

static void a_file_that_is_no_library_is_named(void **state)
{
    static const char text[] =
        "This is a text of more than the sixty-four bytes that the header of "
        "a library has, and it says so.\n";
    (void)state;
    (void)scratch_file("plugin.txt", text, sizeof text - 1);
    use_plugin("./plugin.txt");
    expect_refusal("cuda: plugin: ./plugin.txt: invalid ELF header");
    expect_cpu();
}

static void a_library_without_the_function_is_refused(void **state)
{
    (void)state;
    use_plugin(COP_TEST_PLUGIN_EMPTY);
    expect_refusal("cuda: plugin *: has no function cop_cuda_plugin_table (allowed: a plugin of "
                   "coppice)");
    expect_cpu();
}

static void a_plugin_of_another_version_is_refused(void **state)
{
    (void)state;
    use_plugin(COP_TEST_PLUGIN_OLD);
    expect_refusal("cuda: plugin *: version is 99 (allowed: 1, as the program)");
    expect_cpu();
}

static void a_plugin_of_other_sources_is_refused(void **state)
{
    (void)state;
    use_plugin(COP_TEST_PLUGIN_LAYOUT);
    expect_refusal(
        "cuda: plugin *: layout is 0000000000001234 (allowed: *; program and plugin were "
        "built from different sources)");
    expect_cpu();
}

// The plugin of this build: with a driver it works, without it says that there is none.
static void without_a_driver_the_plugin_says_so(void **state)
{
    const cop_cuda_plugin *plugin = NULL;
    cop_cuda_versions versions = {0};
    cop_backend *backend = NULL;
    cop_error err = {0};
    int count = -1;
    (void)state;
    assert_int_equal(unsetenv("COP_CUDA_PLUGIN"), 0);
    if (cop_cuda_plugin_load(&plugin, &err) != COP_OK) {
        assert_int_equal(err.status, COP_ERR_UNSUPPORTED);
        assert_int_equal(fnmatch("cuda: plugin*", err.message, 0), 0);
        assert_false(COP_TEST_HAS_PLUGIN);
        expect_refusal("cuda: plugin: libcop_cuda.so is not there (this build: *; see "
                       "COP_CUDA_PLUGIN)");
        expect_cpu();
        return;
    }
    plugin->versions(&versions);
    assert_true(versions.runtime >= 12000);
    assert_true(versions.cublaslt > 0);
    assert_string_not_equal(versions.attention, "");
    if (cop_cuda_has_driver()) {
        return; // the tests with the label gpu
    }
    assert_int_equal(versions.driver, 0);
    assert_int_equal(plugin->device_count(&count, &err), COP_ERR_UNSUPPORTED);
    assert_int_equal(count, 0);
    static const char *const names[] = {"cuda", "cuda:0", "cuda:7"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        assert_int_equal(cop_backend_create(&backend, names[i], &err), COP_ERR_UNSUPPORTED);
        assert_null(backend);
        assert_string_equal(err.message,
                            "cuda: driver: not there (libcuda.so.1 of the NVIDIA driver "
                            "is missing)");
    }
    expect_cpu();
}

static void names_of_devices_are_numbers(void **state)
{
    static const char *const bad[] = {"cuda:",   "cuda:x", "cuda:-1",         "cuda: 1",
                                      "cuda:1x", "cuda0",  "cuda:99999999999"};
    cop_backend *backend = NULL;
    cop_error err = {0};
    char expected[128];
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(cop_backend_create(&backend, bad[i], &err), COP_ERR_CONFIG);
        (void)snprintf(expected, sizeof expected,
                       "backend: name is %s (allowed: auto, cpu, cuda, cuda:<device>, reference)",
                       bad[i]);
        assert_string_equal(err.message, expected);
    }
}

int main(void)
{
    // The last one loads a plugin for good.
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_of_devices_are_numbers),
        cmocka_unit_test(a_file_that_is_not_there_is_named),
        cmocka_unit_test(a_file_that_is_no_library_is_named),
        cmocka_unit_test(a_library_without_the_function_is_refused),
        cmocka_unit_test(a_plugin_of_another_version_is_refused),
        cmocka_unit_test(a_plugin_of_other_sources_is_refused),
        cmocka_unit_test(without_a_driver_the_plugin_says_so),
    };
    return cmocka_run_group_tests_name("plugin", tests, NULL, NULL);
}
