#include "core/longcontext/long_positions.h"

#include "gtest/gtest.h"
#include "tests/unit/tiny_model.h"

namespace engram::longcontext {
namespace {

using checkpoint::RopeKind;
using nn::PositionMode;

// Trained on texts of 64 tokens; with a scaling on 16 before that.
nn::EncoderConfig Rotary(RopeKind kind, std::vector<int64_t> windows = {}) {
  nn::EncoderConfig config = TinyConfig(0);
  config.family = checkpoint::FindFamily("llama");
  config.max_positions = 64;
  config.ropes = {{.kind = kind, .head_dim = 16, .factor = 4, .max_positions = 64, .original_positions = 16}};
  config.windows = std::move(windows);
  return config;
}

TEST(ChoosePositions, AStaticScaleIsNeverTakenBeyondTheTrainingUnlessItIsAskedFor) {
  const nn::EncoderConfig yarn = Rotary(RopeKind::kYarn);
  const auto within = ChoosePositions(yarn, {}, 64, 0);
  ASSERT_TRUE(within.ok()) << within.status();
  EXPECT_EQ(within->plan, nn::PositionPlan{});
  EXPECT_FALSE(within->out_of_trained_range);
  EXPECT_EQ(within->factor, 4);
  for (const RopeKind kind : {RopeKind::kDefault, RopeKind::kYarn, RopeKind::kLinear, RopeKind::kNtkAware}) {
    const auto beyond = ChoosePositions(Rotary(kind), {}, 128, 0);
    ASSERT_TRUE(beyond.ok()) << beyond.status();
    EXPECT_EQ(beyond->plan.mode, PositionMode::kDynamicYarn);
    EXPECT_TRUE(beyond->out_of_trained_range);
    EXPECT_EQ(beyond->factor, 128.0 / 16);
  }
  const auto asked = ChoosePositions(yarn, nn::PositionPlan{PositionMode::kYarn, 4}, 128, 0);
  ASSERT_TRUE(asked.ok()) << asked.status();
  EXPECT_EQ(asked->plan.mode, PositionMode::kYarn);
  EXPECT_TRUE(asked->out_of_trained_range);
  EXPECT_EQ(asked->factor, 4);
}

TEST(ChoosePositions, AModelsOwnScalingServesWhereItFollowsTheText) {
  for (const RopeKind kind : {RopeKind::kDynamic, RopeKind::kDynamicYarn}) {
    const auto beyond = ChoosePositions(Rotary(kind), {}, 128, 0);
    ASSERT_TRUE(beyond.ok()) << beyond.status();
    EXPECT_EQ(beyond->plan, nn::PositionPlan{});
    EXPECT_TRUE(beyond->out_of_trained_range);
    EXPECT_GT(beyond->factor, 1);
  }
}

// Rotations are differences: where nobody sees farther than in training, nothing is new, however long the text is.
TEST(ChoosePositions, WindowsKeepATextWithinTheTraining) {
  const nn::EncoderConfig all = Rotary(RopeKind::kDefault, {8, 63}), some = Rotary(RopeKind::kDefault, {8, -1});
  EXPECT_FALSE(ChoosePositions(all, {}, 1'000'000, 0)->out_of_trained_range);
  EXPECT_EQ(ChoosePositions(all, {}, 1'000'000, 0)->plan, nn::PositionPlan{});
  EXPECT_TRUE(ChoosePositions(some, {}, 1'000'000, 0)->out_of_trained_range);
  EXPECT_FALSE(ChoosePositions(some, {}, 1'000'000, 63)->out_of_trained_range);
  EXPECT_TRUE(ChoosePositions(some, {}, 1'000'000, 64)->out_of_trained_range);
  EXPECT_TRUE(ChoosePositions(Rotary(RopeKind::kDefault), {}, 65, 64)->out_of_trained_range);
  EXPECT_FALSE(ChoosePositions(Rotary(RopeKind::kDefault), {}, 64, 64)->out_of_trained_range);
}

TEST(ChoosePositions, ATableIsExtendedAndRefusesWhatIsNotForTables) {
  const nn::EncoderConfig bert = TinyConfig(0);
  EXPECT_EQ(ChoosePositions(bert, {}, 32, 0)->plan, nn::PositionPlan{});
  EXPECT_EQ(ChoosePositions(bert, {}, 33, 0)->plan.mode, PositionMode::kHierarchical);
  EXPECT_TRUE(ChoosePositions(bert, {}, 33, 4)->out_of_trained_range);  // a table's rows end, whatever is seen
  EXPECT_EQ(LongestText(bert, {}), 32 * 32);
  EXPECT_EQ(StatusField(ChoosePositions(bert, {}, 32 * 32 + 1, 0).status()), "positions");
  EXPECT_EQ(StatusField(ChoosePositions(bert, nn::PositionPlan{PositionMode::kYarn}, 33, 0).status()), "positions");
  const nn::EncoderConfig llama = Rotary(RopeKind::kDefault);
  EXPECT_EQ(StatusField(ChoosePositions(llama, nn::PositionPlan{PositionMode::kTiled}, 33, 0).status()), "positions");
  for (const nn::PositionPlan& plan :
       {nn::PositionPlan{PositionMode::kYarn, 0.5}, nn::PositionPlan{PositionMode::kDynamicYarn, 2}}) {
    EXPECT_EQ(StatusField(ChoosePositions(llama, plan, 33, 0).status()), "position_factor");
  }
}

}  // namespace
}  // namespace engram::longcontext
