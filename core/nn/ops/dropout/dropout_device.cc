#include "ATen/ops/empty.h"
#include "ATen/ops/empty_like.h"
#include "core/nn/cuda/device_ops.h"
#include "core/nn/cuda/run.h"
#include "core/nn/ops/dropout/dropout_body.h"

namespace engram::nn::cuda {
namespace {

at::Tensor ApplyDropout(const at::Tensor& x, const ops::Dropout& dropout) {
  if (!dropout.active()) return x;
  const at::Tensor from = x.contiguous();
  at::Tensor out = at::empty_like(from);
  ForElements(from.scalar_type(), [&]<typename T>(T) {
    using Body = ApplyDropoutBody<T>;
    Run(Body{Read<T>(from), Write<T>(out), from.numel(), KeyOf(dropout)},
        {Blocks(from.numel(), Body::kElements), kMostWarps}, from);
  });
  return out;
}

at::Tensor DropoutMask(const ops::Dropout& dropout, std::span<const int64_t> first, int64_t count, at::Device device) {
  at::Tensor mask =
      at::empty({static_cast<int64_t>(first.size()), count}, at::TensorOptions(at::kFloat).device(device));
  const at::Tensor firsts = CopyOf(first, device);
  Run(DropoutMaskBody{Read<int64_t>(firsts), Write<float>(mask), count, KeyOf(dropout)},
      {mask.size(0) * Blocks(count, DropoutMaskBody::kElements), kMostWarps}, mask);
  return mask;
}

}  // namespace

void SetDropout(ops::OpTable& table) {
  table.apply_dropout = ApplyDropout;
  table.dropout_mask = DropoutMask;
}

}  // namespace engram::nn::cuda
