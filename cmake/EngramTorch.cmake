# engram::torch: libtorch out of a PyPI wheel, on the CPU (torch_cpu and c10 alone; torch_cuda is loaded at run time, see core/nn/device.h).
# The wheel's own TorchConfig.cmake wants a CUDA toolkit, so the targets are made here.
if(NOT ENGRAM_TORCH_ROOT)
  file(GLOB candidates "${ENGRAM_DEPS}/runtime/lib/python3*/site-packages/torch")
  if(NOT candidates)
    message(FATAL_ERROR "libtorch was not found: run `make setup`, or set ENGRAM_TORCH_ROOT to a folder with include/ and lib/")
  endif()
  list(GET candidates 0 ENGRAM_TORCH_ROOT)
endif()
file(STRINGS "${ENGRAM_TORCH_ROOT}/include/torch/headeronly/version.h" torch_version REGEX "\"[0-9]+\\.[0-9]+\\.[0-9]+")
if(NOT torch_version MATCHES "\"2\\.11\\.")
  message(FATAL_ERROR "libtorch 2.11 is needed, found:${torch_version}")
endif()

add_library(engram_torch INTERFACE)
add_library(engram::torch ALIAS engram_torch)
# -idirafter: the wheel ships an old google/protobuf, which must not shadow the system's.
target_compile_options(engram_torch INTERFACE "SHELL:-idirafter ${ENGRAM_TORCH_ROOT}/include" -fopenmp -Wno-unknown-pragmas)
target_link_libraries(engram_torch INTERFACE
  "${ENGRAM_TORCH_ROOT}/lib/libtorch_cpu.so" "${ENGRAM_TORCH_ROOT}/lib/libc10.so" "${ENGRAM_TORCH_ROOT}/lib/libgomp.so.1")
target_link_options(engram_torch INTERFACE "-Wl,-rpath,${ENGRAM_TORCH_ROOT}/lib" "-Wl,--no-as-needed")
