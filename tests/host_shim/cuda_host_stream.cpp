// Streams, events and graphs. A stream is a queue of work. By default work is done when it is
// enqueued and queues stay empty; lazy streams keep it until somebody waits. A stream that is being
// captured hands its work to a graph instead, which keeps it for every launch.
//
// Longer than the aim: streams, events and graphs of one runtime, which know of one another.

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "tests/host_shim/cuda_host.h"
#include "tests/host_shim/cuda_host_control.h"
#include "tests/host_shim/cuda_host_internal.h"

namespace {

struct work {
    void (*run)(void *context);
    void (*release)(void *context); // NULL: the context is not owned
    void *context;
    work *next;
};

struct queue {
    work *first;
    work **end; // NULL: as &first
};

} // namespace

struct CUgraph_st {
    queue items;
    int owners; // the graph itself, and what was made from it
    bool is_broken;
    pthread_t thread; // that captures
};

struct CUgraphExec_st {
    cudaGraph_t graph;
};

struct CUstream_st {
    queue items;
    cudaGraph_t capture; // NULL: not captured
    bool is_origin;      // the capture began here
    cudaStream_t next;   // of all streams
};

struct CUevent_st {
    cudaStream_t stream; // of the last record
    cudaGraph_t capture; // recorded in a capture
    uint64_t wanted;     // records asked for
    uint64_t reached;    // records that have happened
    int owners;          // the caller, and work that speaks of it
    double seconds;
};

namespace {

CUstream_st default_stream;
cudaStream_t streams = &default_stream;
bool is_lazy;
pthread_once_t once = PTHREAD_ONCE_INIT;
pthread_mutex_t turn;      // recursive: work may enqueue
thread_local int captures; // begun by this thread

void turn_make(void)
{
    pthread_mutexattr_t attributes;
    (void)pthread_mutexattr_init(&attributes);
    (void)pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE);
    (void)pthread_mutex_init(&turn, &attributes);
    (void)pthread_mutexattr_destroy(&attributes);
}

struct locked {
    locked()
    {
        (void)pthread_once(&once, turn_make);
        (void)pthread_mutex_lock(&turn);
    }

    ~locked()
    {
        (void)pthread_mutex_unlock(&turn);
    }

    locked(const locked &) = delete;
    locked &operator=(const locked &) = delete;
};

cudaStream_t of(cudaStream_t stream)
{
    return stream == NULL ? &default_stream : stream;
}

void push(queue *items, const work &each)
{
    work *added = static_cast<work *>(malloc(sizeof *added));
    if (added == NULL) {
        abort();
    }
    *added = each;
    added->next = NULL;
    *(items->end == NULL ? &items->first : items->end) = added;
    items->end = &added->next;
}

void release(queue *items)
{
    while (items->first != NULL) {
        work *each = items->first;
        items->first = each->next;
        if (each->release != NULL) {
            each->release(each->context);
        }
        free(each);
    }
    items->end = NULL;
}

// Runs the oldest work of the stream; false when there is none.
bool step(cudaStream_t stream)
{
    work *each = stream->items.first;
    if (each == NULL) {
        return false;
    }
    stream->items.first = each->next;
    if (each->next == NULL) {
        stream->items.end = NULL;
    }
    each->run(each->context);
    if (each->release != NULL) {
        each->release(each->context);
    }
    free(each);
    return true;
}

void graph_drop(cudaGraph_t graph)
{
    if (--graph->owners == 0) {
        release(&graph->items);
        free(graph);
        cop_cuda_host_count(-1);
    }
}

void event_drop(cudaEvent_t event)
{
    if (--event->owners == 0) {
        free(event);
        cop_cuda_host_count(-1);
    }
}

// One record of an event.
struct moment {
    cudaEvent_t event;
    uint64_t number;
};

void moment_reach(void *context)
{
    const moment *at = static_cast<const moment *>(context);
    struct timespec now = {};
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    at->event->reached = at->number;
    at->event->seconds = static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

void moment_await(void *context)
{
    const moment *at = static_cast<const moment *>(context);
    while (at->event->reached < at->number && step(at->event->stream)) {
    }
}

void moment_release(void *context)
{
    event_drop(static_cast<moment *>(context)->event);
    delete static_cast<moment *>(context);
}

void moment_enqueue(cudaStream_t stream, cudaEvent_t event, void (*run)(void *))
{
    event->owners++;
    cop_cuda_host_defer(stream, run, moment_release, new moment{event, event->wanted});
    if (!is_lazy) {
        cop_cuda_host_drain(stream);
    }
}

cudaError_t capture_error(cudaGraph_t graph)
{
    graph->is_broken = true;
    return cop_cuda_host_failed(cudaErrorStreamCaptureUnsupported);
}

// All checks of a call that enqueues.
cudaError_t enter(cudaStream_t stream)
{
    const cudaError_t error = cop_cuda_host_gate(cudaErrorUnknown);
    if (error != cudaSuccess && of(stream)->capture != NULL) {
        of(stream)->capture->is_broken = true;
    }
    return error;
}

} // namespace

bool cop_cuda_host_defers(cudaStream_t stream)
{
    return is_lazy || of(stream)->capture != NULL;
}

void cop_cuda_host_defer(cudaStream_t stream, void (*run)(void *context),
                         void (*release_context)(void *context), void *context)
{
    const locked hold;
    stream = of(stream);
    push(stream->capture != NULL ? &stream->capture->items : &stream->items,
         work{run, release_context, context, NULL});
}

void cop_cuda_host_drain(cudaStream_t stream)
{
    const locked hold;
    for (cudaStream_t each = streams; each != NULL; each = each->next) {
        while ((stream == NULL || each == stream) && step(each)) {
        }
    }
}

cudaError_t cop_cuda_host_check_capture(void)
{
    const locked hold;
    for (cudaStream_t each = streams; captures > 0 && each != NULL; each = each->next) {
        if (each->capture != NULL && pthread_equal(each->capture->thread, pthread_self()) != 0) {
            return capture_error(each->capture);
        }
    }
    return cudaSuccess;
}

extern "C" void cop_cuda_host_lazy_streams(bool lazy)
{
    cop_cuda_host_drain(NULL);
    is_lazy = lazy;
}

// NOLINTBEGIN(readability-identifier-naming,readability-inconsistent-declaration-parameter-name):
// the functions are CUDA's, their parameters have names in this project's style.

extern "C" {

cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind)
{
    (void)kind;
    const cudaError_t error = cop_cuda_host_check_capture();
    if (error == cudaSuccess && bytes > 0) {
        cop_cuda_host_drain(&default_stream);
        memmove(to, from, bytes);
    }
    return error;
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind,
                            cudaStream_t stream)
{
    (void)kind;
    const cudaError_t error = enter(stream);
    if (error != cudaSuccess || bytes == 0) {
        return error;
    }
    // A device waits for its stream before it touches pageable memory, and so does the call.
    const bool waits = is_lazy && of(stream)->capture == NULL &&
                       (cop_cuda_host_is_pageable(to) || cop_cuda_host_is_pageable(from));
    cop_cuda_host::enqueue(stream, [=]() { memmove(to, from, bytes); });
    if (waits) {
        cop_cuda_host_drain(of(stream));
    }
    return cudaSuccess;
}

cudaError_t cudaMemset(void *memory, int value, size_t bytes)
{
    const cudaError_t error = cop_cuda_host_check_capture();
    if (error == cudaSuccess && bytes > 0) {
        cop_cuda_host_drain(&default_stream);
        memset(memory, value, bytes);
    }
    return error;
}

cudaError_t cudaMemsetAsync(void *memory, int value, size_t bytes, cudaStream_t stream)
{
    const cudaError_t error = enter(stream);
    if (error == cudaSuccess && bytes > 0) {
        cop_cuda_host::enqueue(stream, [=]() { memset(memory, value, bytes); });
    }
    return error;
}

cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void *context)
{
    const cudaError_t error = enter(stream);
    if (error == cudaSuccess) {
        cop_cuda_host::enqueue(stream, [=]() { function(context); });
    }
    return error;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags)
{
    (void)flags;
    *stream = NULL;
    const cudaError_t error = cop_cuda_host_gate(cudaErrorMemoryAllocation);
    if (error != cudaSuccess) {
        return error;
    }
    const locked hold;
    cudaStream_t made = static_cast<cudaStream_t>(calloc(1, sizeof *made));
    if (made == NULL) {
        return cop_cuda_host_failed(cudaErrorMemoryAllocation);
    }
    made->next = default_stream.next;
    default_stream.next = made;
    cop_cuda_host_count(1);
    *stream = made;
    return cudaSuccess;
}

cudaError_t cudaStreamCreate(cudaStream_t *stream)
{
    return cudaStreamCreateWithFlags(stream, 0);
}

cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    const locked hold;
    cudaStream_t before = &default_stream;
    while (before->next != NULL && before->next != stream) {
        before = before->next;
    }
    if (stream == NULL || before->next != stream) {
        return cop_cuda_host_failed(cudaErrorInvalidValue);
    }
    cop_cuda_host_drain(stream);
    before->next = stream->next;
    free(stream);
    cop_cuda_host_count(-1);
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    const cudaError_t error = cop_cuda_host_gate(cudaErrorUnknown);
    if (error != cudaSuccess) {
        return error;
    }
    if (of(stream)->capture != NULL) {
        return capture_error(of(stream)->capture);
    }
    cop_cuda_host_drain(of(stream));
    return cudaSuccess;
}

cudaError_t cudaDeviceSynchronize(void)
{
    const cudaError_t error = cop_cuda_host_check_capture();
    if (error == cudaSuccess) {
        cop_cuda_host_drain(NULL);
    }
    return error;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags)
{
    (void)flags;
    *event = NULL;
    const cudaError_t error = cop_cuda_host_gate(cudaErrorMemoryAllocation);
    if (error != cudaSuccess) {
        return error;
    }
    cudaEvent_t made = static_cast<cudaEvent_t>(calloc(1, sizeof *made));
    if (made == NULL) {
        return cop_cuda_host_failed(cudaErrorMemoryAllocation);
    }
    made->owners = 1;
    cop_cuda_host_count(1);
    *event = made;
    return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t *event)
{
    return cudaEventCreateWithFlags(event, 0);
}

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    const locked hold;
    event_drop(event);
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
    const cudaError_t error = enter(stream);
    if (error != cudaSuccess) {
        return error;
    }
    const locked hold;
    event->stream = of(stream);
    event->capture = of(stream)->capture;
    if (event->capture == NULL) { // in a graph the order of the record is the order of the work
        event->wanted++;
        moment_enqueue(event->stream, event, moment_reach);
    }
    return cudaSuccess;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags)
{
    (void)flags;
    const cudaError_t error = enter(stream);
    if (error != cudaSuccess) {
        return error;
    }
    const locked hold;
    if (event->capture != NULL) {
        of(stream)->capture = event->capture; // the stream joins the capture
    } else if (event->wanted > 0) {
        moment_enqueue(of(stream), event, moment_await);
    }
    return cudaSuccess;
}

cudaError_t cudaEventQuery(cudaEvent_t event)
{
    const cudaError_t error = cop_cuda_host_gate(cudaErrorUnknown);
    if (error != cudaSuccess) {
        return error;
    }
    if (event->capture != NULL) {
        return cop_cuda_host_failed(cudaErrorCapturedEvent);
    }
    return event->reached == event->wanted ? cudaSuccess : cop_cuda_host_failed(cudaErrorNotReady);
}

cudaError_t cudaEventSynchronize(cudaEvent_t event)
{
    const cudaError_t error = cop_cuda_host_gate(cudaErrorUnknown);
    if (error != cudaSuccess) {
        return error;
    }
    const locked hold;
    if (event->capture != NULL) {
        return cop_cuda_host_failed(cudaErrorCapturedEvent);
    }
    while (event->reached < event->wanted && step(event->stream)) {
    }
    return cudaSuccess;
}

cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t start, cudaEvent_t end)
{
    *milliseconds = static_cast<float>(1e3 * (end->seconds - start->seconds));
    return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, enum cudaStreamCaptureMode mode)
{
    (void)mode; // the thread-local one
    const cudaError_t error = cop_cuda_host_gate(cudaErrorUnknown);
    if (error != cudaSuccess) {
        return error;
    }
    if (stream == NULL || stream->capture != NULL) {
        return cop_cuda_host_failed(cudaErrorStreamCaptureUnsupported);
    }
    cudaGraph_t graph = static_cast<cudaGraph_t>(calloc(1, sizeof *graph));
    if (graph == NULL) {
        return cop_cuda_host_failed(cudaErrorMemoryAllocation);
    }
    graph->owners = 1;
    graph->thread = pthread_self();
    cop_cuda_host_count(1);
    const locked hold;
    stream->capture = graph;
    stream->is_origin = true;
    captures++;
    return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, enum cudaStreamCaptureStatus *status)
{
    const cudaGraph_t graph = of(stream)->capture;
    *status = graph == NULL      ? cudaStreamCaptureStatusNone
              : graph->is_broken ? cudaStreamCaptureStatusInvalidated
                                 : cudaStreamCaptureStatusActive;
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph)
{
    *graph = NULL;
    const cudaError_t error = enter(stream);
    const locked hold;
    if (!of(stream)->is_origin) {
        return cop_cuda_host_failed(cudaErrorInvalidValue);
    }
    cudaGraph_t recorded = stream->capture;
    for (cudaStream_t each = streams; each != NULL; each = each->next) {
        each->capture = each->capture == recorded ? NULL : each->capture;
    }
    stream->is_origin = false;
    captures--;
    if (recorded->is_broken) {
        graph_drop(recorded);
        return cop_cuda_host_failed(error != cudaSuccess ? error
                                                         : cudaErrorStreamCaptureInvalidated);
    }
    *graph = recorded;
    return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long flags)
{
    (void)flags;
    *exec = NULL;
    const cudaError_t error = cop_cuda_host_gate(cudaErrorMemoryAllocation);
    if (error != cudaSuccess) {
        return error;
    }
    cudaGraphExec_t made = static_cast<cudaGraphExec_t>(calloc(1, sizeof *made));
    if (made == NULL) {
        return cop_cuda_host_failed(cudaErrorMemoryAllocation);
    }
    const locked hold;
    graph->owners++;
    made->graph = graph;
    cop_cuda_host_count(1);
    *exec = made;
    return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream)
{
    const cudaError_t error = enter(stream);
    if (error != cudaSuccess) {
        return error;
    }
    for (const work *each = exec->graph->items.first; each != NULL; each = each->next) {
        if (cop_cuda_host_defers(stream)) {
            cop_cuda_host_defer(stream, each->run, NULL, each->context);
        } else {
            each->run(each->context);
        }
    }
    return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    const locked hold;
    graph_drop(graph);
    return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec)
{
    const locked hold;
    cop_cuda_host_drain(NULL); // it may be among what is left
    graph_drop(exec->graph);
    free(exec);
    cop_cuda_host_count(-1);
    return cudaSuccess;
}
}

// NOLINTEND(readability-identifier-naming,readability-inconsistent-declaration-parameter-name)
