#include "core/nn/sentence_vectors.h"

#include <cmath>
#include <cstring>
#include <map>
#include <utility>

#include "ATen/TensorOperators.h"
#include "ATen/ops/arange.h"
#include "ATen/ops/cat.h"
#include "ATen/ops/elu.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/gelu.h"
#include "ATen/ops/hardsigmoid.h"
#include "ATen/ops/hardswish.h"
#include "ATen/ops/hardtanh.h"
#include "ATen/ops/isfinite.h"
#include "ATen/ops/leaky_relu.h"
#include "ATen/ops/linalg_vector_norm.h"
#include "ATen/ops/log_sigmoid.h"
#include "ATen/ops/mish.h"
#include "ATen/ops/mv.h"
#include "ATen/ops/relu.h"
#include "ATen/ops/relu6.h"
#include "ATen/ops/selu.h"
#include "ATen/ops/sigmoid.h"
#include "ATen/ops/silu.h"
#include "ATen/ops/softplus.h"
#include "ATen/ops/tanh.h"
#include "ATen/ops/zeros_like.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/checkpoint/safetensors.h"

namespace engram::nn {
namespace {

using checkpoint::DenseModule;
using checkpoint::TokenPooling;

// Classes of torch.nn with the arguments that they have by default: sentence-transformers makes them without any.
const std::map<std::string, at::Tensor (*)(const at::Tensor&)>& Activations() {
  static const std::map<std::string, at::Tensor (*)(const at::Tensor&)> table = {
      {"ELU", [](const at::Tensor& x) { return at::elu(x); }},
      {"GELU", [](const at::Tensor& x) { return at::gelu(x); }},
      {"Hardsigmoid", [](const at::Tensor& x) { return at::hardsigmoid(x); }},
      {"Hardswish", [](const at::Tensor& x) { return at::hardswish(x); }},
      {"Hardtanh", [](const at::Tensor& x) { return at::hardtanh(x); }},
      {"Identity", [](const at::Tensor& x) { return x; }},
      {"LeakyReLU", [](const at::Tensor& x) { return at::leaky_relu(x); }},
      {"LogSigmoid", [](const at::Tensor& x) { return at::log_sigmoid(x); }},
      {"Mish", [](const at::Tensor& x) { return at::mish(x); }},
      {"ReLU", [](const at::Tensor& x) { return at::relu(x); }},
      {"ReLU6", [](const at::Tensor& x) { return at::relu6(x); }},
      {"SELU", [](const at::Tensor& x) { return at::selu(x); }},
      {"SiLU", [](const at::Tensor& x) { return at::silu(x); }},
      {"Sigmoid", [](const at::Tensor& x) { return at::sigmoid(x); }},
      {"Softplus", [](const at::Tensor& x) { return at::softplus(x); }},
      {"Softsign", [](const at::Tensor& x) { return x / (x.abs() + 1); }},
      {"Tanh", [](const at::Tensor& x) { return at::tanh(x); }},
      {"Tanhshrink", [](const at::Tensor& x) { return x - at::tanh(x); }},
  };
  return table;
}

// The tensor in fp64. `file`: what errors call its file.
absl::StatusOr<at::Tensor> ReadTensor(const checkpoint::SafetensorsFile& tensors, const std::string& file,
                                      const std::string& name, const std::vector<int64_t>& shape) {
  const checkpoint::TensorEntry* entry = tensors.Find(name);
  if (entry == nullptr) return InvalidField(file, absl::StrCat("has no tensor ", name));
  if (std::vector<int64_t>(entry->shape.begin(), entry->shape.end()) != shape) {
    return InvalidField(file, absl::StrCat("tensor ", name, " is [", absl::StrJoin(entry->shape, ", "),
                                           "]; config.json says [", absl::StrJoin(shape, ", "), "]"));
  }
  static const std::map<checkpoint::Dtype, at::ScalarType> types = {{checkpoint::Dtype::kF64, at::kDouble},
                                                                    {checkpoint::Dtype::kF32, at::kFloat},
                                                                    {checkpoint::Dtype::kF16, at::kHalf},
                                                                    {checkpoint::Dtype::kBF16, at::kBFloat16}};
  const auto type = types.find(entry->dtype);
  if (type == types.end()) {
    return InvalidField(file, absl::StrCat("tensor ", name, " has dtype ", checkpoint::DtypeName(entry->dtype),
                                           "; F64, F32, F16 and BF16 are read"));
  }
  // The map is read-only and may lie at any address; the copy only reads, byte by byte.
  at::Tensor raw = at::empty(shape, at::TensorOptions().dtype(type->second));
  std::memcpy(raw.mutable_data_ptr(), entry->bytes.data(), entry->bytes.size());
  at::Tensor read = raw.to(at::kDouble);
  if (!at::isfinite(read).all().item<bool>())
    return InvalidField(file, absl::StrCat("tensor ", name, " holds numbers that are not finite"));
  return read;
}

// h [L, d] in fp64; the first `skipped` rows do not count, but keep their places.
at::Tensor Pool(const at::Tensor& all, TokenPooling pooling, int64_t skipped) {
  const int64_t length = all.size(0) - skipped;
  const at::Tensor rows = all.narrow(0, skipped, length);
  switch (pooling) {
    case TokenPooling::kCls:
      return rows.select(0, 0);
    case TokenPooling::kMax:
      return rows.amax(0);
    case TokenPooling::kMean:
      return rows.sum(0) / static_cast<double>(length);
    case TokenPooling::kMeanSqrtLen:
      return rows.sum(0) / std::sqrt(static_cast<double>(length));
    case TokenPooling::kWeightedMean: {
      const at::Tensor weights = at::arange(skipped + 1, all.size(0) + 1, rows.options());
      return (rows * weights.unsqueeze(1)).sum(0) / weights.sum();
    }
    case TokenPooling::kLastToken:
      return rows.select(0, length - 1);
  }
  return rows;  // no other value exists
}

}  // namespace

at::Tensor UnitLength(const at::Tensor& rows) {
  return rows / at::linalg_vector_norm(rows, 2, {-1}, /*keepdim=*/true).clamp_min(1e-12);
}

absl::StatusOr<SentenceVectors::Dense> SentenceVectors::LoadDense(const std::string& directory,
                                                                  const DenseModule& module) {
  const auto activation = Activations().find(module.activation);
  if (activation == Activations().end()) {
    std::vector<std::string> known;
    for (const auto& [name, function] : Activations()) known.push_back(name);
    return InvalidField(
        absl::StrCat(module.path, "/config.json: activation_function"),
        absl::StrCat("is ", module.activation, ", which is not implemented; known: ", absl::StrJoin(known, ", ")));
  }
  const std::string file = absl::StrCat(module.path, "/model.safetensors");
  const auto tensors = checkpoint::SafetensorsFile::Open(absl::StrCat(directory, "/", file));
  if (!tensors.ok()) return Annotate(tensors.status(), file);
  Dense dense;
  dense.activation = activation->second;
  dense.adds_input = module.residual && module.in_features == module.out_features;
  const bool projects = module.residual && !dense.adds_input;
  const size_t expected = 1 + (module.bias ? 1 : 0) + (projects ? 1 : 0);
  if (tensors->tensors().size() != expected) {
    return InvalidField(
        file, absl::StrCat("has ", tensors->tensors().size(), " tensors, and config.json's layer has ", expected));
  }
  const std::vector<int64_t> matrix = {module.out_features, module.in_features};
  ENGRAM_ASSIGN_OR_RETURN(dense.weight, ReadTensor(*tensors, file, "linear.weight", matrix));
  if (module.bias) {
    ENGRAM_ASSIGN_OR_RETURN(dense.bias, ReadTensor(*tensors, file, "linear.bias", {module.out_features}));
  }
  if (projects) {
    ENGRAM_ASSIGN_OR_RETURN(dense.residual, ReadTensor(*tensors, file, "residual.weight", matrix));
  }
  return dense;
}

absl::StatusOr<SentenceVectors> SentenceVectors::Load(const std::string& directory, checkpoint::SentenceModules modules,
                                                      int64_t hidden_size) {
  SentenceVectors vectors;
  vectors.full_width_ = modules.pooled_width(hidden_size);
  for (const auto& step : modules.steps) {
    if (const auto* dense = std::get_if<DenseModule>(&step)) {
      ENGRAM_ASSIGN_OR_RETURN(Dense layer, LoadDense(directory, *dense));
      vectors.full_width_ = dense->out_features;
      vectors.steps_.emplace_back(std::move(layer));
    } else {
      vectors.steps_.emplace_back(Normalize());
    }
  }
  vectors.modules_ = std::move(modules);
  return vectors;
}

bool SentenceVectors::normalized() const { return !steps_.empty() && std::holds_alternative<Normalize>(steps_.back()); }

at::Tensor SentenceVectors::Apply(const at::Tensor& rows, int64_t prompt_tokens) const {
  const at::Tensor exact = rows.to(at::TensorOptions().device(at::kCPU).dtype(at::kDouble));
  const int64_t skipped = modules_.pooling.include_prompt ? 0 : prompt_tokens;
  std::vector<at::Tensor> pooled;
  for (const TokenPooling mode : modules_.pooling.modes) pooled.push_back(Pool(exact, mode, skipped));
  at::Tensor vector = pooled.size() == 1 ? pooled.front() : at::cat(pooled);
  for (const auto& step : steps_) {
    const auto* dense = std::get_if<Dense>(&step);
    if (dense == nullptr) {
      vector = UnitLength(vector);
      continue;
    }
    at::Tensor out = at::mv(dense->weight, vector);
    if (dense->bias.defined()) out = out + dense->bias;
    out = dense->activation(out);
    if (dense->adds_input) out = out + vector;
    if (dense->residual.defined()) out = out + at::mv(dense->residual, vector);
    vector = out;
  }
  return vector;
}

at::Tensor SentenceVectors::Combine(std::span<const at::Tensor> parts, std::span<const int64_t> weights) const {
  at::Tensor vector = parts[0];
  if (parts.size() > 1) {
    at::Tensor sum = at::zeros_like(vector);
    double total = 0;
    for (size_t i = 0; i < parts.size(); ++i) {
      sum = sum + parts[i] * static_cast<double>(weights[i]);
      total += static_cast<double>(weights[i]);
    }
    vector = normalized() ? UnitLength(sum / total) : sum / total;
  }
  return modules_.truncate_dim ? vector.narrow(0, 0, *modules_.truncate_dim) : vector;
}

}  // namespace engram::nn
