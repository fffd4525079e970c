# Tests of the half of model/ that describes a network.
add_library(cop_model_sample OBJECT sample.c)
target_link_libraries(cop_model_sample PUBLIC cop_test_support cop_model)

foreach(name arch arch_json safetensors checkpoint checkpoint_write tokens sampler split plan)
  cop_add_test(model_${name}_test ${name}_test.c LIBS cop_model cop_model_sample LABELS unit)
endforeach()
