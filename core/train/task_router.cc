#include "core/train/task_router.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string_view>
#include <utility>

#include "ATen/ops/empty.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace engram::train {
namespace {

constexpr double kSmoothing = 0.03;    // s
constexpr double kPriorTokens = 1000;  // m
constexpr int64_t kMostCount = int64_t{1} << 48;
constexpr size_t kTensors = 5;  // of each task
constexpr const char *kTokenLabels = "token_labels.", *kTokens = "tokens.", *kCounts = "counts.",
                     *kTextLabels = "text_labels.", *kTexts = "texts.", *kLongest = "longest.";

absl::Status Damaged(const std::string& name, const char* how) {
  return StatusWithReason(absl::StatusCode::kDataLoss, "MEMORY_DAMAGED",
                          absl::StrCat("what the router remembers is damaged: ", name, " ", how));
}

std::vector<int32_t> Content(std::span<const int32_t> ids, std::span<const int32_t> special) {
  std::vector<int32_t> content;
  for (const int32_t id : ids) {
    if (std::find(special.begin(), special.end(), id) == special.end()) content.push_back(id);
  }
  return content;
}

template <typename T>
at::Tensor ToTensor(const std::vector<T>& values, at::ScalarType type) {
  at::Tensor tensor = at::empty({static_cast<int64_t>(values.size())}, type);
  std::copy(values.begin(), values.end(), tensor.mutable_data_ptr<T>());
  return tensor;
}

template <typename T>
absl::StatusOr<std::vector<T>> Values(const VersionMemory& memory, const std::string& name, at::ScalarType type) {
  const auto found = memory.tensors.find(name);
  if (found == memory.tensors.end()) return Damaged(name, "is missing");
  const at::Tensor tensor = found->second.contiguous();
  if (tensor.scalar_type() != type || tensor.dim() != 1) return Damaged(name, "has another shape or dtype");
  const T* const values = tensor.const_data_ptr<T>();
  return std::vector<T>(values, values + tensor.numel());
}

int64_t CountOf(const std::map<int32_t, int64_t>& counts, int32_t token) {
  const auto found = counts.find(token);
  return found == counts.end() ? 0 : found->second;
}

// log sum exp.
double LogSum(const std::vector<double>& logs) {
  const double highest = *std::max_element(logs.begin(), logs.end());
  double sum = 0;
  for (const double log : logs) sum += std::exp(log - highest);
  return highest + std::log(sum);
}

}  // namespace

absl::StatusOr<TaskRouter::Counted> TaskRouter::Read(const VersionMemory& memory, const std::string& task) {
  Counted counted;
  ENGRAM_ASSIGN_OR_RETURN(const auto token_labels, Values<int32_t>(memory, kTokenLabels + task, at::kInt));
  ENGRAM_ASSIGN_OR_RETURN(const auto tokens, Values<int32_t>(memory, kTokens + task, at::kInt));
  ENGRAM_ASSIGN_OR_RETURN(const auto counts, Values<int64_t>(memory, kCounts + task, at::kLong));
  ENGRAM_ASSIGN_OR_RETURN(const auto text_labels, Values<int32_t>(memory, kTextLabels + task, at::kInt));
  ENGRAM_ASSIGN_OR_RETURN(const auto texts, Values<int64_t>(memory, kTexts + task, at::kLong));
  if (token_labels.size() != tokens.size() || counts.size() != tokens.size())
    return Damaged(kTokens + task, "has another length than its counts or labels");
  if (text_labels.size() != texts.size()) return Damaged(kTexts + task, "has another length than its labels");
  for (size_t i = 0; i < texts.size(); ++i) {
    if (texts[i] < 1) return Damaged(kTexts + task, "holds no digests");
    if (text_labels[i] < 0) return Damaged(kTextLabels + task, "holds a negative number");
    ++counted.labels[text_labels[i]].texts[texts[i]];
  }
  int64_t sum = 0;
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] < 0 ||
        (i > 0 && std::pair(token_labels[i], tokens[i]) <= std::pair(token_labels[i - 1], tokens[i - 1])))
      return Damaged(kTokens + task, "does not ascend");
    if (counts[i] < 1 || counts[i] > kMostCount - sum) return Damaged(kCounts + task, "holds no counts");
    sum += counts[i];
    const auto label = counted.labels.find(token_labels[i]);
    if (label == counted.labels.end()) return Damaged(kTokenLabels + task, "has a label without texts");
    label->second.tokens.emplace_hint(label->second.tokens.end(), tokens[i], counts[i]);
  }
  return counted;
}

absl::StatusOr<TaskRouter> TaskRouter::Open(const std::string& directory) {
  ENGRAM_ASSIGN_OR_RETURN(const VersionMemory memory, MemorySource(directory, kRouter).Read());
  return FromMemory(memory);
}

absl::StatusOr<TaskRouter> TaskRouter::FromMemory(const VersionMemory& memory) {
  TaskRouter router;
  for (const auto& [name, text] : memory.values) {
    if (!name.starts_with(kLongest)) return Damaged(name, "is not expected");
    const std::string task = name.substr(std::string_view(kLongest).size());
    ENGRAM_ASSIGN_OR_RETURN(Counted counted, Read(memory, task));
    if (!absl::SimpleAtoi(text, &counted.longest) || counted.longest < 0 || counted.longest > kMostCount)
      return Damaged(name, "is no count");
    router.tasks_[task] = std::move(counted);
  }
  if (memory.tensors.size() != kTensors * router.tasks_.size() || !memory.examples.empty())
    return Damaged("it", "holds more than its tasks' counts");
  router.Finish();
  return router;
}

VersionMemory TaskRouter::ToMemory() const {
  VersionMemory memory;
  for (const auto& [task, counted] : tasks_) {
    std::vector<int32_t> token_labels, tokens, text_labels;
    std::vector<int64_t> counts, texts;
    for (const auto& [label, component] : counted.labels) {
      for (const auto& [token, count] : component.tokens) {
        token_labels.push_back(label);
        tokens.push_back(token);
        counts.push_back(count);
      }
      for (const auto& [digest, count] : component.texts) {
        texts.insert(texts.end(), static_cast<size_t>(count), digest);
        text_labels.insert(text_labels.end(), static_cast<size_t>(count), label);
      }
    }
    memory.tensors[kTokenLabels + task] = ToTensor(token_labels, at::kInt);
    memory.tensors[kTokens + task] = ToTensor(tokens, at::kInt);
    memory.tensors[kCounts + task] = ToTensor(counts, at::kLong);
    memory.tensors[kTextLabels + task] = ToTensor(text_labels, at::kInt);
    memory.tensors[kTexts + task] = ToTensor(texts, at::kLong);
    memory.values[kLongest + task] = absl::StrCat(counted.longest);
  }
  return memory;
}

void TaskRouter::Count(const std::string& task, std::span<const TrainingExample> texts,
                       std::span<const int32_t> special, bool grows) {
  Counted& counted = tasks_[task];
  if (!grows) counted = {};
  for (const TrainingExample& text : texts) {
    std::span<const int32_t> ids = text.sequence.ids;
    if (!text.sequence.windows.empty())
      ids = ids.first(std::min(ids.size(), static_cast<size_t>(text.sequence.windows.front().tokens)));
    const std::vector<int32_t> content = Content(ids, special);
    Component& component = counted.labels[static_cast<int32_t>(text.label)];
    for (const int32_t id : content) ++component.tokens[id];
    ++component.texts[TokensDigest(content)];
    counted.longest = std::max(counted.longest, static_cast<int64_t>(content.size()));
  }
  Finish();
}

int64_t TaskRouter::ForgetTask(const std::string& task) {
  const auto known = tasks_.find(task);
  if (known == tasks_.end()) return 0;
  const int64_t texts = known->second.text_count;
  tasks_.erase(known);
  Finish();
  return texts;
}

int64_t TaskRouter::ForgetText(std::span<const int32_t> ids, std::span<const int32_t> special) {
  const std::vector<int32_t> content = Content(ids, special);
  int64_t removed = 0;
  for (auto& [task, counted] : tasks_) removed += ForgetText(content, counted);
  if (removed > 0) Finish();
  return removed;
}

int64_t TaskRouter::ForgetText(std::span<const int32_t> content, Counted& counted) {
  const std::span<const int32_t> read = content.first(std::min(content.size(), static_cast<size_t>(counted.longest)));
  const int64_t digest = TokensDigest(read);
  int64_t removed = 0;
  for (auto& [label, component] : counted.labels) {
    const auto known = component.texts.find(digest);
    if (known == component.texts.end()) continue;
    for (const int32_t id : read) {
      const auto token = component.tokens.find(id);
      if (token == component.tokens.end()) continue;  // counts of another text with the same digest
      token->second -= std::min(known->second, token->second);
      if (token->second == 0) component.tokens.erase(token);
    }
    removed += known->second;
    component.texts.erase(known);
  }
  return removed;
}

void TaskRouter::Finish() {
  vocabulary_.clear();
  for (auto& [task, counted] : tasks_)
    std::erase_if(counted.labels, [](const auto& label) { return label.second.texts.empty(); });
  std::erase_if(tasks_, [](const auto& task) { return task.second.labels.empty(); });
  for (auto& [task, counted] : tasks_) {
    counted.tokens.clear();
    counted.token_count = counted.text_count = 0;
    for (auto& [label, component] : counted.labels) {
      component.token_count = component.text_count = 0;
      for (const auto& [token, count] : component.tokens) {
        component.token_count += count;
        counted.tokens[token] += count;
        vocabulary_.insert(token);
      }
      for (const auto& [digest, count] : component.texts) component.text_count += count;
      counted.token_count += component.token_count;
      counted.text_count += component.text_count;
    }
  }
}

double TaskRouter::LogLikelihood(const Counted& counted, std::span<const int32_t> ids) const {
  const double all = static_cast<double>(counted.token_count) + kSmoothing * static_cast<double>(vocabulary_.size());
  std::vector<double> prior(ids.size());  // m p_t(w)
  for (size_t i = 0; i < ids.size(); ++i)
    prior[i] = kPriorTokens * (static_cast<double>(CountOf(counted.tokens, ids[i])) + kSmoothing) / all;
  std::vector<double> logs;
  for (const auto& [label, component] : counted.labels) {
    double log = std::log(static_cast<double>(component.text_count) / static_cast<double>(counted.text_count));
    const double own = static_cast<double>(component.token_count) + kPriorTokens;
    for (size_t i = 0; i < ids.size(); ++i)
      log += std::log((static_cast<double>(CountOf(component.tokens, ids[i])) + prior[i]) / own);
    logs.push_back(log);
  }
  return LogSum(logs);
}

absl::StatusOr<TaskRouter::Choice> TaskRouter::Route(std::span<const int32_t> ids,
                                                     std::span<const std::string> among) const {
  std::vector<int32_t> known_ids;
  for (const int32_t id : ids) {
    if (vocabulary_.contains(id)) known_ids.push_back(id);
  }
  Choice best;
  double highest = -std::numeric_limits<double>::infinity();
  std::vector<double> logs;
  for (const std::string& task : among) {
    const auto known = tasks_.find(task);
    if (known == tasks_.end()) continue;
    logs.push_back(LogLikelihood(known->second, known_ids));
    if (logs.back() > highest) {
      highest = logs.back();
      best.task = task;
    }
  }
  if (logs.empty()) return absl::FailedPreconditionError("the router knows none of the tasks");
  best.probability = std::exp(highest - LogSum(logs));
  return best;
}

}  // namespace engram::train
