#include <utility>

#include "absl/strings/str_cat.h"
#include "server/inference/inference_service.h"
#include "server/rpc/api_error.h"
#include "server/rpc/names.h"

namespace engram::server {
namespace {

using engram::v1::TokenizeRequest;
using engram::v1::TokenizeResponse;

class TokenizeCall final : public InferenceCall {
 public:
  TokenizeCall(const InferenceParts& parts, grpc::CallbackServerContext* context, const TokenizeRequest* request,
               TokenizeResponse* response)
      : InferenceCall(parts, context, "Tokenize"), request_(*request), response_(*response) {}

 private:
  absl::Status Prepare() override;
  void TakeResult(size_t /*index*/, absl::StatusOr<serve::SequenceResult> /*result*/) override {}
  absl::Status Compose() override {
    *response_.mutable_timings() = timings_;
    return absl::OkStatus();
  }

  const TokenizeRequest& request_;
  TokenizeResponse& response_;
};

absl::Status TokenizeCall::Prepare() {
  ENGRAM_RETURN_IF_ERROR(CheckTexts(request_.texts()));
  ENGRAM_RETURN_IF_ERROR(OpenVersion(request_.model(), request_.version()));
  response_.set_model(ModelName(version_->model));
  response_.set_version(version_->number);
  tokenize::EncodeOptions options;
  options.add_special_tokens = !request_.no_special_tokens();
  absl::Status first_error;
  int errors = 0;
  for (const std::string& text : request_.texts()) {
    engram::v1::TokenizeResult* result = response_.add_results();
    const absl::StatusOr<tokenize::Encoding> encoding = version_->tokenizer->Encode(text, options);
    if (!encoding.ok()) {
      *result->mutable_error() = ToError(encoding.status());
      first_error.Update(encoding.status());
      ++errors;
      continue;
    }
    ENGRAM_RETURN_IF_ERROR(AddTokens(encoding->ids.size()));
    response_.set_tokens(response_.tokens() + static_cast<int64_t>(encoding->ids.size()));
    for (size_t i = 0; i < encoding->ids.size(); ++i) {
      engram::v1::Token* token = result->add_tokens();
      token->set_id(encoding->ids[i]);
      token->set_token(std::string(version_->tokenizer->IdToToken(encoding->ids[i])));
      token->set_start(encoding->code_points[i].begin);
      token->set_end(encoding->code_points[i].end);
      token->set_start_byte(encoding->bytes[i].begin);
      token->set_end_byte(encoding->bytes[i].end);
      token->set_special(encoding->special[i] != 0);
    }
  }
  parts_.metrics.CountTexts("Tokenize", request_.texts_size(), response_.tokens(), errors);
  return errors == request_.texts_size() ? first_error : absl::OkStatus();
}

}  // namespace

InferenceCall* NewTokenizeCall(const InferenceParts& parts, grpc::CallbackServerContext* context,
                               const TokenizeRequest* request, TokenizeResponse* response) {
  return new TokenizeCall(parts, context, request, response);
}

}  // namespace engram::server
