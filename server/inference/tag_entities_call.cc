#include "server/inference/tag_entities_call.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/utf8.h"
#include "core/examples/word_windows.h"
#include "core/tagging/spans.h"
#include "core/tagging/words.h"
#include "server/inference/batched_call.h"
#include "server/inference/reply_tail.h"
#include "server/rpc/names.h"

namespace engram::server {
namespace {

using engram::v1::TagEntitiesRequest;
using engram::v1::TagEntitiesResponse;
using engram::v1::TagEntitiesResult;

constexpr size_t kMaxLogits = size_t{64} << 20;  // of one call: 256 MiB

class TagEntitiesCall final : public BatchedCall {
 public:
  TagEntitiesCall(const InferenceBackend& backend, const grpc::CallbackServerContext& context,
                  const TagEntitiesRequest& request, TagEntitiesResponse& response)
      : BatchedCall(backend, context, response, "TagEntities"), request_(request), response_(response) {}

 private:
  struct Text {
    std::vector<tagging::Word> words;
    std::optional<examples::WordLogits> logits;  // none: the text has an error
    absl::Status status;
  };
  // Which rows of a sequence's logits are taken, and for which words of which text.
  struct Window {
    int text = 0;
    examples::WordRows rows;
  };

  absl::Status Prepare() override;
  absl::Status ChooseTask();
  absl::Status AddText(int index);
  absl::Status CountWords(size_t words, int64_t tokens);
  void TakeResult(size_t index, absl::StatusOr<serve::SequenceResult> result) override;
  absl::Status Compose() override;

  const TagEntitiesRequest& request_;
  TagEntitiesResponse& response_;
  std::string task_;
  const tagging::TagSet* tags_ = nullptr;
  std::vector<Text> texts_;
  std::vector<Window> windows_;
  size_t words_ = 0;
};

absl::Status TagEntitiesCall::ChooseTask() {
  const std::string asked = ShortTaskName(version_->model, request_.task());
  if (asked.empty() && version_->tag_sets.size() > 1) {
    return InvalidField(
        "task", absl::StrCat("is empty, and this version has ", version_->tag_sets.size(), " taggers; name one"));
  }
  const auto found = asked.empty() ? version_->tag_sets.begin() : version_->tag_sets.find(asked);
  if (found == version_->tag_sets.end()) {
    return StatusWithReason(absl::StatusCode::kNotFound, "TASK_NOT_FOUND",
                            asked.empty()
                                ? "this version has learned no tagger; train one from a CoNLL data set first"
                                : absl::StrCat("this version has no tagger \"", AbslView(CutUtf8(asked, 64)), "\""));
  }
  task_ = found->first;
  tags_ = &found->second;
  return absl::OkStatus();
}

absl::Status TagEntitiesCall::AddText(int index) {
  Text& text = texts_[static_cast<size_t>(index)];
  TagEntitiesResult& result = *response_.mutable_results(index);
  const std::string field = absl::StrCat("texts[", index, "]");
  absl::StatusOr<std::vector<tagging::Word>> words = tagging::SplitWords(request_.texts(index));
  if (!words.ok()) return InvalidField(field, "is not UTF-8");
  if (words->empty()) return InvalidField(field, "is empty; send some text");
  text.words = *std::move(words);
  std::vector<std::string_view> views;
  for (const tagging::Word& word : text.words) views.push_back(word.In(request_.texts(index)));
  ENGRAM_ASSIGN_OR_RETURN(
      examples::WordWindows windows,
      examples::EncodeWordWindows(
          views, version_->max_tokens(), *version_->tokenizer,
          request_.has_split_special_tokens() ? std::optional(request_.split_special_tokens()) : std::nullopt));
  result.set_tokens(windows.tokens);
  result.set_truncated(windows.word_cut);
  result.set_windows(windows.planned);
  for (examples::WordWindow& window : windows.windows) {
    windows_.push_back({index, std::move(window.rows)});
    AddSequence({std::move(window.ids), {}}, {task_});
  }
  return absl::OkStatus();
}

// Each word takes as many numbers as there are tags, also one that the tokenizer makes no token of.
absl::Status TagEntitiesCall::CountWords(size_t words, int64_t tokens) {
  ENGRAM_RETURN_IF_ERROR(AddTokens(std::max(words, static_cast<size_t>(tokens))));
  words_ += words;
  if (words_ <= kMaxLogits / static_cast<size_t>(tags_->size())) return absl::OkStatus();
  return InvalidField("texts", absl::StrCat("have more than ", kMaxLogits / static_cast<size_t>(tags_->size()),
                                            " words, which is what one call takes with ",
                                            static_cast<size_t>(tags_->size()), " tags: send more calls"));
}

absl::Status TagEntitiesCall::Prepare() {
  ENGRAM_RETURN_IF_ERROR(CheckTexts(request_.texts()));
  ENGRAM_RETURN_IF_ERROR(OpenVersion(request_.model(), request_.version()));
  ENGRAM_RETURN_IF_ERROR(ChooseTask());
  texts_.resize(static_cast<size_t>(request_.texts_size()));
  for (int i = 0; i < request_.texts_size(); ++i) {
    response_.add_results();
    Text& text = texts_[static_cast<size_t>(i)];
    text.status = AddText(i);
    ENGRAM_RETURN_IF_ERROR(CountWords(text.words.size(), response_.results(i).tokens()));
    text.logits.emplace(text.words.size(), *tags_);
  }
  return absl::OkStatus();
}

void TagEntitiesCall::TakeResult(size_t index, absl::StatusOr<serve::SequenceResult> result) {
  const Window& window = windows_[index];
  Text& text = texts_[static_cast<size_t>(window.text)];
  if (!result.ok()) {
    text.status.Update(result.status());
    return;
  }
  const at::Tensor logits = result->logits.at(task_).contiguous();
  text.logits->Take(window.rows, logits.const_data_ptr<float>());
}

absl::Status TagEntitiesCall::Compose() {
  ReplyTail tail;
  for (int i = 0; i < response_.results_size(); ++i) {
    Text& text = texts_[static_cast<size_t>(i)];
    TagEntitiesResult& result = *response_.mutable_results(i);
    const absl::StatusOr<std::vector<tagging::Entity>> entities =
        text.status.ok() ? tagging::DecodeEntities(request_.texts(i), text.words, *tags_, text.logits->values())
                         : absl::StatusOr<std::vector<tagging::Entity>>(text.status);
    if (!entities.ok()) {
      tail.AddError(entities.status(), *result.mutable_error());
      continue;
    }
    for (const tagging::Entity& from : *entities) {
      engram::v1::Entity* entity = result.add_entities();
      entity->set_type(from.type);
      entity->set_text(from.text);
      entity->set_start(from.start);
      entity->set_end(from.end);
      entity->set_start_byte(from.start_byte);
      entity->set_end_byte(from.end_byte);
      entity->set_score(from.score);
    }
    tail.AddAnswer(result.tokens(), result.truncated());
  }
  return tail.Fill(backend_.environment.metrics, scope_, *version_, timings_, response_);
}

}  // namespace

grpc::ServerUnaryReactor* StartTagEntities(const InferenceBackend& backend, const grpc::CallbackServerContext& context,
                                           const TagEntitiesRequest& request, TagEntitiesResponse& response) {
  return Started(new TagEntitiesCall(backend, context, request, response));
}

}  // namespace engram::server
