cmake_minimum_required(VERSION 3.22)
# Writes the header that names the source revision, only when it has changed.
# Run: cmake -DROOT=<repository> -DOUTPUT=<header> -DVERSION=<version> -P write_revision.cmake
set(full_version "${VERSION}")
find_program(GIT git)
if(GIT AND EXISTS "${ROOT}/.git")
  execute_process(
    COMMAND "${GIT}" -C "${ROOT}" describe --always --dirty --abbrev=10 --exclude=*
    OUTPUT_VARIABLE revision OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET
    RESULT_VARIABLE result)
  if(result EQUAL 0 AND revision MATCHES "^[0-9a-f]+(-dirty)?$")
    string(APPEND full_version " (${revision})")
  endif()
endif()
file(CONFIGURE OUTPUT "${OUTPUT}" CONTENT "#define COP_FULL_VERSION \"@full_version@\"\n" @ONLY)
