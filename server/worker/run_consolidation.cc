#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/continual/consolidation.h"
#include "core/continual/importance.h"
#include "core/examples/examples.h"
#include "core/nn/device.h"
#include "server/worker/guard_rails.h"
#include "server/worker/measure.h"
#include "server/worker/run.h"
#include "server/worker/stream_report.h"

namespace engram::worker {
namespace {

using engram::worker::v1::ConsolidateWork;

void Record(const continual::Consolidation& consolidation, checkpoint::VersionManifest& manifest) {
  checkpoint::ManifestConsolidation entry;
  entry.task = consolidation.task;
  entry.fisher = continual::ImportanceKindName(consolidation.kind);
  entry.samples = consolidation.samples;
  entry.training_examples = consolidation.training_examples;
  std::erase_if(manifest.consolidations, [&](const auto& known) { return known.task == entry.task; });
  manifest.consolidations.push_back(std::move(entry));
}

absl::StatusOr<continual::Consolidation> Consolidate(RunContext& context, nn::Model& model,
                                                     const checkpoint::ManifestTask& task,
                                                     const tokenize::Tokenizer& tokenizer,
                                                     engram::v1::JobResult& result) {
  const ConsolidateWork& work = context.spec.consolidate();
  ENGRAM_RETURN_IF_ERROR(VerifyDataset(work.dataset()));
  ENGRAM_ASSIGN_OR_RETURN(const corpus::Dataset training, ReadPart(work.dataset().training_path()));
  const int64_t max_length = task.chunk_tokens > 0 ? task.chunk_tokens : model.config().max_length();
  ENGRAM_ASSIGN_OR_RETURN(const examples::ExampleSet examples,
                          examples::MakeExamples(training, task.kind, task.labels, max_length, tokenizer,
                                                 model.config().type_vocab_size, task.tag_scheme, LongTextsOf(task)));
  context.WarnIfAny(examples::CutWarning(examples.cut, examples.texts(), "training texts", max_length, max_length));
  continual::ImportanceOptions options;
  ENGRAM_ASSIGN_OR_RETURN(options.kind, continual::ParseImportanceKind(work.fisher()));
  options.samples = work.samples();
  options.seed = work.seed();
  ENGRAM_ASSIGN_OR_RETURN(const train::TaskSpec spec, MakeTaskSpec(task, tokenizer));
  options.masking = spec.masking;
  const absl::Time start = Clock::Real().Now();
  ENGRAM_ASSIGN_OR_RETURN(
      continual::Importance importance,
      continual::ComputeImportance(model, task.name, examples.examples, options, context.Counter("importance")));
  result.set_work_seconds(absl::ToDoubleSeconds(Clock::Real().Now() - start));
  result.set_tokens(importance.samples * examples::TotalTokens(examples.examples) / importance.training_examples);
  result.set_fisher_trace(importance.trace);
  result.set_fisher_samples(importance.samples);
  context.WarnIfAny(PointlessImportance(task.name, importance));
  continual::Consolidation consolidation;
  consolidation.task = task.name;
  consolidation.kind = options.kind;
  consolidation.samples = importance.samples;
  consolidation.training_examples = importance.training_examples;
  consolidation.dataset_digest = work.dataset().digest();
  consolidation.seed = work.seed();
  consolidation.fisher = std::move(importance.fisher);
  consolidation.anchor = continual::EncoderWeights(model);
  return consolidation;
}

}  // namespace

RunResult RunConsolidation(RunContext& context) {
  context.Phase("loading");
  ENGRAM_ASSIGN_OR_RETURN(const at::Device device, nn::ParseDevice(context.spec.device()));
  nn::VersionOptions load;
  load.device = device;
  load.precision = nn::Precision::kFloat32;  // a Fisher is a sum of squares: fp32 from end to end
  ENGRAM_ASSIGN_OR_RETURN(nn::Version base, nn::LoadVersion(context.spec.base_directory(), load));
  ENGRAM_ASSIGN_OR_RETURN(const auto tokenizer, tokenize::LoadTokenizer(context.spec.base_directory()));
  const checkpoint::ManifestTask* const task =
      checkpoint::FindManifestTask(base.manifest, context.spec.consolidate().task());
  if (task == nullptr) return absl::NotFoundError("the version has not learned this task");

  engram::v1::JobResult result;
  ENGRAM_ASSIGN_OR_RETURN(const continual::Consolidation made,
                          Consolidate(context, *base.model, *task, *tokenizer, result));
  const std::string source = absl::StrCat(context.spec.base_directory(), "/", checkpoint::kContinualFile);
  ENGRAM_ASSIGN_OR_RETURN(std::vector<continual::Consolidation> all,
                          continual::LoadConsolidations(source, *base.model));
  // Taken again, a task's consolidation replaces the earlier one: it holds for the weights as they are now.
  std::erase_if(all, [&](const auto& known) { return known.task == made.task; });
  all.push_back(made);

  context.Phase("saving");
  ENGRAM_RETURN_IF_ERROR(
      continual::SaveConsolidations(absl::StrCat(context.output(), "/", checkpoint::kContinualFile), *base.model, all));
  Record(made, base.manifest);
  continual::EnterEvaluation(StreamMeasurements(context.spec.base_metrics()), base.manifest);
  base.manifest.parent = context.spec.base_version();
  base.manifest.version = context.spec.version();
  base.manifest.created = absl::FormatTime("%Y-%m-%d%ET%H:%M:%SZ", Clock::Real().Now(), absl::UTCTimeZone());
  base.manifest.seeds["importance"] = made.seed;
  std::vector<std::string> kept = nn::MemoryFiles(base.manifest);
  std::erase(kept, checkpoint::kContinualFile);
  ENGRAM_RETURN_IF_ERROR(nn::SaveVersion(*base.model, base.config_text, context.spec.base_directory(), kept,
                                         base.manifest, context.output()));
  return result;
}

}  // namespace engram::worker
