#pragma once

// The encoder of a BERT in fp64, written down from its definition, for any length: what the fast ones are held against.

#include <optional>
#include <string>
#include <vector>

#include "ATen/TensorOperators.h"
#include "ATen/ops/arange.h"
#include "ATen/ops/erf.h"
#include "ATen/ops/index_select.h"
#include "ATen/ops/matmul.h"
#include "ATen/ops/softmax.h"
#include "ATen/ops/stack.h"
#include "ATen/ops/tensor.h"
#include "core/nn/model.h"

namespace engram::longcontext {

class ReferenceEncoder {
 public:
  explicit ReferenceEncoder(const nn::Model& model) : model_(model) {}

  // Hidden states fp64 of the rows `wanted` (int64) behind the last layer. Positions are hierarchical beyond the table;
  // window 0: every token sees all.
  at::Tensor Hidden(const std::vector<int32_t>& ids, int64_t window, const at::Tensor& wanted) const {
    const nn::EncoderConfig& config = model_.config();
    at::Tensor x = Embeddings(ids);
    const at::Tensor all = at::arange(static_cast<int64_t>(ids.size()), at::kLong);
    for (int64_t l = 0; l < config.layers; ++l) x = Layer(l, x, window, l + 1 == config.layers ? wanted : all);
    return x;
  }

 private:
  at::Tensor W(const std::string& name) const {
    const nn::ParameterBuffer& parameters = model_.parameters();
    return parameters.Weight(parameters.Find(name)).to(at::kDouble);
  }
  at::Tensor Linear(const at::Tensor& x, const std::string& name) const {
    return at::matmul(x, W(name + ".weight").t()) + W(name + ".bias");
  }
  at::Tensor Norm(const at::Tensor& x, const std::string& name) const {
    const at::Tensor centred = x - x.mean(1, true);
    const at::Tensor variance = (centred * centred).mean(1, true);
    return centred / (variance + model_.config().layer_norm_eps).sqrt() * W(name + ".weight") + W(name + ".bias");
  }
  at::Tensor Embeddings(const std::vector<int32_t>& ids) const {
    const at::Tensor word = W("embeddings.word_embeddings.weight"), table = W("embeddings.position_embeddings.weight");
    const at::Tensor type = W("embeddings.token_type_embeddings.weight")[0];
    const at::Tensor p = at::arange(static_cast<int64_t>(ids.size()), at::kLong);
    const int64_t n = table.size(0);
    const at::Tensor e = (table - 0.4 * table[0]) / 0.6;
    const at::Tensor positions =
        0.4 * at::index_select(e, 0, p.floor_divide(n)) + 0.6 * at::index_select(e, 0, p.remainder(n));
    const at::Tensor index = at::tensor(ids, at::kInt);
    return Norm(at::index_select(word, 0, index) + positions + type, "embeddings.LayerNorm");
  }
  at::Tensor Layer(int64_t l, const at::Tensor& x, int64_t window, const at::Tensor& wanted) const {
    const std::string layer = "encoder.layer." + std::to_string(l) + ".";
    const int64_t heads = model_.config().heads, width = model_.config().hidden_size / heads;
    const at::Tensor rows = at::index_select(x, 0, wanted);
    const at::Tensor q = Linear(rows, layer + "attention.self.query"), k = Linear(x, layer + "attention.self.key"),
                     v = Linear(x, layer + "attention.self.value");
    std::vector<at::Tensor> by_head;
    for (int64_t h = 0; h < heads; ++h) {
      const auto head = [&](const at::Tensor& t) { return t.narrow(1, h * width, width); };
      at::Tensor scores = at::matmul(head(q), head(k).t()) / std::sqrt(static_cast<double>(width));
      if (window > 0) {
        const at::Tensor distance = (wanted.unsqueeze(1) - at::arange(x.size(0), at::kLong)).abs();
        scores = scores.masked_fill(distance > window, -1e300);
      }
      by_head.push_back(at::matmul(at::softmax(scores, 1), head(v)));
    }
    const at::Tensor attention = at::stack(by_head, 1).reshape({rows.size(0), heads * width});
    const at::Tensor attended =
        Norm(Linear(attention, layer + "attention.output.dense") + rows, layer + "attention.output.LayerNorm");
    const at::Tensor inner = Linear(attended, layer + "intermediate.dense");
    const at::Tensor activated = 0.5 * inner * (1 + at::erf(inner / std::sqrt(2.0)));
    return Norm(Linear(activated, layer + "output.dense") + attended, layer + "output.LayerNorm");
  }

  const nn::Model& model_;
};

}  // namespace engram::longcontext
