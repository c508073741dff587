#include <algorithm>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "ATen/ops/stack.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "core/base/files.h"
#include "core/continual/registry.h"
#include "core/examples/entity_f1.h"
#include "core/examples/examples.h"
#include "core/nn/device.h"
#include "core/nn/grow_head.h"
#include "core/train/abstention.h"
#include "core/train/batches.h"
#include "core/train/precision.h"
#include "core/train/task_router.h"
#include "server/rpc/names.h"
#include "server/worker/guard_rails.h"
#include "server/worker/measure.h"
#include "server/worker/memories.h"
#include "server/worker/run.h"
#include "server/worker/stream_report.h"
#include "server/worker/strength_search.h"

namespace engram::worker {
namespace {

using engram::worker::v1::TrainWork;

// Sends the trainer's progress to the server.
class ProgressObserver final : public train::TrainObserver {
 public:
  explicit ProgressObserver(RunContext& context) : context_(context) {}

  void OnProgress(const train::Progress& from) override {
    engram::v1::JobProgress progress;
    progress.set_phase("training");
    progress.set_epoch(from.epoch);
    progress.set_epochs(from.epochs);
    progress.set_step(from.step);
    progress.set_total_steps(from.total_steps);
    progress.set_loss(from.mean_loss);
    progress.set_penalty(from.penalty);
    progress.set_learning_rate(from.learning_rate);
    progress.set_gradient_norm(from.gradient_norm);
    progress.set_tokens_per_second(from.tokens_per_second);
    progress.set_eta_seconds(from.eta_seconds);
    context_.Report(std::move(progress));
  }
  void OnWarning(std::string_view reason, std::string_view message) override {
    context_.warnings.push_back(absl::StrCat(AbslView(reason), ": ", AbslView(message)));
  }
  void OnCheckpoint(int64_t step) override {
    engram::worker::v1::RunEvent event;
    event.set_checkpoint_step(step);
    context_.events->Send(event);
  }

 private:
  RunContext& context_;
};

absl::StatusOr<checkpoint::ManifestTask> DescribeTask(const TrainWork& work, int64_t examples) {
  checkpoint::ManifestTask task;
  task.name = work.task();
  ENGRAM_ASSIGN_OR_RETURN(task.kind, checkpoint::ParseTaskKind(work.kind()));
  task.labels.assign(work.labels().begin(), work.labels().end());
  ENGRAM_ASSIGN_OR_RETURN(task.pooling, checkpoint::ParsePooling(work.pooling()));
  task.dataset = work.dataset().name();
  task.dataset_digest = work.dataset().digest();
  task.training_examples = examples;
  return task;
}

// A new task goes to the end of the stream; one that is trained again keeps its place and takes the new data set.
void RecordTask(const checkpoint::ManifestTask& task, checkpoint::VersionManifest& manifest) {
  for (checkpoint::ManifestTask& known : manifest.tasks) {
    if (known.name == task.name) {
      known = task;
      return;
    }
  }
  manifest.tasks.push_back(task);
}

// The options of the work's strategy, all of them: a default that is filled in here could differ from what the job was
// planned with.
absl::StatusOr<std::map<std::string, std::string>> StrategyOptions(const TrainWork& work) {
  ENGRAM_ASSIGN_OR_RETURN(const continual::StrategyInfo* const info, continual::FindStrategy(work.strategy()));
  const std::map<std::string, std::string> given(work.strategy_options().begin(), work.strategy_options().end());
  ENGRAM_ASSIGN_OR_RETURN(const OptionValues values, info->options.Parse(given));
  std::map<std::string, std::string> options = values.Render();
  if (options.size() == given.size()) return options;
  return StatusWithReason(absl::StatusCode::kFailedPrecondition, "JOB_OF_ANOTHER_VERSION",
                          "the job was queued by a server whose strategies had other options; start the task again");
}

// The strategy that the work's one keeps its memory for.
absl::StatusOr<std::string> OwnerOfMemory(const TrainWork& work) {
  ENGRAM_ASSIGN_OR_RETURN(const continual::StrategyInfo* const info, continual::FindStrategy(work.strategy()));
  return continual::MemoryOwner(*info);
}

absl::StatusOr<std::unique_ptr<train::Strategy>> OpenStrategy(RunContext& context, const TrainWork& work,
                                                              const std::map<std::string, std::string>& options,
                                                              const nn::Version& base) {
  ENGRAM_ASSIGN_OR_RETURN(
      continual::ConsolidationSource consolidations,
      continual::OpenConsolidations(absl::StrCat(context.spec.base_directory(), "/", checkpoint::kContinualFile),
                                    *base.model));
  ENGRAM_ASSIGN_OR_RETURN(const std::string owner, OwnerOfMemory(work));
  return continual::MakeStrategy(
      work.strategy(), options,
      {std::move(consolidations), OpenMemory(context, owner, base.manifest, Clock::Real().Now())});
}

// The router of the new version: where it is asked for, or the line has one, with the texts of the task.
absl::StatusOr<Routing> MakeRouting(const RunContext& context, const checkpoint::VersionManifest& base,
                                    const checkpoint::ManifestTask& task, bool asked, bool grows,
                                    std::span<const train::TrainingExample> texts,
                                    const tokenize::Tokenizer& tokenizer) {
  Routing routing;
  ENGRAM_ASSIGN_OR_RETURN(routing.router, train::TaskRouter::Open(context.spec.base_directory()));
  if (task.kind == checkpoint::TaskKind::kSequenceClassification && (asked || !routing.router.empty()))
    routing.router.Count(task.name, texts, FramingTokens(tokenizer), grows);
  for (const checkpoint::ManifestTask& other : base.tasks) {
    if (other.name != task.name) routing.tasks.push_back(other);
  }
  routing.tasks.push_back(task);
  return routing;
}

void DescribeVersion(const RunContext& context, const TrainWork& work, const train::TrainOptions& options,
                     std::map<std::string, std::string> strategy_options, checkpoint::VersionManifest& manifest) {
  manifest.model = context.spec.model();
  manifest.version = context.spec.version();
  manifest.parent = context.spec.base_version();
  manifest.created = absl::FormatTime("%Y-%m-%d%ET%H:%M:%SZ", Clock::Real().Now(), absl::UTCTimeZone());
  manifest.strategy = work.strategy();
  manifest.strategy_options = std::move(strategy_options);
  manifest.training_options = train::TrainOptionsToMap(options);
  manifest.seeds["training"] = options.seed;
}

// What the training is validated on.
struct Validation {
  examples::ExampleSet own;  // of the data set's validation part; empty: what is held out of the training part
  std::vector<train::TrainingExample> held_out;
  int64_t texts = 0;  // how many, of either

  std::span<const train::TrainingExample> examples() const {
    return own.examples.empty() ? std::span<const train::TrainingExample>(held_out) : own.examples;
  }
};

absl::StatusOr<Validation> ReadValidation(RunContext& context, const checkpoint::ManifestTask& task,
                                          const examples::ExampleSet& training, int64_t max_length,
                                          const nn::EncoderConfig& config, const train::TrainOptions& options,
                                          const tokenize::Tokenizer& tokenizer) {
  Validation validation;
  const std::string& path = context.spec.train().dataset().validation_path();
  if (path.empty()) {
    std::vector<int64_t> texts;
    for (const train::TrainingExample& example : training.examples) texts.push_back(example.source);
    const auto split = train::SplitValidation(texts, options.validation_fraction, options.seed);  // as the trainer does
    for (const int64_t i : split.validation) validation.held_out.push_back(training.examples[static_cast<size_t>(i)]);
    validation.texts = split.validation_texts;
    return validation;
  }
  ENGRAM_ASSIGN_OR_RETURN(const corpus::Dataset rows, ReadPart(path));
  ENGRAM_ASSIGN_OR_RETURN(validation.own,
                          examples::MakeExamples(rows, task.kind, task.labels, max_length, tokenizer,
                                                 config.type_vocab_size, task.tag_scheme, options.long_texts));
  context.WarnIfAny(examples::CutWarning(validation.own.cut, validation.own.texts(), "validation texts", max_length,
                                         config.max_length()));
  validation.texts = rows.size();
  return validation;
}

// When no label of the task fits, on its validation texts; nothing without them, and for other kinds of tasks.
absl::StatusOr<std::optional<checkpoint::Abstention>> AbstentionOf(const nn::Model& model, const train::TaskSpec& spec,
                                                                   std::span<const train::TrainingExample> validation) {
  if (validation.empty() || spec.kind != checkpoint::TaskKind::kSequenceClassification) return std::nullopt;
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<at::Tensor> logits, train::PredictLogits(model, spec, validation, {}));
  std::vector<int64_t> labels;
  for (const train::TrainingExample& example : validation) labels.push_back(example.label);
  ENGRAM_ASSIGN_OR_RETURN(const checkpoint::Abstention chosen, train::ChooseAbstention(at::stack(logits), labels));
  return chosen;
}

// Without a test part: the figure that there is, or that there is none.
void AddValidation(RunContext& context, const checkpoint::ManifestTask& task, const train::TrainResult& trained,
                   const tagging::EntityScores& entities, int64_t texts, engram::v1::JobResult& result) {
  if (!trained.validation) {
    if (context.measured_elsewhere) return;
    context.warnings.emplace_back(
        "NOT_MEASURED: the data set has no test part and no validation part, and nothing was held out, so that there "
        "is no figure of how good this version is; upload a data set with --test or --validation, or set "
        "validation_fraction");
    return;
  }
  AddEvaluation(context.spec.model(), task, *trained.validation, entities,
                {engram::v1::MEASURED_PART_VALIDATION, /*own_test_part=*/false}, texts, result);
  context.warnings.emplace_back(
      "VALIDATION_FIGURES: the data set has no test part; the figures are of the validation texts, by which a training "
      "with early stopping also chooses its weights");
}

// A masked LM begins with the head of the one that the version learned last, or was imported with: a head for a
// vocabulary takes long to learn. Without one it stays as it was drawn.
void StartFromMaskedLm(const checkpoint::VersionManifest& manifest, const std::string& task, nn::Model& model) {
  const auto known =
      std::find_if(manifest.tasks.rbegin(), manifest.tasks.rend(), [](const checkpoint::ManifestTask& learned) {
        return learned.kind == checkpoint::TaskKind::kMaskedLanguageModel;
      });
  if (known == manifest.tasks.rend()) return;
  nn::ParameterBuffer& parameters = model.parameters();
  const std::vector<nn::SlotId> from = model.HeadSlots(known->name), to = model.HeadSlots(task);
  for (size_t i = 0; i < to.size(); ++i) parameters.Weight(to[i]).copy_(parameters.Weight(from[i]));
  parameters.RefreshCompute();
}

absl::StatusOr<corpus::Dataset> ReadVerified(const engram::worker::v1::RunDataset& dataset) {
  ENGRAM_RETURN_IF_ERROR(VerifyDataset(dataset));
  return ReadPart(dataset.test_path());
}

// Of a task that gets further labels: what it reaches, before it is trained, on the test part of the data set that it
// had. Nothing where that is not at hand.
absl::StatusOr<engram::v1::JobResult> MeasureBefore(RunContext& context, const nn::Model& model,
                                                    const checkpoint::ManifestTask& known,
                                                    const tokenize::Tokenizer& tokenizer) {
  engram::v1::JobResult before;
  for (const auto& item : context.spec.train().earlier()) {
    if (item.task() != known.name) continue;
    const absl::StatusOr<corpus::Dataset> test = ReadVerified(item.dataset());
    if (!test.ok()) continue;  // MeasureEarlier says so
    ENGRAM_RETURN_IF_ERROR(Measure(context, model, known, tokenizer, *test,
                                   {engram::v1::MEASURED_PART_TEST, false, LabelsOf(item.dataset())}, before)
                               .status());
  }
  return before;
}

// Sets what the same figures were before, from the `metrics`th and `labels`th on.
void AddBefore(const engram::v1::JobResult& before, int metrics, int labels, engram::v1::JobResult& result) {
  for (int i = metrics; i < result.metrics_size(); ++i) {
    for (const engram::v1::Metric& metric : before.metrics()) {
      if (metric.metric() == result.metrics(i).metric()) result.mutable_metrics(i)->set_before(metric.value());
    }
  }
  for (int i = labels; i < result.label_metrics_size(); ++i) {
    engram::v1::LabelMetrics& after = *result.mutable_label_metrics(i);
    after.set_f1_before(0);  // of a type that was neither there nor found
    for (const engram::v1::LabelMetrics& label : before.label_metrics()) {
      if (label.label() == after.label()) after.set_f1_before(label.f1());
    }
  }
}

// Measures the tasks that the version knew before, on their own test parts, and `trained` on the one that it had if it
// got further labels. A data set that is not what it was costs its figure, not the training.
absl::Status MeasureEarlier(RunContext& context, const nn::Model& model, const checkpoint::VersionManifest& base,
                            const checkpoint::ManifestTask& trained, const engram::v1::JobResult& before,
                            const tokenize::Tokenizer& tokenizer, const Routing& routing,
                            engram::v1::JobResult& result) {
  for (const auto& item : context.spec.train().earlier()) {
    const bool own = item.task() == trained.name;
    const checkpoint::ManifestTask* const task = own ? &trained : checkpoint::FindManifestTask(base, item.task());
    if (task == nullptr) continue;
    const absl::StatusOr<corpus::Dataset> test = ReadVerified(item.dataset());
    if (!test.ok()) {
      context.warnings.push_back(absl::StrCat("NOT_MEASURED: \"", task->name,
                                              "\" was not measured after this training: ", test.status().message()));
      continue;
    }
    const int metrics = result.metrics_size(), labels = result.label_metrics_size();
    ENGRAM_RETURN_IF_ERROR(
        Measure(context, model, *task, tokenizer, *test,
                {engram::v1::MEASURED_PART_TEST, /*own_test_part=*/!own, LabelsOf(item.dataset()), &routing}, result)
            .status());
    if (own) AddBefore(before, metrics, labels, result);
  }
  return absl::OkStatus();
}

// What the version that the training started from reached on the same test parts, as far as it was measured.
void AddScoresBefore(const checkpoint::VersionManifest& base, const checkpoint::ManifestTask& trained,
                     engram::v1::JobResult& result) {
  const std::vector<continual::TaskScore> before = continual::ScoresOfTasks(base);
  for (engram::v1::Metric& metric : *result.mutable_metrics()) {
    const std::string name = engram::server::LastPart(metric.task());
    const checkpoint::ManifestTask* const known = checkpoint::FindManifestTask(base, name);
    if (!metric.own_test_part() || known == nullptr) continue;
    if (name == trained.name && known->dataset_digest != trained.dataset_digest) continue;
    for (const continual::TaskScore& score : before) {
      if (score.task == name && score.metric == metric.metric() && score.now) metric.set_before(*score.now);
    }
  }
}

// What strategy and router remember, in place of what they did; the files of the base that are to be kept.
absl::StatusOr<std::vector<std::string>> WriteMemories(const RunContext& context, const train::VersionMemory& memory,
                                                       const train::TaskRouter& router, const std::string& task,
                                                       bool grows, absl::Time begun,
                                                       checkpoint::VersionManifest& manifest) {
  std::vector<std::string> kept = nn::MemoryFiles(manifest);
  ENGRAM_ASSIGN_OR_RETURN(const std::string owner, OwnerOfMemory(context.spec.train()));
  const train::VersionMemory counts = router.ToMemory();
  for (const auto& [name, made] : {std::pair(owner, &memory), std::pair(std::string(train::kRouter), &counts)}) {
    if (made->empty()) continue;
    ENGRAM_RETURN_IF_ERROR(WriteMemory(context, name, *made, task, grows, begun, manifest));
    std::erase(kept, checkpoint::MemoryFile(name));
  }
  return kept;
}

}  // namespace

RunResult RunTraining(RunContext& context) {
  if (context.spec.train().has_search()) return TrainAtBestStrength(context);
  const TrainWork& work = context.spec.train();
  context.Phase("loading");
  ENGRAM_ASSIGN_OR_RETURN(const train::TrainOptions options,
                          train::ParseTrainOptions({work.options().begin(), work.options().end()}));
  ENGRAM_ASSIGN_OR_RETURN(const auto strategy_options, StrategyOptions(work));
  ENGRAM_ASSIGN_OR_RETURN(const at::Device device, nn::ParseDevice(context.spec.device()));
  ENGRAM_RETURN_IF_ERROR(VerifyDataset(work.dataset()));
  ENGRAM_ASSIGN_OR_RETURN(const corpus::Dataset training, ReadPart(work.dataset().training_path()));
  ENGRAM_ASSIGN_OR_RETURN(checkpoint::ManifestTask task, DescribeTask(work, training.size()));
  task.text_pairs = training.kind == corpus::DatasetKind::kPairs;

  nn::VersionOptions load;
  load.device = device;
  load.precision = train::ResolvePrecision(options.precision, device);
  load.dropout = options.dropout;
  load.new_head = nn::ToHeadConfig(task);
  ENGRAM_ASSIGN_OR_RETURN(nn::Version base, nn::LoadVersion(context.spec.base_directory(), load));
  if (const auto* before = checkpoint::FindManifestTask(base.manifest, task.name)) task.tag_scheme = before->tag_scheme;
  nn::Model& model = *base.model;
  ENGRAM_ASSIGN_OR_RETURN(const auto tokenizer, tokenize::LoadTokenizer(context.spec.base_directory()));
  const auto known = model.heads().find(task.name);
  const auto labels = static_cast<int64_t>(task.labels.size());
  int64_t known_labels = 0;      // of a task that gets further ones
  engram::v1::JobResult before;  // of such a task
  if (known == model.heads().end()) {
    ENGRAM_RETURN_IF_ERROR(model.AddHead(task.name, nn::ToHeadConfig(task), options.seed));
    if (task.kind == checkpoint::TaskKind::kMaskedLanguageModel) StartFromMaskedLm(base.manifest, task.name, model);
  } else if (known->second.labels != labels) {
    known_labels = known->second.labels;
    ENGRAM_ASSIGN_OR_RETURN(
        before, MeasureBefore(context, model, *checkpoint::FindManifestTask(base.manifest, task.name), *tokenizer));
    ENGRAM_RETURN_IF_ERROR(nn::GrowHead(task.name, labels, options.seed, model));
  }
  ENGRAM_ASSIGN_OR_RETURN(train::TaskSpec spec, MakeTaskSpec(task, *tokenizer));
  spec.known_labels = known_labels;
  const int64_t window = model.config().max_length();
  const int64_t max_length = std::min(options.max_length, window);
  if (options.long_texts == train::LongTexts::kChunk) task.chunk_tokens = max_length;
  ENGRAM_ASSIGN_OR_RETURN(const examples::ExampleSet examples,
                          examples::MakeExamples(training, spec.kind, task.labels, max_length, *tokenizer,
                                                 model.config().type_vocab_size, task.tag_scheme, options.long_texts));
  context.WarnIfAny(examples::CutWarning(examples.cut, examples.texts(), "training texts", max_length, window));
  ENGRAM_ASSIGN_OR_RETURN(const Validation validation,
                          ReadValidation(context, task, examples, max_length, model.config(), options, *tokenizer));
  ENGRAM_ASSIGN_OR_RETURN(const std::unique_ptr<train::Strategy> strategy,
                          OpenStrategy(context, work, strategy_options, base));
  ENGRAM_ASSIGN_OR_RETURN(const Routing routing, MakeRouting(context, base.manifest, task, options.router,
                                                             known_labels > 0, examples.examples, *tokenizer));

  ProgressObserver observer(context);
  const std::vector<std::string> types = LabelsOf(work.dataset());
  tagging::EntityScores entities;  // of the last validation
  train::TrainInput input;
  input.task = spec;
  input.training = examples.examples;
  input.validation = validation.own.examples;
  input.strategy = strategy.get();
  input.strategy_options = strategy_options;
  input.checkpoint_path = context.checkpoint();
  input.stop = context.stop;
  input.observer = &observer;
  input.progress_every_steps = std::max<int64_t>(1, work.progress_every_steps());
  if (spec.kind == checkpoint::TaskKind::kTokenClassification) {
    ENGRAM_ASSIGN_OR_RETURN(const tagging::TagSet tags, tagging::TagSet::FromTags(task.labels, task.tag_scheme));
    input.task.outside = tags.outside();
    input.task.missing_as_outside = options.unknown_as_outside;
    input.token_metric = examples::HeldOutEntityF1(
        tags, validation.own.examples.empty() ? examples.places : validation.own.places, &entities, types);
  }
  engram::v1::JobResult result;
  const absl::Time start = Clock::Real().Now();
  absl::Time trained_at = absl::InfiniteFuture();
  input.measure = [&]() -> absl::Status {
    trained_at = Clock::Real().Now();
    if (!work.dataset().test_path().empty()) {
      ENGRAM_ASSIGN_OR_RETURN(const corpus::Dataset test, ReadPart(work.dataset().test_path()));
      ENGRAM_RETURN_IF_ERROR(Measure(context, model, task, *tokenizer, test,
                                     {engram::v1::MEASURED_PART_TEST, /*own_test_part=*/true, types, &routing}, result)
                                 .status());
    }
    return MeasureEarlier(context, model, base.manifest, task, before, *tokenizer, routing, result);
  };
  ENGRAM_ASSIGN_OR_RETURN(const train::TrainResult trained, train::Train(model, options, input));
  if (trained.outcome == train::TrainOutcome::kInterrupted) return std::nullopt;

  if (work.dataset().test_path().empty()) AddValidation(context, task, trained, entities, validation.texts, result);
  context.WarnIfAny(NothingLearned(result, work.strategy(), strategy_options));
  result.set_steps(trained.steps);
  result.set_best_epoch(trained.best_epoch);
  result.set_tokens(trained.tokens);
  result.set_work_seconds(absl::ToDoubleSeconds(trained_at - start));
  result.set_stopped_early(trained.outcome == train::TrainOutcome::kStoppedEarly);
  DescribeVersion(context, work, options, strategy_options, base.manifest);
  // The row of the version that this one was trained from is complete now, as far as anybody measured it.
  continual::EnterEvaluation(StreamMeasurements(context.spec.base_metrics()), base.manifest);
  AddScoresBefore(base.manifest, task, result);
  const nn::HeadConfig& head = model.heads().at(task.name);  // the strategy may have given the task another
  task.pooling = head.pooling;
  task.expansion = head.expansion;
  ENGRAM_ASSIGN_OR_RETURN(task.abstention, AbstentionOf(model, spec, validation.examples()));
  RecordTask(task, base.manifest);
  for (checkpoint::ManifestTask& each : base.manifest.tasks) each.blocks = model.heads().at(each.name).blocks;
  continual::EnterTraining(task.name, StreamMeasurements(result.metrics()), base.manifest);
  base.manifest.measured = Measurements(result);
  *result.mutable_stream_metrics() = DescribeStream(context.spec.model(), base.manifest);
  context.Phase("saving");
  ENGRAM_ASSIGN_OR_RETURN(
      const std::vector<std::string> kept,
      WriteMemories(context, trained.memory, routing.router, task.name, known_labels > 0, start, base.manifest));
  ENGRAM_RETURN_IF_ERROR(
      nn::SaveVersion(model, base.config_text, context.spec.base_directory(), kept, base.manifest, context.output()));
  return result;
}

}  // namespace engram::worker
