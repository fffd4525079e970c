# Tests of the half of model/ that describes a network.
foreach(name arch arch_json safetensors checkpoint tokens sampler split plan)
  if(EXISTS "${CMAKE_CURRENT_SOURCE_DIR}/${name}_test.c")
    cop_add_test(model_${name}_test ${name}_test.c LIBS cop_model)
  endif()
endforeach()
