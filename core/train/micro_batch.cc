#include "core/train/micro_batch.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "ATen/ops/empty.h"
#include "ATen/ops/full.h"
#include "ATen/ops/ones.h"
#include "absl/strings/str_cat.h"
#include "core/base/random.h"
#include "core/nn/ops/cross_entropy/cross_entropy.h"
#include "core/train/pending_loss.h"

namespace engram::train {
namespace {

constexpr double kMaskedShare = 0.8, kRandomShare = 0.1;  // of the predicted tokens; the rest stays as it is

at::Tensor ToTensor(const std::vector<int64_t>& values, at::Device device) {
  at::Tensor host = at::empty({static_cast<int64_t>(values.size())}, at::kLong);
  std::copy(values.begin(), values.end(), host.mutable_data_ptr<int64_t>());
  return host.to(device);
}

// The masked copy of a batch's sequences, and which of its rows are predicted.
struct Masked {
  std::vector<nn::Sequence> sequences;
  std::vector<int64_t> rows, targets;

  void Predict(const MaskingOptions& masking, RandomStream& random, size_t sequence, size_t position, int64_t row) {
    int32_t& id = sequences[sequence].ids[position];
    rows.push_back(row);
    targets.push_back(id);
    const double draw = random.NextDouble();
    if (draw < kMaskedShare) {
      id = masking.mask_token_id;
    } else if (draw < kMaskedShare + kRandomShare) {
      id = static_cast<int32_t>(random.NextBelow(static_cast<uint64_t>(masking.vocab_size)));
    }
  }
};

Masked Mask(const MaskingOptions& masking, std::span<const nn::Sequence* const> sequences, uint64_t seed,
            uint64_t step) {
  struct Candidate {
    size_t sequence, position;
    int64_t row;
  };
  RandomStream random(seed, RandomPurpose::kMasking, step);
  Masked masked;
  std::vector<Candidate> candidates;
  int64_t row = 0;
  for (size_t s = 0; s < sequences.size(); ++s) {
    masked.sequences.push_back(*sequences[s]);
    const std::vector<int32_t>& ids = sequences[s]->ids;
    for (size_t position = 0; position < ids.size(); ++position, ++row) {
      const bool special =
          std::find(masking.special_ids.begin(), masking.special_ids.end(), ids[position]) != masking.special_ids.end();
      if (special) continue;
      candidates.push_back({s, position, row});
      if (random.NextDouble() < masking.probability) masked.Predict(masking, random, s, position, row);
    }
  }
  if (masked.rows.empty() && !candidates.empty()) {
    const Candidate& chosen = candidates[random.NextBelow(candidates.size())];
    masked.Predict(masking, random, chosen.sequence, chosen.position, chosen.row);
  }
  return masked;
}

// Takes a part of the words of which nothing is known as outside: Li, Liu and Shi, "Empirical analysis of unlabeled entity
// problem in named entity recognition", ICLR 2021, sample a part of what is not annotated as negative, so that what an
// incomplete list lacks is seldom learned as nothing. `begin`: the example's first token in `targets`. How many it took.
int64_t SampleOutside(const TaskSpec& task, const TrainingExample& example, size_t begin, RandomStream& random,
                      std::vector<int64_t>& targets) {
  int64_t taken = 0;
  for (const int32_t token : example.missing) {
    if (random.NextDouble() >= task.missing_as_outside) continue;
    targets[begin + static_cast<size_t>(token)] = task.outside;
    ++taken;
  }
  return taken;
}

// The expected number of words that SampleOutside takes.
double ExpectedOutside(const TaskSpec& task, std::span<const TrainingExample> examples) {
  size_t words = 0;
  for (const TrainingExample& example : examples) words += example.missing.size();
  return task.missing_as_outside * static_cast<double>(words);
}

int64_t CountTags(const TrainingExample& example) {
  return std::count_if(example.tags.begin(), example.tags.end(), [](int64_t tag) { return tag != nn::ops::kIgnored; });
}

absl::Status ValidateExample(const TaskSpec& task, const TrainingExample& example, int64_t max_length, size_t row) {
  const auto invalid = [row](const std::string& what) { return InvalidField(absl::StrCat("rows[", row, "]"), what); };
  const size_t length = example.sequence.ids.size();
  if (length == 0) return invalid("has no tokens");
  int64_t longest = example.sequence.windows.empty() ? static_cast<int64_t>(length) : 0;
  for (const nn::TextWindow& window : example.sequence.windows) longest = std::max<int64_t>(longest, window.tokens);
  if (longest > max_length)
    return invalid(absl::StrCat("has ", longest, " tokens, the model takes ", max_length, "; lower max_length"));
  if (!example.sequence.windows.empty() && task.kind != checkpoint::TaskKind::kSequenceClassification)
    return invalid("is a text in windows, which only classification reads at once");
  if (task.kind == checkpoint::TaskKind::kSequenceClassification &&
      (example.label < 0 || example.label >= task.labels)) {
    return invalid(absl::StrCat("has label number ", example.label, ", the task has ", task.labels, " labels"));
  }
  if (task.kind == checkpoint::TaskKind::kTokenClassification) {
    if (example.tags.size() != length)
      return invalid(absl::StrCat("has ", example.tags.size(), " tags for ", length, " tokens"));
    for (const int64_t tag : example.tags) {
      if (tag == nn::ops::kIgnored || (tag >= 0 && tag < task.labels)) continue;
      return invalid(absl::StrCat("has tag number ", tag, ", the task has ", task.labels, " tags"));
    }
    for (const int32_t token : example.missing) {
      if (token >= 0 && static_cast<size_t>(token) < length &&
          example.tags[static_cast<size_t>(token)] == nn::ops::kIgnored)
        continue;
      return invalid(absl::StrCat("has token ", token, " as one without a tag, which it is not"));
    }
    if (!example.missing.empty() && task.missing_as_outside > 0 && (task.outside < 0 || task.outside >= task.labels))
      return invalid("has words of which nothing is known, and the task has no tag for words outside of entities");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<MicroBatch> MakeMicroBatch(const TaskSpec& task, std::span<const TrainingExample> examples,
                                          std::span<const int64_t> indices, uint64_t seed, uint64_t step,
                                          at::Device device) {
  MicroBatch result;
  result.examples.assign(indices.begin(), indices.end());
  std::vector<const nn::Sequence*> sequences;
  for (const int64_t index : indices) sequences.push_back(&examples[index].sequence);
  std::vector<int64_t> targets;
  if (task.kind == checkpoint::TaskKind::kMaskedLanguageModel) {
    const Masked masked = Mask(*task.masking, sequences, seed, step);
    ENGRAM_ASSIGN_OR_RETURN(result.batch, nn::Pack(std::span<const nn::Sequence>(masked.sequences), device));
    result.rows = ToTensor(masked.rows, device);
    result.units = static_cast<int64_t>(masked.rows.size());
    targets = masked.targets;
  } else {
    ENGRAM_ASSIGN_OR_RETURN(result.batch, nn::Pack(std::span<const nn::Sequence* const>(sequences), device));
    RandomStream random(seed, RandomPurpose::kMissingTags, step);
    for (const int64_t index : indices) {
      const TrainingExample& example = examples[index];
      if (task.kind == checkpoint::TaskKind::kTokenClassification) {
        const size_t begin = targets.size();
        targets.insert(targets.end(), example.tags.begin(), example.tags.end());
        result.units += CountTags(example) + SampleOutside(task, example, begin, random, targets);
      } else {
        targets.push_back(example.label);
        ++result.units;
      }
    }
  }
  result.targets = ToTensor(targets, device);
  return result;
}

absl::Status ValidateExamples(const TaskSpec& task, std::span<const TrainingExample> examples, int64_t max_length) {
  for (size_t row = 0; row < examples.size(); ++row)
    ENGRAM_RETURN_IF_ERROR(ValidateExample(task, examples[row], max_length, row));
  return absl::OkStatus();
}

int64_t CountUnits(const TaskSpec& task, std::span<const TrainingExample> examples) {
  if (task.kind == checkpoint::TaskKind::kSequenceClassification) return static_cast<int64_t>(examples.size());
  int64_t units = 0;
  for (const TrainingExample& example : examples) {
    if (task.kind == checkpoint::TaskKind::kTokenClassification) {
      units += CountTags(example);
      continue;
    }
    const std::vector<int32_t>& special = task.masking->special_ids;
    units += std::count_if(example.sequence.ids.begin(), example.sequence.ids.end(),
                           [&](int32_t id) { return std::find(special.begin(), special.end(), id) == special.end(); });
  }
  if (task.kind == checkpoint::TaskKind::kTokenClassification)
    return units + std::llround(ExpectedOutside(task, examples));
  return std::max<int64_t>(1, std::llround(task.masking->probability * static_cast<double>(units)));
}

PendingLoss::PendingLoss(const at::Tensor& logits, const at::Tensor& targets, double weight,
                         const at::Tensor& class_weights)
    : weight_(weight) {
  at::Tensor weights = at::full({targets.size(0)}, weight, logits.options());
  if (class_weights.defined()) weights.mul_(class_weights.index_select(0, targets.clamp_min(0)));
  nn::ops::CrossEntropyResult result = nn::ops::CrossEntropy(logits, targets, weights);
  losses_ = std::move(result.loss);
  grad_ = std::move(result.grad);
}

double PendingLoss::Sum() const {
  const at::Tensor losses = losses_.cpu();
  const float* loss = losses.const_data_ptr<float>();
  double sum = 0;
  // In one order, whatever the number of threads.
  for (int64_t i = 0; i < losses.numel(); ++i) sum += static_cast<double>(loss[i]);
  return sum / weight_;
}

LossResult CrossEntropyLoss(const at::Tensor& logits, const at::Tensor& targets, double weight,
                            const at::Tensor& class_weights) {
  const PendingLoss loss(logits, targets, weight, class_weights);
  return {loss.Sum(), loss.grad()};
}

at::Tensor BalancedClassWeights(const TaskSpec& task, std::span<const TrainingExample> examples) {
  std::vector<double> counts(static_cast<size_t>(task.labels));
  const auto count = [&counts](int64_t target) {
    if (target != nn::ops::kIgnored) ++counts[static_cast<size_t>(target)];
  };
  for (const TrainingExample& example : examples) {
    if (task.kind == checkpoint::TaskKind::kTokenClassification) {
      std::for_each(example.tags.begin(), example.tags.end(), count);
    } else {
      count(example.label);
    }
  }
  if (task.outside >= 0) counts[static_cast<size_t>(task.outside)] += ExpectedOutside(task, examples);
  const double units = std::accumulate(counts.begin(), counts.end(), 0.0);
  const auto present = static_cast<double>(std::count_if(counts.begin(), counts.end(), [](double n) { return n > 0; }));
  at::Tensor weights = at::ones({task.labels}, at::kFloat);
  for (size_t c = 0; c < counts.size(); ++c) {
    if (counts[c] > 0) weights.mutable_data_ptr<float>()[c] = static_cast<float>(units / (present * counts[c]));
  }
  return weights;
}

}  // namespace engram::train
