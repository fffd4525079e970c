// The three products of a training step at the shapes of small students (on a device: of Minitron
// students of 1B to 8B), in f32 and bf16, against the matmul peak, which is measured in the same turns:
//     matmul_bench [--quick] [--clock cpu] [--device NAME]
// forward y = x Wᵀ, input gradient dx = dy W, weight gradient dW += dyᵀ x in f32.

#include <stdio.h>

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

static const shape device_shapes[] = {
    {"1b-qkv", 8192, 2048, 4096},  {"1b-up", 8192, 2048, 8192},    {"4b-qkv", 8192, 3072, 5120},
    {"4b-up", 8192, 3072, 9216},   {"8b-qkv", 8192, 4096, 8192},   {"8b-o", 8192, 6144, 4096},
    {"8b-up", 8192, 4096, 16384},  {"8b-down", 8192, 16384, 4096}, {"8b-head", 1024, 4096, 256000},
    {"15b-up", 8192, 6144, 24576},
};

enum { LAYOUTS = 3, CASES = LAYOUTS + 1 };

typedef struct product {
    cop_backend *backend;
    cop_matmul_args args;
} product;

static cop_status run_product(void *context, cop_error *err)
{
    product *self = context;
    return self->backend->ops->matmul(self->backend, NULL, &self->args, err);
}

static bench_case case_of(bench *at, product *self, const char *name)
{
    const cop_matmul_args *args = &self->args;
    const int64_t depth = args->transpose_a ? args->a.rows : args->a.cols;
    const uint64_t scratch = self->backend->ops->scratch_bytes(self->backend, COP_OP_MATMUL, args);
    self->args.scratch = scratch > 0 ? bench_memory(at, (size_t)scratch) : NULL;
    return (bench_case){
        .name = name,
        .run = run_product,
        .context = self,
        .flops = 2.0 * (double)args->c.rows * (double)args->c.cols * (double)depth,
    };
}

static cop_matmul_args forward_of(bench *self, cop_dtype dtype, int64_t tokens, int64_t in,
                                  int64_t out, cop_dtype y)
{
    return (cop_matmul_args){
        .a = bench_matrix(self, dtype, tokens, in),
        .b = bench_matrix(self, dtype, out, in),
        .c = bench_matrix(self, y, tokens, out),
        .transpose_b = true,
        .alpha = 1.0F,
    };
}

static void run_shape(bench *self, const shape *at, cop_dtype dtype)
{
    static const char *const layouts[LAYOUTS] = {"forward", "input_gradient", "weight_gradient"};
    const int64_t peak_rows = self->is_device ? 8192 : 2048;
    const int64_t peak_cols = self->is_device ? 8192 : 1024;
    const char *peak_name = self->is_device ? "matmul 8192x8192x8192" : "matmul 2048x1024x1024";
    const int64_t tokens = self->is_quick ? at->tokens / 16 : at->tokens;
    product products[CASES];
    bench_case cases[CASES];
    char names[CASES][96];
    for (int i = 0; i < CASES; i++) {
        products[i].backend = self->backend;
    }
    products[0].args = forward_of(self, dtype, peak_rows, peak_cols, peak_cols, COP_F32);
    products[1].args = forward_of(self, dtype, tokens, at->in, at->out, dtype);
    products[2].args = (cop_matmul_args){
        .a = bench_matrix(self, dtype, tokens, at->out),
        .b = bench_matrix(self, dtype, at->out, at->in),
        .c = bench_matrix(self, dtype, tokens, at->in),
        .alpha = 1.0F,
    };
    products[3].args = (cop_matmul_args){
        .a = bench_matrix(self, dtype, tokens, at->out),
        .b = bench_matrix(self, dtype, tokens, at->in),
        .c = bench_matrix(self, COP_F32, at->out, at->in),
        .transpose_a = true,
        .alpha = 1.0F,
        .beta = 1.0F,
    };
    cases[0] = case_of(self, &products[0], "peak");
    for (int i = 1; i < CASES; i++) {
        (void)snprintf(names[i], sizeof names[i], "%s/%s", at->name, layouts[i - 1]);
        cases[i] = case_of(self, &products[i], names[i]);
    }
    bench_run(self, cases, CASES);
    for (int i = 1; i < CASES; i++) {
        char extra[160];
        (void)snprintf(extra, sizeof extra,
                       ",\"dtype\":\"%s\",\"tokens\":%lld,\"in\":%lld,\"out\":%lld,"
                       "\"peak_gflops\":%.1f",
                       cop_dtype_name(dtype), (long long)tokens, (long long)at->in,
                       (long long)at->out, cases[0].flops / cases[0].best * 1e-9);
        bench_print(self, &cases[i], peak_name, cases[i].flops / cases[0].flops * cases[0].best,
                    extra);
    }
    bench_free_memory(self);
}

int main(int argc, char **argv)
{
    bench self;
    bench_init(&self, "matmul_bench", argc, argv);
    const shape *all = self.is_device ? device_shapes : shapes;
    const size_t count = self.is_device ? sizeof device_shapes / sizeof device_shapes[0]
                                        : sizeof shapes / sizeof shapes[0];
    for (size_t i = 0; i < count; i++) {
        run_shape(&self, &all[i], COP_F32);
        run_shape(&self, &all[i], COP_BF16);
    }
    bench_release(&self);
    return 0;
}
