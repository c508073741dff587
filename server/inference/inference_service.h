#pragma once

#include "engram/v1/inference.grpc.pb.h"
#include "server/inference/inference_call.h"

namespace engram::server {

class InferenceService final : public engram::v1::InferenceService::CallbackService {
 public:
  explicit InferenceService(const InferenceParts& parts) : parts_(parts) {}

  grpc::ServerUnaryReactor* Classify(grpc::CallbackServerContext* context, const engram::v1::ClassifyRequest* request,
                                     engram::v1::ClassifyResponse* response) override;
  grpc::ServerUnaryReactor* TagEntities(grpc::CallbackServerContext* context,
                                        const engram::v1::TagEntitiesRequest* request,
                                        engram::v1::TagEntitiesResponse* response) override;
  grpc::ServerUnaryReactor* LongContextEncode(grpc::CallbackServerContext* context,
                                              const engram::v1::LongContextEncodeRequest* request,
                                              engram::v1::LongContextEncodeResponse* response) override;
  grpc::ServerUnaryReactor* Tokenize(grpc::CallbackServerContext* context, const engram::v1::TokenizeRequest* request,
                                     engram::v1::TokenizeResponse* response) override;

 private:
  const InferenceParts parts_;
};

// One call each; they delete themselves.
InferenceCall* NewClassifyCall(const InferenceParts& parts, grpc::CallbackServerContext* context,
                               const engram::v1::ClassifyRequest* request, engram::v1::ClassifyResponse* response);
InferenceCall* NewTagEntitiesCall(const InferenceParts& parts, grpc::CallbackServerContext* context,
                                  const engram::v1::TagEntitiesRequest* request,
                                  engram::v1::TagEntitiesResponse* response);
InferenceCall* NewEncodeCall(const InferenceParts& parts, grpc::CallbackServerContext* context,
                             const engram::v1::LongContextEncodeRequest* request,
                             engram::v1::LongContextEncodeResponse* response);
InferenceCall* NewTokenizeCall(const InferenceParts& parts, grpc::CallbackServerContext* context,
                               const engram::v1::TokenizeRequest* request, engram::v1::TokenizeResponse* response);

}  // namespace engram::server
