# engram_headers(NAME DEPS targets... HEADERS headers...)  headers that many files read are parsed once, under the flags of DEPS.
# engram_use_headers(NAME targets...)                      those targets read them from there.
#
# Parsing libtorch's, gRPC's and GoogleTest's headers took two thirds of a build. No file may lean on this: `make lint` compiles every file
# without it (CMAKE_DISABLE_PRECOMPILE_HEADERS), so each still includes what it uses.

# A file compiles with a precompiled header only if both were made with the same code model, hence one for libraries and programs alike.
set(CMAKE_POSITION_INDEPENDENT_CODE OFF)
add_compile_options(-fPIC)

function(engram_headers name)
  cmake_parse_arguments(arg "" "" "DEPS;HEADERS" ${ARGN})
  file(CONFIGURE OUTPUT "${CMAKE_BINARY_DIR}/headers_${name}.cc" CONTENT "")
  add_library(headers_${name} OBJECT "${CMAKE_BINARY_DIR}/headers_${name}.cc")
  target_include_directories(headers_${name} PRIVATE "${CMAKE_SOURCE_DIR}")
  target_link_libraries(headers_${name} PRIVATE ${arg_DEPS})
  target_precompile_headers(headers_${name} PRIVATE ${arg_HEADERS})
endfunction()

function(engram_use_headers name)
  foreach(target IN LISTS ARGN)
    if(TARGET ${target})
      target_precompile_headers(${target} REUSE_FROM headers_${name})
    endif()
  endforeach()
endfunction()

set(ENGRAM_COMMON_HEADERS <algorithm> <cmath> <cstdint> <filesystem> <fstream> <functional> <map> <memory> <optional> <set> <span> <string> <string_view>
  <thread> <utility> <vector> <absl/status/statusor.h> <absl/strings/str_cat.h> <absl/strings/str_join.h> <absl/synchronization/mutex.h>
  <nlohmann/json.hpp>)
set(ENGRAM_TENSOR_HEADERS <ATen/core/Tensor.h> <ATen/TensorOperators.h> <ATen/Parallel.h> <ATen/ops/empty.h> <ATen/ops/zeros.h>)
set(ENGRAM_TEST_HEADERS <gtest/gtest.h> <gmock/gmock.h>)
