#include "core/train/run_checkpoint.h"

#include <cstring>
#include <utility>

#include "ATen/ops/empty_like.h"
#include "ATen/ops/from_blob.h"
#include "absl/strings/str_cat.h"
#include "core/base/files.h"
#include "core/checkpoint/safetensors.h"
#include "core/nn/tensor_file.h"
#include "nlohmann/json.hpp"

namespace engram::train {
namespace {

using checkpoint::Dtype;
using checkpoint::SafetensorsFile;
using checkpoint::TensorEntry;

constexpr const char* kRunKey = "run";
constexpr const char* kFingerprintKey = "fingerprint";
constexpr const char* kStrategyPrefix = "strategy.";

absl::Status Damaged(const std::string& what) {
  return StatusWithReason(absl::StatusCode::kDataLoss, "CHECKPOINT_DAMAGED",
                          absl::StrCat("the run's checkpoint is damaged (", what, "); start the task again"));
}

// nlohmann writes doubles so that they read back to the same bits.
nlohmann::json ToJson(const RunState& s) {
  return {{"epoch", s.epoch},
          {"step_in_epoch", s.step_in_epoch},
          {"step", s.step},
          {"micro_batch", s.micro_batch},
          {"tokens", s.tokens},
          {"epoch_loss", s.epoch_loss},
          {"epoch_units", s.epoch_units},
          {"last_epoch_loss", s.last_epoch_loss},
          {"has_best", s.has_best},
          {"best_score", s.best_score},
          {"best_loss", s.best_loss},
          {"best_epoch", s.best_epoch},
          {"evaluations_without_gain", s.evaluations_without_gain},
          {"dead_steps", s.dead_steps},
          {"dead_penalty", s.dead_penalty},
          {"penalty_share", s.penalty_share},
          {"divergence", s.divergence}};
}

template <typename T>
bool Read(const nlohmann::json& json, const char* key, T& target) {
  const auto entry = json.find(key);
  if (entry == json.end()) return false;
  if constexpr (std::is_same_v<T, bool>) {
    if (!entry->is_boolean()) return false;
  } else if constexpr (std::is_integral_v<T>) {
    if (!entry->is_number_integer()) return false;
  } else if constexpr (std::is_floating_point_v<T>) {
    if (!entry->is_number()) return false;
  } else {
    if (!entry->is_array()) return false;
    for (const nlohmann::json& element : *entry) {
      if (!element.is_number()) return false;
    }
  }
  target = entry->get<T>();
  return true;
}

absl::StatusOr<RunState> FromJson(const std::string& text) {
  const nlohmann::json json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return Damaged("its state does not parse");
  RunState s;
  const bool complete = Read(json, "epoch", s.epoch) && Read(json, "step_in_epoch", s.step_in_epoch) &&
                        Read(json, "step", s.step) && Read(json, "micro_batch", s.micro_batch) &&
                        Read(json, "tokens", s.tokens) && Read(json, "epoch_loss", s.epoch_loss) &&
                        Read(json, "epoch_units", s.epoch_units) && Read(json, "last_epoch_loss", s.last_epoch_loss) &&
                        Read(json, "has_best", s.has_best) && Read(json, "best_score", s.best_score) &&
                        Read(json, "best_loss", s.best_loss) && Read(json, "best_epoch", s.best_epoch) &&
                        Read(json, "evaluations_without_gain", s.evaluations_without_gain) &&
                        Read(json, "dead_steps", s.dead_steps) && Read(json, "dead_penalty", s.dead_penalty) &&
                        Read(json, "divergence", s.divergence) &&
                        // Not in checkpoints of earlier versions of this program.
                        (!json.contains("penalty_share") || Read(json, "penalty_share", s.penalty_share));
  if (!complete) return Damaged("its state is incomplete");
  if (s.epoch < 0 || s.step_in_epoch < 0 || s.step < 0 || s.micro_batch < 0)
    return Damaged("its state is out of range");
  return s;
}

// Copies one tensor of N numbers into `target`, which has them already.
absl::Status FillFlat(const SafetensorsFile& file, const char* name, const at::Tensor& target) {
  const TensorEntry* entry = file.Find(name);
  if (entry == nullptr || entry->dtype != Dtype::kF32 || entry->bytes.size() != target.nbytes()) return Damaged(name);
  target.view(-1).copy_(at::from_blob(const_cast<std::byte*>(entry->bytes.data()), {target.numel()}, at::kFloat));
  file.Release(*entry);
  return absl::OkStatus();
}

}  // namespace

absl::Status WriteRunCheckpoint(const std::string& path, const RunCheckpoint& checkpoint) {
  nn::TensorList tensors;
  tensors.Add("weights", checkpoint.weights);
  tensors.Add("first_moment", checkpoint.first_moment);
  tensors.Add("second_moment", checkpoint.second_moment);
  tensors.Add("best_weights", checkpoint.best_weights);
  for (const auto& [name, tensor] : checkpoint.strategy.tensors) tensors.Add(kStrategyPrefix + name, tensor);
  std::map<std::string, std::string> metadata = {{kRunKey, ToJson(checkpoint.state).dump()},
                                                 {kFingerprintKey, checkpoint.fingerprint}};
  for (const auto& [name, value] : checkpoint.strategy.values) metadata[kStrategyPrefix + name] = value;
  return Annotate(tensors.Write(path, metadata), "writing the run's checkpoint");
}

absl::StatusOr<bool> ReadRunCheckpoint(const std::string& path, RunCheckpoint& checkpoint) {
  if (!PathExists(path)) return false;
  const absl::StatusOr<SafetensorsFile> file = SafetensorsFile::Open(path);
  if (!file.ok()) return Damaged(std::string(file.status().message()));
  for (const auto& [name, value] : file->metadata()) {
    if (name.starts_with(kStrategyPrefix))
      checkpoint.strategy.values[name.substr(std::strlen(kStrategyPrefix))] = value;
  }
  const auto run = file->metadata().find(kRunKey), owner = file->metadata().find(kFingerprintKey);
  if (run == file->metadata().end() || owner == file->metadata().end()) return Damaged("it has no state");
  if (owner->second != checkpoint.fingerprint) {
    return StatusWithReason(
        absl::StatusCode::kFailedPrecondition, "CHECKPOINT_OF_ANOTHER_RUN",
        "the run's checkpoint was made with other options, texts or another model; start the task again");
  }
  ENGRAM_ASSIGN_OR_RETURN(checkpoint.state, FromJson(run->second));
  ENGRAM_RETURN_IF_ERROR(FillFlat(*file, "weights", checkpoint.weights));
  ENGRAM_RETURN_IF_ERROR(FillFlat(*file, "first_moment", checkpoint.first_moment));
  ENGRAM_RETURN_IF_ERROR(FillFlat(*file, "second_moment", checkpoint.second_moment));
  if (file->Find("best_weights") != nullptr) {
    checkpoint.best_weights = at::empty_like(checkpoint.weights);
    ENGRAM_RETURN_IF_ERROR(FillFlat(*file, "best_weights", checkpoint.best_weights));
  }
  for (const auto& [name, entry] : file->tensors()) {
    if (!name.starts_with(kStrategyPrefix)) continue;
    absl::StatusOr<at::Tensor> tensor = nn::ReadTensor(name, entry);
    if (!tensor.ok()) return Damaged(name);
    checkpoint.strategy.tensors[name.substr(std::strlen(kStrategyPrefix))] = *std::move(tensor);
  }
  return true;
}

}  // namespace engram::train
