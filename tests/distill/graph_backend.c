#include "tests/distill/graph_backend.h"

#include <stdlib.h>
#include <string.h>

#include "tests/support.h"

graph_counts graph_count;

// One recorded call: of an operator, of zero() or of copy_on_device().
typedef struct node {
    struct node *next;
    cop_status (*run)(const struct node *self, cop_error *err);
    void *to;
    const void *from;
    uint64_t bytes;
    unsigned char args[1024];
} node;

struct cop_graph {
    node *first;
    node **end;
};

static cop_backend *inner;
static cop_graph *recording; // NULL: calls run at once
static int refuse;

void graph_backend_refuse(int n)
{
    refuse = n;
}

static node *append(cop_status (*run)(const node *self, cop_error *err))
{
    node *at = calloc(1, sizeof *at);
    assert_non_null(at);
    at->run = run;
    *recording->end = at;
    recording->end = &at->next;
    return at;
}

// --- Operators ----------------------------------------------------------------------------------

// clang-format off
#define OPERATORS(X)                                                       \
    X(matmul) X(norm_forward) X(norm_backward) X(rope)                     \
    X(attention_forward) X(attention_backward)                             \
    X(activation_forward) X(activation_backward)                           \
    X(embedding_forward) X(embedding_backward)                             \
    X(bias_add) X(column_sum) X(add) X(convert) X(gather)                  \
    X(head_loss) X(state_loss) X(sum_squares) X(adamw)                     \
    X(sequence_moments) X(row_cosine) X(sample_targets)
// clang-format on

#define DEFINE_OPERATOR(name)                                                           \
    static cop_status run_##name(const node *self, cop_error *err)                      \
    {                                                                                   \
        cop_##name##_args args;                                                         \
        memcpy(&args, self->args, sizeof args);                                         \
        return inner->ops->name(inner, NULL, &args, err);                               \
    }                                                                                   \
    static cop_status op_##name(cop_backend *backend, cop_stream *stream,               \
                                const cop_##name##_args *args, cop_error *err)          \
    {                                                                                   \
        (void)backend;                                                                  \
        graph_count.calls++;                                                            \
        if (recording == NULL) {                                                        \
            return inner->ops->name(inner, stream, args, err);                          \
        }                                                                               \
        _Static_assert(sizeof *args <= sizeof((node *)0)->args, "arguments of " #name); \
        memcpy(append(run_##name)->args, args, sizeof *args);                           \
        return COP_OK;                                                                  \
    }

OPERATORS(DEFINE_OPERATOR)

static bool supports(cop_backend *backend, cop_op op, const void *args)
{
    (void)backend;
    return inner->ops->supports(inner, op, args);
}

static uint64_t scratch_bytes(cop_backend *backend, cop_op op, const void *args)
{
    (void)backend;
    return inner->ops->scratch_bytes(inner, op, args);
}

#define NAME_OPERATOR(name) .name = op_##name,

static const cop_ops ops = {
    .supports = supports, .scratch_bytes = scratch_bytes, OPERATORS(NAME_OPERATOR)};

// --- Memory and graphs --------------------------------------------------------------------------

static cop_status info(cop_backend *backend, cop_device_info *out, cop_error *err)
{
    (void)backend;
    const cop_status status = inner->type->info(inner, out, err);
    out->has_graphs = true;
    return status;
}

static cop_status memory_alloc(cop_backend *backend, void **out, uint64_t bytes, cop_error *err)
{
    (void)backend;
    assert_null(recording);
    return inner->type->memory_alloc(inner, out, bytes, err);
}

static void memory_free(cop_backend *backend, void *memory)
{
    (void)backend;
    inner->type->memory_free(inner, memory);
}

static cop_status copy_to_device(cop_backend *backend, cop_stream *stream, void *to,
                                 const void *from, uint64_t bytes, cop_error *err)
{
    (void)backend;
    assert_null(recording);
    return inner->type->copy_to_device(inner, stream, to, from, bytes, err);
}

static cop_status copy_to_host(cop_backend *backend, cop_stream *stream, void *to, const void *from,
                               uint64_t bytes, cop_error *err)
{
    (void)backend;
    assert_null(recording);
    return inner->type->copy_to_host(inner, stream, to, from, bytes, err);
}

static cop_status run_copy(const node *self, cop_error *err)
{
    return inner->type->copy_on_device(inner, NULL, self->to, self->from, self->bytes, err);
}

static cop_status copy_on_device(cop_backend *backend, cop_stream *stream, void *to,
                                 const void *from, uint64_t bytes, cop_error *err)
{
    (void)backend;
    if (recording != NULL) {
        node *at = append(run_copy);
        at->to = to;
        at->from = from;
        at->bytes = bytes;
        return COP_OK;
    }
    return inner->type->copy_on_device(inner, stream, to, from, bytes, err);
}

static cop_status run_zero(const node *self, cop_error *err)
{
    return inner->type->zero(inner, NULL, self->to, self->bytes, err);
}

static cop_status zero(cop_backend *backend, cop_stream *stream, void *memory, uint64_t bytes,
                       cop_error *err)
{
    (void)backend;
    if (recording != NULL) {
        node *at = append(run_zero);
        at->to = memory;
        at->bytes = bytes;
        return COP_OK;
    }
    return inner->type->zero(inner, stream, memory, bytes, err);
}

static cop_status synchronize(cop_backend *backend, cop_stream *stream, cop_error *err)
{
    (void)backend;
    assert_null(recording);
    graph_count.synchronizations++;
    return inner->type->synchronize(inner, stream, err);
}

static cop_status graph_begin(cop_backend *backend, cop_stream *stream, cop_error *err)
{
    (void)backend;
    (void)stream;
    (void)err;
    assert_null(recording);
    recording = calloc(1, sizeof *recording);
    assert_non_null(recording);
    recording->end = &recording->first;
    return COP_OK;
}

static void graph_destroy(cop_backend *backend, cop_graph *graph)
{
    (void)backend;
    for (node *at = graph->first; at != NULL;) {
        node *next = at->next;
        free(at);
        at = next;
    }
    free(graph);
}

static cop_status graph_end(cop_backend *backend, cop_stream *stream, cop_graph **out,
                            cop_error *err)
{
    (void)stream;
    assert_non_null(recording);
    *out = NULL;
    graph_count.records++;
    if (refuse > 0 && --refuse == 0) {
        graph_destroy(backend, recording);
        recording = NULL;
        return COP_FAIL(err, COP_ERR_DEVICE, "graph: refused");
    }
    *out = recording;
    recording = NULL;
    return COP_OK;
}

static cop_status graph_run(cop_backend *backend, cop_stream *stream, cop_graph *graph,
                            cop_error *err)
{
    (void)backend;
    (void)stream;
    cop_status status = COP_OK;
    assert_null(recording);
    graph_count.replays++;
    for (const node *at = graph->first; status == COP_OK && at != NULL; at = at->next) {
        status = at->run(at, err);
    }
    return status;
}

static void destroy(cop_backend *backend)
{
    cop_backend_destroy(inner);
    inner = NULL;
    free(backend);
}

cop_backend *graph_backend_create(void)
{
    static cop_backend_type type;
    cop_error err = {0};
    cop_backend *backend = calloc(1, sizeof *backend);
    assert_non_null(backend);
    assert_null(inner);
    assert_int_equal(cop_backend_create(&inner, "cpu", &err), COP_OK);
    type = *inner->type;
    type.name = "cpu with graphs";
    type.info = info;
    type.memory_alloc = memory_alloc;
    type.memory_free = memory_free;
    type.copy_to_device = copy_to_device;
    type.copy_to_host = copy_to_host;
    type.copy_on_device = copy_on_device;
    type.zero = zero;
    type.synchronize = synchronize;
    type.graph_begin = graph_begin;
    type.graph_end = graph_end;
    type.graph_run = graph_run;
    type.graph_destroy = graph_destroy;
    type.destroy = destroy;
    backend->type = &type;
    backend->ops = &ops;
    graph_count = (graph_counts){0};
    refuse = 0;
    return backend;
}
