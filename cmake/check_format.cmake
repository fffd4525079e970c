cmake_minimum_required(VERSION 3.22)
# Fails when a source file is not formatted as .clang-format says; names files that are longer than
# a reader wants them, unless they are tests.
# Run: cmake -DROOT=<repository> -DCLANG_FORMAT=<program> -P cmake/check_format.cmake
set(source_lines_max 500)
set(header_lines_max 250)
foreach(folder base kernels model prune distill eval search report cli benchmarks tests)
  file(GLOB_RECURSE found "${ROOT}/${folder}/*.c" "${ROOT}/${folder}/*.h" "${ROOT}/${folder}/*.cu"
       "${ROOT}/${folder}/*.cuh")
  list(APPEND files ${found})
  if(NOT folder MATCHES "^(tests|benchmarks)$")
    list(APPEND limited ${found})
  endif()
endforeach()

if(CLANG_FORMAT)
  execute_process(COMMAND "${CLANG_FORMAT}" --dry-run -Werror ${files} RESULT_VARIABLE result
                  ERROR_VARIABLE findings)
  if(NOT result EQUAL 0)
    message(SEND_ERROR "clang-format -i would change files:\n${findings}")
  endif()
endif()

foreach(file IN LISTS limited)
  file(READ "${file}" text)
  string(REGEX REPLACE "[^\n]" "" text "${text}")
  string(LENGTH "${text}" lines)
  if(file MATCHES "\\.(h|cuh)$")
    set(lines_max ${header_lines_max})
  else()
    set(lines_max ${source_lines_max})
  endif()
  if(lines GREATER lines_max)
    message(NOTICE "${file}: ${lines} lines (aim: at most ${lines_max})")
  endif()
endforeach()
