// The walk that cuts subtrees: candidates, counts and nearest values are those of the plain walk over all
// points, on spaces drawn at random.

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "search/space.h"
#include "tests/search/space_oracle.h"
#include "tests/support.h"

enum { SPACES = 1500 };

static cop_arch teacher_of(cop_rng *rng)
{
    cop_arch arch = {.family = COP_FAMILY_LLAMA,
                     .vocab = 32 + (int64_t)cop_rng_below(rng, 512),
                     .hidden = 64,
                     .head_dim = 16,
                     .context = 128,
                     .layers = 6,
                     .norm = cop_rng_below(rng, 2) == 0 ? COP_NORM_RMS : COP_NORM_LAYER_1P,
                     .norm_eps = 1e-5,
                     .is_gated = cop_rng_below(rng, 2) == 0,
                     .is_tied = cop_rng_below(rng, 2) == 0,
                     .attention_bias = cop_rng_below(rng, 2) == 0,
                     .mlp_bias = cop_rng_below(rng, 2) == 0,
                     .rope = {.theta = 1e4, .partial = 1.0},
                     .bos = -1,
                     .eos = -1};
    for (int i = 0; i < 6; i++) {
        arch.layer[i] = (cop_layer_arch){.heads = 8, .kv_heads = 4, .ffn = 128};
    }
    return arch;
}

// `count` distinct values of least … most in random order, "[a, b]".
static void append_list(cop_text *out, cop_rng *rng, int64_t least, int64_t most, double scale)
{
    int64_t all[128];
    const int64_t range = most - least + 1;
    const int64_t count = 1 + (int64_t)cop_rng_below(rng, (uint64_t)(range < 12 ? range : 12));
    for (int64_t i = 0; i < range; i++) {
        all[i] = least + i;
    }
    cop_rng_shuffle(rng, all, (size_t)range);
    for (int64_t i = 0; i < count; i++) {
        cop_text_appendf(out, "%s%.15g", i == 0 ? "[" : ", ", scale * (double)all[i]);
    }
    cop_text_append(out, "]");
}

// A limit near a figure that some points have.
static void append_bounds(cop_text *out, cop_rng *rng, const char *key, double low, double high)
{
    const double a = low + (high - low) * cop_rng_uniform(rng);
    const double b = low + (high - low) * cop_rng_uniform(rng);
    switch (cop_rng_below(rng, 4)) {
    case 0: return;
    case 1: cop_text_appendf(out, "  %s: {min: %.0f}\n", key, a); return;
    case 2: cop_text_appendf(out, "  %s: {max: %.0f}\n", key, a); return;
    default:
        cop_text_appendf(out, "  %s: {min: %.0f, max: %.0f}\n", key, fmin(a, b), fmax(a, b));
        return;
    }
}

static void append_study(cop_text *out, cop_rng *rng, double wide)
{
    cop_text_append(out, "teacher: t\nspace:\n  layers: ");
    append_list(out, rng, 1, 6, 1.0);
    if (cop_rng_below(rng, 2) == 0) {
        cop_text_append(out, "\n  heads: ");
        append_list(out, rng, 1, 4, 2.0);
        cop_text_append(out, "\n  kv_heads: [1, 4, 2]");
    }
    cop_text_append(out, "\n  hidden: ");
    append_list(out, rng, 8, 64, 1.0);
    switch (cop_rng_below(rng, 3)) {
    case 0: break;
    case 1:
        cop_text_append(out, "\n  ffn: ");
        append_list(out, rng, 16, 128, 1.0);
        break;
    default:
        cop_text_append(out, "\n  ffn_ratio: ");
        append_list(out, rng, 4, 60, 0.05);
        break;
    }
    cop_text_append(out, "\nbudget:\n  params: {min: 0}\n");
    append_bounds(out, rng, "params_non_embedding", 0.0, wide * 2e5);
    append_bounds(out, rng, "memory_bytes", 0.0, wide * 3e7);
    append_bounds(out, rng, "flops_per_token", 0.0, wide * 1.2e7);
}

static void expect_equal(const cop_space_report *found, const cop_space_report *wanted)
{
    assert_int_equal(found->size, wanted->size);
    assert_int_equal(found->invalid, wanted->invalid);
    assert_int_equal(found->duplicates, wanted->duplicates);
    assert_int_equal(found->feasible, wanted->feasible);
    assert_int_equal(found->bounds, wanted->bounds);
    for (int i = 0; i < wanted->bounds; i++) {
        assert_string_equal(found->bound[i].text, wanted->bound[i].text);
        assert_int_equal(found->bound[i].excluded, wanted->bound[i].excluded);
        assert_int_equal(found->bound[i].only, wanted->bound[i].only);
        assert_true(found->bound[i].nearest == wanted->bound[i].nearest ||
                    (isnan(found->bound[i].nearest) && isnan(wanted->bound[i].nearest)));
    }
}

typedef struct visited {
    const cop_candidate *wanted;
    int64_t count;
    int64_t limit; // visits that are answered by success
} visited;

static cop_status expect_next(void *context, const cop_candidate *candidate, cop_error *err)
{
    visited *v = context;
    if (v->count == v->limit) {
        return COP_FAIL(err, COP_ERR_IO, "enough");
    }
    const cop_candidate *wanted = &v->wanted[v->count++];
    assert_string_equal(candidate->id, wanted->id);
    assert_int_equal(candidate->grid_index, wanted->grid_index);
    assert_int_equal(candidate->cost.params, wanted->cost.params);
    assert_true(candidate->cost.flops_per_token == wanted->cost.flops_per_token);
    return COP_OK;
}

// Compares the walks over one space; returns what is feasible, or -1 when the study names no space.
static int64_t compare(const char *text, const cop_arch *teacher)
{
    cop_error err = {0};
    cop_study_file study;
    cop_space *space = NULL;
    cop_space_report report = {0};
    cop_space_report wanted = {0};
    visited v = {.limit = INT64_MAX};
    cop_candidate *candidates = NULL;
    int64_t count = 0;

    assert_int_equal(cop_study_file_parse(&study, "s.yaml", text, strlen(text), false, &err),
                     COP_OK);
    if (cop_space_create(&space, &study, teacher, &err) != COP_OK) {
        cop_study_file_release(&study);
        return -1;
    }
    assert_int_equal(space_oracle(&candidates, &count, &wanted, space, &err), COP_OK);
    v.wanted = candidates;
    assert_int_equal(cop_space_walk(space, &report, expect_next, &v, &err), COP_OK);
    assert_int_equal(v.count, count);
    expect_equal(&report, &wanted);
    assert_int_equal(cop_space_walk(space, &report, NULL, NULL, &err), COP_OK);
    expect_equal(&report, &wanted);
    if (count > 1) {
        v.count = 0;
        v.limit = count - 1;
        assert_int_equal(cop_space_walk(space, &report, expect_next, &v, &err), COP_ERR_IO);
        assert_string_equal(err.message, "enough");
    }
    cop_free(candidates);
    cop_space_destroy(space);
    cop_study_file_release(&study);
    return count;
}

static void agrees_with_the_plain_walk_on_random_spaces(void **state)
{
    (void)state;
    cop_error err = {0};
    cop_rng *rng = NULL;
    int64_t spaces = 0;
    int64_t with_some = 0;

    assert_int_equal(cop_rng_create(&rng, 11, COP_RNG_TEST, 0, &err), COP_OK);
    for (int i = 0; i < SPACES; i++) {
        cop_text text = {0};
        const cop_arch teacher = teacher_of(rng);
        append_study(&text, rng, 0.3 + cop_rng_uniform(rng));
        const int64_t feasible = compare(cop_text_view(&text), &teacher);
        spaces += feasible >= 0 ? 1 : 0;
        with_some += feasible > 0 ? 1 : 0;
        cop_text_release(&text);
    }
    assert_true(spaces > SPACES / 3 && with_some > SPACES / 6);
    cop_rng_destroy(rng);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_the_plain_walk_on_random_spaces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
