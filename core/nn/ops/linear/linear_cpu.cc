// Matrix products on the CPU, by oneDNN for fp32 as well: the BLAS in the libtorch wheel (MKL) runs AVX2 code on AMD
// processors, at half the speed of oneDNN's AVX-512.

#include <optional>
#include <string_view>

#include "ATen/Parallel.h"
#include "ATen/core/List.h"
#include "ATen/core/dispatch/Dispatcher.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/linear.h"
#include "ATen/ops/mm.h"
#include "core/nn/kernels/isa.h"
#include "core/nn/kernels/tensor_rows.h"
#include "core/nn/ops/implementations.h"
#include "core/nn/ops/op_table.h"

namespace engram::nn::ops::cpu {
namespace {

// libtorch's fused linear layer on oneDNN, which it offers to its compiler and not in its C++ headers.
using NoScalars = c10::List<std::optional<at::Scalar>>;
using LinearPointwise = at::Tensor(const at::Tensor& x, const at::Tensor& w, const std::optional<at::Tensor>& b,
                                   std::string_view activation, NoScalars scalars,
                                   std::optional<std::string_view> algorithm);

using ReorderLinearWeight = at::Tensor(const at::Tensor& w, std::optional<int64_t> rows);

// nullopt: this libtorch was built without oneDNN.
template <typename Signature>
std::optional<c10::TypedOperatorHandle<Signature>> Find(const char* name) {
  const auto schema = c10::Dispatcher::singleton().findSchema({name, ""});
  if (!schema) return std::nullopt;
  return schema->typed<Signature>();
}

const std::optional<c10::TypedOperatorHandle<LinearPointwise>>& OneDnn() {
  static const auto handle = Find<LinearPointwise>("mkldnn::_linear_pointwise");
  return handle;
}

at::Tensor Linear(const at::Tensor& x, const at::Tensor& w, const at::Tensor& b) {
  const std::optional<at::Tensor> bias = b.defined() ? std::optional(b) : std::nullopt;
  if (!OneDnn() || x.size(0) == 0) return at::linear(x, w, bias);
  return OneDnn()->call(x, w, bias, "none", NoScalars(), "");
}

at::Tensor LinearInputGradient(const at::Tensor& g, const at::Tensor& w) { return Linear(g, w.t(), at::Tensor()); }

at::Tensor PackWeight(const at::Tensor& w) {
  static const auto reorder = Find<ReorderLinearWeight>("mkldnn::_reorder_linear_weight");
  if (!OneDnn() || !reorder) return {};
  constexpr int64_t kRows = 256;  // what Encoder::ForwardGroups multiplies at once, about
  return reorder->call(w, kRows);
}

// g^T as rows. libtorch's own copy of a transposed matrix is made by one thread, which cost training a tenth of its time. g [T, d]
// contiguous fp32, d a multiple of kernels::kColumnBlock.
at::Tensor Transposed(const at::Tensor& g) {
  const int64_t rows = g.size(0), width = g.size(1);
  at::Tensor out = at::empty({width, rows}, g.options());
  const float* from = g.const_data_ptr<float>();
  float* to = out.mutable_data_ptr<float>();
  at::parallel_for(0, width / kernels::kColumnBlock, 1, [&](int64_t begin, int64_t end) {
    const int64_t first = begin * kernels::kColumnBlock;
    kernels::Kernels().store_transposed(kernels::Element::kFloat32, from + first, width, nullptr,
                                        (end - begin) * kernels::kColumnBlock, rows, rows, to + first * rows);
  });
  return out;
}

// g^T x
at::Tensor TransposedProduct(const at::Tensor& g, const at::Tensor& x) {
  if (!OneDnn() || g.scalar_type() != at::kFloat || g.size(0) == 0) return at::mm(g.t(), x);
  const at::Tensor rows = g.is_contiguous() && g.size(1) % kernels::kColumnBlock == 0 ? Transposed(g) : g.t();
  return OneDnn()->call(rows, x.t(), std::nullopt, "none", NoScalars(), "");
}

void LinearWeightGradient(const at::Tensor& g, const at::Tensor& x, const at::Tensor& grad_w,
                          const at::Tensor& grad_b) {
  if (grad_w.defined()) grad_w.add_(TransposedProduct(g, x));
  if (grad_b.defined()) kernels::ColumnSums(g.contiguous(), at::Tensor(), grad_b, at::Tensor());
}

}  // namespace

void SetLinear(OpTable& table) {
  table.linear = Linear;
  table.linear_input_gradient = LinearInputGradient;
  table.linear_weight_gradient = LinearWeightGradient;
  table.pack_weight = PackWeight;
}

}  // namespace engram::nn::ops::cpu
