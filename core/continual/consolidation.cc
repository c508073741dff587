#include "core/continual/consolidation.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "ATen/TensorOperators.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/from_blob.h"
#include "absl/strings/str_cat.h"
#include "core/checkpoint/safetensors.h"
#include "nlohmann/json.hpp"

namespace engram::continual {
namespace {

using checkpoint::Dtype;
using checkpoint::SafetensorsFile;
using checkpoint::TensorEntry;

constexpr const char* kMetadataPrefix = "consolidation.";

std::string TensorName(const char* what, const std::string& task, const std::string& parameter) {
  return absl::StrCat(what, ".", task, ".", parameter);
}

void AddTensors(const nn::Model& model, const char* what, const std::string& task, const at::Tensor& flat,
                std::vector<checkpoint::TensorToWrite>& out) {
  for (const nn::SlotId slot : model.EncoderSlots()) {
    const nn::ParameterSlice& slice = model.parameters().slice(slot);
    out.push_back({TensorName(what, task, slice.name),
                   Dtype::kF32,
                   {slice.shape.begin(), slice.shape.end()},
                   {reinterpret_cast<const std::byte*>(flat.const_data_ptr<float>() + slice.offset),
                    static_cast<size_t>(slice.size) * sizeof(float)}});
  }
}

absl::StatusOr<at::Tensor> ReadTensors(const nn::Model& model, const char* what, const std::string& task,
                                       const SafetensorsFile& file, std::set<std::string>& used) {
  at::Tensor flat = at::empty({EncoderElements(model)}, at::kFloat);
  for (const nn::SlotId slot : model.EncoderSlots()) {
    const nn::ParameterSlice& slice = model.parameters().slice(slot);
    const std::string name = TensorName(what, task, slice.name);
    const TensorEntry* entry = file.Find(name);
    if (entry == nullptr) return InvalidField(name, "is missing from continual.safetensors");
    if (entry->dtype != Dtype::kF32 || entry->bytes.size() != static_cast<size_t>(slice.size) * sizeof(float)) {
      return InvalidField(name, "has another dtype or size in continual.safetensors than the model's parameter");
    }
    used.insert(name);
    flat.narrow(0, slice.offset, slice.size)
        .copy_(at::from_blob(const_cast<std::byte*>(entry->bytes.data()), {slice.size}, at::kFloat));
  }
  return flat.to(model.parameters().device());
}

absl::StatusOr<Consolidation> ReadHeader(const std::string& task, const std::string& text) {
  const nlohmann::json json = nlohmann::json::parse(text, nullptr, false);
  const auto integer = [&](const char* key) { return json.contains(key) && json[key].is_number_integer(); };
  if (!json.is_object() || !json.contains("kind") || !json["kind"].is_string() || !integer("samples") ||
      !integer("training_count") || !integer("seed")) {
    return InvalidField(kMetadataPrefix + task, "is damaged in continual.safetensors");
  }
  Consolidation consolidation;
  consolidation.task = task;
  ENGRAM_ASSIGN_OR_RETURN(consolidation.kind, ParseImportanceKind(json["kind"].get<std::string>()));
  consolidation.samples = json["samples"].get<int64_t>();
  consolidation.training_count = json["training_count"].get<int64_t>();
  consolidation.seed = json["seed"].get<uint64_t>();
  consolidation.dataset_digest = json.value("dataset_digest", "");
  if (consolidation.samples < 1 || consolidation.training_count < 1)
    return InvalidField(kMetadataPrefix + task, "counts must be positive");
  return consolidation;
}

}  // namespace

int64_t EncoderElements(const nn::Model& model) {
  int64_t end = 0;
  for (const nn::SlotId slot : model.EncoderSlots()) {
    const nn::ParameterSlice& slice = model.parameters().slice(slot);
    end = std::max(end, slice.offset + slice.size);
  }
  return end;
}

at::Tensor EncoderWeights(const nn::Model& model) {
  return model.parameters().weights().narrow(0, 0, EncoderElements(model)).clone();
}

absl::Status SaveConsolidations(const std::string& path, const nn::Model& model,
                                const std::vector<Consolidation>& consolidations) {
  std::vector<checkpoint::TensorToWrite> tensors;
  std::vector<at::Tensor> host;  // keeps the bytes alive
  std::map<std::string, std::string> metadata;
  nlohmann::json order = nlohmann::json::array();
  for (const Consolidation& c : consolidations) {
    host.push_back(c.fisher.cpu());
    AddTensors(model, "fisher", c.task, host.back(), tensors);
    host.push_back(c.anchor.cpu());
    AddTensors(model, "anchor", c.task, host.back(), tensors);
    metadata[kMetadataPrefix + c.task] = nlohmann::json{
        {"kind", ImportanceKindName(c.kind)},
        {"samples", c.samples},
        {"training_count", c.training_count},
        {"seed", c.seed},
        {"dataset_digest", c.dataset_digest}}.dump();
    order.push_back(c.task);
  }
  metadata["stream"] = order.dump();
  return checkpoint::WriteSafetensors(path, std::move(tensors), metadata);
}

absl::StatusOr<std::vector<Consolidation>> LoadConsolidations(const std::string& path, const nn::Model& model) {
  std::vector<Consolidation> consolidations;
  if (!PathExists(path)) return consolidations;
  ENGRAM_ASSIGN_OR_RETURN(const SafetensorsFile file, SafetensorsFile::Open(path));
  auto stream = file.metadata().find("stream");
  const nlohmann::json order =
      stream == file.metadata().end() ? nlohmann::json() : nlohmann::json::parse(stream->second, nullptr, false);
  if (!order.is_array()) return InvalidField("stream", "is missing from continual.safetensors");
  std::set<std::string> used;
  for (const nlohmann::json& name : order) {
    if (!name.is_string()) return InvalidField("stream", "is damaged in continual.safetensors");
    const std::string task = name.get<std::string>();
    auto header = file.metadata().find(kMetadataPrefix + task);
    if (header == file.metadata().end())
      return InvalidField(kMetadataPrefix + task, "is missing from continual.safetensors");
    ENGRAM_ASSIGN_OR_RETURN(Consolidation c, ReadHeader(task, header->second));
    ENGRAM_ASSIGN_OR_RETURN(c.fisher, ReadTensors(model, "fisher", task, file, used));
    ENGRAM_ASSIGN_OR_RETURN(c.anchor, ReadTensors(model, "anchor", task, file, used));
    const double smallest = c.fisher.min().item<double>(), trace = c.fisher.sum(at::kDouble).item<double>();
    if (!(smallest >= 0) || !std::isfinite(trace))
      return InvalidField("fisher." + task, "holds entries that are negative or not finite");
    consolidations.push_back(std::move(c));
  }
  if (used.size() != file.tensors().size())
    return InvalidField("continual.safetensors", "holds tensors that belong to no task of its stream");
  return consolidations;
}

}  // namespace engram::continual
