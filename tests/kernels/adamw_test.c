// Every form of AdamW's state on the fast backend against the reference: the same random bits.

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cpu/simd.h"
#include "kernels/ops.h"
#include "tests/support.h"

enum { ROWS = 7, COLS = 2309, COUNT = ROWS * COLS };

typedef struct state {
    float master[COUNT];
    float gradient[COUNT];
    float m[COUNT];
    float v[COUNT];
    uint16_t working[COUNT];
    uint16_t narrow_gradient[COUNT];
    uint16_t narrow_m[COUNT];
    uint16_t narrow_v[COUNT];
} state;

static float noise(uint32_t *x)
{
    *x = *x * 1664525u + 1013904223u;
    return (float)(*x >> 8) / 8388608.0F - 1.0F;
}

static state *make_state(void)
{
    state *out = calloc(1, sizeof *out);
    uint32_t seed = 3;
    assert_non_null(out);
    for (int i = 0; i < COUNT; i++) {
        out->master[i] = noise(&seed);
        out->gradient[i] = 0.1F * noise(&seed);
        out->m[i] = 0.05F * noise(&seed);
        out->v[i] = 0.01F * fabsf(noise(&seed));
        out->working[i] = cop_bf16_from_f32(out->master[i]);
        out->narrow_gradient[i] = cop_bf16_from_f32(out->gradient[i]);
        out->narrow_m[i] = cop_bf16_from_f32(out->m[i]);
        out->narrow_v[i] = cop_bf16_from_f32(out->v[i]);
    }
    return out;
}

static void run(const char *name, state *at, bool has_master, bool has_narrow_moments,
                bool has_narrow_gradient, const cop_adamw_schedule *schedule)
{
    cop_backend *backend = NULL;
    cop_error err = {0};
    const cop_dtype moment = has_narrow_moments ? COP_BF16 : COP_F32;
    const cop_adamw_args args = {
        .parameter =
            has_master ? cop_matrix_dense(at->master, COP_F32, ROWS, COLS) : (cop_matrix){0},
        .working = cop_matrix_dense(at->working, COP_BF16, ROWS, COLS),
        .gradient = has_narrow_gradient
                        ? cop_matrix_dense(at->narrow_gradient, COP_BF16, ROWS, COLS)
                        : cop_matrix_dense(at->gradient, COP_F32, ROWS, COLS),
        .m =
            cop_matrix_dense(has_narrow_moments ? (void *)at->narrow_m : at->m, moment, ROWS, COLS),
        .v =
            cop_matrix_dense(has_narrow_moments ? (void *)at->narrow_v : at->v, moment, ROWS, COLS),
        .learning_rate = 1e-3F,
        .beta1 = 0.9F,
        .beta2 = 0.95F,
        .eps = 1e-8F,
        .weight_decay = 0.1F,
        .step = 5,
        .schedule = schedule,
        .zero_gradient = true,
        .seed = 99,
        .first_index = 12345};
    assert_int_equal(cop_backend_create(&backend, name, &err), COP_OK);
    if (backend->ops->adamw(backend, NULL, &args, &err) != COP_OK) {
        fail_msg("%s", err.message);
    }
    cop_backend_destroy(backend);
}

// Neighbours of one another, and nearly all the same: a sum in f32 differs from one in f64 by a few
// units of its last bit, so one element in thousands crosses its random threshold.
static void assert_neighbours(const uint16_t *a, const uint16_t *b)
{
    int different = 0;
    for (int i = 0; i < COUNT; i++) {
        assert_true(abs((int)a[i] - (int)b[i]) <= 1);
        different += a[i] != b[i];
    }
    assert_true(different < COUNT / 500);
}

static void assert_near(const float *a, const float *b)
{
    for (int i = 0; i < COUNT; i++) {
        assert_true(fabsf(a[i] - b[i]) <= 2e-6F * (1.0F + fabsf(b[i]))); // of sums of f32
    }
}

static void every_form_rounds_by_the_bits_of_the_reference(void **unused)
{
    (void)unused;
    const cop_adamw_schedule schedule = {
        .learning_rate = 2e-3F, .correction1 = 0.4F, .correction2 = 0.3F, .step = 41};
    const cop_simd best = cop_simd_best();
    for (int simd = 0; simd <= (int)best; simd++) {
        cop_simd_use((cop_simd)simd);
        for (int form = 0; form < 16; form++) {
            state *fast = make_state();
            state *slow = make_state();
            const cop_adamw_schedule *with = (form & 8) != 0 ? &schedule : NULL;
            run("cpu", fast, (form & 1) != 0, (form & 2) != 0, (form & 4) != 0, with);
            run("reference", slow, (form & 1) != 0, (form & 2) != 0, (form & 4) != 0, with);
            assert_near(fast->master, slow->master);
            assert_near(fast->gradient, slow->gradient);
            assert_near(fast->m, slow->m);
            assert_near(fast->v, slow->v);
            assert_neighbours(fast->working, slow->working);
            assert_neighbours(fast->narrow_m, slow->narrow_m);
            assert_neighbours(fast->narrow_v, slow->narrow_v);
            assert_memory_equal(fast->narrow_gradient, slow->narrow_gradient,
                                sizeof fast->narrow_gradient);
            free(fast);
            free(slow);
        }
    }
    cop_simd_use(best);
}

// A part of the elements by itself, with its first index: what a shard of the optimizer does.
static void a_part_draws_the_bits_of_the_whole(void **unused)
{
    (void)unused;
    const int64_t cut = 3001;
    state *whole = make_state();
    state *parts = make_state();
    cop_backend *backend = NULL;
    cop_error err = {0};
    assert_int_equal(cop_backend_create(&backend, "cpu", &err), COP_OK);
    for (int part = 0; part < 3; part++) {
        state *at = part == 0 ? whole : parts;
        const int64_t first = part == 2 ? cut : 0;
        const int64_t count = part == 0 ? COUNT : part == 1 ? cut : COUNT - cut;
        const cop_adamw_args args = {
            .working = cop_matrix_dense(at->working + first, COP_BF16, 1, count),
            .gradient = cop_matrix_dense(at->gradient + first, COP_F32, 1, count),
            .m = cop_matrix_dense(at->narrow_m + first, COP_BF16, 1, count),
            .v = cop_matrix_dense(at->narrow_v + first, COP_BF16, 1, count),
            .learning_rate = 1e-3F,
            .beta1 = 0.9F,
            .beta2 = 0.95F,
            .eps = 1e-8F,
            .step = 2,
            .seed = 1,
            .first_index = first};
        assert_int_equal(backend->ops->adamw(backend, NULL, &args, &err), COP_OK);
    }
    assert_memory_equal(whole->working, parts->working, sizeof whole->working);
    assert_memory_equal(whole->narrow_m, parts->narrow_m, sizeof whole->narrow_m);
    assert_memory_equal(whole->narrow_v, parts->narrow_v, sizeof whole->narrow_v);
    cop_backend_destroy(backend);
    free(whole);
    free(parts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_form_rounds_by_the_bits_of_the_reference),
        cmocka_unit_test(a_part_draws_the_bits_of_the_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
