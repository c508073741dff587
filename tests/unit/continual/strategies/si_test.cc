#include "tests/unit/continual/strategy_probe.h"

namespace engram::continual {
namespace {

class Si : public StrategyProbe {};

// Omega of the recorded steps, element by element in fp64 as Zenke et al. write it.
std::vector<double> OmegaOf(const std::vector<Recorder::Step>& steps, int64_t elements, double xi) {
  std::vector<double> omega(static_cast<size_t>(elements));
  for (int64_t i = 0; i < elements; ++i) {
    double path = 0;
    for (const Recorder::Step& step : steps) {
      const double moved = step.after.const_data_ptr<double>()[i] - step.before.const_data_ptr<double>()[i];
      path -= step.gradient.const_data_ptr<double>()[i] * moved;
    }
    const double total =
        steps.back().after.const_data_ptr<double>()[i] - steps.front().before.const_data_ptr<double>()[i];
    omega[i] = std::max(0.0, path) / (total * total + xi);
  }
  return omega;
}

TEST_F(Si, OmegaIsThePathIntegralOverTheMoveAndThePenaltyOfTheNextTaskStandsOnIt) {
  constexpr double kXi = 0.02, kC = 50;
  const Options options = {{"c", "50"}, {"xi", "0.02"}, {"penalty_mode", "coupled"}};
  const auto model = TinyModel({"a", "b"}, kLabels);
  const int64_t elements = model->EncoderElements();
  std::vector<double> expected(static_cast<size_t>(elements), 0.0);
  train::VersionMemory memory;
  at::Tensor anchor;
  for (const std::string task : {"a", "b"}) {
    const auto strategy = Make("si", options, memory);
    Recorder recorder(*strategy);
    const auto training = TinyExamples(40, kLabels, task == "a" ? 1 : 9);
    train::TrainInput input = Input(task, training, &recorder);
    struct Penalties final : train::TrainObserver {
      void OnProgress(const train::Progress& progress) override { values.push_back(progress.penalty); }
      std::vector<double> values;
    } observer;
    input.observer = &observer;
    const auto result = train::Train(*model, RunOptions(), input);
    ASSERT_TRUE(result.ok()) << result.status();
    ASSERT_EQ(recorder.steps.size(), 10);
    // The penalty at the weights before each step, from Omega and anchor of the loop's own.
    for (size_t step = 0; step < recorder.steps.size(); ++step) {
      double penalty = 0;
      for (int64_t i = 0; anchor.defined() && i < elements; ++i) {
        const double away =
            recorder.steps[step].before.const_data_ptr<double>()[i] - anchor.const_data_ptr<double>()[i];
        penalty += kC * expected[i] * away * away;
      }
      EXPECT_NEAR(observer.values[step], penalty, 1e-4 * penalty + 1e-12) << task << " " << step;
      EXPECT_EQ(penalty > 0, anchor.defined() && step > 0);
    }
    const std::vector<double> own = OmegaOf(recorder.steps, elements, kXi);
    double largest = 0;
    for (int64_t i = 0; i < elements; ++i) {
      expected[i] += own[i];
      largest = std::max(largest, expected[i]);
    }
    EXPECT_GT(std::count(own.begin(), own.end(), 0.0), elements / 100) << "some paths end below 0";
    anchor = model->parameters().weights().to(at::kDouble);
    memory = result->memory;
    for (const nn::SlotId slot : model->EncoderSlots()) {
      const nn::ParameterSlice& slice = model->parameters().slice(slot);
      const at::Tensor omega = memory.tensors.at("omega." + slice.name).contiguous();
      EXPECT_TRUE(at::equal(memory.tensors.at("anchor." + slice.name), model->parameters().Weight(slot)));
      for (int64_t i = 0; i < slice.size; ++i) {
        const double value = omega.const_data_ptr<float>()[i];
        ASSERT_NEAR(value, expected[slice.offset + i], 1e-4 * expected[slice.offset + i] + 1e-6 * largest)
            << slice.name;
      }
    }
  }
}

TEST_F(Si, WithoutMemoryOrWithoutStrengthItIsNaiveToTheBit) {
  const auto training = TinyExamples(40, kLabels, 9);
  const auto run = [&](train::Strategy* strategy) {
    const auto model = TinyModel({"a", "b"}, kLabels);
    const auto result = train::Train(*model, RunOptions(), Input("b", training, strategy));
    EXPECT_TRUE(result.ok()) << result.status();
    return std::pair(model->parameters().weights().clone(), result->memory);
  };
  const auto [naive, nothing] = run(nullptr);
  EXPECT_TRUE(nothing.empty());
  const auto first = Make("si", {{"c", "1000"}}, {});
  const auto [same, memory] = run(first.get());
  EXPECT_TRUE(at::equal(same, naive));
  const auto without = Make("si", {{"c", "0"}}, memory);
  EXPECT_TRUE(at::equal(run(without.get()).first, naive));
  const auto with = Make("si", {{"c", "1000"}}, memory);
  EXPECT_FALSE(at::equal(run(with.get()).first, naive));
}

TEST_F(Si, ResumesToTheBitInMidTask) {
  const auto model = TinyModel({"a", "b", "c"}, kLabels);
  const auto first = Make("si", {}, {});
  const auto a = TinyExamples(40, kLabels, 1);
  const auto learned = train::Train(*model, RunOptions(), Input("a", a, first.get()));
  ASSERT_TRUE(learned.ok()) << learned.status();
  ExpectResumesToTheBit("si", {{"c", "10"}}, learned->memory, TinyExamples(40, kLabels, 9), {1, 4, 7});
}

}  // namespace
}  // namespace engram::continual
