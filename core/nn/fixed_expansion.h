#pragma once

// A head's fixed random expansion of pooled features h [n, d] (any float dtype) to phi [n, M] in fp32:
//
//   x = h / |h|
//   unit   phi = x                                       M = d
//   relu   phi = max(0, x P) / sqrt(M)                   P [d, M] standard normal
//   rff    phi = sqrt(2 / M) cos(x P / s + b)            b uniform in [0, 2 pi); phi.phi' ~ exp(-|x - x'|^2 / (2 s^2))
//   kwta   phi = x P / sqrt(M) where that is among its text's ceil(M / 20) largest, else 0
//
// relu: McDonnell et al., "RanPAC", NeurIPS 2023. rff: Rahimi and Recht, NeurIPS 2007; before LDA: Momeni et al., "KLDA",
// AAAI 2025. kwta: Coop and Arel's fixed expansion layers (IJCNN 2012, TNNLS 2013) keep the most active units of a fixed
// sparse projection. P and b are drawn again from the seed wherever the head is made (counter-based, core/base/random.h)
// and stored nowhere.

#include "ATen/core/Tensor.h"
#include "core/base/status.h"
#include "core/checkpoint/expansion.h"

namespace engram::nn {

// Immutable; copies share P. Any number of threads may use one.
class FixedExpansion {
 public:
  static constexpr double kRffScale = 1.0;      // s: vectors of length 1 are at most 2 apart
  static constexpr int64_t kWinnersOneIn = 20;  // kwta

  struct TapeState {
    at::Tensor unit;       // x [n, d]
    at::Tensor length;     // |h| [n, 1]
    at::Tensor projected;  // what the nonlinearity was taken of [n, M]; kwta: phi; unit: undefined
  };

  // INVALID_ARGUMENT for a width out of range, or for `unit` another than `features`.
  static absl::StatusOr<FixedExpansion> Create(const checkpoint::Expansion& expansion, int64_t features,
                                               at::Device device);

  at::Tensor Forward(const at::Tensor& pooled, TapeState* tape) const;
  // The gradient of the pooled features, fp32 [n, d], from that of phi.
  at::Tensor Backward(const at::Tensor& gradient, const TapeState& tape) const;

 private:
  explicit FixedExpansion(const checkpoint::Expansion& expansion) : expansion_(expansion) {}

  checkpoint::Expansion expansion_;
  at::Tensor projection_;  // P (rff: P / s) [d, M]; undefined for unit
  at::Tensor phase_;       // b [M]; rff alone
};

}  // namespace engram::nn
