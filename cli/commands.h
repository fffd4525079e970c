// The commands of the program: name, and one line of help. Each is `int cop_cmd_<name>(int argc,
// char **argv)` in cmd_<name>.c, with argv[0] = "coppice <name>". Included several times, with
// COP_COMMAND defined differently.

// clang-format off
COP_COMMAND(inspect, "shape, parameters, memory and FLOPs of a model")
COP_COMMAND(tokenize, "text to token files")
COP_COMMAND(train, "trains a model on text, from nothing or from a checkpoint")
COP_COMMAND(score, "importance of every layer, head, KV group, neuron and channel of a model")
COP_COMMAND(prune, "one given smaller architecture, cut out of a model")
COP_COMMAND(space, "the feasible candidates of a study, with exact costs")
COP_COMMAND(plan, "what a search will cost: tokens, FLOPs, time, memory, disk")
COP_COMMAND(search, "runs or continues a study: prune, probe in rungs, rank")
COP_COMMAND(status, "how far a running or finished study is")
COP_COMMAND(report, "a study as a page, JSON and CSV")
COP_COMMAND(pick, "the recommended architecture of a study and why; its pruned model")
COP_COMMAND(distill, "retrains a pruned model from its teacher")
COP_COMMAND(eval, "loss, perplexity, distance to a teacher, latency of a model")
COP_COMMAND(doctor, "devices, libraries, precision paths and limits: what a bug report needs")
// clang-format on
