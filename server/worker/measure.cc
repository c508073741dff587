#include "server/worker/measure.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/clock.h"
#include "core/base/files.h"
#include "server/rpc/names.h"
#include "server/worker/examples.h"

namespace engram::worker {
namespace {

// `measured`: everything but the metric and its value.
void AddMetric(engram::v1::Metric measured, const std::string& metric, double value, engram::v1::JobResult& result) {
  measured.set_metric(metric);
  measured.set_value(value);
  *result.add_metrics() = std::move(measured);
}

void AddConfusion(const std::string& task, const checkpoint::ManifestTask& labels,
                  const train::ClassificationMetrics& metrics, engram::v1::JobResult& result) {
  engram::v1::Confusion* confusion = result.add_confusions();
  confusion->set_task(task);
  for (const std::string& label : labels.labels) confusion->add_labels(label);
  for (const int64_t count : metrics.confusion) confusion->add_counts(count);
}

}  // namespace

absl::Status VerifyDataset(const engram::worker::v1::RunDataset& dataset) {
  ENGRAM_ASSIGN_OR_RETURN(const std::string training, Sha256HexOfFile(dataset.training_path()));
  std::string test = Sha256Hex("");
  if (!dataset.test_path().empty()) {
    ENGRAM_ASSIGN_OR_RETURN(test, Sha256HexOfFile(dataset.test_path()));
  }
  if (Sha256Hex(training + test) == dataset.digest()) return absl::OkStatus();
  return StatusWithReason(
      absl::StatusCode::kDataLoss, "DATASET_DAMAGED",
      absl::StrCat("data set \"", dataset.name(), "\" is not what was uploaded; delete it and upload it again"));
}

absl::StatusOr<corpus::Dataset> ReadPart(const std::string& path) {
  ENGRAM_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path));
  return corpus::ParseCanonical(bytes);
}

absl::StatusOr<train::TaskSpec> MakeTaskSpec(const checkpoint::ManifestTask& task,
                                             const tokenize::Tokenizer& tokenizer) {
  train::TaskSpec spec;
  spec.name = task.name;
  spec.kind = task.kind;
  spec.labels = static_cast<int64_t>(task.labels.size());
  if (spec.kind == checkpoint::TaskKind::kMaskedLanguageModel) {
    const tokenize::SpecialIds& ids = tokenizer.special_ids();
    if (ids.mask < 0)
      return InvalidField("kind", "the model's tokenizer has no mask token; masked language modelling needs one");
    train::MaskingOptions masking;
    masking.mask_token_id = ids.mask;
    masking.vocab_size = tokenizer.vocabulary_size();
    for (const int32_t id : {ids.cls, ids.sep, ids.pad, ids.unknown, ids.mask}) {
      if (id >= 0) masking.special_ids.push_back(id);
    }
    spec.masking = masking;
  }
  return spec;
}

absl::StatusOr<WorkDone> Measure(RunContext& context, const nn::Model& model, const checkpoint::ManifestTask& task,
                                 const tokenize::Tokenizer& tokenizer, const corpus::Dataset& dataset, MeasuredOn on,
                                 engram::v1::JobResult& result) {
  ENGRAM_ASSIGN_OR_RETURN(const train::TaskSpec spec, MakeTaskSpec(task, tokenizer));
  const int64_t max_length = model.config().max_length();
  ENGRAM_ASSIGN_OR_RETURN(const Examples examples,
                          MakeExamples(dataset, spec.kind, task.labels, max_length, tokenizer));
  context.WarnIfAny(CutWarning(examples.cut, examples.texts(), absl::StrCat("texts measured for \"", task.name, "\""),
                               max_length, max_length));
  train::EvaluateOptions options;
  if (spec.kind == checkpoint::TaskKind::kTokenClassification) {
    ENGRAM_ASSIGN_OR_RETURN(const tagging::TagSet tags, tagging::TagSet::FromTags(task.labels));
    options.token_metric = SentenceEntityF1(tags, examples.places);
  }
  options.progress = context.Counter(absl::StrCat("evaluating ", task.name));
  const absl::Time start = Clock::Real().Now();
  ENGRAM_ASSIGN_OR_RETURN(const train::Evaluation evaluation, train::Evaluate(model, spec, examples.examples, options));
  const WorkDone done{TotalTokens(examples.examples), absl::ToDoubleSeconds(Clock::Real().Now() - start)};
  const std::string name = server::TaskName(context.spec.model(), task.name);
  engram::v1::Metric measured;
  measured.set_task(name);
  measured.set_count(dataset.size());
  measured.set_own_test_part(on == MeasuredOn::kOwnTestPart);
  AddMetric(measured, "loss", evaluation.loss, result);
  if (spec.kind == checkpoint::TaskKind::kMaskedLanguageModel) {
    AddMetric(measured, "perplexity", std::exp(evaluation.loss), result);
    return done;
  }
  if (spec.kind == checkpoint::TaskKind::kTokenClassification) {
    AddMetric(measured, "entity_f1", evaluation.score, result);
    AddMetric(measured, "tag_accuracy", evaluation.metrics.accuracy, result);
    return done;
  }
  AddMetric(measured, "accuracy", evaluation.metrics.accuracy, result);
  AddMetric(measured, "macro_f1", evaluation.metrics.macro_f1, result);
  AddMetric(measured, "expected_calibration_error", evaluation.metrics.expected_calibration_error, result);
  AddMetric(measured, "brier", evaluation.metrics.brier, result);
  AddConfusion(name, task, evaluation.metrics, result);
  return done;
}

}  // namespace engram::worker
