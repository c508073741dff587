#include "core/train/train_options.h"

#include <cmath>
#include <cstdio>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/nn/device.h"

namespace engram::train {
namespace {

struct RealField {
  const char* name;
  double TrainOptions::*member;
  double low, high;
  bool low_excluded;
};
constexpr RealField kRealFields[] = {
    {"lr", &TrainOptions::lr, 0, 1, true},
    {"warmup_ratio", &TrainOptions::warmup_ratio, 0, 1, false},
    {"weight_decay", &TrainOptions::weight_decay, 0, 1, false},
    {"beta1", &TrainOptions::beta1, 0, 0.999999, false},
    {"beta2", &TrainOptions::beta2, 0, 0.999999, false},
    {"epsilon", &TrainOptions::epsilon, 0, 1, true},
    {"max_grad_norm", &TrainOptions::max_grad_norm, 0, 1e6, false},
    {"validation_fraction", &TrainOptions::validation_fraction, 0, 0.5, false},
};

struct WholeField {
  const char* name;
  int64_t TrainOptions::*member;
  int64_t low, high;
};
constexpr WholeField kWholeFields[] = {
    {"epochs", &TrainOptions::epochs, 1, 1000},
    {"batch_size", &TrainOptions::batch_size, 0, 4096},
    {"batch_tokens", &TrainOptions::batch_tokens, 0, 1 << 20},
    {"accumulation", &TrainOptions::accumulation, 1, 1024},
    {"warmup_steps", &TrainOptions::warmup_steps, 0, 1'000'000'000},
    {"max_length", &TrainOptions::max_length, 8, 1 << 20},
    {"early_stopping_patience", &TrainOptions::early_stopping_patience, 0, 1000},
    {"checkpoint_every_steps", &TrainOptions::checkpoint_every_steps, 0, 1'000'000'000},
};

constexpr int64_t kSmallestTokenBudget = 16;
constexpr double kLargestDropout = 0.9;
constexpr const char* kNoOverride = "model";  // "dropout" as text: the model's own

// The shortest text that parses back to the same double.
std::string Exact(double value) {
  char text[32];
  snprintf(text, sizeof text, "%.17g", value);
  return text;
}

absl::StatusOr<PrecisionChoice> ParsePrecision(std::string_view name) {
  if (name == "auto") return PrecisionChoice::kAuto;
  if (name == "fp32") return PrecisionChoice::kFloat32;
  if (name == "bf16") return PrecisionChoice::kBFloat16;
  return InvalidField("precision", absl::StrCat("\"", AbslView(name), "\" is unknown; choose auto, fp32 or bf16"));
}

const char* PrecisionName(PrecisionChoice precision) {
  switch (precision) {
    case PrecisionChoice::kFloat32:
      return "fp32";
    case PrecisionChoice::kBFloat16:
      return "bf16";
    case PrecisionChoice::kAuto:
      break;
  }
  return "auto";
}

absl::Status NotANumber(std::string_view key, std::string_view value, const char* kind) {
  return InvalidField(key, absl::StrCat("\"", AbslView(value), "\" is not ", kind));
}

absl::Status SetReal(std::string_view key, std::string_view value, double& target) {
  return absl::SimpleAtod(AbslView(value), &target) ? absl::OkStatus() : NotANumber(key, value, "a number");
}

absl::Status SetDropout(std::string_view value, std::optional<double>& target) {
  if (value == kNoOverride) {
    target.reset();
    return absl::OkStatus();
  }
  return SetReal("dropout", value, target.emplace());
}

absl::Status UnknownOption(std::string_view key) {
  std::vector<std::string> known;
  for (const auto& [name, unused] : TrainOptionsToMap({})) known.push_back(name);
  return InvalidField(key, absl::StrCat("is no training option; the options are ", absl::StrJoin(known, ", ")));
}

}  // namespace

absl::Status ValidateTrainOptions(const TrainOptions& options) {
  for (const RealField& field : kRealFields) {
    const double value = options.*field.member;
    // Written so that NaN fails.
    if ((field.low_excluded ? value > field.low : value >= field.low) && value <= field.high) continue;
    return InvalidField(field.name, absl::StrCat("is ", value, "; it must lie in ", field.low_excluded ? "(" : "[",
                                                 field.low, ", ", field.high, "]"));
  }
  for (const WholeField& field : kWholeFields) {
    const int64_t value = options.*field.member;
    if (value >= field.low && value <= field.high) continue;
    return InvalidField(field.name, absl::StrCat("is ", value, "; it must lie in [", field.low, ", ", field.high, "]"));
  }
  if (options.batch_size == 0 && options.batch_tokens == 0) {
    return InvalidField("batch_size", "is 0, and so is batch_tokens; set one of them");
  }
  if (options.batch_tokens != 0 && options.batch_tokens < kSmallestTokenBudget) {
    return InvalidField("batch_tokens",
                        absl::StrCat("is ", options.batch_tokens, "; it must be 0 or at least ", kSmallestTokenBudget));
  }
  if (options.dropout && !(*options.dropout >= 0 && *options.dropout <= kLargestDropout)) {
    return InvalidField("dropout",
                        absl::StrCat("is ", *options.dropout, "; it must lie in [0, ", kLargestDropout, "]"));
  }
  return absl::OkStatus();
}

absl::Status SetTrainOption(TrainOptions& options, std::string_view key, std::string_view value) {
  for (const RealField& field : kRealFields) {
    if (key == field.name) return SetReal(key, value, options.*field.member);
  }
  for (const WholeField& field : kWholeFields) {
    if (key != field.name) continue;
    return absl::SimpleAtoi(AbslView(value), &(options.*field.member)) ? absl::OkStatus()
                                                                       : NotANumber(key, value, "a whole number");
  }
  if (key == "seed") {
    return absl::SimpleAtoi(AbslView(value), &options.seed) ? absl::OkStatus()
                                                            : NotANumber(key, value, "a whole number from 0 up");
  }
  if (key == "dropout") return SetDropout(value, options.dropout);
  if (key == "order") {
    ENGRAM_ASSIGN_OR_RETURN(options.order, ParseBatchOrder(value));
    return absl::OkStatus();
  }
  if (key == "schedule") {
    ENGRAM_ASSIGN_OR_RETURN(options.schedule, ParseScheduleKind(value));
    return absl::OkStatus();
  }
  if (key == "precision") {
    ENGRAM_ASSIGN_OR_RETURN(options.precision, ParsePrecision(value));
    return absl::OkStatus();
  }
  return UnknownOption(key);
}

std::map<std::string, std::string> TrainOptionsToMap(const TrainOptions& options) {
  std::map<std::string, std::string> map;
  for (const RealField& field : kRealFields) map[field.name] = Exact(options.*field.member);
  for (const WholeField& field : kWholeFields) map[field.name] = absl::StrCat(options.*field.member);
  map["seed"] = absl::StrCat(options.seed);
  map["dropout"] = options.dropout ? Exact(*options.dropout) : kNoOverride;
  map["order"] = BatchOrderName(options.order);
  map["schedule"] = ScheduleKindName(options.schedule);
  map["precision"] = PrecisionName(options.precision);
  return map;
}

nn::Precision ResolvePrecision(PrecisionChoice choice, at::Device device) {
  if (choice == PrecisionChoice::kAuto) {
    choice = nn::MultipliesBFloat16(device) ? PrecisionChoice::kBFloat16 : PrecisionChoice::kFloat32;
  }
  return choice == PrecisionChoice::kBFloat16 ? nn::Precision::kBFloat16 : nn::Precision::kFloat32;
}

}  // namespace engram::train
