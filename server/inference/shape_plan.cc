#include "server/inference/shape_plan.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <string>
#include <utility>

#include "ATen/Parallel.h"
#include "ATen/ops/mm.h"
#include "ATen/ops/ones.h"
#include "absl/strings/str_cat.h"
#include "c10/core/InferenceMode.h"
#include "core/base/process.h"
#include "core/checkpoint/model_config.h"
#include "core/checkpoint/tensor_names.h"
#include "core/longcontext/long_positions.h"
#include "core/longcontext/stream_cost.h"
#include "core/nn/device.h"
#include "core/nn/encoder_cost.h"
#include "core/nn/model_io.h"

namespace engram::server {
namespace {

using engram::v1::LongContextEncodeRequest;

constexpr size_t kMostConfigBytes = 1 << 20;

// What a text would be read on.
struct Machine {
  bool on_cpu = true;
  int64_t element = 4;  // bytes of a number of the compute dtype
  int64_t threads = 1;
  std::optional<int64_t> free_bytes;
  // Operations (a multiplication, an addition) in a second.
  double linear_rate = 0, attention_rate = 0;
};

// Of one product of matrices in fp32, of a size that caches do not hold.
double MeasuredRate() {
  constexpr int64_t kSize = 1024, kTimes = 4;
  const c10::InferenceMode inference;
  const at::Tensor a = at::ones({kSize, kSize}, at::kFloat), b = at::ones({kSize, kSize}, at::kFloat);
  at::mm(a, b);  // the first one makes its kernel
  const auto start = std::chrono::steady_clock::now();
  for (int64_t i = 0; i < kTimes; ++i) at::mm(a, b);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return 2.0 * kSize * kSize * kSize * kTimes / std::max(seconds, 1e-9);
}

// Rates that are reached on it, published: products of large matrices 600 TFLOP/s, FlashAttention-2 370 with heads of 128
// and 320 with heads of 64 (arXiv 2407.08608, figure 5).
Machine H100(const nn::EncoderConfig& config) {
  return {.on_cpu = false,
          .element = 2,
          .free_bytes = int64_t{80'000'000'000},
          .linear_rate = 600e12,
          .attention_rate = config.head_width() >= 128 ? 370e12 : 320e12};
}

absl::StatusOr<Machine> MachineOf(const LongContextEncodeRequest& request, const nn::EncoderConfig& config,
                                  int64_t window) {
  if (request.device().empty()) {
    Machine machine{.threads = at::get_num_threads(), .free_bytes = FreeMemory()};
    machine.linear_rate = machine.attention_rate = MeasuredRate();
    return machine;
  }
  if (request.device() != "h100") return InvalidField("device", "must be h100, or empty for this machine");
  if (window > 0 || !config.windows.empty() || config.family->names.relative_positions != nullptr)
    return InvalidField("device", "reads no windows and no tables of distances: they are computed on the CPU alone");
  return H100(config);
}

absl::Status CheckRequest(const LongContextEncodeRequest& request) {
  if (!request.validate_only()) return InvalidField("config_json", "goes with validate_only: there are no weights");
  if (!request.model().empty() || !request.version().empty())
    return InvalidField("model", "does not go with config_json, which stands for it");
  if (!request.text().empty()) return InvalidField("text", "does not go with config_json: set plan_tokens");
  if (request.plan_tokens() < 1 || request.plan_tokens() > int64_t{1} << 30)
    return InvalidField("plan_tokens", absl::StrCat("is ", request.plan_tokens(), "; it must lie in [1, 2^30]"));
  if (request.mode() != engram::v1::LONG_CONTEXT_MODE_FULL && request.mode() != engram::v1::LONG_CONTEXT_MODE_SLIDING)
    return InvalidField("mode", "must be full or sliding with config_json");
  if (request.config_json().size() > kMostConfigBytes)
    return InvalidField("config_json", absl::StrCat("has more than ", kMostConfigBytes, " bytes"));
  return absl::OkStatus();
}

absl::StatusOr<nn::EncoderConfig> ConfigOf(const LongContextEncodeRequest& request) {
  ENGRAM_ASSIGN_OR_RETURN(const checkpoint::ModelConfig parsed, checkpoint::ParseModelConfig(request.config_json()));
  ENGRAM_ASSIGN_OR_RETURN(nn::EncoderConfig config, nn::ToEncoderConfig(parsed));
  ENGRAM_RETURN_IF_ERROR(nn::CheckEncoderConfig(config));
  return config;
}

absl::StatusOr<int64_t> Window(const LongContextEncodeRequest& request, const nn::EncoderConfig& config) {
  if (request.mode() == engram::v1::LONG_CONTEXT_MODE_FULL) {
    if (request.window_tokens() != 0) return InvalidField("window_tokens", "goes with the mode sliding");
    return int64_t{0};
  }
  if (request.window_tokens() < 0 || request.window_tokens() > 4096)
    return InvalidField("window_tokens", absl::StrCat("is ", request.window_tokens(), "; it must lie in [0, 4096]"));
  return request.window_tokens() > 0 ? request.window_tokens() : std::max<int64_t>(1, config.max_length() / 2);
}

// The encoder's numbers, the optional pooler left out.
int64_t Parameters(const nn::EncoderConfig& config) {
  int64_t parameters = 0;
  for (const checkpoint::ExpectedTensor& tensor : checkpoint::EncoderTensors(config)) {
    int64_t elements = tensor.required ? 1 : 0;
    for (const int64_t extent : tensor.shape) elements *= extent;
    parameters += elements;
  }
  return parameters;
}

absl::StatusOr<std::optional<nn::PositionPlan>> Asked(const LongContextEncodeRequest& request) {
  if (!engram::v1::PositionExtension_IsValid(request.positions())) return InvalidField("positions", "is not known");
  if (request.positions() == engram::v1::POSITION_EXTENSION_UNSPECIFIED) return std::optional<nn::PositionPlan>();
  return std::optional(nn::PositionPlan{static_cast<nn::PositionMode>(request.positions()), request.position_factor()});
}

void FillPlan(const nn::EncoderConfig& config, const Machine& machine, int64_t tokens, int64_t window, int64_t longest,
              engram::v1::LongContextPlan& plan) {
  const double rows = 2 * nn::ProductsPerToken(config) / static_cast<double>(config.layers);
  const longcontext::StreamSpeed speed{rows / machine.linear_rate,
                                       4.0 * static_cast<double>(config.query_width()) / machine.attention_rate};
  const auto bytes = [&](int64_t length) {
    return longcontext::StreamPeakBytes(config, machine.element, machine.threads, machine.on_cpu, length, window);
  };
  double attention = 0;
  plan.set_tokens(tokens);
  plan.set_tokens_encoded(tokens);
  plan.set_windows(1);
  plan.set_seconds(longcontext::StreamSeconds(config, tokens, window, speed, &attention));
  plan.set_attention_seconds(attention);
  plan.set_bytes(bytes(tokens));
  plan.set_weight_bytes(Parameters(config) * machine.element);
  if (!machine.free_bytes) return;
  const int64_t left = std::max<int64_t>(0, *machine.free_bytes - plan.weight_bytes());
  plan.set_free_bytes(left);
  plan.set_largest_tokens(longcontext::LargestBy(bytes, left, longest));
}

}  // namespace

absl::Status PlanShape(const LongContextEncodeRequest& request, engram::v1::LongContextEncodeResponse& response) {
  ENGRAM_RETURN_IF_ERROR(CheckRequest(request));
  ENGRAM_ASSIGN_OR_RETURN(const nn::EncoderConfig config, ConfigOf(request));
  ENGRAM_ASSIGN_OR_RETURN(const int64_t window, Window(request, config));
  ENGRAM_ASSIGN_OR_RETURN(const std::optional<nn::PositionPlan> asked, Asked(request));
  ENGRAM_ASSIGN_OR_RETURN(const longcontext::LongPositions positions,
                          longcontext::ChoosePositions(config, asked, request.plan_tokens(), window));
  response.set_mode(request.mode());
  response.set_positions(static_cast<engram::v1::PositionExtension>(positions.plan.mode));
  response.set_position_factor(positions.factor);
  response.set_out_of_trained_range(positions.out_of_trained_range);
  return nn::GuardTorch([&]() -> absl::Status {
    ENGRAM_ASSIGN_OR_RETURN(const Machine machine, MachineOf(request, config, window));
    FillPlan(config, machine, request.plan_tokens(), window, longcontext::LongestText(config, asked),
             *response.mutable_plan());
    return absl::OkStatus();
  });
}

}  // namespace engram::server
