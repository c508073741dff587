#include "core/nn/model_io.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "ATen/ops/from_blob.h"
#include "absl/strings/str_cat.h"
#include "core/base/files.h"
#include "core/checkpoint/manifest.h"
#include "core/checkpoint/safetensors.h"
#include "core/checkpoint/tensor_names.h"
#include "core/nn/initialize.h"

namespace engram::nn {
namespace {

using checkpoint::Dtype;
using checkpoint::SafetensorsFile;
using checkpoint::TensorEntry;

absl::Status CopyInto(const SafetensorsFile& file, const TensorEntry& entry, const std::string& name,
                      at::Tensor target) {
  at::ScalarType type;
  switch (entry.dtype) {
    case Dtype::kF32:
      type = at::kFloat;
      break;
    case Dtype::kF16:
      type = at::kHalf;
      break;
    case Dtype::kBF16:
      type = at::kBFloat16;
      break;
    default:
      return absl::InvalidArgumentError(absl::StrCat("tensor ", name, " has dtype ", checkpoint::DtypeName(entry.dtype),
                                                     "; F32, F16 and BF16 are read"));
  }
  // The map is read-only; from_blob wants a mutable pointer but copy_ only reads.
  target.copy_(
      at::from_blob(const_cast<std::byte*>(entry.bytes.data()), target.sizes(), at::TensorOptions().dtype(type)));
  file.Release(entry);
  return absl::OkStatus();
}

// Copies the file's tensors into slots. What comes before a tensor's name in the slot's has `prefix_length` characters.
absl::Status Fill(const std::vector<SlotId>& slots, const SafetensorsFile& file, const checkpoint::TensorMatch& match,
                  size_t prefix_length, ParameterBuffer& parameters) {
  for (const SlotId slot : slots) {
    const std::string name = parameters.slice(slot).name.substr(prefix_length);
    ENGRAM_RETURN_IF_ERROR(CopyInto(file, *match.tensors.at(name), name, parameters.Weight(slot)));
  }
  return absl::OkStatus();
}

bool NeedsPooler(const checkpoint::FamilySpec& family, const LoadOptions& options) {
  const auto on_pooler = [&](const HeadConfig& head) { return family.Head(head.kind, head.pooling).on_pooler; };
  return (options.head && on_pooler(options.head->head)) ||
         std::any_of(options.other_heads.begin(), options.other_heads.end(), on_pooler);
}

// Whether the file has a pooler; half of one is an error.
absl::StatusOr<bool> HasPooler(const EncoderConfig& config, const checkpoint::TensorMatch& match) {
  int found = 0;
  std::string missing;
  for (const checkpoint::ExpectedTensor& tensor : checkpoint::EncoderTensors(config)) {
    if (tensor.role != checkpoint::TensorRole::kPooler) continue;
    if (match.tensors.contains(tensor.name)) {
      ++found;
    } else {
      missing = tensor.name;
    }
  }
  if (found == 1) return InvalidField(checkpoint::kModelFile, absl::StrCat("has half of a pooler: no ", missing));
  return found == 2;
}

std::vector<checkpoint::ExpectedTensor> Expected(const EncoderConfig& config, const std::optional<FileHead>& head) {
  std::vector<checkpoint::ExpectedTensor> expected = checkpoint::EncoderTensors(config);
  if (!head) return expected;
  std::vector<checkpoint::ExpectedTensor> own =
      checkpoint::HeadTensors(config, head->head.kind, head->head.pooling, head->head.labels);
  std::move(own.begin(), own.end(), std::back_inserter(expected));
  return expected;
}

std::string HeadPrefix(const std::string& task) { return absl::StrCat("heads.", task, "."); }

std::span<const std::byte> Bytes(const at::Tensor& flat, const ParameterSlice& slice) {
  return {reinterpret_cast<const std::byte*>(flat.const_data_ptr<float>() + slice.offset),
          static_cast<size_t>(slice.size) * sizeof(float)};
}

checkpoint::TensorToWrite ToWrite(const std::string& name, const at::Tensor& flat, const ParameterSlice& slice) {
  return {name, Dtype::kF32, {slice.shape.begin(), slice.shape.end()}, Bytes(flat, slice)};
}

}  // namespace

absl::StatusOr<EncoderConfig> ToEncoderConfig(const checkpoint::ModelConfig& from) {
  EncoderConfig config;
  static_cast<checkpoint::EncoderSizes&>(config) = from;
  ENGRAM_ASSIGN_OR_RETURN(config.activation, ParseActivation(from.hidden_act));
  config.layer_norm_eps = from.layer_norm_eps;
  config.hidden_dropout = from.hidden_dropout;
  config.attention_dropout = from.attention_dropout;
  config.classifier_dropout = from.classifier_dropout;
  config.initializer_range = from.initializer_range;
  return config;
}

absl::StatusOr<LoadedModel> LoadModel(const std::string& directory, const LoadOptions& options) {
  LoadedModel loaded;
  ENGRAM_ASSIGN_OR_RETURN(loaded.config_text, ReadFile(directory + "/config.json", size_t{1} << 24));
  ENGRAM_ASSIGN_OR_RETURN(loaded.config, checkpoint::ParseModelConfig(loaded.config_text));
  const absl::StatusOr<SafetensorsFile> opened = SafetensorsFile::Open(directory + "/model.safetensors");
  if (!opened.ok()) return Annotate(opened.status(), "model.safetensors");
  const SafetensorsFile& file = *opened;
  ENGRAM_ASSIGN_OR_RETURN(EncoderConfig config, ToEncoderConfig(loaded.config));
  if (options.dropout) config.hidden_dropout = config.attention_dropout = config.classifier_dropout = *options.dropout;
  // Before anything is allocated by the numbers of config.json.
  ENGRAM_ASSIGN_OR_RETURN(checkpoint::TensorMatch match,
                          checkpoint::MatchTensors(*config.family, Expected(config, options.head), file));
  loaded.unused = std::move(match.unused);
  ENGRAM_ASSIGN_OR_RETURN(const bool file_pooler, HasPooler(config, match));
  // A pooler that none of the family's heads stands on is read past.
  config.has_pooler = config.family->sequence.on_pooler && (file_pooler || NeedsPooler(*config.family, options));
  for (const checkpoint::ExpectedTensor& tensor : checkpoint::EncoderTensors(config)) {
    if (file_pooler && !config.has_pooler && tensor.role == checkpoint::TensorRole::kPooler)
      loaded.unused.push_back(tensor.name);
  }
  ENGRAM_ASSIGN_OR_RETURN(loaded.model, Model::Create(config, options.device, options.precision));
  if (options.head) ENGRAM_RETURN_IF_ERROR(loaded.model->AddHead(options.head->task, options.head->head, 0));
  ParameterBuffer& parameters = loaded.model->parameters();
  std::vector<SlotId> encoder_slots = loaded.model->EncoderSlots();
  if (config.has_pooler && !file_pooler) {
    InitializeSlots({encoder_slots.end() - 2, encoder_slots.end()}, config.initializer_range, 0, parameters);
    encoder_slots.resize(encoder_slots.size() - 2);
  }
  ENGRAM_RETURN_IF_ERROR(Fill(encoder_slots, file, match, /*prefix_length=*/0, parameters));
  if (options.head) {
    const std::string& task = options.head->task;
    ENGRAM_RETURN_IF_ERROR(Fill(loaded.model->HeadSlots(task), file, match, HeadPrefix(task).size(), parameters));
  }
  parameters.RefreshCompute();
  return loaded;
}

absl::Status SaveModel(const Model& model, const std::string& config_text, const std::string& default_task,
                       const std::vector<std::string>& labels, const std::string& directory) {
  const checkpoint::FamilySpec& family = *model.config().family;
  const ParameterBuffer& parameters = model.parameters();
  const at::Tensor weights = parameters.weights().cpu();
  auto head = model.heads().find(default_task);
  const bool standard = head != model.heads().end() && head->second.pooling == checkpoint::Pooling::kStandard &&
                        head->second.blocks.kind == checkpoint::BlocksKind::kNone;
  std::vector<checkpoint::TensorToWrite> tensors;
  for (const SlotId slot : model.EncoderSlots()) {
    const ParameterSlice& slice = parameters.slice(slot);
    tensors.push_back(ToWrite((standard ? family.prefix : "") + slice.name, weights, slice));
  }
  if (standard) {
    for (const SlotId slot : model.HeadSlots(default_task)) {
      const ParameterSlice& slice = parameters.slice(slot);
      tensors.push_back(ToWrite(slice.name.substr(HeadPrefix(default_task).size()), weights, slice));
    }
  }
  const bool has_classes = standard && head->second.kind != checkpoint::TaskKind::kMaskedLanguageModel;
  ENGRAM_ASSIGN_OR_RETURN(const std::string config,
                          checkpoint::RenderModelConfig(
                              config_text, family.ClassName(standard ? std::optional(head->second.kind) : std::nullopt),
                              has_classes ? labels : std::vector<std::string>()));
  ENGRAM_RETURN_IF_ERROR(
      checkpoint::WriteSafetensors(directory + "/model.safetensors", std::move(tensors), {{"format", "pt"}}));
  return WriteFileAtomic(directory + "/config.json", config);
}

absl::Status SaveHeads(const Model& model, const std::string& except_task, const std::string& path) {
  const at::Tensor weights = model.parameters().weights().cpu();
  std::vector<checkpoint::TensorToWrite> tensors;
  for (const auto& [task, head] : model.heads()) {
    if (task == except_task) continue;
    for (const SlotId slot : model.HeadSlots(task)) {
      const ParameterSlice& slice = model.parameters().slice(slot);
      tensors.push_back(ToWrite(slice.name, weights, slice));
    }
  }
  return tensors.empty() ? absl::OkStatus() : checkpoint::WriteSafetensors(path, std::move(tensors), {});
}

absl::Status LoadHeads(const std::string& path, const std::string& except_task, Model& model) {
  ENGRAM_ASSIGN_OR_RETURN(const SafetensorsFile file, SafetensorsFile::Open(path));
  ParameterBuffer& parameters = model.parameters();
  std::vector<SlotId> slots;
  std::vector<checkpoint::ExpectedTensor> expected;
  for (const auto& [task, head] : model.heads()) {
    if (task == except_task) continue;
    for (const SlotId slot : model.HeadSlots(task)) {
      slots.push_back(slot);
      expected.push_back({parameters.slice(slot).name, parameters.slice(slot).shape});
    }
  }
  ENGRAM_ASSIGN_OR_RETURN(const checkpoint::TensorMatch match,
                          checkpoint::MatchTensors(*model.config().family, expected, file, checkpoint::kHeadsFile));
  if (!match.unused.empty()) {
    return InvalidField(checkpoint::kHeadsFile, absl::StrCat("has the tensor ", match.unused.front(), " of no task"));
  }
  ENGRAM_RETURN_IF_ERROR(Fill(slots, file, match, /*prefix_length=*/0, parameters));
  parameters.RefreshCompute();
  return absl::OkStatus();
}

}  // namespace engram::nn
