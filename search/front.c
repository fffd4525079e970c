#include "search/front.h"

#include "base/alloc.h"
#include "search/order.h"

enum { WORDS = sizeof(cop_front_point) / sizeof(double) }; // from one point to the next

// Where values are read: value `k` of point `i` is values[i * stride + k].
typedef struct front_source {
    const double *values;
    const int64_t *index; // index[i * stride] orders equal points; NULL: i does
    int64_t stride;
    int objectives;
} front_source;

// Memory of one sort; a cop_front_point per point is enough for all of it.
typedef struct front_work {
    cop_order *item;    // [count], in lexicographic order
    cop_order *scratch; // [count]
    int32_t *order;     // [count], index of the point at a place of the lexicographic order
    int32_t *front;     // [count], by place
    int32_t *start;     // [count]
    char *coordinates;  // of the scan, SCAN_BYTES per point
} front_work;

enum {
    SCAN_BYTES = COP_FRONT_OBJECTIVES_MAX * sizeof(int32_t),
    WORK_BYTES = 2 * sizeof(cop_order) + 3 * sizeof(int32_t) + SCAN_BYTES
};

_Static_assert(WORK_BYTES <= sizeof(cop_front_point),
               "the scratch of cop_front_sort() is too small");

static front_work carve(void *memory, int64_t count)
{
    front_work work;
    work.item = memory;
    work.scratch = work.item + count;
    work.order = (int32_t *)(void *)(work.scratch + count);
    work.front = work.order + count;
    work.start = work.front + count;
    work.coordinates = (char *)(void *)(work.start + count);
    return work;
}

cop_status cop_front_check(int64_t count, int objectives, cop_error *err)
{
    if (objectives < 1 || objectives > COP_FRONT_OBJECTIVES_MAX) {
        return COP_FAIL(err, COP_ERR_CONFIG, "front: objectives: %d (allowed: 1..%d)", objectives,
                        COP_FRONT_OBJECTIVES_MAX);
    }
    if (count < 0 || count > INT32_MAX) {
        return COP_FAIL(err, COP_ERR_CONFIG, "front: points: %lld (allowed: 0..%d)",
                        (long long)count, INT32_MAX);
    }
    return COP_OK;
}

static bool is_less(double a, double b)
{
    return cop_order_key(a) < cop_order_key(b);
}

bool cop_front_dominates(const cop_front_point *a, const cop_front_point *b, int objectives)
{
    bool is_better = false;
    for (int i = 0; i < objectives; i++) {
        if (is_less(b->value[i], a->value[i])) {
            return false;
        }
        is_better = is_better || is_less(a->value[i], b->value[i]);
    }
    return is_better;
}

static int64_t key_of(const front_source *source, int64_t i, int level)
{
    return level < source->objectives ? cop_order_key(source->values[i * source->stride + level])
                                      : source->index[i * source->stride];
}

// Orders items by the objectives from `level` on, then by the caller's index.
static void sort_from(const front_source *source, cop_order *item, cop_order *scratch,
                      int64_t count, int level)
{
    const int levels = source->objectives + (source->index != NULL ? 1 : 0);
    for (int64_t i = 0; i < count; i++) {
        item[i].key = key_of(source, item[i].index, level);
    }
    cop_order_sort(item, scratch, count);
    if (level + 1 == levels) {
        return;
    }
    for (int64_t i = 1, run = 1; i <= count; i++) {
        if (i < count && item[i].key == item[i - 1].key) {
            run++;
        } else {
            if (run > 1) {
                const int64_t key = item[i - 1].key;
                sort_from(source, item + i - run, scratch, run, level + 1);
                item[i - 1].key = key; // compared with the next
            }
            run = 1;
        }
    }
}

// Is the point at this place of the order equal to the one before it?
static bool repeats(const front_source *source, const front_work *work, int64_t place)
{
    bool is_equal = place > 0;
    for (int k = 0; k < source->objectives && is_equal; k++) {
        is_equal =
            key_of(source, work->order[place], k) == key_of(source, work->order[place - 1], k);
    }
    return is_equal;
}

// Two objectives: points come by the first, so within a front the second falls, and the last point of a
// front dominates whatever any of its points dominates. With one objective the second is the same number.
static void rank_two(const front_source *source, front_work *work, int64_t count)
{
    const int last = source->objectives - 1;
    int64_t *lowest = (int64_t *)(void *)work->scratch; // of the second objective, by front
    int64_t fronts = 0;
    for (int64_t place = 0; place < count; place++) {
        const int64_t key = key_of(source, work->order[place], last);
        if (repeats(source, work, place)) {
            work->front[place] = work->front[place - 1];
            continue;
        }
        const int64_t *base = lowest;
        for (int64_t left = fronts; left > 0;) { // the first front that does not dominate it
            const int64_t half = (left + 1) / 2;
            base += base[half - 1] <= key ? half : 0;
            left -= half;
        }
        const int64_t front = base - lowest;
        work->front[place] = (int32_t)front;
        lowest[front] = key;
        fronts += front == fronts ? 1 : 0;
    }
}

// Whatever dominates a point comes before it. The highest front, counted from 1, of the `points` points before
// it that are nowhere worse in the other objectives; that is its own, counted from 0. Masks instead of
// branches: compilers make vector code of them.
#define DEFINE_SCAN(name, type)                                                          \
    static inline type name(const type *restrict coordinate, int64_t stride,             \
                            const type *restrict front, const type *own, int64_t points, \
                            const int coordinates)                                       \
    {                                                                                    \
        type highest = 0;                                                                \
        for (int64_t j = 0; j < points; j++) {                                           \
            type mask = -1;                                                              \
            for (int k = 0; k < coordinates; k++) {                                      \
                mask = (type)(mask & -(coordinate[k * stride + j] <= own[k]));           \
            }                                                                            \
            const type dominator = (type)(front[j] & mask);                              \
            highest = dominator > highest ? dominator : highest;                         \
        }                                                                                \
        return highest;                                                                  \
    }

// The number of coordinates is a constant in each call, so that the inner loop is unrolled.
#define DEFINE_RANK(name, scan, type)                                                            \
    static type name(const type *coordinate, int64_t stride, const type *front, const type *own, \
                     int64_t points, int coordinates)                                            \
    {                                                                                            \
        switch (coordinates) {                                                                   \
        case 2: return scan(coordinate, stride, front, own, points, 2);                          \
        case 3: return scan(coordinate, stride, front, own, points, 3);                          \
        case 4: return scan(coordinate, stride, front, own, points, 4);                          \
        case 5: return scan(coordinate, stride, front, own, points, 5);                          \
        case 6: return scan(coordinate, stride, front, own, points, 6);                          \
        default: return scan(coordinate, stride, front, own, points, 7);                         \
        }                                                                                        \
    }

DEFINE_SCAN(scan_short, int16_t)
DEFINE_SCAN(scan_long, int32_t)
DEFINE_RANK(highest_short, scan_short, int16_t)
DEFINE_RANK(highest_long, scan_long, int32_t)

// Sets coordinate [count] to what place each point takes by one objective, equals the same.
static void fill_places(const front_source *source, front_work *work, int32_t *coordinate,
                        int64_t count, int objective)
{
    cop_order *item = work->item;
    for (int64_t place = 0; place < count; place++) {
        item[place] = (cop_order){key_of(source, work->order[place], objective), place};
    }
    cop_order_sort(item, work->scratch, count);
    int32_t rank = 0;
    for (int64_t i = 0; i < count; i++) {
        rank += i > 0 && item[i].key != item[i - 1].key ? 1 : 0;
        coordinate[item[i].index] = rank;
    }
}

// All points are scanned but repetitions: `kept` of them so far, coordinate by coordinate at the front of
// their rows.
static void rank_short(const front_source *source, front_work *work, int64_t count)
{
    const int coordinates = source->objectives - 1;
    int16_t *coordinate = (int16_t *)(void *)work->coordinates; // [coordinates, count]
    int16_t *front = coordinate + coordinates * count;          // [count], from 1
    int32_t *wide = work->start;                                // [count]
    for (int k = 0; k < coordinates; k++) {
        fill_places(source, work, wide, count, k + 1);
        for (int64_t i = 0; i < count; i++) {
            coordinate[k * count + i] = (int16_t)wide[i];
        }
    }
    int64_t kept = 0;
    for (int64_t place = 0; place < count; place++) {
        if (repeats(source, work, place)) {
            work->front[place] = work->front[place - 1];
            continue;
        }
        int16_t point[COP_FRONT_OBJECTIVES_MAX];
        for (int k = 0; k < coordinates; k++) {
            point[k] = coordinate[k * count + place];
            coordinate[k * count + kept] = point[k];
        }
        const int16_t above = highest_short(coordinate, count, front, point, kept, coordinates);
        work->front[place] = above;
        front[kept++] = (int16_t)(above + 1);
    }
}

static void rank_long(const front_source *source, front_work *work, int64_t count)
{
    const int coordinates = source->objectives - 1;
    int32_t *coordinate = (int32_t *)(void *)work->coordinates;
    int32_t *front = coordinate + coordinates * count;
    for (int k = 0; k < coordinates; k++) {
        fill_places(source, work, coordinate + k * count, count, k + 1);
    }
    int64_t kept = 0;
    for (int64_t place = 0; place < count; place++) {
        if (repeats(source, work, place)) {
            work->front[place] = work->front[place - 1];
            continue;
        }
        int32_t point[COP_FRONT_OBJECTIVES_MAX];
        for (int k = 0; k < coordinates; k++) {
            point[k] = coordinate[k * count + place];
            coordinate[k * count + kept] = point[k];
        }
        const int32_t above = highest_long(coordinate, count, front, point, kept, coordinates);
        work->front[place] = above;
        front[kept++] = above + 1;
    }
}

// Sets the lexicographic order and the front of each place in it.
static void rank_all(const front_source *source, front_work *work, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        work->item[i].index = i;
    }
    sort_from(source, work->item, work->scratch, count, 0);
    for (int64_t i = 0; i < count; i++) {
        work->order[i] = (int32_t)work->item[i].index;
    }
    if (source->objectives <= 2) {
        rank_two(source, work, count);
    } else if (count <= COP_FRONT_SHORT_MAX) {
        rank_short(source, work, count);
    } else {
        rank_long(source, work, count);
    }
}

// Sets to[start of its front + …] to the point at each place: by front, then in the order of places.
static void gather_fronts(int64_t *to, front_work *work, int64_t count)
{
    int32_t *start = work->start;
    for (int64_t i = 0; i < count; i++) {
        start[i] = 0;
    }
    for (int64_t i = 0; i < count; i++) {
        if (work->front[i] + 1 < count) {
            start[work->front[i] + 1]++;
        }
    }
    for (int64_t k = 1; k < count; k++) {
        start[k] += start[k - 1];
    }
    for (int64_t i = 0; i < count; i++) {
        to[start[work->front[i]]++] = work->order[i];
    }
}

void cop_front_sort(cop_front_point *points, int64_t count, int objectives,
                    cop_front_point *scratch, int64_t *order)
{
    if (count < 1) {
        return;
    }
    const front_source source = {points->value, &points->index, WORDS, objectives};
    front_work work = carve(scratch, count);
    rank_all(&source, &work, count);
    for (int64_t i = 0; i < count; i++) {
        points[work.order[i]].front = work.front[i];
    }
    gather_fronts(order, &work, count);
    memcpy(scratch, points, (size_t)count * sizeof *points);
    for (int64_t i = 0; i < count; i++) {
        points[i] = scratch[order[i]];
    }
}

cop_status cop_front_rank(int64_t *rank, const double *values, int64_t count, int objectives,
                          cop_error *err)
{
    const front_source source = {values, NULL, objectives, objectives};
    cop_status status = cop_front_check(count, objectives, err);
    if (status != COP_OK || count == 0) {
        return status;
    }
    void *memory = cop_alloc((size_t)count, WORK_BYTES);
    if (memory == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "fronts of %lld points: out of memory",
                        (long long)count);
    }
    front_work work = carve(memory, count);
    rank_all(&source, &work, count);
    for (int64_t i = 0; i < count; i++) {
        rank[work.order[i]] = work.front[i];
    }
    cop_free(memory);
    return COP_OK;
}
