// Recording is the runtime's stream capture, for the calling thread alone: other threads go on.

#include "base/alloc.h"
#include "kernels/cuda/graph.h"

struct cop_graph {
    cudaGraphExec_t exec;
};

static cop_cuda *context_of(cop_backend *backend)
{
    return static_cast<cop_cuda *>(backend->context);
}

cop_status cop_cuda_graph_begin(cop_backend *backend, cop_stream *stream, cop_error *err)
{
    cop_cuda *cuda = context_of(backend);
    const cudaStream_t on = cop_cuda_stream(cuda, stream);
    cop_status status = COP_OK;
    if (cuda->is_recording) {
        return cop_cuda_note(cuda, COP_FAIL(err, COP_ERR_DEVICE,
                                            "cuda: graph: work is recorded already (allowed: one "
                                            "recording at a time)"));
    }
    COP_TRY(status, cop_cuda_enter(cuda, err));
    COP_CUDA_TRY(status, err, "begin of a graph",
                 cudaStreamBeginCapture(on, cudaStreamCaptureModeThreadLocal));
    cuda->is_recording = true;
    cuda->is_recording_broken = false;
    cuda->recording = on;

done:
    return status;
}

cop_status cop_cuda_graph_end(cop_backend *backend, cop_stream *stream, cop_graph **out,
                              cop_error *err)
{
    cop_cuda *cuda = context_of(backend);
    cop_status status = COP_OK;
    cudaError_t error = cudaSuccess;
    cudaGraph_t recorded = NULL;
    cop_graph *graph = static_cast<cop_graph *>(cop_alloc(1, sizeof *graph));
    *out = NULL;
    if (!cuda->is_recording || cuda->recording != cop_cuda_stream(cuda, stream)) {
        status = COP_FAIL(err, COP_ERR_DEVICE,
                          "cuda: graph: nothing is recorded on this stream (allowed: after "
                          "graph_begin())");
        goto done;
    }
    // Whatever happened: the stream must be usable again.
    cuda->is_recording = false;
    error = cudaStreamEndCapture(cuda->recording, &recorded);
    if (cuda->is_recording_broken) {
        (void)cudaGetLastError();
        status = COP_FAIL(err, COP_ERR_DEVICE,
                          "cuda: graph: a call that was to be recorded failed (allowed: none)");
        goto done;
    }
    COP_CUDA_TRY(status, err, "end of a graph", error);
    if (graph == NULL) {
        status = COP_FAIL(err, COP_ERR_NOMEM,
                          "cuda: graph: %zu bytes (allowed: memory is exhausted)", sizeof *graph);
        goto done;
    }
    COP_CUDA_TRY(status, err, "graph", cudaGraphInstantiate(&graph->exec, recorded, 0));
    *out = graph;
    graph = NULL;

done:
    if (recorded != NULL) {
        (void)cudaGraphDestroy(recorded);
    }
    cop_free(graph);
    return status;
}

cop_status cop_cuda_graph_run(cop_backend *backend, cop_stream *stream, cop_graph *graph,
                              cop_error *err)
{
    cop_cuda *cuda = context_of(backend);
    cop_status status = COP_OK;
    COP_TRY(status, cop_cuda_enter(cuda, err));
    COP_CUDA_TRY(status, err, "run of a graph",
                 cudaGraphLaunch(graph->exec, cop_cuda_stream(cuda, stream)));

done:
    return cop_cuda_note(cuda, status);
}

void cop_cuda_graph_destroy(cop_backend *backend, cop_graph *graph)
{
    if (graph != NULL) {
        if (cop_cuda_enter(context_of(backend), NULL) == COP_OK) {
            (void)cudaGraphExecDestroy(graph->exec);
        }
        (void)cudaGetLastError();
        cop_free(graph);
    }
}
