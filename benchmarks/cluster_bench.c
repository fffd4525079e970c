// A simulated cluster: the real scheduler (search/scheduler.h) hands out a search in rungs to 8 … 4,096 workers
// whose probes take simulated time. Prints one JSON line per number of workers: makespan against its lower
// bound, utilisation, and what rank 0 would spend of one core.
//
// Model. A rung has 8 candidates per worker at first; a third of them go on, with four times the tokens. Cost is
// lognormal over candidates, and the time of a probe is cost times lognormal noise, in a worker that is one
// in 50 times half as fast. Workers speak every 5 s (message rate as in search/worker.c). Each dies once in
// 200 hours of work: it falls silent, is given up after 5 minutes, and comes back after 30 (as a restarted
// node); the next owner continues from the last state saved, every 2 minutes. A rung ends for all at once.
//
// The lower bound: the sum over rungs of max(work / workers, longest probe), with nobody slow, dead or asked.
//
// Rank 0's share of a core: processor time of the scheduler's calls, recorded in the simulation and replayed, and
// of the records of a real study.db for what is handed out, finished, and shown of curves, measured here
// per record, alone and 16 at a time (cop_store_group()); started with 2 processes under mpirun, of
// receiving messages, too. All of it together for the whole search, and for its first rung, when every worker
// is busy with short probes.
// Usage: cluster_bench [--quick]
//
// Longer than the aim: one simulation, whose events, workers and costs share all of its state.

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/rng.h"
#include "base/system.h"
#include "base/version.h"
#include "search/scheduler.h"
#include "search/workers_internal.h"

enum {
    RUNGS = 3,
    PER_WORKER = 8,
    CURVE_POINTS = 40,
    SEQUENCES = 128,
    RECORDS = 400,
    GROUP = 16,
    SEEDS = 3
};

static const double median_seconds = 120.0; // of a probe in the first rung
static const double growth = 4.0;           // of tokens from rung to rung
static const double keep = 1.0 / 3.0;
static const double cost_sigma = 0.5;
static const double noise_sigma = 0.1;
static const double slow_share = 0.02;
static const double slow_factor = 2.0;
static const double speak_seconds = 5.0;
static const double stall_seconds = 60.0;
static const double give_up_seconds = 300.0;
static const double life_seconds = 200.0 * 3600.0;
static const double away_seconds = 1800.0;
static const double save_seconds = 120.0;

static void must(cop_status status, const cop_error *err)
{
    if (status != COP_OK) {
        (void)fprintf(stderr, "cluster_bench: %s\n", err->message);
        exit(1); // NOLINT(concurrency-mt-unsafe): one thread
    }
}

static double cpu_seconds(void)
{
    struct timespec now = {0};
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void *must_alloc(size_t count, size_t bytes)
{
    void *memory = cop_alloc(count, bytes);
    if (memory == NULL) {
        (void)fprintf(stderr, "cluster_bench: out of memory\n");
        exit(1); // NOLINT(concurrency-mt-unsafe): one thread
    }
    return memory;
}

// --- Calls of the scheduler, recorded --------------------------------------------------------------

typedef enum call_kind {
    CALL_ADD,
    CALL_READY,
    CALL_HAND_OUT,
    CALL_HEARD,
    CALL_FINISH,
    CALL_CHECK
} call_kind;

typedef struct call {
    double now;     // CALL_ADD: the cost
    int64_t ticket; // CALL_ADD: the task
    int32_t worker;
    int32_t kind;
} call;

typedef struct trace {
    call *call;
    int64_t count;
    int64_t capacity;
} trace;

static void record(trace *t, call_kind kind, int worker, int64_t ticket, double now)
{
    if (t->count == t->capacity) {
        t->capacity = t->capacity > 0 ? 2 * t->capacity : 1 << 16;
        t->call = cop_realloc(t->call, (size_t)t->capacity, sizeof *t->call);
        if (t->call == NULL) {
            (void)fprintf(stderr, "cluster_bench: no memory for the trace\n");
            exit(1); // NOLINT(concurrency-mt-unsafe): one thread
        }
    }
    t->call[t->count++] =
        (call){.now = now, .ticket = ticket, .worker = worker, .kind = (int32_t)kind};
}

static cop_scheduler *make_scheduler(int workers)
{
    const cop_scheduler_options options = {
        .workers = workers, .stall_seconds = stall_seconds, .give_up_seconds = give_up_seconds};
    cop_scheduler *scheduler = NULL;
    cop_error err = {0};
    must(cop_scheduler_create(&scheduler, &options, &err), &err);
    return scheduler;
}

// The processor time of the recorded calls.
static double replay(const trace *t, int workers)
{
    cop_scheduler *scheduler = make_scheduler(workers);
    cop_error err = {0};
    cop_hand_out out;
    cop_silence silence;
    const double start = cpu_seconds();
    for (int64_t i = 0; i < t->count; i++) {
        const call *c = &t->call[i];
        switch ((call_kind)c->kind) {
        case CALL_ADD: must(cop_scheduler_add(scheduler, c->ticket, c->now, &err), &err); break;
        case CALL_READY: cop_scheduler_ready(scheduler, c->worker, c->now); break;
        case CALL_HAND_OUT: (void)cop_scheduler_hand_out(scheduler, c->now, &out); break;
        case CALL_HEARD:
            (void)cop_scheduler_heard(scheduler, c->worker, c->ticket, 1, c->now);
            break;
        case CALL_FINISH: cop_scheduler_finish(scheduler, c->worker, true, c->now); break;
        case CALL_CHECK: (void)cop_scheduler_check(scheduler, c->now, &silence); break;
        default: break;
        }
    }
    const double seconds = cpu_seconds() - start;
    cop_scheduler_destroy(scheduler);
    return seconds;
}

// --- The cluster --------------------------------------------------------------------------------

typedef struct node {
    double slowness;
    double next;    // when something happens to it
    double end;     // of its probe
    double death;   // when it dies next
    int64_t ticket; // of its probe, -1: none
    bool is_away;
} node;

typedef struct counts {
    double seconds;
    int64_t calls;
    int64_t hand_outs;
    int64_t finished;
    int64_t spoken;
    int64_t lost;
} counts;

typedef struct cluster {
    int workers;
    node *node;
    int *order; // a heap of nodes by `next`
    cop_rng *rng;
    cop_scheduler *scheduler;
    trace trace;
    double now;
    double *seconds; // of every candidate in the rung, in a worker of speed 1
    double *left;    // of them
    double useful;
    double work; // of all candidates
    counts done;
    counts first_rung;
} cluster;

static void sink(cluster *c, int at)
{
    for (;;) {
        int least = at;
        for (int child = 2 * at + 1; child <= 2 * at + 2 && child < c->workers; child++) {
            least = c->node[c->order[child]].next < c->node[c->order[least]].next ? child : least;
        }
        if (least == at) {
            return;
        }
        const int kept = c->order[at];
        c->order[at] = c->order[least];
        c->order[least] = kept;
        at = least;
    }
}

static void rebuild(cluster *c)
{
    for (int at = c->workers / 2; at >= 0; at--) {
        sink(c, at);
    }
}

static double lognormal(cluster *c, double sigma)
{
    return exp(sigma * cop_rng_normal(c->rng));
}

static double exponential(cluster *c, double mean)
{
    return -mean * log(1.0 - cop_rng_uniform(c->rng));
}

static void plan_next(cluster *c, node *n)
{
    n->next = fmin(fmin(n->end, n->death), c->now + speak_seconds);
}

static void hand_out(cluster *c)
{
    cop_hand_out out;
    bool has_some = true;
    bool has_changed = false;
    while (has_some) {
        record(&c->trace, CALL_HAND_OUT, 0, 0, c->now);
        has_some = cop_scheduler_hand_out(c->scheduler, c->now, &out);
        if (has_some) {
            node *n = &c->node[out.worker];
            n->ticket = out.ticket;
            n->end = c->now + c->left[out.task] * n->slowness;
            n->death = c->now + exponential(c, life_seconds);
            plan_next(c, n);
            c->done.hand_outs++;
            has_changed = true;
        }
    }
    if (has_changed) {
        rebuild(c);
    }
}

// What is left of the probe of a worker that dies: what it saved is kept.
static void die(cluster *c, int worker)
{
    node *n = &c->node[worker];
    const cop_worker_record *r = cop_scheduler_worker(c->scheduler, worker);
    const double worked = floor((c->now - r->start_seconds) / save_seconds) * save_seconds;
    c->left[r->task] -= worked / n->slowness;
    c->useful += worked;
    c->done.lost++;
    n->is_away = true;
    n->next = c->now + away_seconds;
}

static void happen(cluster *c, int worker)
{
    node *n = &c->node[worker];
    const cop_worker_record *r = cop_scheduler_worker(c->scheduler, worker);
    if (n->is_away) { // restarted
        n->is_away = false;
        n->next = (double)INFINITY;
        record(&c->trace, CALL_READY, worker, 0, c->now);
        cop_scheduler_ready(c->scheduler, worker, c->now);
    } else if (c->now >= n->death) {
        die(c, worker);
    } else if (c->now >= n->end) {
        c->useful += c->now - r->start_seconds;
        c->done.finished++;
        n->next = (double)INFINITY;
        record(&c->trace, CALL_FINISH, worker, 0, c->now);
        cop_scheduler_finish(c->scheduler, worker, true, c->now);
    } else {
        c->done.spoken++;
        record(&c->trace, CALL_HEARD, worker, n->ticket, c->now);
        (void)cop_scheduler_heard(c->scheduler, worker, n->ticket, 1, c->now);
        plan_next(c, n);
    }
}

// Returns the rung's lower bound.
static double run_rung(cluster *c, int rung, int64_t candidates, const double *cost)
{
    cop_error err = {0};
    cop_silence silence;
    double sum = 0.0;
    double longest = 0.0;

    for (int64_t i = 0; i < candidates; i++) {
        c->seconds[i] = median_seconds * pow(growth, rung) * cost[i] * lognormal(c, noise_sigma);
        c->left[i] = c->seconds[i];
        sum += c->seconds[i];
        longest = fmax(longest, c->seconds[i]);
        record(&c->trace, CALL_ADD, 0, i, cost[i]);
        must(cop_scheduler_add(c->scheduler, i, cost[i], &err), &err);
    }
    hand_out(c);
    while (cop_scheduler_busy(c->scheduler) > 0 || cop_scheduler_queued(c->scheduler) > 0) {
        const int worker = c->order[0];
        c->now = fmax(c->now, c->node[worker].next);
        happen(c, worker);
        sink(c, 0);
        bool has_some = true;
        while (has_some) {
            record(&c->trace, CALL_CHECK, 0, 0, c->now);
            has_some = cop_scheduler_check(c->scheduler, c->now, &silence);
        }
        hand_out(c);
    }
    c->work += sum;
    c->done.seconds = c->now;
    c->done.calls = c->trace.count;
    return fmax(sum / c->workers, longest);
}

// --- Records ------------------------------------------------------------------------------------

// Processor time of a record of the study's database, by kind.
typedef struct record_costs {
    double hand_out;
    double point;
    double finish;
} record_costs;

typedef struct costs {
    record_costs alone;
    record_costs grouped; // GROUP at a time, as they come when many workers speak
    double message;       // NaN: not measured
} costs;

static double time_records(cop_store *store, const cop_candidate *candidates, int kind, int group)
{
    static double values[SEQUENCES];
    cop_stage_record done = {.stage = 1, .tokens = 1000, .attempts = 1};
    cop_error err = {0};
    int attempts = 0;
    for (int i = 0; i < SEQUENCES; i++) {
        values[i] = 1.0 / (1.0 + i);
    }
    done.evaluation = (cop_evaluation){.sequences = SEQUENCES,
                                       .sequence_tokens = 1024,
                                       .cross_entropy = values,
                                       .agreement = values,
                                       .kl = values,
                                       .teacher_cross_entropy = values};
    const double start = cpu_seconds();
    for (int i = 0; i < RECORDS; i++) {
        const char *id = candidates[i].id;
        if (group > 1 && i % group == 0) {
            cop_store_group(store);
        }
        if (kind == 0) { // as cop_run_begin()
            must(cop_store_set(store, "running.7", id, &err), &err);
            must(cop_store_attempt(store, id, 1, &attempts, &err), &err);
        } else if (kind == 1) {
            must(cop_store_progress(store, id, 1, (int64_t)10 * (i + 1), 1.0, &err), &err);
        } else { // as cop_run_end()
            must(cop_store_finish_stage(store, id, &done, NULL, 0, &err), &err);
            must(cop_store_set(store, "running.7", "", &err), &err);
        }
        if (group > 1 && (i % group == group - 1 || i == RECORDS - 1)) {
            must(cop_store_group_end(store, &err), &err);
        }
    }
    return (cpu_seconds() - start) / RECORDS;
}

static record_costs measure_records(int group)
{
    static cop_candidate candidates[RECORDS];
    static const char directory[] = "cluster_bench.study";
    record_costs made;
    cop_store *store = NULL;
    cop_error err = {0};

    for (int i = 0; i < RECORDS; i++) {
        candidates[i] = (cop_candidate){.grid_index = i,
                                        .layers = 1,
                                        .hidden = 8,
                                        .heads = 1,
                                        .kv_heads = 1,
                                        .head_dim = 8,
                                        .ffn = 8 + i,
                                        .ffn_ratio = (double)NAN};
        (void)snprintf(candidates[i].id, sizeof candidates[i].id, "L1-C8-H1-K1-F%d", 8 + i);
    }
    must(cop_file_remove_tree(directory, &err), &err);
    must(cop_file_make_directory(directory, &err), &err);
    must(cop_store_open(&store, directory, COP_STORE_OWN, &err), &err);
    must(cop_store_add(store, candidates, RECORDS, &err), &err);
    made.hand_out = time_records(store, candidates, 0, group);
    made.point = time_records(store, candidates, 1, group);
    made.finish = time_records(store, candidates, 2, group);
    cop_store_destroy(store);
    must(cop_file_remove_tree(directory, &err), &err);
    return made;
}

// Rank 1 sends, rank 0 receives as a search does; its processor time per message, what it waits included.
static double measure_messages(void)
{
    enum { MESSAGES = 20000 };

    const cop_message message = {.kind = COP_MESSAGE_PROGRESS};
    cop_message found;
    cop_error err = {0};
    double *values = NULL;
    int64_t count = 0;
    const double start = cpu_seconds();

    for (int taken = 0; taken < MESSAGES;) {
        if (cop_processes_self().rank > 0) {
            must(cop_processes_send(0, &message, sizeof message, &err), &err);
            taken++;
            continue;
        }
        int from = -1;
        must(cop_message_take(&from, &found, &values, &count, &err), &err);
        cop_free(values);
        taken += from >= 0 ? 1 : 0;
    }
    return (cpu_seconds() - start) / MESSAGES;
}

// --- Results ------------------------------------------------------------------------------------

static double percent(const counts *of, const record_costs *each)
{
    const double points = (double)(of->finished * CURVE_POINTS);
    return 100.0 *
           (each->hand_out * (double)of->hand_outs + each->point * points +
            each->finish * (double)of->finished) /
           of->seconds;
}

static double message_rate(const counts *of)
{
    return (double)(of->spoken + of->finished * (CURVE_POINTS + 1)) / of->seconds;
}

// `scheduling`: seconds per call.
static void print_share(const char *name, const counts *of, double scheduling, const costs *each)
{
    const double scheduler = 100.0 * scheduling * (double)of->calls / of->seconds;
    const double messages = 100.0 * each->message * message_rate(of);
    const double grouped = percent(of, &each->grouped);
    printf("\"%s\": {\"messages_per_s\": %.1f, \"scheduler_percent\": %.4f, "
           "\"records_percent\": %.3f, \"records_grouped_percent\": %.3f, ",
           name, message_rate(of), scheduler, percent(of, &each->alone), grouped);
    if (isnan(messages)) {
        printf("\"messages_percent\": null, ");
    } else {
        printf("\"messages_percent\": %.3f, ", messages);
    }
    printf("\"percent\": %.3f}, ", scheduler + grouped + (isnan(messages) ? 0.0 : messages));
}

static void print(const cluster *c, int seed, double bound, double scheduling, const costs *each)
{
    printf("{\"workers\": %d, \"seed\": %d, \"candidates\": %lld, \"makespan_s\": %.0f, "
           "\"lower_bound_s\": %.0f, \"makespan_ratio\": %.3f, \"utilisation\": %.3f, "
           "\"utilisation_limit\": %.3f, \"deaths\": %lld, \"scheduler_us_per_call\": %.3f, ",
           c->workers, seed, (long long)c->workers * PER_WORKER, c->now, bound, c->now / bound,
           c->useful / (c->workers * c->now), c->work / (c->workers * bound),
           (long long)c->done.lost, 1e6 * scheduling);
    print_share("rank0", &c->done, scheduling, each);
    print_share("rank0_first_rung", &c->first_rung, scheduling, each);
    printf("\"version\": \"%s\"}\n", cop_version());
    (void)fflush(stdout);
}

static void run(int workers, int seed, const costs *each)
{
    cluster c = {.workers = workers};
    cop_error err = {0};
    int64_t candidates = (int64_t)workers * PER_WORKER;
    double *cost = must_alloc((size_t)candidates, sizeof *cost);
    double bound = 0.0;

    must(cop_rng_create(&c.rng, (uint64_t)seed, COP_RNG_TEST, (uint64_t)workers, &err), &err);
    c.node = must_alloc((size_t)workers, sizeof *c.node);
    c.order = must_alloc((size_t)workers, sizeof *c.order);
    c.seconds = must_alloc((size_t)candidates, sizeof *c.seconds);
    c.left = must_alloc((size_t)candidates, sizeof *c.left);
    c.scheduler = make_scheduler(workers);
    for (int w = 0; w < workers; w++) {
        const bool is_slow = cop_rng_uniform(c.rng) < slow_share;
        c.node[w] = (node){.slowness = is_slow ? slow_factor : 1.0, .next = (double)INFINITY};
        c.order[w] = w;
        record(&c.trace, CALL_READY, w, 0, 0.0);
        cop_scheduler_ready(c.scheduler, w, 0.0);
    }
    for (int64_t i = 0; i < candidates; i++) {
        cost[i] = lognormal(&c, cost_sigma);
    }
    for (int rung = 0; rung < RUNGS; rung++) {
        bound += run_rung(&c, rung, candidates, cost);
        c.first_rung = rung == 0 ? c.done : c.first_rung;
        candidates = (int64_t)ceil(keep * (double)candidates); // which ones does not matter
    }
    print(&c, seed, bound, replay(&c.trace, workers) / (double)c.trace.count, each);
    cop_scheduler_destroy(c.scheduler);
    cop_rng_destroy(c.rng);
    cop_free(c.trace.call);
    cop_free(c.node);
    cop_free(c.order);
    cop_free(c.seconds);
    cop_free(c.left);
    cop_free(cost);
}

int main(int argc, char **argv)
{
    const bool is_quick = argc > 1 && strcmp(argv[1], "--quick") == 0;
    cop_error err = {0};
    double message = (double)NAN;

    cop_system_silence_libraries();
    if (argc > 2 || (argc == 2 && !is_quick)) {
        (void)fprintf(stderr, "usage: %s [--quick]\n", argv[0]);
        return 2;
    }
    must(cop_processes_start(&err), &err);
    if (cop_processes_self().size == 2) {
        message = measure_messages();
    }
    if (cop_processes_self().rank == 0) {
        const costs each = {
            .alone = measure_records(1), .grouped = measure_records(GROUP), .message = message};
        printf("{\"record_us\": {\"hand_out\": %.1f, \"point\": %.1f, \"finish\": %.1f}, "
               "\"grouped_us\": {\"hand_out\": %.1f, \"point\": %.1f, \"finish\": %.1f}}\n",
               1e6 * each.alone.hand_out, 1e6 * each.alone.point, 1e6 * each.alone.finish,
               1e6 * each.grouped.hand_out, 1e6 * each.grouped.point, 1e6 * each.grouped.finish);
        for (int workers = 8; workers <= (is_quick ? 64 : 4096); workers *= 2) {
            for (int seed = 1; seed <= SEEDS; seed++) {
                run(workers, seed, &each);
            }
        }
    }
    cop_processes_stop();
    return 0;
}
