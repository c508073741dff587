// Training: a task on top of a version, in a new version.

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/base/files.h"
#include "core/checkpoint/model_config.h"
#include "core/checkpoint/sentence_modules.h"
#include "core/checkpoint/task_kind.h"
#include "core/corpus/dataset.h"
#include "core/nn/encoder_cost.h"
#include "core/nn/text_windows.h"
#include "core/tagging/bio.h"
#include "core/train/batches.h"
#include "core/train/precision.h"
#include "core/train/train_options.h"
#include "engram/v1/task.pb.h"
#include "server/jobs/cost_model.h"
#include "server/jobs/job_kind.h"
#include "server/jobs/strength_plan.h"
#include "server/jobs/task_options.h"
#include "server/rpc/names.h"

namespace engram::server {
namespace {

using checkpoint::Pooling;
using checkpoint::TaskKind;
using engram::v1::StartTaskRequest;
using engram::worker::v1::RunSpec;
using engram::worker::v1::TrainWork;

// ---------------------------------------------------------------- the plan

absl::StatusOr<TaskKind> KindFor(engram::v1::TaskKind asked, corpus::DatasetKind dataset) {
  const bool tagged = corpus::HasTags(dataset), labelled = corpus::HasLabels(dataset);
  switch (asked) {
    case engram::v1::TASK_KIND_SEQUENCE_CLASSIFICATION:
      if (!labelled) return InvalidField("kind", "is classification, but the data set has no labels");
      return TaskKind::kSequenceClassification;
    case engram::v1::TASK_KIND_TOKEN_CLASSIFICATION:
      if (!tagged)
        return InvalidField("kind", "is token classification, but the data set has no tags; CoNLL files have");
      return TaskKind::kTokenClassification;
    case engram::v1::TASK_KIND_MASKED_LANGUAGE_MODEL:
      if (tagged)
        return InvalidField("kind",
                            "is masked language modelling, but the data set holds tagged words; use plain text");
      if (dataset == corpus::DatasetKind::kPairs) {
        return InvalidField("kind",
                            "is masked language modelling, but the data set holds pairs of texts; upload one column of "
                            "them as plain text (--text-column, --kind text)");
      }
      return TaskKind::kMaskedLanguageModel;
    case engram::v1::TASK_KIND_UNSPECIFIED:
      return tagged     ? TaskKind::kTokenClassification
             : labelled ? TaskKind::kSequenceClassification
                        : TaskKind::kMaskedLanguageModel;
    default:
      return InvalidField("kind", "is no kind of task; leave it out, and it follows from the data set");
  }
}

// The pooling that a sentence encoder was made with, so that its classification heads start from vectors that it
// knows.
absl::StatusOr<Pooling> DefaultPooling(const PlanContext& context, const BaseVersion& base) {
  ENGRAM_ASSIGN_OR_RETURN(const std::optional<checkpoint::PoolingModule> pooling,
                          checkpoint::ReadPoolingModule(context.paths.version(base.model, base.number)));
  if (!pooling) {
    ENGRAM_ASSIGN_OR_RETURN(const checkpoint::ModelConfig config, context.catalog.Config(base.model, base.number));
    return config.family->default_pooling;
  }
  const bool mean = pooling->modes == std::vector{checkpoint::TokenPooling::kMean};
  return mean ? Pooling::kMean : Pooling::kStandard;
}

// Whether a task that the version knows may get further labels: a classifier where the strategy can grow its head, a
// tagger of entities with the labels of BIO2 where it is trained by steps at all.
bool MayGrow(const checkpoint::ManifestTask& known, const continual::StrategyInfo& strategy) {
  if (known.kind == TaskKind::kSequenceClassification) return strategy.grows_heads;
  if (known.kind != TaskKind::kTokenClassification || strategy.one_pass) return false;
  const absl::StatusOr<tagging::TagSet> tags = tagging::TagSet::FromTags(known.labels);
  return tags.ok() && tags->reading() == tagging::TagReading::kBio2;
}

// Those that the task does not have, in their order.
std::vector<std::string> NewLabels(const checkpoint::ManifestTask& known, std::vector<std::string> labels) {
  const std::set<std::string_view> has(known.labels.begin(), known.labels.end());
  std::erase_if(labels, [&](const std::string& label) { return has.contains(label); });
  return labels;
}

// At most five of them.
std::string FirstLabels(std::vector<std::string> labels) {
  constexpr size_t kShown = 5;
  if (labels.size() > kShown) {
    labels.resize(kShown);
    labels.push_back("...");
  }
  return absl::StrJoin(labels, ", ");
}

std::vector<std::string> GrowingStrategies() {
  std::vector<std::string> names;
  for (const auto& [name, info] : continual::Strategies()) {
    if (info.grows_heads) names.push_back(name);
  }
  return names;
}

// The labels of a task that the version knows, in their order; where it may grow, with those of the data set behind them.
absl::StatusOr<std::vector<std::string>> KnownLabels(const StartTaskRequest& request,
                                                     const checkpoint::ManifestTask& known,
                                                     std::vector<std::string> labels) {
  // A classifier gets further labels only under a strategy that the request names: they might be a slip of the data.
  const bool named = !request.strategy().empty();
  const continual::StrategyInfo* strategy = &continual::DefaultStrategy(/*consolidated=*/false);
  if (named) {
    ENGRAM_ASSIGN_OR_RETURN(strategy, continual::FindStrategy(request.strategy()));
  }
  if (!MayGrow(known, *strategy) || (known.kind == TaskKind::kSequenceClassification && !named)) {
    absl::Status fixed = CheckLabels(known, labels);
    if (!fixed.ok() && known.kind == TaskKind::kSequenceClassification) {
      return InvalidField("dataset",
                          absl::StrCat("brings labels that task \"", known.name, "\" does not have (",
                                       FirstLabels(NewLabels(known, std::move(labels))),
                                       "): choose another task name, other data, or a strategy that lets the task "
                                       "have further labels (",
                                       absl::StrJoin(GrowingStrategies(), ", "), ")"));
    }
    ENGRAM_RETURN_IF_ERROR(fixed);
    return known.labels;
  }
  std::vector<std::string> all = known.labels;
  for (std::string& label : NewLabels(known, std::move(labels))) all.push_back(std::move(label));
  if (all.size() <= static_cast<size_t>(checkpoint::kMaxLabels)) return all;
  return InvalidField("dataset", absl::StrCat("would bring task \"", known.name, "\" to ", all.size(),
                                              " labels, and a head takes ", checkpoint::kMaxLabels));
}

// Kind, pooling and labels of the head: as they are if the version has the task already.
absl::Status FillHead(const PlanContext& context, const StartTaskRequest& request, const BaseVersion& base,
                      const jobs::DatasetRecord& dataset, TrainWork& work) {
  ENGRAM_ASSIGN_OR_RETURN(const TaskKind kind, KindFor(request.kind(), static_cast<corpus::DatasetKind>(dataset.kind)));
  ENGRAM_ASSIGN_OR_RETURN(std::vector<std::string> labels, OutputsOf(kind, dataset));
  if (labels.size() > static_cast<size_t>(checkpoint::kMaxLabels)) {
    return InvalidField("dataset", absl::StrCat("has ", labels.size(), " classes or tags, and a head takes ",
                                                checkpoint::kMaxLabels, ": is its label column the right one?"));
  }
  Pooling pooling = Pooling::kStandard;
  if (kind == TaskKind::kSequenceClassification) {
    ENGRAM_ASSIGN_OR_RETURN(pooling, DefaultPooling(context, base));
  }
  const auto asked = request.options().find("pooling");
  if (asked != request.options().end())
    ENGRAM_RETURN_IF_ERROR(StartTaskOptionTable().Find("pooling")->Parse(asked->second).status());
  const bool pooling_asked = asked != request.options().end() && asked->second != kModelPooling;
  if (pooling_asked) {
    ENGRAM_ASSIGN_OR_RETURN(const Pooling named, checkpoint::ParsePooling(asked->second));
    if (kind != TaskKind::kSequenceClassification)
      return InvalidField("pooling", "only classification pools; leave it out");
    pooling = named;
  }
  if (const checkpoint::ManifestTask* known = FindManifestTask(base.manifest, request.task())) {
    if (known->kind != kind) {
      return InvalidField("task",
                          absl::StrCat("\"", known->name, "\" is a ", AbslView(checkpoint::TaskKindName(known->kind)),
                                       " task of this version; choose another name"));
    }
    ENGRAM_RETURN_IF_ERROR(CheckRows(*known, dataset));
    ENGRAM_ASSIGN_OR_RETURN(labels, KnownLabels(request, *known, std::move(labels)));
    if (pooling_asked && pooling != known->pooling) {
      return InvalidField("pooling", absl::StrCat("the task's head has pooling ",
                                                  AbslView(checkpoint::PoolingName(known->pooling)), "; leave it out"));
    }
    pooling = known->pooling;
  }
  work.set_kind(std::string(checkpoint::TaskKindName(kind)));
  work.set_pooling(std::string(checkpoint::PoolingName(pooling)));
  for (const std::string& label : labels) work.add_labels(label);
  return absl::OkStatus();
}

// The other tasks of the version, each with the data set that it was trained on, where that is still at hand and has a
// test part; and this one with the data set that it had before, if it gets further labels.
absl::Status FillEarlier(const PlanContext& context, const BaseVersion& base, TrainWork& work) {
  for (const checkpoint::ManifestTask& task : base.manifest.tasks) {
    const bool grows = task.labels.size() < static_cast<size_t>(work.labels_size());
    if (task.name == work.task() && !grows) continue;
    const absl::StatusOr<jobs::DatasetRecord> dataset = TrainedDataset(context, task);
    if (absl::IsFailedPrecondition(dataset.status())) continue;
    ENGRAM_RETURN_IF_ERROR(dataset.status());
    if (dataset->test_rows == 0) continue;
    if (task.name == work.task() && dataset->digest == work.dataset().digest()) continue;
    auto* item = work.add_earlier();
    item->set_task(task.name);
    SetDataset(*dataset, item->mutable_dataset());
  }
  return absl::OkStatus();
}

// What is read whole in windows: single texts that are classified.
absl::Status CheckLongTexts(train::LongTexts long_texts, const std::string& kind, const jobs::DatasetRecord& dataset) {
  if (long_texts == train::LongTexts::kCut) return absl::OkStatus();
  if (kind != checkpoint::TaskKindName(TaskKind::kSequenceClassification))
    return InvalidField("long_texts", "is for classification; taggers and masked language models read whole texts");
  if (static_cast<corpus::DatasetKind>(dataset.kind) == corpus::DatasetKind::kPairs)
    return InvalidField("long_texts", "reads single texts whole; of a pair no window would hold both");
  return absl::OkStatus();
}

// Training options and those of the strategy.
absl::Status FillOptions(const PlanContext& context, const StartTaskRequest& request, const BaseVersion& base,
                         const jobs::DatasetRecord& dataset, TrainWork& work) {
  ENGRAM_ASSIGN_OR_RETURN(const TaskOptions asked,
                          ReadTaskOptions(request, static_cast<int64_t>(base.manifest.consolidations.size())));
  train::TrainOptions options;
  options.checkpoint_every_steps = context.checkpoint_every_steps;
  for (const auto& [key, value] : asked.training) ENGRAM_RETURN_IF_ERROR(train::SetTrainOption(options, key, value));
  ENGRAM_ASSIGN_OR_RETURN(const int64_t longest, LongestText(context, base));
  if (!request.options().contains("max_length")) options.max_length = std::min(options.max_length, longest);
  if (options.max_length > longest) {
    return InvalidField("max_length",
                        absl::StrCat("is ", options.max_length, "; the model takes at most ", longest, " tokens"));
  }
  ENGRAM_RETURN_IF_ERROR(train::ValidateTrainOptions(options));
  if (options.router && work.kind() != checkpoint::TaskKindName(TaskKind::kSequenceClassification))
    return InvalidField("router", "leads texts to classification tasks; leave it out for others");
  if (dataset.validation_rows > 0 && options.validation_fraction > 0) {
    return InvalidField("validation_fraction",
                        absl::StrCat("is ", options.validation_fraction, ", but the data set has a validation part of ",
                                     dataset.validation_rows, " rows; leave it out"));
  }

  ENGRAM_RETURN_IF_ERROR(CheckLongTexts(options.long_texts, work.kind(), dataset));
  work.set_strategy(asked.strategy->name);
  work.set_progress_every_steps(asked.task.Whole("progress_every"));
  work.set_memory_retention_days(context.memory_retention_days);
  if (asked.task.Flag("measure_earlier")) ENGRAM_RETURN_IF_ERROR(FillEarlier(context, base, work));
  for (const auto& [key, value] : asked.strategy_options.Render()) (*work.mutable_strategy_options())[key] = value;
  if (asked.search) ENGRAM_RETURN_IF_ERROR(FillSearch(context, base, asked, work));
  for (const auto& [key, value] : train::TrainOptionsToMap(options)) (*work.mutable_options())[key] = value;
  return absl::OkStatus();
}

// What the API shows of it: every option with its default filled in.
absl::Status Show(const TrainWork& work, const jobs::DatasetRecord& dataset, engram::v1::Job& job) {
  ENGRAM_ASSIGN_OR_RETURN(const auto options, ShowOptions(work));
  auto& shown = *job.mutable_options();
  for (const auto& [key, value] : options) shown[key] = value;
  shown["dataset"] = DatasetName(dataset.name);
  shown["kind"] = work.kind();
  shown["pooling"] = work.pooling();
  shown["training_rows"] = absl::StrCat(dataset.training_rows);
  if (dataset.validation_rows > 0) shown["validation_rows"] = absl::StrCat(dataset.validation_rows);
  return absl::OkStatus();
}

// ---------------------------------------------------------------- the estimate

absl::StatusOr<train::TrainOptions> OptionsOf(const TrainWork& work) {
  return train::ParseTrainOptions({work.options().begin(), work.options().end()});
}

int64_t StoredExamples(const checkpoint::VersionManifest& manifest, const std::string& strategy) {
  int64_t examples = 0;
  for (const checkpoint::ManifestMemory& memory : manifest.memory) {
    if (memory.strategy == strategy) examples += memory.rows;
  }
  return examples;
}

int64_t KnownLabelCount(const checkpoint::VersionManifest& manifest, const std::string& task) {
  const checkpoint::ManifestTask* const known = checkpoint::FindManifestTask(manifest, task);
  return known == nullptr ? 0 : static_cast<int64_t>(known->labels.size());
}

int64_t MostLabels(const checkpoint::VersionManifest& manifest) {
  size_t most = 0;
  for (const checkpoint::ManifestTask& task : manifest.tasks) most = std::max(most, task.labels.size());
  return static_cast<int64_t>(most);
}

// What decides how much a step holds and computes, in tokens.
struct LargestBatch {
  int64_t tokens = 0;   // of all its texts
  int64_t longest = 0;  // of its texts
};

// Texts, tokens and steps.
absl::StatusOr<LargestBatch> CountSteps(const PlanContext& context, const TrainWork& work, TaskKind kind,
                                        const train::TrainOptions& options, const VersionCosts& base,
                                        engram::v1::JobEstimate& out) {
  ENGRAM_ASSIGN_OR_RETURN(const jobs::DatasetRecord dataset, context.store.GetDataset(work.dataset().name()));
  ENGRAM_ASSIGN_OR_RETURN(
      const CountedTexts all,
      base.Count(context.paths.training(dataset.name), dataset.training_rows, kind,
                 {work.labels().begin(), work.labels().end()}, options.max_length, options.long_texts));
  std::vector<int32_t> lengths;
  for (const int64_t i : train::SplitValidation(all.sources, options.validation_fraction, options.seed).training)
    lengths.push_back(all.lengths[static_cast<size_t>(i)]);
  int64_t tokens = 0;
  for (const int32_t length : lengths) tokens += length;
  const auto batches =
      train::MakeBatches(lengths, {options.batch_size, options.batch_tokens, options.order, options.seed}, 0);
  LargestBatch largest;
  for (const std::vector<int64_t>& batch : batches) {
    int64_t sum = 0;
    for (const int64_t i : batch) sum += lengths[static_cast<size_t>(i)];
    largest.tokens = std::max(largest.tokens, sum);
  }
  for (const int32_t length : all.lengths) largest.longest = std::max<int64_t>(largest.longest, length);
  const auto batch_count = static_cast<int64_t>(std::ceil(static_cast<double>(batches.size()) * all.scale));
  out.set_texts(all.Scaled(static_cast<int64_t>(lengths.size())));
  out.set_counted_texts(static_cast<int64_t>(lengths.size()));
  out.set_tokens(all.Scaled(tokens));
  out.set_total_tokens(out.tokens() * options.epochs);
  out.set_steps((batch_count + options.accumulation - 1) / options.accumulation * options.epochs);
  all.WarnOfCuts("training texts", options.max_length, base.max_tokens, out);
  return largest;
}

// ---------------------------------------------------------------- the kind

class TrainKind final : public JobKindFor<StartTaskRequest> {
 public:
  TrainKind() : JobKindFor({RunSpec::kTrain, engram::v1::JOB_KIND_TRAIN, "train", JobOutput::kVersion}) {}

  void FillPaths(const DataPaths& paths, RunSpec& spec) const override {
    FillDatasetPaths(paths, spec.mutable_train()->mutable_dataset());
    for (auto& item : *spec.mutable_train()->mutable_earlier()) FillDatasetPaths(paths, item.mutable_dataset());
    if (!spec.train().has_search()) return;
    for (auto& item : *spec.mutable_train()->mutable_search()->mutable_earlier())
      FillDatasetPaths(paths, item.mutable_dataset());
  }

  absl::StatusOr<WorkEstimate> Estimate(const PlanContext& context, const PlannedJob& job) const override {
    const TrainWork& work = job.spec.train();
    ENGRAM_ASSIGN_OR_RETURN(const VersionCosts base,
                            VersionCosts::Open(context, job.record.model, job.record.base_version));
    ENGRAM_ASSIGN_OR_RETURN(const train::TrainOptions options, OptionsOf(work));
    ENGRAM_ASSIGN_OR_RETURN(const TaskKind kind, checkpoint::ParseTaskKind(work.kind()));
    ENGRAM_ASSIGN_OR_RETURN(const Pooling pooling, checkpoint::ParsePooling(work.pooling()));
    WorkEstimate estimate;
    engram::v1::JobEstimate& out = estimate.counts;
    ENGRAM_ASSIGN_OR_RETURN(const LargestBatch largest, CountSteps(context, work, kind, options, base, out));
    // Windows of texts beyond what is held at once are run forward twice.
    const bool whole = options.long_texts == train::LongTexts::kChunk;
    const bool in_groups = whole && largest.tokens > nn::kWindowTokens;
    const int64_t held = in_groups ? std::max(nn::kWindowTokens, options.max_length) : largest.tokens;
    ENGRAM_ASSIGN_OR_RETURN(const continual::StrategyInfo* const info, continual::FindStrategy(work.strategy()));
    if (info->one_pass) {
      out.set_total_tokens(out.tokens());
      out.set_steps(0);
    }

    const bool known_head = checkpoint::FindManifestTask(base.manifest, work.task()) != nullptr;
    const int64_t head =
        known_head ? 0 : nn::HeadParameters(base.config, kind, pooling, work.labels_size()) * kFloatBytes;
    const int64_t weights = base.weight_bytes + head;
    const nn::Precision precision = train::ResolvePrecision(options.precision, at::kCPU);
    const bool bf16 = precision == nn::Precision::kBFloat16;
    const bool best_kept = options.early_stopping_patience > 0;
    ENGRAM_ASSIGN_OR_RETURN(
        const continual::StrategyCost strategy,
        StrategyCostOf(work,
                       {.encoder_bytes = base.model_bytes,  // the default head is small beside it
                        .consolidations = static_cast<int64_t>(base.manifest.consolidations.size()),
                        .training_examples = out.texts(),
                        .longest_example = whole ? largest.longest : options.max_length,
                        .stored_examples = StoredExamples(base.manifest, continual::MemoryOwner(*info)),
                        .most_labels = MostLabels(base.manifest),
                        .labels = work.labels_size(),
                        .known_labels = KnownLabelCount(base.manifest, work.task()),
                        .earlier_tasks = static_cast<int64_t>(base.manifest.tasks.size()),
                        .columns = std::count_if(base.manifest.tasks.begin(), base.manifest.tasks.end(),
                                                 [](const checkpoint::ManifestTask& task) {
                                                   return task.blocks.kind == checkpoint::BlocksKind::kProgressive;
                                                 }),
                        .hidden_size = base.config.hidden_size,
                        .intermediate_size = base.config.intermediate_size,
                        .layers = base.config.layers,
                        .fused_attention = base.config.family->names.query_key_value != nullptr,
                        .fused_gate = base.config.family->block.gated && base.config.family->names.gate == nullptr}));
    // Weights, gradients and two moments; a bf16 copy; the best weights; what the strategy holds.
    out.set_memory_bytes(4 * weights + (bf16 ? weights / kFloatBytes * kBFloat16Bytes : 0) + (best_kept ? weights : 0) +
                         strategy.bytes + nn::ActivationBytes(held, base.config.layers, base.config, precision));
    out.set_version_bytes(base.size_bytes + head + strategy.version_bytes);
    // A new run checkpoint is whole before it replaces the old one.
    const int64_t checkpoint = (best_kept ? 4 : 3) * weights;
    const bool periodic = options.checkpoint_every_steps > 0 && out.steps() > options.checkpoint_every_steps;
    out.set_disk_bytes(out.version_bytes() + (periodic ? 2 : 1) * checkpoint);
    AddSearch(work, out);
    estimate.products_per_token =
        (info->one_pass ? kForwardPass
                        : (1 + strategy.extra_passes) * (kForwardAndBackwardPass + (in_groups ? kForwardPass : 0))) *
        nn::ProductsPerToken(base.config);
    estimate.bf16 = bf16;
    return estimate;
  }

 private:
  absl::StatusOr<PlannedJob> PlanRequest(const PlanContext& context, const StartTaskRequest& request) const override {
    ENGRAM_ASSIGN_OR_RETURN(const BaseVersion base, OpenBase(context, request.model(), request.base()));
    ENGRAM_RETURN_IF_ERROR(CheckId("task", request.task()));
    ENGRAM_RETURN_IF_ERROR(CheckPriority(request.priority()));
    if (!request.label().empty()) ENGRAM_RETURN_IF_ERROR(CheckId("label", request.label()));
    ENGRAM_ASSIGN_OR_RETURN(const jobs::DatasetRecord dataset, FindDataset(context, request.dataset()));
    PlannedJob job = MakeVersionJob(*this, base, request.task(), request.priority(), request.label());
    TrainWork& work = *job.spec.mutable_train();
    work.set_task(request.task());
    SetDataset(dataset, work.mutable_dataset());
    ENGRAM_RETURN_IF_ERROR(FillHead(context, request, base, dataset, work));
    ENGRAM_RETURN_IF_ERROR(FillOptions(context, request, base, dataset, work));
    std::set<std::string> datasets = {dataset.name};
    for (const auto& item : work.earlier()) datasets.insert(item.dataset().name());
    for (const auto& item : work.search().earlier()) datasets.insert(item.dataset().name());
    job.record.datasets.assign(datasets.begin(), datasets.end());
    ENGRAM_RETURN_IF_ERROR(Show(work, dataset, job.description));
    return job;
  }
};

const JobKindRegistration kRegistration(std::make_unique<TrainKind>());

}  // namespace
}  // namespace engram::server
