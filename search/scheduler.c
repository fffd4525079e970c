#include "search/scheduler.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>

#include "base/alloc.h"

static const double speed_weight = 0.3; // of the last task

// --- A binary heap, the least (key, id) first -----------------------------------------------------

typedef struct entry {
    double key;
    int64_t id;
    int losses;
} entry;

typedef struct heap {
    entry *entry;
    int64_t count;
    int64_t capacity;
} heap;

static bool is_before(const entry *a, const entry *b)
{
    return a->key < b->key || (a->key <= b->key && a->id < b->id);
}

static void swap(entry *a, entry *b)
{
    const entry kept = *a;
    *a = *b;
    *b = kept;
}

// The caller has seen to the room.
static void push(heap *h, entry added)
{
    int64_t at = h->count++;
    assert(h->count <= h->capacity);
    h->entry[at] = added;
    while (at > 0 && is_before(&h->entry[at], &h->entry[(at - 1) / 2])) {
        swap(&h->entry[at], &h->entry[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
}

// The first entry has a new key, or is another.
static void sink_first(heap *h)
{
    int64_t at = 0;
    for (;;) {
        int64_t least = at;
        for (int64_t child = 2 * at + 1; child <= 2 * at + 2 && child < h->count; child++) {
            least = is_before(&h->entry[child], &h->entry[least]) ? child : least;
        }
        if (least == at) {
            return;
        }
        swap(&h->entry[at], &h->entry[least]);
        at = least;
    }
}

static entry pop(heap *h)
{
    const entry first = h->entry[0];
    h->entry[0] = h->entry[--h->count];
    sink_first(h);
    return first;
}

// --- Life cycle ---------------------------------------------------------------------------------

typedef struct seat {
    cop_worker_record record;
    int losses;     // of its task, before
    bool is_listed; // in `idle`, maybe no longer idle
    bool is_watched;
} seat;

struct cop_scheduler {
    cop_scheduler_options options;
    seat *worker;
    heap tasks; // key: -cost. Room for all that are queued or at work
    heap idle;  // key: -speed
    heap watch; // key: when to look at a worker that is or was busy
    int64_t last_ticket;
    int busy;
    int alive;
};

cop_status cop_scheduler_create(cop_scheduler **out, const cop_scheduler_options *options,
                                cop_error *err)
{
    cop_status status = COP_OK;
    const size_t workers = options->workers > 0 ? (size_t)options->workers : 0;
    cop_scheduler *made = NULL;

    if (options->workers < 1 || !(options->stall_seconds > 0.0) ||
        !(options->give_up_seconds >= options->stall_seconds)) {
        return COP_FAIL(err, COP_ERR_CONFIG,
                        "scheduler: %d workers, stall after %g s, given up after %g s (allowed: at "
                        "least 1 worker, 0 < stall <= given up)",
                        options->workers, options->stall_seconds, options->give_up_seconds);
    }
    made = cop_alloc(1, sizeof *made);
    if (made == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "scheduler: out of memory");
    }
    made->options = *options;
    made->worker = cop_alloc(workers, sizeof *made->worker);
    made->idle.entry = cop_alloc(workers, sizeof *made->idle.entry);
    made->watch.entry = cop_alloc(workers, sizeof *made->watch.entry);
    made->idle.capacity = options->workers;
    made->watch.capacity = options->workers;
    if (made->worker == NULL || made->idle.entry == NULL || made->watch.entry == NULL) {
        status =
            COP_FAIL(err, COP_ERR_NOMEM, "scheduler: no memory for %d workers", options->workers);
        goto done;
    }
    *out = made;
    made = NULL;

done:
    cop_scheduler_destroy(made);
    return status;
}

void cop_scheduler_destroy(cop_scheduler *scheduler)
{
    if (scheduler != NULL) {
        cop_free(scheduler->worker);
        cop_free(scheduler->tasks.entry);
        cop_free(scheduler->idle.entry);
        cop_free(scheduler->watch.entry);
        cop_free(scheduler);
    }
}

// --- Tasks --------------------------------------------------------------------------------------

cop_status cop_scheduler_add(cop_scheduler *scheduler, int64_t task, double cost, cop_error *err)
{
    heap *h = &scheduler->tasks;
    // Whatever is at work may come back.
    const int64_t wanted = h->count + 1 + scheduler->options.workers;

    assert(isfinite(cost));
    if (wanted > h->capacity) {
        const int64_t capacity = 2 * wanted;
        entry *grown = cop_realloc(h->entry, (size_t)capacity, sizeof *grown);
        if (grown == NULL) {
            return COP_FAIL(err, COP_ERR_NOMEM, "scheduler: no memory for %" PRId64 " tasks",
                            capacity);
        }
        h->entry = grown;
        h->capacity = capacity;
    }
    push(h, (entry){.key = -cost, .id = task});
    return COP_OK;
}

int64_t cop_scheduler_queued(const cop_scheduler *scheduler)
{
    return scheduler->tasks.count;
}

void cop_scheduler_clear(cop_scheduler *scheduler)
{
    scheduler->tasks.count = 0;
}

// --- Workers ------------------------------------------------------------------------------------

static seat *seat_of(const cop_scheduler *scheduler, int worker)
{
    assert(worker >= 0 && worker < scheduler->options.workers);
    return &scheduler->worker[worker];
}

static bool is_alive(const seat *w)
{
    return w->record.state == COP_WORKER_IDLE || w->record.state == COP_WORKER_BUSY;
}

static void set_state(cop_scheduler *scheduler, seat *w, cop_worker_state state)
{
    scheduler->busy -= w->record.state == COP_WORKER_BUSY ? 1 : 0;
    scheduler->alive -= is_alive(w) ? 1 : 0;
    w->record.state = state;
    scheduler->busy += state == COP_WORKER_BUSY ? 1 : 0;
    scheduler->alive += is_alive(w) ? 1 : 0;
}

static void make_idle(cop_scheduler *scheduler, int worker)
{
    seat *w = seat_of(scheduler, worker);
    set_state(scheduler, w, COP_WORKER_IDLE);
    w->record.is_suspected = false;
    if (!w->is_listed) {
        w->is_listed = true;
        push(&scheduler->idle, (entry){.key = -w->record.speed, .id = worker});
    }
}

void cop_scheduler_ready(cop_scheduler *scheduler, int worker, double now)
{
    seat *w = seat_of(scheduler, worker);
    if (!is_alive(w)) {
        w->record.heard_seconds = now;
        make_idle(scheduler, worker);
    }
}

static void assign(cop_scheduler *scheduler, int worker, double now, cop_hand_out *out)
{
    seat *w = seat_of(scheduler, worker);
    const entry task = pop(&scheduler->tasks);
    set_state(scheduler, w, COP_WORKER_BUSY);
    w->record.task = task.id;
    w->record.cost = -task.key;
    w->record.ticket = ++scheduler->last_ticket;
    w->record.start_seconds = now;
    w->record.heard_seconds = now;
    w->record.is_suspected = false;
    w->losses = task.losses;
    if (!w->is_watched && isfinite(scheduler->options.stall_seconds)) {
        w->is_watched = true;
        push(&scheduler->watch,
             (entry){.key = now + scheduler->options.stall_seconds, .id = worker});
    }
    *out = (cop_hand_out){
        .worker = worker, .task = task.id, .ticket = w->record.ticket, .losses = task.losses};
}

bool cop_scheduler_pop(cop_scheduler *scheduler, int64_t *task)
{
    if (scheduler->tasks.count == 0) {
        return false;
    }
    *task = pop(&scheduler->tasks).id;
    return true;
}

bool cop_scheduler_hand_out(cop_scheduler *scheduler, double now, cop_hand_out *out)
{
    while (scheduler->tasks.count > 0 && scheduler->idle.count > 0) {
        const int worker = (int)pop(&scheduler->idle).id;
        seat *w = seat_of(scheduler, worker);
        w->is_listed = false;
        if (w->record.state == COP_WORKER_IDLE) {
            assign(scheduler, worker, now, out);
            return true;
        }
    }
    return false;
}

bool cop_scheduler_heard(cop_scheduler *scheduler, int worker, int64_t ticket, int64_t tokens,
                         double now)
{
    cop_worker_record *r = &seat_of(scheduler, worker)->record;
    if (r->state != COP_WORKER_BUSY || r->ticket != ticket) {
        return false;
    }
    r->heard_seconds = now;
    r->is_suspected = false;
    r->tokens += tokens;
    return true;
}

void cop_scheduler_retry(cop_scheduler *scheduler, int worker, double now)
{
    cop_worker_record *r = &seat_of(scheduler, worker)->record;
    assert(r->state == COP_WORKER_BUSY);
    r->busy_seconds += now - r->start_seconds;
    r->start_seconds = now;
    r->heard_seconds = now;
    r->is_suspected = false;
}

void cop_scheduler_finish(cop_scheduler *scheduler, int worker, bool is_whole, double now)
{
    cop_worker_record *r = &seat_of(scheduler, worker)->record;
    const double seconds = now - r->start_seconds;

    assert(r->state == COP_WORKER_BUSY);
    r->busy_seconds += seconds;
    r->tasks += is_whole ? 1 : 0;
    if (is_whole && seconds > 0.0) {
        const double speed = r->cost / seconds;
        r->speed = r->speed > 0.0 ? r->speed + speed_weight * (speed - r->speed) : speed;
    }
    make_idle(scheduler, worker);
}

void cop_scheduler_lose(cop_scheduler *scheduler, int worker, double now)
{
    seat *w = seat_of(scheduler, worker);
    if (w->record.state == COP_WORKER_LOST) {
        return;
    }
    if (w->record.state == COP_WORKER_BUSY) {
        w->record.busy_seconds += now - w->record.start_seconds;
        push(&scheduler->tasks,
             (entry){.key = -w->record.cost, .id = w->record.task, .losses = w->losses + 1});
    }
    w->record.losses++;
    set_state(scheduler, w, COP_WORKER_LOST);
}

void cop_scheduler_set_give_up(cop_scheduler *scheduler, double seconds)
{
    heap *h = &scheduler->watch;
    scheduler->options.give_up_seconds = seconds;
    // Deadlines may be nearer now. Equal keys in ascending order of ids are a heap, and looked at at once.
    h->count = 0;
    for (int worker = 0; worker < scheduler->options.workers; worker++) {
        if (scheduler->worker[worker].is_watched) {
            push(h, (entry){.key = -(double)INFINITY, .id = worker});
        }
    }
}

// --- Silence ------------------------------------------------------------------------------------

// When the first of the watch is to be looked at again.
static void look_again(cop_scheduler *scheduler, double when)
{
    scheduler->watch.entry[0].key = when;
    sink_first(&scheduler->watch);
}

bool cop_scheduler_check(cop_scheduler *scheduler, double now, cop_silence *out)
{
    const double stall = scheduler->options.stall_seconds;
    const double give_up = scheduler->options.give_up_seconds;
    heap *h = &scheduler->watch;

    while (h->count > 0 && h->entry[0].key <= now) {
        const int worker = (int)h->entry[0].id;
        seat *w = seat_of(scheduler, worker);
        cop_worker_record *r = &w->record;
        const double silent = now - r->heard_seconds;
        *out = (cop_silence){.worker = worker, .task = r->task, .seconds = silent};
        if (r->state != COP_WORKER_BUSY) {
            w->is_watched = false;
            (void)pop(h);
        } else if (silent >= give_up) {
            out->is_lost = true;
            w->is_watched = false;
            (void)pop(h);
            cop_scheduler_lose(scheduler, worker, now);
            return true;
        } else if (silent < stall) {
            look_again(scheduler, fmax(r->heard_seconds + fmin(stall, give_up),
                                       nextafter(now, (double)INFINITY)));
        } else {
            const bool is_new = !r->is_suspected;
            r->is_suspected = true;
            look_again(scheduler, fmax(fmin(r->heard_seconds + give_up, now + stall),
                                       nextafter(now, (double)INFINITY)));
            if (is_new) {
                return true;
            }
        }
    }
    return false;
}

int cop_scheduler_busy(const cop_scheduler *scheduler)
{
    return scheduler->busy;
}

int cop_scheduler_alive(const cop_scheduler *scheduler)
{
    return scheduler->alive;
}

const cop_worker_record *cop_scheduler_worker(const cop_scheduler *scheduler, int worker)
{
    return &seat_of(scheduler, worker)->record;
}
