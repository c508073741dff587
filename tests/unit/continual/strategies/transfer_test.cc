#include <cmath>

#include "tests/unit/continual/strategy_probe.h"

namespace engram::continual {
namespace {

// The tiny model has two layers: depth 0 are its embeddings, 1 and 2 its layers.
class Transfer : public StrategyProbe {
 protected:
  static int64_t DepthOf(const std::string& parameter) {
    if (parameter.starts_with("encoder.layer.0.")) return 1;
    return parameter.starts_with("encoder.layer.1.") ? 2 : 0;
  }
  const std::vector<train::TrainingExample> b_ = TinyExamples(40, kLabels, 9);
};

// AdamW's first step moves a weight by lr times its gradient's sign, whatever its size (but for epsilon): the ratio of
// two runs' first steps is that of their learning rates.
TEST_F(Transfer, LowerLayersLearnMoreSlowly) {
  const auto slow = TinyModel({"b"}, kLabels, 0), plain = TinyModel({"b"}, kLabels, 0),
             start = TinyModel({"b"}, kLabels, 0);
  const auto strategy = Make("transfer", {{"lr_decay", "0.5"}}, {});
  Recorder with(*strategy);
  train::Strategy naive;
  Recorder without(naive);
  train::TrainOptions options = RunOptions();
  options.weight_decay = 0;
  ASSERT_TRUE(train::Train(*slow, options, Input("b", b_, &with)).ok());
  ASSERT_TRUE(train::Train(*plain, options, Input("b", b_, &without)).ok());
  for (const nn::ParameterSlice& slice : start->parameters().slices()) {
    const auto moved = [&](const Recorder& recorder) {
      return (recorder.steps[0].after - recorder.steps[0].before)
          .narrow(0, slice.offset, slice.size)
          .abs()
          .sum()
          .item<double>();
    };
    const double expected = slice.name.starts_with("heads.") ? 1 : std::pow(0.5, 2 - DepthOf(slice.name));
    EXPECT_NEAR(moved(with), expected * moved(without), 1e-3 * moved(without) + 1e-6) << slice.name;
  }
}

TEST_F(Transfer, LayersThawFromTheTop) {
  const auto model = TinyModel({"b"}, kLabels, 0);
  const auto strategy = Make("transfer", {{"thaw", "0.9"}, {"lr_decay", "1"}}, {});
  Recorder recorder(*strategy);
  ASSERT_TRUE(train::Train(*model, RunOptions(), Input("b", b_, &recorder)).ok());
  ASSERT_EQ(recorder.steps.size(), 10);
  for (size_t step = 0; step < 10; ++step) {
    for (const nn::ParameterSlice& slice : model->parameters().slices()) {
      // Thirds of 0.9 of 10 steps: layer 1 from step 3, embeddings from step 6.
      const size_t from = slice.name.starts_with("heads.") ? 0 : 3 * static_cast<size_t>(2 - DepthOf(slice.name));
      const auto part = [&](const at::Tensor& flat) { return flat.narrow(0, slice.offset, slice.size); };
      const bool moved = !at::equal(part(recorder.steps[step].before), part(recorder.steps[step].after));
      EXPECT_EQ(moved, step >= from) << slice.name << " at step " << step;
    }
  }
  ExpectResumesToTheBit("transfer", {{"thaw", "0.9"}}, {}, b_, {2, 5});
}

TEST_F(Transfer, LowestLayersStayAndTopmostAreDrawnAnew) {
  const auto model = TinyModel({"b"}, kLabels), before = TinyModel({"b"}, kLabels);
  const auto strategy = Make("transfer", {{"freeze_layers", "2"}, {"redraw_layers", "1"}}, {});
  Recorder recorder(*strategy);
  ASSERT_TRUE(train::Train(*model, RunOptions(), Input("b", b_, &recorder)).ok());
  for (const nn::SlotId slot : model->EncoderSlots()) {
    const nn::ParameterSlice& slice = model->parameters().slice(slot);
    const auto part = [&](const at::Tensor& flat) { return flat.narrow(0, slice.offset, slice.size); };
    const at::Tensor began = part(recorder.steps[0].before), was = part(before->parameters().weights());
    if (DepthOf(slice.name) < 2) {
      EXPECT_TRUE(at::equal(before->parameters().Weight(slot), model->parameters().Weight(slot))) << slice.name;
    } else if (slice.shape.size() == 2) {
      EXPECT_FALSE(at::equal(began, was.to(at::kDouble))) << slice.name << " was not drawn anew";
      EXPECT_NEAR(began.square().mean().sqrt().item<double>(), 0.02, 0.002) << slice.name;
    }
  }
}

TEST_F(Transfer, RefusesWhatWouldLoseATaskAndLayersThatAreNotThere) {
  const auto run = [&](const std::vector<std::string>& tasks, const Options& options) {
    const auto strategy = Make("transfer", options, {});
    return train::Train(*TinyModel(tasks, kLabels), RunOptions(), Input("b", b_, strategy.get())).status();
  };
  EXPECT_EQ(StatusReason(run({"a", "b"}, {{"redraw_layers", "1"}})), "TASKS_WOULD_BE_LOST");
  EXPECT_EQ(StatusField(run({"b"}, {{"redraw_layers", "3"}})), "redraw_layers");
  EXPECT_EQ(StatusField(run({"b"}, {{"freeze_layers", "4"}})), "freeze_layers");
  EXPECT_TRUE(run({"b"}, {{"freeze_layers", "3"}}).ok());
}

}  // namespace
}  // namespace engram::continual
