#pragma once

// Evaluation: forward passes without gradients or dropout, over batches of like length.

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "ATen/core/Tensor.h"
#include "core/base/clock.h"
#include "core/base/status.h"
#include "core/nn/model.h"
#include "core/train/example.h"
#include "core/train/micro_batch.h"

namespace engram::train {

struct ClassScores {
  double precision = 0, recall = 0, f1 = 0;  // 0 where undefined, as scikit-learn's zero_division=0
  int64_t support = 0;                       // examples of this class
};

struct ClassificationMetrics {
  int64_t count = 0;
  double accuracy = 0;
  double macro_f1 = 0;  // mean F1 over the classes that occur among labels or predictions (scikit-learn's "macro")
  std::vector<ClassScores> classes;    // [C]
  std::vector<int64_t> confusion;      // [C * C], row: true class, column: predicted class
  double negative_log_likelihood = 0;  // mean, natural logarithm
  double brier = 0;                    // mean over examples of sum over classes of (p - onehot)^2, in [0, 2]
  // Expected calibration error over 15 bins of equal width of the highest probability (Guo et al., ICML 2017).
  double expected_calibration_error = 0;
};

// logits fp32 [n, C] on the CPU, labels [n] in [0, C). Probabilities are formed in fp64. n = 0: all 0. Ties go to the
// lower class.
ClassificationMetrics ComputeClassificationMetrics(const at::Tensor& logits, std::span<const int64_t> labels);

struct Evaluation {
  double loss = 0;   // mean cross-entropy over units
  double score = 0;  // what model selection maximises: accuracy; the callback's metric, else tag accuracy; minus the
                     // loss for masked LM
  // Over classes, or over tags of tokens that count. For masked LM only `count` and `accuracy` are filled.
  ClassificationMetrics metrics;
  int64_t tokens = 0;
  double seconds = 0;
};

// A score for token classification, higher is better (entity F1 lives in core/tagging). logits[i]: fp32 [length of
// example i, C], CPU.
using TokenMetric = std::function<absl::StatusOr<double>(std::span<const TrainingExample> examples,
                                                         std::span<const at::Tensor> logits)>;

struct EvaluateOptions {
  int64_t batch_tokens = 4096;
  uint64_t seed = 0;         // masked LM: the same tokens are masked in every evaluation
  TokenMetric token_metric;  // optional
  // Called after each batch with (examples done, examples in all); a false answer cancels with CANCELLED. Optional.
  std::function<bool(int64_t, int64_t)> progress;
  const Clock* clock = &Clock::Real();
};

// INVALID_ARGUMENT without examples.
absl::StatusOr<Evaluation> Evaluate(const nn::Model& model, const TaskSpec& task,
                                    std::span<const TrainingExample> examples, const EvaluateOptions& options);

// Logits fp32 on the CPU in the order of the examples: [C] each in sequence classification, [length, C] in token
// classification. Labels and tags of the examples are not looked at.
absl::StatusOr<std::vector<at::Tensor>> PredictLogits(const nn::Model& model, const TaskSpec& task,
                                                      std::span<const TrainingExample> examples,
                                                      const EvaluateOptions& options);

}  // namespace engram::train
