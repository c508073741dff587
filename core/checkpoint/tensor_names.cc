#include "core/checkpoint/tensor_names.h"

#include <algorithm>
#include <iterator>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/base/strict_json.h"

namespace engram::checkpoint {
namespace {

constexpr size_t kNamesShown = 20;  // of each sort of mistake

class TensorList {
 public:
  // `name`.weight [out, in] and `name`.bias [out].
  void Linear(const std::string& name, int64_t out, int64_t in) {
    Add(name + ".weight", {out, in});
    Add(name + ".bias", {out});
  }
  void LayerNorm(const std::string& name, int64_t width) {
    Add(name + ".weight", {width});
    Add(name + ".bias", {width});
  }
  void Add(std::string name, std::vector<int64_t> shape, bool required = true) {
    list_.push_back({std::move(name), std::move(shape), required});
  }
  std::vector<ExpectedTensor> Take() { return std::move(list_); }

 private:
  std::vector<ExpectedTensor> list_;
};

void AddBertLayer(const ModelConfig& config, int64_t index, TensorList& list) {
  const std::string layer = absl::StrCat("encoder.layer.", index, ".");
  const int64_t width = config.hidden_size;
  for (const char* part : {"query", "key", "value"}) list.Linear(layer + "attention.self." + part, width, width);
  list.Linear(layer + "attention.output.dense", width, width);
  list.LayerNorm(layer + "attention.output.LayerNorm", width);
  list.Linear(layer + "intermediate.dense", config.intermediate_size, width);
  list.Linear(layer + "output.dense", width, config.intermediate_size);
  list.LayerNorm(layer + "output.LayerNorm", width);
}

void AddDistilLayer(const ModelConfig& config, int64_t index, TensorList& list) {
  const std::string layer = absl::StrCat("transformer.layer.", index, ".");
  const int64_t width = config.hidden_size;
  for (const char* part : {"q_lin", "k_lin", "v_lin", "out_lin"})
    list.Linear(layer + "attention." + part, width, width);
  list.LayerNorm(layer + "sa_layer_norm", width);
  list.Linear(layer + "ffn.lin1", config.intermediate_size, width);
  list.Linear(layer + "ffn.lin2", width, config.intermediate_size);
  list.LayerNorm(layer + "output_layer_norm", width);
}

void AddMaskedLmHead(const ModelConfig& config, TensorList& list) {
  const int64_t width = config.hidden_size, vocabulary = config.vocab_size;
  struct Names {
    const char *dense, *norm, *bias, *tied_weight, *tied_bias;
  };
  constexpr Names kNames[] = {
      {"cls.predictions.transform.dense", "cls.predictions.transform.LayerNorm", "cls.predictions.bias",
       "cls.predictions.decoder.weight", "cls.predictions.decoder.bias"},
      {"lm_head.dense", "lm_head.layer_norm", "lm_head.bias", "lm_head.decoder.weight", "lm_head.decoder.bias"},
      {"vocab_transform", "vocab_layer_norm", "vocab_projector.bias", "vocab_projector.weight", nullptr}};
  const Names& names = kNames[static_cast<int>(config.family)];
  list.Linear(names.dense, width, width);
  list.LayerNorm(names.norm, width);
  list.Add(names.bias, {vocabulary});
  list.Add(names.tied_weight, {vocabulary, width}, /*required=*/false);
  if (names.tied_bias != nullptr) list.Add(names.tied_bias, {vocabulary}, /*required=*/false);
}

std::string Shape(const auto& shape) { return absl::StrCat("[", absl::StrJoin(shape, ", "), "]"); }

bool IsReadable(Dtype dtype) { return dtype == Dtype::kF32 || dtype == Dtype::kF16 || dtype == Dtype::kBF16; }

// What is wrong with a file, collected so that a user sees all of it at once.
struct Mismatch {
  std::vector<std::string> missing, misshapen, unreadable, repeated, unexpected;

  absl::Status ToStatus() const {
    std::string text;
    for (const auto& [what, names] : {std::pair{"missing", &missing},
                                      {"of another shape", &misshapen},
                                      {"of a dtype other than F32, F16 and BF16", &unreadable},
                                      {"saved under two names", &repeated},
                                      {"unexpected", &unexpected}}) {
      if (names->empty()) continue;
      const size_t shown = std::min(names->size(), kNamesShown);
      absl::StrAppend(&text, "; ", what, " (", names->size(),
                      "): ", absl::StrJoin(names->begin(), names->begin() + shown, ", "),
                      shown < names->size() ? ", ..." : "");
    }
    return text.empty() ? absl::OkStatus()
                        : InvalidField("model.safetensors", "the tensors do not fit config.json" + text);
  }
};

void CheckEntry(const ExpectedTensor& expected, const TensorEntry& entry, Mismatch& mismatch) {
  const bool same = std::equal(entry.shape.begin(), entry.shape.end(), expected.shape.begin(), expected.shape.end(),
                               [](uint64_t a, int64_t b) { return b >= 0 && a == static_cast<uint64_t>(b); });
  if (!same)
    mismatch.misshapen.push_back(
        absl::StrCat(expected.name, " ", Shape(entry.shape), " instead of ", Shape(expected.shape)));
  if (!IsReadable(entry.dtype))
    mismatch.unreadable.push_back(absl::StrCat(expected.name, " (", DtypeName(entry.dtype), ")"));
}

}  // namespace

std::string_view FamilyPrefix(ModelFamily family) {
  constexpr std::string_view kPrefixes[] = {"bert.", "roberta.", "distilbert."};
  return kPrefixes[static_cast<int>(family)];
}

std::string ArchitectureName(const ModelConfig& config, HeadClass head) {
  constexpr const char* kFamilies[] = {"Bert", "Roberta", "DistilBert"};
  constexpr const char* kHeads[] = {"Model", "ForSequenceClassification", "ForTokenClassification", "ForMaskedLM"};
  const char* family = config.model_type == "xlm-roberta" ? "XLMRoberta" : kFamilies[static_cast<int>(config.family)];
  return absl::StrCat(family, kHeads[static_cast<int>(head)]);
}

std::string CanonicalName(ModelFamily family, std::string_view saved_name) {
  const std::string_view prefix = FamilyPrefix(family);
  if (saved_name.starts_with(prefix)) saved_name.remove_prefix(prefix.size());
  for (const auto& [old_end, new_end] :
       {std::pair<std::string_view, std::string_view>{"LayerNorm.gamma", "LayerNorm.weight"},
        {"LayerNorm.beta", "LayerNorm.bias"}}) {
    if (!saved_name.ends_with(old_end)) continue;
    return std::string(saved_name.substr(0, saved_name.size() - old_end.size())).append(new_end);
  }
  return std::string(saved_name);
}

bool IsComputedBuffer(std::string_view canonical_name) {
  return canonical_name == "embeddings.position_ids" || canonical_name == "embeddings.token_type_ids";
}

bool IsHeadTensor(std::string_view canonical_name) {
  constexpr std::string_view kPrefixes[] = {"classifier.",      "pre_classifier.",  "cls.",
                                            "lm_head.",         "vocab_transform.", "vocab_layer_norm.",
                                            "vocab_projector.", "qa_outputs."};
  return std::any_of(std::begin(kPrefixes), std::end(kPrefixes),
                     [&](std::string_view prefix) { return canonical_name.starts_with(prefix); });
}

std::vector<ExpectedTensor> EncoderTensors(const ModelConfig& config) {
  TensorList list;
  const int64_t width = config.hidden_size;
  const bool distil = config.family == ModelFamily::kDistilBert;
  list.Add("embeddings.word_embeddings.weight", {config.vocab_size, width});
  list.Add("embeddings.position_embeddings.weight", {config.max_position_embeddings, width});
  if (!distil) list.Add("embeddings.token_type_embeddings.weight", {config.type_vocab_size, width});
  list.LayerNorm("embeddings.LayerNorm", width);
  for (int64_t i = 0; i < config.layers; ++i) (distil ? AddDistilLayer : AddBertLayer)(config, i, list);
  if (!distil) {
    list.Add("pooler.dense.weight", {width, width}, /*required=*/false);
    list.Add("pooler.dense.bias", {width}, /*required=*/false);
  }
  return list.Take();
}

std::vector<ExpectedTensor> HeadTensors(const ModelConfig& config, HeadClass head, int64_t labels) {
  TensorList list;
  const int64_t width = config.hidden_size;
  if (head == HeadClass::kMaskedLanguageModel) {
    AddMaskedLmHead(config, list);
  } else if (head == HeadClass::kSequenceClassification && config.family == ModelFamily::kRoberta) {
    list.Linear("classifier.dense", width, width);
    list.Linear("classifier.out_proj", labels, width);
  } else if (head != HeadClass::kNone) {
    if (head == HeadClass::kSequenceClassification && config.family == ModelFamily::kDistilBert)
      list.Linear("pre_classifier", width, width);
    list.Linear("classifier", labels, width);
  }
  return list.Take();
}

absl::StatusOr<TensorMatch> MatchTensors(ModelFamily family, const std::vector<ExpectedTensor>& expected,
                                         const SafetensorsFile& file) {
  Mismatch mismatch;
  std::map<std::string, const TensorEntry*> found;
  for (const auto& [name, entry] : file.tensors()) {
    std::string canonical = CanonicalName(family, name);
    if (IsComputedBuffer(canonical)) continue;
    const auto [it, inserted] = found.emplace(std::move(canonical), &entry);
    if (!inserted) mismatch.repeated.push_back(Quoted(it->first));
  }
  TensorMatch match;
  for (const ExpectedTensor& tensor : expected) {
    auto it = found.find(tensor.name);
    if (it == found.end()) {
      if (tensor.required) mismatch.missing.push_back(tensor.name);
      continue;
    }
    CheckEntry(tensor, *it->second, mismatch);
    match.tensors.insert(*it);
    found.erase(it);
  }
  for (const auto& [name, entry] : found) {
    if (IsHeadTensor(name)) {
      match.unused.push_back(name);
    } else {
      mismatch.unexpected.push_back(Quoted(name));
    }
  }
  ENGRAM_RETURN_IF_ERROR(mismatch.ToStatus());
  return match;
}

}  // namespace engram::checkpoint
