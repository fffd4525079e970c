#include <inttypes.h>
#include <math.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "distill/layout.h"
#include "distill/state_losses_internal.h"

static cop_norm_kind plain_norm(const cop_arch *arch)
{
    return arch->norm == COP_NORM_RMS ? COP_NORM_RMS : COP_NORM_LAYER;
}

// Places everything in a block at `base`; returns its size.
static uint64_t lay_out(cop_state_losses *losses, char *base)
{
    const int64_t n = losses->options.tokens_pass;
    const int64_t width = losses->student_width;
    const int64_t teacher_width = losses->teacher_width;
    const bool is_narrow = losses->compute != losses->wide;
    uint64_t at = 0;

    for (int i = 0; i < losses->options.pairs; i++) {
        losses->state[i].x = cop_layout_matrix(base, &at, losses->wide, n, width);
        losses->state[i].stats = cop_layout_matrix(base, &at, losses->wide, n, 2);
        losses->state[i].teacher = cop_layout_matrix(base, &at, losses->compute, n, teacher_width);
    }
    losses->y = cop_layout_matrix(base, &at, losses->compute, n, width);
    losses->p = cop_layout_matrix(base, &at, losses->wide, n, teacher_width);
    losses->d_p = cop_layout_matrix(base, &at, losses->compute, n, teacher_width);
    losses->d_y = cop_layout_matrix(base, &at, losses->wide, n, width);
    losses->loss =
        cop_layout_matrix(base, &at, losses->wide, losses->options.pairs, losses->options.tokens);
    losses->student_ones = cop_layout_matrix(base, &at, losses->wide, 1, width);
    losses->teacher_ones = cop_layout_matrix(base, &at, losses->wide, 1, teacher_width);
    losses->master = cop_layout_matrix(base, &at, losses->wide, teacher_width, width);
    losses->gradient = cop_layout_matrix(base, &at, losses->wide, teacher_width, width);
    losses->m = cop_layout_matrix(base, &at, losses->wide, teacher_width, width);
    losses->v = cop_layout_matrix(base, &at, losses->wide, teacher_width, width);
    losses->working = is_narrow
                          ? cop_layout_matrix(base, &at, losses->compute, teacher_width, width)
                          : losses->master;
    losses->norm_squared = cop_layout_take(base, &at, sizeof *losses->norm_squared);
    losses->scratch = NULL;
    losses->scratch = cop_layout_take(base, &at, cop_state_losses_scratch(losses));
    return at;
}

static cop_status check_layer(const char *whose, int64_t layer, const cop_arch *arch,
                              cop_error *err)
{
    if (layer < -1 || layer >= arch->layers) {
        return COP_FAIL(err, COP_ERR_CONFIG,
                        "state losses: %s layer is %" PRId64 " (allowed: 0..%" PRId64
                        ", or -1 for the embedding)",
                        whose, layer, arch->layers - 1);
    }
    return COP_OK;
}

cop_status cop_state_losses_check(const cop_state_losses_options *options, const cop_arch *student,
                                  const cop_arch *teacher, cop_error *err)
{
    cop_status status = COP_OK;

    if (options->pairs < 1 || options->pairs > COP_STATE_PAIRS_MAX) {
        return COP_FAIL(err, COP_ERR_CONFIG, "state losses: %d pairs (allowed: 1..%d)",
                        options->pairs, COP_STATE_PAIRS_MAX);
    }
    for (int i = 0; i < options->pairs; i++) {
        COP_TRY(status, check_layer("teacher", options->pair[i].teacher_layer, teacher, err));
        COP_TRY(status, check_layer("student", options->pair[i].student_layer, student, err));
    }

done:
    return status;
}

static cop_state_losses describe(const cop_state_losses_options *options, const cop_arch *student,
                                 const cop_arch *teacher, cop_backend *backend)
{
    return (cop_state_losses){
        .options = *options,
        .backend = backend,
        .compute = cop_precision_dtype(options->precision),
        .wide = options->precision == COP_PRECISION_F64 ? COP_F64 : COP_F32,
        .student_width = student->hidden,
        .teacher_width = teacher->hidden,
        .student_norm = plain_norm(student),
        .teacher_norm = plain_norm(teacher),
        .student_eps = (float)student->norm_eps,
        .teacher_eps = (float)teacher->norm_eps,
    };
}

cop_status cop_state_losses_plan(cop_plan *plan, const cop_state_losses_options *options,
                                 const cop_arch *student, const cop_arch *teacher,
                                 cop_backend *backend, cop_error *err)
{
    cop_state_losses losses = describe(options, student, teacher, backend);
    const cop_status status = cop_state_losses_check(options, student, teacher, err);
    if (status == COP_OK) {
        cop_plan_add(plan, "state losses", lay_out(&losses, NULL));
    }
    return status;
}

// Fills a matrix in master precision with values of a host array.
static cop_status put_values(cop_state_losses *losses, cop_matrix to, const double *values,
                             void *buffer, cop_error *err)
{
    const size_t count = (size_t)(to.rows * to.cols);
    cop_dtype_convert(buffer, to.dtype, values, COP_F64, count);
    cop_status status = cop_backend_to_device(losses->backend, NULL, to.data, buffer,
                                              count * cop_dtype_bytes(to.dtype), err);
    return status == COP_OK ? cop_backend_synchronize(losses->backend, NULL, err) : status;
}

static cop_status draw_projection(cop_state_losses *losses, double *values, cop_error *err)
{
    const int64_t width = losses->student_width;
    const int64_t count = width * losses->teacher_width;
    const uint64_t stream_index = UINT64_C(1) << 32; // behind all tensors of the student
    cop_rng *rng = NULL;

    if (width == losses->teacher_width) {
        for (int64_t i = 0; i < count; i++) {
            values[i] = i % (width + 1) == 0 ? 1.0 : 0.0;
        }
        return COP_OK;
    }
    const cop_status status =
        cop_rng_create(&rng, losses->options.seed, COP_RNG_INIT, stream_index, err);
    for (int64_t i = 0; status == COP_OK && i < count; i++) {
        values[i] = cop_rng_normal(rng) / sqrt((double)width);
    }
    cop_rng_destroy(rng);
    return status;
}

static cop_status set_values(cop_state_losses *losses, cop_error *err)
{
    const int64_t count = losses->student_width * losses->teacher_width;
    const int64_t widest = losses->student_width > losses->teacher_width ? losses->student_width
                                                                         : losses->teacher_width;
    cop_status status = COP_OK;
    double *values = cop_alloc((size_t)(count > widest ? count : widest), sizeof *values);
    double *buffer = cop_alloc((size_t)(count > widest ? count : widest), sizeof *buffer);

    if (values == NULL || buffer == NULL) {
        status = COP_FAIL(err, COP_ERR_NOMEM, "state losses: no memory for the projection");
        goto done;
    }
    for (int64_t i = 0; i < widest; i++) {
        values[i] = 1.0;
    }
    COP_TRY(status, put_values(losses, losses->student_ones, values, buffer, err));
    COP_TRY(status, put_values(losses, losses->teacher_ones, values, buffer, err));
    COP_TRY(status, draw_projection(losses, values, err));
    COP_TRY(status, put_values(losses, losses->master, values, buffer, err));
    COP_TRY(status, cop_state_losses_publish(losses, err));

done:
    cop_free(values);
    cop_free(buffer);
    return status;
}

cop_status cop_state_losses_create(cop_state_losses **out, const cop_state_losses_options *options,
                                   const cop_arch *student, const cop_arch *teacher,
                                   cop_backend *backend, cop_error *err)
{
    cop_status status = COP_OK;
    cop_state_losses *losses = NULL;

    *out = NULL;
    COP_TRY(status, cop_state_losses_check(options, student, teacher, err));
    losses = cop_alloc(1, sizeof *losses);
    if (losses == NULL) {
        status = COP_FAIL(err, COP_ERR_NOMEM, "state losses: no memory");
        goto done;
    }
    *losses = describe(options, student, teacher, backend);
    COP_TRY(status, cop_backend_alloc(backend, &losses->memory, lay_out(losses, NULL),
                                      "state losses", err));
    (void)lay_out(losses, losses->memory);
    COP_TRY(status, set_values(losses, err));
    losses->host =
        cop_alloc((size_t)(options->pairs * options->tokens), cop_dtype_bytes(losses->wide));
    if (losses->host == NULL) {
        status = COP_FAIL(err, COP_ERR_NOMEM, "state losses: no memory for %" PRId64 " losses",
                          options->tokens);
        goto done;
    }
    *out = losses;
    losses = NULL;

done:
    cop_state_losses_destroy(losses);
    return status;
}

void cop_state_losses_destroy(cop_state_losses *losses)
{
    if (losses != NULL) {
        cop_backend_free(losses->backend, losses->memory);
        cop_free(losses->host);
        cop_free(losses);
    }
}
