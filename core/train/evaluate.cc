#include "core/train/evaluate.h"

#include <utility>

#include "ATen/ops/empty.h"
#include "absl/time/time.h"
#include "c10/core/GradMode.h"
#include "core/nn/ops/cross_entropy/cross_entropy.h"
#include "core/train/batches.h"

namespace engram::train {
namespace {

// Keeps the masks of evaluations apart from those of training, which count micro-batches from 0.
constexpr uint64_t kEvaluationStep = uint64_t{1} << 63;

std::vector<int32_t> Lengths(std::span<const TrainingExample> examples) {
  std::vector<int32_t> lengths;
  for (const TrainingExample& example : examples) lengths.push_back(static_cast<int32_t>(example.sequence.ids.size()));
  return lengths;
}

absl::Status Report(const EvaluateOptions& options, int64_t done, size_t all) {
  if (!options.progress || options.progress(done, static_cast<int64_t>(all))) return absl::OkStatus();
  return absl::CancelledError("the evaluation was cancelled");
}

// Scores out of logits [n, C] and labels.
void Score(const at::Tensor& logits, std::span<const int64_t> labels, Evaluation& evaluation) {
  evaluation.metrics = ComputeClassificationMetrics(logits, labels);
  evaluation.loss = evaluation.metrics.negative_log_likelihood;
  evaluation.score = evaluation.metrics.accuracy;
}

// The rows of all logits that count, and their labels.
absl::Status ScoreLogits(const TaskSpec& task, std::span<const TrainingExample> examples,
                         std::span<const at::Tensor> logits, Evaluation& evaluation) {
  std::vector<int64_t> labels;
  std::vector<float> rows;
  for (size_t i = 0; i < examples.size(); ++i) {
    const at::Tensor contiguous = logits[i].contiguous();
    const float* row = contiguous.const_data_ptr<float>();
    const std::vector<int64_t> own = {examples[i].label};
    for (const int64_t label : task.kind == checkpoint::TaskKind::kTokenClassification ? examples[i].tags : own) {
      if (label != nn::ops::kIgnored) {
        if (label < 0 || label >= task.labels)
          return InvalidField("label", "an example's label is not one of the task");
        labels.push_back(label);
        rows.insert(rows.end(), row, row + task.labels);
      }
      row += task.labels;
    }
  }
  const int64_t count = static_cast<int64_t>(labels.size());
  at::Tensor matrix = at::empty({count, task.labels}, at::kFloat);
  std::copy(rows.begin(), rows.end(), matrix.mutable_data_ptr<float>());
  Score(matrix, labels, evaluation);
  return absl::OkStatus();
}

absl::StatusOr<Evaluation> EvaluateMasked(const nn::Model& model, const TaskSpec& task,
                                          std::span<const TrainingExample> examples, const EvaluateOptions& options) {
  Evaluation evaluation;
  int64_t units = 0, right = 0, done = 0;
  uint64_t number = 0;
  for (const std::vector<int64_t>& indices : BatchesByLength(Lengths(examples), options.batch_tokens)) {
    ENGRAM_ASSIGN_OR_RETURN(
        const MicroBatch batch,
        MakeMicroBatch(task, examples, indices, options.seed, kEvaluationStep + number++, model.parameters().device()));
    done += static_cast<int64_t>(indices.size());
    evaluation.tokens += batch.batch.tokens();
    if (batch.units > 0) {
      const at::Tensor logits = model.Predict(batch.batch, {task.name, batch.rows}, std::nullopt, nullptr);
      evaluation.loss += CrossEntropyLoss(logits, batch.targets, 1.0).sum;
      right += logits.argmax(1).eq(batch.targets).sum().item<int64_t>();
      units += batch.units;
    }
    ENGRAM_RETURN_IF_ERROR(Report(options, done, examples.size()));
  }
  if (units > 0) evaluation.loss /= static_cast<double>(units);
  evaluation.score = -evaluation.loss;
  evaluation.metrics.count = units;
  evaluation.metrics.accuracy = units == 0 ? 0 : static_cast<double>(right) / static_cast<double>(units);
  return evaluation;
}

absl::StatusOr<Evaluation> EvaluateLabelled(const nn::Model& model, const TaskSpec& task,
                                            std::span<const TrainingExample> examples, const EvaluateOptions& options) {
  Evaluation evaluation;
  for (const TrainingExample& example : examples)
    evaluation.tokens += static_cast<int64_t>(example.sequence.ids.size());
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<at::Tensor> logits, PredictLogits(model, task, examples, options));
  ENGRAM_RETURN_IF_ERROR(ScoreLogits(task, examples, logits, evaluation));
  if (task.kind == checkpoint::TaskKind::kTokenClassification && options.token_metric) {
    ENGRAM_ASSIGN_OR_RETURN(evaluation.score, options.token_metric(examples, logits));
  }
  return evaluation;
}

}  // namespace

absl::StatusOr<std::vector<at::Tensor>> PredictLogits(const nn::Model& model, const TaskSpec& task,
                                                      std::span<const TrainingExample> examples,
                                                      const EvaluateOptions& options) {
  const c10::NoGradGuard no_autograd;
  std::vector<at::Tensor> result(examples.size());
  int64_t done = 0;
  for (const std::vector<int64_t>& indices : BatchesByLength(Lengths(examples), options.batch_tokens)) {
    std::vector<const nn::Sequence*> sequences;
    for (const int64_t index : indices) sequences.push_back(&examples[index].sequence);
    ENGRAM_ASSIGN_OR_RETURN(const nn::PackedBatch batch,
                            nn::Pack(std::span<const nn::Sequence* const>(sequences), model.parameters().device()));
    const at::Tensor logits = model.Predict(batch, {task.name, at::Tensor()}, std::nullopt, nullptr).cpu();
    for (int64_t i = 0; i < static_cast<int64_t>(indices.size()); ++i) {
      const bool tokens = task.kind != checkpoint::TaskKind::kSequenceClassification;
      const at::Tensor own = tokens ? logits.narrow(0, batch.host_cu_seqlens[i], batch.length(i)) : logits[i];
      result[indices[i]] = own.clone();
    }
    done += static_cast<int64_t>(indices.size());
    ENGRAM_RETURN_IF_ERROR(Report(options, done, examples.size()));
  }
  return result;
}

absl::StatusOr<Evaluation> Evaluate(const nn::Model& model, const TaskSpec& task,
                                    std::span<const TrainingExample> examples, const EvaluateOptions& options) {
  if (examples.empty()) return InvalidField("dataset", "has no examples to evaluate on");
  const c10::NoGradGuard no_autograd;
  const absl::Time start = options.clock->Now();
  absl::StatusOr<Evaluation> evaluation = task.kind == checkpoint::TaskKind::kMaskedLanguageModel
                                              ? EvaluateMasked(model, task, examples, options)
                                              : EvaluateLabelled(model, task, examples, options);
  if (evaluation.ok()) evaluation->seconds = absl::ToDoubleSeconds(options.clock->Now() - start);
  return evaluation;
}

}  // namespace engram::train
