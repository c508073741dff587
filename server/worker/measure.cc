#include "server/worker/measure.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/clock.h"
#include "core/base/files.h"
#include "core/examples/entity_f1.h"
#include "core/examples/examples.h"
#include "server/rpc/names.h"
#include "server/worker/stream_report.h"

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

void AddLabels(const std::string& task, const std::vector<std::string>& labels,
               const std::vector<train::ClassScores>& classes, engram::v1::MeasuredPart part,
               engram::v1::JobResult& result) {
  for (size_t i = 0; i < std::min(labels.size(), classes.size()); ++i) {
    engram::v1::LabelMetrics& out = *result.add_label_metrics();
    out.set_task(task);
    out.set_label(labels[i]);
    out.set_precision(classes[i].precision);
    out.set_recall(classes[i].recall);
    out.set_f1(classes[i].f1);
    out.set_support(classes[i].support);
    out.set_part(part);
  }
}

// The share of the texts that the router leads to the task, among those that take such texts.
absl::Status AddRouting(const std::string& model, const checkpoint::ManifestTask& task, const Routing& routing,
                        const examples::ExampleSet& examples, MeasuredOn on, int64_t texts,
                        engram::v1::JobResult& result) {
  std::vector<std::string> among;
  for (const checkpoint::ManifestTask& other : routing.tasks) {
    if (other.kind == checkpoint::TaskKind::kSequenceClassification && routing.router.Knows(other.name) &&
        (other.imported() || other.text_pairs == task.text_pairs))
      among.push_back(other.name);
  }
  if (among.size() < 2 || std::find(among.begin(), among.end(), task.name) == among.end()) return absl::OkStatus();
  int64_t right = 0;
  for (const train::TrainingExample& example : examples.examples) {
    ENGRAM_ASSIGN_OR_RETURN(const train::TaskRouter::Choice choice, routing.router.Route(example.sequence.ids, among));
    right += choice.task == task.name ? 1 : 0;
  }
  engram::v1::Metric measured;
  measured.set_task(server::TaskName(model, task.name));
  measured.set_count(texts);
  measured.set_own_test_part(on.own_test_part);
  measured.set_part(on.part);
  AddMetric(measured, "routing_accuracy",
            static_cast<double>(right) / static_cast<double>(std::max<size_t>(examples.examples.size(), 1)), result);
  return absl::OkStatus();
}

}  // namespace

train::LongTexts LongTextsOf(const checkpoint::ManifestTask& task) {
  return task.chunk_tokens > 0 ? train::LongTexts::kChunk : train::LongTexts::kCut;
}

absl::StatusOr<std::string> DigestOf(const engram::worker::v1::RunDataset& dataset) {
  ENGRAM_ASSIGN_OR_RETURN(const std::string training, Sha256HexOfFile(dataset.training_path()));
  std::string test = Sha256Hex("");
  if (!dataset.test_path().empty()) {
    ENGRAM_ASSIGN_OR_RETURN(test, Sha256HexOfFile(dataset.test_path()));
  }
  std::string parts = training + test;
  if (!dataset.validation_path().empty()) {
    ENGRAM_ASSIGN_OR_RETURN(const std::string validation, Sha256HexOfFile(dataset.validation_path()));
    parts += validation;
  }
  return Sha256Hex(parts);
}

absl::Status VerifyDataset(const engram::worker::v1::RunDataset& dataset) {
  ENGRAM_ASSIGN_OR_RETURN(const std::string digest, DigestOf(dataset));
  if (digest == dataset.digest()) return absl::OkStatus();
  return StatusWithReason(
      absl::StatusCode::kDataLoss, "DATASET_DAMAGED",
      absl::StrCat("data set \"", dataset.name(), "\" is not what was uploaded; delete it and upload it again"));
}

std::vector<std::string> LabelsOf(const engram::worker::v1::RunDataset& dataset) {
  return {dataset.labels().begin(), dataset.labels().end()};
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
  const int64_t max_length = task.chunk_tokens > 0 ? task.chunk_tokens : model.config().max_length();
  ENGRAM_ASSIGN_OR_RETURN(const examples::ExampleSet examples,
                          examples::MakeExamples(dataset, spec.kind, task.labels, max_length, tokenizer,
                                                 model.config().type_vocab_size, task.tag_scheme, LongTextsOf(task)));
  context.WarnIfAny(examples::CutWarning(
      examples.cut, examples.texts(), absl::StrCat("texts measured for \"", task.name, "\""), max_length, max_length));
  train::EvaluateOptions options;
  tagging::EntityScores entities;
  if (spec.kind == checkpoint::TaskKind::kTokenClassification) {
    ENGRAM_ASSIGN_OR_RETURN(const tagging::TagSet tags, tagging::TagSet::FromTags(task.labels, task.tag_scheme));
    options.token_metric = examples::SentenceEntityF1(tags, examples.places, &entities, on.types);
  }
  options.progress = context.Counter(absl::StrCat("evaluating ", task.name));
  const absl::Time start = Clock::Real().Now();
  ENGRAM_ASSIGN_OR_RETURN(const train::Evaluation evaluation, train::Evaluate(model, spec, examples.examples, options));
  const WorkDone done{examples::TotalTokens(examples.examples), absl::ToDoubleSeconds(Clock::Real().Now() - start)};
  AddEvaluation(context.spec.model(), task, evaluation, entities, on, dataset.size(), result);
  if (on.routing != nullptr) {
    ENGRAM_RETURN_IF_ERROR(AddRouting(context.spec.model(), task, *on.routing, examples, on, dataset.size(), result));
  }
  return done;
}

void AddEvaluation(const std::string& model, const checkpoint::ManifestTask& task, const train::Evaluation& evaluation,
                   const tagging::EntityScores& entities, MeasuredOn on, int64_t texts, engram::v1::JobResult& result) {
  const std::string name = server::TaskName(model, task.name);
  engram::v1::Metric measured;
  measured.set_task(name);
  measured.set_count(texts);
  measured.set_own_test_part(on.own_test_part);
  measured.set_part(on.part);
  AddMetric(measured, "loss", evaluation.loss, result);
  switch (task.kind) {
    case checkpoint::TaskKind::kMaskedLanguageModel:
      AddMetric(measured, "perplexity", std::exp(evaluation.loss), result);
      return;
    case checkpoint::TaskKind::kTokenClassification: {
      AddMetric(measured, "entity_f1", evaluation.score, result);
      AddMetric(measured, "tag_accuracy", evaluation.metrics.accuracy, result);
      AddMetric(measured, "entity_boundary_f1", entities.boundary.f1, result);
      std::vector<std::string> types;
      std::vector<train::ClassScores> scores;
      for (const auto& [type, score] : entities.by_type) {
        types.push_back(type);
        scores.push_back({score.precision, score.recall, score.f1, score.support});
      }
      AddLabels(name, types, scores, on.part, result);
      return;
    }
    case checkpoint::TaskKind::kSequenceClassification:
      AddMetric(measured, "accuracy", evaluation.metrics.accuracy, result);
      AddMetric(measured, "macro_f1", evaluation.metrics.macro_f1, result);
      AddMetric(measured, "expected_calibration_error", evaluation.metrics.expected_calibration_error, result);
      AddMetric(measured, "brier", evaluation.metrics.brier, result);
      AddConfusion(name, task, evaluation.metrics, result);
      AddLabels(name, task.labels, evaluation.metrics.classes, on.part, result);
  }
}

std::vector<checkpoint::Measurement> Measurements(const engram::v1::JobResult& result) {
  std::vector<checkpoint::Measurement> measured;
  for (const engram::v1::Metric& metric : result.metrics()) {
    const std::string task = server::LastPart(metric.task()), part = PartName(metric.part());
    // A data set that the task had before this training is none of this version's own.
    if (metric.part() == engram::v1::MEASURED_PART_TEST && !metric.own_test_part()) continue;
    if (measured.empty() || measured.back().task != task || measured.back().part != part)
      measured.push_back({task, part, metric.count(), {}, {}});
    measured.back().metrics[metric.metric()] = metric.value();
  }
  for (const engram::v1::LabelMetrics& label : result.label_metrics()) {
    const std::string task = server::LastPart(label.task()), part = PartName(label.part());
    if (label.has_f1_before()) continue;
    for (checkpoint::Measurement& of : measured) {
      if (of.task == task && of.part == part)
        of.labels.push_back({label.label(), label.precision(), label.recall(), label.f1(), label.support()});
    }
  }
  return measured;
}

}  // namespace engram::worker
