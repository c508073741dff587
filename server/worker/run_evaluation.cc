#include <algorithm>
#include <optional>

#include "core/nn/device.h"
#include "core/train/train_options.h"
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
    const auto task = std::find_if(base.manifest.tasks.begin(), base.manifest.tasks.end(),
                                   [&](const auto& known) { return known.name == item.task(); });
    if (task == base.manifest.tasks.end()) return absl::NotFoundError("the version has not learned this task");
    const auto& part = item.dataset().test_path().empty() ? item.dataset().training_path() : item.dataset().test_path();
    ENGRAM_ASSIGN_OR_RETURN(const corpus::Dataset dataset, ReadPart(part));
    ENGRAM_RETURN_IF_ERROR(Measure(context, *base.model, *task, *tokenizer, dataset, result));
  }
  return result;
}

}  // namespace engram::worker
