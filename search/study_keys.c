// The table of keys of study.yaml.

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "search/strategy.h"
#include "search/study_internal.h"

#define FIELD(name) offsetof(cop_study_file, name)
#define PATH_MAX_N  (double)(COP_STUDY_PATH_BYTES - 1)
#define BOOLEAN     0, 1, {NULL}, ""
#define TEXT        1, PATH_MAX_N, {NULL}, ""
#define EXACT       9007199254740992.0 // 2^53: a double holds every integer up to here

// clang-format off
// NOLINTBEGIN(bugprone-macro-parentheses): names of fields and texts that are joined
#define BOUND(key, field, range_max, unit)                                              \
    {"budget." key ".min", COP_STUDY_NUMBER, FIELD(field.min), 0, range_max, {NULL}, unit, "none", \
     "smallest value of a candidate", false},                                            \
    {"budget." key ".max", COP_STUDY_NUMBER, FIELD(field.max), 0, range_max, {NULL}, unit, "none", \
     "largest value of a candidate", false}
#define AXIS(key, field, range_max, help_text)                                          \
    {"space." key, COP_STUDY_AXIS, FIELD(axis[field]), 1, range_max, {NULL}, "", "none", help_text, false}
// NOLINTEND(bugprone-macro-parentheses)
#define OF_MODEL "; absent: the teacher's"

static const cop_study_row rows[] = {
    {"teacher", COP_STUDY_PATH, FIELD(teacher), TEXT, "required",
     "Hugging Face directory of the teacher; for `space` and `plan` a config.json is enough; with an evaluator not needed", true},
    {"importance", COP_STUDY_PATH, FIELD(importance), TEXT, "none",
     "importance file made by `score`, made when absent; without the key <study directory>/importance.h5", true},
    {"data.train", COP_STUDY_PATH, FIELD(train), TEXT, "none",
     "token file for the probes; needed by `search`", true},
    {"data.validation", COP_STUDY_PATH, FIELD(validation), TEXT, "none",
     "token file with the held-out text that judges; needed by `search`", true},
    {"data.validation_sequences", COP_STUDY_INTEGER, FIELD(validation_sequences), 0, 65536, {NULL}, "sequences", "0",
     "held-out sequences that judge, from the start of the file; 0: all, at most 256", false},
    {"data.calibration.tokens", COP_STUDY_PATH, FIELD(calibration), TEXT, "none",
     "token file for the importance scores; absent: the one of data.train", true},
    {"data.calibration.samples", COP_STUDY_INTEGER, FIELD(calibration_settings.samples), 1, 1e6, {NULL}, "sequences", "1024",
     "calibration sequences; fewer when the file holds fewer", false},
    {"data.calibration.sequence", COP_STUDY_INTEGER, FIELD(calibration_settings.sequence), 1, 1e6, {NULL}, "tokens", "auto",
     "length of a calibration sequence; absent: probe.sequence", false},

    AXIS("layers", COP_SPACE_LAYERS, COP_ARCH_LAYERS_MAX, "blocks" OF_MODEL),
    AXIS("hidden", COP_SPACE_HIDDEN, COP_ARCH_HIDDEN_MAX, "width of the residual stream" OF_MODEL),
    AXIS("heads", COP_SPACE_HEADS, COP_ARCH_HEADS_MAX, "query heads of a block" OF_MODEL),
    AXIS("kv_heads", COP_SPACE_KV_HEADS, COP_ARCH_HEADS_MAX, "key and value heads of a block" OF_MODEL),
    {"space.kv_groups", COP_STUDY_AXIS, FIELD(kv_groups), 1, COP_ARCH_HEADS_MAX, {NULL}, "heads", "none",
     "query heads per key and value head, instead of kv_heads", false},
    {"space.head_dim", COP_STUDY_INTEGER, FIELD(head_dim), 1, COP_ARCH_HEAD_DIM_MAX, {NULL}, "", "none",
     "size of a head: the teacher's, as heads are dropped whole", false},
    AXIS("ffn", COP_SPACE_FFN, COP_ARCH_FFN_MAX, "width of the MLP; not together with ffn_ratio" OF_MODEL),
    {"space.ffn_ratio", COP_STUDY_RATIOS, FIELD(ffn_ratio), 0.01, 64, {NULL}, "of hidden", "none",
     "width of the MLP as a multiple of hidden; a product that is not whole is rounded to the nearest multiple of 8", false},

    {"space.heads@layer", COP_STUDY_AXIS, FIELD(layer_axis[COP_SPACE_HEADS]), 1, COP_ARCH_HEADS_MAX, {NULL}, "", "none",
     "query heads, chosen for each layer by itself; instead of heads", false},
    {"space.kv_heads@layer", COP_STUDY_AXIS, FIELD(layer_axis[COP_SPACE_KV_HEADS]), 1, COP_ARCH_HEADS_MAX, {NULL}, "", "none",
     "key and value heads, chosen for each layer by itself; instead of kv_heads", false},
    {"space.ffn@layer", COP_STUDY_AXIS, FIELD(layer_axis[COP_SPACE_FFN]), 1, COP_ARCH_FFN_MAX, {NULL}, "", "none",
     "width of the MLP, chosen for each layer by itself; instead of ffn", false},
    {"space.keep_layers", COP_STUDY_LAYERS, FIELD(select.keep_layers), 0, COP_ARCH_LAYERS_MAX - 1, {NULL}, "", "none",
     "layers of the teacher, from 0, that are never dropped", false},
    {"space.drop_layers", COP_STUDY_LAYERS, FIELD(select.drop_layers), 0, COP_ARCH_LAYERS_MAX - 1, {NULL}, "", "none",
     "layers of the teacher, from 0, that are dropped before all others", false},

    BOUND("params", params, EXACT, "parameters"),
    BOUND("params_non_embedding", params_non_embedding, EXACT, "parameters"),
    BOUND("memory_bytes", memory_bytes, EXACT, "bytes"),
    {"budget.memory_bytes.batch", COP_STUDY_INTEGER, FIELD(memory_batch), 1, 65536, {NULL}, "sequences", "1",
     "sequences in the KV cache", false},
    {"budget.memory_bytes.sequence", COP_STUDY_INTEGER, FIELD(memory_sequence), 1, COP_ARCH_CONTEXT_MAX, {NULL}, "tokens", "4096",
     "length of each sequence in the KV cache", false},
    {"budget.memory_bytes.weights", COP_STUDY_CHOICE, FIELD(memory_weights), 0, 0, {"f32", "bf16"}, "", "bf16",
     "element type of the weights", false},
    {"budget.memory_bytes.kv", COP_STUDY_CHOICE, FIELD(memory_kv), 0, 0, {"f32", "bf16"}, "", "bf16",
     "element type of the KV cache", false},
    BOUND("flops_per_token", flops_per_token, 1e18, "FLOP"),
    {"budget.flops_per_token.sequence", COP_STUDY_INTEGER, FIELD(flops_sequence), 1, COP_ARCH_CONTEXT_MAX, {NULL}, "tokens", "4096",
     "sequence length at which the FLOPs of attention are counted", false},
    BOUND("latency_ms", latency_ms, 1e9, "ms"),
    {"budget.latency_ms.batch", COP_STUDY_INTEGER, FIELD(latency_batch), 1, 65536, {NULL}, "sequences", "1",
     "sequences of the timed forward pass", false},
    {"budget.latency_ms.sequence", COP_STUDY_INTEGER, FIELD(latency_sequence), 1, 1e6, {NULL}, "tokens", "2048",
     "length of each sequence of the timed forward pass", false},

    {"budget.workloads", COP_STUDY_WORKLOADS, FIELD(workload), 1, COP_STUDY_WORKLOADS_MAX, {NULL}, "", "none",
     "further uses, each by its name with batch, sequence, weights, kv and min or max of memory_bytes, flops_per_token, latency_ms; all must hold", false},

    {"objectives", COP_STUDY_OBJECTIVES, FIELD(objective), 1, 4, {NULL}, "", "loss, params",
     "what the front is made of, all minimised, loss first", false},

    {"search.strategy", COP_STUDY_STRATEGY, FIELD(strategy), 0, 0, {NULL}, "", "grid",
     "how candidates are found", false},
    {"search.seed", COP_STUDY_INTEGER, FIELD(seed), 0, EXACT, {NULL}, "", "1",
     "seed of all random draws", false},
    {"search.population", COP_STUDY_INTEGER, FIELD(population), 4, 100000, {NULL}, "candidates", "50",
     "of a generation of nsga2, of the first design of surrogate, of a batch of knapsack", false},
    {"search.generations", COP_STUDY_INTEGER, FIELD(generations), 1, 1e9, {NULL}, "", "none",
     "evaluations as a multiple of population; not together with evaluations", false},
    {"search.evaluations", COP_STUDY_INTEGER, FIELD(evaluations), 1, 1e12, {NULL}, "candidates", "none",
     "candidates that the strategy may have evaluated; absent: all of the grid, 20 times population with the others", false},
    {"search.batch", COP_STUDY_INTEGER, FIELD(batch), 0, 65536, {NULL}, "candidates", "0",
     "proposed at a time by random, stratified, surrogate and knapsack; 0: the strategy's choice", false},
    {"search.fidelity", COP_STUDY_INTEGER, FIELD(fidelity), 0, COP_STUDY_RUNGS_MAX, {NULL}, "stage", "auto",
     "stage whose figures a strategy learns from: 0 the pruned loss, 1 the first rung; absent: 1, with an evaluator its first fidelity", false},

    {"prune.order", COP_STUDY_CHOICE, FIELD(select.order), 0, 0, {"important", "random", "reversed"}, "", "important",
     "which units stay: the most important; the others are controls", false},
    {"prune.aggregation", COP_STUDY_CHOICE, FIELD(select.aggregate), 0, 0,
     {"l2_l2", "l2_mean", "l2_var", "mean_l2", "mean_mean", "mean_var", "var_l2", "var_mean", "var_var"}, "", "l2_mean",
     "how activations become scores: over the batch, then over the sequence", false},
    {"prune.depth_metric", COP_STUDY_CHOICE, FIELD(select.depth_metric), 0, 0, {"block_influence", "perplexity"}, "", "block_influence",
     "what a layer is judged by", false},
    {"prune.depth_shape", COP_STUDY_CHOICE, FIELD(select.depth_shape), 0, 0, {"scattered", "contiguous"}, "", "scattered",
     "which layers may go: any, or one run of neighbours", false},
    {"prune.carry", COP_STUDY_CHOICE, FIELD(select.carry), 0, 0, {"off", "kept_minus_pruned", "pruned_minus_kept"}, "", "off",
     "residual of pruned query heads added to the kept ones", false},
    {"prune.keep_first_and_last", COP_STUDY_BOOLEAN, FIELD(select.keep_first_and_last), BOOLEAN, "false",
     "never drop the first and the last layer", false},

    {"probe.rungs", COP_STUDY_RUNGS, FIELD(rung_tokens), 1, 1e15, {NULL}, "tokens", "none",
     "training tokens of a candidate at the end of each rung, rising; rounded up to whole steps; needed by `search` and `plan`", false},
    {"probe.keep", COP_STUDY_NUMBER, FIELD(keep), 1e-6, 1, {NULL}, "share", "0.33",
     "share of the candidates of a rung that enters the next, rounded up", false},
    {"probe.keep_pruned", COP_STUDY_INTEGER, FIELD(keep_pruned), 0, 1e9, {NULL}, "candidates", "0",
     "candidates that enter the first rung after the pruned loss; 0: all", false},
    {"probe.rescue", COP_STUDY_NUMBER, FIELD(rescue), 0, 0.5, {NULL}, "share", "0.1",
     "share of the promoted that is drawn by lot among the rest", false},
    {"probe.stop_when_stable", COP_STUDY_BOOLEAN, FIELD(stop_when_stable), BOOLEAN, "false",
     "stop before the last rung when the ranking did not change over three rungs", false},
    {"probe.stop_hopeless", COP_STUDY_BOOLEAN, FIELD(stop_hopeless), BOOLEAN, "false",
     "at promotions, stop who will not be among the best after the last rung, as its training curve tells", false},
    {"probe.sequence", COP_STUDY_INTEGER, FIELD(probe_sequence), 2, 1e6, {NULL}, "tokens", "512",
     "length of training and held-out sequences", false},
    {"probe.batch_tokens", COP_STUDY_INTEGER, FIELD(batch_tokens), 2, 1e9, {NULL}, "tokens", "16384",
     "tokens of an optimizer step; a multiple of probe.sequence", false},
    {"probe.micro_batch", COP_STUDY_INTEGER, FIELD(micro_batch), 0, 1e6, {NULL}, "sequences", "0",
     "sequences of one pass, a divisor of the step's; 0: as many as fit, up to 8192 tokens", false},
    {"probe.precision", COP_STUDY_CHOICE, FIELD(precision), 0, 0, {"f32", "bf16", "auto"}, "", "auto",
     "of matmuls; auto: bf16 where it is faster", false},
    {"probe.recompute", COP_STUDY_CHOICE, FIELD(recompute), 0, 0, {"none", "selective", "block"}, "", "none",
     "activations computed again in the backward pass, to save memory", false},
    {"probe.state", COP_STUDY_CHOICE, FIELD(state), 0, 0, {"full", "compact", "lean"}, "", "full",
     "of training, per parameter in bf16: 18 bytes; 14 with bf16 moments; 8 with bf16 gradients and moments and no f32 weights", false},
    {"probe.freeze_vocabulary", COP_STUDY_INTEGER, FIELD(freeze_vocabulary), 0, COP_STUDY_RUNGS_MAX, {NULL}, "rungs", "0",
     "early rungs in which embedding and LM head stay as they are; their moments begin at zero in the next", false},
    {"probe.learning_rate", COP_STUDY_NUMBER, FIELD(trainer.schedule.peak), 1e-9, 10, {NULL}, "", "1e-4",
     "peak learning rate", false},
    {"probe.minimum_learning_rate", COP_STUDY_NUMBER, FIELD(trainer.schedule.minimum), 0, 10, {NULL}, "", "auto",
     "reached at the end of the last rung by the cosine schedule; absent: a tenth of the peak", false},
    {"probe.schedule", COP_STUDY_CHOICE, FIELD(trainer.schedule.kind), 0, 0, {"cosine", "constant"}, "", "cosine",
     "course of the learning rate from the warm-up to the end of the last rung", false},
    {"probe.warmup_steps", COP_STUDY_INTEGER, FIELD(trainer.schedule.warmup_steps), 0, 1e9, {NULL}, "steps", "auto",
     "linear warm-up; absent: a tenth of the first rung, at most 100", false},
    {"probe.loss", COP_STUDY_CHOICE, FIELD(probe_loss), 0, 0, {"kl", "ce", "mixed"}, "", "kl",
     "KL to the teacher, cross-entropy on the text, or a mixture", false},
    {"probe.targets", COP_STUDY_CHOICE, FIELD(probe_targets), 0, 0, {"states", "samples"}, "", "states",
     "what the KL is computed from: the teacher's final states, exact, or unbiased samples of its distributions, about 1/200 of the disk and no teacher head in a step", false},
    {"probe.draws", COP_STUDY_INTEGER, FIELD(probe_draws), 1, COP_SAMPLE_DRAWS_MAX, {NULL}, "draws", "50",
     "with targets samples, draws from the teacher's distribution of a token", false},
    {"probe.cross_entropy_weight", COP_STUDY_NUMBER, FIELD(trainer.ce_weight), 0, 1, {NULL}, "share", "0.5",
     "of cross-entropy in the mixed loss; KL has the rest", false},
    {"probe.temperature", COP_STUDY_NUMBER, FIELD(trainer.temperature), 0.01, 100, {NULL}, "", "1",
     "of teacher and student in the KL, whose gradient is scaled by its square", false},
    {"probe.beta1", COP_STUDY_NUMBER, FIELD(trainer.optimizer.beta1), 0, 0.9999, {NULL}, "", "0.9",
     "decay of AdamW's first moment", false},
    {"probe.beta2", COP_STUDY_NUMBER, FIELD(trainer.optimizer.beta2), 0, 0.999999, {NULL}, "", "0.95",
     "decay of AdamW's second moment", false},
    {"probe.weight_decay", COP_STUDY_NUMBER, FIELD(trainer.optimizer.weight_decay), 0, 10, {NULL}, "", "0.1",
     "of matrices", false},
    {"probe.clip_norm", COP_STUDY_NUMBER, FIELD(trainer.optimizer.clip_norm), 0, 1e9, {NULL}, "", "1",
     "largest norm of a step's gradient; 0: no clipping", false},
    {"probe.teacher_cache_bytes", COP_STUDY_INTEGER, FIELD(teacher_cache_bytes), 0, EXACT, {NULL}, "bytes", "100e9",
     "disk for the teacher's states or samples of training text; a rung that needs more runs the teacher in every step", false},
    {"probe.checkpoint_seconds", COP_STUDY_NUMBER, FIELD(checkpoint_seconds), 0, 1e9, {NULL}, "s", "60",
     "a running probe is saved when this long has passed since it was last saved", true},

    {"evaluator.command", COP_STUDY_TEXT, FIELD(evaluator_command), TEXT, "none",
     "shell command, run in the study file's folder, that evaluates instead of pruning and probing", false},
    {"evaluator.processes", COP_STUDY_INTEGER, FIELD(evaluator_processes), 1, 256, {NULL}, "", "1",
     "evaluators that run side by side, in each process of the search", true},
    {"evaluator.timeout_seconds", COP_STUDY_NUMBER, FIELD(evaluator_timeout_seconds), 0, 1e9, {NULL}, "s", "0",
     "longest evaluation; a longer one is ended and counts as failed; 0: no limit", true},
    {"evaluator.attempts", COP_STUDY_INTEGER, FIELD(evaluator_attempts), 1, 100, {NULL}, "", "2",
     "at one candidate, before it is recorded as failed", true},
    {"evaluator.restarts", COP_STUDY_INTEGER, FIELD(evaluator_restarts), 0, 1000, {NULL}, "", "20",
     "of an evaluator that ends without an answer, in a row, before the search stops; at most 3 before its first answer ever", true},
};

// clang-format on

const cop_study_row *cop_study_rows(size_t *count)
{
    *count = sizeof rows / sizeof rows[0];
    return rows;
}

bool cop_study_row_needs_teacher(const cop_study_row *row)
{
    static const char *const used[] = {"search.", "evaluator.", "probe.rungs", "probe.keep",
                                       "probe.rescue"};
    for (size_t i = 0; i < sizeof used / sizeof used[0]; i++) {
        const size_t length = strlen(used[i]);
        const bool is_folder = used[i][length - 1] == '.';
        if (is_folder ? strncmp(row->path, used[i], length) == 0
                      : strcmp(row->path, used[i]) == 0) {
            return false;
        }
    }
    return true;
}

size_t cop_study_word_count(const cop_study_row *row)
{
    size_t count = 0;
    while (count < COP_STUDY_WORDS_MAX && row->words[count] != NULL) {
        count++;
    }
    return count;
}

const char *cop_objective_name(cop_objective objective)
{
    static const char *const names[] = {"loss", "params", "memory_bytes", "flops_per_token"};
    return names[objective];
}

size_t cop_study_key_count(void)
{
    return sizeof rows / sizeof rows[0];
}

static void write_words(char *out, size_t bytes, const cop_study_row *row)
{
    size_t used = 0;
    for (size_t i = 0; i < cop_study_word_count(row) && used < bytes; i++) {
        const int wanted =
            snprintf(out + used, bytes - used, "%s%s", i > 0 ? ", " : "", row->words[i]);
        used += wanted > 0 ? (size_t)wanted : 0;
    }
}

static const char *type_name(cop_study_kind kind)
{
    switch (kind) {
    case COP_STUDY_PATH: return "path";
    case COP_STUDY_TEXT: return "text";
    case COP_STUDY_INTEGER: return "integer";
    case COP_STUDY_NUMBER: return "number";
    case COP_STUDY_BOOLEAN: return "boolean";
    case COP_STUDY_CHOICE:
    case COP_STUDY_STRATEGY: return "choice";
    case COP_STUDY_AXIS: return "sizes";
    case COP_STUDY_RATIOS: return "ratios";
    case COP_STUDY_LAYERS: return "list of layers";
    case COP_STUDY_WORKLOADS: return "mapping";
    case COP_STUDY_OBJECTIVES: return "list of choices";
    case COP_STUDY_RUNGS: return "list of integers";
    }
    return "?";
}

cop_study_key cop_study_key_at(size_t index)
{
    const cop_study_row *row = &rows[index];
    cop_study_key key = {.path = row->path,
                         .type = type_name(row->kind),
                         .unit = row->unit,
                         .fallback = row->fallback,
                         .help = row->help};
    switch (row->kind) {
    case COP_STUDY_INTEGER:
    case COP_STUDY_NUMBER:
    case COP_STUDY_AXIS:
    case COP_STUDY_RATIOS:
    case COP_STUDY_LAYERS:
    case COP_STUDY_WORKLOADS:
    case COP_STUDY_RUNGS:
        (void)snprintf(key.range, sizeof key.range, "%.16g..%.16g", row->min, row->max);
        break;
    case COP_STUDY_BOOLEAN: (void)snprintf(key.range, sizeof key.range, "true, false"); break;
    case COP_STUDY_CHOICE: write_words(key.range, sizeof key.range, row); break;
    case COP_STUDY_STRATEGY:
        for (const cop_strategy_type *const *type = cop_strategy_types(); *type != NULL; type++) {
            const size_t used = strlen(key.range);
            (void)snprintf(key.range + used, sizeof key.range - used, "%s%s", used > 0 ? ", " : "",
                           (*type)->name);
        }
        break;
    case COP_STUDY_OBJECTIVES:
        for (int i = COP_OBJECTIVE_LOSS; i <= COP_OBJECTIVE_FLOPS; i++) {
            const size_t used = strlen(key.range);
            (void)snprintf(key.range + used, sizeof key.range - used, "%s%s", i > 0 ? ", " : "",
                           cop_objective_name((cop_objective)i));
        }
        break;
    case COP_STUDY_PATH:
    case COP_STUDY_TEXT: break;
    }
    return key;
}

static void append_axis(cop_text *out, const cop_axis_values *axis)
{
    if (axis->divisor > 0) {
        cop_text_appendf(out, "multiples of %lld, cut at most %.17g", (long long)axis->divisor,
                         axis->max_cut);
        if (axis->min > -HUGE_VAL || axis->max < HUGE_VAL) {
            cop_text_appendf(out, ", in %.15g..%.15g", axis->min, axis->max);
        }
    }
    for (int64_t i = 0; i < axis->count; i++) {
        cop_text_appendf(out, "%s%.15g", i > 0 ? ", " : "", axis->value[i]);
    }
    if (axis->divisor == 0 && axis->count == 0) {
        cop_text_append(out, "the teacher's");
    }
}

bool cop_study_key_value(const cop_study_file *study, size_t index, cop_text *out)
{
    const cop_study_row *row = &rows[index];
    const void *field = (const char *)study + row->offset;
    int64_t integer = 0;
    double number = 0.0;
    bool boolean = false;
    int choice = 0;

    if (row->is_free || (study->free != NULL && cop_study_row_needs_teacher(row))) {
        return false;
    }
    switch (row->kind) {
    case COP_STUDY_PATH:
    case COP_STUDY_TEXT: cop_text_append(out, field); break;
    case COP_STUDY_INTEGER:
        memcpy(&integer, field, sizeof integer);
        cop_text_appendf(out, "%lld", (long long)integer);
        break;
    case COP_STUDY_NUMBER:
        memcpy(&number, field, sizeof number);
        cop_text_appendf(out, "%.15g", number);
        break;
    case COP_STUDY_BOOLEAN:
        memcpy(&boolean, field, sizeof boolean);
        cop_text_append(out, boolean ? "true" : "false");
        break;
    case COP_STUDY_CHOICE:
        memcpy(&choice, field, sizeof choice);
        // `auto` leaves the field at its first word until a device is known.
        cop_text_append(out, row->offset == FIELD(precision) && study->precision_is_auto
                                 ? "auto"
                                 : row->words[choice]);
        break;
    case COP_STUDY_AXIS:
    case COP_STUDY_RATIOS: append_axis(out, field); break;
    case COP_STUDY_LAYERS: cop_study_layers_append(out, field); break;
    case COP_STUDY_WORKLOADS: cop_study_workloads_append(out, study); break;
    case COP_STUDY_OBJECTIVES:
        for (int i = 0; i < study->objectives; i++) {
            cop_text_appendf(out, "%s%s", i > 0 ? ", " : "",
                             cop_objective_name(study->objective[i]));
        }
        break;
    case COP_STUDY_RUNGS:
        for (int i = 0; i < study->rungs; i++) {
            cop_text_appendf(out, "%s%lld", i > 0 ? ", " : "", (long long)study->rung_tokens[i]);
        }
        break;
    case COP_STUDY_STRATEGY: cop_text_append(out, study->strategy); break;
    }
    return true;
}
