#pragma once

#include <memory>

#include "engram/v1/inference.pb.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/server_callback.h"
#include "server/inference/inference_backend.h"
#include "server/inference/long_encode.h"

namespace engram::server {

// Starts a call of StreamLongContextEncode; for the handler to return. A client that leaves ends the call at once, and the
// work at its next step, several times a second; what `backend` refers to outlives that.
grpc::ServerWriteReactor<engram::v1::StreamLongContextEncodeResponse>* StartStreamLongContextEncode(
    const InferenceBackend& backend, const grpc::CallbackServerContext& context, std::shared_ptr<LongEncodeBooks> books,
    const engram::v1::StreamLongContextEncodeRequest& request);

}  // namespace engram::server
