#include "server/inference/tag_entities_call.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/inference/batched_call.h"
#include "server/inference/reply_tail.h"
#include "server/inference/text_tagging.h"

namespace engram::server {
namespace {

using engram::v1::TagEntitiesRequest;
using engram::v1::TagEntitiesResponse;
using engram::v1::TagEntitiesResult;

class TagEntitiesCall final : public BatchedCall {
 public:
  TagEntitiesCall(const InferenceBackend& backend, const grpc::CallbackServerContext& context,
                  const TagEntitiesRequest& request, TagEntitiesResponse& response)
      : BatchedCall(backend, context, response, "TagEntities", request.model(), request.version(), request.texts(),
                    nullptr, /*cut=*/false, BytesOf(request.terms())),
        request_(request),
        response_(response) {}

 private:
  struct Text {
    TextTagging tagging;
    absl::Status status;
  };
  // Which window of which text a sequence is.
  struct Window {
    size_t text = 0, window = 0;
  };

  absl::Status Prepare() override;
  absl::Status CountWords(size_t words, int64_t tokens);
  void TakeResult(size_t index, absl::StatusOr<serve::SequenceResult> result) override;
  absl::Status Compose() override;

  const TagEntitiesRequest& request_;
  TagEntitiesResponse& response_;
  std::optional<Tagger> tagger_;
  std::vector<Text> texts_;
  std::vector<Window> windows_;
  size_t words_ = 0;
};

// Each word takes as many numbers as there are tags, also one that the tokenizer makes no token of.
absl::Status TagEntitiesCall::CountWords(size_t words, int64_t tokens) {
  ENGRAM_RETURN_IF_ERROR(AddTokens(std::max(words, static_cast<size_t>(tokens))));
  words_ += words;
  const size_t tags = static_cast<size_t>(tagger_->tags->size()), most = kMaxTaggingLogits / tags;
  if (words_ <= most) return absl::OkStatus();
  return InvalidField("texts", absl::StrCat("have more than ", most, " words, which is what one call takes with ", tags,
                                            " tags: send more calls"));
}

absl::Status TagEntitiesCall::Prepare() {
  ENGRAM_RETURN_IF_ERROR(OpenVersion());
  ENGRAM_ASSIGN_OR_RETURN(tagger_, ChooseTagger(version_, request_, backend_.matchers));
  texts_.resize(static_cast<size_t>(request_.texts_size()));
  for (size_t i = 0; i < texts_.size(); ++i) {
    Text& text = texts_[i];
    const std::string& from = request_.texts(static_cast<int>(i));
    text.status = text.tagging.Prepare(*tagger_, from, absl::StrCat("texts[", i, "]"));
    ENGRAM_RETURN_IF_ERROR(CountWords(text.tagging.words(), text.tagging.tokens()));
    if (!text.status.ok()) continue;
    text.tagging.Reserve();
    for (size_t w = 0; w < text.tagging.windows(); ++w) {
      windows_.push_back({i, w});
      AddSequence(text.tagging.TakeSequence(w), {tagger_->task});
    }
  }
  return absl::OkStatus();
}

void TagEntitiesCall::TakeResult(size_t index, absl::StatusOr<serve::SequenceResult> result) {
  const Window& window = windows_[index];
  Text& text = texts_[window.text];
  if (result.ok()) {
    text.tagging.TakeLogits(window.window, result->logits.at(tagger_->task));
  } else {
    text.status.Update(result.status());
  }
}

absl::Status TagEntitiesCall::Compose() {
  ReplyTail tail;
  for (Text& text : texts_) {
    TagEntitiesResult& result = *response_.add_results();
    if (text.status.ok()) text.status = text.tagging.Compose(result);
    if (text.status.ok()) {
      tail.AddAnswer(result.tokens(), result.truncated());
    } else {
      tail.AddError(text.status, *result.mutable_error());
    }
  }
  return tail.Fill(backend_.environment.metrics, scope_, *version_, timings_, response_);
}

}  // namespace

grpc::ServerUnaryReactor* StartTagEntities(const InferenceBackend& backend, const grpc::CallbackServerContext& context,
                                           const TagEntitiesRequest& request, TagEntitiesResponse& response) {
  return Started(new TagEntitiesCall(backend, context, request, response));
}

}  // namespace engram::server
