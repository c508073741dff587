#include "core/train/replay.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <iterator>
#include <map>
#include <numeric>
#include <string>
#include <utility>

#include "ATen/ops/empty.h"
#include "ATen/ops/zeros_like.h"
#include "absl/strings/str_cat.h"
#include "core/base/random.h"
#include "core/nn/ops/cross_entropy/cross_entropy.h"
#include "core/train/micro_batch.h"

namespace engram::train {
namespace {

// Dropout is keyed by 32 bits of the step. Training counts micro-batches from 0; replay has the upper half.
constexpr uint64_t kReplayStep = uint64_t{1} << 31;
// Of RandomPurpose::kReplay: which examples are kept, and in which order those of the task just learned.
constexpr uint64_t kMemoryStep = uint64_t{1} << 63, kMixStep = kMemoryStep + 2;

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

// The loss of one task's logits over the whole batch, `weight` times in its gradient.
using LossOfTask =
    std::function<LossResult(const std::string& task, checkpoint::TaskKind kind, const at::Tensor& logits)>;

// One pass over examples[chosen], each task's head learning from its own.
absl::StatusOr<double> AddGradient(const nn::Model& model, std::span<const StoredExample> examples,
                                   std::span<const int64_t> chosen, uint64_t seed, int64_t step,
                                   const LossOfTask& loss_of, nn::GradientSink& sink) {
  double loss = 0;
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
  ENGRAM_ASSIGN_OR_RETURN(const nn::PackedBatch batch, nn::Pack(sequences, model.parameters().device()));
  const nn::TrainingMode mode{seed, kReplayStep + static_cast<uint64_t>(step)};
  const auto tape = nn::Model::NewTape();
  const std::vector<at::Tensor> logits = model.Predict(batch, queries, mode, tape.get());
  std::vector<nn::HeadGradient> gradients;
  for (size_t i = 0; i < queries.size(); ++i) {
    LossResult result = loss_of(queries[i].task, model.heads().at(queries[i].task).kind, logits[i]);
    loss += result.sum;
    gradients.push_back({i, std::move(result.grad)});
  }
  model.Backward(gradients, std::move(*tape), sink);
  return loss;
}

// Squares of what the logits of one task are away from those that were stored. Only rows that count, and only the
// labels that the head had then.
LossResult StoredLogitsLoss(const std::string& task, checkpoint::TaskKind kind, std::span<const StoredExample> examples,
                            std::span<const int64_t> chosen, const at::Tensor& logits, double weight) {
  const at::Tensor host = logits.cpu().contiguous();
  const float* answer = host.const_data_ptr<float>();
  at::Tensor grad = at::zeros_like(host);
  float* out = grad.mutable_data_ptr<float>();
  const int64_t labels = logits.size(1);
  LossResult result;
  for (const int64_t index : chosen) {
    const StoredExample& stored = examples[index];
    const bool tagging = kind == checkpoint::TaskKind::kTokenClassification;
    const auto rows = static_cast<int64_t>(tagging ? stored.example.sequence.ids.size() : 1);
    const int64_t width = stored.task == task ? static_cast<int64_t>(stored.logits.size()) / rows : 0;
    for (int64_t row = 0; row < rows; ++row, answer += labels, out += labels) {
      if (width == 0 || (tagging && stored.example.tags[row] == nn::ops::kIgnored)) continue;
      for (int64_t c = 0; c < width; ++c) {
        const double away = static_cast<double>(answer[c]) - static_cast<double>(stored.logits[row * width + c]);
        result.sum += away * away;
        out[c] = static_cast<float>(2 * weight * away);
      }
    }
  }
  result.grad = grad.to(logits.device());
  return result;
}

absl::Status CheckLogits(const StoredExample& stored, const nn::HeadConfig& head) {
  if (stored.logits.empty()) return absl::OkStatus();
  const bool tagging = head.kind == checkpoint::TaskKind::kTokenClassification;
  const size_t rows = tagging ? stored.example.sequence.ids.size() : 1;
  const size_t width = stored.logits.size() / rows;
  if (width * rows == stored.logits.size() && width <= static_cast<size_t>(head.labels)) return absl::OkStatus();
  return InvalidField("logits", "are not one for each label that the head has");
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
    const absl::Status logits = CheckLogits(examples[i], head->second);
    if (!logits.ok()) return invalid(std::string(logits.message()));
    for (const int32_t id : examples[i].example.sequence.ids) {
      if (id < 0 || id >= model.config().vocab_size) return invalid("has a token that the vocabulary does not have");
    }
  }
  return absl::OkStatus();
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

int64_t StoredUnits(std::span<const StoredExample> examples, std::span<const int64_t> chosen) {
  int64_t units = 0;
  for (const int64_t index : chosen) {
    const std::vector<int64_t>& tags = examples[index].example.tags;
    units += tags.empty()
                 ? 1
                 : std::count_if(tags.begin(), tags.end(), [](int64_t tag) { return tag != nn::ops::kIgnored; });
  }
  return units;
}

absl::StatusOr<ReplayLoss> AddReplayGradient(const nn::Model& model, std::span<const StoredExample> examples,
                                             std::span<const int64_t> chosen, double weight, uint64_t seed,
                                             int64_t step, nn::GradientSink& sink) {
  const auto loss = [&](const std::string& task, checkpoint::TaskKind kind, const at::Tensor& logits) {
    return CrossEntropyLoss(logits, TargetsOf(task, kind, examples, chosen, logits.device()), weight);
  };
  ENGRAM_ASSIGN_OR_RETURN(const double sum, AddGradient(model, examples, chosen, seed, step, loss, sink));
  return ReplayLoss{sum, StoredUnits(examples, chosen)};
}

absl::StatusOr<ReplayLoss> AddLogitGradient(const nn::Model& model, std::span<const StoredExample> examples,
                                            std::span<const int64_t> chosen, double weight, uint64_t seed, int64_t step,
                                            nn::GradientSink& sink) {
  const auto loss = [&](const std::string& task, checkpoint::TaskKind kind, const at::Tensor& logits) {
    return StoredLogitsLoss(task, kind, examples, chosen, logits, weight);
  };
  ENGRAM_ASSIGN_OR_RETURN(const double sum, AddGradient(model, examples, chosen, seed, step, loss, sink));
  return ReplayLoss{sum, StoredUnits(examples, chosen)};
}

std::vector<StoredExample> BalancedMemory(std::vector<StoredExample> held, const std::string& task,
                                          std::span<const TrainingExample> examples, int64_t size, uint64_t seed,
                                          double known) {
  const auto others =
      std::stable_partition(held.begin(), held.end(), [&](const StoredExample& stored) { return stored.task != task; });
  std::vector<StoredExample> own(std::make_move_iterator(others), std::make_move_iterator(held.end()));
  held.erase(others, held.end());
  const std::vector<std::string> tasks = StoredTasks(held);
  const int64_t share = size / static_cast<int64_t>(tasks.size() + 1);
  std::map<std::string, int64_t> kept;
  std::vector<StoredExample> memory;
  for (StoredExample& stored : held) {
    if (kept[stored.task]++ < share) memory.push_back(std::move(stored));
  }
  const auto known_share = static_cast<int64_t>(std::llround(known * static_cast<double>(share)));
  own.resize(std::min(own.size(), static_cast<size_t>(known_share)));
  const int64_t room = share - static_cast<int64_t>(own.size());
  for (const int64_t index : Draw(static_cast<int64_t>(examples.size()), room, seed, kMemoryStep)) {
    own.push_back({task, examples[index]});
  }
  for (const int64_t index : Draw(static_cast<int64_t>(own.size()), share, seed, kMixStep)) {
    memory.push_back(std::move(own[static_cast<size_t>(index)]));
  }
  return memory;
}

}  // namespace engram::train
