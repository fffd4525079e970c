#include "search/calibration.h"

#include <inttypes.h>
#include <math.h>

#include "base/text.h"
#include "search/facts.h"

static void append_real(cop_text *out, const char *key, double value)
{
    cop_text_appendf(out, isfinite(value) ? ", \"%s\": %.17g" : ", \"%s\": null", key, value);
}

static void append(cop_text *out, const cop_surrogate_calibration *c)
{
    cop_text_appendf(out, "{\"n\": %" PRId64, c->n);
    append_real(out, "coverage50", c->coverage50);
    append_real(out, "coverage90", c->coverage90);
    append_real(out, "tau", c->tau);
    append_real(out, "rmse", c->rmse);
    append_real(out, "scale", c->scale);
    cop_text_appendf(out, ", \"is_logarithmic\": %s, \"is_exact\": %s}",
                     c->is_logarithmic ? "true" : "false", c->is_exact ? "true" : "false");
}

cop_status cop_calibration_store(cop_store *store, const cop_strategy *strategy,
                                 const char *const *name, int objectives, cop_error *err)
{
    cop_status status = COP_OK;
    cop_text key = {0};
    cop_text value = {0};

    for (int i = 0; i < objectives && cop_strategy_is_surrogate(strategy); i++) {
        cop_surrogate_calibration calibration;
        cop_text_release(&key);
        cop_text_release(&value);
        COP_TRY(status, cop_strategy_surrogate_calibration(&calibration, strategy, i, err));
        cop_text_appendf(&key, COP_FACT_CALIBRATION_PREFIX "%s", name[i]);
        append(&value, &calibration);
        COP_TRY(status, cop_text_check(&key, "calibration", err));
        COP_TRY(status, cop_text_check(&value, "calibration", err));
        COP_TRY(status, cop_store_set(store, cop_text_view(&key), cop_text_view(&value), err));
    }

done:
    cop_text_release(&key);
    cop_text_release(&value);
    return status;
}
