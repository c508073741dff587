#include "server/inference/text_chunks.h"

#include "ATen/TensorOperators.h"

namespace engram::server {

void ChunkMean::Add(const std::map<std::string, at::Tensor>& logits, int64_t weight) {
  for (const auto& [task, own] : logits) {
    Sum& sum = sums_[task];
    const at::Tensor weighted = own.to(at::kDouble) * weight;
    sum.logits = sum.logits.defined() ? sum.logits + weighted : weighted;
    sum.weight += weight;
  }
}

at::Tensor ChunkMean::Of(const std::string& task) const {
  const Sum& sum = sums_.at(task);
  return (sum.logits / sum.weight).to(at::kFloat);
}

}  // namespace engram::server
