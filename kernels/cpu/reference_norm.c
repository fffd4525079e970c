#include <math.h>

#include "kernels/cpu/reference.h"

void cop_reference_norm_forward(const cop_norm_forward_args *args)
{
    const int64_t cols = args->x.cols;
    const double shift = args->kind == COP_NORM_LAYER_1P ? 1.0 : 0.0;
    for (int64_t r = 0; r < args->x.rows; r++) {
        cop_matrix x = args->x;
        if (cop_has(args->residual)) {
            for (int64_t c = 0; c < cols; c++) {
                cop_put(args->sum, r, c, cop_get(args->x, r, c) + cop_get(args->residual, r, c));
            }
            x = args->sum;
        }
        double mean = 0.0;
        if (args->kind != COP_NORM_RMS) {
            for (int64_t c = 0; c < cols; c++) {
                mean += cop_get(x, r, c) / (double)cols;
            }
        }
        double variance = 0.0;
        for (int64_t c = 0; c < cols; c++) {
            const double centred = cop_get(x, r, c) - mean;
            variance += centred * centred / (double)cols;
        }
        const double scale = 1.0 / sqrt(variance + (double)args->eps);
        for (int64_t c = 0; c < cols; c++) {
            double y = (cop_get(x, r, c) - mean) * scale * (cop_get(args->gain, 0, c) + shift);
            if (cop_has(args->bias)) {
                y += cop_get(args->bias, 0, c);
            }
            cop_put(args->y, r, c, y);
        }
        if (cop_has(args->stats)) {
            cop_put(args->stats, r, 0, mean);
            cop_put(args->stats, r, 1, scale);
        }
    }
}

// Column sums first: d_x may overwrite d_y.
static void add_parameter_gradients(const cop_norm_backward_args *args)
{
    for (int64_t c = 0; c < args->x.cols; c++) {
        double d_gain = 0.0;
        double d_bias = 0.0;
        for (int64_t r = 0; r < args->x.rows; r++) {
            const double mean = cop_get(args->stats, r, 0);
            const double scale = cop_get(args->stats, r, 1);
            const double d_y = cop_get(args->d_y, r, c);
            d_gain += d_y * (cop_get(args->x, r, c) - mean) * scale;
            d_bias += d_y;
        }
        if (cop_has(args->d_gain)) {
            cop_put(args->d_gain, 0, c, cop_get(args->d_gain, 0, c) + d_gain);
        }
        if (cop_has(args->d_bias)) {
            cop_put(args->d_bias, 0, c, cop_get(args->d_bias, 0, c) + d_bias);
        }
    }
}

// With h = (x - mean) * scale and g = d_y * gain:
//     d_x = scale * (g - mean_c(g) - h * mean_c(g h)),   without mean_c(g) for RMS.
void cop_reference_norm_backward(const cop_norm_backward_args *args)
{
    const int64_t cols = args->x.cols;
    const double shift = args->kind == COP_NORM_LAYER_1P ? 1.0 : 0.0;
    add_parameter_gradients(args);
    for (int64_t r = 0; r < args->x.rows; r++) {
        const double mean = cop_get(args->stats, r, 0);
        const double scale = cop_get(args->stats, r, 1);
        double mean_g = 0.0;
        double mean_gh = 0.0;
        for (int64_t c = 0; c < cols; c++) {
            const double g = cop_get(args->d_y, r, c) * (cop_get(args->gain, 0, c) + shift);
            mean_g += g / (double)cols;
            mean_gh += g * (cop_get(args->x, r, c) - mean) * scale / (double)cols;
        }
        if (args->kind == COP_NORM_RMS) {
            mean_g = 0.0;
        }
        for (int64_t c = 0; c < cols; c++) {
            const double g = cop_get(args->d_y, r, c) * (cop_get(args->gain, 0, c) + shift);
            const double h = (cop_get(args->x, r, c) - mean) * scale;
            double d_x = scale * (g - mean_g - h * mean_gh);
            if (args->accumulate) {
                d_x += cop_get(args->d_x, r, c);
            }
            cop_put(args->d_x, r, c, d_x);
        }
    }
}
