#include "core/longcontext/pooling.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "ATen/TensorOperators.h"
#include "ATen/ops/full.h"
#include "ATen/ops/maximum.h"
#include "ATen/ops/zeros.h"
#include "core/nn/sentence_vectors.h"

namespace engram::longcontext {
namespace {

at::Tensor Start(bool maximum, int64_t width) {
  return maximum ? at::full({width}, -std::numeric_limits<double>::infinity(), at::kDouble)
                 : at::zeros({width}, at::kDouble);
}

}  // namespace

RowPool::RowPool(Pooling kind, int64_t width) : kind_(kind), value_(Start(kind == Pooling::kMax, width)) {}

void RowPool::Add(const at::Tensor& rows) {
  switch (kind_) {
    case Pooling::kMean:
    case Pooling::kCls:
      value_ += rows.sum(at::IntArrayRef{0}, /*keepdim=*/false, at::kDouble);
      break;
    case Pooling::kLast:
      value_ = rows.select(0, rows.size(0) - 1).to(at::kDouble);
      break;
    case Pooling::kMax:
      value_ = at::maximum(value_, rows.amax(0).to(at::kDouble));
      break;
  }
  count_ += rows.size(0);
}

at::Tensor RowPool::Result() const {
  const bool mean = kind_ == Pooling::kMean || kind_ == Pooling::kCls;
  return mean ? value_ / static_cast<double>(count_) : value_;
}

DocumentPool::DocumentPool(Aggregation kind, int64_t width, const at::Tensor& query, double temperature)
    : kind_(kind),
      temperature_(temperature),
      query_(query.defined() ? nn::UnitLength(query) : query),
      tokens_(Pooling::kMean, width),
      value_(Start(kind == Aggregation::kMax, width)),
      largest_(-std::numeric_limits<double>::infinity()) {}

void DocumentPool::AddChunk(const at::Tensor& vector) {
  if (kind_ == Aggregation::kMax) {
    value_ = at::maximum(value_, vector);
    return;
  }
  double weight = 1;
  if (kind_ == Aggregation::kAttention) {
    // Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018: what was summed so far is scaled to the new largest score.
    const double score = (nn::UnitLength(vector) * query_).sum().item<double>() / temperature_;
    const double largest = std::max(largest_, score), scale = std::exp(largest_ - largest);
    value_ *= scale;
    weight_ *= scale;
    largest_ = largest;
    weight = std::exp(score - largest);
  }
  value_ += weight * vector;
  weight_ += weight;
}

at::Tensor DocumentPool::Result() const {
  if (kind_ == Aggregation::kTokenMean) return tokens_.Result();
  return kind_ == Aggregation::kMax ? value_ : value_ / weight_;
}

void SpanPool::Add(const at::Tensor& rows, const std::function<void(size_t, const at::Tensor&)>& done) {
  for (int64_t at = 0; at < rows.size(0);) {
    const int64_t missing = spans_[next_].tokens() - pool_.count();
    const int64_t count = std::min(missing, rows.size(0) - at);
    pool_.Add(rows.narrow(0, at, count));
    at += count;
    if (count < missing) continue;
    done(next_++, pool_.Result());
    pool_ = RowPool(kind_, width_);
  }
}

}  // namespace engram::longcontext
