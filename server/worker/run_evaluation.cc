#include <optional>

#include "absl/strings/str_cat.h"
#include "core/nn/device.h"
#include "core/train/precision.h"
#include "core/train/task_router.h"
#include "server/worker/measure.h"
#include "server/worker/run.h"
#include "server/worker/stream_report.h"

namespace engram::worker {

RunResult RunEvaluation(RunContext& context) {
  context.Phase("loading");
  ENGRAM_ASSIGN_OR_RETURN(const at::Device device, nn::ParseDevice(context.spec.device()));
  nn::VersionOptions load;
  load.device = device;
  load.precision = train::ResolvePrecision(train::PrecisionChoice::kAuto, device);  // as it serves
  ENGRAM_ASSIGN_OR_RETURN(const nn::Version base, nn::LoadVersion(context.spec.base_directory(), load));
  ENGRAM_ASSIGN_OR_RETURN(const auto tokenizer, tokenize::LoadTokenizer(context.spec.base_directory()));
  Routing routing;
  ENGRAM_ASSIGN_OR_RETURN(routing.router, train::TaskRouter::Open(context.spec.base_directory()));
  routing.tasks = base.manifest.tasks;
  engram::v1::JobResult result;
  for (const auto& item : context.spec.evaluate().items()) {
    const checkpoint::ManifestTask* const task = checkpoint::FindManifestTask(base.manifest, item.task());
    if (task == nullptr) return absl::NotFoundError("the version has not learned this task");
    ENGRAM_RETURN_IF_ERROR(VerifyDataset(item.dataset()));
    const bool has_test = !item.dataset().test_path().empty();
    const auto& part = has_test ? item.dataset().test_path() : item.dataset().training_path();
    const bool own = item.dataset().digest() == task->dataset_digest;
    const MeasuredOn on = {has_test ? engram::v1::MEASURED_PART_TEST
                           : own    ? engram::v1::MEASURED_PART_TRAINING
                                    : engram::v1::MEASURED_PART_OTHER,
                           has_test && own, LabelsOf(item.dataset()), &routing};
    if (on.part == engram::v1::MEASURED_PART_TRAINING) {
      context.warnings.push_back(absl::StrCat(
          "TRAINING_ROWS: \"", task->name,
          "\" is measured on the rows that it was trained on, for its data set has no ",
          "test part: the figures say how well they were learned, not how good it is; upload a data set with a test ",
          "part and name it with --dataset"));
    }
    ENGRAM_ASSIGN_OR_RETURN(const corpus::Dataset dataset, ReadPart(part));
    ENGRAM_ASSIGN_OR_RETURN(const WorkDone done, Measure(context, *base.model, *task, *tokenizer, dataset, on, result));
    result.set_tokens(result.tokens() + done.tokens);
    result.set_work_seconds(result.work_seconds() + done.seconds);
  }
  checkpoint::VersionManifest manifest = base.manifest;
  continual::EnterEvaluation(StreamMeasurements(context.spec.base_metrics()), manifest);
  continual::EnterEvaluation(StreamMeasurements(result.metrics()), manifest);
  *result.mutable_stream_metrics() = DescribeStream(context.spec.model(), manifest);
  return result;
}

}  // namespace engram::worker
