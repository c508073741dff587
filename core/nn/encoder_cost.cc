#include "core/nn/encoder_cost.h"

#include "core/checkpoint/tensor_names.h"

namespace engram::nn {
namespace {

int64_t Elements(const checkpoint::ExpectedTensor& tensor) {
  int64_t elements = 1;
  for (const int64_t extent : tensor.shape) elements *= extent;
  return elements;
}

}  // namespace

double ProductsPerToken(const checkpoint::EncoderSizes& sizes) {
  const auto width = static_cast<double>(sizes.hidden_size), inner = static_cast<double>(sizes.intermediate_size);
  const auto queries = static_cast<double>(sizes.query_width()), keys = static_cast<double>(sizes.key_width());
  const int matrices = sizes.family->block.gated ? 3 : 2;  // of a feed-forward layer
  return static_cast<double>(sizes.layers) * (2 * width * (queries + keys) + matrices * width * inner);
}

int64_t ActivationBytes(int64_t tokens, int64_t kept_layers, const checkpoint::EncoderSizes& sizes,
                        Precision precision) {
  constexpr int64_t kFloatBytes = 4, kBFloat16Bytes = 2;
  const int64_t width = sizes.hidden_size, inner = sizes.intermediate_size;
  const int64_t attention =
      2 * (sizes.query_width() + sizes.key_width());       // queries, keys, values and what they become
  const int64_t rows = sizes.family->block.gated ? 3 : 2;  // of a feed-forward layer, inner wide
  const int64_t numbers = kept_layers * (4 * width + attention + rows * inner) + 3 * width + 11 * width + rows * inner;
  return tokens *
         (precision == Precision::kBFloat16 ? kBFloat16Bytes * numbers + kFloatBytes * inner : kFloatBytes * numbers);
}

int64_t HeadParameters(const checkpoint::EncoderSizes& sizes, checkpoint::TaskKind kind, checkpoint::Pooling pooling,
                       int64_t labels) {
  int64_t parameters = 0;
  for (const checkpoint::ExpectedTensor& tensor : checkpoint::HeadTensors(sizes, kind, pooling, labels)) {
    if (tensor.required) parameters += Elements(tensor);
  }
  if (!sizes.family->Head(kind, pooling).on_pooler) return parameters;
  for (const checkpoint::ExpectedTensor& tensor : checkpoint::EncoderTensors(sizes)) {
    if (tensor.role == checkpoint::TensorRole::kPooler) parameters += Elements(tensor);
  }
  return parameters;
}

}  // namespace engram::nn
