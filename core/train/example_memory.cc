#include "core/train/example_memory.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "core/base/random.h"
#include "core/train/replay.h"

namespace engram::train {
namespace {

constexpr const char* kSeen = "seen.";  // value "seen.<task>": texts of the task's data set
constexpr uint64_t kReservoirStep = (uint64_t{1} << 63) + 1;
constexpr int64_t kMostTexts = int64_t{1} << 48;

template <typename T>
void Shuffle(std::vector<T>& values, RandomStream& random) {
  for (size_t i = values.size(); i > 1; --i) std::swap(values[i - 1], values[random.NextBelow(i)]);
}

}  // namespace

std::vector<StoredExample> ReservoirMemory(std::vector<StoredExample> held, int64_t seen, const std::string& task,
                                           std::span<const TrainingExample> examples, int64_t size, uint64_t seed) {
  RandomStream random(seed, RandomPurpose::kReplay, kReservoirStep);
  auto fresh = static_cast<int64_t>(examples.size());
  const int64_t total = std::min(size, seen + fresh);
  int64_t kept = 0, old = seen;
  for (int64_t i = 0; i < total; ++i) {
    if (static_cast<int64_t>(random.NextBelow(static_cast<uint64_t>(old + fresh))) < old) {
      ++kept;
      --old;
    } else {
      --fresh;
    }
  }
  Shuffle(held, random);
  // Fewer are held than a draw of all could need only if the memory was smaller before.
  held.resize(std::min(held.size(), static_cast<size_t>(kept)));
  std::vector<int64_t> numbers(examples.size());
  for (size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<int64_t>(i);
  Shuffle(numbers, random);
  numbers.resize(static_cast<size_t>(total - kept));
  for (const int64_t number : numbers) held.push_back({task, examples[number]});
  return held;
}

int64_t StoredExampleBytes(int64_t longest, int64_t labels) {
  constexpr int64_t kBlock = 8;  // what the C library adds to a block
  const int64_t ids = 4 * longest, type_ids = 4 * longest, tags = 8 * longest, logits = 4 * longest * labels;
  return static_cast<int64_t>(sizeof(StoredExample)) + ids + type_ids + tags + logits + (labels > 0 ? 4 : 3) * kBlock;
}

absl::Status ExampleMemory::Recall(const TaskSetup& setup) {
  ENGRAM_ASSIGN_OR_RETURN(VersionMemory memory, source_.Read());
  held_ = std::move(memory.examples);
  if (!setup.grows()) std::erase_if(held_, [&](const StoredExample& stored) { return stored.task == setup.task; });
  ENGRAM_RETURN_IF_ERROR(CheckStoredExamples(setup.model, held_));
  for (const auto& [name, value] : memory.values) {
    if (!name.starts_with(kSeen)) continue;
    int64_t texts = 0;
    if (!absl::SimpleAtoi(value, &texts) || texts < 0 || texts > kMostTexts) {
      return StatusWithReason(absl::StatusCode::kDataLoss, "MEMORY_DAMAGED",
                              absl::StrCat("what the strategy remembers is damaged: ", name, " is no count"));
    }
    seen_[name.substr(std::string_view(kSeen).size())] = texts;
  }
  if (!setup.grows()) seen_.erase(setup.task);
  if (choice_ == MemoryChoice::kBalanced) return absl::OkStatus();
  for (const std::string& task : StoredTasks(held_)) {
    if (seen_.contains(task)) continue;
    return StatusWithReason(
        absl::StatusCode::kFailedPrecondition, "MEMORY_UNCOUNTED",
        absl::StrCat("the memory does not say how many texts task ", task,
                     " has, which a reservoir needs to know: train on with memory=balanced, or learn that task again"));
  }
  return absl::OkStatus();
}

void ExampleMemory::TrainHeads(TaskSetup& setup) const {
  for (const std::string& task : StoredTasks(held_)) {
    if (task == setup.task) continue;
    for (const nn::SlotId slot : setup.model.HeadSlots(task)) setup.trainable.push_back(slot);
  }
}

void ExampleMemory::Remember(const TaskSetup& setup, VersionMemory& memory) {
  if (setup.kind == checkpoint::TaskKind::kMaskedLanguageModel) return;
  int64_t seen = 0;
  for (const auto& [task, texts] : seen_) seen += texts;
  const auto labels = static_cast<double>(setup.model.heads().at(setup.task).labels);
  const double known = setup.grows() ? static_cast<double>(setup.known_labels) / labels : 0;
  memory.examples = choice_ == MemoryChoice::kBalanced
                        ? BalancedMemory(std::move(held_), setup.task, setup.examples, size_, setup.seed, known)
                        : ReservoirMemory(std::move(held_), seen, setup.task, setup.examples, size_, setup.seed);
  seen_[setup.task] += static_cast<int64_t>(setup.examples.size());
  for (const auto& [task, texts] : seen_) memory.values[kSeen + task] = absl::StrCat(texts);
}

}  // namespace engram::train
