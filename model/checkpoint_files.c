#include "model/checkpoint_files.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"
#include "model/arch_json.h"

enum { CONFIG_BYTES_MAX = 4 << 20 };

static cop_status fail_memory(const char *path, cop_error *err)
{
    return COP_FAIL(err, COP_ERR_NOMEM, "%s: no memory to write it", path);
}

static const char *torch_dtype(cop_dtype dtype)
{
    return dtype == COP_BF16 ? "bfloat16" : dtype == COP_F16 ? "float16" : "float32";
}

cop_status cop_checkpoint_write_config(const char *directory, const cop_arch *arch, cop_dtype dtype,
                                       const char *base, cop_error *err)
{
    json_t *base_config = NULL;
    json_t *config = NULL;
    char *base_path = NULL;
    char *path = cop_file_join(directory, "config.json");
    cop_status status = COP_OK;

    if (base != NULL) {
        base_path = cop_file_join(base, "config.json");
    }
    if (path == NULL || (base != NULL && base_path == NULL)) {
        status = fail_memory(directory, err);
        goto done;
    }
    if (base != NULL && cop_file_exists(base_path)) {
        COP_TRY(status, cop_json_read(&base_config, base_path, CONFIG_BYTES_MAX, err));
    }
    COP_TRY(status, cop_arch_to_json(&config, arch, base_config, torch_dtype(dtype), err));
    COP_TRY(status, cop_json_write(config, path, err));

done:
    json_decref(base_config);
    json_decref(config);
    cop_free(base_path);
    cop_free(path);
    return status;
}

// The tokenizer belongs to the vocabulary, which pruning never touches.
cop_status cop_checkpoint_carry_over(const char *directory, const char *base, cop_error *err)
{
    static const char *const names[] = {
        "tokenizer.json",
        "tokenizer.model",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "vocab.json",
        "merges.txt",
        "added_tokens.json",
        "generation_config.json",
        "chat_template.jinja",
    };
    cop_status status = COP_OK;

    for (size_t i = 0; base != NULL && i < sizeof names / sizeof names[0]; i++) {
        char *from = cop_file_join(base, names[i]);
        char *to = cop_file_join(directory, names[i]);
        if (from == NULL || to == NULL) {
            status = fail_memory(directory, err);
        } else if (cop_file_exists(from)) {
            status = cop_file_copy(to, from, err);
        }
        cop_free(from);
        cop_free(to);
        if (status != COP_OK) {
            return status;
        }
    }
    return COP_OK;
}
