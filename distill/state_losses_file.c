#include <inttypes.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/text.h"
#include "distill/state_losses_internal.h"
#include "model/safetensors.h"

enum { TENSORS = 3 };

typedef struct named_matrix {
    const char *name;
    cop_matrix matrix;
} named_matrix;

static void list_matrices(const cop_state_losses *losses, named_matrix list[TENSORS])
{
    list[0] = (named_matrix){"projection", losses->master};
    list[1] = (named_matrix){"m", losses->m};
    list[2] = (named_matrix){"v", losses->v};
}

static uint64_t bytes_of(cop_matrix matrix)
{
    return (uint64_t)matrix.rows * (uint64_t)matrix.cols * cop_dtype_bytes(matrix.dtype);
}

cop_status cop_state_losses_save(cop_state_losses *losses, const char *path, cop_error *err)
{
    cop_status status = COP_OK;
    cop_safetensors_writer *writer = NULL;
    named_matrix list[TENSORS];
    cop_safetensors_entry entries[TENSORS] = {0};
    char steps[COP_TEXT_NUMBER_BYTES];
    const char *metadata[] = {"steps", steps, NULL};
    void *host = NULL;

    list_matrices(losses, list);
    (void)snprintf(steps, sizeof steps, "%" PRId64, losses->steps);
    host = cop_alloc(bytes_of(losses->master), 1);
    if (host == NULL) {
        status = COP_FAIL(err, COP_ERR_NOMEM, "%s: no memory to save the projection", path);
        goto done;
    }
    for (int i = 0; i < TENSORS; i++) {
        entries[i] = (cop_safetensors_entry){
            .name = list[i].name,
            .dtype = list[i].matrix.dtype,
            .rank = 2,
            .shape = {list[i].matrix.rows, list[i].matrix.cols},
            .bytes = bytes_of(list[i].matrix),
        };
    }
    COP_TRY(status, cop_safetensors_writer_create(&writer, path, entries, TENSORS, metadata, err));
    for (int i = 0; i < TENSORS; i++) {
        COP_TRY(status, cop_backend_to_host(losses->backend, NULL, host, list[i].matrix.data,
                                            entries[i].bytes, err));
        COP_TRY(status, cop_backend_synchronize(losses->backend, NULL, err));
        COP_TRY(status, cop_safetensors_writer_put(writer, host, entries[i].bytes, err));
    }
    COP_TRY(status, cop_safetensors_writer_commit(writer, err));

done:
    cop_safetensors_writer_destroy(writer);
    cop_free(host);
    return status;
}

static cop_status check_entry(const cop_safetensors *file, const char *path,
                              const named_matrix *wanted, cop_safetensors_entry *out,
                              cop_error *err)
{
    const int64_t index = cop_safetensors_find(file, wanted->name);
    if (index < 0) {
        return COP_FAIL(err, COP_ERR_FORMAT, "%s: no tensor '%s'", path, wanted->name);
    }
    *out = cop_safetensors_at(file, index);
    if (out->dtype != wanted->matrix.dtype || out->rank != 2 ||
        out->shape[0] != wanted->matrix.rows || out->shape[1] != wanted->matrix.cols) {
        return COP_FAIL(err, COP_ERR_FORMAT,
                        "%s: tensor '%s' is %s of rank %d (allowed: %s, %" PRId64 " x %" PRId64 ")",
                        path, wanted->name, cop_dtype_name(out->dtype), out->rank,
                        cop_dtype_name(wanted->matrix.dtype), wanted->matrix.rows,
                        wanted->matrix.cols);
    }
    return COP_OK;
}

cop_status cop_state_losses_load(cop_state_losses *losses, const char *path, cop_error *err)
{
    cop_status status = COP_OK;
    cop_safetensors *file = NULL;
    named_matrix list[TENSORS];
    cop_safetensors_entry entry[TENSORS];
    const char *text = NULL;
    int64_t steps = 0;

    list_matrices(losses, list);
    COP_TRY(status, cop_safetensors_open(&file, path, err));
    text = cop_safetensors_metadata(file, "steps");
    if (text == NULL || !cop_text_to_i64(text, &steps) || steps < 0) {
        status = COP_FAIL(err, COP_ERR_FORMAT, "%s: steps is %s (allowed: an integer from 0)", path,
                          text == NULL ? "missing" : text);
        goto done;
    }
    for (int i = 0; i < TENSORS; i++) { // all of it is checked before anything is changed
        COP_TRY(status, check_entry(file, path, &list[i], &entry[i], err));
    }
    for (int i = 0; i < TENSORS; i++) {
        COP_TRY(status, cop_backend_to_device(losses->backend, NULL, list[i].matrix.data,
                                              entry[i].data, entry[i].bytes, err));
    }
    COP_TRY(status, cop_state_losses_publish(losses, err));
    COP_TRY(status, cop_backend_synchronize(losses->backend, NULL, err));
    losses->steps = steps;

done:
    cop_safetensors_destroy(file);
    return status;
}
