#include <cblas.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "kernels/cpu.h"
#include "kernels/cpu/matmul.h"
#include "kernels/cpu/simd.h"

static char openblas_name[96];
static pthread_once_t info_once = PTHREAD_ONCE_INIT;

// openblas_get_config() is "OpenBLAS 0.3.21 NO_LAPACKE DYNAMIC_ARCH … Cooperlake MAX_THREADS=64".
static void name_openblas(void)
{
    const char *config = openblas_get_config();
    const char *end = strncmp(config, "OpenBLAS ", 9) == 0 ? strchr(config + 9, ' ') : NULL;
    const int length = end != NULL ? (int)(end - config) : 8;
    (void)snprintf(openblas_name, sizeof openblas_name, "%.*s (%s)", length,
                   end != NULL ? config : "OpenBLAS", openblas_get_corename());
}

cop_cpu_info cop_cpu_describe(void)
{
    (void)pthread_once(&info_once, name_openblas);
    return (cop_cpu_info){
        .matmul_f32 = openblas_name,
        .matmul_bf16 = cop_onednn_name(),
        .has_fast_bf16 = cop_onednn_has_bf16(),
        .simd = cop_simd_name(),
    };
}
