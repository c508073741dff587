#pragma once

#include "engram/v1/inference.pb.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/server_callback.h"
#include "server/inference/inference_backend.h"

namespace engram::server {

// Starts a call of StreamTagEntities; for the handler to return. What `backend` refers to outlives the call and its work.
grpc::ServerBidiReactor<engram::v1::StreamTagEntitiesRequest, engram::v1::StreamTagEntitiesResponse>*
StartStreamTagEntities(const InferenceBackend& backend, const grpc::CallbackServerContext& context);

}  // namespace engram::server
