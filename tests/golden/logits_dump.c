// Writes the logits of a model directory for given ids, for the comparison with transformers in
// check_transformers.py:
//     logits_dump MODEL IDS.json OUT.safetensors [cpu|reference]
// IDS.json is a list of equally long lists of ids; OUT holds "logits", f32, [batch, sequence, V].

#include <stdio.h>

#include "base/alloc.h"
#include "base/json.h"
#include "model/network.h"
#include "model/safetensors.h"

typedef struct token_ids {
    int64_t batch;
    int64_t sequence;
    int32_t *values; // owned, [batch, sequence]
} token_ids;

static cop_status read_ids(token_ids *out, const char *path, cop_error *err)
{
    json_t *rows = NULL;
    cop_status status = COP_OK;
    COP_TRY(status, cop_json_read(&rows, path, 1 << 24, err));
    out->batch = (int64_t)json_array_size(rows);
    out->sequence = (int64_t)json_array_size(json_array_get(rows, 0));
    out->values = cop_alloc((size_t)(out->batch * out->sequence), sizeof *out->values);
    if (out->values == NULL || out->sequence == 0) {
        status = COP_FAIL(err, COP_ERR_FORMAT, "%s: no ids (allowed: a list of lists)", path);
        goto done;
    }
    for (int64_t i = 0; i < out->batch * out->sequence; i++) {
        const json_t *row = json_array_get(rows, (size_t)(i / out->sequence));
        const json_t *id = json_array_get(row, (size_t)(i % out->sequence));
        if (!json_is_integer(id) || json_array_size(row) != (size_t)out->sequence) {
            status = COP_FAIL(err, COP_ERR_FORMAT, "%s: rows differ in length or kind", path);
            goto done;
        }
        out->values[i] = (int32_t)json_integer_value(id);
    }

done:
    json_decref(rows);
    return status;
}

static cop_status write_logits(const char *path, const token_ids *ids, int64_t vocab,
                               const float *logits, cop_error *err)
{
    const cop_safetensors_entry entry = {
        .name = "logits", .dtype = COP_F32, .rank = 3, .shape = {ids->batch, ids->sequence, vocab}};
    cop_safetensors_writer *writer = NULL;
    const uint64_t bytes = (uint64_t)(ids->batch * ids->sequence * vocab) * sizeof(float);
    cop_status status = COP_OK;
    COP_TRY(status, cop_safetensors_writer_create(&writer, path, &entry, 1, NULL, err));
    COP_TRY(status, cop_safetensors_writer_put(writer, logits, bytes, err));
    COP_TRY(status, cop_safetensors_writer_commit(writer, err));

done:
    cop_safetensors_writer_destroy(writer);
    return status;
}

// logits = hidden headᵀ, on the device, then copied to `out`.
static cop_status multiply(cop_network *network, cop_matrix hidden, float *out, cop_error *err)
{
    cop_backend *backend = cop_network_backend(network);
    const int64_t vocab = cop_network_arch(network)->vocab;
    const uint64_t bytes = (uint64_t)(hidden.rows * vocab) * sizeof(float);
    void *logits = NULL;
    void *scratch = NULL;
    cop_status status = COP_OK;
    cop_matmul_args args = {
        .a = hidden, .b = cop_network_head(network).working, .transpose_b = true, .alpha = 1.0F};

    COP_TRY(status, cop_backend_alloc(backend, &logits, bytes, "logits", err));
    args.c = cop_matrix_dense(logits, COP_F32, hidden.rows, vocab);
    COP_TRY(status,
            cop_backend_alloc(backend, &scratch,
                              backend->ops->scratch_bytes(backend, COP_OP_MATMUL, &args) + 64,
                              "scratch", err));
    args.scratch = scratch;
    COP_TRY(status, backend->ops->matmul(backend, NULL, &args, err));
    COP_TRY(status, cop_backend_to_host(backend, NULL, out, logits, bytes, err));
    COP_TRY(status, cop_backend_synchronize(backend, NULL, err));

done:
    cop_backend_free(backend, scratch);
    cop_backend_free(backend, logits);
    return status;
}

static cop_status dump(char **argv, const char *backend_name, cop_error *err)
{
    token_ids ids = {0};
    cop_checkpoint *checkpoint = NULL;
    cop_backend *backend = NULL;
    cop_network *network = NULL;
    cop_matrix hidden = {0};
    cop_network_options options = {.precision = COP_PRECISION_F32};
    cop_forward_options pass = {0};
    const cop_arch *arch = NULL;
    float *logits = NULL;
    cop_status status = COP_OK;

    COP_TRY(status, read_ids(&ids, argv[2], err));
    COP_TRY(status, cop_checkpoint_open(&checkpoint, argv[1], err));
    arch = cop_checkpoint_arch(checkpoint);
    options.batch = ids.batch;
    options.sequence = ids.sequence;
    COP_TRY(status, cop_backend_create(&backend, backend_name, err));
    COP_TRY(status, cop_network_create(&network, arch, &options, backend, err));
    COP_TRY(status, cop_network_load(network, checkpoint, err));
    pass = (cop_forward_options){.ids = ids.values, .batch = ids.batch, .sequence = ids.sequence};
    COP_TRY(status, cop_network_forward(network, &pass, &hidden, err));
    logits = cop_alloc((size_t)(ids.batch * ids.sequence * arch->vocab), sizeof *logits);
    if (logits == NULL) {
        status = COP_FAIL(err, COP_ERR_NOMEM, "%s: no memory for the logits", argv[1]);
        goto done;
    }
    COP_TRY(status, multiply(network, hidden, logits, err));
    COP_TRY(status, write_logits(argv[3], &ids, arch->vocab, logits, err));

done:
    cop_free(logits);
    cop_network_destroy(network);
    cop_backend_destroy(backend);
    cop_checkpoint_destroy(checkpoint);
    cop_free(ids.values);
    return status;
}

int main(int argc, char **argv)
{
    cop_error err = {0};
    if (argc < 4 || argc > 5) {
        (void)fprintf(stderr, "Usage: logits_dump MODEL IDS.json OUT.safetensors [BACKEND]\n");
        return 2;
    }
    if (dump(argv, argc == 5 ? argv[4] : "cpu", &err) != COP_OK) {
        (void)fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    return 0;
}
