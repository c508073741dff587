#include "server/inference/tokenize_call.h"

#include "server/inference/inference_call.h"
#include "server/inference/reply_tail.h"

namespace engram::server {
namespace {

using engram::v1::TokenizeRequest;
using engram::v1::TokenizeResponse;

class TokenizeCall final : public PoolCall {
 public:
  TokenizeCall(const InferenceBackend& backend, const grpc::CallbackServerContext& context,
               const TokenizeRequest& request, TokenizeResponse& response)
      : PoolCall(backend, context, response, "Tokenize",
                 PoolFor(backend, BytesOf(request.texts()) + BytesOf(request.text_pairs())), request.model(),
                 request.version()),
        request_(request),
        response_(response) {}

 private:
  absl::Status Compute() override;

  const TokenizeRequest& request_;
  TokenizeResponse& response_;
};

void FillTokens(const tokenize::Tokenizer& tokenizer, const tokenize::Encoding& encoding,
                engram::v1::TokenizeResult& result) {
  for (size_t i = 0; i < encoding.ids.size(); ++i) {
    engram::v1::Token* token = result.add_tokens();
    token->set_id(encoding.ids[i]);
    token->set_token(std::string(tokenizer.IdToToken(encoding.ids[i])));
    token->set_start(encoding.code_points[i].begin);
    token->set_end(encoding.code_points[i].end);
    token->set_start_byte(encoding.bytes[i].begin);
    token->set_end_byte(encoding.bytes[i].end);
    token->set_special(encoding.special[i] != 0);
    token->set_type_id(encoding.type_ids[i]);
  }
}

absl::Status TokenizeCall::Compute() {
  ENGRAM_RETURN_IF_ERROR(CheckTexts(request_.texts()));
  ENGRAM_RETURN_IF_ERROR(CheckPairs(request_.texts(), request_.text_pairs()));
  ENGRAM_RETURN_IF_ERROR(OpenVersion());
  tokenize::EncodeOptions options;
  options.add_special_tokens = !request_.no_special_tokens();
  if (request_.has_split_special_tokens()) options.split_special_tokens = request_.split_special_tokens();
  ReplyTail tail;
  for (int i = 0; i < request_.texts_size(); ++i) {
    engram::v1::TokenizeResult* result = response_.add_results();
    const absl::StatusOr<tokenize::Encoding> encoding =
        request_.text_pairs().empty()
            ? version_->tokenizer->Encode(request_.texts(i), options)
            : version_->tokenizer->EncodePair(request_.texts(i), request_.text_pairs(i), options);
    if (!encoding.ok()) {
      tail.AddError(encoding.status(), *result->mutable_error());
      continue;
    }
    ENGRAM_RETURN_IF_ERROR(AddTokens(encoding->ids.size()));
    FillTokens(*version_->tokenizer, *encoding, *result);
    tail.AddAnswer(static_cast<int64_t>(encoding->ids.size()));
  }
  timings_.set_tokenize_seconds(SecondsSinceOpened());
  return tail.Fill(backend_.environment.metrics, scope_, *version_, timings_, response_);
}

}  // namespace

grpc::ServerUnaryReactor* StartTokenize(const InferenceBackend& backend, const grpc::CallbackServerContext& context,
                                        const TokenizeRequest& request, TokenizeResponse& response) {
  return Started(new TokenizeCall(backend, context, request, response));
}

}  // namespace engram::server
