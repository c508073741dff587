#pragma once

// For the tests of ops: every op is held against its definition in fp64, written out with loops in the test, on every
// set of implementations that there is: each device's own, the reference on the same device, and the devices' kernels run
// on the host. Nothing is compared with another implementation.

#include <algorithm>
#include <array>
#include <cmath>
#include <ostream>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "ATen/TensorOperators.h"
#include "ATen/core/Tensor.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/tensor.h"
#include "core/base/random.h"
#include "core/nn/device.h"
#include "core/nn/ops/op_table.h"
#include "gtest/gtest.h"
#include "tests/unit/nn/ops/host_launch.h"

namespace engram::nn {

// A matrix in fp64. A vector is one row.
struct Matrix {
  Matrix(int64_t rows, int64_t width, double fill = 0)
      : rows(rows), width(width), values(static_cast<size_t>(rows * width), fill) {}
  double& operator()(int64_t r, int64_t c) { return values[static_cast<size_t>(r * width + c)]; }
  double operator()(int64_t r, int64_t c) const { return values[static_cast<size_t>(r * width + c)]; }
  int64_t rows, width;
  std::vector<double> values;
};

inline Matrix ToMatrix(const at::Tensor& tensor) {
  const at::Tensor flat = tensor.to(at::kCPU).to(at::kDouble).contiguous();
  Matrix m(flat.dim() == 2 ? flat.size(0) : 1, flat.size(-1));
  std::copy_n(flat.const_data_ptr<double>(), m.values.size(), m.values.begin());
  return m;
}

// The largest difference, in units of the largest expected entry. Infinite for another shape, or where one side is NaN.
inline double Distance(const at::Tensor& got, const Matrix& expected) {
  const Matrix ours = ToMatrix(got);
  if (ours.rows != expected.rows || ours.width != expected.width) return INFINITY;
  double largest = 0, difference = 0;
  for (size_t i = 0; i < ours.values.size(); ++i) {
    if (std::isnan(ours.values[i]) || std::isnan(expected.values[i])) return INFINITY;
    largest = std::max(largest, std::abs(expected.values[i]));
    difference = std::max(difference, std::abs(ours.values[i] - expected.values[i]));
  }
  return difference / std::max(largest, 1e-30);
}

// What element e of a dropout is multiplied with, from the words of dropout_bits.h.
inline double Keep(const ops::Dropout& dropout, uint64_t e) {
  if (dropout.probability == 0) return 1;
  const uint64_t r = e % 128, block = 16 * (e / 128) + r % 16;
  const std::array<uint32_t, 4> words = Philox({static_cast<uint32_t>(block), static_cast<uint32_t>(dropout.step),
                                                dropout.site << 16 | static_cast<uint32_t>(block >> 32), /*purpose=*/3},
                                               dropout.seed);
  const uint32_t bits = words[r / 16 % 4] >> (r / 64 * 16) & 0xFFFFu;
  const double dropped = std::round(dropout.probability * 65536);
  return bits < dropped ? 0 : 65536 / (65536 - dropped);
}

struct Target {
  std::string name;
  at::Device device;
  const ops::OpTable* table = nullptr;  // in place of the device's own ops
};

inline std::vector<Target> Targets() {
  std::vector<Target> targets = {{"cpu", at::kCPU},
                                 {"reference", at::kCPU, &ops::ReferenceOps()},
                                 {"kernels_on_the_host", at::kCPU, &HostKernels()}};
  if (const auto cuda = ParseDevice("cuda:0"); cuda.ok()) {
    targets.push_back({"cuda", *cuda});
    targets.push_back({"reference_on_cuda", *cuda, &ops::ReferenceOps()});
  }
  return targets;
}

// Makes ops::X(...) compute with what the target says, for the test's life.
class TargetScope {
 public:
  explicit TargetScope(const Target& target) : type_(target.device.type()), before_(ops::OpsFor(target.device)) {
    if (target.table == nullptr) return;
    EXPECT_TRUE(ops::RegisterOps(type_, *target.table).ok());
  }
  ~TargetScope() { EXPECT_TRUE(ops::RegisterOps(type_, before_).ok()); }
  TargetScope(const TargetScope&) = delete;
  TargetScope& operator=(const TargetScope&) = delete;

 private:
  at::DeviceType type_;
  ops::OpTable before_;
};

// One target in one dtype of the activations.
struct OpCase {
  Target target;
  at::ScalarType dtype;

  std::string name() const { return target.name + (dtype == at::kFloat ? "_fp32" : "_bf16"); }
};
inline void PrintTo(const OpCase& op_case, std::ostream* out) { *out << op_case.name(); }

class OpTest : public ::testing::TestWithParam<OpCase> {
 protected:
  at::Device device() const { return GetParam().target.device; }
  at::ScalarType dtype() const { return GetParam().dtype; }
  bool fp32() const { return dtype() == at::kFloat; }
  // fp32: sums of some hundred terms, each rounded. bf16: the result's rounding to 8 significant bits, at most 1/256 of
  // it, and as much again for each operand that is rounded on the way.
  double tolerance(double roundings = 1) const { return fp32() ? 2e-6 : roundings / 256; }
  // In the case's dtype; the same numbers for every target.
  at::Tensor Normal(at::IntArrayRef shape, double scale = 1) { return Normal32(shape, scale).to(dtype()); }
  at::Tensor Normal32(at::IntArrayRef shape, double scale = 1) {
    at::Tensor tensor = at::empty(shape, at::kFloat);
    std::normal_distribution<float> normal(0, static_cast<float>(scale));
    for (float& value : std::span(tensor.mutable_data_ptr<float>(), tensor.numel())) value = normal(random_);
    return tensor.to(device());
  }
  at::Tensor Filled32(at::IntArrayRef shape, double value) const {
    return at::empty(shape, at::TensorOptions(at::kFloat).device(device())).fill_(value);
  }
  at::Tensor Ints(const std::vector<int32_t>& values) const { return at::tensor(values, at::kInt).to(device()); }

 private:
  std::mt19937_64 random_{1};
  TargetScope scope_{GetParam().target};
};

inline std::vector<OpCase> Fp32Cases() {
  std::vector<OpCase> cases;
  for (const Target& target : Targets()) cases.push_back({target, at::kFloat});
  return cases;
}
inline std::vector<OpCase> OpCases() {
  std::vector<OpCase> cases = Fp32Cases();
  for (const Target& target : Targets()) cases.push_back({target, at::kBFloat16});
  return cases;
}
inline std::string OpCaseName(const ::testing::TestParamInfo<OpCase>& info) { return info.param.name(); }

// Unequal lengths, a single token, lengths above and below the blocks of 16 and 64 that kernels work in.
inline PackedBatch MakeBatch(at::Device device, const std::vector<int>& lengths = {5, 1, 19, 150, 33, 2, 64}) {
  std::vector<Sequence> sequences;
  int32_t id = 0;
  for (const int length : lengths) {
    Sequence s;
    for (int i = 0; i < length; ++i, ++id) {
      s.ids.push_back(id * 7 % 11);
      s.type_ids.push_back(id % 3 == 0 ? 1 : 0);
    }
    sequences.push_back(s);
  }
  return *Pack(sequences, device);
}

}  // namespace engram::nn
