#include <optional>

#include "core/nn/device.h"
#include "core/train/precision.h"
#include "server/worker/measure.h"
#include "server/worker/run.h"

namespace engram::worker {

RunResult RunEvaluation(RunContext& context) {
  context.Phase("loading");
  ENGRAM_ASSIGN_OR_RETURN(const at::Device device, nn::ParseDevice(context.spec.device()));
  nn::VersionOptions load;
  load.device = device;
  load.precision = train::ResolvePrecision(train::PrecisionChoice::kAuto, device);  // as it serves
  ENGRAM_ASSIGN_OR_RETURN(const nn::Version base, nn::LoadVersion(context.spec.base_directory(), load));
  ENGRAM_ASSIGN_OR_RETURN(const auto tokenizer, tokenize::LoadTokenizer(context.spec.base_directory()));
  engram::v1::JobResult result;
  for (const auto& item : context.spec.evaluate().items()) {
    const checkpoint::ManifestTask* const task = checkpoint::FindManifestTask(base.manifest, item.task());
    if (task == nullptr) return absl::NotFoundError("the version has not learned this task");
    ENGRAM_RETURN_IF_ERROR(VerifyDataset(item.dataset()));
    const auto& part = item.dataset().test_path().empty() ? item.dataset().training_path() : item.dataset().test_path();
    ENGRAM_ASSIGN_OR_RETURN(const corpus::Dataset dataset, ReadPart(part));
    ENGRAM_ASSIGN_OR_RETURN(const WorkDone done, Measure(context, *base.model, *task, *tokenizer, dataset, result));
    result.set_tokens(result.tokens() + done.tokens);
    result.set_work_seconds(result.work_seconds() + done.seconds);
  }
  return result;
}

}  // namespace engram::worker
