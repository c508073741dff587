#pragma once

// The vector of a text as the model's sentence-transformers modules define it (core/checkpoint/sentence_modules.h): pooling over the encoder's
// token vectors, then Dense and Normalize in their order. Computed in fp64, text by text, on the CPU: the same bits in any batch.

#include <cstdint>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "ATen/core/Tensor.h"
#include "core/base/status.h"
#include "core/checkpoint/sentence_modules.h"

namespace engram::nn {

// Immutable and thread-safe once made.
class SentenceVectors {
 public:
  // Reads the weights of the Dense modules in `directory`. INVALID_ARGUMENT for an activation that is not implemented, and for weights that
  // are not the layer's or not finite, naming file and tensor.
  static absl::StatusOr<SentenceVectors> Load(const std::string& directory, checkpoint::SentenceModules modules,
                                              int64_t hidden_size);

  const checkpoint::SentenceModules& modules() const { return modules_; }
  // Numbers of a text's vector.
  int64_t width() const { return modules_.truncate_dim.value_or(full_width_); }
  // Numbers of what Apply returns.
  int64_t full_width() const { return full_width_; }
  // Whether the modules end with Normalize.
  bool normalized() const;

  // `rows`: the token vectors [L, hidden] of one text in any floating type, special tokens included; `prompt_tokens` < L: how many of the
  // first ones the pooling leaves out (include_prompt). fp64 [full_width] on the CPU, before truncate_dim. libtorch exceptions pass.
  at::Tensor Apply(const at::Tensor& rows, int64_t prompt_tokens) const;

  // The vector of a text of one part or several: the mean of the parts' vectors (of Apply), each weighted by its number of tokens; for
  // several it is scaled to length 1 again if the modules end with Normalize. fp64 [width]. `parts` and `weights` have the same size >= 1.
  at::Tensor Combine(std::span<const at::Tensor> parts, std::span<const int64_t> weights) const;

 private:
  using Activation = at::Tensor (*)(const at::Tensor&);
  struct Dense {
    at::Tensor weight, bias, residual;  // fp64 [out, in], [out] or undefined, [out, in] or undefined
    bool adds_input = false;
    Activation activation = nullptr;
  };
  struct Normalize {};

  static absl::StatusOr<Dense> LoadDense(const std::string& directory, const checkpoint::DenseModule& module);

  checkpoint::SentenceModules modules_;
  std::vector<std::variant<Dense, Normalize>> steps_;
  int64_t full_width_ = 0;
};

// x / max(|x|, 1e-12) along the last dimension.
at::Tensor UnitLength(const at::Tensor& rows);

}  // namespace engram::nn
