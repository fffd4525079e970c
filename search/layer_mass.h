// What a candidate loses of the teacher's importance, as a sum over its layers:
//   Σ over layers that are dropped  w(l)
// + Σ over layers that are kept     w(l) * (attention(l) / 2 + mlp(l) / 2)
// + share of the channels' scores that goes
// w(l) is the layer's share of the block influence (equal shares where no block has any); mlp(l) the share of the
// scores of its neurons that goes; attention(l) the mean of the shares that go of its heads' and of its KV groups'
// scores. A layer of a candidate is the one of the teacher that pruning keeps in its place. The form, a sum over
// layers of what each loses, is that of Puzzle (arXiv 2411.19146, 2024), which measures it; here it is taken from
// the scores alone.

#ifndef COP_SEARCH_LAYER_MASS_H
#define COP_SEARCH_LAYER_MASS_H

#include "prune/select.h"
#include "search/space_domain.h"

typedef struct cop_layer_mass cop_layer_mass;

// `select` as for pruning; which layers stay is found for each depth of the space. The scores are not needed
// afterwards. COP_ERR_CONFIG as of cop_selection_create(); COP_ERR_NOMEM.
COP_MUST_CHECK cop_status cop_layer_mass_create(cop_layer_mass **out,
                                                const cop_importance *importance,
                                                const cop_space *space,
                                                const cop_select_options *select, cop_error *err);
void cop_layer_mass_destroy(cop_layer_mass *mass);

// Borrows `mass` as its context.
cop_space_scores cop_layer_mass_scores(const cop_layer_mass *mass);

#endif
