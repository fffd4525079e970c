// A network that several processes train together: who holds what, and the exchange of it.

#include "base/alloc.h"
#include "model/network_internal.h"

enum { PIECE_ELEMENTS = 1 << 16 }; // converted at a time

static char *element_at(const cop_share *share, int64_t element)
{
    return (char *)share->data + (element - share->first) * (int64_t)cop_dtype_bytes(share->dtype);
}

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

cop_share cop_network_best(const cop_network *network, cop_place place)
{
    const bool is_matrix = place.offset < network->matrix_elements;
    const bool is_frozen = place.offset < network->frozen_elements;
    const bool has_copy = network->compute != network->wide;

    if (has_copy && is_matrix && !is_frozen && network->options.is_training &&
        !network->options.without_masters) {
        return (cop_share){.data = network->master,
                           .dtype = network->wide,
                           .first = network->shard_first,
                           .end = network->shard_end,
                           .is_split = cop_group_size(network->options.group) > 1};
    }
    const cop_matrix best = is_matrix && has_copy ? cop_network_weight(network, place)
                                                  : cop_network_master(network, place);
    return (cop_share){.data = best.data,
                       .dtype = best.dtype,
                       .first = place.offset,
                       .end = place.offset + place.rows * place.cols};
}

// --- To and from the host -----------------------------------------------------------------------

// Elements [first, end), all held by `owner`, to the host of every member, through the exchange buffer.
static cop_status read_part(cop_network *network, const cop_share *share, int owner, int64_t first,
                            int64_t end, char *to_host, cop_error *err)
{
    cop_status status = COP_OK;
    cop_backend *backend = network->backend;
    const int64_t width = (int64_t)cop_dtype_bytes(share->dtype);
    const int64_t most = COP_EXCHANGE_BYTES / width;

    for (int64_t at = first; at < end; at += most) {
        const uint64_t bytes = (uint64_t)(smaller(end - at, most) * width);
        if (owner == cop_group_rank(network->options.group)) {
            COP_TRY(status, cop_backend_on_device(backend, NULL, network->exchange,
                                                  element_at(share, at), bytes, err));
        }
        COP_TRY(status, cop_group_broadcast(network->options.group, NULL, network->exchange, bytes,
                                            owner, err));
        COP_TRY(status, cop_backend_to_host(backend, NULL, to_host + (at - first) * width,
                                            network->exchange, bytes, err));
        COP_TRY(status, cop_backend_synchronize(backend, NULL, err));
    }

done:
    return status;
}

cop_status cop_share_read(cop_network *network, const cop_share *share, int64_t offset,
                          int64_t count, void *to_host, cop_error *err)
{
    cop_status status = COP_OK;
    const int64_t width = (int64_t)cop_dtype_bytes(share->dtype);
    const int64_t base = network->frozen_elements;
    const int64_t matrices = network->matrix_elements - base;
    const int size = cop_group_size(network->options.group);

    if (!share->is_split) {
        COP_TRY(status,
                cop_backend_to_host(network->backend, NULL, to_host, element_at(share, offset),
                                    (uint64_t)(count * width), err));
        COP_TRY(status, cop_backend_synchronize(network->backend, NULL, err));
        goto done;
    }
    for (int owner = 0; owner < size; owner++) {
        const int64_t first =
            larger(offset, base + cop_group_part(matrices, network->shard_share, owner, size));
        const int64_t end = smaller(
            offset + count, base + cop_group_part(matrices, network->shard_share, owner + 1, size));
        if (first < end) {
            COP_TRY(status, read_part(network, share, owner, first, end,
                                      (char *)to_host + (first - offset) * width, err));
        }
    }

done:
    return status;
}

cop_status cop_share_write(cop_network *network, const cop_share *share, int64_t offset,
                           int64_t count, const void *from_host, cop_error *err)
{
    cop_status status = COP_OK;
    const int64_t width = (int64_t)cop_dtype_bytes(share->dtype);
    const int64_t first = larger(offset, share->first);
    const int64_t end = smaller(offset + count, share->end);

    if (first < end) {
        COP_TRY(status, cop_backend_to_device(network->backend, NULL, element_at(share, first),
                                              (const char *)from_host + (first - offset) * width,
                                              (uint64_t)((end - first) * width), err));
        COP_TRY(status, cop_backend_synchronize(network->backend, NULL, err));
    }

done:
    return status;
}

// Elements [offset, offset + count), few: the working copy is rounded from the master's type; of the master
// what others hold is theirs to write.
static cop_status put_piece(cop_network *network, const cop_share *master, const cop_share *working,
                            int64_t offset, int64_t count, const void *data, cop_dtype dtype,
                            cop_error *err)
{
    const size_t width = cop_dtype_bytes(master->dtype);
    cop_status status = COP_OK;
    char *wide = cop_alloc((size_t)count, width + cop_dtype_bytes(working->dtype));
    if (wide == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "network: no memory to copy a tensor");
    }
    char *narrow = wide + (size_t)count * width;
    cop_dtype_convert(wide, master->dtype, data, dtype, (size_t)count);
    cop_dtype_convert(narrow, working->dtype, wide, master->dtype, (size_t)count);
    COP_TRY(status, cop_share_write(network, master, offset, count, wide, err));
    COP_TRY(status, cop_share_write(network, working, offset, count, narrow, err));

done:
    cop_free(wide);
    return status;
}

cop_status cop_network_put_split(cop_network *network, cop_place place, cop_dtype dtype,
                                 const void *data, cop_error *err)
{
    const cop_share master = cop_network_best(network, place);
    const cop_matrix weight = cop_network_weight(network, place);
    const int64_t count = place.rows * place.cols;
    const cop_share working = {.data = weight.data,
                               .dtype = weight.dtype,
                               .first = place.offset,
                               .end = place.offset + count};
    cop_status status = COP_OK;
    for (int64_t done = 0; status == COP_OK && done < count; done += PIECE_ELEMENTS) {
        const char *piece = (const char *)data + (size_t)done * cop_dtype_bytes(dtype);
        status = put_piece(network, &master, &working, place.offset + done,
                           smaller(count - done, PIECE_ELEMENTS), piece, dtype, err);
    }
    return status;
}

cop_status cop_network_get_split(cop_network *network, cop_place place, cop_dtype dtype, void *data,
                                 cop_error *err)
{
    cop_status status = COP_OK;
    const cop_share share = cop_network_best(network, place);
    const int64_t count = place.rows * place.cols;
    char *piece = cop_alloc(PIECE_ELEMENTS, cop_dtype_bytes(share.dtype));
    if (piece == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "network: no memory to copy a tensor");
    }
    for (int64_t done = 0; done < count; done += PIECE_ELEMENTS) {
        const int64_t now = smaller(count - done, PIECE_ELEMENTS);
        COP_TRY(status, cop_share_read(network, &share, place.offset + done, now, piece, err));
        cop_dtype_convert((char *)data + (size_t)done * cop_dtype_bytes(dtype), dtype, piece,
                          share.dtype, (size_t)now);
    }

done:
    cop_free(piece);
    return status;
}

// --- Around a step ------------------------------------------------------------------------------

static cop_matrix matrix_gradients(const cop_network *network)
{
    return cop_network_gradient(
        network, cop_network_range(network->frozen_elements,
                                   network->matrix_elements - network->frozen_elements));
}

cop_status cop_network_reduce_gradients(cop_network *network, cop_error *err)
{
    cop_status status = COP_OK;
    cop_group *group = network->options.group;
    const cop_matrix matrices = matrix_gradients(network);
    const cop_matrix vectors = cop_network_gradient(
        network,
        cop_network_range(network->matrix_elements, network->elements - network->matrix_elements));

    if (cop_group_size(group) == 1) {
        return COP_OK;
    }
    COP_TRY(status, cop_group_reduce_scatter(group, NULL, matrices.data, matrices.cols,
                                             network->shard_share, matrices.dtype, err));
    COP_TRY(status,
            cop_group_all_reduce(group, NULL, vectors.data, vectors.cols, vectors.dtype, err));

done:
    return status;
}

cop_status cop_network_gather_weights(cop_network *network, cop_error *err)
{
    cop_status status = COP_OK;
    cop_group *group = network->options.group;
    const cop_matrix gradients = matrix_gradients(network);
    const cop_matrix weights = cop_network_weight(
        network, cop_network_range(network->frozen_elements,
                                   network->matrix_elements - network->frozen_elements));

    if (cop_group_size(group) == 1) {
        return COP_OK;
    }
    COP_TRY(status,
            cop_backend_zero(network->backend, NULL, gradients.data,
                             (uint64_t)gradients.cols * cop_dtype_bytes(gradients.dtype), err));
    COP_TRY(status, cop_group_all_gather(group, NULL, weights.data, weights.cols,
                                         network->shard_share, weights.dtype, err));

done:
    return status;
}

uint64_t cop_network_traffic_bytes(const cop_network *network)
{
    const uint64_t size = (uint64_t)cop_group_size(network->options.group);
    const uint64_t matrices = (uint64_t)(network->matrix_elements - network->frozen_elements);
    const uint64_t vectors = (uint64_t)(network->elements - network->matrix_elements);
    const uint64_t scattered = matrices * cop_dtype_bytes(network->matrix_gradient);
    const uint64_t gathered = matrices * cop_dtype_bytes(network->compute);
    const uint64_t reduced = 2 * vectors * cop_dtype_bytes(network->wide);
    return (scattered + gathered + reduced) / size * (size - 1);
}
