// bf16 products by oneDNN. Its primitives are compiled per shape, so the most recent ones are
// kept. The C interface differs between the major versions 2 and 3; both are here, as nowhere
// else.

#include <omp.h>
#include <pthread.h>
#include <stdio.h>

#include "base/alloc.h"
#include "kernels/cpu/matmul.h"

#if COP_HAVE_ONEDNN

#    include <oneapi/dnnl/dnnl.h>
#    include <oneapi/dnnl/dnnl_version.h>

#    if DNNL_VERSION_MAJOR >= 3
typedef dnnl_memory_desc_t memory_desc; // an owned handle
#    else
typedef dnnl_memory_desc_t *memory_desc; // cop_alloc'ed, so that both versions look alike
#    endif

enum {
    CACHE_SLOTS = 256, // the shapes of a model's step are a few dozen
};

// What a primitive depends on.
typedef struct shape_key {
    int64_t rows;
    int64_t cols;
    int64_t depth;
    int64_t a_stride;
    int64_t b_stride;
    int64_t c_stride;
    float alpha;
    float beta;
    bool transpose_a;
    bool transpose_b;
    cop_dtype c_dtype;
    int threads;
} shape_key;

// A compiled product. Shared by the cache and the calls that run it, counted.
typedef struct product {
    shape_key key;
    dnnl_primitive_t primitive;
    memory_desc a;
    memory_desc b;
    memory_desc c;
    int references; // under the lock
    uint64_t used_at;
} product;

static struct {
    pthread_mutex_t lock;
    dnnl_engine_t engine;
    product *slots[CACHE_SLOTS];
    uint64_t clock;
    bool has_bf16;
    char name[64];
} onednn = {.lock = PTHREAD_MUTEX_INITIALIZER, .name = "none: oneDNN did not start"};

static pthread_once_t onednn_once = PTHREAD_ONCE_INIT;

static const char *isa_name(unsigned isa)
{
    if ((isa & dnnl_cpu_isa_avx512_core_amx) == dnnl_cpu_isa_avx512_core_amx) {
        return "avx512_core_amx";
    }
    return "avx512_core_bf16";
}

static void start(void)
{
    if (dnnl_engine_create(&onednn.engine, dnnl_cpu, 0) != dnnl_success) {
        return;
    }
    const unsigned isa = (unsigned)dnnl_get_effective_cpu_isa();
    const unsigned wanted = (unsigned)dnnl_cpu_isa_avx512_core_bf16;
    const dnnl_version_t *version = dnnl_version();
    onednn.has_bf16 = (isa & wanted) == wanted;
    if (onednn.has_bf16) {
        (void)snprintf(onednn.name, sizeof onednn.name, "oneDNN %d.%d.%d (%s)", version->major,
                       version->minor, version->patch, isa_name(isa));
    } else {
        (void)snprintf(onednn.name, sizeof onednn.name, "none: the CPU has no bf16 instructions");
    }
}

bool cop_onednn_has_bf16(void)
{
    return pthread_once(&onednn_once, start) == 0 && onednn.has_bf16;
}

const char *cop_onednn_name(void)
{
    (void)pthread_once(&onednn_once, start);
    return onednn.name;
}

static shape_key key_of(const cop_matmul_args *args)
{
    return (shape_key){
        .rows = args->c.rows,
        .cols = args->c.cols,
        .depth = args->transpose_a ? args->a.rows : args->a.cols,
        .a_stride = args->a.stride,
        .b_stride = args->b.stride,
        .c_stride = args->c.stride,
        .alpha = args->alpha,
        .beta = args->beta,
        .transpose_a = args->transpose_a,
        .transpose_b = args->transpose_b,
        .c_dtype = args->c.dtype,
        .threads = omp_get_max_threads(),
    };
}

static bool is_same(const shape_key *x, const shape_key *y)
{
    return x->rows == y->rows && x->cols == y->cols && x->depth == y->depth &&
           x->a_stride == y->a_stride && x->b_stride == y->b_stride && x->c_stride == y->c_stride &&
           x->alpha == y->alpha && x->beta == y->beta && x->transpose_a == y->transpose_a &&
           x->transpose_b == y->transpose_b && x->c_dtype == y->c_dtype && x->threads == y->threads;
}

static memory_desc desc_create(int64_t rows, int64_t cols, int64_t row_stride, int64_t col_stride,
                               dnnl_data_type_t type)
{
    const dnnl_dims_t dims = {rows, cols};
    const dnnl_dims_t strides = {row_stride, col_stride};
    memory_desc desc = NULL;
#    if DNNL_VERSION_MAJOR >= 3
    if (dnnl_memory_desc_create_with_strides(&desc, 2, dims, type, strides) != dnnl_success) {
        return NULL;
    }
#    else
    desc = cop_alloc(1, sizeof *desc);
    if (desc != NULL &&
        dnnl_memory_desc_init_by_strides(desc, 2, dims, type, strides) != dnnl_success) {
        cop_free(desc);
        desc = NULL;
    }
#    endif
    return desc;
}

static void desc_destroy(memory_desc desc)
{
#    if DNNL_VERSION_MAJOR >= 3
    if (desc != NULL) {
        (void)dnnl_memory_desc_destroy(desc);
    }
#    else
    cop_free(desc);
#    endif
}

static void product_destroy(product *self)
{
    if (self != NULL) {
        if (self->primitive != NULL) {
            (void)dnnl_primitive_destroy(self->primitive);
        }
        desc_destroy(self->a);
        desc_destroy(self->b);
        desc_destroy(self->c);
        cop_free(self);
    }
}

// c = alpha * (a b) + beta * c as operations behind the product.
static dnnl_status_t append_post_ops(dnnl_primitive_attr_t attr, dnnl_post_ops_t ops,
                                     const shape_key *key)
{
    dnnl_status_t status = dnnl_success;
    if (key->alpha != 1.0F) {
#    if DNNL_VERSION_MAJOR >= 3
        status = dnnl_post_ops_append_eltwise(ops, dnnl_eltwise_linear, key->alpha, 0.0F);
#    else
        status = dnnl_post_ops_append_eltwise(ops, 1.0F, dnnl_eltwise_linear, key->alpha, 0.0F);
#    endif
    }
    if (status == dnnl_success && key->beta != 0.0F) {
#    if DNNL_VERSION_MAJOR >= 3
        status = dnnl_post_ops_append_sum(ops, key->beta, 0, dnnl_data_type_undef);
#    else
        status = dnnl_post_ops_append_sum(ops, key->beta);
#    endif
    }
    return status == dnnl_success ? dnnl_primitive_attr_set_post_ops(attr, ops) : status;
}

static dnnl_status_t compile(product *self, dnnl_primitive_attr_t attr)
{
    dnnl_primitive_desc_t desc = NULL;
#    if DNNL_VERSION_MAJOR >= 3
    dnnl_status_t status = dnnl_matmul_primitive_desc_create(&desc, onednn.engine, self->a, self->b,
                                                             NULL, self->c, attr);
#    else
    dnnl_matmul_desc_t op;
    dnnl_status_t status = dnnl_matmul_desc_init(&op, self->a, self->b, NULL, self->c);
    if (status == dnnl_success) {
        status = dnnl_primitive_desc_create(&desc, &op, attr, onednn.engine, NULL);
    }
#    endif
    if (status == dnnl_success) {
        status = dnnl_primitive_create(&self->primitive, desc);
        (void)dnnl_primitive_desc_destroy(desc);
    }
    return status;
}

static product *product_create(const shape_key *key)
{
    product *self = cop_alloc(1, sizeof *self);
    dnnl_primitive_attr_t attr = NULL;
    dnnl_post_ops_t ops = NULL;
    bool is_fine = false;
    if (self == NULL) {
        return NULL;
    }
    self->key = *key;
    self->a = desc_create(key->rows, key->depth, key->transpose_a ? 1 : key->a_stride,
                          key->transpose_a ? key->a_stride : 1, dnnl_bf16);
    self->b = desc_create(key->depth, key->cols, key->transpose_b ? 1 : key->b_stride,
                          key->transpose_b ? key->b_stride : 1, dnnl_bf16);
    self->c = desc_create(key->rows, key->cols, key->c_stride, 1,
                          key->c_dtype == COP_BF16 ? dnnl_bf16 : dnnl_f32);
    if (self->a != NULL && self->b != NULL && self->c != NULL &&
        dnnl_primitive_attr_create(&attr) == dnnl_success &&
        dnnl_post_ops_create(&ops) == dnnl_success) {
        is_fine =
            append_post_ops(attr, ops, key) == dnnl_success && compile(self, attr) == dnnl_success;
    }
    if (ops != NULL) {
        (void)dnnl_post_ops_destroy(ops);
    }
    if (attr != NULL) {
        (void)dnnl_primitive_attr_destroy(attr);
    }
    if (!is_fine) {
        product_destroy(self);
        return NULL;
    }
    return self;
}

// The product of this shape, compiled when it is new; the least recently used one makes room.
// Given back with product_drop().
static product *product_take(const cop_matmul_args *args)
{
    const shape_key key = key_of(args);
    product *found = NULL;
    int oldest = 0;
    (void)pthread_mutex_lock(&onednn.lock);
    for (int i = 0; i < CACHE_SLOTS && found == NULL; i++) {
        product *each = onednn.slots[i];
        if (each == NULL) {
            oldest = i;
            break;
        }
        if (is_same(&each->key, &key)) {
            found = each;
        } else if (onednn.slots[oldest] != NULL && each->used_at < onednn.slots[oldest]->used_at) {
            oldest = i;
        }
    }
    if (found == NULL) {
        found = product_create(&key);
        if (found != NULL) {
            product *old = onednn.slots[oldest];
            if (old != NULL && --old->references == 0) {
                product_destroy(old);
            }
            found->references = 1;
            onednn.slots[oldest] = found;
        }
    }
    if (found != NULL) {
        found->references++;
        found->used_at = ++onednn.clock;
    }
    (void)pthread_mutex_unlock(&onednn.lock);
    return found;
}

static void product_drop(product *self)
{
    (void)pthread_mutex_lock(&onednn.lock);
    const bool is_last = --self->references == 0;
    (void)pthread_mutex_unlock(&onednn.lock);
    if (is_last) {
        product_destroy(self);
    }
}

static dnnl_status_t execute(const product *self, const cop_matmul_args *args)
{
    dnnl_memory_t memory[3] = {NULL, NULL, NULL};
    dnnl_stream_t stream = NULL;
    dnnl_status_t status = dnnl_stream_create(&stream, onednn.engine, dnnl_stream_default_flags);
    if (status == dnnl_success) {
        status = dnnl_memory_create(&memory[0], self->a, onednn.engine, args->a.data);
    }
    if (status == dnnl_success) {
        status = dnnl_memory_create(&memory[1], self->b, onednn.engine, args->b.data);
    }
    if (status == dnnl_success) {
        status = dnnl_memory_create(&memory[2], self->c, onednn.engine, args->c.data);
    }
    if (status == dnnl_success) {
        const dnnl_exec_arg_t list[3] = {
            {DNNL_ARG_SRC, memory[0]}, {DNNL_ARG_WEIGHTS, memory[1]}, {DNNL_ARG_DST, memory[2]}};
        status = dnnl_primitive_execute(self->primitive, stream, 3, list);
    }
    if (status == dnnl_success) {
        status = dnnl_stream_wait(stream);
    }
    for (int i = 0; i < 3; i++) {
        if (memory[i] != NULL) {
            (void)dnnl_memory_destroy(memory[i]);
        }
    }
    if (stream != NULL) {
        (void)dnnl_stream_destroy(stream);
    }
    return status;
}

cop_status cop_onednn_matmul(const cop_matmul_args *args, cop_error *err)
{
    if (!cop_onednn_has_bf16()) {
        return COP_FAIL(err, COP_ERR_UNSUPPORTED, "matmul: bf16 operands: %s (allowed: f32)",
                        cop_onednn_name());
    }
    product *self = product_take(args);
    const dnnl_status_t status = self != NULL ? execute(self, args) : dnnl_out_of_memory;
    if (self != NULL) {
        product_drop(self);
    }
    if (status != dnnl_success) {
        return COP_FAIL(err, COP_ERR_DEVICE,
                        "matmul: oneDNN failed at c [%lld, %lld] over %lld: status %d (allowed: 0)",
                        (long long)args->c.rows, (long long)args->c.cols,
                        (long long)(args->transpose_a ? args->a.rows : args->a.cols), (int)status);
    }
    return COP_OK;
}

#else

bool cop_onednn_has_bf16(void)
{
    return false;
}

const char *cop_onednn_name(void)
{
    return "none: built without oneDNN";
}

cop_status cop_onednn_matmul(const cop_matmul_args *args, cop_error *err)
{
    (void)args;
    return COP_FAIL(err, COP_ERR_UNSUPPORTED, "matmul: bf16 operands: %s (allowed: f32)",
                    cop_onednn_name());
}

#endif
