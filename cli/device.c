// The device a command computes on: --device.

#include "base/log.h"
#include "cli/cli.h"

cop_status cop_cli_backend(cop_backend **out, const cop_cli_common *common, cop_error *err)
{
    return cop_backend_create_own(out, cop_cli_device_of(common), err);
}

const char *cop_cli_device_of(const cop_cli_common *common)
{
    return common->device != NULL ? common->device : "auto";
}

cop_status cop_cli_precision_of(cop_precision *out, const cop_cli_common *common,
                                cop_backend *backend, cop_error *err)
{
    cop_device_info info = {0};
    cop_status status = COP_OK;

    switch (common->precision) {
    case COP_CLI_PRECISION_F32: *out = COP_PRECISION_F32; break;
    case COP_CLI_PRECISION_BF16: *out = COP_PRECISION_BF16; break;
    case COP_CLI_PRECISION_AUTO:
        status = cop_backend_info(backend, &info, err);
        *out = info.has_bf16_matmul ? COP_PRECISION_BF16 : COP_PRECISION_F32;
        break;
    }
    return status;
}

void cop_cli_note_device(cop_backend *backend, cop_precision precision)
{
    cop_device_info info = {0};
    if (cop_backend_info(backend, &info, NULL) == COP_OK) {
        cop_log(COP_LOG_INFO, "device: %s, %s", info.name, cop_precision_name(precision));
    }
}

json_t *cop_cli_device_json(cop_backend *backend)
{
    cop_device_info info = {0};
    return cop_backend_info(backend, &info, NULL) == COP_OK ? json_string(info.name) : json_null();
}

cop_status cop_cli_check_memory(const cop_plan *plan, const char *what, cop_backend *backend,
                                cop_error *err)
{
    cop_plan_room room = {0};
    const cop_status status = cop_plan_room_of(&room, backend, err);
    return status == COP_OK ? cop_plan_check_room(plan, what, &room, NULL, err) : status;
}
