# How every C file of the project is compiled: one warning set, all of it errors.
add_library(cop_flags INTERFACE)
target_include_directories(cop_flags INTERFACE "${PROJECT_SOURCE_DIR}")
target_compile_definitions(cop_flags INTERFACE _POSIX_C_SOURCE=200809L)

set(cop_warnings
    -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wdouble-promotion -Wformat=2
    -Wundef -Wvla -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition -Wcast-qual
    -Wcast-align -Wwrite-strings -Wpointer-arith -Wswitch-enum -Wimplicit-fallthrough
    -Wnull-dereference -Werror)
if(CMAKE_C_COMPILER_ID STREQUAL "GNU")
  list(APPEND cop_warnings -Wlogical-op -Wduplicated-cond -Wduplicated-branches -Wjump-misses-init)
endif()
target_compile_options(
  cop_flags INTERFACE
  "$<$<COMPILE_LANGUAGE:C>:${cop_warnings};-fno-common;-ffp-contract=off>"
  "$<$<COMPILE_LANGUAGE:C>:SHELL:-include ${PROJECT_SOURCE_DIR}/base/banned.h>")

if(COP_SANITIZE)
  string(REPLACE ";" "," sanitizers "${COP_SANITIZE}")
  if(CMAKE_C_COMPILER_ID MATCHES "Clang" AND sanitizers MATCHES "undefined")
    string(APPEND sanitizers ",float-cast-overflow,float-divide-by-zero")
  endif()
  # These warnings depend on the optimizer and see paths that only the checks add; the release
  # build judges them.
  target_compile_options(
    cop_flags INTERFACE
    "$<$<COMPILE_LANGUAGE:C>:-fsanitize=${sanitizers};-fno-sanitize-recover=all;-fno-omit-frame-pointer;-Wno-null-dereference>"
    "$<$<AND:$<COMPILE_LANGUAGE:C>,$<C_COMPILER_ID:GNU>>:-Wno-maybe-uninitialized;-Wno-format-truncation;-Wno-stringop-overflow>"
  )
  # C++: tests only. Sanitizer frames make gcc see overflows of sizes that cannot occur.
  target_compile_options(
    cop_flags INTERFACE
    "$<$<COMPILE_LANGUAGE:CXX>:-fsanitize=${sanitizers};-fno-sanitize-recover=all;-fno-omit-frame-pointer;-Wno-maybe-uninitialized>"
  )
  target_link_options(cop_flags INTERFACE -fsanitize=${sanitizers})
endif()
if(COP_FUZZ)
  if(NOT CMAKE_C_COMPILER_ID MATCHES "Clang")
    message(FATAL_ERROR "COP_FUZZ needs clang: configure with -DCMAKE_C_COMPILER=clang")
  endif()
  target_compile_options(cop_flags INTERFACE "$<$<COMPILE_LANGUAGE:C>:-fsanitize=fuzzer-no-link>")
  target_link_options(cop_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()
