#include "server/inference/batched_call.h"

#include <algorithm>
#include <utility>

namespace engram::server {

void BatchedCall::Work() {
  if (const absl::Status prepared = Prepare(); !prepared.ok()) {
    End(prepared);
    return;
  }
  timings_.set_tokenize_seconds(SecondsSinceOpened());
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
  items_.push_back(std::make_shared<serve::SequenceItem>(
      version_, std::move(sequence), std::move(heads), scope_.deadline(), scope_.cancelled_flag(),
      [this, index](absl::StatusOr<serve::SequenceResult> result) { OnSequence(index, std::move(result)); }, vector));
}

void BatchedCall::OnSequence(size_t index, absl::StatusOr<serve::SequenceResult> result) {
  {
    absl::MutexLock lock(&mutex_);
    if (result.ok()) {
      timings_.set_queue_seconds(std::max(timings_.queue_seconds(), result->queue_seconds));
      timings_.set_compute_seconds(std::max(timings_.compute_seconds(), result->compute_seconds));
    }
    TakeResult(index, std::move(result));
    if (--pending_ > 0) return;
  }
  backend_.pool.Schedule([this] { End(Compose()); });
}

}  // namespace engram::server
