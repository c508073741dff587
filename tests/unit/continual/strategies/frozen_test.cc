#include "tests/unit/continual/strategy_probe.h"

namespace engram::continual {
namespace {

class Frozen : public StrategyProbe {
 protected:
  // Whether encoder, task b's head and task a's head (if there is one) moved.
  std::vector<bool> Moved(const std::vector<std::string>& tasks, const Options& options) {
    const auto model = TinyModel(tasks, kLabels), before = TinyModel(tasks, kLabels);
    const auto strategy = Make("frozen", options, {});
    const auto b = TinyExamples(40, kLabels, 9);
    EXPECT_TRUE(train::Train(*model, RunOptions(), Input("b", b, strategy.get())).ok());
    std::vector<bool> moved;
    std::vector<std::vector<nn::SlotId>> groups = {model->EncoderSlots(), model->HeadSlots("b")};
    if (tasks.size() > 1) groups.push_back(model->HeadSlots("a"));
    for (const auto& slots : groups) {
      moved.push_back(std::any_of(slots.begin(), slots.end(), [&](nn::SlotId slot) {
        return !at::equal(model->parameters().Weight(slot), before->parameters().Weight(slot));
      }));
    }
    return moved;
  }
};

TEST_F(Frozen, TheFirstTaskTrainsTheEncoderAndLaterOnesTheirHeads) {
  EXPECT_EQ(Moved({"b"}, {}), (std::vector<bool>{true, true}));
  EXPECT_EQ(Moved({"a", "b"}, {}), (std::vector<bool>{false, true, false}));
  EXPECT_EQ(Moved({"b"}, {{"warm_up", "false"}}), (std::vector<bool>{false, true}));
}

}  // namespace
}  // namespace engram::continual
