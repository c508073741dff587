#include "server/library/catalog.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "core/base/files.h"
#include "core/base/options.h"
#include "core/continual/strategy_info.h"
#include "core/continual/stream_metrics.h"
#include "core/corpus/dataset.h"
#include "core/train/train_options.h"
#include "engram/worker/v1/worker.pb.h"
#include "server/rpc/names.h"
#include "server/worker/stream_report.h"

namespace engram::server {
namespace {

// The store keeps the reader's number, and the API shows it as its own.
constexpr bool Mirrors(corpus::DatasetKind ours, engram::v1::DatasetKind theirs) {
  return static_cast<int>(ours) == static_cast<int>(theirs);
}
static_assert(Mirrors(corpus::DatasetKind::kClassification, engram::v1::DATASET_KIND_CLASSIFICATION));
static_assert(Mirrors(corpus::DatasetKind::kTagging, engram::v1::DATASET_KIND_TAGGING));
static_assert(Mirrors(corpus::DatasetKind::kText, engram::v1::DATASET_KIND_TEXT));
static_assert(Mirrors(corpus::DatasetKind::kPairs, engram::v1::DATASET_KIND_PAIRS));
static_assert(Mirrors(corpus::DatasetKind::kWordTags, engram::v1::DATASET_KIND_WORD_TAGS));

engram::v1::TaskKind ToProto(checkpoint::TaskKind kind) {
  switch (kind) {
    case checkpoint::TaskKind::kSequenceClassification:
      return engram::v1::TASK_KIND_SEQUENCE_CLASSIFICATION;
    case checkpoint::TaskKind::kTokenClassification:
      return engram::v1::TASK_KIND_TOKEN_CLASSIFICATION;
    case checkpoint::TaskKind::kMaskedLanguageModel:
      return engram::v1::TASK_KIND_MASKED_LANGUAGE_MODEL;
  }
  return engram::v1::TASK_KIND_UNSPECIFIED;
}

// The options as somebody would write them: 0.1, where engram.json has all digits of it. What the table does not take,
// an option of another program's strategy, stays as it stands.
void ShowOptions(const OptionTable& table, const std::map<std::string, std::string>& options,
                 google::protobuf::Map<std::string, std::string>& out) {
  for (const auto& [name, text] : options) {
    out[name] = text;
    const Option* const option = table.Find(name);
    if (option == nullptr) continue;
    if (const absl::StatusOr<OptionValue> value = option->Parse(text); value.ok()) out[name] = option->Show(*value);
  }
}

void AddMeasured(const std::string& model, const checkpoint::VersionManifest& manifest, engram::v1::Version& out) {
  for (const checkpoint::Measurement& measured : manifest.measured) {
    for (const auto& [name, value] : measured.metrics) {
      engram::v1::Metric* metric = out.add_metrics();
      metric->set_task(TaskName(model, measured.task));
      metric->set_metric(name);
      metric->set_value(value);
      metric->set_count(measured.texts);
      metric->set_part(worker::PartOfName(measured.part));
      metric->set_own_test_part(measured.part == "test");
    }
  }
}

int64_t SizeOf(const std::string& path) {
  std::error_code code;
  const auto size = std::filesystem::file_size(path, code);
  return code ? 0 : static_cast<int64_t>(size);
}

// What it keeps for later tasks.
void AddMemories(const std::string& model, const std::string& directory, const checkpoint::VersionManifest& manifest,
                 engram::v1::Version& out) {
  if (!manifest.consolidations.empty()) {
    engram::v1::Memory* memory = out.add_memories();
    memory->set_strategy("consolidations");
    memory->set_size_bytes(SizeOf(absl::StrCat(directory, "/", checkpoint::kContinualFile)));
  }
  for (const checkpoint::ManifestMemory& from : manifest.memory) {
    engram::v1::Memory* memory = out.add_memories();
    memory->set_strategy(from.strategy);
    memory->set_size_bytes(SizeOf(absl::StrCat(directory, "/", from.file)));
    memory->set_texts(from.rows);
    for (const auto& [name, texts] : from.tasks) {
      engram::v1::MemoryOfTask* of = memory->add_tasks();
      of->set_task(TaskName(model, name));
      of->set_texts(static_cast<int64_t>(texts));
      if (const auto since = from.kept_since.find(name); since != from.kept_since.end()) {
        absl::Time time;
        if (absl::ParseTime(absl::RFC3339_full, since->second, &time, nullptr))
          SetTimestamp(time, of->mutable_kept_since());
      }
      const checkpoint::ManifestTask* const task = checkpoint::FindManifestTask(manifest, name);
      if (task != nullptr && !task->dataset.empty()) of->set_dataset(DatasetName(task->dataset));
    }
  }
}

}  // namespace

void SetTimestamp(absl::Time time, google::protobuf::Timestamp* out) {
  const int64_t micros = absl::ToUnixMicros(time);
  out->set_seconds(micros / 1'000'000);
  out->set_nanos(static_cast<int32_t>(micros % 1'000'000) * 1000);
}

absl::StatusOr<checkpoint::VersionManifest> Catalog::Manifest(const std::string& model, int64_t number) const {
  absl::StatusOr<checkpoint::VersionManifest> manifest = checkpoint::ReadManifest(paths_.version(model, number));
  if (absl::IsNotFound(manifest.status())) return absl::DataLossError("the version's files are missing on the server");
  return manifest;
}

absl::StatusOr<checkpoint::ModelConfig> Catalog::Config(const std::string& model, int64_t number) const {
  const absl::StatusOr<std::string> text =
      ReadFile(absl::StrCat(paths_.version(model, number), "/", checkpoint::kConfigFile), 1 << 24);
  if (!text.ok()) return absl::DataLossError("the version's config.json cannot be read on the server");
  return checkpoint::ParseModelConfig(*text);
}

absl::StatusOr<google::protobuf::RepeatedPtrField<engram::v1::Metric>> Catalog::Evaluations(const std::string& model,
                                                                                            int64_t number) const {
  google::protobuf::RepeatedPtrField<engram::v1::Metric> metrics;
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<std::string> outcomes, store_.OutcomesOfEvaluations(model, number));
  for (const std::string& bytes : outcomes) {
    engram::worker::v1::RunOutcome outcome;
    if (outcome.ParseFromString(bytes)) metrics.MergeFrom(outcome.result().metrics());
  }
  return metrics;
}

absl::StatusOr<checkpoint::VersionManifest> Catalog::Measured(const std::string& model,
                                                              checkpoint::VersionManifest manifest) const {
  ENGRAM_ASSIGN_OR_RETURN(const auto metrics, Evaluations(model, manifest.version));
  continual::EnterEvaluation(worker::StreamMeasurements(metrics), manifest);
  return manifest;
}

absl::StatusOr<google::protobuf::RepeatedPtrField<engram::v1::StreamMetrics>> Catalog::Stream(
    const std::string& model, checkpoint::VersionManifest manifest) const {
  ENGRAM_ASSIGN_OR_RETURN(const checkpoint::VersionManifest measured, Measured(model, std::move(manifest)));
  return worker::DescribeStream(model, measured);
}

absl::Status Catalog::CheckForgetting(const std::string& model, int64_t number, double most) const {
  ENGRAM_ASSIGN_OR_RETURN(checkpoint::VersionManifest manifest, Manifest(model, number));
  ENGRAM_ASSIGN_OR_RETURN(manifest, Measured(model, std::move(manifest)));
  std::vector<std::string> unknown, lost;
  for (const continual::TaskScore& score : continual::ScoresOfTasks(manifest)) {
    if (!score.earlier) continue;
    if (!score.now || !score.best_earlier) {
      unknown.push_back(score.task);
    } else if (const double loss = *score.best_earlier - *score.now; loss > most) {
      lost.push_back(absl::StrFormat("%s lost %.2f points of %s (%.2f, was %.2f)", score.task, 100 * loss,
                                     score.metric == "accuracy" ? "accuracy" : "F1", 100 * *score.now,
                                     100 * *score.best_earlier));
    }
  }
  if (!lost.empty()) {
    return StatusWithReason(
        absl::StatusCode::kFailedPrecondition, "FORGOT_TOO_MUCH",
        absl::StrFormat("version %d has forgotten more than %.2f points: %s; choose another version, "
                        "or allow more with max_loss",
                        number, 100 * most, absl::StrJoin(lost, ", ")));
  }
  if (unknown.empty()) return absl::OkStatus();
  return StatusWithReason(
      absl::StatusCode::kFailedPrecondition, "NOT_MEASURED",
      absl::StrCat(
          "what version ", number, " has forgotten of ", absl::StrJoin(unknown, ", "),
          " is not known; evaluate it and the versions before it on the tasks' test parts, or leave max_loss out"));
}

absl::StatusOr<engram::v1::Version> Catalog::Describe(const jobs::VersionRecord& record) const {
  ENGRAM_ASSIGN_OR_RETURN(const checkpoint::VersionManifest manifest, Manifest(record.model, record.number));
  engram::v1::Version version;
  version.set_name(VersionName(record.model, record.number));
  if (record.parent > 0) version.set_parent(VersionName(record.model, record.parent));
  SetTimestamp(record.created, version.mutable_create_time());
  for (const checkpoint::ManifestTask& from : manifest.tasks) {
    engram::v1::Task* task = version.add_tasks();
    task->set_name(TaskName(record.model, from.name));
    task->set_kind(ToProto(from.kind));
    for (const std::string& label : from.labels) task->add_labels(label);
    task->set_dataset(from.dataset.empty() ? "" : DatasetName(from.dataset));
    task->set_training_examples(from.training_examples);
    task->set_text_pairs(from.text_pairs);
    task->set_chunk_tokens(from.chunk_tokens);
    task->set_tag_scheme(from.tag_scheme);
    if (from.abstention) {
      engram::v1::Abstention* abstention = task->mutable_abstention();
      abstention->set_temperature(from.abstention->temperature);
      abstention->set_threshold(from.abstention->threshold);
      abstention->set_texts(from.abstention->texts);
      abstention->set_answered(from.abstention->answered);
      abstention->set_accuracy_of_answered(from.abstention->accuracy_of_answered);
    }
    task->set_consolidated(std::any_of(manifest.consolidations.begin(), manifest.consolidations.end(),
                                       [&](const auto& consolidation) { return consolidation.task == from.name; }));
  }
  version.set_strategy(manifest.strategy);
  const absl::StatusOr<const continual::StrategyInfo*> strategy = continual::FindStrategy(manifest.strategy);
  ShowOptions(strategy.ok() ? (*strategy)->options : OptionTable(), manifest.strategy_options,
              *version.mutable_strategy_options());
  ShowOptions(train::TrainOptionTable(), manifest.training_options, *version.mutable_training_options());
  if (!record.job.empty()) version.set_job(JobName(record.job));
  version.set_size_bytes(record.size_bytes);
  engram::v1::JobResult metrics;
  if (metrics.ParseFromString(record.metrics)) {
    *version.mutable_metrics() = metrics.metrics();
    *version.mutable_warnings() = metrics.warnings();
  }
  // An imported version was measured where it was trained.
  if (version.metrics().empty()) AddMeasured(record.model, manifest, version);
  AddMemories(record.model, paths_.version(record.model, record.number), manifest, version);
  ENGRAM_ASSIGN_OR_RETURN(*version.mutable_stream_metrics(), Stream(record.model, manifest));
  ENGRAM_ASSIGN_OR_RETURN(const jobs::ModelRecord model, store_.GetModel(record.model));
  for (const auto& [label, number] : model.labels) {
    if (number == record.number) version.add_labels(label);
  }
  ENGRAM_ASSIGN_OR_RETURN(const checkpoint::ModelConfig config, Config(record.model, record.number));
  version.set_max_tokens(config.max_length());
  return version;
}

engram::v1::Model Catalog::Describe(const jobs::ModelRecord& record) {
  engram::v1::Model model;
  model.set_name(ModelName(record.name));
  SetTimestamp(record.created, model.mutable_create_time());
  for (const auto& [label, version] : record.labels) (*model.mutable_labels())[label] = version;
  model.set_latest_version(record.latest);
  model.set_versions(record.versions);
  return model;
}

engram::v1::Dataset Catalog::Describe(const jobs::DatasetRecord& record) {
  engram::v1::Dataset dataset;
  dataset.set_name(DatasetName(record.name));
  dataset.set_kind(static_cast<engram::v1::DatasetKind>(record.kind));
  dataset.set_training_rows(record.training_rows);
  dataset.set_test_rows(record.test_rows);
  dataset.set_validation_rows(record.validation_rows);
  for (const std::string& label : record.labels) dataset.add_labels(label);
  dataset.set_digest(record.digest);
  SetTimestamp(record.created, dataset.mutable_create_time());
  dataset.set_size_bytes(record.size_bytes);
  return dataset;
}

}  // namespace engram::server
