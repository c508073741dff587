#pragma once

// One packed batch with what its loss needs. What the loss is a mean over ("units"): texts in sequence classification,
// tagged tokens in token classification, masked tokens in masked language modelling.

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "core/base/status.h"
#include "core/nn/model.h"
#include "core/train/example.h"

namespace engram::train {

// Masked language modelling (Devlin et al., NAACL 2019): of the tokens that are not special, `probability` are
// predicted; of those 80 % become the mask token, 10 % a random token, 10 % stay. Drawn anew for each micro-batch from
// (seed, step).
struct MaskingOptions {
  int32_t mask_token_id = 0;
  int32_t vocab_size = 0;
  std::vector<int32_t> special_ids;  // never masked
  double probability = 0.15;
};

// What is learned: the head `name` of the model, and how its loss is formed.
struct TaskSpec {
  std::string name;
  checkpoint::TaskKind kind = checkpoint::TaskKind::kSequenceClassification;
  int64_t labels = 0;                          // classes or tags; 0 for masked language modelling
  std::optional<MaskingOptions> masking = {};  // set exactly for masked language modelling
  // Of a task that gets further labels: how many it had before, the first ones; 0: all are new, or none.
  int64_t known_labels = 0;
  int64_t outside = -1;  // of taggers of entities: the tag of words outside of them
  // Of those: the share of the words of which nothing is known (TrainingExample::missing) that is learned as outside.
  double missing_as_outside = 0;
};

struct MicroBatch {
  nn::PackedBatch batch;
  at::Tensor rows;                // int64 [R]: rows of the masked tokens; undefined for the other kinds
  at::Tensor targets;             // int64 [n], [T] (ops::kIgnored where no loss is taken) or [R], on the model's device
  int64_t units = 0;              // targets that count
  std::vector<int64_t> examples;  // their numbers in the training set, in the order of the batch
};

// Packs examples[indices]. `step` is the micro-batch count that keys the masking; at least one token of a batch is
// masked if any can be. Likewise drawn anew for each micro-batch: which of the words of which nothing is known are taken
// as outside of entities. The others are left out, which is their marginal likelihood: a word that may have any tag has
// the probability 1, the sum over its tags.
absl::StatusOr<MicroBatch> MakeMicroBatch(const TaskSpec& task, std::span<const TrainingExample> examples,
                                          std::span<const int64_t> indices, uint64_t seed, uint64_t step,
                                          at::Device device);

// INVALID_ARGUMENT naming "rows[i]" for an example that is empty, that is, or has a window, longer than `max_length`, or
// whose label, tags or windows do not fit the task.
absl::Status ValidateExamples(const TaskSpec& task, std::span<const TrainingExample> examples, int64_t max_length);

// Units of one pass over the examples (masked language modelling: the expected number, rounded, at least 1; likewise of
// words of which nothing is known, without the least number).
int64_t CountUnits(const TaskSpec& task, std::span<const TrainingExample> examples);

struct LossResult {
  double sum = 0;   // sum over units of the cross-entropy
  at::Tensor grad;  // fp32, shape of the logits: `weight` times the gradient of the sum
};
// `weight` is 1 / (units of the whole optimizer step), so that accumulated gradients are those of the mean loss.
// `class_weights`: fp32 [C], what a target of each class counts; undefined: 1.
LossResult CrossEntropyLoss(const at::Tensor& logits, const at::Tensor& targets, double weight,
                            const at::Tensor& class_weights = {});

// Weights under which the classes (tags) that occur count alike, and whose mean over the units is 1 (scikit-learn's
// "balanced"): n / (k n_c) with n units, k classes that occur and n_c units of class c; 1 for a class that does not occur.
// Words of which nothing is known count as their expected number outside of entities.
// fp32 [labels], CPU. For tasks with labels or tags.
at::Tensor BalancedClassWeights(const TaskSpec& task, std::span<const TrainingExample> examples);

}  // namespace engram::train
