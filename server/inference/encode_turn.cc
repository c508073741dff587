#include "server/inference/encode_turn.h"

#include <utility>

namespace engram::server {

absl::Status EncodeTurn::Take(serve::Admission& admission, const engram::v1::LongContextEncodeRequest& request,
                              absl::Time deadline) {
  if (request.validate_only() || !request.config_json().empty()) return absl::OkStatus();
  bytes_ = static_cast<int64_t>(request.text().size());
  // Encodes come one after the other, not in turns: all that are there come before this one, as calls of one item do.
  ENGRAM_ASSIGN_OR_RETURN(ticket_, admission.Admit(1, bytes_, deadline));
  admission_ = &admission;
  return absl::OkStatus();
}

void EncodeTurn::Planned(const engram::v1::LongContextPlan& plan) {
  if (ticket_ == nullptr) return;
  tokens_ = left_ = plan.tokens_encoded();
  ticket_->Tokenized(1, tokens_, bytes_);
}

void EncodeTurn::Progressed(const engram::v1::LongContextProgress& progress) {
  if (ticket_ == nullptr || progress.total() <= 0) return;
  const double share = static_cast<double>(progress.done()) / static_cast<double>(progress.total());
  const int64_t left = tokens_ - static_cast<int64_t>(share * static_cast<double>(tokens_)), computed = left_ - left;
  if (computed <= 0) return;
  left_ = left;
  // First: with nothing left anywhere the time would begin anew.
  admission_->Computed(computed, /*budget=*/computed);
  ticket_->Tokenized(1, left, /*bytes=*/0);
}

}  // namespace engram::server
