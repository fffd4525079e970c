// Attention by cuDNN, through the graph API of its C++ frontend. The only file that includes the
// frontend: it takes most of a minute and two gigabytes to compile.
//
// A graph and its plan are made once for each shape (hundreds of milliseconds): asking for scratch
// makes them, so that a step that has planned its memory makes none. They are kept as long as the
// backend, because recorded work may go on using their kernels.
//
// Determinism: the backward graph asks for cuDNN's deterministic algorithm. Before cuDNN 9.25 its
// workspace on Hopper grows with B * H * T² * 2 bytes. Where a plan needs more than
// WORKSPACE_BYTES_MAX, the call is not taken, and the own deterministic kernels run.

#include "kernels/cuda/attention_cudnn.h"

#define CUDNN_FRONTEND_SKIP_JSON_LIB
#include <cudnn.h>
#include <cudnn_frontend.h>
#include <memory>
#include <new>
#include <stdio.h>
#include <string.h>
#include <string>
#include <unordered_map>
#include <vector>

namespace fe = cudnn_frontend;

namespace {

constexpr uint64_t WORKSPACE_BYTES_MAX = uint64_t{2} << 30;
constexpr uint64_t WORKSPACE_ALIGNMENT = 256; // scratch is aligned to less
constexpr int64_t DEPTH_MAX = 128;
constexpr uintptr_t ROW_BYTES = 16;

cudnnStatus_t create_status = CUDNN_STATUS_SUCCESS; // of the latest cudnnCreate()

enum { Q = 1, K, V, O, STATS, D_O, D_Q, D_K, D_V, UID_COUNT };

// What a plan depends on. No padding: compared as bytes.
struct shape {
    int64_t batch;
    int64_t sequence;
    int64_t heads;
    int64_t kv_heads;
    int64_t head_dim;
    int64_t scale_bits;
    int64_t is_backward;
    int64_t has_stats;
    int64_t stride[UID_COUNT]; // elements, by tensor; 0: not in the graph
};

struct plan {
    shape of;
    std::shared_ptr<fe::graph::Graph> graph; // empty: cuDNN does not take the shape
    std::string reason;
    uint64_t workspace_bytes;
    int64_t plan_count;
};

} // namespace

struct cop_cuda_flash {
    cudnnHandle_t handle; // NULL: the device is only described
    std::shared_ptr<fe::DeviceProperties> described;
    int compute;
    std::vector<plan> plans;
    std::string reason; // of the latest call
    int64_t plan_count;
};

// --- Graphs

// Rows of a row-major matrix with heads side by side, as a tensor [B, heads, T, D]; and the statistics,
// [B, H, T, 1], dense: other strides of theirs are not honoured by every engine.
static std::vector<int64_t> dim_of(const shape &of, int uid)
{
    const bool is_kv = uid == K || uid == V || uid == D_K || uid == D_V;
    return {of.batch, is_kv ? of.kv_heads : of.heads, of.sequence, uid == STATS ? 1 : of.head_dim};
}

static std::vector<int64_t> stride_of(const shape &of, int uid)
{
    if (uid == STATS) {
        return {of.heads * of.sequence, of.sequence, 1, 1};
    }
    return {of.sequence * of.stride[uid], of.head_dim, of.stride[uid], 1};
}

static std::shared_ptr<fe::graph::Tensor_attributes> tensor(fe::graph::Graph &graph,
                                                            const shape &of, int uid)
{
    return graph.tensor(
        fe::graph::Tensor_attributes()
            .set_uid(uid)
            .set_data_type(uid == STATS ? fe::DataType_t::FLOAT : fe::DataType_t::BFLOAT16)
            .set_dim(dim_of(of, uid))
            .set_stride(stride_of(of, uid)));
}

static void set_output(const std::shared_ptr<fe::graph::Tensor_attributes> &at, const shape &of,
                       int uid)
{
    at->set_output(true)
        .set_uid(uid)
        .set_data_type(uid == STATS ? fe::DataType_t::FLOAT : fe::DataType_t::BFLOAT16)
        .set_dim(dim_of(of, uid))
        .set_stride(stride_of(of, uid));
}

static float scale_of(const shape &of)
{
    float scale;
    const int32_t bits = static_cast<int32_t>(of.scale_bits);
    memcpy(&scale, &bits, sizeof scale);
    return scale;
}

static void add_forward(fe::graph::Graph &graph, const shape &of)
{
    auto q = tensor(graph, of, Q);
    auto k = tensor(graph, of, K);
    auto v = tensor(graph, of, V);
    auto outputs = graph.sdpa(q, k, v,
                              fe::graph::SDPA_attributes()
                                  .set_name("attention_forward")
                                  .set_generate_stats(of.has_stats != 0)
                                  .set_causal_mask(true)
                                  .set_attn_scale(scale_of(of)));
    set_output(outputs[0], of, O);
    if (of.has_stats != 0) {
        set_output(outputs[1], of, STATS);
    }
}

static void add_backward(fe::graph::Graph &graph, const shape &of)
{
    auto q = tensor(graph, of, Q);
    auto k = tensor(graph, of, K);
    auto v = tensor(graph, of, V);
    auto o = tensor(graph, of, O);
    auto d_o = tensor(graph, of, D_O);
    auto stats = tensor(graph, of, STATS);
    auto outputs = graph.sdpa_backward(q, k, v, o, d_o, stats,
                                       fe::graph::SDPA_backward_attributes()
                                           .set_name("attention_backward")
                                           .set_causal_mask(true)
                                           .set_deterministic_algorithm(true)
                                           .set_attn_scale(scale_of(of)));
    set_output(outputs[0], of, D_Q);
    set_output(outputs[1], of, D_K);
    set_output(outputs[2], of, D_V);
}

// --- Plans

static bool is_good(fe::error_t error, const char *what, plan *out)
{
    if (error.is_good()) {
        return true;
    }
    out->reason = std::string(what) + ": " + error.get_message();
    return false;
}

static bool plan_for_device(const cop_cuda_flash *flash, fe::graph::Graph &graph, plan *out)
{
    int64_t bytes = 0;
    if (!is_good(graph.build_operation_graph(flash->handle), "operation graph", out) ||
        !is_good(graph.create_execution_plans({fe::HeurMode_t::A}), "heuristics", out) ||
        !is_good(graph.check_support(), "support", out)) {
        return false;
    }
    out->plan_count = graph.get_execution_plan_count();
    if (!is_good(graph.build_plans(fe::BuildPlanPolicy_t::HEURISTICS_CHOICE), "plans", out) ||
        !is_good(graph.get_workspace_size(bytes), "workspace", out)) {
        return false;
    }
    out->workspace_bytes = static_cast<uint64_t>(bytes);
    if (out->workspace_bytes > WORKSPACE_BYTES_MAX) {
        out->reason = "a workspace of " + std::to_string(bytes) + " bytes";
        return false;
    }
    return true;
}

// The kernels themselves are loaded by the driver: a plan stops short of that.
static bool plan_for_description(const cop_cuda_flash *flash, fe::graph::Graph &graph, plan *out)
{
    graph.set_device_properties(flash->described);
    graph.set_sm_version(flash->compute);
    const bool is_planned =
        is_good(graph.build_operation_graph(nullptr), "operation graph", out) &&
        is_good(graph.create_execution_plans({fe::HeurMode_t::A}), "heuristics", out);
    out->plan_count = is_planned ? graph.get_execution_plan_count() : 0;
    return out->plan_count > 0;
}

static void plan_make(const cop_cuda_flash *flash, const shape &of, plan *out)
{
    auto graph = std::make_shared<fe::graph::Graph>();
    graph->set_io_data_type(fe::DataType_t::BFLOAT16)
        .set_intermediate_data_type(fe::DataType_t::FLOAT)
        .set_compute_data_type(fe::DataType_t::FLOAT);
    if (flash->handle == NULL) {
        graph->set_device_properties(flash->described);
        graph->set_sm_version(flash->compute);
    }
    if (of.is_backward != 0) {
        add_backward(*graph, of);
    } else {
        add_forward(*graph, of);
    }
    if (!is_good(graph->validate(), "graph", out)) {
        return;
    }
    const bool is_planned = flash->handle == NULL ? plan_for_description(flash, *graph, out)
                                                  : plan_for_device(flash, *graph, out);
    if (is_planned) {
        out->graph = graph;
    }
}

// The plan for a shape; NULL where cuDNN does not take it. Never throws.
static const plan *plan_find(cop_cuda_flash *flash, const shape &of)
{
    try {
        for (const plan &each : flash->plans) {
            if (memcmp(&each.of, &of, sizeof of) == 0) {
                flash->reason = each.reason;
                flash->plan_count = each.plan_count;
                return each.graph ? &each : NULL;
            }
        }
        plan made = {};
        made.of = of;
        plan_make(flash, of, &made);
        flash->plans.push_back(made);
        flash->reason = made.reason;
        flash->plan_count = made.plan_count;
        return made.graph ? &flash->plans.back() : NULL;
    } catch (const std::exception &) {
        return NULL; // out of memory, or the frontend's own: the own kernels run
    }
}

// --- Arguments

static bool is_rows(cop_matrix m)
{
    return m.dtype == COP_BF16 && m.stride % 8 == 0 &&
           reinterpret_cast<uintptr_t>(m.data) % ROW_BYTES == 0;
}

static bool refuse(cop_cuda_flash *flash, const char *reason)
{
    flash->reason = reason;
    flash->plan_count = 0;
    return false;
}

template <typename T> static shape shape_of(const T *args)
{
    shape of = {};
    int32_t bits;
    memcpy(&bits, &args->scale, sizeof bits);
    of.batch = args->batch;
    of.sequence = args->sequence;
    of.heads = args->heads;
    of.kv_heads = args->kv_heads;
    of.head_dim = args->head_dim;
    of.scale_bits = bits;
    of.has_stats = args->lse.data != NULL || args->lse.rows != 0;
    of.stride[Q] = args->q.stride;
    of.stride[K] = args->k.stride;
    of.stride[V] = args->v.stride;
    of.stride[O] = args->o.stride;
    return of;
}

static shape backward_shape_of(const cop_attention_backward_args *args)
{
    shape of = shape_of(args);
    of.is_backward = 1;
    of.has_stats = 1;
    of.stride[D_O] = args->d_o.stride;
    of.stride[D_Q] = args->d_q.stride;
    of.stride[D_K] = args->d_k.stride;
    of.stride[D_V] = args->d_v.stride;
    return of;
}

template <typename T> static bool takes_shape(cop_cuda_flash *flash, const T *args)
{
    if (args->batch < 1 || args->sequence < 1) {
        return refuse(flash, "no rows");
    }
    if (args->head_dim % 8 != 0 || args->head_dim > DEPTH_MAX) {
        return refuse(flash, "head_dim is not a multiple of 8 up to 128");
    }
    if (!is_rows(args->q) || !is_rows(args->k) || !is_rows(args->v) || !is_rows(args->o)) {
        return refuse(flash, "rows are not bf16 at multiples of 16 bytes");
    }
    if (args->lse.rows != 0 && args->lse.stride != args->sequence) {
        return refuse(flash, "lse is not dense");
    }
    return true;
}

// Also for scratch, when data pointers are not there yet: NULL is aligned.
static const plan *forward_plan(cop_cuda_flash *flash, const cop_attention_forward_args *args)
{
    return takes_shape(flash, args) ? plan_find(flash, shape_of(args)) : NULL;
}

static const plan *backward_plan(cop_cuda_flash *flash, const cop_attention_backward_args *args)
{
    if (!takes_shape(flash, args)) {
        return NULL;
    }
    if (!is_rows(args->d_o) || !is_rows(args->d_q) || !is_rows(args->d_k) || !is_rows(args->d_v)) {
        (void)refuse(flash, "rows of gradients are not bf16 at multiples of 16 bytes");
        return NULL;
    }
    return plan_find(flash, backward_shape_of(args));
}

bool cop_cuda_flash_takes_forward(cop_cuda_flash *flash, const cop_attention_forward_args *args)
{
    return forward_plan(flash, args) != NULL;
}

bool cop_cuda_flash_takes_backward(cop_cuda_flash *flash, const cop_attention_backward_args *args)
{
    return backward_plan(flash, args) != NULL;
}

// Scratch does not depend on where the data lies.
static cop_matrix without_data(cop_matrix m)
{
    m.data = NULL;
    return m;
}

uint64_t cop_cuda_flash_forward_scratch(cop_cuda_flash *flash,
                                        const cop_attention_forward_args *args)
{
    cop_attention_forward_args planned = *args;
    planned.q = without_data(args->q);
    planned.k = without_data(args->k);
    planned.v = without_data(args->v);
    planned.o = without_data(args->o);
    const plan *found = forward_plan(flash, &planned);
    return found == NULL ? 0 : found->workspace_bytes + WORKSPACE_ALIGNMENT;
}

uint64_t cop_cuda_flash_backward_scratch(cop_cuda_flash *flash,
                                         const cop_attention_backward_args *args)
{
    cop_attention_backward_args planned = *args;
    planned.q = without_data(args->q);
    planned.k = without_data(args->k);
    planned.v = without_data(args->v);
    planned.o = without_data(args->o);
    planned.d_o = without_data(args->d_o);
    planned.d_q = without_data(args->d_q);
    planned.d_k = without_data(args->d_k);
    planned.d_v = without_data(args->d_v);
    const plan *found = backward_plan(flash, &planned);
    return found == NULL ? 0 : found->workspace_bytes + WORKSPACE_ALIGNMENT;
}

// --- Running

static void *workspace_in(void *scratch)
{
    const uintptr_t at = reinterpret_cast<uintptr_t>(scratch);
    return static_cast<char *>(scratch) +
           (WORKSPACE_ALIGNMENT - at % WORKSPACE_ALIGNMENT) % WORKSPACE_ALIGNMENT;
}

static cop_status execute(cop_cuda_flash *flash, const plan *found, cudaStream_t stream,
                          std::unordered_map<int64_t, void *> &data, void *scratch, const char *op,
                          cop_error *err)
{
    if (found == NULL || flash->handle == NULL) {
        return COP_FAIL(err, COP_ERR_UNSUPPORTED, "%s: cuDNN: %s", op, flash->reason.c_str());
    }
    const cudnnStatus_t status = cudnnSetStream(flash->handle, stream);
    if (status != CUDNN_STATUS_SUCCESS) {
        return COP_FAIL(err, COP_ERR_DEVICE, "%s: cuDNN: %s", op, cudnnGetErrorString(status));
    }
    fe::error_t error = found->graph->execute(flash->handle, data, workspace_in(scratch));
    if (error.is_bad()) {
        return COP_FAIL(err, COP_ERR_DEVICE, "%s: cuDNN: %s", op, error.get_message().c_str());
    }
    return COP_OK;
}

cop_status cop_cuda_flash_forward(cop_cuda_flash *flash, cudaStream_t stream,
                                  const cop_attention_forward_args *args, cop_error *err)
{
    try {
        const plan *found = forward_plan(flash, args);
        std::unordered_map<int64_t, void *> data = {
            {Q, args->q.data}, {K, args->k.data}, {V, args->v.data}, {O, args->o.data}};
        if (args->lse.data != NULL) {
            data[STATS] = args->lse.data;
        }
        return execute(flash, found, stream, data, args->scratch, "attention_forward", err);
    } catch (const std::exception &error) {
        return COP_FAIL(err, COP_ERR_DEVICE, "attention_forward: cuDNN: %s", error.what());
    }
}

cop_status cop_cuda_flash_backward(cop_cuda_flash *flash, cudaStream_t stream,
                                   const cop_attention_backward_args *args, cop_error *err)
{
    try {
        const plan *found = backward_plan(flash, args);
        std::unordered_map<int64_t, void *> data = {
            {Q, args->q.data},     {K, args->k.data},       {V, args->v.data},
            {O, args->o.data},     {STATS, args->lse.data}, {D_O, args->d_o.data},
            {D_Q, args->d_q.data}, {D_K, args->d_k.data},   {D_V, args->d_v.data}};
        return execute(flash, found, stream, data, args->scratch, "attention_backward", err);
    } catch (const std::exception &error) {
        return COP_FAIL(err, COP_ERR_DEVICE, "attention_backward: cuDNN: %s", error.what());
    }
}

// --- Life cycle

// A cuDNN that does not start is no reason to go without the device: the own kernels run, and the
// name says why.
cop_status cop_cuda_flash_create(cop_cuda_flash **out, cop_cuda *cuda, cop_error *err)
{
    *out = NULL;
    cop_cuda_flash *flash = new (std::nothrow) cop_cuda_flash();
    if (flash == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "cuDNN: no memory for its plans");
    }
    flash->compute = cuda->compute;
    create_status = cudnnCreate(&flash->handle);
    if (create_status != CUDNN_STATUS_SUCCESS) {
        delete flash;
        return COP_OK;
    }
    *out = flash;
    return COP_OK;
}

cop_status cop_cuda_flash_create_described(cop_cuda_flash **out, const char *device_json,
                                           int compute, cop_error *err)
{
    *out = NULL;
    try {
        std::unique_ptr<cop_cuda_flash> flash(new cop_cuda_flash());
        flash->compute = compute;
        flash->described = std::make_shared<fe::DeviceProperties>();
        fe::error_t error = flash->described->deserialize(
            std::vector<uint8_t>(device_json, device_json + strlen(device_json)));
        if (error.is_bad()) {
            return COP_FAIL(err, COP_ERR_UNSUPPORTED, "cuDNN: described device: %s",
                            error.get_message().c_str());
        }
        *out = flash.release();
        return COP_OK;
    } catch (const std::exception &error) {
        return COP_FAIL(err, COP_ERR_NOMEM, "cuDNN: described device: %s", error.what());
    }
}

void cop_cuda_flash_destroy(cop_cuda_flash *flash)
{
    if (flash != NULL && flash->handle != NULL) {
        (void)cudnnDestroy(flash->handle);
    }
    delete flash;
}

const char *cop_cuda_flash_reason(const cop_cuda_flash *flash)
{
    return flash->reason.c_str();
}

int64_t cop_cuda_flash_plan_count(const cop_cuda_flash *flash)
{
    return flash->plan_count;
}

const char *cop_cuda_flash_name(void)
{
    static char name[160];
    const size_t version = cudnnGetVersion();
    const bool is_started = create_status == CUDNN_STATUS_SUCCESS;
    (void)snprintf(name, sizeof name, "cuDNN %zu.%zu.%zu, frontend %d.%d.%d%s%s", version / 10000,
                   version / 100 % 100, version % 100, CUDNN_FRONTEND_MAJOR_VERSION,
                   CUDNN_FRONTEND_MINOR_VERSION, CUDNN_FRONTEND_PATCH_VERSION,
                   is_started ? "" : ": does not start: ",
                   is_started ? "" : cudnnGetErrorString(create_status));
    return name;
}
