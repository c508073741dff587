#include "server/inference/classify_call.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <numeric>
#include <optional>
#include <span>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/utf8.h"
#include "core/tagging/words.h"
#include "core/tokenize/text_windows.h"
#include "core/train/abstention.h"
#include "core/train/task_router.h"
#include "server/inference/batched_call.h"
#include "server/inference/reply_tail.h"
#include "server/inference/text_chunks.h"
#include "server/rpc/names.h"

namespace engram::server {
namespace {

using engram::v1::ClassifyRequest;
using engram::v1::ClassifyResponse;
using engram::v1::ClassifyResult;

// Labels with probabilities (softmax in fp64), most probable first; of equal ones the lower class first.
void FillScores(const at::Tensor& logits, const std::vector<std::string>& labels, int32_t top_k,
                engram::v1::TaskScores& out) {
  const float* row = logits.const_data_ptr<float>();
  const size_t count = labels.size();
  const double highest = *std::max_element(row, row + count);
  std::vector<double> probability(count);
  for (size_t i = 0; i < count; ++i) probability[i] = std::exp(static_cast<double>(row[i]) - highest);
  const double sum = std::accumulate(probability.begin(), probability.end(), 0.0);
  std::vector<size_t> order(count);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return row[a] > row[b]; });
  if (top_k > 0) order.resize(std::min(count, static_cast<size_t>(top_k)));
  for (const size_t i : order) {
    engram::v1::LabelScore* score = out.add_scores();
    score->set_label(labels[i]);
    score->set_probability(probability[i] / sum);
    score->set_logit(row[i]);
  }
}

// Whether any label fits.
void FillAbstention(const at::Tensor& logits, double temperature, double threshold, engram::v1::TaskScores& out) {
  const double confidence =
      train::Confidence({logits.const_data_ptr<float>(), static_cast<size_t>(logits.numel())}, temperature);
  out.set_confidence(confidence);
  out.set_threshold(threshold);
  out.set_abstained(confidence < threshold);
}

class ClassifyCall final : public BatchedCall {
 public:
  ClassifyCall(const InferenceBackend& backend, const grpc::CallbackServerContext& context,
               const ClassifyRequest& request, ClassifyResponse& response)
      : BatchedCall(backend, context, response, "Classify", request.model(), request.version(), request.texts(),
                    &request.text_pairs(), request.truncate()),
        request_(request),
        response_(response) {}

 private:
  absl::Status Prepare() override;
  absl::Status ChooseTasks();
  absl::Status CheckScores() const;
  absl::Status CheckAbstention() const;
  absl::Status AddText(int index);
  absl::Status AddWhole(int index, const std::vector<std::string>& tasks);
  absl::Status AddChunks(int index, int64_t chunk_tokens, const std::vector<std::string>& tasks);
  absl::Status CheckLongTexts() const;
  absl::Status CheckRoute();
  absl::Status Route(int index);
  int64_t ChunkTokens(const std::string& task) const;
  std::span<const std::string> AnsweringTasks(int index) const;
  void FillTasks(int index);
  void TakeResult(size_t index, absl::StatusOr<serve::SequenceResult> result) override;
  absl::Status Compose() override;

  const ClassifyRequest& request_;
  ClassifyResponse& response_;
  std::vector<std::string> tasks_;
  std::map<int64_t, std::vector<std::string>> readings_;          // the tasks by their ChunkTokens
  std::vector<absl::Status> statuses_;                            // of each text
  std::vector<int> texts_;                                        // of each sequence
  std::vector<int64_t> weights_;                                  // of each sequence in its text's mean
  std::vector<ChunkMean> logits_;                                 // of each text
  std::vector<std::optional<train::TaskRouter::Choice>> routed_;  // of each text
};

absl::Status ClassifyCall::ChooseTasks() {
  const std::string asked = ShortTaskName(version_->model, request_.task());
  const bool pairs = request_.text_pairs_size() > 0;
  std::string other;  // a task that was learned on pairs where single texts are sent, or the reverse
  for (const checkpoint::ManifestTask& task : version_->version.manifest.tasks) {
    if (task.kind != checkpoint::TaskKind::kSequenceClassification || !(asked.empty() || asked == task.name)) continue;
    if (task.imported() || task.text_pairs == pairs) {
      tasks_.push_back(task.name);
    } else {
      other = task.name;
    }
  }
  if (!tasks_.empty()) return absl::OkStatus();
  if (!other.empty()) {
    return InvalidField("text_pairs",
                        absl::StrCat(pairs ? "are there, but task \"" : "are missing: task \"", other,
                                     pairs ? "\" was learned on single texts; leave them out"
                                           : "\" was learned on pairs of texts; send the second text of each"));
  }
  if (!asked.empty() && version_->FindTask(asked) != nullptr) {
    return InvalidField("task",
                        absl::StrCat("\"", asked, "\" is no classification task; use tag-entities for taggers"));
  }
  return StatusWithReason(absl::StatusCode::kNotFound, "TASK_NOT_FOUND",
                          asked.empty()
                              ? "this version has learned no classification task; train one first"
                              : absl::StrCat("this version has no task \"", AbslView(CutUtf8(asked, 64)), "\""));
}

// Labels of all texts are bounded before anything is computed: a few kilobytes of texts could ask for gigabytes.
absl::Status ClassifyCall::CheckScores() const {
  constexpr size_t kNumbers = 24;  // of one score, beside its label, with what frames them
  size_t each = 0;
  for (const std::string& task : tasks_) {
    const std::vector<std::string>& labels = version_->FindTask(task)->labels;
    std::vector<size_t> sizes;
    for (const std::string& label : labels) sizes.push_back(label.size() + kNumbers);
    std::sort(sizes.begin(), sizes.end(), std::greater<>());
    if (request_.top_k() > 0) sizes.resize(std::min(sizes.size(), static_cast<size_t>(request_.top_k())));
    const size_t own = std::accumulate(sizes.begin(), sizes.end(), size_t{0});
    each = request_.route() ? std::max(each, own) : each + own;
  }
  if (each <= kMaxReplyBytes / static_cast<size_t>(request_.texts_size())) return absl::OkStatus();
  return InvalidField("top_k", absl::StrCat("must be set, or lower: the scores of ", request_.texts_size(),
                                            " texts could take more than ", kMaxReplyBytes >> 20,
                                            " MiB; or send fewer texts, or name one task"));
}

absl::Status ClassifyCall::CheckAbstention() const {
  if (!request_.abstain()) {
    if (request_.has_abstain_below()) return InvalidField("abstain_below", "goes with abstain; set that, too");
    return absl::OkStatus();
  }
  if (request_.has_abstain_below()) {
    if (request_.abstain_below() >= 0 && request_.abstain_below() <= 1) return absl::OkStatus();
    return InvalidField("abstain_below", "must lie in [0, 1]");
  }
  for (const std::string& task : tasks_) {
    if (version_->FindTask(task)->abstention) continue;
    return StatusWithReason(absl::StatusCode::kFailedPrecondition, "NO_THRESHOLD",
                            absl::StrCat("task \"", task,
                                         "\" was trained without validation texts, so that it has no threshold; train "
                                         "with a validation part or validation_fraction, or set abstain_below"));
  }
  return absl::OkStatus();
}

absl::Status ClassifyCall::CheckLongTexts() const {
  if (!engram::v1::LongTexts_IsValid(request_.long_texts()))
    return InvalidField("long_texts", "must be chunk, or unset");
  if (request_.long_texts() != engram::v1::LONG_TEXTS_CHUNK) return absl::OkStatus();
  if (request_.truncate())
    return InvalidField("long_texts", "reads texts whole, and truncate cuts them; set one of both");
  if (request_.text_pairs_size() > 0)
    return InvalidField("long_texts", "is for single texts; of a pair no chunk would hold both");
  return absl::OkStatus();
}

// Leaves those tasks that the router knows.
absl::Status ClassifyCall::CheckRoute() {
  if (!request_.route()) return absl::OkStatus();
  if (!request_.task().empty()) return InvalidField("route", "picks the task, and task names one; set one of both");
  std::erase_if(tasks_, [&](const std::string& task) { return !version_->router.Knows(task); });
  if (!tasks_.empty()) return absl::OkStatus();
  return StatusWithReason(absl::StatusCode::kFailedPrecondition, "NO_ROUTER",
                          "this version has no router for such texts; train its tasks with router=true, or name the "
                          "task");
}

// Picks the text's task by its tokens.
absl::Status ClassifyCall::Route(int index) {
  tokenize::EncodeOptions options;
  if (request_.has_split_special_tokens()) options.split_special_tokens = request_.split_special_tokens();
  absl::StatusOr<tokenize::Encoding> encoding =
      request_.text_pairs_size() > 0
          ? version_->tokenizer->EncodePair(request_.texts(index), request_.text_pairs(index), options)
          : version_->tokenizer->Encode(request_.texts(index), options);
  if (!encoding.ok()) return InvalidField(absl::StrCat("texts[", index, "]"), std::string(encoding.status().message()));
  ENGRAM_ASSIGN_OR_RETURN(routed_[static_cast<size_t>(index)], version_->router.Route(encoding->ids, tasks_));
  return absl::OkStatus();
}

// All tasks, or the one that the router picked.
std::span<const std::string> ClassifyCall::AnsweringTasks(int index) const {
  const std::optional<train::TaskRouter::Choice>& routed = routed_[static_cast<size_t>(index)];
  return routed ? std::span(&routed->task, 1) : std::span<const std::string>(tasks_);
}

// How many tokens the chunks have that texts are read in for a task; 0: texts are read at once, and have to fit.
int64_t ClassifyCall::ChunkTokens(const std::string& task) const {
  if (request_.truncate() || request_.text_pairs_size() > 0) return 0;
  const int64_t learned = version_->FindTask(task)->chunk_tokens;
  if (learned > 0) return learned;
  return request_.long_texts() == engram::v1::LONG_TEXTS_CHUNK ? version_->max_tokens() : 0;
}

absl::Status ClassifyCall::AddText(int index) {
  const auto add = [&](int64_t chunk_tokens, const std::vector<std::string>& tasks) {
    return chunk_tokens > 0 ? AddChunks(index, chunk_tokens, tasks) : AddWhole(index, tasks);
  };
  if (request_.route()) {
    ENGRAM_RETURN_IF_ERROR(Route(index));
    const std::string& task = AnsweringTasks(index).front();
    return add(ChunkTokens(task), {task});
  }
  for (const auto& [chunk_tokens, tasks] : readings_) ENGRAM_RETURN_IF_ERROR(add(chunk_tokens, tasks));
  return absl::OkStatus();
}

// All of a text's chunks are sequences of their own.
absl::Status ClassifyCall::AddChunks(int index, int64_t chunk_tokens, const std::vector<std::string>& tasks) {
  const std::string& text = request_.texts(index);
  ClassifyResult& result = *response_.mutable_results(index);
  const std::string field = absl::StrCat("texts[", index, "]");
  if (tagging::TrimWhiteSpace(text).empty()) return InvalidField(field, "is empty; send some text");
  absl::StatusOr<tokenize::TextWindows> chunks = tokenize::EncodeInWindows(
      *version_->tokenizer, text, chunk_tokens,
      request_.has_split_special_tokens() ? std::optional(request_.split_special_tokens()) : std::nullopt);
  if (!chunks.ok()) return InvalidField(field, std::string(chunks.status().message()));
  result.set_full_tokens(chunks->full_tokens);
  result.set_tokens(result.tokens() + static_cast<int64_t>(chunks->ids.size()));
  result.set_chunks(std::max(result.chunks(), static_cast<int32_t>(chunks->windows.size())));
  auto begin = chunks->ids.begin();
  for (const tokenize::TextWindows::Window& chunk : chunks->windows) {
    texts_.push_back(index);
    weights_.push_back(chunks->windows.size() > 1 ? chunk.counted : 1);
    AddSequence({std::vector<int32_t>(begin, begin + chunk.tokens), {}}, tasks);
    begin += chunk.tokens;
  }
  return absl::OkStatus();
}

absl::Status ClassifyCall::AddWhole(int index, const std::vector<std::string>& tasks) {
  const std::string& text = request_.texts(index);
  ClassifyResult& result = *response_.mutable_results(index);
  tokenize::EncodeOptions options;
  options.max_length = version_->max_tokens();
  if (request_.truncate()) options.truncation = tokenize::Truncation::kLongestFirst;
  if (request_.has_split_special_tokens()) options.split_special_tokens = request_.split_special_tokens();
  const bool pair = request_.text_pairs_size() > 0;
  absl::StatusOr<tokenize::Encoding> encoding =
      pair ? version_->tokenizer->EncodePair(text, request_.text_pairs(index), options)
           : version_->tokenizer->Encode(text, options);
  const std::string field = absl::StrCat("texts[", index, "]");
  if (!encoding.ok()) return InvalidField(field, std::string(encoding.status().message()));
  result.set_full_tokens(encoding->full_tokens);
  if (tagging::TrimWhiteSpace(text).empty()) return InvalidField(field, "is empty; send some text");
  if (pair && tagging::TrimWhiteSpace(request_.text_pairs(index)).empty())
    return InvalidField(absl::StrCat("text_pairs[", index, "]"), "is empty; send some text");
  if (encoding->full_tokens > version_->max_tokens() && !request_.truncate()) {
    return InvalidField(field,
                        absl::StrCat("has ", encoding->full_tokens, " tokens; the model takes ", version_->max_tokens(),
                                     ": shorten it, set long_texts to read it in chunks, or set truncate"));
  }
  result.set_truncated(encoding->truncated());
  result.set_tokens(result.tokens() + static_cast<int64_t>(encoding->ids.size()));
  result.set_chunks(std::max(result.chunks(), 1));
  texts_.push_back(index);
  weights_.push_back(1);
  // Families without a table of two types (RoBERTa, DistilBERT) tell the texts apart by [SEP] alone.
  const bool types = pair && version_->version.config.type_vocab_size > 1;
  AddSequence({std::move(encoding->ids), types ? std::move(encoding->type_ids) : std::vector<int32_t>()}, tasks);
  return absl::OkStatus();
}

absl::Status ClassifyCall::Prepare() {
  if (request_.top_k() < 0) return InvalidField("top_k", "must not be negative; 0 asks for all labels");
  ENGRAM_RETURN_IF_ERROR(CheckLongTexts());
  ENGRAM_RETURN_IF_ERROR(OpenVersion());
  ENGRAM_RETURN_IF_ERROR(ChooseTasks());
  ENGRAM_RETURN_IF_ERROR(CheckRoute());
  ENGRAM_RETURN_IF_ERROR(CheckScores());
  ENGRAM_RETURN_IF_ERROR(CheckAbstention());
  statuses_.resize(static_cast<size_t>(request_.texts_size()));
  logits_.resize(statuses_.size());
  routed_.resize(statuses_.size());
  for (const std::string& task : tasks_) readings_[ChunkTokens(task)].push_back(task);
  for (int i = 0; i < request_.texts_size(); ++i) {
    response_.add_results();
    statuses_[static_cast<size_t>(i)] = AddText(i);
    const ClassifyResult& result = response_.results(i);
    if (result.chunks() > 1) ENGRAM_RETURN_IF_ERROR(AddTokens(static_cast<size_t>(result.tokens())));
  }
  return absl::OkStatus();
}

void ClassifyCall::TakeResult(size_t index, absl::StatusOr<serve::SequenceResult> result) {
  const int text = texts_[index];
  if (!result.ok()) {
    statuses_[static_cast<size_t>(text)] = result.status();
    return;
  }
  logits_[static_cast<size_t>(text)].Add(result->logits, weights_[index]);
}

void ClassifyCall::FillTasks(int index) {
  const std::optional<train::TaskRouter::Choice>& routed = routed_[static_cast<size_t>(index)];
  for (const std::string& task : AnsweringTasks(index)) {
    engram::v1::TaskScores* scores = response_.mutable_results(index)->add_tasks();
    scores->set_task(TaskName(version_->model, task));
    if (routed) scores->set_routing_probability(routed->probability);
    const at::Tensor logits = logits_[static_cast<size_t>(index)].Of(task);
    const checkpoint::ManifestTask& known = *version_->FindTask(task);
    FillScores(logits, known.labels, request_.top_k(), *scores);
    if (!request_.abstain()) continue;
    const checkpoint::Abstention own = known.abstention.value_or(checkpoint::Abstention());
    FillAbstention(logits, own.temperature, request_.has_abstain_below() ? request_.abstain_below() : own.threshold,
                   *scores);
  }
}

absl::Status ClassifyCall::Compose() {
  ReplyTail tail;
  for (int i = 0; i < response_.results_size(); ++i) {
    ClassifyResult& result = *response_.mutable_results(i);
    if (const absl::Status& status = statuses_[static_cast<size_t>(i)]; status.ok()) {
      FillTasks(i);
      tail.AddAnswer(result.tokens(), result.truncated());
    } else {
      tail.AddError(status, *result.mutable_error());
    }
  }
  return tail.Fill(backend_.environment.metrics, scope_, *version_, timings_, response_);
}

}  // namespace

grpc::ServerUnaryReactor* StartClassify(const InferenceBackend& backend, const grpc::CallbackServerContext& context,
                                        const ClassifyRequest& request, ClassifyResponse& response) {
  return Started(new ClassifyCall(backend, context, request, response));
}

}  // namespace engram::server
