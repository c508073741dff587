#include "core/nn/between_layers.h"

#include <vector>

#include "c10/core/InferenceMode.h"
#include "gmock/gmock.h"
#include "tests/unit/tiny_model.h"

namespace engram::nn {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(BetweenLayers, WorkIsDoneBetweenTheLayersOfAPassAndChangesNothingOfIt) {
  const c10::InferenceMode inference;
  EncoderConfig config = TinyConfig(0);
  config.layers = 3;
  const auto model = *Model::Create(config, at::kCPU, Precision::kFloat32);
  model->InitializeEncoder(1);
  model->parameters().RefreshCompute();
  const auto encode = [&](std::vector<int32_t> ids) {
    const Sequence sequence{std::move(ids), {}};
    return model->Encode(*Pack(std::span<const Sequence>(&sequence, 1), at::kCPU), std::nullopt, nullptr);
  };
  const at::Tensor alone = encode({1, 2, 3}), other_alone = encode({9, 8});
  std::vector<at::Tensor> others;
  at::Tensor interrupted;
  {
    const BetweenLayers work([&] { others.push_back(encode({9, 8})); });  // whose own pass has no pauses
    interrupted = encode({1, 2, 3});
  }
  EXPECT_EQ(others.size(), 2);
  for (const at::Tensor& other : others) EXPECT_TRUE(at::equal(other, other_alone));
  EXPECT_TRUE(at::equal(interrupted, alone));
  encode({1, 2, 3});
  EXPECT_EQ(others.size(), 2) << "the work has ended";
}

TEST(BetweenLayers, TheInnermostCountsAndWorkItselfHasNoPauses) {
  std::vector<char> done;
  BetweenLayers::Pause();
  {
    const BetweenLayers outer([&] {
      done.push_back('o');
      BetweenLayers::Pause();
    });
    BetweenLayers::Pause();
    {
      const BetweenLayers inner([&] { done.push_back('i'); });
      BetweenLayers::Pause();
    }
    BetweenLayers::Pause();
  }
  BetweenLayers::Pause();
  EXPECT_THAT(done, ElementsAre('o', 'i', 'o'));
}

}  // namespace
}  // namespace engram::nn
