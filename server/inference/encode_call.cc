#include "server/inference/encode_call.h"

#include <bit>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/finite.h"
#include "core/longcontext/model_vector.h"
#include "core/nn/device.h"
#include "server/inference/inference_call.h"
#include "server/inference/reply_tail.h"

namespace engram::server {
namespace {

using engram::v1::LongContextEncodeRequest;
using engram::v1::LongContextEncodeResponse;

static_assert(std::endian::native == std::endian::little, "vectors travel as little-endian bytes");

void FillTensor(const float* data, const std::vector<int64_t>& shape, engram::v1::Tensor& out) {
  size_t count = 1;
  out.set_dtype("float32");
  for (const int64_t size : shape) {
    out.add_shape(size);
    count *= static_cast<size_t>(size);
  }
  out.set_data(data, count * sizeof(float));
}

// Runs in the pool, as long work, not through the batcher: a long text is many full batches by itself, and the model is
// safe to share.
class EncodeCall final : public PoolCall {
 public:
  EncodeCall(const InferenceBackend& backend, const grpc::CallbackServerContext& context,
             const LongContextEncodeRequest& request, LongContextEncodeResponse& response)
      : PoolCall(backend, context, response, "LongContextEncode", WorkPool::Length::kLong),
        request_(request),
        response_(response) {}

 private:
  absl::Status Compute() override;
  absl::StatusOr<longcontext::ChunkOptions> Options() const;
  bool by_modules() const {
    return request_.mode() == engram::v1::LONG_CONTEXT_MODE_UNSPECIFIED ||
           request_.mode() == engram::v1::LONG_CONTEXT_MODE_MODEL;
  }
  absl::StatusOr<longcontext::DocumentVectors> Encode(const longcontext::ChunkOptions& options) const;
  void FillVectors(const longcontext::DocumentVectors& vectors);

  const LongContextEncodeRequest& request_;
  LongContextEncodeResponse& response_;
};

absl::StatusOr<longcontext::ChunkOptions> EncodeCall::Options() const {
  longcontext::ChunkOptions options;
  switch (request_.mode()) {
    case engram::v1::LONG_CONTEXT_MODE_UNSPECIFIED:
    case engram::v1::LONG_CONTEXT_MODE_MODEL:
    case engram::v1::LONG_CONTEXT_MODE_TOKEN_MEAN:
      break;
    case engram::v1::LONG_CONTEXT_MODE_MAX:
      options.aggregation = longcontext::Aggregation::kMax;
      break;
    default:
      return InvalidField("mode", "must be model, token_mean or max");
  }
  if (!by_modules() && !request_.prompt_name().empty())
    return InvalidField("prompt_name", "goes with the mode \"model\" alone");
  options.chunk_tokens = request_.chunk_tokens();
  options.overlap = request_.overlap();
  options.normalize = request_.normalize();
  options.chunk_vectors = request_.chunk_vectors();
  return options;
}

void EncodeCall::FillVectors(const longcontext::DocumentVectors& vectors) {
  const auto width = static_cast<int64_t>(vectors.document.size()), count = static_cast<int64_t>(vectors.chunks.size());
  FillTensor(vectors.document.data(), {width}, *response_.mutable_vector());
  if (request_.chunk_vectors()) {
    FillTensor(vectors.chunk_vectors.const_data_ptr<float>(), {count, width}, *response_.mutable_chunk_vectors());
  }
  response_.set_mode(!by_modules() ? request_.mode()
                     : count == 1  ? engram::v1::LONG_CONTEXT_MODE_MODEL
                                   : engram::v1::LONG_CONTEXT_MODE_MODEL_CHUNKS);
  for (const longcontext::Chunk& from : vectors.chunks) {
    engram::v1::TextChunk* chunk = response_.add_chunks();
    chunk->set_start(from.start);
    chunk->set_end(from.end);
    chunk->set_start_byte(from.start_byte);
    chunk->set_end_byte(from.end_byte);
    chunk->set_tokens(from.tokens);
  }
}

absl::StatusOr<longcontext::DocumentVectors> EncodeCall::Encode(const longcontext::ChunkOptions& options) const {
  const nn::Model& model = *version_->version.model;
  if (!by_modules()) return longcontext::EncodeDocument(model, *version_->tokenizer, request_.text(), options);
  ENGRAM_RETURN_IF_ERROR(version_->vectors.status());
  ENGRAM_ASSIGN_OR_RETURN(const std::string_view prompt,
                          longcontext::FindPrompt(version_->vectors->modules(), request_.prompt_name()));
  return longcontext::EncodeByModules(model, *version_->vectors, *version_->tokenizer, request_.text(), prompt,
                                      options);
}

absl::Status EncodeCall::Compute() {
  ENGRAM_RETURN_IF_ERROR(OpenVersion(request_.model(), request_.version()));
  ENGRAM_ASSIGN_OR_RETURN(longcontext::ChunkOptions options, Options());
  absl::Status alive;
  options.progress = [&](int64_t, int64_t) {
    alive = scope_.Alive();
    return alive.ok();
  };
  const auto vectors = nn::GuardTorch([&] { return Encode(options); });
  ENGRAM_RETURN_IF_ERROR(alive);
  ENGRAM_RETURN_IF_ERROR(vectors.status());
  ENGRAM_RETURN_IF_ERROR(CheckFinite(vectors->document));
  // Chunks are tokenized while others are computed: all of it is compute time.
  timings_.set_compute_seconds(SecondsSinceOpened());
  FillVectors(*vectors);
  ReplyTail tail;
  tail.AddAnswer(vectors->tokens);
  return tail.Fill(backend_.environment.metrics, scope_, *version_, timings_, response_);
}

}  // namespace

grpc::ServerUnaryReactor* StartLongContextEncode(const InferenceBackend& backend,
                                                 const grpc::CallbackServerContext& context,
                                                 const LongContextEncodeRequest& request,
                                                 LongContextEncodeResponse& response) {
  return Started(new EncodeCall(backend, context, request, response));
}

}  // namespace engram::server
