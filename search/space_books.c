// The books of a walk: what bounds exclude, and what came nearest to them.

#include <math.h>

#include "search/space_internal.h"

void cop_space_note_nearest(cop_space_books *books, int bound, double value)
{
    double *nearest = &books->report->bound[bound].nearest;
    const bool is_min = books->space->bound[bound].is_min;
    if (isnan(*nearest) || (is_min ? value > *nearest : value < *nearest)) {
        *nearest = value;
    }
}

bool cop_space_settle(cop_space_books *books, const cop_space_parts *low,
                      const cop_space_parts *high, bool is_exact, int64_t points, int64_t valid)
{
    const cop_space *space = books->space;
    bool is_violated[COP_BOUNDS] = {false};
    double extreme[COP_BOUNDS] = {0.0};
    int violated = 0;
    int last = -1;

    for (int i = 0; i < space->bounds && valid > 0; i++) {
        const cop_space_bound *bound = &space->bound[i];
        const double value_low = cop_space_bound_value(space, bound, low);
        const double value_high = cop_space_bound_value(space, bound, high);
        const bool holds_low = cop_space_bound_holds(bound, value_low);
        if (holds_low != cop_space_bound_holds(bound, value_high)) {
            return false;
        }
        if (holds_low) {
            continue;
        }
        is_violated[i] = true;
        extreme[i] = bound->is_min ? value_high : value_low;
        const double nearest = books->report->bound[i].nearest;
        if (!is_exact &&
            (isnan(nearest) || (bound->is_min ? extreme[i] > nearest : extreme[i] < nearest))) {
            return false; // one of its points may be the nearest yet
        }
        violated++;
        last = i;
    }
    if (violated == 0 && valid > 0 && books->lists) {
        return false; // its points are wanted
    }
    for (int i = 0; i < space->bounds; i++) {
        if (is_violated[i]) {
            books->report->bound[i].excluded += valid;
            cop_space_note_nearest(books, i, extreme[i]);
        }
    }
    if (violated == 1) {
        books->report->bound[last].only += valid;
    }
    books->report->invalid += points - valid;
    books->report->feasible += violated == 0 ? valid : 0;
    return true;
}
