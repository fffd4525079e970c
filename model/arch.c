#include "model/arch.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "model/families/family.h"

bool cop_arch_is_uniform(const cop_arch *arch)
{
    for (int64_t i = 1; i < arch->layers; i++) {
        const cop_layer_arch *a = &arch->layer[0];
        const cop_layer_arch *b = &arch->layer[i];
        if (a->heads != b->heads || a->kv_heads != b->kv_heads || a->ffn != b->ffn) {
            return false;
        }
    }
    return true;
}

int64_t cop_arch_rotary_pairs(const cop_arch *arch)
{
    return (int64_t)((double)arch->head_dim * arch->rope.partial) / 2;
}

const char *cop_family_name(cop_family family)
{
    return cop_family_type_of(family)->model_type;
}

// --- Checks -------------------------------------------------------------------------------------

static cop_status check_size(const char *what, int64_t layer, int64_t value, int64_t max,
                             const char *name, cop_error *err)
{
    if (value >= 1 && value <= max) {
        return COP_OK;
    }
    if (layer < 0) {
        return COP_FAIL(err, COP_ERR_FORMAT, "%s: %s is %" PRId64 " (allowed: 1..%" PRId64 ")",
                        name, what, value, max);
    }
    return COP_FAIL(err, COP_ERR_FORMAT,
                    "%s: %s of layer %" PRId64 " is %" PRId64 " (allowed: 1..%" PRId64 ")", name,
                    what, layer, value, max);
}

static cop_status check_layer(const cop_arch *arch, int64_t index, const char *name, cop_error *err)
{
    const cop_layer_arch *layer = &arch->layer[index];
    cop_status status = COP_OK;

    COP_TRY(status, check_size("heads", index, layer->heads, COP_ARCH_HEADS_MAX, name, err));
    COP_TRY(status, check_size("kv_heads", index, layer->kv_heads, COP_ARCH_HEADS_MAX, name, err));
    COP_TRY(status, check_size("ffn", index, layer->ffn, COP_ARCH_FFN_MAX, name, err));
    if (layer->heads % layer->kv_heads != 0) {
        status = COP_FAIL(err, COP_ERR_FORMAT,
                          "%s: heads of layer %" PRId64 " is %" PRId64
                          " (allowed: multiples of its %" PRId64 " kv_heads)",
                          name, index, layer->heads, layer->kv_heads);
    }

done:
    return status;
}

static cop_status check_rope(const cop_arch *arch, const char *name, cop_error *err)
{
    const cop_rope_settings *rope = &arch->rope;

    // Written so that NaN fails too.
    if (!(rope->theta > 0.0 && rope->theta <= 1e30)) {
        return COP_FAIL(err, COP_ERR_FORMAT, "%s: rope theta is %g (allowed: above 0, to 1e30)",
                        name, rope->theta);
    }
    if (!(rope->partial > 0.0 && rope->partial <= 1.0)) {
        return COP_FAIL(err, COP_ERR_FORMAT,
                        "%s: rotary share of head_dim is %g (allowed: above 0, to 1)", name,
                        rope->partial);
    }
    const int64_t rotary = (int64_t)((double)arch->head_dim * rope->partial);
    if (rotary < 2 || rotary % 2 != 0) {
        return COP_FAIL(err, COP_ERR_FORMAT,
                        "%s: rotary size is %" PRId64 ", %g of head_dim %" PRId64
                        " (allowed: even, at least 2)",
                        name, rotary, rope->partial, arch->head_dim);
    }
    if (rope->scaling != COP_ROPE_PLAIN && !(rope->factor > 0.0 && rope->factor <= 1e9)) {
        return COP_FAIL(err, COP_ERR_FORMAT, "%s: rope factor is %g (allowed: above 0, to 1e9)",
                        name, rope->factor);
    }
    if (rope->scaling != COP_ROPE_LLAMA3) {
        return COP_OK;
    }
    if (!(rope->low_frequency_factor > 0.0 && rope->high_frequency_factor <= 1e9 &&
          rope->low_frequency_factor < rope->high_frequency_factor)) {
        return COP_FAIL(err, COP_ERR_FORMAT,
                        "%s: rope low and high frequency factors are %g and %g (allowed: above 0, "
                        "low below high)",
                        name, rope->low_frequency_factor, rope->high_frequency_factor);
    }
    return check_size("rope original context", -1, rope->original_context, COP_ARCH_CONTEXT_MAX,
                      name, err);
}

cop_status cop_arch_check(const cop_arch *arch, const char *name, cop_error *err)
{
    cop_status status = COP_OK;

    COP_TRY(status, check_size("vocab", -1, arch->vocab, COP_ARCH_VOCAB_MAX, name, err));
    COP_TRY(status, check_size("hidden", -1, arch->hidden, COP_ARCH_HIDDEN_MAX, name, err));
    COP_TRY(status, check_size("head_dim", -1, arch->head_dim, COP_ARCH_HEAD_DIM_MAX, name, err));
    COP_TRY(status, check_size("context", -1, arch->context, COP_ARCH_CONTEXT_MAX, name, err));
    COP_TRY(status, check_size("layers", -1, arch->layers, COP_ARCH_LAYERS_MAX, name, err));
    for (int64_t i = 0; i < arch->layers; i++) {
        COP_TRY(status, check_layer(arch, i, name, err));
    }
    if (arch->head_dim % 2 != 0) {
        status = COP_FAIL(err, COP_ERR_FORMAT, "%s: head_dim is %" PRId64 " (allowed: even)", name,
                          arch->head_dim);
        goto done;
    }
    if (!(arch->norm_eps > 0.0 && arch->norm_eps <= 1.0)) {
        status = COP_FAIL(err, COP_ERR_FORMAT, "%s: norm eps is %g (allowed: above 0, to 1)", name,
                          arch->norm_eps);
        goto done;
    }
    if (!(arch->initializer_range >= 0.0 && arch->initializer_range <= 1.0)) {
        status = COP_FAIL(err, COP_ERR_FORMAT, "%s: initializer_range is %g (allowed: 0..1)", name,
                          arch->initializer_range);
        goto done;
    }
    COP_TRY(status, check_rope(arch, name, err));

done:
    return status;
}

// --- Text ---------------------------------------------------------------------------------------

enum { RANGE_BYTES = 48 };

// "8" when the field is the same in all layers, "4..8" otherwise.
static char *range_text(char out[RANGE_BYTES], const cop_arch *arch, size_t field_offset)
{
    int64_t low = INT64_MAX;
    int64_t high = INT64_MIN;

    for (int64_t i = 0; i < arch->layers; i++) {
        int64_t value = 0;
        memcpy(&value, (const char *)&arch->layer[i] + field_offset, sizeof value);
        low = value < low ? value : low;
        high = value > high ? value : high;
    }
    if (low >= high) {
        (void)snprintf(out, RANGE_BYTES, "%" PRId64, high);
    } else {
        (void)snprintf(out, RANGE_BYTES, "%" PRId64 "..%" PRId64, low, high);
    }
    return out;
}

char *cop_arch_text(char *out, const cop_arch *arch)
{
    char heads[RANGE_BYTES];
    char kv_heads[RANGE_BYTES];
    char ffn[RANGE_BYTES];

    (void)snprintf(out, COP_ARCH_TEXT_BYTES,
                   "%s %" PRId64 "L %" PRId64 "h %s/%s heads of %" PRId64 " ffn %s vocab %" PRId64
                   "%s",
                   cop_family_name(arch->family), arch->layers, arch->hidden,
                   range_text(heads, arch, offsetof(cop_layer_arch, heads)),
                   range_text(kv_heads, arch, offsetof(cop_layer_arch, kv_heads)), arch->head_dim,
                   range_text(ffn, arch, offsetof(cop_layer_arch, ffn)), arch->vocab,
                   arch->is_tied ? " tied" : "");
    return out;
}
