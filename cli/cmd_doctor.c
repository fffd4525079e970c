// doctor: what the program runs on, and what it found of the libraries it can use.

#include <cblas.h>
#include <dlfcn.h>
#include <errno.h>
#include <gsl/gsl_version.h>
#include <hdf5.h>
#include <jansson.h>
#include <omp.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include <xxhash.h>
#include <yaml.h>

#include "base/file.h"
#include "base/system.h"
#include "base/version.h"
#include "cli/build_info.h"
#include "cli/cli.h"
#include "kernels/cpu.h"
#include "kernels/cuda_plugin.h"
#include "kernels/peak.h"

typedef struct arguments {
    cop_cli_common common;
    bool is_quick;
} arguments;

// NOLINTNEXTLINE(readability-non-const-parameter): the type is argp's
static error_t parse(int key, char *text, struct argp_state *state)
{
    arguments *given = state->input;
    (void)text;
    switch (key) {
    case ARGP_KEY_INIT: cop_cli_pass_common(state, &given->common); break;
    case 'n': given->is_quick = true; break;
    case ARGP_KEY_ARG:
        argp_error(state, "too many arguments"); // NOLINT(concurrency-mt-unsafe)
        return EINVAL;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static void put_text(json_t *object, const char *key, const char *value)
{
    (void)json_object_set_new(object, key, json_string(value)); // out of memory shows at the end
}

static void put_bytes(json_t *object, const char *key, uint64_t bytes)
{
    (void)json_object_set_new(object, key, json_integer((json_int_t)bytes));
}

static void warn(json_t *warnings, const char *text)
{
    (void)json_array_append_new(warnings, json_string(text));
}

static json_t *describe_program(void)
{
    json_t *program = json_object();
    put_text(program, "version", cop_version());
    put_text(program, "compiler", COP_BUILD_COMPILER);
    put_text(program, "build_type", COP_BUILD_TYPE);
    if (COP_BUILD_SANITIZE[0] != '\0') {
        put_text(program, "sanitizers", COP_BUILD_SANITIZE);
    }
    return program;
}

static json_t *describe_machine(void)
{
    json_t *machine = json_object();
    char name[128];
    cop_system_cpu_name(name, (int)sizeof name);
    put_text(machine, "cpu", name);
    (void)json_object_set_new(machine, "processors", json_integer(omp_get_num_procs()));
    (void)json_object_set_new(machine, "threads", json_integer(cop_system_threads()));
    put_text(machine, "own_kernels", cop_cpu_describe().simd);
    put_bytes(machine, "memory_bytes", cop_system_memory_bytes());
    put_bytes(machine, "memory_free_bytes", cop_system_memory_free_bytes());
    put_bytes(machine, "disk_free_bytes", cop_system_disk_free_bytes("."));
    return machine;
}

static bool core_has_avx512(const char *core)
{
    static const char *const cores[] = {"SkylakeX", "Cooperlake", "SapphireRapids"};
    for (size_t i = 0; i < sizeof cores / sizeof cores[0]; i++) {
        if (strcmp(core, cores[i]) == 0) {
            return true;
        }
    }
    return false;
}

static bool cpu_has_avx512(void)
{
#if defined(__x86_64__)
    return __builtin_cpu_supports("avx512f") != 0;
#else
    return false;
#endif
}

static json_t *describe_blas(json_t *warnings)
{
    json_t *blas = json_object();
    const char *core = openblas_get_corename();
    Dl_info where = {0};
    put_text(blas, "f32", cop_cpu_describe().matmul_f32);
    put_text(blas, "openblas", openblas_get_config());
    put_text(blas, "core_type", core);

    // GSL brings a cblas_sgemm of its own, fifty times slower; which one was bound, the loader knows.
    union {
        void (*function)(CBLAS_ORDER, CBLAS_TRANSPOSE, CBLAS_TRANSPOSE, blasint, blasint, blasint,
                         float, const float *, blasint, const float *, blasint, float, float *,
                         blasint);
        void *address;
    } sgemm = {.function = cblas_sgemm};

    if (dladdr(sgemm.address, &where) != 0 && where.dli_fname != NULL) {
        put_text(blas, "cblas_sgemm_from", where.dli_fname);
        if (strstr(where.dli_fname, "openblas") == NULL) {
            warn(warnings, "cblas_sgemm is not OpenBLAS's: matrix products will be very slow");
        }
    }
    if (cpu_has_avx512() && !core_has_avx512(core)) {
        warn(warnings, "the CPU has AVX-512, but OpenBLAS chose kernels without it: "
                       "unset OPENBLAS_CORETYPE");
    }
    put_text(blas, "bf16", cop_cpu_describe().matmul_bf16);
    put_text(blas, "onednn_at_build", COP_BUILD_ONEDNN);
    (void)json_object_set_new(blas, "has_fast_bf16",
                              json_boolean(cop_cpu_describe().has_fast_bf16));
    return blas;
}

// The matmul rates of a backend, as a section of the report.
static cop_status measure(json_t *report, const char *section, const char *device, cop_error *err)
{
    static const double seconds = 0.5;
    cop_status status = COP_OK;
    cop_backend *backend = NULL;
    cop_device_info info = {0};
    double rate = 0.0;
    json_t *matmul = json_object();

    (void)json_object_set_new(report, section, matmul);
    COP_TRY(status, cop_backend_create(&backend, device, err));
    COP_TRY(status, cop_backend_info(backend, &info, err));
    put_text(matmul, "device", info.name);
    put_text(matmul, "shape", info.is_host_memory ? "2048 x 1024 x 1024" : "8192 x 8192 x 8192");
    COP_TRY(status, cop_matmul_peak(backend, &rate, COP_F32, seconds, err));
    (void)json_object_set_new(matmul, "f32_gflops", json_real(1e-9 * rate));
    if (info.has_bf16_matmul) {
        COP_TRY(status, cop_matmul_peak(backend, &rate, COP_BF16, seconds, err));
        (void)json_object_set_new(matmul, "bf16_gflops", json_real(1e-9 * rate));
    }

done:
    cop_backend_destroy(backend);
    return status;
}

// A GPU that cannot be measured is a finding, not the end of the report.
static void measure_gpu(json_t *report, const json_t *cuda, json_t *warnings)
{
    cop_error err = {0};
    if (json_is_true(json_object_get(cuda, "is_usable")) &&
        measure(report, "matmul_cuda", "cuda", &err) != COP_OK) {
        warn(warnings, err.message);
    }
}

static json_t *describe_libraries(void)
{
    json_t *libraries = json_object();
    char text[64];
    unsigned major = 0;
    unsigned minor = 0;
    unsigned release = 0;
    (void)H5get_libversion(&major, &minor, &release);
    (void)snprintf(text, sizeof text, "%u.%u.%u", major, minor, release);
    put_text(libraries, "hdf5", text);
    put_text(libraries, "sqlite", sqlite3_libversion());
    put_text(libraries, "gsl", gsl_version);
    put_text(libraries, "jansson", jansson_version_str());
    put_text(libraries, "libyaml", yaml_get_version_string());
    const unsigned xxhash = XXH_versionNumber();
    (void)snprintf(text, sizeof text, "%u.%u.%u", xxhash / 10000, xxhash / 100 % 100, xxhash % 100);
    put_text(libraries, "xxhash", text);
    (void)snprintf(text, sizeof text, "%d", _OPENMP);
    put_text(libraries, "openmp", text);
    put_text(libraries, "chart_js",
             COP_BUILD_CHART_JS[0] == '/' ? COP_BUILD_CHART_JS
                                          : "not found when configured (libjs-chart.js)");
    return libraries;
}

static json_t *describe_parts(void)
{
    json_t *parts = json_object();
    put_text(parts, "mpi", COP_BUILD_MPI);
    return parts;
}

// CUDA's own encoding: 13000 is 13.0.
static void put_cuda_version(json_t *object, const char *key, int version)
{
    char text[32];
    (void)snprintf(text, sizeof text, "%d.%d", version / 1000, version % 1000 / 10);
    put_text(object, key, text);
}

static void put_cuda_devices(json_t *cuda, const cop_cuda_plugin *plugin, int count)
{
    for (int device = 0; device < count; device++) {
        cop_cuda_device about = {0};
        cop_error err = {0};
        char key[32];
        char text[160];
        char number[COP_TEXT_NUMBER_BYTES];
        (void)snprintf(key, sizeof key, "device_%d", device);
        if (plugin->device_describe(&about, device, &err) != COP_OK) {
            put_text(cuda, key, err.message);
            continue;
        }
        (void)snprintf(text, sizeof text, "%s, compute capability %d.%d, %d SMs, %s", about.name,
                       about.compute / 10, about.compute % 10, about.multiprocessors,
                       cop_text_bytes(number, about.memory_bytes));
        put_text(cuda, key, text);
    }
}

static json_t *describe_cuda(void)
{
    json_t *cuda = json_object();
    const cop_cuda_plugin *plugin = NULL;
    cop_error err = {0};
    int count = 0;
    put_text(cuda, "at_build", COP_BUILD_CUDA);
    cop_status status = cop_cuda_plugin_load(&plugin, &err);
    if (status == COP_OK) {
        cop_cuda_versions versions = {0};
        char text[32];
        put_text(cuda, "plugin", cop_cuda_plugin_path());
        plugin->versions(&versions);
        put_cuda_version(cuda, "runtime", versions.runtime);
        (void)snprintf(text, sizeof text, "%lld", (long long)versions.cublaslt);
        put_text(cuda, "cublaslt", text);
        put_text(cuda, "attention", versions.attention);
        if (versions.driver > 0) {
            put_cuda_version(cuda, "driver", versions.driver);
        }
        status = plugin->device_count(&count, &err);
        put_cuda_devices(cuda, plugin, count);
    }
    (void)json_object_set_new(cuda, "is_usable", json_boolean(status == COP_OK));
    if (status != COP_OK) {
        put_text(cuda, "reason", err.message);
    }
    return cuda;
}

static void put_limit(json_t *limits, const char *key, int resource)
{
    struct rlimit limit;
    if (getrlimit((__rlimit_resource_t)resource, &limit) != 0) {
        return;
    }
    if (limit.rlim_cur == RLIM_INFINITY) {
        put_text(limits, key, "unlimited");
    } else {
        put_bytes(limits, key, (uint64_t)limit.rlim_cur);
    }
}

static json_t *describe_limits(void)
{
    json_t *limits = json_object();
    put_limit(limits, "address_space_bytes", (int)RLIMIT_AS);
    put_limit(limits, "file_size_bytes", (int)RLIMIT_FSIZE);
    put_limit(limits, "locked_memory_bytes", (int)RLIMIT_MEMLOCK);
    put_limit(limits, "stack_bytes", (int)RLIMIT_STACK);
    put_limit(limits, "open_files", (int)RLIMIT_NOFILE);
    static const char *const variables[] = {"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS",
                                            "OPENBLAS_CORETYPE", "ONEDNN_MAX_CPU_ISA",
                                            "DNNL_MAX_CPU_ISA"};
    for (size_t i = 0; i < sizeof variables / sizeof variables[0]; i++) {
        const char *value = getenv(variables[i]); // NOLINT(concurrency-mt-unsafe): no thread writes
        if (value != NULL) {
            put_text(limits, variables[i], value);
        }
    }
    return limits;
}

static bool ends_with(const char *text, const char *end)
{
    const size_t length = strlen(text);
    const size_t end_length = strlen(end);
    return length >= end_length && strcmp(text + length - end_length, end) == 0;
}

// "memory_free_bytes": 123 as "memory free" and "123 B".
static void add_line(cop_cli_table *table, const char *key, const json_t *value)
{
    char label[48];
    char number[COP_TEXT_NUMBER_BYTES];
    size_t length = strlen(key);
    const bool is_bytes = ends_with(key, "_bytes");
    const bool is_rate = ends_with(key, "_gflops");
    length -= is_bytes ? strlen("_bytes") : is_rate ? strlen("_gflops") : 0;
    (void)snprintf(label, sizeof label, "  %.*s", (int)length, key);
    for (char *p = strpbrk(key, "abcdefghijklmnopqrstuvwxyz") != NULL ? label : NULL;
         p != NULL && (p = strchr(p, '_')) != NULL;) {
        *p = ' ';
    }
    cop_cli_cell(table, "%s", label);
    if (json_is_string(value)) {
        cop_cli_cell(table, "%s", json_string_value(value));
    } else if (json_is_boolean(value)) {
        cop_cli_cell(table, "%s", json_is_true(value) ? "yes" : "no");
    } else if (is_rate) {
        cop_cli_cell(table, "%.0f GFLOP/s", json_real_value(value));
    } else if (is_bytes) {
        cop_cli_cell(table, "%s", cop_text_bytes(number, (uint64_t)json_integer_value(value)));
    } else {
        cop_cli_cell(table, "%lld", (long long)json_integer_value(value));
    }
}

static void print_report(json_t *report, const json_t *warnings)
{
    const char *section;
    json_t *facts;
    json_object_foreach(report, section, facts)
    {
        if (!json_is_object(facts)) {
            continue;
        }
        cop_cli_table table;
        const char *key;
        json_t *value;
        cop_cli_print("%s\n", section);
        cop_cli_table_init(&table, "ll");
        json_object_foreach(facts, key, value)
        {
            add_line(&table, key, value);
        }
        cop_cli_table_print(&table);
    }
    for (size_t i = 0; i < json_array_size(warnings); i++) {
        cop_cli_print("warning: %s\n", json_string_value(json_array_get(warnings, i)));
    }
}

int cop_cmd_doctor(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"no-measure", 'n', NULL, 0, "Leave out the matmul measurement (one second)", 0},
        {0},
    };
    static const struct argp_child children[] = {
        {&cop_cli_json_argp, 0, NULL, 0}, {&cop_cli_run_argp, 0, NULL, 0}, {0}};
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .doc = "Says what the program runs on and which libraries, precision paths and limits it "
               "has: what a bug report needs.",
        .children = children,
    };
    arguments given = {0};
    cop_error err = {0};
    cop_status status = COP_OK;
    cop_cli_parse(&argp, argc, argv, &given);

    json_t *report = json_object();
    json_t *warnings = json_array();
    (void)json_object_set_new(report, "program", describe_program());
    (void)json_object_set_new(report, "machine", describe_machine());
    (void)json_object_set_new(report, "blas", describe_blas(warnings));
    if (!given.is_quick) {
        COP_TRY(status, measure(report, "matmul", "cpu", &err));
    }
    (void)json_object_set_new(report, "libraries", describe_libraries());
    (void)json_object_set_new(report, "parts", describe_parts());
    (void)json_object_set_new(report, "cuda", describe_cuda());
    if (!given.is_quick) {
        measure_gpu(report, json_object_get(report, "cuda"), warnings);
    }
    (void)json_object_set_new(report, "limits", describe_limits());
    (void)json_object_set(report, "warnings", warnings);
    if (given.common.is_json) {
        json_decref(warnings);
        return cop_cli_print_json(report);
    }
    print_report(report, warnings);

done:
    json_decref(warnings);
    json_decref(report);
    return cop_cli_finish(status, &err);
}
