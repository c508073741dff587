# engram_proto: the public API, generated from proto/, and google.rpc's error details. All that the CLI and other clients link.
# engram_worker_proto: what server and worker say to each other.
find_package(Protobuf REQUIRED)
find_program(ENGRAM_PROTOC protoc REQUIRED)
find_program(ENGRAM_GRPC_PLUGIN grpc_cpp_plugin REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(GRPC REQUIRED IMPORTED_TARGET grpc++)
file(GLOB ENGRAM_RPC_PROTOS "${ENGRAM_DEPS}/runtime/lib/python3*/site-packages/google/rpc")
if(NOT ENGRAM_RPC_PROTOS)
  message(FATAL_ERROR "google/rpc/*.proto are missing: run `make setup`")
endif()
list(GET ENGRAM_RPC_PROTOS 0 ENGRAM_RPC_PROTOS)
get_filename_component(ENGRAM_RPC_PROTOS "${ENGRAM_RPC_PROTOS}/../.." ABSOLUTE)
set(ENGRAM_PROTO_OUT "${CMAKE_BINARY_DIR}/generated")
file(MAKE_DIRECTORY "${ENGRAM_PROTO_OUT}")

# engram_generate(OUT_VARIABLE ROOT GRPC files...): protoc on files below ROOT; GRPC: also services.
function(engram_generate out root grpc)
  set(sources)
  foreach(file IN LISTS ARGN)
    string(REGEX REPLACE "\\.proto$" "" stem "${file}")
    set(products "${ENGRAM_PROTO_OUT}/${stem}.pb.cc" "${ENGRAM_PROTO_OUT}/${stem}.pb.h")
    set(arguments "--cpp_out=${ENGRAM_PROTO_OUT}")
    if(grpc)
      list(APPEND products "${ENGRAM_PROTO_OUT}/${stem}.grpc.pb.cc" "${ENGRAM_PROTO_OUT}/${stem}.grpc.pb.h")
      list(APPEND arguments "--grpc_out=${ENGRAM_PROTO_OUT}" "--plugin=protoc-gen-grpc=${ENGRAM_GRPC_PLUGIN}")
    endif()
    add_custom_command(OUTPUT ${products}
      COMMAND "${ENGRAM_PROTOC}" "-I${root}" "-I${CMAKE_SOURCE_DIR}/proto" "-I/usr/include" ${arguments} "${file}"
      DEPENDS "${root}/${file}" VERBATIM)
    list(APPEND sources ${products})
  endforeach()
  set(${out} ${sources} PARENT_SCOPE)
endfunction()

function(engram_proto_library name)
  add_library(${name} STATIC ${ARGN})
  target_include_directories(${name} SYSTEM PUBLIC "${ENGRAM_PROTO_OUT}")
  target_compile_options(${name} PRIVATE -w)  # generated code is not ours to lint
  target_link_libraries(${name} PUBLIC PkgConfig::GRPC protobuf::libprotobuf)
endfunction()

engram_generate(api_sources "${CMAKE_SOURCE_DIR}/proto" TRUE engram/v1/job.proto engram/v1/task.proto engram/v1/model.proto
  engram/v1/dataset.proto engram/v1/inference.proto engram/v1/collection.proto engram/v1/annotation.proto)
engram_generate(rpc_sources "${ENGRAM_RPC_PROTOS}" FALSE google/rpc/status.proto google/rpc/error_details.proto)
engram_generate(worker_sources "${CMAKE_SOURCE_DIR}/proto" FALSE engram/worker/v1/worker.proto)
engram_proto_library(engram_proto ${api_sources} ${rpc_sources})
engram_proto_library(engram_worker_proto ${worker_sources})
target_link_libraries(engram_worker_proto PUBLIC engram_proto)
add_custom_target(engram_proto_sources DEPENDS ${api_sources} ${rpc_sources} ${worker_sources})
