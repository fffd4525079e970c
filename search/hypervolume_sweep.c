// Three objectives and more. With four and more, everything but the sums is computed with places instead
// of values: the place of a value among those of its objective, 16 bits wide, so that compilers make vector
// code of the loops over points.

#include <string.h>

#include "base/alloc.h"
#include "search/hypervolume_internal.h"
#include "search/order.h"

enum { DIMENSIONS = COP_HYPERVOLUME_OBJECTIVES_MAX, PADDING = 8, SLACK = 2 * PADDING };

enum { MARK_REACHES = 1, MARK_DOMINATED = 2 };

// Points as places: row k holds objective k of each.
typedef struct place_set {
    int16_t *row[DIMENSIONS]; // [points + SLACK], borrowed
    int64_t count;
} place_set;

typedef struct sweep {
    const double *values; // [count, objectives]
    int64_t count;
    int objectives;
    cop_order *item;           // [2 count], owned
    cop_order *scratch;        // its second half
    int16_t *places;           // of all sets, owned
    double *tables;            // owned
    double *value[DIMENSIONS]; // [count + 1], by place; ends with the reference
    cop_stair stair;
    place_set points;               // sorted by the last objective
    place_set passed[DIMENSIONS];   // by dimension: projections of the points its sweep has passed
    place_set reaching[DIMENSIONS]; // by dimension: what of those reaches into the box of one point
    int16_t *mark;                  // [count + PADDING], owned
    int64_t *dominated;             // [count], owned
} sweep;

static void sort_by(sweep *s, int objective)
{
    for (int64_t i = 0; i < s->count; i++) {
        s->item[i] = (cop_order){cop_order_key(s->values[i * s->objectives + objective]), i};
    }
    cop_order_sort(s->item, s->scratch, s->count);
}

static void sweep_release(sweep *s)
{
    cop_stair_release(&s->stair);
    cop_free(s->item);
    cop_free(s->places);
    cop_free(s->tables);
    cop_free(s->mark);
    cop_free(s->dominated);
}

static cop_status out_of_memory(const sweep *s, cop_error *err)
{
    return COP_FAIL(err, COP_ERR_NOMEM, "hypervolume of %lld points: out of memory",
                    (long long)s->count);
}

// Three objectives: the points by the last; each adds the area that it adds to the staircase, times what
// is left of the last objective.
static cop_status volume_three(double *volume, sweep *s, const double *reference, cop_error *err)
{
    double sum = 0;
    int64_t *place = cop_alloc((size_t)s->count, sizeof *place);
    if (place == NULL || !cop_stair_init(&s->stair, s->count)) {
        cop_free(place);
        return out_of_memory(s, err);
    }
    sort_by(s, 0);
    for (int64_t i = 0, at = 0; i < s->count; i++) {
        at = i > 0 && s->item[i].key != s->item[i - 1].key ? i : at;
        place[s->item[i].index] = at;
    }
    sort_by(s, 2);
    cop_stair_clear(&s->stair, reference[0], reference[1]);
    for (int64_t i = 0; i < s->count; i++) {
        const int64_t at = s->item[i].index;
        const double *p = s->values + 3 * at;
        sum += cop_stair_add(&s->stair, place[at], p[0], p[1]) * (reference[2] - p[2]);
    }
    cop_free(place);
    *volume = sum;
    return COP_OK;
}

// Gives a set its rows out of `from`; returns what is left of it.
static int16_t *carve_rows(place_set *set, int16_t *from, int64_t count, int objectives)
{
    for (int k = 0; k < objectives; k++, from += count + SLACK) {
        set->row[k] = from;
    }
    return from;
}

// Memory for the tables of values and all sets.
static bool create_sets(sweep *s)
{
    const size_t count = (size_t)s->count;
    size_t rows = (size_t)s->objectives;
    for (int k = 3; k < s->objectives; k++) {
        rows += 2 * (size_t)k;
    }
    s->places = cop_alloc(rows, (count + SLACK) * sizeof *s->places);
    s->tables = cop_alloc((size_t)s->objectives, (count + 1) * sizeof *s->tables);
    s->mark = cop_alloc(count + PADDING, sizeof *s->mark);
    s->dominated = cop_alloc(count, sizeof *s->dominated);
    if (s->places == NULL || s->tables == NULL || s->mark == NULL || s->dominated == NULL) {
        return false;
    }
    int16_t *left = carve_rows(&s->points, s->places, s->count, s->objectives);
    for (int k = 3; k < s->objectives; k++) {
        left = carve_rows(&s->passed[k], left, s->count, k);
        left = carve_rows(&s->reaching[k], left, s->count, k);
    }
    for (int k = 0; k < s->objectives; k++) {
        s->value[k] = s->tables + k * (s->count + 1);
    }
    return true;
}

// The tables of values, and the points as places in the order of the last objective.
static cop_status fill_places(sweep *s, const double *reference, cop_error *err)
{
    const int last = s->objectives - 1;
    int64_t *turn = NULL; // of each point in the order of the last objective
    if (!create_sets(s) || !cop_stair_init(&s->stair, s->count)) {
        return out_of_memory(s, err);
    }
    turn = s->dominated; // not needed yet
    for (int k = last; k >= 0; k--) {
        sort_by(s, k);
        int64_t place = 0;
        for (int64_t i = 0; i < s->count; i++) {
            const int64_t index = s->item[i].index;
            if (k == last) {
                turn[index] = i;
            }
            place = i > 0 && s->item[i].key != s->item[i - 1].key ? i : place;
            s->points.row[k][turn[index]] = (int16_t)place;
            s->value[k][place] = s->values[index * s->objectives + k];
        }
        s->value[k][s->count] = reference[k];
    }
    s->points.count = s->count;
    return COP_OK;
}

// Three objectives of points that are sorted by the last.
static double sweep_three(sweep *s, const place_set *set, const int16_t *limit)
{
    const double deep = s->value[2][limit[2]];
    double sum = 0;
    cop_stair_clear(&s->stair, s->value[0][limit[0]], s->value[1][limit[1]]);
    for (int64_t i = 0; i < set->count; i++) {
        const int16_t x = set->row[0][i];
        const double area =
            cop_stair_add(&s->stair, x, s->value[0][x], s->value[1][set->row[1][i]]);
        sum += area * (deep - s->value[2][set->row[2][i]]);
    }
    return sum;
}

// One point against the points passed before it. Shrinks `corner`, the far corner of the box that the point
// can own alone: what is worse than the point in one objective only cuts the box there. false: something is
// worse in none, and the point owns nothing. Rows are read in whole vectors, past their end.
static inline bool shrink_box(const place_set *set, const int16_t *point, int16_t *corner,
                              const int objectives)
{
    const int64_t count = (set->count + PADDING - 1) / PADDING * PADDING;
    int16_t fewest = 1;
    int16_t lowest[DIMENSIONS];
    for (int k = 0; k < objectives; k++) {
        lowest[k] = corner[k];
    }
    for (int64_t j = 0; j < count; j++) {
        int16_t worse = 0;
        for (int k = 0; k < objectives; k++) {
            worse = (int16_t)(worse + (set->row[k][j] > point[k]));
        }
        fewest = worse < fewest ? worse : fewest;
        const int16_t is_alone = (int16_t) - (worse == 1);
        for (int k = 0; k < objectives; k++) {
            const int16_t cuts = (int16_t)(is_alone & -(set->row[k][j] > point[k]));
            const int16_t place = (int16_t)((set->row[k][j] & cuts) | (INT16_MAX & ~cuts));
            lowest[k] = place < lowest[k] ? place : lowest[k];
        }
    }
    for (int k = 0; k < objectives; k++) {
        corner[k] = lowest[k];
    }
    return fewest > 0;
}

// Marks what reaches into the box and what the point dominates.
static inline void mark_points(int16_t *restrict mark, const place_set *set, const int16_t *point,
                               const int16_t *corner, const int objectives)
{
    const int64_t count = (set->count + PADDING - 1) / PADDING * PADDING;
    for (int64_t j = 0; j < count; j++) {
        int16_t reaches = MARK_REACHES;
        int16_t dominated = MARK_DOMINATED;
        for (int k = 0; k < objectives; k++) {
            reaches = (int16_t)(reaches & -(set->row[k][j] < corner[k]));
            dominated = (int16_t)(dominated & -(set->row[k][j] >= point[k]));
        }
        mark[j] = (int16_t)(reaches | dominated);
    }
    memset(mark + set->count, 0, sizeof(uint64_t)); // divide() reads four at a time
}

// Copies the points that reach into the box of `point`, moved to its inside, and takes those it dominates
// out of the set. Marks are looked at four at a time: few points have any.
static inline void divide(sweep *s, place_set *reaching, place_set *set, const int16_t *point,
                          const int objectives)
{
    int64_t reaching_count = 0;
    int64_t dominated_count = 0;
    for (int64_t first = 0; first < set->count; first += 4) {
        uint64_t marks = 0;
        memcpy(&marks, s->mark + first, sizeof marks);
        for (; marks != 0; marks &= marks - 1) {
            const int bit = __builtin_ctzll(marks);
            const int64_t j = first + bit / 16;
            if ((bit & 1) != 0) {
                s->dominated[dominated_count++] = j;
                continue;
            }
            for (int k = 0; k < objectives; k++) {
                const int16_t place = set->row[k][j];
                reaching->row[k][reaching_count] = place > point[k] ? place : point[k];
            }
            reaching_count++;
        }
    }
    reaching->count = reaching_count;
    while (dominated_count > 0) {
        const int64_t at = s->dominated[--dominated_count];
        for (int k = 0; k < objectives; k++) {
            int16_t *row = set->row[k];
            memmove(row + at, row + at + 1, (size_t)(set->count - at - 1 + PADDING) * sizeof *row);
        }
        set->count--;
    }
}

// Adds the point to a set that stays sorted by its last objective.
static inline void insert(place_set *set, const int16_t *point, const int objectives)
{
    const int16_t *last = set->row[objectives - 1];
    int64_t at = 0;
    for (int64_t left = set->count; left > 0;) {
        const int64_t half = (left + 1) / 2;
        at += last[at + half - 1] <= point[objectives - 1] ? half : 0;
        left -= half;
    }
    for (int k = 0; k < objectives; k++) {
        int16_t *row = set->row[k];
        memmove(row + at + 1, row + at, (size_t)(set->count - at + PADDING) * sizeof *row);
        row[at] = point[k];
    }
    set->count++;
}

// Lets one point pass: its box, what reaches into that, and the set with it. false: it owns nothing. The
// number of objectives is a constant in each call, so that the inner loops are unrolled.
static bool pass(sweep *s, place_set *reaching, place_set *set, const int16_t *point,
                 int16_t *corner, int objectives)
{
#define PASS(n)                                  \
    if (!shrink_box(set, point, corner, n)) {    \
        return false;                            \
    }                                            \
    mark_points(s->mark, set, point, corner, n); \
    divide(s, reaching, set, point, n);          \
    insert(set, point, n);                       \
    return true
    switch (objectives) {
    case 3: PASS(3);
    case 4: PASS(4);
    case 5: PASS(5);
    case 6: PASS(6);
    default: PASS(7);
    }
#undef PASS
}

static void clear(place_set *set, int objectives)
{
    set->count = 0;
    for (int k = 0; k < objectives; k++) {
        for (int j = 0; j < PADDING; j++) {
            set->row[k][j] = INT16_MAX; // worse than everything, in no box
        }
    }
}

static double box(const sweep *s, const int16_t *from, const int16_t *to, int objectives)
{
    double volume = 1;
    for (int k = 0; k < objectives; k++) {
        volume *= s->value[k][to[k]] - s->value[k][from[k]];
    }
    return volume;
}

// The volume of points that are sorted by the last of `dimension` objectives, up to the places `limit`: each
// adds what it owns alone in the other objectives among the points before it, times what is left of the last.
static double sweep_set(sweep *s, const place_set *set, const int16_t *limit, int dimension)
{
    if (set->count == 1) {
        int16_t point[DIMENSIONS];
        for (int k = 0; k < dimension; k++) {
            point[k] = set->row[k][0];
        }
        return box(s, point, limit, dimension);
    }
    if (dimension == 3) {
        return sweep_three(s, set, limit);
    }
    const int last = dimension - 1;
    place_set *passed = &s->passed[last];
    place_set *reaching = &s->reaching[last];
    double sum = 0;
    clear(passed, last);
    for (int64_t i = 0; i < set->count; i++) {
        int16_t point[DIMENSIONS];
        int16_t corner[DIMENSIONS];
        for (int k = 0; k < last; k++) {
            point[k] = set->row[k][i];
            corner[k] = limit[k];
        }
        if (!pass(s, reaching, passed, point, corner, last)) {
            continue;
        }
        double owned = box(s, point, corner, last);
        if (reaching->count > 0) {
            owned -= sweep_set(s, reaching, corner, last);
        }
        owned = owned > 0 ? owned : 0; // rounding
        sum += owned * (s->value[last][limit[last]] - s->value[last][set->row[last][i]]);
    }
    return sum;
}

cop_status cop_hypervolume_sweep(double *volume, const double *values, int64_t count,
                                 int objectives, const double *reference, cop_error *err)
{
    sweep s = {.values = values, .count = count, .objectives = objectives};
    cop_status status = COP_OK;
    if (objectives > 3 && count > COP_HYPERVOLUME_POINTS_MAX) {
        return COP_FAIL(err, COP_ERR_UNSUPPORTED,
                        "hypervolume of %d objectives: points: %lld (allowed: at most %d)",
                        objectives, (long long)count, COP_HYPERVOLUME_POINTS_MAX);
    }
    s.item = cop_alloc((size_t)count, 2 * sizeof *s.item);
    if (s.item == NULL) {
        status = out_of_memory(&s, err);
        goto done;
    }
    s.scratch = s.item + count;
    if (objectives == 3) {
        COP_TRY(status, volume_three(volume, &s, reference, err));
    } else {
        int16_t limit[DIMENSIONS];
        for (int k = 0; k < objectives; k++) {
            limit[k] = (int16_t)count;
        }
        COP_TRY(status, fill_places(&s, reference, err));
        *volume = sweep_set(&s, &s.points, limit, objectives);
    }
done:
    sweep_release(&s);
    return status;
}
