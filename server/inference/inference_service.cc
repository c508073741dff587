#include "server/inference/inference_service.h"

namespace engram::server {
namespace {

grpc::ServerUnaryReactor* Started(InferenceCall* call) {
  call->Begin();
  return call;
}

}  // namespace

grpc::ServerUnaryReactor* InferenceService::Classify(grpc::CallbackServerContext* context,
                                                     const engram::v1::ClassifyRequest* request,
                                                     engram::v1::ClassifyResponse* response) {
  return Started(NewClassifyCall(parts_, context, request, response));
}

grpc::ServerUnaryReactor* InferenceService::TagEntities(grpc::CallbackServerContext* context,
                                                        const engram::v1::TagEntitiesRequest* request,
                                                        engram::v1::TagEntitiesResponse* response) {
  return Started(NewTagEntitiesCall(parts_, context, request, response));
}

grpc::ServerUnaryReactor* InferenceService::LongContextEncode(grpc::CallbackServerContext* context,
                                                              const engram::v1::LongContextEncodeRequest* request,
                                                              engram::v1::LongContextEncodeResponse* response) {
  return Started(NewEncodeCall(parts_, context, request, response));
}

grpc::ServerUnaryReactor* InferenceService::Tokenize(grpc::CallbackServerContext* context,
                                                     const engram::v1::TokenizeRequest* request,
                                                     engram::v1::TokenizeResponse* response) {
  return Started(NewTokenizeCall(parts_, context, request, response));
}

}  // namespace engram::server
