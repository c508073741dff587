#pragma once

// What a strategy remembers from one task to the next: named tensors, values and training examples, stored with the
// version as memory/<strategy>.safetensors and given to the strategy when a task is trained on top of that version.
//   tensor.<name>         what the strategy named, fp32, int64 or int32
//   examples.ids, .type_ids (I32), .tags (I64)   [tokens], the examples one after the other
//   examples.offsets (I64)                       [n + 1], where each begins
//   examples.task, .tagged (I32), .label, .source (I64)   [n]
//   examples.logits (F32), .logits_offsets (I64) [n + 1]  the logits of those that have any, one after the other; both
//                                                         are absent where none has
//   examples.windows, .counted (I32), .window_offsets (I64) [n + 1]  the windows of those that are read in windows, one
//                                                         after the other; absent where none is
//   examples.whole, .whole_second (I64)          [n], TrainingExample::whole; absent in memories of older programs: unknown
//   metadata "memory": JSON of format, strategy and the tasks' names; metadata "value.<name>": the values

#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "core/base/status.h"
#include "core/train/example.h"

namespace engram::train {

inline constexpr int64_t kMostStoredExamples = int64_t{1} << 20;
inline constexpr int64_t kMostStoredTokens = int64_t{1} << 28;
inline constexpr int64_t kMostStoredLogits = int64_t{1} << 30;

// A training example of the task that it was stored for.
struct StoredExample {
  std::string task;
  TrainingExample example;  // `continues` is not stored: each is an example of its own
  // What the model answered when the example was stored: the logits of its text, or of each of its tokens one after the
  // other; empty: unknown.
  std::vector<float> logits = {};
};

struct VersionMemory {
  std::map<std::string, at::Tensor> tensors;  // fp32, int64 or int32, any shape
  std::map<std::string, std::string> values;
  std::vector<StoredExample> examples;

  bool empty() const { return tensors.empty() && values.empty() && examples.empty(); }
};

// Task -> how many of the examples are its.
std::map<std::string, uint64_t> ExamplesPerTask(std::span<const StoredExample> examples);

// Writes checkpoint::MemoryFile(strategy) into `directory`, so that a crash leaves no file or a whole one.
// RESOURCE_EXHAUSTED beyond the bounds above, or on a full disk.
absl::Status WriteVersionMemory(const std::string& directory, const std::string& strategy, const VersionMemory& memory);

// DATA_LOSS with reason MEMORY_DAMAGED, naming the tensor, for one that is missing or not expected, whose dtype or
// shape is wrong, or that holds what no writer wrote (offsets that fall, negative ids, tasks without a name); likewise
// beyond the bounds above. NOT_FOUND without a file.
absl::StatusOr<VersionMemory> ReadVersionMemory(const std::string& directory, const std::string& strategy);

// What the version that training starts from holds for a strategy; read when the strategy asks for it. Value type.
class MemorySource {
 public:
  MemorySource() = default;  // holds nothing
  // Of a version's directory, which must stay while the source is in use; it may hold nothing for the strategy. Examples
  // of the tasks `without` are left out.
  MemorySource(std::string directory, std::string strategy, std::set<std::string> without = {})
      : directory_(std::move(directory)), strategy_(std::move(strategy)), without_(std::move(without)) {}
  explicit MemorySource(VersionMemory memory) : memory_(std::make_shared<const VersionMemory>(std::move(memory))) {}

  // An empty memory if there is none; errors as ReadVersionMemory.
  absl::StatusOr<VersionMemory> Read() const;

 private:
  std::string directory_, strategy_;
  std::set<std::string> without_;
  std::shared_ptr<const VersionMemory> memory_;
};

}  // namespace engram::train
