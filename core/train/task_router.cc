#include "core/train/task_router.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "ATen/ops/empty.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace engram::train {
namespace {

constexpr double kSmoothing = 0.1;
constexpr int64_t kMostCount = int64_t{1} << 48;
constexpr const char kTokens[] = "tokens.", kCounts[] = "counts.", kTexts[] = "texts.", kLongest[] = "longest.";

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
at::Tensor Tensor(const std::vector<T>& values, at::ScalarType type) {
  at::Tensor tensor = at::empty({static_cast<int64_t>(values.size())}, type);
  std::copy(values.begin(), values.end(), tensor.mutable_data_ptr<T>());
  return tensor;
}

template <typename T>
absl::StatusOr<std::vector<T>> Values(const VersionMemory& memory, const std::string& name, at::ScalarType type) {
  const auto found = memory.tensors.find(name);
  if (found == memory.tensors.end()) return Damaged(name, "is missing");
  const at::Tensor& tensor = found->second;
  if (tensor.scalar_type() != type || tensor.dim() != 1) return Damaged(name, "has another shape or dtype");
  const T* const values = tensor.const_data_ptr<T>();
  return std::vector<T>(values, values + tensor.numel());
}

}  // namespace

absl::StatusOr<TaskRouter> TaskRouter::FromMemory(const VersionMemory& memory) {
  TaskRouter router;
  for (const auto& [name, text] : memory.values) {
    if (!name.starts_with(kLongest)) return Damaged(name, "is not expected");
    const std::string task = name.substr(std::string_view(kLongest).size());
    Counted& counted = router.tasks_[task];
    if (!absl::SimpleAtoi(text, &counted.longest) || counted.longest < 0 || counted.longest > kMostCount)
      return Damaged(name, "is no count");
    ENGRAM_ASSIGN_OR_RETURN(const auto tokens, Values<int32_t>(memory, kTokens + task, at::kInt));
    ENGRAM_ASSIGN_OR_RETURN(const auto counts, Values<int64_t>(memory, kCounts + task, at::kLong));
    ENGRAM_ASSIGN_OR_RETURN(const auto texts, Values<int64_t>(memory, kTexts + task, at::kLong));
    if (tokens.size() != counts.size()) return Damaged(kCounts + task, "has another length than its tokens");
    for (size_t i = 0; i < tokens.size(); ++i) {
      if (tokens[i] < 0 || (i > 0 && tokens[i] <= tokens[i - 1])) return Damaged(kTokens + task, "does not ascend");
      if (counts[i] < 1 || counts[i] > kMostCount - counted.total) return Damaged(kCounts + task, "holds no counts");
      counted.tokens.emplace_hint(counted.tokens.end(), tokens[i], counts[i]);
      counted.total += counts[i];
    }
    for (size_t i = 0; i < texts.size(); ++i) {
      if (texts[i] < 1 || (i > 0 && texts[i] < texts[i - 1])) return Damaged(kTexts + task, "does not ascend");
      ++counted.texts[texts[i]];
    }
  }
  if (memory.tensors.size() != 3 * router.tasks_.size() || !memory.examples.empty())
    return Damaged("it", "holds more than its tasks' counts");
  router.CountVocabulary();
  return router;
}

VersionMemory TaskRouter::ToMemory() const {
  VersionMemory memory;
  for (const auto& [task, counted] : tasks_) {
    std::vector<int32_t> tokens;
    std::vector<int64_t> counts, texts;
    for (const auto& [token, count] : counted.tokens) {
      tokens.push_back(token);
      counts.push_back(count);
    }
    for (const auto& [digest, count] : counted.texts) texts.insert(texts.end(), static_cast<size_t>(count), digest);
    memory.tensors[kTokens + task] = Tensor(tokens, at::kInt);
    memory.tensors[kCounts + task] = Tensor(counts, at::kLong);
    memory.tensors[kTexts + task] = Tensor(texts, at::kLong);
    memory.values[kLongest + task] = absl::StrCat(counted.longest);
  }
  return memory;
}

void TaskRouter::Count(const std::string& task, std::span<const TrainingExample> texts,
                       std::span<const int32_t> special) {
  Counted counted;
  for (const TrainingExample& text : texts) {
    std::span<const int32_t> ids = text.sequence.ids;
    if (!text.sequence.windows.empty())
      ids = ids.first(std::min(ids.size(), static_cast<size_t>(text.sequence.windows.front().tokens)));
    const std::vector<int32_t> content = Content(ids, special);
    for (const int32_t id : content) ++counted.tokens[id];
    ++counted.texts[TokensDigest(content)];
    counted.total += static_cast<int64_t>(content.size());
    counted.longest = std::max(counted.longest, static_cast<int64_t>(content.size()));
  }
  tasks_[task] = std::move(counted);
  CountVocabulary();
}

int64_t TaskRouter::ForgetTask(const std::string& task) {
  int64_t texts = 0;
  if (const auto known = tasks_.find(task); known != tasks_.end()) {
    for (const auto& [digest, count] : known->second.texts) texts += count;
    tasks_.erase(known);
  }
  CountVocabulary();
  return texts;
}

void TaskRouter::CountVocabulary() {
  vocabulary_.clear();
  for (const auto& [task, counted] : tasks_) {
    for (const auto& [token, count] : counted.tokens) vocabulary_.insert(token);
  }
}

int64_t TaskRouter::ForgetText(std::span<const int32_t> ids, std::span<const int32_t> special) {
  const std::vector<int32_t> content = Content(ids, special);
  int64_t removed = 0;
  for (auto& [task, counted] : tasks_) {
    const std::span<const int32_t> read =
        std::span(content).first(std::min(content.size(), static_cast<size_t>(counted.longest)));
    const auto known = counted.texts.find(TokensDigest(read));
    if (known == counted.texts.end()) continue;
    const int64_t times = known->second;
    counted.texts.erase(known);
    for (const int32_t id : read) {
      const auto token = counted.tokens.find(id);
      if (token == counted.tokens.end()) continue;  // counts of another text with the same digest
      const int64_t taken = std::min(times, token->second);
      token->second -= taken;
      counted.total -= taken;
      if (token->second == 0) counted.tokens.erase(token);
    }
    removed += times;
  }
  CountVocabulary();
  return removed;
}

absl::StatusOr<TaskRouter::Choice> TaskRouter::Route(std::span<const int32_t> ids,
                                                     std::span<const std::string> among) const {
  Choice best;
  double highest = -std::numeric_limits<double>::infinity();
  std::vector<double> logs;
  for (const std::string& task : among) {
    const auto known = tasks_.find(task);
    if (known == tasks_.end()) continue;
    const Counted& counted = known->second;
    const double all = static_cast<double>(counted.total) + kSmoothing * static_cast<double>(vocabulary_.size());
    double log = 0;
    for (const int32_t id : ids) {
      if (!vocabulary_.contains(id)) continue;
      const auto token = counted.tokens.find(id);
      const int64_t count = token == counted.tokens.end() ? 0 : token->second;
      log += std::log((static_cast<double>(count) + kSmoothing) / all);
    }
    logs.push_back(log);
    if (log > highest) {
      highest = log;
      best.task = task;
    }
  }
  if (logs.empty()) return absl::FailedPreconditionError("the router knows none of the tasks");
  double sum = 0;
  for (const double log : logs) sum += std::exp(log - highest);
  best.probability = 1 / sum;
  return best;
}

}  // namespace engram::train
