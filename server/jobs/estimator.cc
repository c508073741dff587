#include "server/jobs/estimator.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <functional>
#include <utility>

#include "ATen/ops/ones.h"
#include "absl/strings/str_cat.h"
#include "c10/core/InferenceMode.h"
#include "core/base/clock.h"
#include "core/base/files.h"
#include "core/continual/importance.h"
#include "core/nn/device.h"
#include "core/nn/ops.h"
#include "core/nn/version.h"
#include "core/tokenize/tokenizer.h"
#include "core/train/batches.h"
#include "core/train/evaluate.h"
#include "core/train/precision.h"
#include "core/train/train_options.h"
#include "server/jobs/task_options.h"
#include "server/rpc/names.h"
#include "server/worker/examples.h"
#include "server/worker/measure.h"

namespace engram::server {
namespace {

using engram::v1::JobEstimate;
using engram::worker::v1::TrainWork;

constexpr int64_t kFloatBytes = 4, kBFloat16Bytes = 2;

int64_t FileBytes(const std::string& path) {
  std::error_code error;
  const auto bytes = std::filesystem::file_size(path, error);
  return error ? 0 : static_cast<int64_t>(bytes);
}

// Up to `limit` lines of a file of `rows` lines, evenly spread.
absl::StatusOr<std::string> SpreadLines(const std::string& path, int64_t rows, int64_t limit) {
  ENGRAM_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::Open(path));
  const std::string_view text(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
  const int64_t stride = std::max<int64_t>(1, (rows + limit - 1) / limit);
  std::string lines;
  size_t begin = 0;
  for (int64_t row = 0; begin < text.size(); ++row) {
    const size_t end = std::min(text.find('\n', begin), text.size() - 1) + 1;
    if (row % stride == 0) lines += text.substr(begin, end - begin);
    begin = end;
  }
  return lines;
}

int64_t HeadParameters(checkpoint::TaskKind kind, checkpoint::Pooling pooling, int64_t labels,
                       const checkpoint::ModelConfig& config) {
  const int64_t width = config.hidden_size;
  const int64_t dense = width * width + width;
  if (kind == checkpoint::TaskKind::kMaskedLanguageModel) return dense + 2 * width + config.vocab_size;
  const bool has_dense =
      kind == checkpoint::TaskKind::kSequenceClassification && pooling == checkpoint::Pooling::kStandard;
  return labels * (width + 1) + (has_dense ? dense : 0);
}

// Multiplications of one token's forward pass in the encoder's weight matrices.
double ProductsPerToken(const checkpoint::ModelConfig& config) {
  const auto width = static_cast<double>(config.hidden_size), inner = static_cast<double>(config.intermediate_size);
  return static_cast<double>(config.layers) * (4 * width * width + 2 * width * inner);
}

// What a training step on a batch of `tokens` keeps for its backward pass, what that holds of one layer beside it, and
// where oneDNN sums products of bf16 rows: bench/worker_memory.py derives the terms and holds them against real runs.
// Passes that keep nothing have one layer of it.
int64_t ActivationBytes(int64_t tokens, int64_t layers, const checkpoint::ModelConfig& config, bool bf16) {
  const int64_t width = config.hidden_size, inner = config.intermediate_size;
  const int64_t numbers = layers * (8 * width + 2 * inner) + 3 * width + 11 * width + 2 * inner;
  return tokens * (bf16 ? kBFloat16Bytes * numbers + kFloatBytes * inner : kFloatBytes * numbers);
}

// Multiply-adds a second of the product that a job's layers call, the best of a tenth of a second. Not at::mm: which
// library multiplies decides the speed.
double MeasureProducts(at::ScalarType dtype) {
  constexpr int64_t kSize = 1024;
  constexpr absl::Duration kPatience = absl::Milliseconds(100);
  const c10::InferenceMode inference;
  const at::Tensor left = at::ones({kSize, kSize}, at::TensorOptions().dtype(dtype)), right = left.clone();
  double best = 0;
  for (const absl::Time end = Clock::Real().Now() + kPatience; Clock::Real().Now() < end;) {
    const absl::Time start = Clock::Real().Now();
    const at::Tensor product = nn::ops::Linear(left, right, at::Tensor());
    const double seconds = absl::ToDoubleSeconds(Clock::Real().Now() - start);
    if (seconds > 0) best = std::max(best, static_cast<double>(kSize) * kSize * kSize / seconds);
  }
  return best;
}

// Measured once: an estimate is not worth a tenth of a second of all cores each time.
double ProductSpeed(bool bf16) {
  if (bf16) {
    static const double speed = MeasureProducts(at::kBFloat16);
    return speed;
  }
  static const double speed = MeasureProducts(at::kFloat);
  return speed;
}

// How many forward passes' worth of products a token costs.
double PassesPerToken(const PlannedJob& job) {
  constexpr double kForward = 1, kForwardAndBackward = 3;
  if (job.spec.has_evaluate()) return kForward;
  return kForwardAndBackward;
}

absl::StatusOr<train::TrainOptions> OptionsOf(const TrainWork& work) {
  return train::ParseTrainOptions({work.options().begin(), work.options().end()});
}

// What a strategy's cost depends on. `model_bytes` stands for the encoder's.
continual::StrategySizes SizesOf(const checkpoint::VersionManifest& manifest, int64_t model_bytes,
                                 const JobEstimate& counts, int64_t max_length) {
  return {.encoder_bytes = model_bytes,
          .consolidations = static_cast<int64_t>(manifest.consolidations.size()),
          .training_examples = counts.texts(),
          .longest_example = max_length};
}

// The precision that decides a job's speed; evaluations and consolidations have no choice.
std::string PrecisionOf(const engram::v1::Job& job) {
  const auto found = job.options().find("precision");
  return found == job.options().end() ? "" : found->second;
}

}  // namespace

struct JobEstimator::Base {
  std::string directory;
  checkpoint::ModelConfig config;
  checkpoint::VersionManifest manifest;
  std::unique_ptr<tokenize::Tokenizer> tokenizer;
  int64_t max_tokens = 0;    // the model's window
  int64_t size_bytes = 0;    // of the whole version
  int64_t model_bytes = 0;   // model.safetensors: the encoder, and small beside it the default head
  int64_t weight_bytes = 0;  // with the other heads

  // Texts of one part of a data set as the worker would see them.
  struct Counted {
    std::vector<int32_t> lengths;  // of the training examples, ascending
    int64_t tokens = 0;
    double scale = 1;   // how many texts of the data set each counted one stands for
    int64_t texts = 0;  // fewer than examples where long sentences are several windows
    int64_t cut = 0;

    int64_t Scaled(int64_t count) const { return std::llround(static_cast<double>(count) * scale); }
    void Warn(std::string_view which, int64_t max_length, int64_t window, JobEstimate& out) const {
      const auto warning = worker::CutWarning(Scaled(cut), Scaled(texts), which, max_length, window);
      if (warning) out.add_warnings(*warning);
    }
    int64_t examples() const { return static_cast<int64_t>(lengths.size()); }
  };
  absl::StatusOr<Counted> Count(const std::string& path, int64_t rows, checkpoint::TaskKind kind,
                                const std::vector<std::string>& labels, int64_t max_length) const {
    ENGRAM_ASSIGN_OR_RETURN(const std::string lines, SpreadLines(path, rows, kMaxCounted));
    ENGRAM_ASSIGN_OR_RETURN(const corpus::Dataset dataset, corpus::ParseCanonical(lines));
    ENGRAM_ASSIGN_OR_RETURN(const worker::Examples examples,
                            worker::MakeExamples(dataset, kind, labels, max_length, *tokenizer));
    Counted counted;
    for (const train::TrainingExample& example : examples.examples)
      counted.lengths.push_back(static_cast<int32_t>(example.sequence.ids.size()));
    std::sort(counted.lengths.begin(), counted.lengths.end());
    counted.tokens = worker::TotalTokens(examples.examples);
    counted.scale = static_cast<double>(rows) / static_cast<double>(dataset.size());
    counted.texts = examples.texts();
    counted.cut = examples.cut;
    return counted;
  }
};

absl::StatusOr<JobEstimator::Base> JobEstimator::Open(const PlannedJob& job) const {
  const std::string& model = job.record.model;
  const int64_t number = job.record.base_version;
  Base base;
  base.directory = paths_.version(model, number);
  ENGRAM_ASSIGN_OR_RETURN(base.config, catalog_.Config(model, number));
  ENGRAM_ASSIGN_OR_RETURN(base.manifest, catalog_.Manifest(model, number));
  ENGRAM_ASSIGN_OR_RETURN(base.tokenizer, tokenize::LoadTokenizer(base.directory));
  ENGRAM_ASSIGN_OR_RETURN(const jobs::VersionRecord record, store_.GetVersion(model, number));
  ENGRAM_ASSIGN_OR_RETURN(const engram::v1::Version described, catalog_.Describe(record));
  base.max_tokens = described.max_tokens();
  base.size_bytes = record.size_bytes;
  base.model_bytes = FileBytes(absl::StrCat(base.directory, "/", checkpoint::kModelFile));
  base.weight_bytes = base.model_bytes + FileBytes(absl::StrCat(base.directory, "/", checkpoint::kHeadsFile));
  return base;
}

// ---------------------------------------------------------------- what each kind of job reads, holds and writes

absl::Status JobEstimator::CountTraining(const PlannedJob& job, const Base& base, JobEstimate& out) const {
  const TrainWork& work = job.spec.train();
  ENGRAM_ASSIGN_OR_RETURN(const train::TrainOptions options, OptionsOf(work));
  ENGRAM_ASSIGN_OR_RETURN(const jobs::DatasetRecord dataset, store_.GetDataset(work.dataset().name()));
  ENGRAM_ASSIGN_OR_RETURN(const checkpoint::TaskKind kind, checkpoint::ParseTaskKind(work.kind()));
  ENGRAM_ASSIGN_OR_RETURN(const checkpoint::Pooling pooling, checkpoint::ParsePooling(work.pooling()));
  ENGRAM_ASSIGN_OR_RETURN(const Base::Counted all,
                          base.Count(paths_.training(dataset.name), dataset.training_rows, kind,
                                     {work.labels().begin(), work.labels().end()}, options.max_length));
  std::vector<int32_t> lengths;
  for (const int64_t i : train::SplitValidation(all.examples(), options.validation_fraction, options.seed).training)
    lengths.push_back(all.lengths[static_cast<size_t>(i)]);
  int64_t tokens = 0;
  for (const int32_t length : lengths) tokens += length;
  const auto batches =
      train::MakeBatches(lengths, {options.batch_size, options.batch_tokens, options.order, options.seed}, 0);
  int64_t largest = 0;
  for (const std::vector<int64_t>& batch : batches) {
    int64_t sum = 0;
    for (const int64_t i : batch) sum += lengths[static_cast<size_t>(i)];
    largest = std::max(largest, sum);
  }
  const auto batch_count = static_cast<int64_t>(std::ceil(static_cast<double>(batches.size()) * all.scale));
  out.set_texts(all.Scaled(static_cast<int64_t>(lengths.size())));
  out.set_counted_texts(static_cast<int64_t>(lengths.size()));
  out.set_tokens(all.Scaled(tokens));
  out.set_total_tokens(out.tokens() * options.epochs);
  out.set_steps((batch_count + options.accumulation - 1) / options.accumulation * options.epochs);
  all.Warn("training texts", options.max_length, base.max_tokens, out);

  const bool known_head = checkpoint::FindManifestTask(base.manifest, work.task()) != nullptr;
  const int64_t head = known_head ? 0 : HeadParameters(kind, pooling, work.labels_size(), base.config) * kFloatBytes;
  const int64_t weights = base.weight_bytes + head;
  const bool bf16 = train::ResolvePrecision(options.precision, at::kCPU) == nn::Precision::kBFloat16;
  const bool best_kept = options.early_stopping_patience > 0;
  ENGRAM_ASSIGN_OR_RETURN(const continual::StrategyCost strategy,
                          StrategyCostOf(work, SizesOf(base.manifest, base.model_bytes, out, options.max_length)));
  // Weights, gradients and two moments; a bf16 copy; the best weights; what the strategy holds.
  out.set_memory_bytes(4 * weights + (bf16 ? weights / kFloatBytes * kBFloat16Bytes : 0) + (best_kept ? weights : 0) +
                       strategy.bytes + ActivationBytes(largest, base.config.layers, base.config, bf16));
  out.set_version_bytes(base.size_bytes + head);
  // A new run checkpoint is whole before it replaces the old one.
  const int64_t checkpoint = (best_kept ? 4 : 3) * weights;
  const bool periodic = options.checkpoint_every_steps > 0 && out.steps() > options.checkpoint_every_steps;
  out.set_disk_bytes(out.version_bytes() + (periodic ? 2 : 1) * checkpoint);
  return absl::OkStatus();
}

absl::Status JobEstimator::CountConsolidation(const PlannedJob& job, const Base& base, JobEstimate& out) const {
  const auto& work = job.spec.consolidate();
  const checkpoint::ManifestTask* const task = checkpoint::FindManifestTask(base.manifest, work.task());
  if (task == nullptr) return absl::NotFoundError("the version has not learned this task");
  ENGRAM_ASSIGN_OR_RETURN(const jobs::DatasetRecord dataset, store_.GetDataset(work.dataset().name()));
  ENGRAM_ASSIGN_OR_RETURN(const Base::Counted all, base.Count(paths_.training(dataset.name), dataset.training_rows,
                                                              task->kind, task->labels, base.max_tokens));
  all.Warn("training texts", base.max_tokens, base.max_tokens, out);
  out.set_texts(std::min(work.samples(), all.Scaled(all.texts)));
  out.set_counted_texts(all.texts);
  out.set_tokens(std::llround(static_cast<double>(all.tokens) / static_cast<double>(all.texts) *
                              static_cast<double>(out.texts())));
  out.set_total_tokens(out.tokens());
  const auto others = std::count_if(base.manifest.consolidations.begin(), base.manifest.consolidations.end(),
                                    [&](const auto& known) { return known.task != task->name; });
  const bool replaced = others < static_cast<int64_t>(base.manifest.consolidations.size());
  // Weights, the new Fisher and anchor, and those that the version has already; the gradients of a text of several
  // windows.
  const int64_t gradients = all.examples() > all.texts ? base.weight_bytes : 0;
  out.set_memory_bytes(
      base.weight_bytes + gradients + 2 * (1 + others) * base.model_bytes +
      ActivationBytes(continual::ImportanceOptions().batch_tokens, base.config.layers, base.config, /*bf16=*/false));
  out.set_version_bytes(base.size_bytes + (replaced ? 0 : 2 * base.model_bytes));
  out.set_disk_bytes(out.version_bytes());
  return absl::OkStatus();
}

absl::Status JobEstimator::CountEvaluation(const PlannedJob& job, const Base& base, JobEstimate& out) const {
  for (const auto& item : job.spec.evaluate().items()) {
    const checkpoint::ManifestTask* const task = checkpoint::FindManifestTask(base.manifest, item.task());
    if (task == nullptr) return absl::NotFoundError("the version has not learned this task");
    ENGRAM_ASSIGN_OR_RETURN(const jobs::DatasetRecord dataset, store_.GetDataset(item.dataset().name()));
    const bool has_test = dataset.test_rows > 0;
    ENGRAM_ASSIGN_OR_RETURN(
        const Base::Counted all,
        base.Count(has_test ? paths_.test(dataset.name) : paths_.training(dataset.name),
                   has_test ? dataset.test_rows : dataset.training_rows, task->kind, task->labels, base.max_tokens));
    out.set_texts(out.texts() + all.Scaled(all.texts));
    out.set_counted_texts(out.counted_texts() + all.texts);
    out.set_tokens(out.tokens() + all.Scaled(all.tokens));
    all.Warn(absl::StrCat("texts measured for \"", task->name, "\""), base.max_tokens, base.max_tokens, out);
  }
  out.set_total_tokens(out.tokens());
  out.set_memory_bytes(
      base.weight_bytes + base.weight_bytes / kFloatBytes * kBFloat16Bytes +
      ActivationBytes(train::EvaluateOptions().batch_tokens, /*layers=*/1, base.config, /*bf16=*/false));
  return absl::OkStatus();
}

// ---------------------------------------------------------------- time and disk

absl::Status JobEstimator::AddTime(const PlannedJob& job, const Base& base, JobEstimate& out) const {
  constexpr int64_t kJobsLookedAt = 200;
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<jobs::JobRecord> ended,
                          store_.ListJobs("", kJobsLookedAt, "", jobs::JobState::kSucceeded));
  for (const jobs::JobRecord& record : ended) {
    engram::v1::Job earlier;
    engram::worker::v1::RunOutcome outcome;
    // Of a job that was resumed only the last run's time is known.
    if (record.attempts != 1 || !earlier.ParseFromString(record.description) ||
        !outcome.ParseFromString(record.outcome) || earlier.kind() != job.description.kind() ||
        PrecisionOf(earlier) != PrecisionOf(job.description) || outcome.result().tokens() == 0 ||
        outcome.result().work_seconds() <= 0) {
      continue;
    }
    const bool same = record.model == job.record.model;
    // Newest first: the first one of the same model ends the search, the first of another is what there is until then.
    if (!same && out.speed_origin() == engram::v1::SPEED_ORIGIN_OTHER_MODEL) continue;
    double speed = static_cast<double>(outcome.result().tokens()) / outcome.result().work_seconds();
    if (!same) {
      const int64_t bytes =
          FileBytes(absl::StrCat(paths_.version(record.model, record.base_version), "/", checkpoint::kModelFile));
      if (bytes == 0) continue;
      speed *= static_cast<double>(bytes) / static_cast<double>(base.model_bytes);
    }
    out.set_tokens_per_second(speed);
    out.set_speed_origin(same ? engram::v1::SPEED_ORIGIN_SAME_MODEL : engram::v1::SPEED_ORIGIN_OTHER_MODEL);
    out.set_speed_job(JobName(record.id));
    if (same) break;
  }
  const bool on_cpu = devices_ == std::vector<std::string>(devices_.size(), "cpu");
  if (out.speed_job().empty() && on_cpu) {
    train::TrainOptions options;
    double passes = PassesPerToken(job);
    if (job.spec.has_train()) {
      ENGRAM_ASSIGN_OR_RETURN(options, OptionsOf(job.spec.train()));
      ENGRAM_ASSIGN_OR_RETURN(
          const continual::StrategyCost strategy,
          StrategyCostOf(job.spec.train(), SizesOf(base.manifest, base.model_bytes, out, options.max_length)));
      passes *= 1 + strategy.extra_passes;
    }
    // Importance is summed in fp32 (run_consolidation.cc).
    const bool bf16 =
        !job.spec.has_consolidate() && train::ResolvePrecision(options.precision, at::kCPU) == nn::Precision::kBFloat16;
    const auto speed = nn::GuardTorch([&]() -> absl::StatusOr<double> { return ProductSpeed(bf16); });
    if (!speed.ok()) return speed.status();
    out.set_tokens_per_second(*speed / (passes * ProductsPerToken(base.config)));
    out.set_speed_origin(engram::v1::SPEED_ORIGIN_MATRIX_PRODUCTS);
  }
  if (out.tokens_per_second() > 0) out.set_seconds(static_cast<double>(out.total_tokens()) / out.tokens_per_second());
  return absl::OkStatus();
}

void JobEstimator::AddDisk(JobEstimate& out) const {
  std::error_code error;
  const std::filesystem::space_info space = std::filesystem::space(paths_.data_dir, error);
  if (error) return;
  out.set_free_disk_bytes(static_cast<int64_t>(space.available));
  if (out.disk_bytes() > out.free_disk_bytes()) {
    out.add_warnings(absl::StrCat("DISK_LOW: the job needs about ", out.disk_bytes() >> 20, " MiB of disk and ",
                                  out.free_disk_bytes() >> 20, " MiB are free; delete versions that nobody needs"));
  }
}

absl::StatusOr<JobEstimate> JobEstimator::Estimate(const PlannedJob& job) const {
  ENGRAM_ASSIGN_OR_RETURN(const Base base, Open(job));
  JobEstimate out;
  if (job.spec.has_train()) ENGRAM_RETURN_IF_ERROR(CountTraining(job, base, out));
  if (job.spec.has_consolidate()) ENGRAM_RETURN_IF_ERROR(CountConsolidation(job, base, out));
  if (job.spec.has_evaluate()) ENGRAM_RETURN_IF_ERROR(CountEvaluation(job, base, out));
  ENGRAM_RETURN_IF_ERROR(AddTime(job, base, out));
  AddDisk(out);
  return out;
}

}  // namespace engram::server
