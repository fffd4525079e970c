#include "tests/guarded/guarded.h"

#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "kernels/ops.h"

int64_t guarded_waits;
bool guarded_is_off;

#define ARENA_BYTES ((uint64_t)1 << 32) // of addresses, not of memory

typedef struct block {
    struct block *next; // by address
    char *at;
    uint64_t bytes;
} block;

typedef struct copy {
    struct copy *next;
    cop_stream *stream;
    void *to;
    uint64_t bytes;
    char data[];
} copy;

static struct {
    pthread_mutex_t lock;
    char *arena;
    uint64_t used; // up to the end of the last block there ever was
    block *blocks;
    copy *copies; // in order
    int depth;
    int backends;
    cop_backend *inner;
} memory = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void *must_have(void *pointer)
{
    if (pointer == NULL || pointer == MAP_FAILED) {
        abort();
    }
    return pointer;
}

static void protect(int how)
{
    if (memory.used > 0 && mprotect(memory.arena, memory.used, how) != 0) {
        abort();
    }
}

static cop_backend *enter(void)
{
    pthread_mutex_lock(&memory.lock);
    if (memory.depth++ == 0) {
        protect(PROT_READ | PROT_WRITE);
    }
    pthread_mutex_unlock(&memory.lock);
    return memory.inner;
}

static cop_status leave(cop_status status)
{
    pthread_mutex_lock(&memory.lock);
    if (--memory.depth == 0) {
        protect(PROT_NONE);
    }
    pthread_mutex_unlock(&memory.lock);
    return status;
}

// --- Operators ----------------------------------------------------------------------------------

// A flag or a single f32 with padding behind it, which holds whatever the stack held: such a word may look like an
// address. These are all of them (gcc -Wpadded names the places).
static bool is_padded(const char *name, size_t at)
{
    static const struct {
        const char *name;
        size_t at;
    } words[] = {{"matmul", offsetof(cop_matmul_args, beta)},
                 {"norm_backward", offsetof(cop_norm_backward_args, accumulate)},
                 {"rope", offsetof(cop_rope_args, inverse)},
                 {"state_loss", offsetof(cop_state_loss_args, grad_scale)},
                 {"adamw", offsetof(cop_adamw_args, weight_decay)},
                 {"adamw", offsetof(cop_adamw_args, max_norm)}};

    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (at / sizeof(uint64_t) == words[i].at / sizeof(uint64_t) &&
            strcmp(name, words[i].name) == 0) {
            return true;
        }
    }
    return false;
}

static bool is_mapped(uint64_t address)
{
    unsigned char resident = 0;
    return mincore((void *)(uintptr_t)(address & ~(uint64_t)4095), 1, &resident) == 0;
}

// Words of arguments that can only be addresses must be the device's: lengths are smaller and pairs
// of floats larger. Behind an element type or a flag there may be anything, the word is then no
// address of this process or ends in a small number.
static void check_pointers(const char *name, const void *args, size_t bytes)
{
    for (size_t at = 0; at + sizeof(uint64_t) <= bytes; at += sizeof(uint64_t)) {
        uint64_t word = 0;
        memcpy(&word, (const char *)args + at, sizeof word);
        const uint64_t offset = word - (uint64_t)(uintptr_t)memory.arena;
        if (word >> 40 != 0 && word >> 47 == 0 && offset >= ARENA_BYTES &&
            (uint32_t)word > COP_OP_COUNT && !is_padded(name, at) && is_mapped(word)) {
            (void)fprintf(stderr, "%s: host memory at byte %zu of the arguments\n", name, at);
            abort();
        }
    }
}

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

#define DEFINE_OPERATOR(name)                                                  \
    static cop_status op_##name(cop_backend *backend, cop_stream *stream,      \
                                const cop_##name##_args *args, cop_error *err) \
    {                                                                          \
        (void)backend;                                                         \
        check_pointers(#name, args, sizeof *args);                             \
        cop_backend *inner = enter();                                          \
        return leave(inner->ops->name(inner, stream, args, err));              \
    }

OPERATORS(DEFINE_OPERATOR)

// These two must not look at data: the memory stays closed.
static bool supports(cop_backend *backend, cop_op op, const void *args)
{
    (void)backend;
    return memory.inner->ops->supports(memory.inner, op, args);
}

static uint64_t scratch_bytes(cop_backend *backend, cop_op op, const void *args)
{
    (void)backend;
    return memory.inner->ops->scratch_bytes(memory.inner, op, args);
}

#define NAME_OPERATOR(name) .name = op_##name,

static const cop_ops ops = {
    .supports = supports, .scratch_bytes = scratch_bytes, OPERATORS(NAME_OPERATOR)};

// --- Memory -------------------------------------------------------------------------------------

static cop_status info(cop_backend *backend, cop_device_info *out, cop_error *err)
{
    (void)backend;
    const cop_status status = memory.inner->type->info(memory.inner, out, err);
    out->is_host_memory = false;
    return status;
}

// The first gap that fits, in whole pages and with a closed one behind.
static cop_status memory_alloc(cop_backend *backend, void **out, uint64_t bytes, cop_error *err)
{
    (void)backend;
    const uint64_t page = 4096;
    const uint64_t whole = (bytes / page + 2) * page;
    block *made = must_have(calloc(1, sizeof *made));
    block **at = &memory.blocks;
    char *start = memory.arena;
    while (*at != NULL && (uint64_t)((*at)->at - start) < whole) {
        start = (*at)->at + (*at)->bytes;
        at = &(*at)->next;
    }
    if (bytes > ARENA_BYTES || (uint64_t)(start - memory.arena) + whole > ARENA_BYTES) {
        free(made);
        return COP_FAIL(err, COP_ERR_NOMEM, "guarded: device memory: %llu bytes",
                        (unsigned long long)bytes);
    }
    *made = (block){*at, start, whole};
    *at = made;
    if ((uint64_t)(start - memory.arena) + whole > memory.used) {
        memory.used = (uint64_t)(start - memory.arena) + whole;
    }
    *out = start;
    return COP_OK;
}

static void memory_free(cop_backend *backend, void *pointer)
{
    (void)backend;
    for (block **at = &memory.blocks; *at != NULL; at = &(*at)->next) {
        block *found = *at;
        if (found->at == pointer) {
            (void)madvise(found->at, found->bytes, MADV_DONTNEED); // zeros for the next
            *at = found->next;
            free(found);
            return;
        }
    }
    if (pointer != NULL) {
        abort();
    }
}

static cop_status copy_to_device(cop_backend *backend, cop_stream *stream, void *to,
                                 const void *from, uint64_t bytes, cop_error *err)
{
    (void)backend;
    cop_backend *inner = enter();
    return leave(inner->type->copy_to_device(inner, stream, to, from, bytes, err));
}

static cop_status copy_to_host(cop_backend *backend, cop_stream *stream, void *to, const void *from,
                               uint64_t bytes, cop_error *err)
{
    (void)backend;
    (void)err;
    copy **end = &memory.copies;
    copy *made = must_have(malloc(sizeof *made + (size_t)bytes));
    *made = (copy){.stream = stream, .to = to, .bytes = bytes};
    if (bytes > 0) {
        (void)enter();
        memcpy(made->data, from, (size_t)bytes);
        (void)leave(COP_OK);
        memset(to, 0xA5, (size_t)bytes);
    }
    while (*end != NULL) {
        end = &(*end)->next;
    }
    *end = made;
    return COP_OK;
}

static cop_status copy_on_device(cop_backend *backend, cop_stream *stream, void *to,
                                 const void *from, uint64_t bytes, cop_error *err)
{
    (void)backend;
    cop_backend *inner = enter();
    return leave(inner->type->copy_on_device(inner, stream, to, from, bytes, err));
}

static cop_status read_file(cop_backend *backend, cop_stream *stream, void *to, int file,
                            uint64_t offset, uint64_t bytes, const char *path, cop_error *err)
{
    (void)backend;
    cop_backend *inner = enter();
    return leave(inner->type->read_file(inner, stream, to, file, offset, bytes, path, err));
}

static cop_status zero(cop_backend *backend, cop_stream *stream, void *to, uint64_t bytes,
                       cop_error *err)
{
    (void)backend;
    cop_backend *inner = enter();
    return leave(inner->type->zero(inner, stream, to, bytes, err));
}

static cop_status stream_create(cop_backend *backend, cop_stream **out, cop_error *err)
{
    (void)backend;
    return memory.inner->type->stream_create(memory.inner, out, err);
}

static void stream_destroy(cop_backend *backend, cop_stream *stream)
{
    (void)backend;
    memory.inner->type->stream_destroy(memory.inner, stream);
}

static cop_status stream_wait(cop_backend *backend, cop_stream *stream, cop_stream *other,
                              cop_error *err)
{
    (void)backend;
    return memory.inner->type->stream_wait(memory.inner, stream, other, err);
}

static cop_status synchronize(cop_backend *backend, cop_stream *stream, cop_error *err)
{
    (void)backend;
    (void)err;
    guarded_waits++;
    for (copy **at = &memory.copies; *at != NULL;) {
        copy *done = *at;
        if (done->stream != stream) {
            at = &done->next;
            continue;
        }
        if (done->bytes > 0) {
            memcpy(done->to, done->data, (size_t)done->bytes);
        }
        *at = done->next;
        free(done);
    }
    return COP_OK;
}

static cop_status graph_begin(cop_backend *backend, cop_stream *stream, cop_error *err)
{
    (void)backend;
    return memory.inner->type->graph_begin(memory.inner, stream, err);
}

static cop_status graph_end(cop_backend *backend, cop_stream *stream, cop_graph **out,
                            cop_error *err)
{
    (void)backend;
    return memory.inner->type->graph_end(memory.inner, stream, out, err);
}

static cop_status graph_run(cop_backend *backend, cop_stream *stream, cop_graph *graph,
                            cop_error *err)
{
    (void)backend;
    return memory.inner->type->graph_run(memory.inner, stream, graph, err);
}

static void graph_destroy(cop_backend *backend, cop_graph *graph)
{
    (void)backend;
    (void)graph;
}

static void destroy(cop_backend *backend)
{
    free(backend);
    if (--memory.backends == 0) {
        cop_backend_destroy(memory.inner);
        memory.inner = NULL;
        while (memory.copies != NULL) {
            copy *next = memory.copies->next;
            free(memory.copies);
            memory.copies = next;
        }
    }
}

static const cop_backend_type type = {
    .name = "guarded",
    .info = info,
    .memory_alloc = memory_alloc,
    .memory_free = memory_free,
    .copy_to_device = copy_to_device,
    .copy_to_host = copy_to_host,
    .copy_on_device = copy_on_device,
    .read_file = read_file,
    .zero = zero,
    .stream_create = stream_create,
    .stream_destroy = stream_destroy,
    .stream_wait = stream_wait,
    .synchronize = synchronize,
    .graph_begin = graph_begin,
    .graph_end = graph_end,
    .graph_run = graph_run,
    .graph_destroy = graph_destroy,
    .destroy = destroy,
};

cop_status __real_cop_backend_create(cop_backend **out, const char *name, cop_error *err);
cop_status __wrap_cop_backend_create(cop_backend **out, const char *name, cop_error *err);
cop_status __real_cop_backend_create_own(cop_backend **out, const char *name, cop_error *err);
cop_status __wrap_cop_backend_create_own(cop_backend **out, const char *name, cop_error *err);

cop_status cop_guarded_create(cop_backend **out, cop_error *err)
{
    *out = NULL;
    if (memory.arena == NULL) {
        memory.arena = must_have(
            mmap(NULL, ARENA_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    }
    if (memory.inner == NULL) {
        const cop_status status = __real_cop_backend_create(&memory.inner, "cpu", err);
        if (status != COP_OK) {
            return status;
        }
    }
    cop_backend *backend = must_have(calloc(1, sizeof *backend));
    backend->type = &type;
    backend->ops = &ops;
    memory.backends++;
    *out = backend;
    return COP_OK;
}

cop_status __wrap_cop_backend_create(cop_backend **out, const char *name, cop_error *err)
{
    return strcmp(name, "cpu") == 0 && !guarded_is_off ? cop_guarded_create(out, err)
                                                       : __real_cop_backend_create(out, name, err);
}

cop_status __wrap_cop_backend_create_own(cop_backend **out, const char *name, cop_error *err)
{
    return strcmp(name, "cpu") == 0 && !guarded_is_off
               ? cop_guarded_create(out, err)
               : __real_cop_backend_create_own(out, name, err);
}
