// Recorded work: the graph functions of cop_backend_type, kernels/backend.h.

#ifndef COP_KERNELS_CUDA_GRAPH_H
#define COP_KERNELS_CUDA_GRAPH_H

#include "kernels/cuda/cuda.h"

cop_status cop_cuda_graph_begin(cop_backend *backend, cop_stream *stream, cop_error *err);
cop_status cop_cuda_graph_end(cop_backend *backend, cop_stream *stream, cop_graph **out,
                              cop_error *err);
cop_status cop_cuda_graph_run(cop_backend *backend, cop_stream *stream, cop_graph *graph,
                              cop_error *err);
void cop_cuda_graph_destroy(cop_backend *backend, cop_graph *graph);

#endif
