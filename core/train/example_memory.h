#pragma once

// The memory of examples that replaying strategies share: what is held of earlier tasks, and what is kept once a task is
// learned.

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/base/status.h"
#include "core/train/strategy.h"
#include "core/train/version_memory.h"

namespace engram::train {

// kBalanced   every task has the same share (BalancedMemory)
// kReservoir  every text of any task is kept with the same probability (Vitter, "Random sampling with a reservoir", ACM
//             TOMS 1985), so that a task's share follows the size of its data set
enum class MemoryChoice { kBalanced, kReservoir };

// At most `size` examples: of `held`, a uniform draw of `seen` texts, and of `examples` as many each as a uniform draw
// without replacement of seen + examples.size() texts would hold, in distribution what a reservoir holds that all of
// them went through.
std::vector<StoredExample> ReservoirMemory(std::vector<StoredExample> held, int64_t seen, const std::string& task,
                                           std::span<const TrainingExample> examples, int64_t size, uint64_t seed);

// What a stored example takes in memory, at most: of `longest` tokens, tagged, with token types, with the logits of
// `labels` labels for each token (0: without).
int64_t StoredExampleBytes(int64_t longest, int64_t labels);

// Not thread-safe.
class ExampleMemory {
 public:
  // Keeps `size` examples of what `source` holds and of the task that is learned.
  ExampleMemory(int64_t size, MemoryChoice choice, MemorySource source)
      : size_(size), choice_(choice), source_(std::move(source)) {}

  // For BeginTask: reads what is held and checks it against the model: of tasks other than the setup's, and of that one,
  // too, if it gets further labels. DATA_LOSS as MemorySource::Read, INVALID_ARGUMENT as CheckStoredExamples, FAILED_PRECONDITION with reason MEMORY_UNCOUNTED if a
  // reservoir does not know of how many texts it is.
  absl::Status Recall(const TaskSetup& setup);
  // Lets the heads of the other tasks that are held learn, too.
  void TrainHeads(TaskSetup& setup) const;

  const std::vector<StoredExample>& held() const { return held_; }

  // For EndTask: what is kept for later tasks. A task that is learned again replaces what is held of it, unless it got
  // further labels: then its old and new labels have shares as they have numbers (balanced), or its texts the same
  // probability (reservoir). Masked language models are not remembered: nothing changes then. Gives
  // up what is held.
  void Remember(const TaskSetup& setup, VersionMemory& memory);

 private:
  const int64_t size_;
  const MemoryChoice choice_;
  const MemorySource source_;
  std::vector<StoredExample> held_;      // what is replayed
  std::map<std::string, int64_t> seen_;  // texts of each of them
};

}  // namespace engram::train
