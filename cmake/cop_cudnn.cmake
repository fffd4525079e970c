# cuDNN for attention: the library with its header, and the headers of its C++ frontend, which come
# neither with cuDNN nor with the CUDA toolkit:
#     pip install nvidia-cudnn-frontend        found in the Python environment that is active, or
#     -DCOP_CUDNN_FRONTEND_DIR=<folder>        that holds cudnn_frontend.h or include/cudnn_frontend.h
# COP_HAVE_CUDNN tells the rest of the build; the target cop_cudnn carries includes and libraries,
# but not the CUDA runtime, which its user links. Without them attention runs by the own kernels.
# Include this after cop_cuda.
set(COP_HAVE_CUDNN OFF)
set(COP_CUDNN_FRONTEND_DIR "" CACHE PATH "Folder of cudnn_frontend.h; empty: where pip puts it")
if(NOT COP_HAVE_CUDA)
  set(COP_CUDNN_STATE "no CUDA")
else()
  find_program(COP_PYTHON python3)
  set(frontend_hints "${COP_CUDNN_FRONTEND_DIR}")
  if(COP_PYTHON AND NOT COP_CUDNN_FRONTEND_DIR)
    execute_process(
      COMMAND "${COP_PYTHON}" -c
              "import site, sysconfig; print(';'.join([sysconfig.get_path('platlib'), site.getusersitepackages()]))"
      OUTPUT_VARIABLE frontend_hints OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  endif()
  # Looked for anew each time: the environment may be another one.
  unset(COP_CUDNN_FRONTEND_INCLUDE CACHE)
  find_path(COP_CUDNN_FRONTEND_INCLUDE cudnn_frontend.h HINTS ${frontend_hints}
            PATH_SUFFIXES include)
  find_path(COP_CUDNN_INCLUDE cudnn.h HINTS ${CUDAToolkit_INCLUDE_DIRS} ${frontend_hints}
            PATH_SUFFIXES nvidia/cudnn/include)
  find_library(COP_CUDNN_LIBRARY NAMES cudnn libcudnn.so.9
               HINTS "${CUDAToolkit_LIBRARY_DIR}" "${CUDAToolkit_TARGET_DIR}/lib" ${frontend_hints}
               PATH_SUFFIXES nvidia/cudnn/lib)
  if(COP_CUDNN_FRONTEND_DIR AND NOT COP_CUDNN_FRONTEND_INCLUDE)
    message(FATAL_ERROR "COP_CUDNN_FRONTEND_DIR is ${COP_CUDNN_FRONTEND_DIR}, which holds neither "
                        "cudnn_frontend.h nor include/cudnn_frontend.h")
  endif()
  if(NOT COP_CUDNN_INCLUDE OR NOT COP_CUDNN_LIBRARY)
    set(COP_CUDNN_STATE "cuDNN was not found")
  elseif(NOT COP_CUDNN_FRONTEND_INCLUDE)
    set(COP_CUDNN_STATE "its frontend was not found: pip install nvidia-cudnn-frontend")
  else()
    set(COP_HAVE_CUDNN ON)
    set(COP_CUDNN_STATE "${COP_CUDNN_LIBRARY}, ${COP_CUDNN_FRONTEND_INCLUDE}")
    add_library(cop_cudnn INTERFACE)
    target_include_directories(cop_cudnn SYSTEM INTERFACE "${COP_CUDNN_FRONTEND_INCLUDE}"
                                                          "${COP_CUDNN_INCLUDE}")
    target_link_libraries(cop_cudnn INTERFACE "${COP_CUDNN_LIBRARY}" CUDA::nvrtc)
  endif()
endif()
message(STATUS "cuDNN: ${COP_CUDNN_STATE}")

# cop_cudnn_add(<sources> <C sources> <libraries>): names of the plugin's lists. Where there is cuDNN,
# attention_cudnn.cpp takes the place of attention_cudnn_absent.cu in them.
function(cop_cudnn_add sources c_sources libraries)
  if(NOT COP_HAVE_CUDNN)
    return()
  endif()
  list(FILTER ${sources} EXCLUDE REGEX "attention_cudnn_absent\\.cu$")
  list(APPEND ${c_sources} attention_cudnn.cpp)
  list(APPEND ${libraries} cop_cudnn)
  # Host code that waits for the device: it need not be fast, and compiles in half the time. The
  # frontend is full of heap.
  set_source_files_properties(attention_cudnn.cpp PROPERTIES COMPILE_OPTIONS "-O1;-Wall;-Wextra;-UCOP_BAN_HEAP")
  foreach(list ${sources} ${c_sources} ${libraries})
    set(${list} "${${list}}" PARENT_SCOPE)
  endforeach()
endfunction()
