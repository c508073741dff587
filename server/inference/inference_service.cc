#include "server/inference/inference_service.h"

#include "server/inference/classify_call.h"
#include "server/inference/embed_call.h"
#include "server/inference/encode_call.h"
#include "server/inference/encode_stream.h"
#include "server/inference/tag_entities_call.h"
#include "server/inference/tag_entities_stream.h"
#include "server/inference/tokenize_call.h"

namespace engram::server {

InferenceService::InferenceService(const InferenceBackend& backend)
    : backend_(backend),
      classify_messages_(backend.bulk),
      tag_messages_(backend.bulk),
      tokenize_messages_(backend.bulk) {
  SetMessageAllocatorFor_Classify(&classify_messages_);
  SetMessageAllocatorFor_TagEntities(&tag_messages_);
  SetMessageAllocatorFor_Tokenize(&tokenize_messages_);
}

grpc::ServerUnaryReactor* InferenceService::Classify(grpc::CallbackServerContext* context,
                                                     const engram::v1::ClassifyRequest* request,
                                                     engram::v1::ClassifyResponse* response) {
  return StartClassify(backend_, *context, *request, *response);
}

grpc::ServerUnaryReactor* InferenceService::TagEntities(grpc::CallbackServerContext* context,
                                                        const engram::v1::TagEntitiesRequest* request,
                                                        engram::v1::TagEntitiesResponse* response) {
  return StartTagEntities(backend_, *context, *request, *response);
}

grpc::ServerBidiReactor<engram::v1::StreamTagEntitiesRequest, engram::v1::StreamTagEntitiesResponse>*
InferenceService::StreamTagEntities(grpc::CallbackServerContext* context) {
  return StartStreamTagEntities(backend_, *context);
}

grpc::ServerUnaryReactor* InferenceService::Embed(grpc::CallbackServerContext* context,
                                                  const engram::v1::EmbedRequest* request,
                                                  engram::v1::EmbedResponse* response) {
  return StartEmbed(backend_, *context, *request, *response);
}

grpc::ServerUnaryReactor* InferenceService::LongContextEncode(grpc::CallbackServerContext* context,
                                                              const engram::v1::LongContextEncodeRequest* request,
                                                              engram::v1::LongContextEncodeResponse* response) {
  return StartLongContextEncode(backend_, *context, *books_, *request, *response);
}

grpc::ServerWriteReactor<engram::v1::StreamLongContextEncodeResponse>* InferenceService::StreamLongContextEncode(
    grpc::CallbackServerContext* context, const engram::v1::StreamLongContextEncodeRequest* request) {
  return StartStreamLongContextEncode(backend_, *context, books_, *request);
}

grpc::ServerUnaryReactor* InferenceService::Tokenize(grpc::CallbackServerContext* context,
                                                     const engram::v1::TokenizeRequest* request,
                                                     engram::v1::TokenizeResponse* response) {
  return StartTokenize(backend_, *context, *request, *response);
}

}  // namespace engram::server
