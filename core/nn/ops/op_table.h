#pragma once

// Every numeric operation that layers, optimizer and importance are made of, one folder each: <op>/<op>.h is its
// contract, <op>.cc hands a call to the table of its tensors' device, <op>_reference.cc is the op in plain ATen calls,
// <op>_cpu.cc a fused CPU form (core/nn/kernels/ holds its loops). There is no autograd in Engram: each layer's backward
// is written out, which is what makes per-sequence Fisher, dropout without stored masks and a fast CPU path possible.
//
// What holds for all ops:
//   dtypes    activations are fp32 or bf16 (x.dtype() decides, all of one call agree); sums, statistics and parameter
//             gradients are fp32 always (in bf16 a micro-batch's product g^T x is rounded to bf16 once before it is
//             added, as under PyTorch's autocast)
//   shapes    T rows (the tokens of a packed batch), widths i, o, d. Nothing is checked in release builds: callers are
//             layers, which checked when they were built
//   memory    functions allocate their outputs (Rotate alone works in place); all tensors of one call are on one device
//   threads   functions are thread-safe as far as they write to different tensors. Results repeat to the bit with one
//             number of threads; kernels of our own do not depend on it, oneDNN's products may (docs/performance.md)
//   errors    whatever libtorch throws (nn::GuardTorch turns it into a status)

#include "absl/status/status.h"
#include "c10/core/Device.h"
#include "core/nn/ops/activation/activation.h"
#include "core/nn/ops/adamw/adamw.h"
#include "core/nn/ops/attention/attention.h"
#include "core/nn/ops/cross_entropy/cross_entropy.h"
#include "core/nn/ops/dropout/dropout.h"
#include "core/nn/ops/embedding/embedding.h"
#include "core/nn/ops/gated_activation/gated_activation.h"
#include "core/nn/ops/layer_norm/layer_norm.h"
#include "core/nn/ops/linear/linear.h"
#include "core/nn/ops/pooling/pooling.h"
#include "core/nn/ops/rms_norm/rms_norm.h"
#include "core/nn/ops/rotary/rotary.h"
#include "core/nn/ops/squared_gradient/squared_gradient.h"

namespace engram::nn::ops {

// How one device computes each op. The types are those of the functions that the ops' headers declare, so a signature
// stands in one place. Plain pointers, none of them null; kOpTableVersion goes up with every change of an entry or a
// signature.
struct OpTable {
  decltype(&Linear) linear;
  decltype(&LinearInputGradient) linear_input_gradient;
  decltype(&LinearWeightGradient) linear_weight_gradient;
  decltype(&PackWeight) pack_weight;
  decltype(&LinearActivation) linear_activation;
  decltype(&ActivationGradient) activation_gradient;
  decltype(&GatedActivation) gated_activation;
  decltype(&GatedActivationGradient) gated_activation_gradient;
  decltype(&AddLayerNorm) add_layer_norm;
  decltype(&AddLayerNormGradient) add_layer_norm_gradient;
  decltype(&LayerNormWeightGradient) layer_norm_weight_gradient;
  decltype(&RmsNorm) rms_norm;
  decltype(&RmsNormGradient) rms_norm_gradient;
  decltype(&ApplyDropout) apply_dropout;
  decltype(&DropoutMask) dropout_mask;
  decltype(&Rotate) rotate;
  decltype(&Attention) attention;
  decltype(&AttentionGradient) attention_gradient;
  decltype(&EmbeddingSum) embedding_sum;
  decltype(&EmbeddingWeightGradient) embedding_weight_gradient;
  decltype(&MeanPool) mean_pool;
  decltype(&MeanPoolGradient) mean_pool_gradient;
  decltype(&FirstToken) first_token;
  decltype(&FirstTokenGradient) first_token_gradient;
  decltype(&CrossEntropy) cross_entropy;
  decltype(&SquaredLinearGradient) squared_linear_gradient;
  decltype(&SquaredLayerNormGradient) squared_layer_norm_gradient;
  decltype(&SquaredEmbeddingGradient) squared_embedding_gradient;
  decltype(&AdamWStep) adamw_step;
  decltype(&GradientNorm) gradient_norm;
};
inline constexpr uint64_t kOpTableVersion = 3;

// Plain ATen calls, which run on every device that libtorch knows.
const OpTable& ReferenceOps();

// The table that was registered for the device's type; the CPU's own for the CPU; else ReferenceOps(). Costs two loads.
// The reference stays valid for the process's life.
const OpTable& OpsFor(at::Device device);

// From now on `table` (copied) is what devices of this type compute with. To override some ops and leave the rest as
// they are, start from a copy of OpsFor(that device). INVALID_ARGUMENT for a table with a null entry. Thread-safe;
// calls that are under way finish with the table that they found.
absl::Status RegisterOps(at::DeviceType type, const OpTable& table);

}  // namespace engram::nn::ops
