#include "core/nn/parameter_buffer.h"

#include "gtest/gtest.h"

namespace engram::nn {
namespace {

TEST(ParameterBuffer, GrowsWithoutLosingValuesAndStacksNeighbours) {
  ParameterBuffer buffer(at::kCPU, Precision::kBFloat16);
  const auto first = *buffer.Append({{"a", {2, 3}, true}, {"b", {2, 3}, true}});
  buffer.Weight(first[1]).fill_(1.0 / 3);
  buffer.RefreshCompute();
  buffer.EnableGradients();
  buffer.gradient_buffer()->Of(first[0]).fill_(2);
  ASSERT_TRUE(buffer.Append({{"c", {4}, false}}).ok());
  EXPECT_EQ(buffer.size(), 16);
  EXPECT_FLOAT_EQ(buffer.Weight(first[1])[0][0].item<float>(), 1.0F / 3);
  EXPECT_EQ(buffer.gradient_buffer()->Of(first[0])[1][2].item<float>(), 2);
  EXPECT_EQ(buffer.ComputeStacked(first[0], 2).sizes(), at::IntArrayRef({4, 3}));
  EXPECT_NEAR(buffer.Compute(first[1])[0][0].item<float>(), 1.0 / 3, 1e-3);
  EXPECT_EQ(buffer.Append({{"a", {1}, true}}).status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(buffer.Find("none"), -1);
}

}  // namespace
}  // namespace engram::nn
