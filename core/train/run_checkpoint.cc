#include "core/train/run_checkpoint.h"

#include <cstdio>
#include <cstdlib>
#include <utility>

#include "ATen/ops/from_blob.h"
#include "absl/strings/str_cat.h"
#include "core/base/files.h"
#include "core/checkpoint/safetensors.h"
#include "nlohmann/json.hpp"

namespace engram::train {
namespace {

constexpr const char* kStrategyPrefix = "strategy.";

absl::Status Damaged(const std::string& what) { return absl::InvalidArgumentError("the run's checkpoint is damaged: " + what); }

// Doubles are written as hexadecimal floats: exact.
std::string Exact(double value) {
  char text[64];
  snprintf(text, sizeof text, "%a", value);
  return text;
}

}  // namespace

absl::Status WriteRunCheckpoint(const std::string& path, const RunState& state, const std::map<std::string, at::Tensor>& tensors,
                                const std::map<std::string, at::Tensor>& strategy) {
  std::vector<at::Tensor> host;
  std::vector<checkpoint::TensorToWrite> entries;
  const auto add = [&](const std::string& name, const at::Tensor& tensor) {
    if (!tensor.defined()) return;
    host.push_back(tensor.cpu().contiguous());
    entries.push_back({name, checkpoint::Dtype::kF32, {static_cast<uint64_t>(tensor.numel())},
                       {static_cast<const std::byte*>(host.back().const_data_ptr()), static_cast<size_t>(host.back().nbytes())}});
  };
  for (const auto& [name, tensor] : tensors) add(name, tensor);
  for (const auto& [name, tensor] : strategy) add(kStrategyPrefix + name, tensor);
  nlohmann::json losses = nlohmann::json::array();
  for (const double loss : state.reference_losses) losses.push_back(Exact(loss));
  const nlohmann::json json = {{"step", state.step},
                               {"evaluations_without_gain", state.evaluations_without_gain},
                               {"dead_penalty_steps", state.dead_penalty_steps},
                               {"best_validation_loss", Exact(state.best_validation_loss)},
                               {"reference_losses", losses}};
  return checkpoint::WriteSafetensors(path, std::move(entries), {{"run_state", json.dump()}});
}

absl::StatusOr<std::optional<RunCheckpoint>> ReadRunCheckpoint(const std::string& path, int64_t parameters) {
  if (!PathExists(path)) return std::nullopt;
  ENGRAM_ASSIGN_OR_RETURN(const checkpoint::SafetensorsFile file, checkpoint::SafetensorsFile::Open(path));
  RunCheckpoint result;
  auto text = file.metadata().find("run_state");
  const nlohmann::json json = text == file.metadata().end() ? nlohmann::json() : nlohmann::json::parse(text->second, nullptr, false);
  for (const char* key : {"step", "evaluations_without_gain", "dead_penalty_steps"}) {
    if (!json.is_object() || !json.contains(key) || !json[key].is_number_integer()) return Damaged(key);
  }
  if (!json.contains("best_validation_loss") || !json["best_validation_loss"].is_string()) return Damaged("best_validation_loss");
  result.state.step = json["step"].get<int64_t>();
  result.state.evaluations_without_gain = json["evaluations_without_gain"].get<int64_t>();
  result.state.dead_penalty_steps = json["dead_penalty_steps"].get<int64_t>();
  result.state.best_validation_loss = std::strtod(json["best_validation_loss"].get<std::string>().c_str(), nullptr);
  for (const nlohmann::json& loss : json.value("reference_losses", nlohmann::json::array())) {
    if (!loss.is_string()) return Damaged("reference_losses");
    result.state.reference_losses.push_back(std::strtod(loss.get<std::string>().c_str(), nullptr));
  }
  for (const auto& [name, entry] : file.tensors()) {
    if (entry.dtype != checkpoint::Dtype::kF32) return Damaged(name);
    const int64_t size = static_cast<int64_t>(entry.bytes.size() / sizeof(float));
    const bool of_strategy = name.starts_with(kStrategyPrefix);
    if (!of_strategy && size != parameters) return Damaged(absl::StrCat(name, " has ", size, " elements, the model ", parameters));
    at::Tensor copy = at::from_blob(const_cast<std::byte*>(entry.bytes.data()), {size}, at::kFloat).clone();
    (of_strategy ? result.strategy : result.tensors).emplace(of_strategy ? name.substr(std::string(kStrategyPrefix).size()) : name, copy);
  }
  for (const char* name : {"weights", "first_moment", "second_moment"}) {
    if (!result.tensors.contains(name)) return Damaged(name);
  }
  return result;
}

}  // namespace engram::train
