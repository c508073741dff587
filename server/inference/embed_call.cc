#include "server/inference/embed_call.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/base/finite.h"
#include "core/longcontext/model_vector.h"
#include "core/nn/device.h"
#include "server/inference/batched_call.h"
#include "server/inference/reply_tail.h"

namespace engram::server {
namespace {

using engram::v1::EmbedRequest;
using engram::v1::EmbedResponse;
using engram::v1::EmbedResult;

constexpr int64_t kMaxVectorBytes = 16 << 20;  // of one reply

// Every part of a text (one, or the chunks of a long one) is a sequence of its own, so that short texts share batches
// and a long one shares them with others.
class EmbedCall final : public BatchedCall {
 public:
  EmbedCall(const InferenceBackend& backend, const grpc::CallbackServerContext& context, const EmbedRequest& request,
            EmbedResponse& response)
      : BatchedCall(backend, context, response, "Embed", request.model(), request.version(), request.texts(), nullptr,
                    request.truncate()),
        request_(request),
        response_(response) {}

 private:
  struct Text {
    absl::Status status;
    std::vector<at::Tensor> parts;  // vectors, by the part's number
    std::vector<int64_t> weights;
  };
  struct Place {
    int text = 0;
    size_t part = 0;
  };

  absl::Status Prepare() override;
  absl::Status CheckReplySize() const;
  absl::Status AddText(int index);
  void TakeResult(size_t index, absl::StatusOr<serve::SequenceResult> result) override;
  absl::Status Finish(const Text& text, EmbedResult& result) const;
  absl::Status Compose() override;

  const EmbedRequest& request_;
  EmbedResponse& response_;
  std::string_view prompt_;
  std::vector<Text> texts_;
  std::vector<Place> places_;  // of each sequence
};

absl::Status EmbedCall::CheckReplySize() const {
  const int64_t each = version_->vectors->width() * static_cast<int64_t>(sizeof(float));
  if (request_.texts_size() <= kMaxVectorBytes / each) return absl::OkStatus();
  return InvalidField(
      "texts", absl::StrCat("are ", request_.texts_size(), ", whose vectors have ", each,
                            " bytes each; one reply holds ", kMaxVectorBytes / each, " of them: send more calls"));
}

absl::Status EmbedCall::AddText(int index) {
  const serve::ServedVersion& version = *version_;
  longcontext::ModelPlanOptions options;
  options.truncate = request_.truncate();
  options.prompt = prompt_;
  absl::StatusOr<longcontext::ModelPlan> plan =
      longcontext::PlanModelVector(version.vectors->modules(), *version.tokenizer, request_.texts(index), options);
  if (!plan.ok()) return InvalidField(absl::StrCat("texts[", index, "]"), std::string(plan.status().message()));
  Text& text = texts_[static_cast<size_t>(index)];
  EmbedResult& result = *response_.mutable_results(index);
  result.set_tokens(plan->tokens);
  result.set_truncated(plan->truncated);
  result.set_chunks(static_cast<int32_t>(plan->parts.size()));
  result.set_mode(plan->parts.size() == 1 ? engram::v1::LONG_CONTEXT_MODE_MODEL
                                          : engram::v1::LONG_CONTEXT_MODE_MODEL_CHUNKS);
  text.parts.resize(plan->parts.size());
  for (size_t part = 0; part < plan->parts.size(); ++part) {
    text.weights.push_back(plan->parts[part].weight);
    places_.push_back({index, part});
    AddSequence(std::move(plan->parts[part].sequence), {}, serve::VectorQuery{plan->parts[part].prompt_tokens});
  }
  return absl::OkStatus();
}

absl::Status EmbedCall::Prepare() {
  ENGRAM_RETURN_IF_ERROR(OpenVersion());
  ENGRAM_RETURN_IF_ERROR(version_->vectors.status());
  ENGRAM_RETURN_IF_ERROR(CheckReplySize());
  ENGRAM_ASSIGN_OR_RETURN(prompt_, longcontext::FindPrompt(version_->vectors->modules(), request_.prompt_name()));
  response_.set_dimension(version_->vectors->width());
  texts_.resize(static_cast<size_t>(request_.texts_size()));
  for (int i = 0; i < request_.texts_size(); ++i) {
    response_.add_results();
    texts_[static_cast<size_t>(i)].status = AddText(i);
    ENGRAM_RETURN_IF_ERROR(AddTokens(static_cast<size_t>(response_.results(i).tokens())));
  }
  return absl::OkStatus();
}

void EmbedCall::TakeResult(size_t index, absl::StatusOr<serve::SequenceResult> result) {
  const Place place = places_[index];
  Text& text = texts_[static_cast<size_t>(place.text)];
  if (result.ok()) {
    text.parts[place.part] = std::move(result->vector);
  } else {
    text.status.Update(result.status());
  }
}

absl::Status EmbedCall::Finish(const Text& text, EmbedResult& result) const {
  return nn::GuardTorch([&]() -> absl::Status {
    at::Tensor vector = version_->vectors->Combine(text.parts, text.weights);
    if (request_.normalize()) vector = nn::UnitLength(vector);
    const at::Tensor floats = vector.to(at::kFloat).contiguous();
    const float* numbers = floats.const_data_ptr<float>();
    ENGRAM_RETURN_IF_ERROR(CheckFinite({numbers, static_cast<size_t>(floats.numel())}));
    result.mutable_vector()->Add(numbers, numbers + floats.numel());
    return absl::OkStatus();
  });
}

absl::Status EmbedCall::Compose() {
  ReplyTail tail;
  for (int i = 0; i < response_.results_size(); ++i) {
    EmbedResult& result = *response_.mutable_results(i);
    Text& text = texts_[static_cast<size_t>(i)];
    if (text.status.ok()) text.status = Finish(text, result);
    if (text.status.ok()) {
      tail.AddAnswer(result.tokens(), result.truncated());
    } else {
      result.Clear();
      tail.AddError(text.status, *result.mutable_error());
    }
  }
  return tail.Fill(backend_.environment.metrics, scope_, *version_, timings_, response_);
}

}  // namespace

grpc::ServerUnaryReactor* StartEmbed(const InferenceBackend& backend, const grpc::CallbackServerContext& context,
                                     const EmbedRequest& request, EmbedResponse& response) {
  return Started(new EmbedCall(backend, context, request, response));
}

}  // namespace engram::server
