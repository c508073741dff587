#include "core/train/replay.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <string>
#include <utility>

#include "ATen/ops/empty.h"
#include "absl/strings/str_cat.h"
#include "core/base/random.h"
#include "core/nn/ops/cross_entropy/cross_entropy.h"
#include "core/train/micro_batch.h"

namespace engram::train {
namespace {

// Dropout is keyed by 32 bits of the step. Training counts micro-batches from 0; replay has the upper half.
constexpr uint64_t kReplayStep = uint64_t{1} << 31;
constexpr uint64_t kMemoryStep = uint64_t{1} << 63;  // of RandomPurpose::kReplay: which examples are kept

// `count` of the numbers below `all`, uniformly without replacement, in random order.
std::vector<int64_t> Draw(int64_t all, int64_t count, uint64_t seed, uint64_t step) {
  std::vector<int64_t> numbers(static_cast<size_t>(all));
  std::iota(numbers.begin(), numbers.end(), int64_t{0});
  count = std::min(count, all);
  RandomStream random(seed, RandomPurpose::kReplay, step);
  for (int64_t i = 0; i < count; ++i) {
    std::swap(numbers[i], numbers[i + static_cast<int64_t>(random.NextBelow(static_cast<uint64_t>(all - i)))]);
  }
  numbers.resize(static_cast<size_t>(count));
  return numbers;
}

// The targets of one task's head over the whole batch: ignored where an example is another task's.
at::Tensor TargetsOf(const std::string& task, checkpoint::TaskKind kind, std::span<const StoredExample> examples,
                     std::span<const int64_t> chosen, at::Device device) {
  std::vector<int64_t> targets;
  for (const int64_t index : chosen) {
    const TrainingExample& example = examples[index].example;
    const bool own = examples[index].task == task;
    if (kind == checkpoint::TaskKind::kSequenceClassification) {
      targets.push_back(own ? example.label : nn::ops::kIgnored);
    } else if (own) {
      targets.insert(targets.end(), example.tags.begin(), example.tags.end());
    } else {
      targets.insert(targets.end(), example.sequence.ids.size(), nn::ops::kIgnored);
    }
  }
  at::Tensor host = at::empty({static_cast<int64_t>(targets.size())}, at::kLong);
  std::copy(targets.begin(), targets.end(), host.mutable_data_ptr<int64_t>());
  return host.to(device);
}

}  // namespace

absl::Status CheckStoredExamples(const nn::Model& model, std::span<const StoredExample> examples) {
  for (size_t i = 0; i < examples.size(); ++i) {
    const auto invalid = [i](const std::string& what) { return InvalidField(absl::StrCat("examples[", i, "]"), what); };
    const auto head = model.heads().find(examples[i].task);
    if (head == model.heads().end()) {
      return invalid(absl::StrCat("belongs to task \"", examples[i].task, "\", for which the model has no head"));
    }
    if (head->second.kind == checkpoint::TaskKind::kMaskedLanguageModel)
      return invalid("belongs to a masked language model");
    const TaskSpec spec{examples[i].task, head->second.kind, head->second.labels, std::nullopt};
    const absl::Status fits = ValidateExamples(spec, std::span(&examples[i].example, 1), model.config().max_length());
    if (!fits.ok()) return invalid(std::string(fits.message()));
    for (const int32_t id : examples[i].example.sequence.ids) {
      if (id < 0 || id >= model.config().vocab_size) return invalid("has a token that the vocabulary does not have");
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<StoredExample>> RecallExamples(const MemorySource& source, const nn::Model& model,
                                                          const std::string& task) {
  ENGRAM_ASSIGN_OR_RETURN(VersionMemory memory, source.Read());
  std::erase_if(memory.examples, [&](const StoredExample& stored) { return stored.task == task; });
  ENGRAM_RETURN_IF_ERROR(CheckStoredExamples(model, memory.examples));
  return std::move(memory.examples);
}

std::vector<std::string> StoredTasks(std::span<const StoredExample> examples) {
  std::vector<std::string> tasks;
  for (const StoredExample& stored : examples) {
    if (std::find(tasks.begin(), tasks.end(), stored.task) == tasks.end()) tasks.push_back(stored.task);
  }
  return tasks;
}

std::vector<int64_t> DrawStored(int64_t stored, int64_t count, uint64_t seed, int64_t step) {
  std::vector<int64_t> drawn = Draw(stored, count, seed, static_cast<uint64_t>(step));
  std::sort(drawn.begin(), drawn.end());
  return drawn;
}

absl::StatusOr<ReplayLoss> AddReplayGradient(const nn::Model& model, std::span<const StoredExample> examples,
                                             std::span<const int64_t> chosen, double weight, uint64_t seed,
                                             int64_t step, nn::GradientSink& sink) {
  ReplayLoss loss;
  if (chosen.empty()) return loss;
  std::vector<const nn::Sequence*> sequences;
  std::vector<nn::TaskQuery> queries;
  for (const int64_t index : chosen) {
    const StoredExample& stored = examples[index];
    sequences.push_back(&stored.example.sequence);
    const bool known =
        std::any_of(queries.begin(), queries.end(), [&](const auto& q) { return q.task == stored.task; });
    if (!known) queries.push_back({stored.task, at::Tensor()});
  }
  const at::Device device = model.parameters().device();
  ENGRAM_ASSIGN_OR_RETURN(const nn::PackedBatch batch, nn::Pack(sequences, device));
  const nn::TrainingMode mode{seed, kReplayStep + static_cast<uint64_t>(step)};
  const auto tape = nn::Model::NewTape();
  const std::vector<at::Tensor> logits = model.Predict(batch, queries, mode, tape.get());
  std::vector<nn::HeadGradient> gradients;
  for (size_t i = 0; i < queries.size(); ++i) {
    const checkpoint::TaskKind kind = model.heads().at(queries[i].task).kind;
    const at::Tensor targets = TargetsOf(queries[i].task, kind, examples, chosen, device);
    const LossResult result = CrossEntropyLoss(logits[i], targets, weight);
    loss.sum += result.sum;
    loss.units += targets.ne(nn::ops::kIgnored).sum().item<int64_t>();
    gradients.push_back({i, result.grad});
  }
  model.Backward(gradients, std::move(*tape), sink);
  return loss;
}

std::vector<StoredExample> BalancedMemory(std::vector<StoredExample> held, const std::string& task,
                                          std::span<const TrainingExample> examples, int64_t size, uint64_t seed) {
  std::erase_if(held, [&](const StoredExample& stored) { return stored.task == task; });
  const std::vector<std::string> tasks = StoredTasks(held);
  const int64_t share = size / static_cast<int64_t>(tasks.size() + 1);
  std::map<std::string, int64_t> kept;
  std::vector<StoredExample> memory;
  for (StoredExample& stored : held) {
    if (kept[stored.task]++ < share) memory.push_back(std::move(stored));
  }
  for (const int64_t index : Draw(static_cast<int64_t>(examples.size()), share, seed, kMemoryStep)) {
    memory.push_back({task, examples[index]});
  }
  return memory;
}

}  // namespace engram::train
