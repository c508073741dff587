#pragma once

// From token vectors to a chunk's vector, and from chunks' vectors to the document's. Both take what they are given
// piece by piece, in fp64: a sum over millions of tokens keeps its digits, and no vector of a chunk has to be kept.

#include <cstdint>
#include <functional>
#include <vector>

#include "ATen/core/Tensor.h"
#include "core/tokenize/token_windows.h"

namespace engram::longcontext {

// How the tokens of a chunk become its vector. kCls: the first special token's; kLast: the last content token's.
enum class Pooling { kMean, kCls, kLast, kMax };

// How chunks become the document. kMean: each chunk counts alike; kTokenMean: each token does; kAttention: weights
// softmax(cos(query, chunk) / temperature).
enum class Aggregation { kMean, kTokenMean, kMax, kAttention };

// One vector from rows of tokens that come in their order. kCls is the mean of what it is given: give it that row.
class RowPool {
 public:
  RowPool(Pooling kind, int64_t width);
  // rows: floating [n, width], n >= 1, on the CPU.
  void Add(const at::Tensor& rows);
  int64_t count() const { return count_; }
  // fp64 [width]; at least one row was added.
  at::Tensor Result() const;

 private:
  Pooling kind_;
  at::Tensor value_;
  int64_t count_ = 0;
};

// The document's vector. Of kTokenMean the tokens that each chunk owns are added, of the others each chunk's vector.
class DocumentPool {
 public:
  // `query` fp64 [width] and `temperature` > 0: of kAttention alone.
  DocumentPool(Aggregation kind, int64_t width, const at::Tensor& query, double temperature);
  bool of_tokens() const { return kind_ == Aggregation::kTokenMean; }
  void AddTokens(const at::Tensor& rows) { tokens_.Add(rows); }
  void AddChunk(const at::Tensor& vector);  // fp64 [width]
  // fp64 [width]; at least one was added.
  at::Tensor Result() const;

 private:
  const Aggregation kind_;
  const double temperature_;
  at::Tensor query_;  // of length 1
  RowPool tokens_;
  at::Tensor value_;
  double weight_ = 0, largest_ = 0;  // of kAttention: the sum of exp(score - largest), and the largest score so far
};

// The vectors of neighbouring chunks from the rows of all content tokens, in their order: chunk i is over the tokens of
// spans[i], which follow one another without a gap and outlive this.
class SpanPool {
 public:
  SpanPool(Pooling kind, int64_t width, const std::vector<tokenize::TokenWindow>& spans)
      : kind_(kind), width_(width), spans_(spans), pool_(kind, width) {}
  // rows: [n, width]. Calls `done` with the number and the vector, fp64 [width], of each chunk that they complete.
  void Add(const at::Tensor& rows, const std::function<void(size_t, const at::Tensor&)>& done);

 private:
  const Pooling kind_;
  const int64_t width_;
  const std::vector<tokenize::TokenWindow>& spans_;
  RowPool pool_;  // of chunk next_
  size_t next_ = 0;
};

}  // namespace engram::longcontext
