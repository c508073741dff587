#include "core/nn/model_io.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "ATen/ops/from_blob.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/base/files.h"
#include "core/checkpoint/safetensors.h"
#include "core/nn/initialize.h"

namespace engram::nn {
namespace {

using checkpoint::Dtype;
using checkpoint::SafetensorsFile;
using checkpoint::TensorEntry;

const char* FamilyPrefix(Family family) {
  constexpr const char* kPrefixes[] = {"bert.", "roberta.", "distilbert."};
  return kPrefixes[static_cast<int>(family)];
}

std::string Architecture(Family family, HeadKind kind) {
  constexpr const char* kFamilies[] = {"Bert", "Roberta", "DistilBert"};
  constexpr const char* kKinds[] = {"ForSequenceClassification", "ForTokenClassification", "ForMaskedLM"};
  return absl::StrCat(kFamilies[static_cast<int>(family)], kKinds[static_cast<int>(kind)]);
}

std::string BareArchitecture(Family family) {
  constexpr const char* kNames[] = {"BertModel", "RobertaModel", "DistilBertModel"};
  return kNames[static_cast<int>(family)];
}

// Names as they were before 2019: "LayerNorm.gamma" and "LayerNorm.beta".
std::string ModernName(std::string name) {
  for (const auto& [old_end, new_end] : {std::pair{".gamma", ".weight"}, std::pair{".beta", ".bias"}}) {
    if (name.ends_with(old_end)) return name.substr(0, name.size() - std::string(old_end).size()) + new_end;
  }
  return name;
}

bool IsHeadTensor(const std::string& name) {
  for (const char* prefix : {"classifier.", "pre_classifier.", "cls.", "lm_head.", "vocab_", "qa_outputs."}) {
    if (name.starts_with(prefix)) return true;
  }
  return false;
}

// Canonical name (bare encoder, or standard head name) -> entry.
using CanonicalTensors = std::map<std::string, const TensorEntry*>;

CanonicalTensors Canonical(const SafetensorsFile& file, Family family) {
  CanonicalTensors tensors;
  const std::string prefix = FamilyPrefix(family);
  for (const auto& [name, entry] : file.tensors()) {
    const std::string modern = ModernName(name);
    const std::string bare = modern.starts_with(prefix) ? modern.substr(prefix.size()) : modern;
    if (bare == "embeddings.position_ids" || bare == "embeddings.token_type_ids")
      continue;  // buffers that are computed
    tensors[bare] = &entry;
  }
  return tensors;
}

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

bool SameShape(const TensorEntry& entry, const std::vector<int64_t>& shape) {
  return std::equal(entry.shape.begin(), entry.shape.end(), shape.begin(), shape.end(),
                    [](uint64_t a, int64_t b) { return a == static_cast<uint64_t>(b); });
}

// What is wrong with a file, collected so that a user sees all of it at once.
struct Mismatch {
  std::vector<std::string> missing, misshapen, unexpected;

  absl::Status ToStatus() const {
    if (missing.empty() && misshapen.empty() && unexpected.empty()) return absl::OkStatus();
    std::string text = "the tensors do not fit config.json;";
    for (const auto& [what, names] :
         {std::pair{"missing", &missing}, {"of another shape", &misshapen}, {"unexpected", &unexpected}}) {
      if (names->empty()) continue;
      const size_t shown = std::min<size_t>(names->size(), 20);
      absl::StrAppend(&text, " ", what, " (", names->size(),
                      "): ", absl::StrJoin(names->begin(), names->begin() + shown, ", "),
                      shown < names->size() ? ", ...;" : ";");
    }
    return InvalidField("model.safetensors", text);
  }
};

// Copies `slots` out of `tensors` under `name_of(slot name)`; names that were used are added to `used`.
template <typename NameOf>
absl::Status Fill(const std::vector<SlotId>& slots, const SafetensorsFile& file, const CanonicalTensors& tensors,
                  const NameOf& name_of, ParameterBuffer& parameters, std::set<std::string>& used, Mismatch& mismatch) {
  for (const SlotId slot : slots) {
    const ParameterSlice& slice = parameters.slice(slot);
    const std::string name = name_of(slice.name);
    auto found = tensors.find(name);
    if (found == tensors.end()) {
      mismatch.missing.push_back(name);
      continue;
    }
    used.insert(name);
    if (!SameShape(*found->second, slice.shape)) {
      mismatch.misshapen.push_back(absl::StrCat(name, " [", absl::StrJoin(found->second->shape, ", "), "] instead of [",
                                                absl::StrJoin(slice.shape, ", "), "]"));
      continue;
    }
    ENGRAM_RETURN_IF_ERROR(CopyInto(file, *found->second, name, parameters.Weight(slot)));
  }
  return absl::OkStatus();
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

EncoderConfig ToEncoderConfig(const checkpoint::ModelConfig& from) {
  EncoderConfig config;
  config.family = from.family;
  config.vocab_size = from.vocab_size;
  config.hidden_size = from.hidden_size;
  config.layers = from.layers;
  config.heads = from.heads;
  config.intermediate_size = from.intermediate_size;
  config.max_positions = from.max_position_embeddings;
  config.first_position = config.family == Family::kRoberta ? from.pad_token_id + 1 : 0;
  config.type_vocab_size = from.type_vocab_size;
  config.activation = from.hidden_act == "relu"   ? Activation::kRelu
                      : from.hidden_act == "silu" ? Activation::kSilu
                      : from.hidden_act == "gelu" ? Activation::kGelu
                                                  : Activation::kGeluTanh;
  config.layer_norm_eps = from.layer_norm_eps;
  config.hidden_dropout = from.hidden_dropout;
  config.attention_dropout = from.attention_dropout;
  config.classifier_dropout = from.classifier_dropout;
  config.initializer_range = from.initializer_range;
  config.pad_token_id = from.pad_token_id;
  return config;
}

absl::StatusOr<LoadedModel> LoadModel(const std::string& directory, const LoadOptions& options) {
  LoadedModel loaded;
  ENGRAM_ASSIGN_OR_RETURN(loaded.config_text, ReadFile(directory + "/config.json", size_t{1} << 24));
  ENGRAM_ASSIGN_OR_RETURN(loaded.config, checkpoint::ParseModelConfig(loaded.config_text));
  const absl::StatusOr<SafetensorsFile> opened = SafetensorsFile::Open(directory + "/model.safetensors");
  if (!opened.ok()) return Annotate(opened.status(), "model.safetensors");
  const SafetensorsFile& file = *opened;
  EncoderConfig config = ToEncoderConfig(loaded.config);
  if (options.dropout) config.hidden_dropout = config.attention_dropout = config.classifier_dropout = *options.dropout;
  const CanonicalTensors tensors = Canonical(file, config.family);
  const bool file_pooler = tensors.contains("pooler.dense.weight");
  config.has_pooler = config.family == Family::kBert && (file_pooler || options.need_pooler);
  ENGRAM_ASSIGN_OR_RETURN(loaded.model, Model::Create(config, options.device, options.precision));
  if (options.head) ENGRAM_RETURN_IF_ERROR(loaded.model->AddHead(options.head->task, options.head->head, 0));
  ParameterBuffer& parameters = loaded.model->parameters();
  std::vector<SlotId> encoder_slots = loaded.model->EncoderSlots();
  if (config.has_pooler && !file_pooler) {
    InitializeSlots({encoder_slots.end() - 2, encoder_slots.end()}, config.initializer_range, 0, parameters);
    encoder_slots.resize(encoder_slots.size() - 2);
    loaded.initialized_pooler = true;
  }
  std::set<std::string> used;
  Mismatch mismatch;
  ENGRAM_RETURN_IF_ERROR(Fill(
      encoder_slots, file, tensors, [](const std::string& name) { return name; }, parameters, used, mismatch));
  if (options.head) {
    const std::string prefix = HeadPrefix(options.head->task);
    ENGRAM_RETURN_IF_ERROR(Fill(
        loaded.model->HeadSlots(options.head->task), file, tensors,
        [&](const std::string& name) { return name.substr(prefix.size()); }, parameters, used, mismatch));
  }
  for (const auto& [name, entry] : tensors) {
    if (used.contains(name)) continue;
    const bool tied_copy =
        name.ends_with("decoder.weight") || name.ends_with("decoder.bias") || name == "vocab_projector.weight";
    if (name.starts_with("pooler.") || tied_copy) continue;
    (IsHeadTensor(name) ? loaded.unused : mismatch.unexpected).push_back(name);
  }
  ENGRAM_RETURN_IF_ERROR(mismatch.ToStatus());
  parameters.RefreshCompute();
  return loaded;
}

absl::Status SaveModel(const Model& model, const std::string& config_text, const std::string& default_task,
                       const std::vector<std::string>& labels, const std::string& directory) {
  const Family family = model.config().family;
  const ParameterBuffer& parameters = model.parameters();
  const at::Tensor weights = parameters.weights().cpu();
  auto head = model.heads().find(default_task);
  const bool standard = head != model.heads().end() && head->second.pooling == Pooling::kStandard;
  std::vector<checkpoint::TensorToWrite> tensors;
  for (const SlotId slot : model.EncoderSlots()) {
    const ParameterSlice& slice = parameters.slice(slot);
    tensors.push_back(ToWrite((standard ? FamilyPrefix(family) : "") + slice.name, weights, slice));
  }
  if (standard) {
    for (const SlotId slot : model.HeadSlots(default_task)) {
      const ParameterSlice& slice = parameters.slice(slot);
      tensors.push_back(ToWrite(slice.name.substr(HeadPrefix(default_task).size()), weights, slice));
    }
  }
  const bool has_classes = standard && head->second.kind != HeadKind::kMaskedLanguageModel;
  ENGRAM_ASSIGN_OR_RETURN(
      const std::string config,
      checkpoint::RenderModelConfig(config_text,
                                    standard ? Architecture(family, head->second.kind) : BareArchitecture(family),
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
  CanonicalTensors tensors;
  for (const auto& [name, entry] : file.tensors()) tensors[name] = &entry;
  std::set<std::string> used;
  Mismatch mismatch;
  for (const auto& [task, head] : model.heads()) {
    if (task == except_task) continue;
    ENGRAM_RETURN_IF_ERROR(Fill(
        model.HeadSlots(task), file, tensors, [](const std::string& name) { return name; }, model.parameters(), used,
        mismatch));
  }
  for (const auto& [name, entry] : tensors) {
    if (!used.contains(name)) mismatch.unexpected.push_back(name);
  }
  model.parameters().RefreshCompute();
  return mismatch.ToStatus();
}

}  // namespace engram::nn
