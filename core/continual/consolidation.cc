#include "core/continual/consolidation.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <string_view>
#include <utility>

#include "ATen/TensorOperators.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/from_blob.h"
#include "absl/strings/str_cat.h"
#include "core/checkpoint/safetensors.h"
#include "core/continual/encoder_memory.h"
#include "nlohmann/json.hpp"

namespace engram::continual {
namespace {

using checkpoint::Dtype;
using checkpoint::SafetensorsFile;
using checkpoint::TensorEntry;

constexpr const char* kMetadataPrefix = "consolidation.";
constexpr const char* kFisher = "fisher";
constexpr const char* kAnchor = "anchor";

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

// What the file must hold for one task under "fisher" or "anchor"; the number of its tensors.
absl::StatusOr<size_t> CheckTensors(const nn::Model& model, const char* what, const std::string& task,
                                    const SafetensorsFile& file) {
  const bool importance = std::string_view(what) == kFisher;
  size_t found = 0;
  for (const nn::SlotId slot : model.EncoderSlots()) {
    const nn::ParameterSlice& slice = model.parameters().slice(slot);
    const std::string name = TensorName(what, task, slice.name);
    const TensorEntry* entry = file.Find(name);
    if (entry == nullptr && MayBeYounger(model, slice.name)) continue;
    if (entry == nullptr) return InvalidField(name, "is missing from continual.safetensors");
    ++found;
    if (entry->dtype != Dtype::kF32 && !(importance && entry->dtype == Dtype::kBF16)) {
      return InvalidField(name,
                          absl::StrCat("is stored as ", checkpoint::DtypeName(entry->dtype), "; ",
                                       importance ? "importance is read as F32 or BF16 (F16 loses most of it to 0)"
                                                  : "anchors are read as F32",
                                       ": consolidate the task again"));
    }
    if (entry->shape.size() != slice.shape.size() ||
        !std::equal(slice.shape.begin(), slice.shape.end(), entry->shape.begin(),
                    [](int64_t a, uint64_t b) { return static_cast<uint64_t>(a) == b; })) {
      return InvalidField(name, "has another shape in continual.safetensors than the model's parameter");
    }
  }
  return found;
}

at::Tensor ReadTensors(const nn::Model& model, const char* what, const std::string& task, const SafetensorsFile& file) {
  at::Tensor flat = at::empty({model.EncoderElements()}, at::kFloat);
  for (const nn::SlotId slot : model.EncoderSlots()) {
    const nn::ParameterSlice& slice = model.parameters().slice(slot);
    const at::Tensor part = flat.narrow(0, slice.offset, slice.size);
    const TensorEntry* entry = file.Find(TensorName(what, task, slice.name));
    // A younger parameter, which no earlier task used: its importance is 0. Its anchor is for l2sp, which spreads
    // importance over all.
    if (entry == nullptr) {
      part.zero_();
      if (std::string_view(what) == kAnchor)
        part.copy_(model.parameters().weights().narrow(0, slice.offset, slice.size));
      continue;
    }
    const at::ScalarType type = entry->dtype == Dtype::kBF16 ? at::kBFloat16 : at::kFloat;
    part.copy_(at::from_blob(const_cast<std::byte*>(entry->bytes.data()), {slice.size}, type));
    file.Release(*entry);
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
  consolidation.training_examples = json["training_count"].get<int64_t>();
  consolidation.seed = json["seed"].get<uint64_t>();
  consolidation.dataset_digest = json.value("dataset_digest", "");
  if (consolidation.samples < 1 || consolidation.training_examples < 1)
    return InvalidField(kMetadataPrefix + task, "counts must be positive");
  return consolidation;
}

}  // namespace

at::Tensor EncoderWeights(const nn::Model& model) {
  return model.parameters().weights().narrow(0, 0, model.EncoderElements()).clone();
}

absl::Status SaveConsolidations(const std::string& path, const nn::Model& model,
                                const std::vector<Consolidation>& consolidations) {
  std::vector<checkpoint::TensorToWrite> tensors;
  std::vector<at::Tensor> host;  // keeps the bytes alive
  std::map<std::string, std::string> metadata;
  nlohmann::json order = nlohmann::json::array();
  for (const Consolidation& c : consolidations) {
    host.push_back(c.fisher.cpu());
    AddTensors(model, kFisher, c.task, host.back(), tensors);
    host.push_back(c.anchor.cpu());
    AddTensors(model, kAnchor, c.task, host.back(), tensors);
    metadata[kMetadataPrefix + c.task] = nlohmann::json{
        {"kind", ImportanceKindName(c.kind)},
        {"samples", c.samples},
        {"training_count", c.training_examples},
        {"seed", c.seed},
        {"dataset_digest", c.dataset_digest}}.dump();
    order.push_back(c.task);
  }
  metadata["stream"] = order.dump();
  return checkpoint::WriteSafetensors(path, std::move(tensors), metadata);
}

ConsolidationSource FromMemory(std::vector<Consolidation> consolidations) {
  const auto count = static_cast<int64_t>(consolidations.size());
  const auto kept = std::make_shared<std::vector<Consolidation>>(std::move(consolidations));
  return {count, [kept](int64_t i) -> absl::StatusOr<Consolidation> { return std::move((*kept)[i]); }};
}

absl::StatusOr<ConsolidationSource> OpenConsolidations(const std::string& path, const nn::Model& model) {
  if (!PathExists(path)) return FromMemory({});
  ENGRAM_ASSIGN_OR_RETURN(SafetensorsFile opened, SafetensorsFile::Open(path));
  const auto file = std::make_shared<const SafetensorsFile>(std::move(opened));
  auto stream = file->metadata().find("stream");
  const nlohmann::json order =
      stream == file->metadata().end() ? nlohmann::json() : nlohmann::json::parse(stream->second, nullptr, false);
  if (!order.is_array()) return InvalidField("stream", "is missing from continual.safetensors");
  std::vector<Consolidation> headers;
  size_t known = 0;
  for (const nlohmann::json& name : order) {
    if (!name.is_string()) return InvalidField("stream", "is damaged in continual.safetensors");
    const std::string task = name.get<std::string>();
    auto header = file->metadata().find(kMetadataPrefix + task);
    if (header == file->metadata().end())
      return InvalidField(kMetadataPrefix + task, "is missing from continual.safetensors");
    ENGRAM_ASSIGN_OR_RETURN(headers.emplace_back(), ReadHeader(task, header->second));
    for (const char* what : {kFisher, kAnchor}) {
      ENGRAM_ASSIGN_OR_RETURN(const size_t found, CheckTensors(model, what, task, *file));
      known += found;
    }
  }
  if (known != file->tensors().size())
    return InvalidField("continual.safetensors", "holds tensors that belong to no task of its stream");
  const auto count = static_cast<int64_t>(headers.size());
  return ConsolidationSource{count, [file, headers, &model](int64_t i) -> absl::StatusOr<Consolidation> {
                               Consolidation c = headers[i];
                               c.fisher = ReadTensors(model, kFisher, c.task, *file);
                               const SumAndMin fisher = SumAndMinOf(c.fisher);
                               if (!(fisher.min >= 0) || !std::isfinite(fisher.sum)) {
                                 return InvalidField("fisher." + c.task,
                                                     "holds entries that are negative or not finite");
                               }
                               c.anchor = ReadTensors(model, kAnchor, c.task, *file);
                               return c;
                             }};
}

absl::StatusOr<std::vector<Consolidation>> LoadConsolidations(const std::string& path, const nn::Model& model) {
  ENGRAM_ASSIGN_OR_RETURN(const ConsolidationSource source, OpenConsolidations(path, model));
  std::vector<Consolidation> consolidations;
  for (int64_t i = 0; i < source.count; ++i) {
    ENGRAM_ASSIGN_OR_RETURN(consolidations.emplace_back(), source.read(i));
  }
  return consolidations;
}

SumAndMin SumAndMinOf(const at::Tensor& flat) {
  constexpr int64_t kPiece = 1 << 20;
  SumAndMin result{0, std::numeric_limits<double>::infinity()};
  for (int64_t begin = 0; begin < flat.numel(); begin += kPiece) {
    const at::Tensor piece = flat.narrow(0, begin, std::min(kPiece, flat.numel() - begin));
    result.sum += piece.sum(at::kDouble).item<double>();
    const double smallest = piece.min().item<double>();
    // Written so that NaN stays.
    if (!(smallest >= result.min)) result.min = smallest;
  }
  return result;
}

}  // namespace engram::continual
