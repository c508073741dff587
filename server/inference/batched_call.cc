#include "server/inference/batched_call.h"

#include <algorithm>
#include <numeric>
#include <utility>

namespace engram::server {
namespace {

// What a text is counted as at most when it will be cut: the tokens of common models.
constexpr int64_t kCutBytes = 2048;

}  // namespace

BatchedCall::BatchedCall(const InferenceBackend& backend, const grpc::CallbackServerContext& context,
                         const google::protobuf::Message& reply, const char* method, const std::string& model,
                         const std::string& version, const Texts& texts, const Texts* pairs, bool cut, int64_t beside)
    : InferenceCall(backend, context, reply, method,
                    PoolFor(backend, BytesOf(texts) + (pairs == nullptr ? 0 : BytesOf(*pairs)) + beside), model,
                    version),
      texts_of_call_(texts),
      pairs_of_call_(pairs),
      cut_(cut) {}

absl::Status BatchedCall::Admit() {
  ENGRAM_RETURN_IF_ERROR(CheckTexts(texts_of_call_));
  if (pairs_of_call_ != nullptr) ENGRAM_RETURN_IF_ERROR(CheckPairs(texts_of_call_, *pairs_of_call_));
  int64_t bytes = pairs_of_call_ == nullptr || cut_ ? 0 : BytesOf(*pairs_of_call_);
  for (const std::string& text : texts_of_call_) {
    const auto size = static_cast<int64_t>(text.size());
    bytes += cut_ ? std::min(size, kCutBytes) : size;
  }
  ENGRAM_ASSIGN_OR_RETURN(ticket_, backend_.engine.admission().Admit(texts_of_call_.size(), bytes, scope_.deadline()));
  return absl::OkStatus();
}

void BatchedCall::WorkOnVersion() {
  if (const absl::Status prepared = Prepare(); !prepared.ok()) {
    End(prepared);
    return;
  }
  timings_.set_tokenize_seconds(SecondsSinceOpened());
  const int64_t tokens = std::accumulate(item_tokens_.begin(), item_tokens_.end(), int64_t{0});
  ticket_->Tokenized(static_cast<int64_t>(items_.size()), tokens,
                     cut_ ? 0 : BytesOf(texts_of_call_) + (pairs_of_call_ == nullptr ? 0 : BytesOf(*pairs_of_call_)));
  if (items_.empty()) {  // no text of the call can be encoded
    End(Compose());
    return;
  }
  {
    absl::MutexLock lock(&mutex_);
    pending_ = items_.size();
  }
  // From here on the last result ends the call.
  if (const absl::Status submitted = backend_.engine.batcher().Submit(std::move(items_)); !submitted.ok())
    End(submitted);
}

void BatchedCall::AddSequence(nn::Sequence sequence, std::vector<std::string> heads,
                              std::optional<serve::VectorQuery> vector) {
  const size_t index = items_.size();
  item_tokens_.push_back(static_cast<int64_t>(sequence.ids.size()));
  items_.push_back(std::make_shared<serve::SequenceItem>(
      version_, std::move(sequence), std::move(heads), scope_.deadline(), scope_.cancelled_flag(),
      [this, index](absl::StatusOr<serve::SequenceResult> result) { OnSequence(index, std::move(result)); }, vector));
}

void BatchedCall::OnSequence(size_t index, absl::StatusOr<serve::SequenceResult> result) {
  ticket_->Answered(item_tokens_[index]);
  {
    absl::MutexLock lock(&mutex_);
    if (result.ok()) {
      timings_.set_queue_seconds(std::max(timings_.queue_seconds(), result->queue_seconds));
      timings_.set_compute_seconds(std::max(timings_.compute_seconds(), result->compute_seconds));
    }
    TakeResult(index, std::move(result));
    if (--pending_ > 0) return;
  }
  Schedule([this] { End(Compose()); });
}

}  // namespace engram::server
