# The libraries, each behind one interface target. Their headers are system headers.
set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
find_package(OpenMP REQUIRED COMPONENTS C)
add_library(cop_openmp INTERFACE)
target_link_libraries(cop_openmp INTERFACE OpenMP::OpenMP_C)

function(cop_wrap_library name library include_directory)
  add_library(${name} INTERFACE)
  target_link_libraries(${name} INTERFACE "${library}")
  target_include_directories(${name} SYSTEM INTERFACE "${include_directory}")
endfunction()

function(cop_wrap_pkg name module)
  pkg_check_modules(${name} REQUIRED QUIET IMPORTED_TARGET ${module})
  add_library(${name} INTERFACE)
  target_link_libraries(${name} INTERFACE PkgConfig::${name})
  message(STATUS "${module} ${${name}_VERSION}")
endfunction()

# OpenBLAS: the OpenMP build shares its threads with ours. Where the pthread build is installed
# too, the distribution's links prefer that one, so the OpenMP build is looked up by its own
# directory first.
set(multiarch "${CMAKE_LIBRARY_ARCHITECTURE}")
find_library(COP_OPENBLAS_LIBRARY openblas PATHS "/usr/lib/${multiarch}/openblas-openmp"
             "/usr/lib64/openblas-openmp" NO_DEFAULT_PATH)
find_path(COP_OPENBLAS_INCLUDE_DIR cblas.h PATHS "/usr/include/${multiarch}/openblas-openmp"
          NO_DEFAULT_PATH)
find_library(COP_OPENBLAS_LIBRARY NAMES openblaso openblas)
find_path(COP_OPENBLAS_INCLUDE_DIR openblas_config.h PATH_SUFFIXES openblas openblas-pthread)
if(NOT COP_OPENBLAS_LIBRARY OR NOT COP_OPENBLAS_INCLUDE_DIR)
  message(FATAL_ERROR "OpenBLAS was not found: install libopenblas-openmp-dev, or set "
                      "COP_OPENBLAS_LIBRARY and COP_OPENBLAS_INCLUDE_DIR")
endif()
message(STATUS "OpenBLAS: ${COP_OPENBLAS_LIBRARY}")
cop_wrap_library(cop_openblas "${COP_OPENBLAS_LIBRARY}" "${COP_OPENBLAS_INCLUDE_DIR}")

# GSL without its own CBLAS, and behind OpenBLAS: linked the other way round, cblas_sgemm would
# silently be GSL's unblocked one.
find_package(GSL REQUIRED)
add_library(cop_gsl INTERFACE)
target_link_libraries(cop_gsl INTERFACE cop_openblas "${GSL_LIBRARY}" m)
target_include_directories(cop_gsl SYSTEM INTERFACE ${GSL_INCLUDE_DIRS})

# HDF5: the serial build by its pkg-config name; elsewhere the plain name is the serial one.
pkg_check_modules(cop_hdf5 QUIET IMPORTED_TARGET hdf5-serial)
if(NOT cop_hdf5_FOUND)
  pkg_check_modules(cop_hdf5 REQUIRED IMPORTED_TARGET hdf5)
endif()
message(STATUS "hdf5 ${cop_hdf5_VERSION}")
add_library(cop_hdf5 INTERFACE)
target_link_libraries(cop_hdf5 INTERFACE PkgConfig::cop_hdf5)

cop_wrap_pkg(cop_jansson jansson)
cop_wrap_pkg(cop_yaml yaml-0.1)
cop_wrap_pkg(cop_xxhash libxxhash)
cop_wrap_pkg(cop_sqlite sqlite3)

# oneDNN: its own CMake package insists on OpenCL, so it is looked up by hand.
add_library(cop_onednn INTERFACE)
set(COP_HAVE_ONEDNN OFF)
if(NOT COP_ONEDNN STREQUAL "OFF")
  find_library(COP_ONEDNN_LIBRARY dnnl)
  find_path(COP_ONEDNN_INCLUDE_DIR oneapi/dnnl/dnnl.h)
  if(COP_ONEDNN_LIBRARY AND COP_ONEDNN_INCLUDE_DIR)
    set(COP_HAVE_ONEDNN ON)
    target_link_libraries(cop_onednn INTERFACE "${COP_ONEDNN_LIBRARY}")
    target_include_directories(cop_onednn SYSTEM INTERFACE "${COP_ONEDNN_INCLUDE_DIR}")
    target_compile_definitions(cop_onednn INTERFACE COP_HAVE_ONEDNN=1)
    set(COP_ONEDNN_STATE "found")
  elseif(COP_ONEDNN STREQUAL "ON")
    message(FATAL_ERROR "COP_ONEDNN is ON, but oneDNN was not found: install libdnnl-dev")
  else()
    set(COP_ONEDNN_STATE "not found when configured (libdnnl-dev)")
  endif()
else()
  set(COP_ONEDNN_STATE "switched off when configured (COP_ONEDNN=OFF)")
endif()
if(NOT COP_HAVE_ONEDNN)
  target_compile_definitions(cop_onednn INTERFACE COP_HAVE_ONEDNN=0)
endif()
message(STATUS "oneDNN: ${COP_ONEDNN_STATE}")

# MPI
add_library(cop_mpi INTERFACE)
set(COP_HAVE_MPI OFF)
if(NOT COP_MPI STREQUAL "OFF")
  find_package(MPI QUIET COMPONENTS C)
  if(MPI_C_FOUND)
    set(COP_HAVE_MPI ON)
    target_link_libraries(cop_mpi INTERFACE MPI::MPI_C)
    target_compile_definitions(cop_mpi INTERFACE COP_HAVE_MPI=1)
    set(COP_MPI_STATE "found, standard ${MPI_C_VERSION}")
  elseif(COP_MPI STREQUAL "ON")
    message(FATAL_ERROR "COP_MPI is ON, but no MPI was found: install libopenmpi-dev")
  else()
    set(COP_MPI_STATE "not found when configured (libopenmpi-dev)")
  endif()
else()
  set(COP_MPI_STATE "switched off when configured (COP_MPI=OFF)")
endif()
if(NOT COP_HAVE_MPI)
  target_compile_definitions(cop_mpi INTERFACE COP_HAVE_MPI=0)
endif()
message(STATUS "MPI: ${COP_MPI_STATE}")

# The chart library that the report embeds; without it the report draws plain SVG.
find_file(COP_CHART_JS NAMES chart.min.js Chart.min.js
          PATHS /usr/share/javascript/chart.js /usr/share/nodejs/chart.js/dist)
if(COP_CHART_JS)
  message(STATUS "Chart.js: ${COP_CHART_JS}")
else()
  message(STATUS "Chart.js: not found (libjs-chart.js); reports will hold static pictures")
endif()
