#include "core/nn/ops/op_probe.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <exception>
#include <functional>
#include <optional>
#include <random>
#include <span>

#include "ATen/TensorOperators.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/equal.h"
#include "ATen/ops/ones.h"
#include "ATen/ops/tensor.h"
#include "ATen/ops/zeros.h"
#include "core/base/log.h"

namespace engram::nn::ops {
namespace {

constexpr int64_t kHeads = 4, kHeadDim = 32, kWidth = kHeads * kHeadDim;
const std::vector<int> kLengths = {5, 1, 37, 64, 130, 16, 3};

// Tensors to compute with on one device, in one dtype of the activations; the same numbers each time.
class Material {
 public:
  Material(at::Device device, at::ScalarType dtype) : device_(device), dtype_(dtype) {
    std::vector<Sequence> sequences;
    int32_t id = 0;
    for (const int length : kLengths) {
      Sequence sequence;
      for (int i = 0; i < length; ++i, ++id) {
        sequence.ids.push_back(id * 7 % 31);
        sequence.type_ids.push_back(id % 2);
      }
      sequences.push_back(std::move(sequence));
    }
    batch_ = Pack(sequences, device).value();
    for (size_t n = 0; n < kLengths.size(); ++n) weights_.push_back(0.5F + 0.25F * static_cast<float>(n));
  }
  at::Device device() const { return device_; }
  const PackedBatch& batch() const { return batch_; }
  int64_t tokens() const { return batch_.tokens(); }
  std::span<const float> weights() const { return weights_; }
  // Relative to the largest entry: sums in another order; in bf16 a rounding of each operand and of the result.
  double tolerance() const { return dtype_ == at::kFloat ? 1e-5 : 1.0 / 64; }
  at::Tensor Draw(at::IntArrayRef shape) { return Draw32(shape).to(dtype_); }
  at::Tensor Draw32(at::IntArrayRef shape) {
    at::Tensor tensor = at::empty(shape, at::kFloat);
    std::normal_distribution<float> normal;
    for (float& value : std::span(tensor.mutable_data_ptr<float>(), static_cast<size_t>(tensor.numel())))
      value = normal(random_);
    return tensor.to(device_);
  }
  at::Tensor Whole(const std::vector<int64_t>& values) const { return at::tensor(values, at::kLong).to(device_); }

 private:
  at::Device device_;
  at::ScalarType dtype_;
  std::mt19937_64 random_{7};
  PackedBatch batch_;
  std::vector<float> weights_;
};

using Tensors = std::vector<at::Tensor>;

bool Close(const Tensors& own, const Tensors& twin, double tolerance) {
  if (own.size() != twin.size()) return false;
  for (size_t i = 0; i < own.size(); ++i) {
    if (!own[i].defined() || own[i].sizes() != twin[i].sizes() || own[i].scalar_type() != twin[i].scalar_type())
      return false;
    const at::Tensor a = own[i].to(at::kDouble), b = twin[i].to(at::kDouble);
    const double largest = b.abs().max().item<double>(), difference = (a - b).abs().max().item<double>();
    if (!(difference <= tolerance * largest)) return false;  // NaN is not close
  }
  return true;
}

constexpr std::array<Activation, 5> kActivations = {Activation::kGelu, Activation::kGeluTanh, Activation::kRelu,
                                                    Activation::kSilu, Activation::kTanh};
std::vector<Dropout> Dropouts() { return {{}, {0.1F, 17, 3, 5}}; }

Tensors Linears(const OpTable& ops, Material m) {
  const at::Tensor x = m.Draw({40, 24}), w = m.Draw({56, 24}), b = m.Draw({56});
  Tensors out = {ops.linear(x, w, b), ops.linear(x, w, at::Tensor())};
  if (const at::Tensor packed = ops.pack_weight(w); packed.defined()) out.push_back(ops.linear(x, packed, b));
  return out;
}

Tensors LinearInputGradients(const OpTable& ops, Material m) {
  return {ops.linear_input_gradient(m.Draw({40, 56}), m.Draw({56, 24}))};
}

Tensors LinearWeightGradients(const OpTable& ops, Material m) {
  const at::Tensor w = m.Draw32({56, 24}), b = m.Draw32({56});
  ops.linear_weight_gradient(m.Draw({40, 56}), m.Draw({40, 24}), w, b);
  return {w, b};
}

Tensors Activations(const OpTable& ops, Material m) {
  const at::Tensor x = m.Draw({40, 24}), w = m.Draw({70, 24}), b = m.Draw({70});
  Tensors out;
  for (const Activation act : kActivations) {
    at::Tensor pre;
    out.push_back(ops.linear_activation(x, w, b, act, &pre));
    out.push_back(pre);
    out.push_back(ops.linear_activation(x, w, at::Tensor(), act, nullptr));
  }
  return out;
}

Tensors ActivationGradients(const OpTable& ops, Material m) {
  const at::Tensor g = m.Draw({40, 70}), pre = m.Draw({40, 70});
  Tensors out;
  for (const Activation act : kActivations) out.push_back(ops.activation_gradient(g, pre, act));
  return out;
}

Tensors GatedActivations(const OpTable& ops, Material m) {
  return {ops.gated_activation(m.Draw({40, 70}), Activation::kSilu)};
}

Tensors GatedActivationGradients(const OpTable& ops, Material m) {
  return {ops.gated_activation_gradient(m.Draw({40, 35}), m.Draw({40, 70}), Activation::kSilu)};
}

Tensors LayerNorms(const OpTable& ops, Material m) {
  Tensors out;
  for (const int64_t width : {97, 768}) {
    const at::Tensor x = m.Draw({33, width}), residual = m.Draw({33, width}), gamma = m.Draw({width}),
                     beta = m.Draw({width});
    for (const Dropout& dropout : Dropouts()) {
      const LayerNormResult result = ops.add_layer_norm(x, residual, dropout, gamma, beta, 1e-5, true);
      out.insert(out.end(), {result.y, result.normalized, result.rstd});
      out.push_back(ops.add_layer_norm(x, at::Tensor(), dropout, gamma, beta, 1e-5, false).y);
    }
  }
  return out;
}

Tensors LayerNormGradients(const OpTable& ops, Material m) {
  Tensors out;
  for (const int64_t width : {97, 768}) {
    const at::Tensor g = m.Draw({33, width}), normalized = m.Draw({33, width}), gamma = m.Draw({width}),
                     rstd = m.Draw32({33}).abs();
    for (const Dropout& dropout : Dropouts()) {
      const AddLayerNormGradientResult result = ops.add_layer_norm_gradient(g, normalized, rstd, gamma, dropout);
      out.insert(out.end(), {result.residual, result.x});
    }
  }
  return out;
}

Tensors LayerNormWeightGradients(const OpTable& ops, Material m) {
  const at::Tensor gamma = m.Draw32({97}), beta = m.Draw32({97});
  ops.layer_norm_weight_gradient(m.Draw({533, 97}), m.Draw({533, 97}), gamma, beta);
  return {gamma, beta};
}

Tensors RmsNorms(const OpTable& ops, Material m) {
  const LayerNormResult result = ops.rms_norm(m.Draw({33, 97}), m.Draw({97}), 1e-5, true);
  return {result.y, result.normalized, result.rstd};
}

Tensors RmsNormGradients(const OpTable& ops, Material m) {
  return {ops.rms_norm_gradient(m.Draw({33, 97}), m.Draw({33, 97}), m.Draw32({33}).abs(), m.Draw({97}))};
}

Tensors AppliedDropouts(const OpTable& ops, Material m) {
  return {ops.apply_dropout(m.Draw({41, 77}), {0.3F, 1ULL << 60, 70000, 65535})};
}

Tensors DropoutMasks(const OpTable& ops, Material m) {
  return {ops.dropout_mask({0.3F, 9, 8, 7}, std::array<int64_t, 3>{0, int64_t{5} << 31, 1280}, 5000, m.device())};
}

Tensors Rotations(const OpTable& ops, Material m) {
  Tensors out;
  const at::Tensor table = m.Draw32({130, kHeadDim});
  for (const bool transposed : {false, true}) {
    out.push_back(m.Draw({m.tokens(), kWidth}));
    ops.rotate(out.back(), kHeads, kHeadDim, table, m.batch().positions, transposed);
  }
  return out;
}

Tensors EmbeddingSums(const OpTable& ops, Material m) {
  const at::Tensor word = m.Draw({31, 97}), type = m.Draw({2, 97}), position = m.Draw({132, 97});
  return {ops.embedding_sum(m.batch(), word, type, position, 2),
          ops.embedding_sum(m.batch(), word, at::Tensor(), at::Tensor(), 0)};
}

Tensors EmbeddingWeightGradients(const OpTable& ops, Material m) {
  const at::Tensor g = m.Draw({m.tokens(), 97}), words = m.Draw32({31, 97}), types = m.Draw32({2, 97});
  ops.embedding_weight_gradient(g, m.batch().ids, words);
  ops.embedding_weight_gradient(g, m.batch().type_ids, types);
  return {words, types};
}

Tensors MeanPools(const OpTable& ops, Material m) { return {ops.mean_pool(m.Draw({m.tokens(), 97}), m.batch())}; }

Tensors MeanPoolGradients(const OpTable& ops, Material m) {
  return {ops.mean_pool_gradient(m.Draw({m.batch().sequences(), 97}), m.batch())};
}

Tensors FirstTokens(const OpTable& ops, Material m) { return {ops.first_token(m.Draw({m.tokens(), 97}), m.batch())}; }

Tensors FirstTokenGradients(const OpTable& ops, Material m) {
  return {ops.first_token_gradient(m.Draw({m.batch().sequences(), 97}), m.batch())};
}

Tensors CrossEntropies(const OpTable& ops, Material m) {
  Tensors out;
  for (const int64_t labels : {3, 1500}) {
    const at::Tensor logits = m.Draw32({5, labels}).mul_(4), weight = m.Draw32({5}).abs();
    for (const at::Tensor& scale : {weight, at::Tensor()}) {
      const CrossEntropyResult result = ops.cross_entropy(logits, m.Whole({0, 2, kIgnored, 1, 2}), scale);
      out.insert(out.end(), {result.loss, result.grad});
    }
  }
  return out;
}

Tensors SquaredLinears(const OpTable& ops, Material m) {
  const at::Tensor g = m.Draw({m.tokens(), 136}), x = m.Draw({m.tokens(), 72});
  Tensors out;
  for (const bool absolute : {false, true}) {
    const at::Tensor w = m.Draw32({136, 72}), b = m.Draw32({136});
    ops.squared_linear_gradient(g, x, m.batch().host_cu_seqlens, m.weights(), absolute, w, b);
    out.insert(out.end(), {w, b});
  }
  return out;
}

Tensors SquaredLayerNorms(const OpTable& ops, Material m) {
  const at::Tensor g = m.Draw({m.tokens(), 97}), normalized = m.Draw({m.tokens(), 97});
  const at::Tensor gamma = m.Draw32({97}), beta = m.Draw32({97});
  ops.squared_layer_norm_gradient(g, normalized, m.batch().host_cu_seqlens, m.weights(), false, gamma, beta);
  return {gamma, beta};
}

Tensors SquaredEmbeddings(const OpTable& ops, Material m) {
  const at::Tensor g = m.Draw({m.tokens(), 97});
  Tensors out;
  for (const bool absolute : {false, true}) {
    out.push_back(m.Draw32({31, 97}));
    ops.squared_embedding_gradient(g, m.batch().ids, m.batch().host_cu_seqlens, m.weights(), absolute, out.back());
  }
  return out;
}

Tensors AdamWSteps(const OpTable& ops, Material m) {
  constexpr int64_t kSize = 9001;
  AdamWArguments a;
  a.weights = m.Draw32({kSize});
  a.first_moment = m.Draw32({kSize});
  a.second_moment = m.Draw32({kSize}).square();
  a.gradients = m.Draw32({kSize});
  a.compute = a.weights.to(at::kBFloat16);
  const std::vector<ElementRange> ranges = {{3, 5000, true}, {5100, 9000, false}};
  const std::vector<AdamWPenalty> penalties = {
      {m.Draw32({kSize}).square(), m.Draw32({kSize}), 0, kSize, 5, INFINITY},
      {m.Draw32({4000}).square(), m.Draw32({4000}), 2000, 6000, 3000, 2},
  };
  a.ranges = ranges;
  a.penalties = penalties;
  a.step = 3;
  a.lr = 1e-3;
  a.gradient_scale = 0.7;
  a.weight_decay = 0.1;
  const std::vector<double> values = ops.adamw_step(a);
  return {a.weights, a.first_moment, a.second_moment, a.compute.to(at::kFloat), at::tensor(values, at::kDouble)};
}

Tensors GradientNorms(const OpTable& ops, Material m) {
  const std::vector<ElementRange> ranges = {{3, 5000, true}, {5100, 9000, false}};
  return {at::tensor(std::vector<double>{ops.gradient_norm(m.Draw32({9001}), ranges)}, at::kDouble)};
}

std::vector<AttentionShape> Shapes() {
  return {{kHeads, kHeads, kHeadDim}, {kHeads, 2, kHeadDim, -1, true}, {kHeads, kHeads, kHeadDim, 9}};
}

Tensors Attentions(const OpTable& ops, Material m) {
  Tensors out;
  for (const AttentionShape& shape : Shapes()) {
    const at::Tensor qkv = m.Draw({m.tokens(), shape.qkv_width()}), g = m.Draw({m.tokens(), shape.out_width()});
    const AttentionResult result = ops.attention(qkv, m.batch(), shape, {}, true);
    out.insert(out.end(), {result.out, result.logsumexp, ops.attention_gradient(g, qkv, result, m.batch(), shape, {}),
                           ops.attention(qkv, m.batch(), shape, {}, false).out});
  }
  return out;
}

// The output is linear in the values, so <g, out> = <gradient of the values, values>: only if both passes drop the same. A
// probability is kept or not by its dropout alone, the same each time, in the share that was asked for.
bool DropsTheSameInBothPasses(const OpTable& ops, Material m) {
  const AttentionShape shape{kHeads, kHeads, kHeadDim};
  const Dropout dropout{0.25F, 17, 3, 5}, other{0.25F, 17, 4, 5};
  const at::Tensor qkv = m.Draw({m.tokens(), shape.qkv_width()}), g = m.Draw({m.tokens(), shape.out_width()});
  const int64_t values = shape.out_width() + shape.key_width();
  const AttentionResult result = ops.attention(qkv, m.batch(), shape, dropout, true);
  const at::Tensor gradient = ops.attention_gradient(g, qkv, result, m.batch(), shape, dropout);
  const auto dot = [](const at::Tensor& a, const at::Tensor& b) {
    return (a.to(at::kDouble) * b.to(at::kDouble)).sum().item<double>();
  };
  const at::Tensor own = gradient.narrow(1, values, shape.key_width()), v = qkv.narrow(1, values, shape.key_width());
  const double scale = std::sqrt(dot(g, g) * dot(result.out, result.out));
  if (!(std::abs(dot(g, result.out) - dot(own, v)) <= m.tolerance() * scale)) return false;
  if (!at::equal(ops.attention(qkv, m.batch(), shape, dropout, true).out, result.out)) return false;
  if (at::equal(ops.attention(qkv, m.batch(), shape, other, true).out, result.out)) return false;
  at::Tensor of_ones = qkv.clone();
  of_ones.narrow(1, values, shape.key_width()).fill_(1);
  const double mean = ops.attention(of_ones, m.batch(), shape, dropout, true).out.to(at::kDouble).mean().item<double>();
  return std::abs(mean - 1) < 0.1;
}

// Entries that are taken or left out together.
struct Probe {
  std::string name;
  std::function<Tensors(const OpTable&, Material)> results;
  std::function<bool(const OpTable& own, const OpTable& twins)> differs;
  std::function<void(const OpTable& own, OpTable& taken)> take;
  std::function<bool(const OpTable&, Material)> further = {};  // what else must hold of the entry itself
};

template <auto... kMembers>
Probe Of(std::string name, Tensors (*results)(const OpTable&, Material)) {
  return {std::move(name), results,
          [](const OpTable& own, const OpTable& twins) { return ((own.*kMembers != twins.*kMembers) || ...); },
          [](const OpTable& own, OpTable& taken) { ((taken.*kMembers = own.*kMembers), ...); }};
}

// The masks first: other twins draw theirs by the table.
std::vector<Probe> Probes() {
  using T = OpTable;
  std::vector<Probe> probes = {
      Of<&T::dropout_mask>("dropout_mask", DropoutMasks),
      Of<&T::apply_dropout>("apply_dropout", AppliedDropouts),
      Of<&T::linear, &T::pack_weight>("linear", Linears),
      Of<&T::linear_input_gradient>("linear_input_gradient", LinearInputGradients),
      Of<&T::linear_weight_gradient>("linear_weight_gradient", LinearWeightGradients),
      Of<&T::linear_activation>("linear_activation", Activations),
      Of<&T::activation_gradient>("activation_gradient", ActivationGradients),
      Of<&T::gated_activation>("gated_activation", GatedActivations),
      Of<&T::gated_activation_gradient>("gated_activation_gradient", GatedActivationGradients),
      Of<&T::add_layer_norm>("add_layer_norm", LayerNorms),
      Of<&T::add_layer_norm_gradient>("add_layer_norm_gradient", LayerNormGradients),
      Of<&T::layer_norm_weight_gradient>("layer_norm_weight_gradient", LayerNormWeightGradients),
      Of<&T::rms_norm>("rms_norm", RmsNorms),
      Of<&T::rms_norm_gradient>("rms_norm_gradient", RmsNormGradients),
      Of<&T::rotate>("rotate", Rotations),
      Of<&T::attention, &T::attention_gradient>("attention", Attentions),
      Of<&T::embedding_sum>("embedding_sum", EmbeddingSums),
      Of<&T::embedding_weight_gradient>("embedding_weight_gradient", EmbeddingWeightGradients),
      Of<&T::mean_pool>("mean_pool", MeanPools),
      Of<&T::mean_pool_gradient>("mean_pool_gradient", MeanPoolGradients),
      Of<&T::first_token>("first_token", FirstTokens),
      Of<&T::first_token_gradient>("first_token_gradient", FirstTokenGradients),
      Of<&T::cross_entropy>("cross_entropy", CrossEntropies),
      Of<&T::squared_linear_gradient>("squared_linear_gradient", SquaredLinears),
      Of<&T::squared_layer_norm_gradient>("squared_layer_norm_gradient", SquaredLayerNorms),
      Of<&T::squared_embedding_gradient>("squared_embedding_gradient", SquaredEmbeddings),
      Of<&T::adamw_step>("adamw_step", AdamWSteps),
      Of<&T::gradient_norm>("gradient_norm", GradientNorms),
  };
  for (Probe& probe : probes) {
    if (probe.name == "attention") probe.further = DropsTheSameInBothPasses;
  }
  return probes;
}

bool Agrees(const Probe& probe, at::Device device, const OpTable& own, const OpTable& twins) {
  try {
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
      const Material material(device, dtype);
      if (!Close(probe.results(own, material), probe.results(twins, material), material.tolerance())) return false;
      if (probe.further && !probe.further(own, material)) return false;
    }
    return true;
  } catch (const std::exception& exception) {
    LogWarning("a kernel failed its probe", {{"op", probe.name}, {"what", exception.what()}});
    return false;
  }
}

}  // namespace

ProbeResult ProbeOps(at::Device device, const OpTable& twins, OpTable& table) {
  ProbeResult result;
  OpTable agreed = twins;
  for (const Probe& probe : Probes()) {
    if (!probe.differs(table, twins)) continue;
    const bool agrees = Agrees(probe, device, table, twins);
    if (agrees) probe.take(table, agreed);
    (agrees ? result.taken : result.left_out).push_back(probe.name);
  }
  std::sort(result.left_out.begin(), result.left_out.end());
  table = agreed;
  return result;
}

}  // namespace engram::nn::ops
