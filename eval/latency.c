#include "eval/latency.h"

#include <gsl/gsl_sort_double.h>
#include <gsl/gsl_statistics_double.h>
#include <inttypes.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/rng.h"

enum { REPEATS_MIN = 5, REPEATS_MAX = 50, WARM_UPS = 2 };

typedef struct prefill {
    cop_network *network;
    cop_backend *backend;
    cop_forward_options options;
    int32_t *ids;      // [batch, sequence] host
    cop_matrix logits; // [batch, V] device
    void *scratch;
} prefill;

// The head of each sequence's last position: row sequence - 1 of every `sequence` rows.
static cop_matmul_args head_args(const prefill *run, cop_matrix hidden)
{
    const cop_matrix last = cop_matrix_part(hidden, run->options.sequence - 1, 1, 0, hidden.cols);
    cop_matmul_args args = {
        .a = last,
        .b = cop_network_head(run->network).working,
        .c = run->logits,
        .transpose_b = true,
        .alpha = 1.0F,
        .scratch = run->scratch,
    };
    args.a.rows = run->options.batch;
    args.a.stride = hidden.stride * run->options.sequence;
    return args;
}

static cop_status run_once(const prefill *run, double *seconds, cop_error *err)
{
    const double start = cop_clock_seconds();
    cop_status status = COP_OK;
    cop_matrix hidden = {0};
    cop_matmul_args head;

    COP_TRY(status, cop_network_forward(run->network, &run->options, &hidden, err));
    head = head_args(run, hidden);
    COP_TRY(status, run->backend->ops->matmul(run->backend, NULL, &head, err));
    COP_TRY(status, cop_backend_synchronize(run->backend, NULL, err));
    *seconds = cop_clock_seconds() - start;

done:
    return status;
}

static cop_status draw_ids(prefill *run, int64_t rows, cop_error *err)
{
    const uint64_t vocab = (uint64_t)cop_network_arch(run->network)->vocab;
    cop_rng *rng = NULL;

    run->ids = cop_alloc((size_t)rows, sizeof *run->ids);
    if (run->ids == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "latency: no memory for %" PRId64 " ids", rows);
    }
    const cop_status status = cop_rng_create(&rng, 1, COP_RNG_TEST, 0, err);
    for (int64_t i = 0; status == COP_OK && i < rows; i++) {
        run->ids[i] = (int32_t)cop_rng_below(rng, vocab);
    }
    run->options.ids = run->ids;
    cop_rng_destroy(rng);
    return status;
}

static cop_status prepare(prefill *run, cop_error *err)
{
    const cop_arch *arch = cop_network_arch(run->network);
    const cop_dtype compute = cop_network_compute_dtype(run->network);
    const cop_dtype wide = compute == COP_F64 ? COP_F64 : COP_F32;
    const int64_t rows = run->options.batch * run->options.sequence;
    run->logits = cop_matrix_dense(NULL, wide, run->options.batch, arch->vocab);
    const cop_matmul_args head =
        head_args(run, cop_matrix_dense(NULL, compute, rows, arch->hidden));
    const uint64_t scratch = run->backend->ops->scratch_bytes(run->backend, COP_OP_MATMUL, &head);
    const uint64_t logits =
        (uint64_t)run->options.batch * (uint64_t)arch->vocab * cop_dtype_bytes(wide);
    cop_status status = COP_OK;

    COP_TRY(status, draw_ids(run, rows, err));
    COP_TRY(status,
            cop_backend_alloc(run->backend, &run->logits.data, logits, "latency: logits", err));
    if (scratch > 0) {
        COP_TRY(status,
                cop_backend_alloc(run->backend, &run->scratch, scratch, "latency: scratch", err));
    }

done:
    return status;
}

static cop_status measure(cop_latency *out, const prefill *run, double seconds, cop_error *err)
{
    double times[REPEATS_MAX];
    double total = 0.0;
    size_t count = 0;
    cop_status status = COP_OK;

    for (int i = 0; i < WARM_UPS; i++) {
        COP_TRY(status, run_once(run, &times[0], err));
    }
    for (; count < REPEATS_MAX && (count < REPEATS_MIN || total < seconds); count++) {
        COP_TRY(status, run_once(run, &times[count], err));
        total += times[count];
    }
    gsl_sort(times, 1, count);
    *out = (cop_latency){
        .median_seconds = gsl_stats_median_from_sorted_data(times, 1, count),
        .low_seconds = gsl_stats_quantile_from_sorted_data(times, 1, count, 0.1),
        .high_seconds = gsl_stats_quantile_from_sorted_data(times, 1, count, 0.9),
        .repeats = (int64_t)count,
    };
    out->tokens_per_second =
        (double)(run->options.batch * run->options.sequence) / out->median_seconds;

done:
    return status;
}

cop_status cop_latency_measure(cop_latency *out, cop_network *network, int64_t batch,
                               int64_t sequence, double seconds, cop_error *err)
{
    const cop_network_options *settings = cop_network_settings(network);
    prefill run = {
        .network = network,
        .backend = cop_network_backend(network),
        .options = {.batch = batch, .sequence = sequence},
    };
    cop_status status = COP_OK;

    if (batch < 1 || sequence < 1 || batch > settings->batch || sequence > settings->sequence) {
        return COP_FAIL(err, COP_ERR_CONFIG,
                        "latency: batch %" PRId64 ", sequence %" PRId64 " (allowed: 1..%" PRId64
                        ", 1..%" PRId64 ")",
                        batch, sequence, settings->batch, settings->sequence);
    }
    COP_TRY(status, prepare(&run, err));
    COP_TRY(status, measure(out, &run, seconds, err));

done:
    cop_free(run.ids);
    cop_backend_free(run.backend, run.logits.data);
    cop_backend_free(run.backend, run.scratch);
    return status;
}
