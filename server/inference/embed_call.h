#pragma once

#include "engram/v1/inference.pb.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/server_callback.h"
#include "server/inference/inference_backend.h"

namespace engram::server {

// Starts a call of Embed, which deletes itself; for the handler to return.
grpc::ServerUnaryReactor* StartEmbed(const InferenceBackend& backend, const grpc::CallbackServerContext& context,
                                     const engram::v1::EmbedRequest& request, engram::v1::EmbedResponse& response);

}  // namespace engram::server
