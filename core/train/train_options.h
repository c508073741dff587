#pragma once

// What a user can choose about training. The defaults work for MiniLM-sized encoders. Names, ranges and meanings stand
// in one table (TrainOptionList), from which parsing, checks, help and documentation are made.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/base/options.h"
#include "core/base/status.h"
#include "core/train/batches.h"
#include "core/train/schedule.h"

namespace engram::train {

// kAuto: decided where the model is made (core/train/precision.h).
enum class PrecisionChoice { kAuto, kFloat32, kBFloat16 };
// With the names that users write: auto, fp32, bf16.
const std::vector<std::pair<PrecisionChoice, std::string>>& PrecisionChoices();

// How classes, or tags, count in the loss: each unit alike, or each class alike (BalancedClassWeights).
enum class ClassWeights { kNone, kBalanced };

// What becomes of texts to be classified that are longer than max_length: cut to their beginnings, or read whole, in
// windows of max_length tokens (nn::Sequence::windows).
enum class LongTexts { kCut, kChunk };

struct TrainOptions {
  double lr = 2e-4;
  int64_t epochs = 3;
  int64_t batch_size = 32;
  int64_t batch_tokens = 0;
  int64_t accumulation = 1;
  BatchOrder order = BatchOrder::kLengthGrouped;
  ScheduleKind schedule = ScheduleKind::kLinear;
  double warmup_ratio = 0.06;
  int64_t warmup_steps = 0;
  double weight_decay = 0.01;
  double beta1 = 0.9, beta2 = 0.999;
  double epsilon = 1e-8;
  double max_grad_norm = 1.0;
  std::optional<double> dropout;  // applied where the model is loaded (nn::LoadOptions::dropout), not by the trainer
  PrecisionChoice precision = PrecisionChoice::kAuto;  // applied where the model is made, not by the trainer
  uint64_t seed = 0;
  int64_t max_length = 128;  // applied where texts are tokenized
  double validation_fraction = 0;
  int64_t early_stopping_patience = 0;
  int64_t checkpoint_every_steps = 0;
  ClassWeights class_weights = ClassWeights::kNone;
  double unknown_as_outside = 0.35;        // applied where the task is described (TaskSpec::missing_as_outside)
  LongTexts long_texts = LongTexts::kCut;  // applied where texts are tokenized
  bool router = false;  // applied where the version is written (core/train/task_router.h), not by the trainer
};

// Name, type, default, range and meaning of each member, under the member's own name.
const OptionTable& TrainOptionTable();

// INVALID_ARGUMENT naming the field and its range; also for a batch that nothing bounds.
absl::Status ValidateTrainOptions(const TrainOptions& options);

// One option by name and text, as it comes from `--set key=value` or is stored with a run. INVALID_ARGUMENT for an
// unknown name (the nearest known one is named) or a value that may not stand there.
absl::Status SetTrainOption(TrainOptions& options, std::string_view key, std::string_view value);
// The defaults with these options set, validated.
absl::StatusOr<TrainOptions> ParseTrainOptions(const std::map<std::string, std::string>& texts);
// Every option, so that SetTrainOption of all of them gives the same struct back to the bit.
std::map<std::string, std::string> TrainOptionsToMap(const TrainOptions& options);
// The same as somebody would write it ("0.1").
std::map<std::string, std::string> ShowTrainOptions(const TrainOptions& options);

}  // namespace engram::train
