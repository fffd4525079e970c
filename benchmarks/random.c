#include "benchmarks/random.h"

#include "base/alloc.h"
#include "base/dtype.h"

enum { BLOCK_BYTES = 16 << 20 };

cop_status bench_random_fill(cop_backend *backend, cop_matrix m, float scale, uint32_t seed,
                             cop_error *err)
{
    cop_status status = COP_OK;
    const size_t element = cop_dtype_bytes(m.dtype);
    const size_t bytes = (size_t)(m.rows * m.cols) * element;
    const size_t block_bytes = bytes < BLOCK_BYTES ? bytes : BLOCK_BYTES;
    char *block = cop_alloc(block_bytes + 1, 1);
    uint32_t state = seed;
    if (block == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "no memory for random operands");
    }
    for (size_t i = 0; i < block_bytes / element; i++) {
        const float value = scale * ((float)bench_random(&state) / 8388608.0F - 1.0F);
        if (m.dtype == COP_BF16) {
            ((uint16_t *)(void *)block)[i] = cop_bf16_from_f32(value);
        } else {
            ((float *)(void *)block)[i] = value;
        }
    }
    for (size_t done = 0; done < bytes; done += block_bytes) {
        const size_t left = bytes - done;
        COP_TRY(status, cop_backend_to_device(backend, NULL, (char *)m.data + done, block,
                                              left < block_bytes ? left : block_bytes, err));
    }
    COP_TRY(status, cop_backend_synchronize(backend, NULL, err));

done:
    cop_free(block);
    return status;
}
