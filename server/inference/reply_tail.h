#pragma once

// The end that replies of inference calls share.

#include <cstdint>

#include "core/base/status.h"
#include "engram/v1/inference.pb.h"
#include "server/inference/inference_call.h"
#include "server/rpc/api_error.h"
#include "server/rpc/names.h"

namespace engram::server {

// Adds up what became of a call's texts, in their order.
class ReplyTail {
 public:
  // `tokens`: of the text, as the reply counts them. `truncated`: it was cut.
  void AddAnswer(int64_t tokens, bool truncated = false) {
    ++texts_;
    tokens_ += tokens;
    truncated_ = truncated_ || truncated;
  }
  // A text without an answer: `error` says why, `out` is where its result says so.
  void AddError(const absl::Status& error, engram::v1::Error& out) {
    ++texts_;
    ++errors_;
    first_error_.Update(error);
    out = ToError(error);
  }
  // Counts the texts as the metrics want them, and fills the reply: which version answered, tokens, timings, and
  // whether a text was cut where the reply has a place for it. The first text's error if no text has an answer.
  template <typename Response>
  absl::Status Fill(Metrics& metrics, const CallScope& scope, const serve::ServedVersion& version,
                    const engram::v1::Timings& timings, Response& response) const {
    metrics.CountTexts(scope.method(), texts_, tokens_, errors_);
    if (errors_ == texts_) return first_error_;
    response.set_model(ModelName(version.model));
    response.set_version(version.number);
    response.set_tokens(tokens_);
    *response.mutable_timings() = timings;
    if constexpr (requires { response.set_truncated(true); }) response.set_truncated(truncated_);
    return absl::OkStatus();
  }

 private:
  int64_t texts_ = 0, tokens_ = 0, errors_ = 0;
  bool truncated_ = false;
  absl::Status first_error_;
};

}  // namespace engram::server
