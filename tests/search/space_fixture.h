// A study in words, the space that it describes on a small teacher, and what is found in it.

#ifndef COP_TESTS_SEARCH_SPACE_FIXTURE_H
#define COP_TESTS_SEARCH_SPACE_FIXTURE_H

#include "search/space_domain.h"

typedef struct space_fixture {
    cop_study_file study;
    cop_arch teacher;
    cop_space *space;
    cop_candidate *found; // of space_scan()
    int64_t count;
    cop_space_report report;
    cop_space_domain *domain; // of space_open_domain()
    const cop_domain *view;
    int32_t genome[COP_DOMAIN_AXES_MAX];
    cop_layer_arch blocks[COP_ARCH_LAYERS_MAX];
} space_fixture;

// Llama with blocks of 8 heads, 4 KV heads of 16 and ffn 128, hidden 64, without biases.
cop_arch space_teacher(int64_t layers);

// Parses `text` behind the teacher's name, and makes its space. A failure leaves what is to be released.
cop_status space_open(space_fixture *f, cop_arch teacher, const char *text, cop_error *err);
// The same, and lists what is feasible; or makes its domain.
cop_status space_scan(space_fixture *f, cop_arch teacher, const char *text, cop_error *err);
cop_status space_open_domain(space_fixture *f, cop_arch teacher, const char *text,
                             const cop_space_features *features, cop_error *err);
void space_release(space_fixture *f);

#endif
