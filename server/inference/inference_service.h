#pragma once

// engram.v1.InferenceService: what versions answer. Each call is a class of its own (classify_call.h and its siblings)
// that runs in the inference pool and deletes itself; docs/life-of-a-request.md follows one through.
//
// Thread-safe; the backend outlives it. One bad text never fails the others: its result carries the error. Errors of
// whole calls: INVALID_ARGUMENT with the field, NOT_FOUND (MODEL_NOT_FOUND, VERSION_NOT_FOUND, LABEL_NOT_FOUND,
// TASK_NOT_FOUND), RESOURCE_EXHAUSTED when the device's queue is full, DATA_LOSS for a version whose files are damaged,
// UNAVAILABLE when the server stops, and DEADLINE_EXCEEDED or CANCELLED once nobody waits for the answer.

#include <memory>

#include "engram/v1/inference.grpc.pb.h"
#include "server/inference/inference_backend.h"
#include "server/inference/long_encode.h"
#include "server/rpc/pooled_messages.h"

namespace engram::server {

class InferenceService final : public engram::v1::InferenceService::CallbackService {
 public:
  using Api = engram::v1::InferenceService;

  explicit InferenceService(const InferenceBackend& backend);

  grpc::ServerUnaryReactor* Classify(grpc::CallbackServerContext* context, const engram::v1::ClassifyRequest* request,
                                     engram::v1::ClassifyResponse* response) override;
  grpc::ServerUnaryReactor* TagEntities(grpc::CallbackServerContext* context,
                                        const engram::v1::TagEntitiesRequest* request,
                                        engram::v1::TagEntitiesResponse* response) override;
  grpc::ServerBidiReactor<engram::v1::StreamTagEntitiesRequest, engram::v1::StreamTagEntitiesResponse>*
  StreamTagEntities(grpc::CallbackServerContext* context) override;
  grpc::ServerUnaryReactor* Embed(grpc::CallbackServerContext* context, const engram::v1::EmbedRequest* request,
                                  engram::v1::EmbedResponse* response) override;
  grpc::ServerUnaryReactor* LongContextEncode(grpc::CallbackServerContext* context,
                                              const engram::v1::LongContextEncodeRequest* request,
                                              engram::v1::LongContextEncodeResponse* response) override;
  grpc::ServerWriteReactor<engram::v1::StreamLongContextEncodeResponse>* StreamLongContextEncode(
      grpc::CallbackServerContext* context, const engram::v1::StreamLongContextEncodeRequest* request) override;
  grpc::ServerUnaryReactor* Tokenize(grpc::CallbackServerContext* context, const engram::v1::TokenizeRequest* request,
                                     engram::v1::TokenizeResponse* response) override;

 private:
  const InferenceBackend backend_;
  PooledMessages<engram::v1::ClassifyRequest, engram::v1::ClassifyResponse> classify_messages_;
  PooledMessages<engram::v1::TagEntitiesRequest, engram::v1::TagEntitiesResponse> tag_messages_;
  PooledMessages<engram::v1::TokenizeRequest, engram::v1::TokenizeResponse> tokenize_messages_;
  // Shared with streams, whose work may end after their call.
  const std::shared_ptr<LongEncodeBooks> books_ = std::make_shared<LongEncodeBooks>();
};

}  // namespace engram::server
