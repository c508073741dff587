# libengram_cuda.so: the CUDA form of the ops (core/nn/cuda), for GPUs from sm_80 on. The target engram_cuda is there where nvcc is found (it
# takes seconds). No program links to it: core/nn/device.cc loads it at run time.
find_program(ENGRAM_NVCC nvcc PATHS /usr/local/cuda/bin)
file(GLOB cudart "${ENGRAM_TORCH_ROOT}/../nvidia/cu13/lib/libcudart.so.13")
if(NOT ENGRAM_NVCC OR NOT cudart OR ENGRAM_SANITIZE OR ENGRAM_FUZZ)
  return()
endif()
file(GLOB_RECURSE bodies CONFIGURE_DEPENDS "${CMAKE_SOURCE_DIR}/core/nn/*_body.h" "${CMAKE_SOURCE_DIR}/core/nn/cuda/*.h")
set(launch "${CMAKE_BINARY_DIR}/cuda_launch.o")
add_custom_command(OUTPUT "${launch}"
  COMMAND "${ENGRAM_NVCC}" -std=c++20 -O3 --expt-relaxed-constexpr -Xcompiler -fPIC,-fvisibility=hidden -Werror all-warnings
    -gencode arch=compute_80,code=sm_80 -gencode arch=compute_90,code=[sm_90,compute_90]
    -I "${CMAKE_SOURCE_DIR}" -c "${CMAKE_SOURCE_DIR}/core/nn/cuda/launch.cu" -o "${launch}"
  DEPENDS "${CMAKE_SOURCE_DIR}/core/nn/cuda/launch.cu" "${CMAKE_SOURCE_DIR}/core/base/random.h"
    "${CMAKE_SOURCE_DIR}/core/nn/ops/activation/activation_kind.h" ${bodies}
  VERBATIM)
add_library(engram_cuda SHARED core/nn/cuda/table.cc "${launch}")
set_target_properties(engram_cuda PROPERTIES LIBRARY_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/lib")
target_link_libraries(engram_cuda PRIVATE engram_device_ops "${cudart}")
target_link_options(engram_cuda PRIVATE -Wl,-z,defs)
