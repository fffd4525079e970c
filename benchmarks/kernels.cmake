# The benchmarks of the operators, and, as tests, that each still runs and prints JSON lines.
add_library(cop_bench STATIC bench.c random.c)
target_compile_definitions(cop_bench PRIVATE COP_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
target_link_libraries(cop_bench PUBLIC cop_kernels)

foreach(subject matmul ops)
  cop_add_bench(${subject}_bench ${subject}_bench.c LIBS cop_bench)
  if(COP_TESTS)
    add_test(NAME ${subject}_bench_quick COMMAND ${subject}_bench --quick)
    cop_set_test(${subject}_bench_quick)
    # The last case of the program, whole: it ran to its end.
    set_tests_properties(
      ${subject}_bench_quick
      PROPERTIES PASS_REGULAR_EXPRESSION
                 "\"dtype\":\"bf16\".*\"command\":\"${subject}_bench --quick\"}[\r\n]+$")
  endif()
endforeach()
