# cop_add_layer(<name> SOURCES <file>... [LIBS <target>...])
# The static library of one layer. Libraries are linked along the arrows of the layers.
function(cop_add_layer name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;LIBS")
  if(arg_UNPARSED_ARGUMENTS OR NOT arg_SOURCES)
    message(FATAL_ERROR "cop_add_layer(${name} ...): bad arguments: ${arg_UNPARSED_ARGUMENTS}")
  endif()
  add_library(${name} STATIC ${arg_SOURCES})
  target_compile_definitions(${name} PRIVATE COP_BAN_HEAP)
  target_link_libraries(${name} PUBLIC cop_flags ${arg_LIBS})
endfunction()

# cop_add_test(<name> <source>... [LIBS <target>...] [LABELS <label>...] [ENVIRONMENT <X=y>...]
#              [ARGS <argument>...] [TIMEOUT <seconds>])
# A cmocka executable run by ctest in a fresh-named folder of its own. COP_SOURCE_DIR is the
# repository, COP_REFERENCE_DATA the folder of published data (it may be absent). Exit code 77 counts as
# skipped.
function(cop_add_test name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "TIMEOUT" "SOURCES;LIBS;LABELS;ENVIRONMENT;ARGS")
  add_executable(${name} ${arg_UNPARSED_ARGUMENTS} ${arg_SOURCES})
  target_compile_definitions(${name} PRIVATE COP_SOURCE_DIR="${PROJECT_SOURCE_DIR}"
                                             COP_REFERENCE_DATA="${COP_REFERENCE_DATA}")
  target_link_libraries(${name} PRIVATE cop_test_support ${arg_LIBS})
  set(folder "${CMAKE_CURRENT_BINARY_DIR}/${name}.run")
  file(MAKE_DIRECTORY "${folder}")
  add_test(NAME ${name} COMMAND ${name} ${arg_ARGS} WORKING_DIRECTORY "${folder}")
  cop_set_test(${name} TIMEOUT "${arg_TIMEOUT}" LABELS ${arg_LABELS} ENVIRONMENT
               ${arg_ENVIRONMENT})
endfunction()

# cop_set_test(<name> [TIMEOUT <seconds>] [LABELS <label>...] [ENVIRONMENT <X=y>...])
# What all tests have in common, for those made with add_test() too. Settings of OpenBLAS that the
# caller's shell may export do not reach a test. Tests run side by side, and a thread that waits
# spinning takes the core that another needs: passive waiting makes them up to twenty times faster.
function(cop_set_test name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "TIMEOUT" "LABELS;ENVIRONMENT")
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 300)
  endif()
  set(environment "OPENBLAS_CORETYPE=unset:;OPENBLAS_L2_SIZE=unset:;OMP_WAIT_POLICY=set:passive")
  if(COP_SANITIZE MATCHES "thread")
    # It does not see the barriers of gcc's OpenMP, and takes every parallel region for a race.
    string(APPEND environment ";OMP_NUM_THREADS=set:1")
  endif()
  set_tests_properties(
    ${name}
    PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT ${arg_TIMEOUT} LABELS "${arg_LABELS}"
               ENVIRONMENT "${arg_ENVIRONMENT}" ENVIRONMENT_MODIFICATION "${environment}")
endfunction()

# cop_add_fuzzer(<name> LIBS <target>...)
# <name>_fuzz.c with its seeds in corpus/<name>/. With COP_FUZZ a libFuzzer executable
# <name>_fuzz; without, a test that runs the seeds.
function(cop_add_fuzzer name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "LIBS")
  set(corpus "${CMAKE_CURRENT_SOURCE_DIR}/corpus/${name}")
  if(COP_FUZZ)
    add_executable(${name}_fuzz ${name}_fuzz.c)
    target_link_options(${name}_fuzz PRIVATE -fsanitize=fuzzer)
    set_target_properties(${name}_fuzz PROPERTIES RUNTIME_OUTPUT_DIRECTORY
                                                  "${PROJECT_BINARY_DIR}/fuzz")
  else()
    add_executable(${name}_fuzz ${name}_fuzz.c driver.c)
    add_test(NAME fuzz_${name}_corpus COMMAND ${name}_fuzz "${corpus}")
    cop_set_test(fuzz_${name}_corpus)
  endif()
  target_link_libraries(${name}_fuzz PRIVATE cop_flags ${arg_LIBS})
endfunction()

# cop_add_ranks_test(<name> <target> <ranks>... [ARGS <argument>...] [TIMEOUT <seconds>])
# The tests <name>_<n>_ranks: the program with n processes under mpirun, skipped without MPI. One thread
# each, which gives its core away while it waits: there are more of them than cores. MPI unloads the
# modules it leaks from, so that no suppression can name them: leaks of our own are looked for by the
# program run alone.
function(cop_add_ranks_test name target)
  cmake_parse_arguments(PARSE_ARGV 2 arg "" "TIMEOUT" "ARGS")
  foreach(ranks IN LISTS arg_UNPARSED_ARGUMENTS)
    set(test ${name}_${ranks}_ranks)
    set(folder "${CMAKE_CURRENT_BINARY_DIR}/${test}.run")
    file(MAKE_DIRECTORY "${folder}")
    set(command "${CMAKE_COMMAND}" -E echo "no mpirun")
    if(COP_HAVE_MPI AND MPIEXEC_EXECUTABLE)
      set(command "${MPIEXEC_EXECUTABLE}" --oversubscribe --bind-to none -n ${ranks}
                  $<TARGET_FILE:${target}> ${arg_ARGS})
    endif()
    add_test(NAME ${test} COMMAND ${command} WORKING_DIRECTORY "${folder}")
    cop_set_test(${test} TIMEOUT "${arg_TIMEOUT}" LABELS mpi ENVIRONMENT OMP_NUM_THREADS=1
                 OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
                 OMPI_MCA_mpi_yield_when_idle=1 ASAN_OPTIONS=detect_leaks=0)
    set_tests_properties(${test} PROPERTIES PROCESSORS 2 SKIP_REGULAR_EXPRESSION "^no mpirun")
  endforeach()
endfunction()
