#include "core/checkpoint/tensor_names.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/base/strict_json.h"

namespace engram::checkpoint {
namespace {

constexpr size_t kNamesShown = 20;  // of each sort of mistake

class TensorList {
 public:
  void Weight(const std::string& layer_name, std::vector<int64_t> shape, TensorRole role, int64_t layer = -1) {
    list_.push_back({layer_name + ".weight", std::move(shape), role, /*bias=*/false, layer});
  }
  void Bias(const std::string& layer_name, int64_t width, TensorRole role, int64_t layer = -1) {
    list_.push_back({layer_name + ".bias", {width}, role, /*bias=*/true, layer});
  }
  // Weight [out, in], bias [out].
  void Linear(const std::string& name, int64_t out, int64_t in, TensorRole role, int64_t layer = -1, bool bias = true) {
    Weight(name, {out, in}, role, layer);
    if (bias) Bias(name, out, role, layer);
  }
  void Norm(const std::string& name, int64_t width, TensorRole role, int64_t layer = -1, bool bias = true) {
    Weight(name, {width}, role, layer);
    if (bias) Bias(name, width, role, layer);
  }
  void Add(ExpectedTensor tensor) { list_.push_back(std::move(tensor)); }
  std::vector<ExpectedTensor> Take() { return std::move(list_); }

 private:
  std::vector<ExpectedTensor> list_;
};

// Whether the family's norms have a shift: RMSNorm has none.
bool HasNormBias(const EncoderSizes& sizes) {
  return sizes.family->block.norm == NormKind::kLayerNorm && sizes.norm_bias;
}

void AddAttention(const EncoderSizes& sizes, const std::string& layer, int64_t index, TensorList& list) {
  const EncoderNames& names = sizes.family->names;
  const int64_t width = sizes.hidden_size, queries = sizes.query_width(), keys = sizes.key_width();
  if (names.query_key_value != nullptr) {
    list.Linear(layer + names.query_key_value, queries + 2 * keys, width, TensorRole::kQueryKeyValue, index,
                sizes.attention_input_bias);
  } else {
    struct Part {
      const char* name;
      TensorRole role;
      int64_t rows;
    };
    const Part parts[] = {{names.query, TensorRole::kQuery, queries},
                          {names.key, TensorRole::kKey, keys},
                          {names.value, TensorRole::kValue, keys}};
    for (const Part& part : parts) list.Weight(layer + part.name, {part.rows, width}, part.role, index);
    for (const Part& part : parts) {
      if (sizes.attention_input_bias) list.Bias(layer + part.name, part.rows, part.role, index);
    }
  }
  if (names.query_norm != nullptr) {
    list.Norm(layer + names.query_norm, sizes.head_width(), TensorRole::kQueryNorm, index, HasNormBias(sizes));
    list.Norm(layer + names.key_norm, sizes.head_width(), TensorRole::kKeyNorm, index, HasNormBias(sizes));
  }
  list.Linear(layer + names.attention_output, width, queries, TensorRole::kAttentionOutput, index,
              sizes.attention_output_bias);
}

void AddFeedForward(const EncoderSizes& sizes, const std::string& layer, int64_t index, TensorList& list) {
  const EncoderNames& names = sizes.family->names;
  const int64_t width = sizes.hidden_size, inner = sizes.intermediate_size;
  if (names.gate != nullptr) {
    list.Weight(layer + names.gate, {inner, width}, TensorRole::kGate, index);
    list.Weight(layer + names.intermediate, {inner, width}, TensorRole::kIntermediate, index);
    if (sizes.feed_forward_bias) {
      list.Bias(layer + names.gate, inner, TensorRole::kGate, index);
      list.Bias(layer + names.intermediate, inner, TensorRole::kIntermediate, index);
    }
  } else {
    list.Linear(layer + names.intermediate, sizes.family->block.gated ? 2 * inner : inner, width,
                TensorRole::kIntermediate, index, sizes.feed_forward_bias);
  }
  list.Linear(layer + names.output, width, inner, TensorRole::kOutput, index, sizes.feed_forward_bias);
}

void AddLayer(const EncoderSizes& sizes, int64_t index, TensorList& list) {
  const EncoderNames& names = sizes.family->names;
  const std::string layer = absl::StrCat(names.layer, index, ".");
  AddAttention(sizes, layer, index, list);
  if (index >= sizes.family->block.first_attention_norm)
    list.Norm(layer + names.attention_norm, sizes.hidden_size, TensorRole::kAttentionNorm, index, HasNormBias(sizes));
  AddFeedForward(sizes, layer, index, list);
  list.Norm(layer + names.output_norm, sizes.hidden_size, TensorRole::kOutputNorm, index, HasNormBias(sizes));
}

std::string Shape(const auto& shape) { return absl::StrCat("[", absl::StrJoin(shape, ", "), "]"); }

bool IsReadable(Dtype dtype) { return dtype == Dtype::kF32 || dtype == Dtype::kF16 || dtype == Dtype::kBF16; }

// What is wrong with a file, collected so that a user sees all of it at once.
struct Mismatch {
  std::vector<std::string> missing, misshapen, unreadable, repeated, unexpected;

  absl::Status ToStatus(std::string_view file_name) const {
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
                        : InvalidField(file_name, "the tensors do not fit the model's configuration" + text);
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

std::string CanonicalName(const FamilySpec& family, std::string_view saved_name) {
  const std::string_view prefix = family.prefix;
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
  return canonical_name == "embeddings.position_ids" || canonical_name == "embeddings.token_type_ids" ||
         canonical_name.ends_with("rotary_emb.inv_freq");
}

std::vector<ExpectedTensor> EncoderTensors(const EncoderSizes& sizes) {
  TensorList list;
  const EncoderNames& names = sizes.family->names;
  const int64_t width = sizes.hidden_size;
  list.Weight(names.word_embeddings, {sizes.vocab_size, width}, TensorRole::kWordEmbeddings);
  if (names.position_embeddings != nullptr)
    list.Weight(names.position_embeddings, {sizes.max_positions, width}, TensorRole::kPositionEmbeddings);
  if (names.type_embeddings != nullptr)
    list.Weight(names.type_embeddings, {sizes.type_vocab_size, width}, TensorRole::kTypeEmbeddings);
  if (names.embedding_norm != nullptr)
    list.Norm(names.embedding_norm, width, TensorRole::kEmbeddingNorm, -1, HasNormBias(sizes));
  if (names.relative_positions != nullptr)
    list.Weight(names.relative_positions, {kRelativeBuckets, sizes.heads}, TensorRole::kRelativePositions);
  for (int64_t i = 0; i < sizes.layers; ++i) AddLayer(sizes, i, list);
  if (names.final_norm != nullptr) list.Norm(names.final_norm, width, TensorRole::kFinalNorm, -1, HasNormBias(sizes));
  if (names.pooler != nullptr) {
    const std::string pooler = names.pooler;
    list.Add({pooler + ".weight", {width, width}, TensorRole::kPooler, /*bias=*/false, -1, /*required=*/false});
    list.Add({pooler + ".bias", {width}, TensorRole::kPooler, /*bias=*/true, -1, /*required=*/false});
  }
  return list.Take();
}

std::vector<ExpectedTensor> HeadTensors(const EncoderSizes& sizes, TaskKind kind, Pooling pooling, int64_t labels) {
  TensorList list;
  const HeadSpec& head = sizes.family->Head(kind, pooling);
  const int64_t width = sizes.hidden_size;
  if (head.output == nullptr) return {};  // the family has no such head
  if (head.dense != nullptr) list.Linear(head.dense, width, width, TensorRole::kHeadDense, -1, sizes.head_bias);
  if (head.norm != nullptr) list.Norm(head.norm, width, TensorRole::kHeadNorm, -1, sizes.norm_bias);
  if (!head.tied) {
    list.Linear(head.output, labels, width, TensorRole::kHeadOutput, -1, head.output_bias);
    return list.Take();
  }
  const int64_t vocabulary = sizes.vocab_size;
  list.Add({head.output, {vocabulary}, TensorRole::kHeadOutput, /*bias=*/true});
  if (head.tied_weight != nullptr)
    list.Add({head.tied_weight, {vocabulary, width}, TensorRole::kTiedCopy, /*bias=*/false, -1, /*required=*/false});
  if (head.tied_bias != nullptr)
    list.Add({head.tied_bias, {vocabulary}, TensorRole::kTiedCopy, /*bias=*/true, -1, /*required=*/false});
  return list.Take();
}

absl::StatusOr<TensorMatch> MatchTensors(const FamilySpec& family, const std::vector<ExpectedTensor>& expected,
                                         const SafetensorsFile& file, std::string_view file_name) {
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
  ENGRAM_RETURN_IF_ERROR(mismatch.ToStatus(file_name));
  return match;
}

}  // namespace engram::checkpoint
