#include "server/worker/strength_search.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/base/files.h"
#include "core/base/random.h"
#include "core/corpus/folds.h"
#include "core/train/train_options.h"
#include "server/rpc/names.h"
#include "server/worker/inner_run.h"
#include "server/worker/measure.h"

namespace engram::worker {
namespace {

using engram::v1::JobResult;
using engram::v1::StrengthPoint;
using engram::v1::StrengthSweep;
using engram::worker::v1::EvaluateWork;
using engram::worker::v1::RunDataset;
using engram::worker::v1::TrainWork;

constexpr double kLeastTolerance = 0.01;
constexpr double kHeldOut = 0.2;  // of the training rows, where the data set has no validation part
constexpr int64_t kMostTrainingRows = 500;
constexpr double kSameScore = 1e-9;

// At most `count` rows, drawn without replacement, in the order of the data set.
std::vector<int64_t> DrawRows(int64_t rows, int64_t count, uint64_t seed) {
  std::vector<int64_t> order(static_cast<size_t>(rows));
  std::iota(order.begin(), order.end(), int64_t{0});
  RandomStream random(seed, RandomPurpose::kSubset, 0);
  for (int64_t i = 0; i < std::min(rows, count); ++i)
    std::swap(order[static_cast<size_t>(i)],
              order[static_cast<size_t>(i) + random.NextBelow(static_cast<uint64_t>(rows - i))]);
  order.resize(static_cast<size_t>(std::min(rows, count)));
  std::sort(order.begin(), order.end());
  return order;
}

// The earlier task with the part that it is measured on as its data set's test part.
absl::StatusOr<EvaluateWork::Item> HeldOutOf(const EvaluateWork::Item& earlier, uint64_t seed,
                                             const std::string& directory) {
  ENGRAM_RETURN_IF_ERROR(VerifyDataset(earlier.dataset()));
  EvaluateWork::Item item = earlier;
  RunDataset& dataset = *item.mutable_dataset();
  if (dataset.validation_path().empty()) {
    ENGRAM_ASSIGN_OR_RETURN(const corpus::Dataset rows, ReadPart(dataset.training_path()));
    const std::string path = absl::StrCat(directory, "/earlier-", item.task(), ".jsonl");
    ENGRAM_RETURN_IF_ERROR(WriteFileAtomic(
        path, corpus::RenderCanonical(corpus::SelectRows(rows, DrawRows(rows.size(), kMostTrainingRows, seed)))));
    dataset.set_test_path(path);
  } else {
    dataset.set_test_path(dataset.validation_path());
    dataset.clear_validation_path();
  }
  ENGRAM_ASSIGN_OR_RETURN(const std::string digest, DigestOf(dataset));
  dataset.set_digest(digest);
  return item;
}

// The training at any strength of the search, without the strength.
absl::StatusOr<TrainWork> Trial(const TrainWork& work, const std::string& directory) {
  TrainWork trial = work;
  trial.clear_search();
  trial.clear_earlier();
  ENGRAM_ASSIGN_OR_RETURN(train::TrainOptions options,
                          train::ParseTrainOptions({work.options().begin(), work.options().end()}));
  for (const EvaluateWork::Item& earlier : work.search().earlier()) {
    ENGRAM_ASSIGN_OR_RETURN(*trial.add_earlier(), HeldOutOf(earlier, options.seed, directory));
  }
  // Without a test part the new task's figures are those of what is held out.
  RunDataset& dataset = *trial.mutable_dataset();
  dataset.clear_test_path();
  ENGRAM_ASSIGN_OR_RETURN(const std::string digest, DigestOf(dataset));
  dataset.set_digest(digest);
  if (dataset.validation_path().empty() && options.validation_fraction == 0) options.validation_fraction = kHeldOut;
  for (const auto& [key, value] : train::TrainOptionsToMap(options)) (*trial.mutable_options())[key] = value;
  return trial;
}

void SetStrength(const std::string& option, double value, TrainWork& work) {
  (*work.mutable_strategy_options())[option] = absl::StrFormat("%.17g", value);
}

// Which part of its data set an earlier task was measured on.
engram::v1::MeasuredPart PartOf(const TrainWork& work, const std::string& task) {
  for (const EvaluateWork::Item& item : work.search().earlier()) {
    if (item.task() == task && item.dataset().validation_path().empty()) return engram::v1::MEASURED_PART_TRAINING;
  }
  return engram::v1::MEASURED_PART_VALIDATION;
}

// What a training at one strength came to; `new_texts`: how many texts the new task was measured on.
absl::StatusOr<StrengthPoint> PointOf(const TrainWork& work, double strength, const JobResult& trained,
                                      int64_t& new_texts) {
  StrengthPoint point;
  point.set_strength(strength);
  new_texts = 0;
  double sum = 0;
  int64_t earlier = 0;
  for (const engram::v1::Metric& metric : trained.metrics()) {
    if (metric.metric() != "accuracy" && metric.metric() != "entity_f1") continue;
    engram::v1::Metric& copy = *point.add_metrics();
    copy = metric;
    copy.set_own_test_part(false);
    copy.clear_before();
    const std::string task = server::LastPart(metric.task());
    if (task == work.task()) {
      point.set_new_score(metric.value());
      new_texts = metric.count();
      continue;
    }
    copy.set_part(PartOf(work, task));
    sum += metric.value();
    ++earlier;
  }
  if (new_texts == 0 || earlier == 0) return absl::InternalError("a training of the search was not measured");
  point.set_earlier_score(sum / static_cast<double>(earlier));
  return point;
}

}  // namespace

absl::Status ChooseStrength(int64_t new_texts, StrengthSweep& sweep) {
  if (sweep.points_size() == 0 || new_texts < 1) return absl::InvalidArgumentError("there is nothing to choose from");
  double best = 0;
  for (const StrengthPoint& point : sweep.points()) best = std::max(best, point.new_score());
  sweep.set_tolerance(std::max(kLeastTolerance, std::sqrt(best * (1 - best) / static_cast<double>(new_texts))));
  const StrengthPoint* chosen = nullptr;
  for (const StrengthPoint& point : sweep.points()) {
    if (point.new_score() < best - sweep.tolerance() - kSameScore) continue;
    if (chosen == nullptr || point.earlier_score() > chosen->earlier_score() + kSameScore) chosen = &point;
  }
  sweep.set_chosen(chosen->strength());
  return absl::OkStatus();
}

RunResult TrainAtBestStrength(RunContext& context) {
  const TrainWork work = context.spec.train();
  const engram::worker::v1::StrengthSearch& search = work.search();
  context.Phase("loading");
  ENGRAM_RETURN_IF_ERROR(VerifyDataset(work.dataset()));
  ENGRAM_ASSIGN_OR_RETURN(const TrainWork trial, Trial(work, context.directory));
  StrengthSweep sweep;
  sweep.set_option(search.option());
  JobResult sums;
  int64_t new_texts = 0;
  for (int i = 0; i < search.values_size(); ++i) {
    const double strength = search.values(i);
    const std::string directory = absl::StrCat(context.directory, "/strength-", i + 1);
    const auto prepare = [&]() -> absl::StatusOr<RunContext> {
      TrainWork own = trial;
      SetStrength(search.option(), strength, own);
      return InnerRun(context, own, directory,
                      absl::StrFormat("%s %g (%d of %d)", search.option(), strength, i + 1, search.values_size()));
    };
    // What these trainings warn of the training at the strength that is chosen says, too; the rest is in the curve.
    ENGRAM_ASSIGN_OR_RETURN(const std::optional<JobResult> trained, TrainOnce(directory, prepare, nullptr));
    if (!trained) return std::nullopt;
    ENGRAM_ASSIGN_OR_RETURN(*sweep.add_points(), PointOf(work, strength, *trained, new_texts));
    AddEffort(*trained, sums);
  }
  ENGRAM_RETURN_IF_ERROR(ChooseStrength(new_texts, sweep));
  TrainWork last = work;
  last.clear_search();
  SetStrength(search.option(), sweep.chosen(), last);
  ENGRAM_ASSIGN_OR_RETURN(
      RunContext inner,
      InnerRun(context, last, context.directory, absl::StrFormat("%s %g, all rows", search.option(), sweep.chosen())));
  ENGRAM_ASSIGN_OR_RETURN(std::optional<JobResult> result, RunTraining(inner));
  TakeWarnings(inner, context);
  if (!result) return std::nullopt;
  AddEffort(sums, *result);
  *result->mutable_strength_sweep() = std::move(sweep);
  return result;
}

}  // namespace engram::worker
