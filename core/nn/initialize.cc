#include "core/nn/initialize.h"

#include "ATen/ops/empty.h"
#include "core/base/random.h"

namespace engram::nn {
namespace {

// FNV-1a: a stable number for a name.
uint64_t NameHash(const std::string& name) {
  uint64_t hash = 0xCBF29CE484222325u;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3u;
  return hash;
}

}  // namespace

void InitializeSlots(const std::vector<SlotId>& slots, double range, uint64_t seed, ParameterBuffer& parameters) {
  for (const SlotId slot : slots) {
    const ParameterSlice& slice = parameters.slice(slot);
    at::Tensor weight = parameters.Weight(slot);
    if (slice.shape.size() == 1) {
      weight.fill_(slice.name.ends_with("bias") ? 0.0 : 1.0);
      continue;
    }
    RandomStream random(seed, RandomPurpose::kHeadInit, NameHash(slice.name));
    at::Tensor drawn = at::empty(slice.shape, at::kFloat);
    float* out = drawn.mutable_data_ptr<float>();
    for (int64_t i = 0; i < slice.size; ++i) out[i] = static_cast<float>(range * random.NextNormal());
    weight.copy_(drawn);
  }
  parameters.RefreshCompute();
}

}  // namespace engram::nn
