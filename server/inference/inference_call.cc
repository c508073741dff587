#include "server/inference/inference_call.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/rpc/names.h"

namespace engram::server {

InferenceCall::InferenceCall(const InferenceParts& parts, grpc::CallbackServerContext* context, const char* method,
                             WorkPool::Length prepare)
    : parts_(parts),
      deadline_(absl::FromChrono(context->deadline())),
      prepare_(prepare),
      record_(parts.metrics, method) {}

void InferenceCall::Begin() {
  scheduled_ = parts_.pool.Schedule([this] { Run(); }, prepare_);
}

void InferenceCall::OnCancel() {
  cancelled_->store(true);
  if (!parts_.pool.Withdraw(scheduled_)) return;
  Close(Clock::Real().Now() > deadline_
            ? absl::DeadlineExceededError("the deadline passed before the call had its turn")
            : absl::CancelledError("the client went away"));
}

void InferenceCall::Run() {
  if (const absl::Status prepared = Prepare(); !prepared.ok()) {
    Close(prepared);
    return;
  }
  const double seconds = absl::ToDoubleSeconds(Clock::Real().Now() - opened_);
  timings_.set_tokenize_seconds(std::max(0.0, seconds - timings_.compute_seconds()));
  if (items_.empty()) {
    Close(Compose());
    return;
  }
  {
    absl::MutexLock lock(&mutex_);
    pending_ = items_.size();
  }
  // From here on the last result ends the call.
  if (const absl::Status submitted = parts_.engine.batcher().Submit(std::move(items_)); !submitted.ok())
    Close(submitted);
}

absl::Status InferenceCall::OpenVersion(const std::string& model, const std::string& version) {
  ENGRAM_ASSIGN_OR_RETURN(const std::string name, ParseName("model", "models", model));
  ENGRAM_ASSIGN_OR_RETURN(const int64_t number, parts_.store.ResolveVersion(name, version));
  ENGRAM_ASSIGN_OR_RETURN(version_, parts_.models.Get(name, number));
  opened_ = Clock::Real().Now();  // loading, where it was needed, is no part of the call's own time
  return absl::OkStatus();
}

absl::Status InferenceCall::CheckTexts(const google::protobuf::RepeatedPtrField<std::string>& texts) const {
  if (texts.empty() || texts.size() > parts_.max_texts) {
    return InvalidField(
        "texts", absl::StrCat("are ", texts.size(), "; one call takes 1 to ", parts_.max_texts, ": send more calls"));
  }
  int64_t bytes = 0;
  for (const std::string& text : texts) bytes += static_cast<int64_t>(text.size());
  if (bytes <= kMaxTextBytes) return absl::OkStatus();
  return InvalidField(
      "texts", absl::StrCat("have ", bytes, " bytes together; one call takes ", kMaxTextBytes, ": send more calls"));
}

absl::Status InferenceCall::AddTokens(size_t count) {
  if (cancelled_->load()) return absl::CancelledError("the client went away");
  tokens_ += static_cast<int64_t>(count);
  if (tokens_ <= kMaxTokens) return absl::OkStatus();
  return InvalidField(
      "texts", absl::StrCat("have more than ", kMaxTokens, " tokens, which is what one call takes: send more calls"));
}

void InferenceCall::AddSequence(nn::Sequence sequence, std::vector<std::string> heads) {
  const size_t index = items_.size();
  items_.push_back(std::make_shared<serve::SequenceItem>(
      version_, std::move(sequence), std::move(heads), deadline_, cancelled_,
      [this, index](absl::StatusOr<serve::SequenceResult> result) { OnSequence(index, std::move(result)); }));
}

void InferenceCall::OnSequence(size_t index, absl::StatusOr<serve::SequenceResult> result) {
  {
    absl::MutexLock lock(&mutex_);
    if (result.ok()) {
      timings_.set_queue_seconds(std::max(timings_.queue_seconds(), result->queue_seconds));
      timings_.set_compute_seconds(std::max(timings_.compute_seconds(), result->compute_seconds));
    }
    TakeResult(index, std::move(result));
    if (--pending_ > 0) return;
  }
  parts_.pool.Schedule([this] { Close(Compose()); });
}

}  // namespace engram::server
