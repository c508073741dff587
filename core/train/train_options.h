#pragma once

// What a user can choose about training. The defaults work for MiniLM-sized encoders.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "ATen/core/Tensor.h"
#include "core/base/status.h"
#include "core/nn/parameter_buffer.h"
#include "core/train/adamw.h"
#include "core/train/batches.h"
#include "core/train/schedule.h"

namespace engram::train {

enum class PrecisionChoice { kAuto, kFloat32, kBFloat16 };

struct TrainOptions {
  double lr = 2e-4;          // (0, 1]
  int64_t epochs = 3;        // [1, 1000]
  int64_t batch_size = 32;   // [0, 4096]; 0: batch_tokens alone bounds a batch
  int64_t batch_tokens = 0;  // 0 (batch_size alone) or [16, 1048576]
  int64_t accumulation = 1;  // [1, 1024] micro-batches an optimizer step
  BatchOrder order = BatchOrder::kLengthGrouped;
  ScheduleKind schedule = ScheduleKind::kLinear;
  double warmup_ratio = 0.06;         // [0, 1] of all steps
  int64_t warmup_steps = 0;           // [0, 10^9]; > 0 overrides warmup_ratio
  double weight_decay = 0.01;         // [0, 1]
  double beta1 = 0.9, beta2 = 0.999;  // [0, 1)
  double epsilon = 1e-8;              // (0, 1]
  double max_grad_norm = 1.0;         // [0, 10^6]; 0: no clipping
  std::optional<double> dropout;      // [0, 0.9]; overrides all three of config.json. Applied where the model is loaded
                                      // (nn::LoadOptions::dropout), not by the trainer.
  PrecisionChoice precision = PrecisionChoice::kAuto;  // applied where the model is made: ResolvePrecision
  uint64_t seed = 0;
  int64_t max_length =
      128;  // [8, 1048576] tokens a text, special tokens included; longer texts are cut where they are tokenized
  double validation_fraction = 0;  // [0, 0.5] of the training examples, held out if no validation examples are given
  int64_t early_stopping_patience = 0;  // [0, 1000] evaluations without a better score; 0: off
  int64_t checkpoint_every_steps = 0;   // [0, 10^9]; 0: only when asked to stop
};

// INVALID_ARGUMENT naming the field and its range.
absl::Status ValidateTrainOptions(const TrainOptions& options);

// Options under the names above ("lr", "batch_size", ...), as they come from `--set key=value` and as they are stored
// with a run; no dropout override is "model". with a run. INVALID_ARGUMENT for an unknown key or a value that does not
// parse; ranges are checked by ValidateTrainOptions.
absl::Status SetTrainOption(TrainOptions& options, std::string_view key, std::string_view value);
// Every option, so that SetTrainOption of all of them gives the same struct back to the bit.
std::map<std::string, std::string> TrainOptionsToMap(const TrainOptions& options);

// kAuto: bf16 where the hardware multiplies bf16 natively (CUDA; CPUs with AMX or AVX512-BF16), else fp32.
nn::Precision ResolvePrecision(PrecisionChoice choice, at::Device device);

}  // namespace engram::train
