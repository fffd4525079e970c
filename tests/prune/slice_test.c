// What is cut out of a teacher: nothing, exactly the masked model, and carry-over by hand.
//
// Longer than the aim: one test file for one source, whose cases share what is above them.

#include "prune/slice.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/alloc.h"
#include "base/file.h"
#include "tests/prune/fixture.h"

enum { BATCH = 2, SEQUENCE = 9, ROWS = BATCH * SEQUENCE };

static void slice_to_disk(const cop_selection *selection, const cop_checkpoint *teacher,
                          const char *directory, cop_dtype dtype)
{
    cop_error err = {0};
    cop_checkpoint_writer *writer = NULL;
    const cop_checkpoint_options options = {
        .dtype = dtype, .force = true, .base = cop_checkpoint_path(teacher)};
    must(cop_checkpoint_writer_create(&writer, directory, cop_selection_arch(selection), &options,
                                      &err),
         &err);
    must(cop_slice(selection, teacher, cop_checkpoint_writer_sink(writer), &err), &err);
    must(cop_checkpoint_writer_commit(writer, &err), &err);
    cop_checkpoint_writer_destroy(writer);
}

static cop_selection *must_select(const cop_arch *teacher, const cop_arch *target, uint64_t seed,
                                  cop_select_options options)
{
    cop_error err = {0};
    cop_selection *selection = NULL;
    cop_importance *scores = random_scores(teacher, seed);
    must(cop_selection_create(&selection, teacher, target, scores, &options, &err), &err);
    cop_importance_destroy(scores);
    return selection;
}

static cop_arch with_sizes(const cop_arch *teacher, int64_t layers, int64_t hidden, int64_t heads,
                           int64_t kv_heads, int64_t ffn)
{
    cop_arch target = *teacher;
    target.layers = layers;
    target.hidden = hidden;
    for (int64_t i = 0; i < COP_ARCH_LAYERS_MAX; i++) {
        target.layer[i] = (cop_layer_arch){.heads = heads, .kv_heads = kv_heads, .ffn = ffn};
    }
    return target;
}

static size_t tensor_bytes(const cop_arch *arch, int64_t index, cop_dtype dtype)
{
    const cop_tensor_spec spec = cop_arch_tensor(arch, index);
    return (size_t)(spec.shape[0] * spec.shape[1]) * cop_dtype_bytes(dtype);
}

static void expect_same_tensors(const cop_checkpoint *a, const cop_checkpoint *b)
{
    const cop_arch *arch = cop_checkpoint_arch(a);
    for (int64_t i = 0; i < cop_arch_tensor_count(arch); i++) {
        cop_dtype dtype_a;
        cop_dtype dtype_b;
        const void *data_a = cop_checkpoint_view(a, i, &dtype_a);
        const void *data_b = cop_checkpoint_view(b, i, &dtype_b);
        assert_int_equal(dtype_a, dtype_b);
        assert_memory_equal(data_a, data_b, tensor_bytes(arch, i, dtype_a));
    }
}

static void pruning_nothing_gives_the_teacher_bit_for_bit(void **state)
{
    (void)state;
    static const cop_dtype dtypes[] = {COP_F32, COP_BF16, COP_F16};
    for (int family = 0; family < COP_FAMILY_COUNT; family++) {
        const cop_arch arch = teacher_arch((cop_family)family);
        for (size_t i = 0; i < sizeof dtypes / sizeof dtypes[0]; i++) {
            for (int carry = 0; carry < 3; carry++) {
                cop_error err = {0};
                cop_checkpoint *again = NULL;
                cop_checkpoint *teacher = teacher_open("whole", &arch, dtypes[i], 5);
                cop_selection *selection =
                    must_select(&arch, &arch, 1, (cop_select_options){.carry = (cop_carry)carry});
                slice_to_disk(selection, teacher, "same", dtypes[i]);
                must(cop_checkpoint_open(&again, "same", &err), &err);
                expect_same_tensors(again, teacher);
                cop_checkpoint_destroy(again);
                cop_selection_destroy(selection);
                cop_checkpoint_destroy(teacher);
            }
        }
    }
}

// --- Sliced against masked ----------------------------------------------------------------------

// Masks of a selection, for the naive model.
typedef struct mask_set {
    naive_masks masks;
    bool layer[COP_ARCH_LAYERS_MAX];
    bool channel[16];
    bool heads[4][6];
    bool neurons[4][20];
    const bool *head_rows[4];
    const bool *neuron_rows[4];
} mask_set;

static void masks_of(mask_set *out, const cop_selection *selection)
{
    const cop_arch *arch = cop_selection_arch(selection);
    *out = (mask_set){0};
    for (int64_t i = 0; i < arch->hidden; i++) {
        out->channel[cop_selection_hidden(selection)[i]] = true;
    }
    for (int64_t i = 0; i < arch->layers; i++) {
        const int64_t layer = cop_selection_layer(selection, i);
        out->layer[layer] = true;
        for (int64_t h = 0; h < arch->layer[i].heads; h++) {
            out->heads[layer][cop_selection_heads(selection, i)[h]] = true;
        }
        for (int64_t f = 0; f < arch->layer[i].ffn; f++) {
            out->neurons[layer][cop_selection_ffn(selection, i)[f]] = true;
        }
    }
    for (int i = 0; i < 4; i++) {
        out->head_rows[i] = out->heads[i];
        out->neuron_rows[i] = out->neurons[i];
    }
    out->masks = (naive_masks){.layer = out->layer,
                               .channel = out->channel,
                               .heads = out->head_rows,
                               .neurons = out->neuron_rows};
}

static void naive_of(naive_model *out, const cop_checkpoint *checkpoint)
{
    cop_error err = {0};
    const cop_arch *arch = cop_checkpoint_arch(checkpoint);
    naive_init(out, arch);
    for (int64_t i = 0; i < cop_arch_tensor_count(arch); i++) {
        must(cop_checkpoint_read(checkpoint, i, COP_F64, out->tensor[i], &err), &err);
    }
}

// Final hidden states of a network, f64 on the host.
static double *hidden_of(cop_network *network, const int32_t *ids)
{
    cop_error err = {0};
    cop_matrix hidden;
    const cop_forward_options pass = {.ids = ids, .batch = BATCH, .sequence = SEQUENCE};
    must(cop_network_forward(network, &pass, &hidden, &err), &err);
    return tiny_values(cop_network_backend(network), &hidden);
}

static void compare_with_masked(const cop_checkpoint *teacher, const cop_selection *selection,
                                cop_backend *backend)
{
    const cop_arch *from = cop_checkpoint_arch(teacher);
    const cop_arch *to = cop_selection_arch(selection);
    const cop_network_options options = {
        .precision = COP_PRECISION_F32, .batch = BATCH, .sequence = SEQUENCE};
    const int64_t n = ROWS;
    cop_error err = {0};
    naive_model model;
    naive_model small;
    mask_set set;
    cop_checkpoint *student = NULL;
    int32_t ids[BATCH * SEQUENCE];
    double *masked = calloc((size_t)(n * from->hidden), sizeof *masked);
    double *masked_logits = calloc((size_t)(n * from->vocab), sizeof *masked_logits);
    double *logits = calloc((size_t)(n * from->vocab), sizeof *logits);

    tiny_ids(ids, n, from->vocab, 3);
    slice_to_disk(selection, teacher, "student", COP_F32);
    must(cop_checkpoint_open(&student, "student", &err), &err);

    // The sliced weights through the same naive model agree to rounding, logits included.
    naive_of(&model, teacher);
    naive_of(&small, student);
    masks_of(&set, selection);
    naive_forward(masked, masked_logits, &model, &set.masks, ids, BATCH, SEQUENCE);
    naive_forward(NULL, logits, &small, NULL, ids, BATCH, SEQUENCE);
    assert_true(tiny_distance(logits, masked_logits, n * from->vocab) < 1e-12);

    // And through the real network, loaded from disk: 2e-5 is the bound of its f32 operators (with
    // AVX2 1.05e-5 was seen).
    cop_network *network = tiny_network(to, &options, backend);
    must(cop_network_load(network, student, &err), &err);
    double *hidden = hidden_of(network, ids);
    for (int64_t r = 0; r < n; r++) {
        for (int64_t c = 0; c < to->hidden; c++) {
            assert_close(hidden[r * to->hidden + c],
                         masked[r * from->hidden + cop_selection_hidden(selection)[c]], 2e-5);
        }
    }
    free(hidden);
    cop_network_destroy(network);
    naive_release(&small);
    naive_release(&model);
    cop_checkpoint_destroy(student);
    free(logits);
    free(masked_logits);
    free(masked);
}

static void a_sliced_model_is_the_masked_model(void **state)
{
    (void)state;
    static const int64_t sizes[][5] = {
        {4, 16, 6, 2, 11}, // neurons
        {4, 16, 4, 2, 20}, // heads
        {4, 16, 3, 1, 20}, // KV groups
        {4, 11, 6, 2, 20}, // channels
        {2, 16, 6, 2, 20}, // layers
        {3, 9, 2, 1, 7},   // all at once
        {1, 1, 1, 1, 1},   // all there is to take
    };
    cop_backend *backend = tiny_backend("cpu");
    for (int family = 0; family < 3; family++) {
        const cop_arch arch = family == 2 ? biased_arch() : teacher_arch((cop_family)family);
        cop_checkpoint *teacher = teacher_open("teacher", &arch, COP_F32, 7);
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            const int64_t *size = sizes[i];
            const cop_arch target = with_sizes(&arch, size[0], size[1], size[2], size[3], size[4]);
            cop_selection *selection =
                must_select(&arch, &target, 10 + i, (cop_select_options){.aggregate = 1});
            compare_with_masked(teacher, selection, backend);
            cop_selection_destroy(selection);
        }
        cop_checkpoint_destroy(teacher);
    }
    cop_backend_destroy(backend);
}

static void reloaded_is_the_same_as_in_memory(void **state)
{
    (void)state;
    for (int family = 0; family < COP_FAMILY_COUNT; family++) {
        const cop_arch arch = teacher_arch((cop_family)family);
        const cop_arch target = with_sizes(&arch, 3, 9, 4, 2, 13);
        const cop_network_options options = {
            .precision = COP_PRECISION_F32, .batch = BATCH, .sequence = SEQUENCE};
        cop_backend *backend = tiny_backend("cpu");
        cop_checkpoint *teacher = teacher_open("teacher", &arch, COP_BF16, 7);
        cop_error err = {0};
        cop_checkpoint *student = NULL;
        cop_network *direct = tiny_network(&target, &options, backend);
        cop_network *loaded = tiny_network(&target, &options, backend);
        cop_selection *selection = must_select(
            &arch, &target, 2, (cop_select_options){.carry = COP_CARRY_PRUNED_MINUS_KEPT});

        must(cop_slice(selection, teacher, cop_network_sink(direct), &err), &err);
        slice_to_disk(selection, teacher, "student", COP_F32);
        must(cop_checkpoint_open(&student, "student", &err), &err);
        must(cop_network_load(loaded, student, &err), &err);
        for (int64_t i = 0; i < cop_arch_tensor_count(&target); i++) {
            const size_t bytes = tensor_bytes(&target, i, COP_F32);
            void *a = calloc(bytes, 1);
            void *b = calloc(bytes, 1);
            must(cop_network_read(direct, i, COP_F32, a, &err), &err);
            must(cop_network_read(loaded, i, COP_F32, b, &err), &err);
            assert_memory_equal(a, b, bytes);
            free(b);
            free(a);
        }
        cop_selection_destroy(selection);
        cop_network_destroy(loaded);
        cop_network_destroy(direct);
        cop_checkpoint_destroy(student);
        cop_checkpoint_destroy(teacher);
        cop_backend_destroy(backend);
    }
}

// --- Carry-over ---------------------------------------------------------------------------------

// One group of 4 heads of dimension 2, ranked 1, 2, 3, 0 and cut to 2: rank 1 is paired with rank 4,
// rank 2 with rank 3, so head 1 with head 0 and head 2 with head 3.
static void carries_the_difference_of_pruned_heads(void **state)
{
    (void)state;
    static const double scores_of_heads[4] = {1, 4, 3, 2};
    static const int partner[2] = {0, 3};

    static const struct {
        cop_carry carry;
        float sign;
    } rows[] = {
        {COP_CARRY_OFF, 0.0f},
        {COP_CARRY_KEPT_MINUS_PRUNED, 1.0f},
        {COP_CARRY_PRUNED_MINUS_KEPT, -1.0f},
    };

    cop_arch arch = biased_arch();
    arch.layers = 1;
    arch.head_dim = 2;
    arch.layer[0] = (cop_layer_arch){.heads = 4, .kv_heads = 1, .ffn = 20};
    const cop_arch target = with_sizes(&arch, 1, 16, 2, 1, 20);
    const int64_t q = cop_arch_find(&arch, COP_ROLE_Q, 0);
    const int64_t q_bias = cop_arch_find(&arch, COP_ROLE_Q_BIAS, 0);
    cop_checkpoint *teacher = teacher_open("teacher", &arch, COP_F32, 7);
    cop_importance *scores = random_scores(&arch, 1);
    float from[8 * 16];
    float from_bias[8];
    cop_error err = {0};

    for (int i = 0; i < 4; i++) {
        scores->head[COP_AGGREGATE_DEFAULT * 4 + i] = scores_of_heads[i];
    }
    must(cop_checkpoint_read(teacher, q, COP_F32, from, &err), &err);
    must(cop_checkpoint_read(teacher, q_bias, COP_F32, from_bias, &err), &err);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const cop_select_options options = {.aggregate = COP_AGGREGATE_DEFAULT,
                                            .carry = rows[i].carry};
        cop_selection *selection = NULL;
        cop_checkpoint *student = NULL;
        must(cop_selection_create(&selection, &arch, &target, scores, &options, &err), &err);
        slice_to_disk(selection, teacher, "student", COP_F32);
        must(cop_checkpoint_open(&student, "student", &err), &err);
        float to[4 * 16];
        float to_bias[4];
        must(cop_checkpoint_read(student, q, COP_F32, to, &err), &err);
        must(cop_checkpoint_read(student, q_bias, COP_F32, to_bias, &err), &err);
        for (int row = 0; row < 4; row++) {
            const int head = 1 + row / 2; // heads 1 and 2 stay
            const int kept = 2 * head + row % 2;
            const int pruned = 2 * partner[row / 2] + row % 2;
            for (int c = 0; c < 16; c++) {
                const float value = from[kept * 16 + c];
                const float want = value + rows[i].sign * (value - from[pruned * 16 + c]);
                assert_true(to[row * 16 + c] == want);
            }
            const float value = from_bias[kept];
            assert_true(to_bias[row] == value + rows[i].sign * (value - from_bias[pruned]));
        }
        // k, v and o are copied whatever the sign.
        for (int role = COP_ROLE_K; role <= COP_ROLE_V_BIAS; role++) {
            const int64_t index = cop_arch_find(&arch, (cop_role)role, 0);
            cop_dtype dtype;
            assert_memory_equal(cop_checkpoint_view(student, index, &dtype),
                                cop_checkpoint_view(teacher, index, &dtype),
                                tensor_bytes(&arch, index, COP_F32));
        }
        cop_checkpoint_destroy(student);
        cop_selection_destroy(selection);
    }
    cop_importance_destroy(scores);
    cop_checkpoint_destroy(teacher);
}

// --- What can go wrong --------------------------------------------------------------------------

static void survives_every_failed_allocation(void **state)
{
    (void)state;
    const cop_arch arch = teacher_arch(COP_FAMILY_LLAMA);
    const cop_arch target = with_sizes(&arch, 3, 9, 4, 2, 13);
    const cop_network_options options = {.precision = COP_PRECISION_F32, .batch = 1, .sequence = 4};
    cop_backend *backend = tiny_backend("cpu");
    cop_checkpoint *teacher = teacher_open("teacher", &arch, COP_BF16, 7);
    cop_network *network = tiny_network(&target, &options, backend);
    cop_selection *selection = must_select(&arch, &target, 2, (cop_select_options){0});
    const size_t live = cop_alloc_live_blocks();
    cop_status status = COP_ERR_NOMEM;
    size_t n = 0;

    for (; status == COP_ERR_NOMEM && n < 500; n++) {
        cop_alloc_fail_after(n);
        status = cop_slice(selection, teacher, cop_network_sink(network), NULL);
        cop_alloc_fail_after(SIZE_MAX);
        assert_int_equal(cop_alloc_live_blocks(), live);
    }
    assert_int_equal(status, COP_OK);
    assert_true(n > 3);
    cop_selection_destroy(selection);
    cop_network_destroy(network);
    cop_checkpoint_destroy(teacher);
    cop_backend_destroy(backend);
}

static void leaves_nothing_behind_on_a_full_disk(void **state)
{
    (void)state;
    const cop_arch arch = teacher_arch(COP_FAMILY_LLAMA);
    cop_checkpoint *teacher = teacher_open("teacher", &arch, COP_F32, 7);
    cop_selection *selection = must_select(&arch, &arch, 2, (cop_select_options){0});
    const cop_checkpoint_options options = {.dtype = COP_F32};
    cop_checkpoint_writer *writer = NULL;
    cop_error err = {0};
    struct rlimit limit;

    must(cop_file_remove_tree("full", &err), &err);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    const struct rlimit tight = {.rlim_cur = 16384, .rlim_max = limit.rlim_max};
    assert_true(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
    must(cop_checkpoint_writer_create(&writer, "full", &arch, &options, &err), &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
    const cop_status status =
        cop_slice(selection, teacher, cop_checkpoint_writer_sink(writer), &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    assert_int_equal(status, COP_ERR_IO);
    assert_non_null(strstr(err.message, "full"));
    char *left = cop_alloc_string(cop_checkpoint_writer_path(writer));
    cop_checkpoint_writer_destroy(writer);
    assert_false(cop_file_exists("full"));
    assert_false(cop_file_exists(left));
    cop_free(left);
    cop_selection_destroy(selection);
    cop_checkpoint_destroy(teacher);
}

// Large enough for several pieces of a tensor and for the parallel copy.
static void cuts_large_tensors_piece_by_piece(void **state)
{
    (void)state;
    cop_arch arch = teacher_arch(COP_FAMILY_LLAMA);
    arch.layers = 1;
    arch.vocab = 9000;
    arch.hidden = 640;
    arch.layer[0] = (cop_layer_arch){.heads = 6, .kv_heads = 2, .ffn = 700};
    const cop_arch target = with_sizes(&arch, 1, 600, 4, 2, 300);
    cop_checkpoint *teacher = teacher_open("large", &arch, COP_F32, 3);
    cop_selection *selection = must_select(&arch, &target, 4, (cop_select_options){.aggregate = 1});
    cop_checkpoint *student = NULL;
    cop_error err = {0};
    cop_dtype dtype;

    slice_to_disk(selection, teacher, "large-cut", COP_F32);
    must(cop_checkpoint_open(&student, "large-cut", &err), &err);
    for (int64_t i = 0; i < 2; i++) {
        const cop_role role = i == 0 ? COP_ROLE_EMBEDDING : COP_ROLE_GATE;
        const int64_t layer = i == 0 ? -1 : 0;
        const int64_t rows = i == 0 ? arch.vocab : 300;
        const float *from = cop_checkpoint_view(teacher, cop_arch_find(&arch, role, layer), &dtype);
        const float *to = cop_checkpoint_view(student, cop_arch_find(&target, role, layer), &dtype);
        for (int64_t r = 0; r < rows; r++) {
            const int64_t from_row = i == 0 ? r : cop_selection_ffn(selection, 0)[r];
            for (int64_t c = 0; c < 600; c++) {
                const int64_t from_col = cop_selection_hidden(selection)[c];
                assert_true(to[r * 600 + c] == from[from_row * 640 + from_col]);
            }
        }
    }
    cop_checkpoint_destroy(student);
    cop_selection_destroy(selection);
    cop_checkpoint_destroy(teacher);
}

// The pieces of a tensor come in order; a hole in the file would be zeros that nobody wrote.
static void a_writer_refuses_rows_with_a_gap(void **state)
{
    (void)state;
    const cop_arch arch = teacher_arch(COP_FAMILY_LLAMA);
    const cop_checkpoint_options options = {.dtype = COP_BF16, .force = true};
    const float rows[29 * 16] = {0};
    cop_checkpoint_writer *writer = NULL;
    cop_error err = {0};

    must(cop_checkpoint_writer_create(&writer, "gap", &arch, &options, &err), &err);
    const cop_tensor_sink sink = cop_checkpoint_writer_sink(writer);
    must(sink.put_rows(sink.context, 0, COP_F32, 0, 10, rows, &err), &err);

    const struct {
        int64_t first;
        int64_t count;
        const char *want;
    } table[] = {
        {11, 2,
         "gap: model.embed_tokens.weight: 2 rows from row 11 (allowed: from row 10, up to row 29)"},
        {10, 20,
         "gap: model.embed_tokens.weight: 20 rows from row 10 (allowed: from row 10, up to row "
         "29)"},
        {0, 29,
         "gap: model.embed_tokens.weight: 29 rows from row 0 (allowed: from row 10, up to row 29)"},
    };

    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        assert_int_equal(
            sink.put_rows(sink.context, 0, COP_F32, table[i].first, table[i].count, rows, &err),
            COP_ERR_SHAPE);
        assert_string_equal(err.message, table[i].want);
    }
    must(sink.put_rows(sink.context, 0, COP_F32, 10, 19, rows, &err), &err);
    assert_int_equal(sink.put(sink.context, 0, COP_F32, rows, &err), COP_ERR_SHAPE);
    assert_string_equal(err.message, "gap: model.embed_tokens.weight: was written already");
    assert_int_equal(cop_checkpoint_writer_commit(writer, &err), COP_ERR_SHAPE);
    cop_checkpoint_writer_destroy(writer);
    assert_false(cop_file_exists("gap"));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(pruning_nothing_gives_the_teacher_bit_for_bit),
        cmocka_unit_test(a_sliced_model_is_the_masked_model),
        cmocka_unit_test(reloaded_is_the_same_as_in_memory),
        cmocka_unit_test(carries_the_difference_of_pruned_heads),
        cmocka_unit_test(cuts_large_tensors_piece_by_piece),
        cmocka_unit_test(survives_every_failed_allocation),
        cmocka_unit_test(leaves_nothing_behind_on_a_full_disk),
        cmocka_unit_test(a_writer_refuses_rows_with_a_gap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
