// How large a space is: as a number while it can be listed, with all of its digits beyond.

#include <inttypes.h>
#include <math.h>

#include "base/alloc.h"
#include "search/space_internal.h"

enum { LIMBS = 640, LIMB = 1000000000 }; // 5,760 digits; 256 layers of 2^64 choices have 4,932

// --- Choices ------------------------------------------------------------------------------------

int64_t cop_space_options(const cop_space *space)
{
    return (space->has_layer_pairs ? space->pairs : 1) *
           (space->has_layer_ffn ? space->count[COP_SPACE_FFN] : 1);
}

void cop_space_option(const cop_space *space, int64_t option, cop_layer_arch *block)
{
    int64_t pair = option;
    if (space->has_layer_ffn) {
        block->ffn = space->value[COP_SPACE_FFN][option % space->count[COP_SPACE_FFN]];
        pair /= space->count[COP_SPACE_FFN];
    }
    if (space->has_layer_pairs) {
        block->heads = space->pair[pair].heads;
        block->kv_heads = space->pair[pair].kv_heads;
    }
}

// Factors of the choices that all layers share.
static void shared_factors(const cop_space *space, int64_t out[4])
{
    out[0] = space->count[COP_SPACE_HIDDEN];
    out[1] = space->has_layer_ffn ? 1 : space->count[COP_SPACE_FFN];
    out[2] = space->has_layer_pairs ? 1 : space->count[COP_SPACE_HEADS];
    out[3] = space->has_layer_pairs ? 1 : space->count[COP_SPACE_KV_HEADS];
}

int64_t cop_space_shared(const cop_space *space)
{
    int64_t factor[4];
    shared_factors(space, factor);
    return factor[0] * factor[1] * factor[2] * factor[3];
}

// --- Size ---------------------------------------------------------------------------------------

double cop_space_log10_size(const cop_space *space)
{
    const double options = (double)cop_space_options(space);
    int64_t factor[4];
    int64_t deepest = 0;
    double sum = 0.0;
    double log_shared = 0.0;

    for (int64_t i = 0; i < space->count[COP_SPACE_LAYERS]; i++) {
        const int64_t layers = space->value[COP_SPACE_LAYERS][i];
        deepest = layers > deepest ? layers : deepest;
    }
    for (int64_t i = 0; i < space->count[COP_SPACE_LAYERS]; i++) {
        sum += pow(options, (double)(space->value[COP_SPACE_LAYERS][i] - deepest));
    }
    shared_factors(space, factor);
    for (int i = 0; i < 4; i++) {
        log_shared += log10((double)factor[i]);
    }
    return log_shared + (double)deepest * log10(options) + log10(sum);
}

int64_t cop_space_count_all(const cop_space *space)
{
    double size = 0.0;
    int64_t factor[4];

    for (int64_t i = 0; i < space->count[COP_SPACE_LAYERS]; i++) {
        size += pow((double)cop_space_options(space), (double)space->value[COP_SPACE_LAYERS][i]);
    }
    shared_factors(space, factor);
    for (int i = 0; i < 4; i++) {
        size *= (double)factor[i];
    }
    if (size > 0x1p53) {
        return INT64_MAX;
    }
    int64_t exact = 0;
    for (int64_t i = 0; i < space->count[COP_SPACE_LAYERS]; i++) {
        int64_t power = 1;
        for (int64_t k = 0; k < space->value[COP_SPACE_LAYERS][i]; k++) {
            power *= cop_space_options(space);
        }
        exact += power;
    }
    return exact * cop_space_shared(space);
}

bool cop_space_is_listed(const cop_space *space)
{
    const bool is_layered = space->has_layer_pairs || space->has_layer_ffn;
    return (double)space->size <= (is_layered ? 0x1p24 : 0x1p53);
}

int64_t cop_space_size(const cop_space *space)
{
    return space->size;
}

// --- Digits -------------------------------------------------------------------------------------

// A natural number, nine digits to a limb, lowest first.
typedef struct natural {
    uint32_t limb[LIMBS];
    int count;
} natural;

static void multiply(natural *n, int64_t factor)
{
    uint64_t carry = 0;
    for (int i = 0; i < n->count; i++) {
        const uint64_t product = (uint64_t)n->limb[i] * (uint64_t)factor + carry;
        n->limb[i] = (uint32_t)(product % LIMB);
        carry = product / LIMB;
    }
    while (carry > 0 && n->count < LIMBS) {
        n->limb[n->count++] = (uint32_t)(carry % LIMB);
        carry /= LIMB;
    }
}

static void add(natural *n, const natural *other)
{
    uint32_t carry = 0;
    for (int i = 0; (i < other->count || carry > 0) && i < LIMBS; i++) {
        if (i == n->count) {
            n->limb[n->count++] = 0;
        }
        const uint32_t sum = n->limb[i] + (i < other->count ? other->limb[i] : 0) + carry;
        n->limb[i] = sum % LIMB;
        carry = sum / LIMB;
    }
}

cop_status cop_space_append_size(const cop_space *space, cop_text *out, cop_error *err)
{
    int64_t factor[4];
    natural *sum = cop_alloc(1, sizeof *sum);
    natural *power = cop_alloc(1, sizeof *power);

    if (sum == NULL || power == NULL) {
        cop_free(sum);
        cop_free(power);
        return COP_FAIL(err, COP_ERR_NOMEM, "%s: out of memory for the size of the space",
                        space->path);
    }
    for (int64_t i = 0; i < space->count[COP_SPACE_LAYERS]; i++) {
        *power = (natural){.limb = {1}, .count = 1};
        for (int64_t k = 0; k < space->value[COP_SPACE_LAYERS][i]; k++) {
            multiply(power, space->has_layer_pairs ? space->pairs : 1);
            multiply(power, space->has_layer_ffn ? space->count[COP_SPACE_FFN] : 1);
        }
        add(sum, power);
    }
    shared_factors(space, factor);
    for (int i = 0; i < 4; i++) {
        multiply(sum, factor[i]);
    }
    cop_text_appendf(out, "%" PRIu32, sum->limb[sum->count - 1]);
    for (int i = sum->count - 2; i >= 0; i--) {
        cop_text_appendf(out, "%09" PRIu32, sum->limb[i]);
    }
    cop_free(sum);
    cop_free(power);
    return cop_text_check(out, space->path, err);
}
