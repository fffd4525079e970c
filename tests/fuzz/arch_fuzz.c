// config.json on any bytes: an architecture that is accepted can be counted, listed, written, and
// read again as the same.

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/json.h"
#include "model/arch_json.h"
#include "model/cost.h"

// NOLINTNEXTLINE(readability-identifier-naming): libFuzzer's name
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void check_tensors(const cop_arch *arch)
{
    const cop_cost cost = cop_cost_of(arch, 4, 4096, COP_BF16, COP_BF16);
    int64_t params = 0;
    for (int64_t t = 0; t < cop_arch_tensor_count(arch); t++) {
        const cop_tensor_spec spec = cop_arch_tensor(arch, t);
        params += spec.shape[0] * spec.shape[1];
        assert(cop_arch_find(arch, spec.role, spec.layer) == t);
    }
    assert(params == cost.params);
    assert(cop_arch_rotary_pairs(arch) >= 1);
}

static void check_round_trip(const cop_arch *arch, const json_t *base)
{
    json_t *written = NULL;
    json_t *again = NULL;
    cop_arch copy = {0};
    cop_error err = {0};

    cop_status status = cop_arch_to_json(&written, arch, base, "bfloat16", &err);
    assert(status == COP_OK);
    status = cop_arch_from_json(&copy, written, "written", &err);
    assert(status == COP_OK);
    status = cop_arch_to_json(&again, &copy, base, "bfloat16", &err);
    assert(status == COP_OK);
    assert(json_equal(written, again));
    json_decref(written);
    json_decref(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    json_t *config = NULL;
    cop_arch arch = {0};
    cop_error err = {0};
    cop_status status = cop_json_parse(&config, "config.json", (const char *)data, bytes, &err);
    if (status == COP_OK) {
        status = cop_arch_from_json(&arch, config, "config.json", &err);
    }
    if (status == COP_OK) {
        char text[COP_ARCH_TEXT_BYTES];
        check_tensors(&arch);
        check_round_trip(&arch, NULL);
        check_round_trip(&arch, config);
        assert(strlen(cop_arch_text(text, &arch)) < sizeof text);
    } else {
        assert(err.message[0] != '\0' && strpbrk(err.message, "\n\r") == NULL);
    }
    json_decref(config);
    return 0;
}
