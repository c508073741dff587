#include "core/nn/fixed_expansion.h"

#include <cmath>
#include <numbers>

#include "ATen/TensorOperators.h"
#include "ATen/ops/addmm.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/linalg_vector_norm.h"
#include "ATen/ops/mm.h"
#include "ATen/ops/topk.h"
#include "ATen/ops/zeros.h"
#include "absl/strings/str_cat.h"
#include "core/base/random.h"

namespace engram::nn {

using checkpoint::ExpansionKind;

absl::StatusOr<FixedExpansion> FixedExpansion::Create(const checkpoint::Expansion& expansion, int64_t features,
                                                      at::Device device) {
  const int64_t width = expansion.width;
  if (width < 1 || width > checkpoint::kMaxExpansionWidth)
    return InvalidField("expansion", absl::StrCat("has a width outside [1, ", checkpoint::kMaxExpansionWidth, "]"));
  FixedExpansion made(expansion);
  if (expansion.kind == ExpansionKind::kUnit) {
    if (width != features)
      return InvalidField("expansion", absl::StrCat("\"unit\" is as wide as the encoder, which is ", features));
    return made;
  }
  const bool rff = expansion.kind == ExpansionKind::kRff;
  at::Tensor projection = at::empty({features, width}, at::kFloat), phase = at::empty({width}, at::kFloat);
  auto* p = projection.mutable_data_ptr<float>();
  auto* b = phase.mutable_data_ptr<float>();
  for (int64_t unit = 0; unit < width; ++unit) {
    RandomStream random(expansion.seed, RandomPurpose::kExpansion, static_cast<uint64_t>(unit));
    for (int64_t i = 0; i < features; ++i)
      p[i * width + unit] = static_cast<float>(random.NextNormal() / (rff ? kRffScale : 1.0));
    b[unit] = static_cast<float>(2 * std::numbers::pi * random.NextDouble());
  }
  made.projection_ = projection.to(device);
  if (rff) made.phase_ = phase.to(device);
  return made;
}

at::Tensor FixedExpansion::Forward(const at::Tensor& pooled, TapeState* tape) const {
  const at::Tensor h = pooled.to(at::kFloat);
  const at::Tensor length = at::linalg_vector_norm(h, 2, {1}, /*keepdim=*/true).clamp_min_(1e-12);
  const at::Tensor unit = h / length;
  if (tape != nullptr) *tape = {unit, length, {}};
  const double scale = 1 / std::sqrt(static_cast<double>(expansion_.width));
  at::Tensor projected, phi;
  switch (expansion_.kind) {
    case ExpansionKind::kRelu:
      projected = at::mm(unit, projection_);
      phi = projected.clamp_min(0).mul_(scale);
      break;
    case ExpansionKind::kRff:
      projected = at::addmm(phase_, unit, projection_);
      phi = projected.cos().mul_(std::numbers::sqrt2 * scale);
      break;
    case ExpansionKind::kKwta: {
      const auto [values, units] =
          at::topk(at::mm(unit, projection_), (expansion_.width + kWinnersOneIn - 1) / kWinnersOneIn, 1);
      phi = at::zeros({h.size(0), expansion_.width}, h.options()).scatter_(1, units, values * scale);
      projected = phi;
      break;
    }
    case ExpansionKind::kUnit:
    case ExpansionKind::kNone:
      return unit;
  }
  if (tape != nullptr) tape->projected = projected;
  return phi;
}

at::Tensor FixedExpansion::Backward(const at::Tensor& gradient, const TapeState& tape) const {
  const double scale = 1 / std::sqrt(static_cast<double>(expansion_.width));
  at::Tensor g = gradient;
  if (expansion_.kind == ExpansionKind::kRff) {
    g = at::mm(gradient * tape.projected.sin() * (-std::numbers::sqrt2 * scale), projection_.t());
  } else if (expansion_.kind == ExpansionKind::kRelu) {
    g = at::mm((gradient * (tape.projected > 0)).mul_(scale), projection_.t());
  } else if (expansion_.kind == ExpansionKind::kKwta) {
    g = at::mm((gradient * (tape.projected != 0)).mul_(scale), projection_.t());
  }
  // Through h / |h|.
  return (g - tape.unit * (g * tape.unit).sum(1, /*keepdim=*/true)) / tape.length;
}

}  // namespace engram::nn
