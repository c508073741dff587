#pragma once

// Kronecker-factored Fisher information of the encoder's linear layers (Martens and Grosse, "K-FAC", ICML 2015; for layers
// that are used once for each token: Eschenhagen et al., NeurIPS 2023). For a layer y = W x + b, with a' = [x; 1] (x where
// there is no bias) and g the gradient of a text's log-likelihood by y at one of its tokens,
//
//   F of [W, b]  is taken as  A (x) G
//   expand   A = mean over tokens of a' a'^T          G = 1/N sum over texts of sum over tokens of g g^T
//   reduce   A = mean over texts of a_n a_n^T         G = 1/N sum over texts of g_n g_n^T
//            a_n the mean of the text's a', g_n the sum of its g
//
// and the quadratic that stands for a task is tr(G D A D^T), D = [W - W*, b - b*]: with one text of one token it is
// (sum D o gradient)^2 exactly. Query, key and value are layers of their own with one A.

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "core/base/status.h"
#include "core/nn/gradient_sink.h"
#include "core/nn/model.h"
#include "core/train/version_memory.h"

namespace engram::continual {

enum class TokenSharing { kExpand, kReduce };

// The weight matrix of each linear layer of the encoder's layers, in the order of the buffer. The pooler and whatever is
// no linear layer are not among them.
std::vector<nn::SlotId> LayerMatrices(const nn::Model& model);
// The bias that belongs to a matrix; -1: none.
nn::SlotId BiasOf(const nn::ParameterBuffer& parameters, nn::SlotId matrix);

struct KroneckerFactors {
  at::Tensor inputs;     // A, fp32 [i, i], i one more than the matrix has columns where there is a bias; may be shared
  at::Tensor gradients;  // G, fp32 [o, o]
};
using LayerFactors = std::map<nn::SlotId, KroneckerFactors>;  // by the weight matrix

// Sums the factors from backward passes of log-likelihoods (not of means). Not thread-safe; the model must outlive it.
class KroneckerSink final : public nn::GradientSink {
 public:
  KroneckerSink(const nn::Model& model, TokenSharing sharing);

  void Linear(nn::SlotId weight, nn::SlotId bias, int count, const at::Tensor& a, const at::Tensor& g,
              const nn::RowOwners& rows) override;
  void LayerNorm(nn::SlotId, nn::SlotId, const at::Tensor&, const at::Tensor&, const nn::RowOwners&) override {}
  void Embedding(nn::SlotId, const at::Tensor&, const at::Tensor&, const nn::RowOwners&) override {}
  void Bias(nn::SlotId, const at::Tensor&, const nn::RowOwners&) override {}

  // Of all layers that took part, over `texts` texts.
  LayerFactors Finish(int64_t texts) const;

 private:
  struct Sum {
    at::Tensor inputs;
    std::vector<at::Tensor> gradients;
    int64_t rows = 0;
  };

  const nn::ParameterBuffer& parameters_;
  const std::vector<nn::SlotId> matrices_;
  const TokenSharing sharing_;
  std::map<nn::SlotId, Sum> sums_;  // by the first matrix of those that share an input
};

// tr(G D A D^T) of one layer at [W, b] = `weights`, around `anchor`, both the buffer's flat tensor or its first part;
// adds `factor` times its gradient, 2 G D A, to the layer's in `gradients`.
double AddKroneckerGradient(const nn::ParameterBuffer& parameters, nn::SlotId matrix, const KroneckerFactors& factors,
                            const at::Tensor& weights, const at::Tensor& anchor, double factor, at::Tensor& gradients);

// "<what>.inputs.<matrix>" (once for matrices that share it, under the first) and "<what>.gradients.<matrix>".
void RememberFactors(const nn::Model& model, const std::string& what, const LayerFactors& factors,
                     train::VersionMemory& memory);
// The same again, on the model's device. DATA_LOSS with reason MEMORY_DAMAGED naming the tensor that is missing, has
// another shape or is not finite.
absl::StatusOr<LayerFactors> RecallFactors(const nn::Model& model, const std::string& what,
                                           const train::VersionMemory& memory);

}  // namespace engram::continual
