# Tests of how a network runs.
add_library(cop_model_run_support OBJECT naive.c tiny.c)
target_link_libraries(cop_model_run_support PUBLIC cop_test_support cop_model)

foreach(name forms golden_logits gradient memory network optimizer rope step_agreement)
  cop_add_test(model_${name}_test ${name}_test.c LIBS cop_model cop_model_run_support LABELS unit)
endforeach()
