// The three products of a training step at the shapes of small students, in f32 and bf16, against
// the matmul peak of this machine, which is measured in the same turns:
//     matmul_bench [--quick] [--clock cpu]
// forward y = x Wᵀ, input gradient dx = dy W, weight gradient dW += dyᵀ x in f32.

#include <stdio.h>

#include "base/alloc.h"
#include "base/dtype.h"
#include "benchmarks/bench.h"

// y [tokens, out] = x [tokens, in] Wᵀ
typedef struct shape {
    const char *name;
    int64_t tokens;
    int64_t in;
    int64_t out;
} shape;

static const shape shapes[] = {
    {"hidden256-ffn", 4096, 256, 704},         {"hidden512-square", 4096, 512, 512},
    {"hidden512-ffn", 4096, 512, 1408},        {"hidden512-down", 4096, 1408, 512},
    {"hidden768-ffn", 2048, 768, 2048},        {"hidden1024-ffn", 2048, 1024, 2816},
    {"head-v32000-chunk256", 256, 512, 32000},
};

enum { LAYOUTS = 3, CASES = LAYOUTS + 1, PEAK_TOKENS = 2048, PEAK_SIZE = 1024 };

typedef struct product {
    cop_backend *backend;
    cop_matmul_args args;
} product;

static cop_status run_product(void *context, cop_error *err)
{
    product *self = context;
    return self->backend->ops->matmul(self->backend, NULL, &self->args, err);
}

static bench_case case_of(product *self, const char *name)
{
    const cop_matmul_args *args = &self->args;
    const int64_t depth = args->transpose_a ? args->a.rows : args->a.cols;
    const uint64_t scratch = self->backend->ops->scratch_bytes(self->backend, COP_OP_MATMUL, args);
    self->args.scratch = scratch > 0 ? bench_memory((size_t)scratch) : NULL;
    return (bench_case){
        .name = name,
        .run = run_product,
        .context = self,
        .flops = 2.0 * (double)args->c.rows * (double)args->c.cols * (double)depth,
    };
}

static cop_matmul_args forward_of(cop_dtype dtype, int64_t tokens, int64_t in, int64_t out,
                                  cop_dtype y)
{
    return (cop_matmul_args){
        .a = bench_matrix(dtype, tokens, in),
        .b = bench_matrix(dtype, out, in),
        .c = bench_matrix(y, tokens, out),
        .transpose_b = true,
        .alpha = 1.0F,
    };
}

static void free_product(const product *self)
{
    cop_free(self->args.a.data);
    cop_free(self->args.b.data);
    cop_free(self->args.c.data);
    cop_free(self->args.scratch);
}

static void run_shape(const bench *self, cop_backend *backend, const shape *at, cop_dtype dtype)
{
    static const char *const layouts[LAYOUTS] = {"forward", "input_gradient", "weight_gradient"};
    const int64_t tokens = self->is_quick ? at->tokens / 16 : at->tokens;
    product products[CASES];
    bench_case cases[CASES];
    char names[CASES][96];
    for (int i = 0; i < CASES; i++) {
        products[i].backend = backend;
    }
    products[0].args = forward_of(dtype, PEAK_TOKENS, PEAK_SIZE, PEAK_SIZE, COP_F32);
    products[1].args = forward_of(dtype, tokens, at->in, at->out, dtype);
    products[2].args = (cop_matmul_args){
        .a = bench_matrix(dtype, tokens, at->out),
        .b = bench_matrix(dtype, at->out, at->in),
        .c = bench_matrix(dtype, tokens, at->in),
        .alpha = 1.0F,
    };
    products[3].args = (cop_matmul_args){
        .a = bench_matrix(dtype, tokens, at->out),
        .b = bench_matrix(dtype, tokens, at->in),
        .c = bench_matrix(COP_F32, at->out, at->in),
        .transpose_a = true,
        .alpha = 1.0F,
        .beta = 1.0F,
    };
    cases[0] = case_of(&products[0], "peak");
    for (int i = 1; i < CASES; i++) {
        (void)snprintf(names[i], sizeof names[i], "%s/%s", at->name, layouts[i - 1]);
        cases[i] = case_of(&products[i], names[i]);
    }
    bench_run(self, cases, CASES);
    for (int i = 1; i < CASES; i++) {
        char extra[160];
        (void)snprintf(extra, sizeof extra,
                       ",\"dtype\":\"%s\",\"tokens\":%lld,\"in\":%lld,\"out\":%lld,"
                       "\"peak_gflops\":%.1f",
                       cop_dtype_name(dtype), (long long)tokens, (long long)at->in,
                       (long long)at->out, cases[0].flops / cases[0].best * 1e-9);
        bench_print(self, &cases[i], "matmul 2048x1024x1024",
                    cases[i].flops / cases[0].flops * cases[0].best, extra);
    }
    for (int i = 0; i < CASES; i++) {
        free_product(&products[i]);
    }
}

int main(int argc, char **argv)
{
    bench self;
    cop_backend *backend = NULL;
    cop_error err = {0};
    bench_init(&self, "matmul_bench", argc, argv);
    if (cop_backend_create(&backend, "cpu", &err) != COP_OK) {
        (void)fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        run_shape(&self, backend, &shapes[i], COP_F32);
        run_shape(&self, backend, &shapes[i], COP_BF16);
    }
    cop_backend_destroy(backend);
    bench_release(&self);
    return 0;
}
