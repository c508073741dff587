#include "core/train/fingerprint.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/base/files.h"

namespace engram::train {
namespace {

template <typename T>
void AppendVector(std::string& bytes, const std::vector<T>& values) {
  absl::StrAppend(&bytes, values.size(), ":");
  bytes.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
}

std::string Digest(std::span<const TrainingExample> examples) {
  std::string bytes;
  for (const TrainingExample& example : examples) {
    AppendVector(bytes, example.sequence.ids);
    AppendVector(bytes, example.sequence.type_ids);
    AppendVector(bytes, example.tags);
    if (!example.missing.empty()) AppendVector(bytes, example.missing);
    for (const nn::TextWindow& window : example.sequence.windows)
      absl::StrAppend(&bytes, window.tokens, "/", window.counted, ",");
    absl::StrAppend(&bytes, example.label, ";");
  }
  return Sha256Hex(bytes);
}

}  // namespace

std::string RunFingerprint(const TrainOptions& options, const TaskSpec& task, const StrategyIdentity& strategy,
                           std::span<const TrainingExample> training, std::span<const TrainingExample> validation,
                           const nn::ParameterBuffer& parameters, std::span<const nn::SlotId> trainable) {
  std::string text =
      absl::StrCat("task ", task.name, " ", static_cast<int>(task.kind), " ", task.labels, "\nstrategy ",
                   AbslView(strategy.name), "\nprecision ", static_cast<int>(parameters.precision()), "\n");
  if (task.masking) {
    absl::StrAppend(&text, "masking ", task.masking->mask_token_id, " ", task.masking->vocab_size, " ",
                    task.masking->probability, " ", absl::StrJoin(task.masking->special_ids, ","), "\n");
  }
  for (const auto& [name, value] : strategy.options) absl::StrAppend(&text, "strategy.", name, "=", value, "\n");
  for (const auto& [name, value] : TrainOptionsToMap(options)) {
    if (name != "checkpoint_every_steps") absl::StrAppend(&text, name, "=", value, "\n");
  }
  absl::StrAppend(&text, "training ", Digest(training), "\nvalidation ", Digest(validation), "\n");
  for (const nn::ParameterSlice& slice : parameters.slices()) {
    absl::StrAppend(&text, slice.name, " ", absl::StrJoin(slice.shape, "x"), "\n");
  }
  absl::StrAppend(&text, "trained ", absl::StrJoin(trainable, ","), "\n");
  return Sha256Hex(text);
}

}  // namespace engram::train
