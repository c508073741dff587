// Strategies that work together: the gradient of a step against those of the parts alone, what is refused, options, needs
// and memory.

#include "core/continual/composition.h"

#include "ATen/ops/ones_like.h"
#include "gmock/gmock.h"
#include "tests/unit/continual/strategy_probe.h"

namespace engram::continual {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class Composition : public StrategyProbe {
 protected:
  // The weights move behind the back of a teacher that BeginTask copies, so that earlier heads have something to learn in
  // the first step.
  class Shifted final : public Forwarding {
   public:
    using Forwarding::Forwarding;
    absl::Status BeginTask(train::TaskSetup& setup) override {
      ENGRAM_RETURN_IF_ERROR(Forwarding::BeginTask(setup));
      at::Tensor weights = setup.model.parameters().weights();
      for (int64_t i = 0; i < weights.numel(); i += 7) weights[i] += 0.05;
      setup.model.parameters().RefreshCompute();
      return absl::OkStatus();
    }
  };

  Recorder::Step FirstStep(const std::string& name, const Options& options, const train::VersionMemory& memory) {
    const auto model = TinyModel({"a", "b"}, kLabels);
    const auto strategy = Make(name, options, memory);
    Shifted shifted(*strategy);
    Recorder recorder(shifted);
    const auto training = TinyExamples(40, kLabels, 9);
    const auto result = train::Train(*model, RunOptions(), Input("b", training, &recorder));
    EXPECT_TRUE(result.ok()) << result.status();
    memory_ = result->memory;
    return recorder.steps.at(0);
  }

  train::VersionMemory memory_;  // what the last run left
};

// The mean over the union of 8 texts and 16 that are replayed: what distillation adds are losses of the 8.
TEST_F(Composition, TheGradientIsThatOfReplayAndDistillationTogether) {
  const train::VersionMemory held = Held({{"a", TinyExamples(50, kLabels, 3)}});
  const at::Tensor naive = FirstStep("naive", {}, {}).used, er = FirstStep("er", {{"replay_batch", "16"}}, held).used,
                   lwf = FirstStep("lwf", {{"alpha", "3"}}, {}).used,
                   both = FirstStep("er+lwf", {{"er.replay_batch", "16"}, {"lwf.alpha", "3"}}, held).used;
  const double scale = both.abs().max().item<double>();
  ASSERT_GT((lwf - naive).abs().max().item<double>(), 0.01 * scale) << "distillation does nothing";
  EXPECT_LT((both - (er + (lwf - naive) * (8.0 / 24))).abs().max().item<double>(), 1e-5 * scale);
  EXPECT_FALSE(memory_.examples.empty());
}

TEST_F(Composition, DerppWithDistillationIsTheirSum) {
  train::VersionMemory held = Held({{"a", TinyExamples(50, kLabels, 3)}});
  for (train::StoredExample& example : held.examples) example.logits = {0.5F, -1.0F, 0.25F};
  const at::Tensor naive = FirstStep("naive", {}, {}).used, derpp = FirstStep("derpp", {}, held).used,
                   lwf = FirstStep("lwf", {}, {}).used, both = FirstStep("derpp+lwf", {}, held).used;
  EXPECT_LT((both - (derpp + lwf - naive)).abs().max().item<double>(), 1e-5 * both.abs().max().item<double>());
}

TEST_F(Composition, ThePenaltiesAreThoseOfThePart) {
  const auto model = TinyModel({"a", "b"}, kLabels);
  Consolidation consolidation;
  consolidation.task = "a";
  consolidation.samples = consolidation.training_examples = 30;
  consolidation.anchor = EncoderWeights(*model);
  consolidation.fisher = at::ones_like(consolidation.anchor);
  const auto penalties = [&](const std::string& name, const Options& options) {
    StrategyInputs inputs;
    inputs.consolidations = FromMemory({consolidation});
    auto strategy = MakeStrategy(name, options, std::move(inputs));
    EXPECT_TRUE(strategy.ok()) << strategy.status();
    Recorder recorder(**strategy);
    const auto copy = model->Clone();
    const auto training = TinyExamples(40, kLabels, 9);
    EXPECT_TRUE(train::Train(*copy, RunOptions(), Input("b", training, &recorder)).ok());
    return recorder.penalties;
  };
  const auto alone = penalties("ewc", {{"lambda", "70"}}), together = penalties("er+ewc", {{"ewc.lambda", "70"}});
  ASSERT_EQ(alone.size(), 1);
  ASSERT_EQ(together.size(), 1);
  EXPECT_GT(alone[0].strength, 0);
  EXPECT_EQ(together[0].strength, alone[0].strength);
  EXPECT_EQ(together[0].name, alone[0].name);
}

TEST_F(Composition, IsRefusedByNameWithTheRemedy) {
  const auto refused = [](const std::string& name, const std::string& why) {
    const auto found = FindStrategy(name);
    ASSERT_FALSE(found.ok()) << name;
    EXPECT_EQ(found.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(StatusField(found.status()), "strategy");
    EXPECT_THAT(std::string(found.status().message()), HasSubstr(why)) << name;
  };
  refused("lwf+er", "er comes before lwf");
  refused("derpp+er", "derpp and er do the same");
  refused("er+er", "er and er do the same");
  refused("er+frozen", "frozen combines with no other; what combines is derpp or er, then lwf, then");
  refused("er+mas", "er and mas would both keep a memory");
  refused("er+lwf+mas", "er and mas would both keep a memory");
  refused("er+nonesuch", "nonesuch");
  refused("er+", "unknown strategy");
  for (const char* name : {"er+lwf", "er+ewc", "derpp+online_ewc", "er+lwf+ewc", "lwf+mas", "lwf+ewc"})
    EXPECT_TRUE(FindStrategy(name).ok()) << name;
}

TEST_F(Composition, HasTheOptionsNeedsAndCostsOfItsParts) {
  const StrategyInfo &er = **FindStrategy("er"), &lwf = **FindStrategy("lwf"), &both = **FindStrategy("er+lwf");
  EXPECT_EQ(both.options.options().size(), er.options.options().size() + lwf.options.options().size());
  EXPECT_NE(both.options.Find("lwf.temperature"), nullptr);
  EXPECT_EQ(both.options.Find("temperature"), nullptr);
  EXPECT_TRUE(both.needs.examples && both.needs.teacher && both.needs.memory && both.grows_heads);
  EXPECT_TRUE(both.strength.empty()) << "replay cannot be turned off";
  EXPECT_THAT((*FindStrategy("lwf+ewc"))->strength, ElementsAre("lwf.alpha", "ewc.lambda"));
  EXPECT_EQ(MemoryOwner(both), "er");
  EXPECT_EQ(MemoryOwner(**FindStrategy("lwf+mas")), "mas");
  EXPECT_EQ(MemoryOwner(er), "er");
  const StrategySizes sizes{.encoder_bytes = 1 << 20, .longest_example = 40, .stored_examples = 100};
  const auto cost = [&](const StrategyInfo& info) { return CostOf(info, info.options.Defaults(), sizes); };
  EXPECT_EQ(cost(both).bytes, cost(er).bytes + cost(lwf).bytes);
  EXPECT_DOUBLE_EQ(cost(both).extra_passes, cost(er).extra_passes + cost(lwf).extra_passes);
  // A value that is set reaches its part, and only it.
  const auto values = both.options.Parse({{"er.memory_size", "77"}, {"lwf.alpha", "0.5"}});
  ASSERT_TRUE(values.ok()) << values.status();
  EXPECT_EQ(OptionsOfPart(er, *values)->Whole("memory_size"), 77);
  EXPECT_EQ(OptionsOfPart(lwf, *values)->Real("alpha"), 0.5);
  EXPECT_FALSE(both.options.Parse({{"alpha", "0.5"}}).ok());
}

TEST_F(Composition, NeedsWhatAPartNeeds) {
  const absl::Status status = MakeStrategy("er+ewc", {}, {}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
}

}  // namespace
}  // namespace engram::continual
