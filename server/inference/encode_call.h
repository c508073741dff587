#pragma once

#include "engram/v1/inference.pb.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/server_callback.h"
#include "server/inference/inference_backend.h"
#include "server/inference/long_encode.h"

namespace engram::server {

// Starts a call of LongContextEncode, which deletes itself; for the handler to return. The books outlive it.
grpc::ServerUnaryReactor* StartLongContextEncode(const InferenceBackend& backend,
                                                 const grpc::CallbackServerContext& context, LongEncodeBooks& books,
                                                 const engram::v1::LongContextEncodeRequest& request,
                                                 engram::v1::LongContextEncodeResponse& response);

}  // namespace engram::server
