// Training on a device against training on the CPU: the same batches, the same dropout where the device draws the CPU's bits.

#include "core/nn/device.h"

#include "ATen/TensorOperators.h"
#include "core/train/trainer.h"
#include "tests/unit/tiny_model.h"

namespace engram::train {
namespace {

struct Case {
  std::string name;
  nn::Precision precision;
  double dropout;
  double bound;  // of what differs over what moved
};

class DeviceTest : public ::testing::TestWithParam<Case> {};

// In fp32 flash attention takes no part, so dropout is the same; in bf16 it draws its own.
INSTANTIATE_TEST_SUITE_P(Train, DeviceTest,
                         ::testing::Values(Case{"fp32", nn::Precision::kFloat32, 0.1, 0.01},
                                           Case{"bf16", nn::Precision::kBFloat16, 0.0, 0.2}),
                         [](const auto& info) { return info.param.name; });

TEST_P(DeviceTest, LearnsWhatTheCpuLearns) {
  const auto cuda = nn::ParseDevice("cuda:0");
  if (!cuda.ok()) GTEST_SKIP() << cuda.status();
  constexpr int64_t kLabels = 3;
  const std::vector<TrainingExample> training = TinyExamples(50, kLabels, 1);
  TrainOptions options;
  options.lr = 1e-3;
  options.epochs = 2;
  options.batch_size = 8;
  TrainInput input;
  input.task = TinyTask("a", kLabels);
  input.training = training;
  const auto train = [&](at::Device device) {
    auto model = TinyModel({"a"}, kLabels, GetParam().dropout, GetParam().precision, device);
    const at::Tensor before = model->parameters().weights().clone();
    const auto result = Train(*model, options, input);
    EXPECT_TRUE(result.ok()) << result.status();
    return std::pair(model->parameters().weights().cpu().to(at::kDouble), before.cpu().to(at::kDouble));
  };
  const auto [on_cpu, before] = train(at::kCPU);
  const auto [on_device, drawn] = train(*cuda);
  ASSERT_EQ((before - drawn).abs().max().item<double>(), 0) << "weights are drawn on the host";
  const double moved = (on_cpu - before).norm().item<double>(), differs = (on_device - on_cpu).norm().item<double>();
  EXPECT_GT(moved, 0);
  EXPECT_LE(differs / moved, GetParam().bound);
}

}  // namespace
}  // namespace engram::train
