#include "core/train/train_options.h"

#include "absl/strings/str_cat.h"
#include "core/base/struct_options.h"

namespace engram::train {
namespace {

constexpr int64_t kSmallestTokenBudget = 16;
constexpr double kLargestCount = 1e9;
constexpr double kMostTokens = 1 << 20;

// The one list of training options.
const StructOptions<TrainOptions>& List() {
  using O = TrainOptions;
  static const StructOptions<O> list =
      StructOptions<O>("training option")
          .Real("lr", &O::lr, LeftOpen(0, 1), "learning rate at its peak")
          .Whole("epochs", &O::epochs, Closed(1, 1000), "passes over the training part")
          .Whole("batch_size", &O::batch_size, Closed(0, 4096),
                 "most examples in a micro-batch; 0: batch_tokens alone bounds it")
          .Whole("batch_tokens", &O::batch_tokens, Closed(0, kMostTokens),
                 "most tokens in a micro-batch, at least 16; 0: batch_size alone bounds it")
          .Whole("accumulation", &O::accumulation, Closed(1, 1024), "micro-batches per optimizer step")
          .Choice("order", &O::order,
                  {{BatchOrder::kLengthGrouped, "length_grouped"},
                   {BatchOrder::kRandom, "random"},
                   {BatchOrder::kArrival, "arrival"}},
                  "which examples share a batch: those of like length (the fastest), random ones, or neighbours")
          .Choice("schedule", &O::schedule,
                  {{ScheduleKind::kConstant, "constant"},
                   {ScheduleKind::kLinear, "linear"},
                   {ScheduleKind::kCosine, "cosine"}},
                  "how the learning rate falls after the warm-up")
          .Real("warmup_ratio", &O::warmup_ratio, Closed(0, 1),
                "part of all steps in which the learning rate rises from 0")
          .Whole("warmup_steps", &O::warmup_steps, Closed(0, kLargestCount),
                 "steps of the warm-up; above 0 it overrides warmup_ratio")
          .Real("weight_decay", &O::weight_decay, Closed(0, 1),
                "decoupled weight decay of AdamW, of all but biases and LayerNorms")
          .Real("beta1", &O::beta1, Closed(0, 0.999999), "decay of AdamW's first moment")
          .Real("beta2", &O::beta2, Closed(0, 0.999999), "decay of AdamW's second moment")
          .Real("epsilon", &O::epsilon, LeftOpen(0, 1), "added to the root of AdamW's second moment")
          .Real("max_grad_norm", &O::max_grad_norm, Closed(0, 1e6),
                "longest gradient, in the Euclidean norm; longer ones are scaled down; 0: no clipping")
          .Real("dropout", &O::dropout, Closed(0, 0.9), "model",
                "probability of each of the encoder's dropouts; model: as config.json has them")
          .Choice("precision", &O::precision, PrecisionChoices(),
                  "of the encoder's products; auto: bf16 where the hardware multiplies it natively")
          .Seed("seed", &O::seed, "of everything random in the run")
          .Whole("max_length", &O::max_length, Closed(8, kMostTokens),
                 "tokens per text, special tokens included; longer texts are cut, or read in windows (long_texts)")
          .Real("validation_fraction", &O::validation_fraction, Closed(0, 0.5),
                "part of the training examples that is held out and measured on")
          .Whole("early_stopping_patience", &O::early_stopping_patience, Closed(0, 1000),
                 "evaluations without a better score before training stops; 0: off")
          .Whole("checkpoint_every_steps", &O::checkpoint_every_steps, Closed(0, kLargestCount),
                 "steps between two run checkpoints; 0: only when asked to stop")
          .Choice("class_weights", &O::class_weights,
                  {{ClassWeights::kNone, "none"}, {ClassWeights::kBalanced, "balanced"}},
                  "none: each text, or tagged word, counts alike; balanced: each class, or tag, counts alike, however "
                  "rare it is")
          .Real("unknown_as_outside", &O::unknown_as_outside, Closed(0, 1),
                "of named entities, part of the words that the data set leaves unknown which is learned as outside of "
                "entities, drawn anew for each step; no loss is taken of the others")
          .Choice(
              "long_texts", &O::long_texts, {{LongTexts::kCut, "cut"}, {LongTexts::kChunk, "chunk"}},
              "of classification, texts longer than max_length; cut: their beginnings are read; chunk: they are read "
              "whole, in windows of max_length whose logits are averaged by their tokens")
          .Flag(
              "router", &O::router,
              "count the tokens of the training texts, so that a call that names no task can be led to this one; what "
              "was counted for other tasks stays");
  return list;
}

}  // namespace

const std::vector<std::pair<PrecisionChoice, std::string>>& PrecisionChoices() {
  static const std::vector<std::pair<PrecisionChoice, std::string>> choices = {
      {PrecisionChoice::kAuto, "auto"}, {PrecisionChoice::kFloat32, "fp32"}, {PrecisionChoice::kBFloat16, "bf16"}};
  return choices;
}

const OptionTable& TrainOptionTable() {
  static const OptionTable table = List().table();
  return table;
}

absl::Status ValidateTrainOptions(const TrainOptions& options) {
  ENGRAM_RETURN_IF_ERROR(List().Check(options));
  if (options.batch_size == 0 && options.batch_tokens == 0) {
    return InvalidField("batch_size", "is 0, and so is batch_tokens; set one of them");
  }
  if (options.batch_tokens != 0 && options.batch_tokens < kSmallestTokenBudget) {
    return InvalidField("batch_tokens",
                        absl::StrCat("is ", options.batch_tokens, "; it must be 0 or at least ", kSmallestTokenBudget));
  }
  return absl::OkStatus();
}

absl::Status SetTrainOption(TrainOptions& options, std::string_view key, std::string_view value) {
  return List().Set(options, key, value);
}

absl::StatusOr<TrainOptions> ParseTrainOptions(const std::map<std::string, std::string>& texts) {
  TrainOptions options;
  for (const auto& [key, value] : texts) ENGRAM_RETURN_IF_ERROR(SetTrainOption(options, key, value));
  ENGRAM_RETURN_IF_ERROR(ValidateTrainOptions(options));
  return options;
}

std::map<std::string, std::string> TrainOptionsToMap(const TrainOptions& options) { return List().Render(options); }

std::map<std::string, std::string> ShowTrainOptions(const TrainOptions& options) { return List().Show(options); }

}  // namespace engram::train
