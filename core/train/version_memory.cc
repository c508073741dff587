#include "core/train/version_memory.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <utility>

#include "ATen/ops/empty.h"
#include "absl/strings/str_cat.h"
#include "core/base/files.h"
#include "core/checkpoint/manifest.h"
#include "core/nn/ops/cross_entropy/cross_entropy.h"
#include "core/nn/tensor_file.h"
#include "nlohmann/json.hpp"

namespace engram::train {
namespace {

using checkpoint::SafetensorsFile;

constexpr int64_t kFormat = 1;
constexpr const char* kHeaderKey = "memory";
constexpr const char* kTensorPrefix = "tensor.";
constexpr const char* kValuePrefix = "value.";
constexpr const char* kExamplesPrefix = "examples.";

absl::Status Damaged(const std::string& name, const std::string& what) {
  return StatusWithReason(absl::StatusCode::kDataLoss, "MEMORY_DAMAGED",
                          absl::StrCat("what the strategy remembers is damaged: ", name, " ", what));
}

// The examples as columns.
struct Columns {
  std::vector<int32_t> ids, type_ids, task, tagged, windows, counted;
  std::vector<int64_t> tags, label, source, whole, whole_second, offsets{0}, logits_offsets{0}, window_offsets{0};
  std::vector<float> logits;
  std::vector<std::string> tasks;
};

Columns ToColumns(std::span<const StoredExample> examples) {
  Columns columns;
  for (const StoredExample& stored : examples) {
    const TrainingExample& example = stored.example;
    const size_t length = example.sequence.ids.size();
    columns.ids.insert(columns.ids.end(), example.sequence.ids.begin(), example.sequence.ids.end());
    columns.type_ids.insert(columns.type_ids.end(), example.sequence.type_ids.begin(), example.sequence.type_ids.end());
    columns.type_ids.resize(columns.ids.size(), 0);
    columns.tags.insert(columns.tags.end(), example.tags.begin(), example.tags.end());
    columns.tags.resize(columns.ids.size(), nn::ops::kIgnored);
    columns.offsets.push_back(columns.offsets.back() + static_cast<int64_t>(length));
    columns.label.push_back(example.label);
    columns.source.push_back(example.source);
    columns.whole.push_back(example.whole[0]);
    columns.whole_second.push_back(example.whole[1]);
    columns.tagged.push_back(example.tags.empty() ? 0 : 1);
    for (const nn::TextWindow& window : example.sequence.windows) {
      columns.windows.push_back(window.tokens);
      columns.counted.push_back(window.counted);
    }
    columns.window_offsets.push_back(static_cast<int64_t>(columns.windows.size()));
    columns.logits.insert(columns.logits.end(), stored.logits.begin(), stored.logits.end());
    columns.logits_offsets.push_back(static_cast<int64_t>(columns.logits.size()));
    const auto known = std::find(columns.tasks.begin(), columns.tasks.end(), stored.task);
    columns.task.push_back(static_cast<int32_t>(known - columns.tasks.begin()));
    if (known == columns.tasks.end()) columns.tasks.push_back(stored.task);
  }
  return columns;
}

// How a column of T is stored.
template <typename T>
constexpr std::pair<at::ScalarType, checkpoint::Dtype> kStoredAs{at::kLong, checkpoint::Dtype::kI64};
template <>
constexpr std::pair<at::ScalarType, checkpoint::Dtype> kStoredAs<int32_t>{at::kInt, checkpoint::Dtype::kI32};
template <>
constexpr std::pair<at::ScalarType, checkpoint::Dtype> kStoredAs<float>{at::kFloat, checkpoint::Dtype::kF32};

template <typename T>
void AddColumn(const char* name, const std::vector<T>& values, nn::TensorList& list) {
  at::Tensor tensor = at::empty({static_cast<int64_t>(values.size())}, kStoredAs<T>.first);
  std::copy(values.begin(), values.end(), tensor.mutable_data_ptr<T>());
  list.Add(absl::StrCat(kExamplesPrefix, name), tensor);
}

template <typename T>
absl::Status ReadColumn(const SafetensorsFile& file, const char* name, int64_t most, std::vector<T>& values) {
  const std::string full = absl::StrCat(kExamplesPrefix, name);
  const checkpoint::TensorEntry* entry = file.Find(full);
  if (entry == nullptr) return Damaged(full, "is missing");
  if (entry->dtype != kStoredAs<T>.second || entry->shape.size() != 1) {
    return Damaged(full, "has another type than it must have");
  }
  if (entry->shape[0] > static_cast<uint64_t>(most)) return Damaged(full, "is larger than may be");
  values.resize(entry->shape[0]);
  if (!values.empty()) std::memcpy(values.data(), entry->bytes.data(), entry->bytes.size());
  return absl::OkStatus();
}

// Offsets that part so many values among so many examples.
bool PartsOf(const std::vector<int64_t>& offsets, size_t examples, size_t values) {
  return offsets.size() == examples + 1 && offsets.front() == 0 && offsets.back() == static_cast<int64_t>(values) &&
         std::is_sorted(offsets.begin(), offsets.end());
}

// Windows that nn::Pack takes; the other columns must have been checked.
absl::Status CheckWindows(const Columns& c) {
  const auto wrong = [](const char* name, const char* what) {
    return Damaged(absl::StrCat(kExamplesPrefix, name), what);
  };
  if (c.counted.size() != c.windows.size()) return wrong("counted", "has another length than windows");
  if (!PartsOf(c.window_offsets, c.label.size(), c.windows.size()))
    return wrong("window_offsets", "does not part the windows");
  for (size_t i = 0; i < c.label.size(); ++i) {
    int64_t tokens = 0, counted = 0;
    for (int64_t w = c.window_offsets[i]; w < c.window_offsets[i + 1]; ++w) {
      if (c.windows[w] < 1) return wrong("windows", "holds an empty window");
      if (c.counted[w] < 0) return wrong("counted", "holds a negative number");
      tokens += c.windows[w];
      counted += c.counted[w];
    }
    if (c.window_offsets[i] == c.window_offsets[i + 1]) continue;
    if (tokens != c.offsets[i + 1] - c.offsets[i]) return wrong("windows", "does not cover an example's tokens");
    if (counted == 0) return wrong("counted", "counts none of an example's windows");
  }
  return absl::OkStatus();
}

// Everything that a reader of the examples relies on.
absl::Status CheckColumns(const Columns& c) {
  const auto wrong = [](const char* name, const char* what) {
    return Damaged(absl::StrCat(kExamplesPrefix, name), what);
  };
  const size_t count = c.label.size(), tokens = c.ids.size();
  if (c.offsets.size() != count + 1 || c.offsets.front() != 0 || c.offsets.back() != static_cast<int64_t>(tokens)) {
    return wrong("offsets", "does not cover the tokens");
  }
  // No example is empty.
  if (std::adjacent_find(c.offsets.begin(), c.offsets.end(), std::greater_equal<>()) != c.offsets.end()) {
    return wrong("offsets", "does not rise");
  }
  if (c.type_ids.size() != tokens) return wrong("type_ids", "has another length than ids");
  if (c.tags.size() != tokens) return wrong("tags", "has another length than ids");
  if (c.task.size() != count) return wrong("task", "has another length than label");
  if (c.tagged.size() != count) return wrong("tagged", "has another length than label");
  if (c.source.size() != count) return wrong("source", "has another length than label");
  const auto below = [](const auto& values, int64_t least) {
    return std::any_of(values.begin(), values.end(), [least](auto value) { return value < least; });
  };
  if (below(c.ids, 0)) return wrong("ids", "holds a negative number");
  if (below(c.type_ids, 0)) return wrong("type_ids", "holds a negative number");
  if (below(c.label, -1)) return wrong("label", "holds a number below -1");
  if (below(c.source, -1)) return wrong("source", "holds a number below -1");
  if (c.whole.size() != count) return wrong("whole", "has another length than label");
  if (c.whole_second.size() != count) return wrong("whole_second", "has another length than label");
  if (below(c.whole, kUnknownWhole)) return wrong("whole", "holds a number below -1");
  if (below(c.whole_second, kUnknownWhole)) return wrong("whole_second", "holds a number below -1");
  if (std::any_of(c.tags.begin(), c.tags.end(), [](int64_t tag) { return tag < 0 && tag != nn::ops::kIgnored; })) {
    return wrong("tags", "holds a negative number");
  }
  if (std::any_of(c.tagged.begin(), c.tagged.end(), [](int32_t flag) { return flag != 0 && flag != 1; })) {
    return wrong("tagged", "holds more than 0 and 1");
  }
  if (!PartsOf(c.logits_offsets, count, c.logits.size())) return wrong("logits_offsets", "does not part the logits");
  if (!std::all_of(c.logits.begin(), c.logits.end(), [](float logit) { return std::isfinite(logit); })) {
    return wrong("logits", "holds NaN or Inf");
  }
  const auto tasks = static_cast<int64_t>(c.tasks.size());
  if (std::any_of(c.task.begin(), c.task.end(), [tasks](int32_t task) { return task < 0 || task >= tasks; })) {
    return wrong("task", "holds a number that no task has");
  }
  return CheckWindows(c);
}

std::vector<StoredExample> FromColumns(const Columns& c) {
  std::vector<StoredExample> examples(c.label.size());
  for (size_t i = 0; i < examples.size(); ++i) {
    const int64_t begin = c.offsets[i], end = c.offsets[i + 1];
    TrainingExample& example = examples[i].example;
    examples[i].task = c.tasks[static_cast<size_t>(c.task[i])];
    example.sequence.ids.assign(c.ids.begin() + begin, c.ids.begin() + end);
    const bool typed =
        std::any_of(c.type_ids.begin() + begin, c.type_ids.begin() + end, [](int32_t t) { return t != 0; });
    if (typed) example.sequence.type_ids.assign(c.type_ids.begin() + begin, c.type_ids.begin() + end);
    for (int64_t w = c.window_offsets[i]; w < c.window_offsets[i + 1]; ++w)
      example.sequence.windows.push_back({c.windows[w], c.counted[w]});
    if (c.tagged[i] != 0) example.tags.assign(c.tags.begin() + begin, c.tags.begin() + end);
    examples[i].logits.assign(c.logits.begin() + c.logits_offsets[i], c.logits.begin() + c.logits_offsets[i + 1]);
    example.label = c.label[i];
    example.source = c.source[i];
    example.whole = {c.whole[i], c.whole_second[i]};
  }
  return examples;
}

absl::StatusOr<std::vector<StoredExample>> ReadExamples(const SafetensorsFile& file, std::vector<std::string> tasks) {
  Columns c;
  c.tasks = std::move(tasks);
  ENGRAM_RETURN_IF_ERROR(ReadColumn(file, "ids", kMostStoredTokens, c.ids));
  ENGRAM_RETURN_IF_ERROR(ReadColumn(file, "type_ids", kMostStoredTokens, c.type_ids));
  ENGRAM_RETURN_IF_ERROR(ReadColumn(file, "tags", kMostStoredTokens, c.tags));
  ENGRAM_RETURN_IF_ERROR(ReadColumn(file, "offsets", kMostStoredExamples + 1, c.offsets));
  ENGRAM_RETURN_IF_ERROR(ReadColumn(file, "task", kMostStoredExamples, c.task));
  ENGRAM_RETURN_IF_ERROR(ReadColumn(file, "tagged", kMostStoredExamples, c.tagged));
  ENGRAM_RETURN_IF_ERROR(ReadColumn(file, "label", kMostStoredExamples, c.label));
  ENGRAM_RETURN_IF_ERROR(ReadColumn(file, "source", kMostStoredExamples, c.source));
  if (file.Find(absl::StrCat(kExamplesPrefix, "logits")) != nullptr) {
    ENGRAM_RETURN_IF_ERROR(ReadColumn(file, "logits", kMostStoredLogits, c.logits));
    ENGRAM_RETURN_IF_ERROR(ReadColumn(file, "logits_offsets", kMostStoredExamples + 1, c.logits_offsets));
  } else {
    c.logits_offsets.assign(c.label.size() + 1, 0);
  }
  if (file.Find(absl::StrCat(kExamplesPrefix, "windows")) != nullptr) {
    ENGRAM_RETURN_IF_ERROR(ReadColumn(file, "windows", kMostStoredTokens, c.windows));
    ENGRAM_RETURN_IF_ERROR(ReadColumn(file, "counted", kMostStoredTokens, c.counted));
    ENGRAM_RETURN_IF_ERROR(ReadColumn(file, "window_offsets", kMostStoredExamples + 1, c.window_offsets));
  } else {
    c.window_offsets.assign(c.label.size() + 1, 0);
  }
  if (file.Find(absl::StrCat(kExamplesPrefix, "whole")) != nullptr) {
    ENGRAM_RETURN_IF_ERROR(ReadColumn(file, "whole", kMostStoredExamples, c.whole));
    ENGRAM_RETURN_IF_ERROR(ReadColumn(file, "whole_second", kMostStoredExamples, c.whole_second));
  } else {
    c.whole.assign(c.label.size(), kUnknownWhole);
    c.whole_second = c.whole;
  }
  ENGRAM_RETURN_IF_ERROR(CheckColumns(c));
  return FromColumns(c);
}

constexpr size_t kColumns = 8, kLogitColumns = 2, kWholeColumns = 2, kWindowColumns = 3;

// The names of the tasks.
absl::StatusOr<std::vector<std::string>> ReadHeader(const SafetensorsFile& file, const std::string& strategy) {
  const auto text = file.metadata().find(kHeaderKey);
  if (text == file.metadata().end()) return Damaged("its header", "is missing");
  const nlohmann::json header = nlohmann::json::parse(text->second, nullptr, /*allow_exceptions=*/false);
  if (!header.is_object() || !header.contains("format") || !header.contains("strategy") || !header.contains("tasks") ||
      !header["tasks"].is_array()) {
    return Damaged("its header", "does not parse");
  }
  if (header["format"] != kFormat) return Damaged("its header", "is of another format");
  if (header["strategy"] != strategy) return Damaged("its header", "names another strategy");
  std::vector<std::string> tasks;
  for (const nlohmann::json& task : header["tasks"]) {
    if (!task.is_string() || task.get_ref<const std::string&>().empty())
      return Damaged("its header", "has a task without a name");
    tasks.push_back(task.get<std::string>());
  }
  return tasks;
}

}  // namespace

std::map<std::string, uint64_t> ExamplesPerTask(std::span<const StoredExample> examples) {
  std::map<std::string, uint64_t> counts;
  for (const StoredExample& stored : examples) ++counts[stored.task];
  return counts;
}

absl::Status WriteVersionMemory(const std::string& directory, const std::string& strategy,
                                const VersionMemory& memory) {
  const Columns columns = ToColumns(memory.examples);
  if (static_cast<int64_t>(memory.examples.size()) > kMostStoredExamples ||
      static_cast<int64_t>(columns.ids.size()) > kMostStoredTokens ||
      static_cast<int64_t>(columns.logits.size()) > kMostStoredLogits) {
    return absl::ResourceExhaustedError(absl::StrCat("strategy ", strategy, " would store more than ",
                                                     kMostStoredExamples, " texts, ", kMostStoredTokens, " tokens or ",
                                                     kMostStoredLogits, " logits; lower memory_size"));
  }
  nn::TensorList list;
  for (const auto& [name, tensor] : memory.tensors) list.Add(kTensorPrefix + name, tensor);
  if (!memory.examples.empty()) {
    AddColumn("ids", columns.ids, list);
    AddColumn("type_ids", columns.type_ids, list);
    AddColumn("tags", columns.tags, list);
    AddColumn("offsets", columns.offsets, list);
    AddColumn("task", columns.task, list);
    AddColumn("tagged", columns.tagged, list);
    AddColumn("label", columns.label, list);
    AddColumn("source", columns.source, list);
    AddColumn("whole", columns.whole, list);
    AddColumn("whole_second", columns.whole_second, list);
  }
  if (!columns.windows.empty()) {
    AddColumn("windows", columns.windows, list);
    AddColumn("counted", columns.counted, list);
    AddColumn("window_offsets", columns.window_offsets, list);
  }
  if (!columns.logits.empty()) {
    AddColumn("logits", columns.logits, list);
    AddColumn("logits_offsets", columns.logits_offsets, list);
  }
  std::map<std::string, std::string> metadata;
  metadata[kHeaderKey] = nlohmann::json{{"format", kFormat}, {"strategy", strategy}, {"tasks", columns.tasks}}.dump();
  for (const auto& [name, value] : memory.values) metadata[kValuePrefix + name] = value;
  const std::string path = absl::StrCat(directory, "/", checkpoint::MemoryFile(strategy));
  ENGRAM_RETURN_IF_ERROR(MakeDirectories(std::filesystem::path(path).parent_path().string()));
  return list.Write(path, metadata);
}

absl::StatusOr<VersionMemory> ReadVersionMemory(const std::string& directory, const std::string& strategy) {
  const absl::StatusOr<SafetensorsFile> file =
      SafetensorsFile::Open(absl::StrCat(directory, "/", checkpoint::MemoryFile(strategy)));
  if (absl::IsInvalidArgument(file.status())) return Damaged("its file", std::string(file.status().message()));
  ENGRAM_RETURN_IF_ERROR(file.status());
  ENGRAM_ASSIGN_OR_RETURN(std::vector<std::string> tasks, ReadHeader(*file, strategy));
  VersionMemory memory;
  for (const auto& [name, value] : file->metadata()) {
    if (name.starts_with(kValuePrefix)) memory.values[name.substr(std::strlen(kValuePrefix))] = value;
  }
  size_t columns = 0;
  for (const auto& [name, entry] : file->tensors()) {
    if (name.starts_with(kExamplesPrefix)) {
      ++columns;
      continue;
    }
    if (!name.starts_with(kTensorPrefix)) return Damaged(name, "is not expected");
    absl::StatusOr<at::Tensor> tensor = nn::ReadTensor(name, entry);
    if (!tensor.ok()) return Damaged(name, std::string(tensor.status().message()));
    memory.tensors[name.substr(std::strlen(kTensorPrefix))] = *std::move(tensor);
    file->Release(entry);
  }
  if (columns == 0 && tasks.empty()) return memory;
  ENGRAM_ASSIGN_OR_RETURN(memory.examples, ReadExamples(*file, std::move(tasks)));
  const auto has = [&](const char* column) { return file->Find(absl::StrCat(kExamplesPrefix, column)) != nullptr; };
  if (columns != kColumns + (has("logits") ? kLogitColumns : 0) + (has("whole") ? kWholeColumns : 0) +
                     (has("windows") ? kWindowColumns : 0))
    return Damaged("examples", "has a column that is not expected");
  return memory;
}

absl::StatusOr<VersionMemory> MemorySource::Read() const {
  if (memory_ != nullptr) return *memory_;
  if (directory_.empty() || !PathExists(absl::StrCat(directory_, "/", checkpoint::MemoryFile(strategy_))))
    return VersionMemory();
  ENGRAM_ASSIGN_OR_RETURN(VersionMemory memory, ReadVersionMemory(directory_, strategy_));
  std::erase_if(memory.examples, [this](const StoredExample& stored) { return without_.contains(stored.task); });
  return memory;
}

}  // namespace engram::train
