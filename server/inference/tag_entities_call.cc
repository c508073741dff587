#include "server/inference/tag_entities_call.h"

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/utf8.h"
#include "core/examples/word_windows.h"
#include "core/tagging/spans.h"
#include "core/tagging/words.h"
#include "server/inference/batched_call.h"
#include "server/inference/reply_tail.h"

namespace engram::server {
namespace {

using engram::v1::TagEntitiesRequest;
using engram::v1::TagEntitiesResponse;
using engram::v1::TagEntitiesResult;

class TagEntitiesCall final : public BatchedCall {
 public:
  TagEntitiesCall(const InferenceBackend& backend, const grpc::CallbackServerContext& context,
                  const TagEntitiesRequest& request, TagEntitiesResponse& response)
      : BatchedCall(backend, context, "TagEntities"), request_(request), response_(response) {}

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
  void TakeResult(size_t index, absl::StatusOr<serve::SequenceResult> result) override;
  absl::Status Compose() override;

  const TagEntitiesRequest& request_;
  TagEntitiesResponse& response_;
  std::string task_;
  const tagging::TagSet* tags_ = nullptr;
  std::vector<Text> texts_;
  std::vector<Window> windows_;
};

absl::Status TagEntitiesCall::ChooseTask() {
  if (request_.task().empty() && version_->tag_sets.size() > 1) {
    return InvalidField(
        "task", absl::StrCat("is empty, and this version has ", version_->tag_sets.size(), " taggers; name one"));
  }
  const auto found = request_.task().empty() ? version_->tag_sets.begin() : version_->tag_sets.find(request_.task());
  if (found == version_->tag_sets.end()) {
    return StatusWithReason(
        absl::StatusCode::kNotFound, "TASK_NOT_FOUND",
        request_.task().empty()
            ? "this version has learned no tagger; train one from a CoNLL data set first"
            : absl::StrCat("this version has no tagger \"", AbslView(CutUtf8(request_.task(), 64)), "\""));
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
  text.logits.emplace(text.words.size(), *tags_);
  std::vector<std::string_view> views;
  for (const tagging::Word& word : text.words) views.push_back(word.In(request_.texts(index)));
  ENGRAM_ASSIGN_OR_RETURN(examples::WordWindows windows,
                          examples::EncodeWordWindows(views, version_->max_tokens(), *version_->tokenizer));
  result.set_tokens(windows.tokens);
  result.set_truncated(windows.word_cut);
  result.set_windows(windows.planned);
  for (examples::WordWindow& window : windows.windows) {
    windows_.push_back({index, std::move(window.rows)});
    AddSequence({std::move(window.ids), {}}, {task_});
  }
  return absl::OkStatus();
}

absl::Status TagEntitiesCall::Prepare() {
  ENGRAM_RETURN_IF_ERROR(CheckTexts(request_.texts()));
  ENGRAM_RETURN_IF_ERROR(OpenVersion(request_.model(), request_.version()));
  ENGRAM_RETURN_IF_ERROR(ChooseTask());
  texts_.resize(static_cast<size_t>(request_.texts_size()));
  for (int i = 0; i < request_.texts_size(); ++i) {
    response_.add_results();
    texts_[static_cast<size_t>(i)].status = AddText(i);
    ENGRAM_RETURN_IF_ERROR(AddTokens(static_cast<size_t>(response_.results(i).tokens())));
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
