// Operator calls of a network. While planning they ask instead of running.

#include "model/network_internal.h"

// What a pass hands over at creation has the sizes of the largest pass; that a smaller one needs no
// more scratch is checked, not assumed.
static cop_status prepare(cop_network *network, cop_op op, const void *args, void **scratch,
                          cop_error *err)
{
    const cop_ops *ops = network->backend->ops;
    if (network->is_planning && !ops->supports(network->backend, op, args)) {
        return COP_FAIL(err, COP_ERR_UNSUPPORTED,
                        "network: backend %s cannot run operator %d in %s (allowed: another "
                        "precision or backend)",
                        network->backend->type->name, (int)op,
                        cop_precision_name(network->options.precision));
    }
    const uint64_t bytes = ops->scratch_bytes(network->backend, op, args);
    if (network->is_planning) {
        network->scratch_bytes = bytes > network->scratch_bytes ? bytes : network->scratch_bytes;
    } else if (bytes > network->scratch_bytes) {
        return COP_FAIL(err, COP_ERR_NOMEM,
                        "network: operator %d needs %llu bytes of scratch (allowed: 0..%llu)",
                        (int)op, (unsigned long long)bytes,
                        (unsigned long long)network->scratch_bytes);
    }
    if (scratch != NULL) {
        *scratch = network->scratch;
    }
    return COP_OK;
}

#define DEFINE_RUN(NAME, OP, SCRATCH)                                                       \
    cop_status cop_run_##NAME(cop_network *network, cop_##NAME##_args args, cop_error *err) \
    {                                                                                       \
        const cop_status status = prepare(network, (OP), &args, (SCRATCH), err);            \
        if (status != COP_OK || network->is_planning) {                                     \
            return status;                                                                  \
        }                                                                                   \
        return network->backend->ops->NAME(network->backend, NULL, &args, err);             \
    }

DEFINE_RUN(matmul, COP_OP_MATMUL, &args.scratch)
DEFINE_RUN(norm_forward, COP_OP_NORM_FORWARD, NULL)
DEFINE_RUN(norm_backward, COP_OP_NORM_BACKWARD, &args.scratch)
DEFINE_RUN(rope, COP_OP_ROPE, NULL)
DEFINE_RUN(attention_forward, COP_OP_ATTENTION_FORWARD, &args.scratch)
DEFINE_RUN(attention_backward, COP_OP_ATTENTION_BACKWARD, &args.scratch)
DEFINE_RUN(activation_forward, COP_OP_ACTIVATION_FORWARD, NULL)
DEFINE_RUN(activation_backward, COP_OP_ACTIVATION_BACKWARD, NULL)
DEFINE_RUN(embedding_forward, COP_OP_EMBEDDING_FORWARD, NULL)
DEFINE_RUN(embedding_backward, COP_OP_EMBEDDING_BACKWARD, &args.scratch)
DEFINE_RUN(bias_add, COP_OP_BIAS_ADD, NULL)
DEFINE_RUN(column_sum, COP_OP_COLUMN_SUM, &args.scratch)
DEFINE_RUN(convert, COP_OP_CONVERT, NULL)
DEFINE_RUN(sum_squares, COP_OP_SUM_SQUARES, &args.scratch)
DEFINE_RUN(adamw, COP_OP_ADAMW, NULL)
