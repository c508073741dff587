// The frequencies of tests/data/rope_golden.json were computed in fp64 from the definitions, apart from this code; one
// case holds those of an implementation that is known to be wrong.

#include "core/checkpoint/rope.h"

#include <cmath>
#include <fstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace engram::checkpoint {
namespace {

struct Golden {
  const char* name;
  Rope rope;
  int64_t length;
};

Rope Yarn13b() {
  return {.kind = RopeKind::kYarn, .head_dim = 128, .factor = 32, .max_positions = 131072, .original_positions = 4096};
}

std::vector<Golden> Cases() {
  const Rope plain{.head_dim = 128, .max_positions = 4096};
  const auto with = [](Rope rope, const auto& change) {
    change(rope);
    return rope;
  };
  const Rope nomic{.kind = RopeKind::kDynamic, .base = 1000, .head_dim = 64, .factor = 2, .max_positions = 2048};
  return {
      {"default d128 b1e4", plain, 1},
      {"linear f32 d128", with(plain, [](Rope& r) { r.kind = RopeKind::kLinear, r.factor = 32; }), 1},
      {"ntk_fixed s32 d128", with(plain, [](Rope& r) { r.kind = RopeKind::kNtkAware, r.factor = 32; }), 1},
      {"ntk_su s32 d128", with(plain, [](Rope& r) { r.kind = RopeKind::kNtk, r.factor = 32; }), 1},
      {"ntk_mixed s32 b.625 d128",
       with(plain, [](Rope& r) { r.kind = RopeKind::kNtkMixed, r.factor = 32, r.mixed_b = 0.625; }), 1},
      {"dynamic f2 mp2048 L2048 d64 b1000 (nomic-like)", nomic, 2048},
      {"dynamic f2 mp2048 L8192 d64 b1000 (nomic-like)", nomic, 8192},
      {"dynamic f2 mp2048 L131072 d64 b1000 (nomic-like)", nomic, 131072},
      {"dynamic f2 mp2048 L262144 d64 b1000 (nomic-like)", nomic, 262144},
      {"yarn Llama-2-13b-128k", Yarn13b(), 1},
      {"dynamic-yarn same model at 262144",
       with(Yarn13b(), [](Rope& r) { r.kind = RopeKind::kDynamicYarn, r.finetuned = true; }), 262144},
      {"llama3.1 f8 1 4 8192 b5e5",
       {.kind = RopeKind::kLlama3,
        .base = 5e5,
        .head_dim = 128,
        .factor = 8,
        .max_positions = 131072,
        .original_positions = 8192},
       1},
      {"modernbert global d64 b160000", {.base = 160000, .head_dim = 64, .max_positions = 8192}, 1},
      {"modernbert local d64 b10000", {.base = 10000, .head_dim = 64, .max_positions = 8192}, 1},
  };
}

nlohmann::json GoldenFile() {
  return nlohmann::json::parse(std::ifstream(std::string(ENGRAM_TEST_DATA) + "/rope_golden.json"));
}

double LargestDifference(const std::vector<double>& a, const std::vector<double>& b) {
  EXPECT_EQ(a.size(), b.size());
  double largest = 0;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i)
    largest = std::max(largest, std::abs(a[i] - b[i]) / std::abs(b[i]));
  return largest;
}

TEST(Rope, GivesTheGoldenFrequencies) {
  const nlohmann::json golden = GoldenFile();
  const std::vector<Golden> cases = Cases();
  EXPECT_EQ(golden.size(), cases.size() + 1) << "all but the known-wrong case";
  for (const Golden& test : cases) {
    ASSERT_TRUE(golden.contains(test.name)) << test.name;
    ASSERT_TRUE(CheckRope(test.rope).ok()) << CheckRope(test.rope);
    const RopeFrequencies got = FrequenciesOf(test.rope, test.length);
    EXPECT_LE(LargestDifference(got.angles, golden[test.name]["inv"]), 1e-12) << test.name;
    EXPECT_NEAR(got.attention_factor, golden[test.name]["af"].get<double>(), 1e-12) << test.name;
  }
}

TEST(Rope, IsNotTheKnownWrongYarnThatScalesFromTheExtendedLength) {
  const std::vector<double> wrong = GoldenFile()["WRONG yarn (max_pos used, transformers 4.45-4.50)"]["inv"];
  EXPECT_GT(LargestDifference(FrequenciesOf(Yarn13b(), 1).angles, wrong), 0.9);
  // It is what the extended length in the original's place gives: the golden case tells the two apart.
  Rope mistaken = Yarn13b();
  mistaken.original_positions = mistaken.max_positions;
  EXPECT_LE(LargestDifference(FrequenciesOf(mistaken, 1).angles, wrong), 1e-12);
}

TEST(Rope, DynamicYarnKeepsWhatTheModelWasTrainedWithUpToItsLength) {
  Rope rope = Yarn13b();
  rope.kind = RopeKind::kDynamicYarn;
  rope.finetuned = true;
  EXPECT_EQ(FrequenciesOf(rope, 17), FrequenciesOf(Yarn13b(), 17));
  EXPECT_EQ(FrequenciesOf(rope, 131072), FrequenciesOf(Yarn13b(), 1));
  rope.finetuned = false;  // weights that know nothing of a scaling: none up to their length
  const RopeFrequencies plain = FrequenciesOf({.head_dim = 128, .max_positions = 4096}, 1);
  EXPECT_LE(LargestDifference(FrequenciesOf(rope, 131072).angles, plain.angles), 1e-15);
  EXPECT_EQ(FrequenciesOf(rope, 131072).attention_factor, 1);
  Rope twice = Yarn13b();
  twice.factor = 64;
  EXPECT_EQ(FrequenciesOf(rope, 262144), FrequenciesOf(twice, 1));
}

TEST(Rope, LongRopeDividesByTheListOfItsLengthAndRaisesTheLogits) {
  const Rope rope{.kind = RopeKind::kLongRope,
                  .base = 100,
                  .head_dim = 4,
                  .factor = 16,
                  .max_positions = 1024,
                  .original_positions = 64,
                  .short_factor = {1, 2},
                  .long_factor = {4, 5}};
  ASSERT_TRUE(CheckRope(rope).ok());
  EXPECT_THAT(FrequenciesOf(rope, 64).angles, testing::Pointwise(testing::DoubleNear(1e-15), {1.0, 0.05}));
  EXPECT_THAT(FrequenciesOf(rope, 65).angles, testing::Pointwise(testing::DoubleNear(1e-15), {0.25, 0.02}));
  EXPECT_NEAR(FrequenciesOf(rope, 1).attention_factor, std::sqrt(1 + 4.0 / 6.0), 1e-15);  // ln 16 / ln 64
}

TEST(Rope, ProportionalLeavesTheLastPairsStill) {
  const Rope rope{
      .kind = RopeKind::kProportional, .base = 16, .head_dim = 8, .partial = 0.5, .factor = 2, .max_positions = 64};
  ASSERT_TRUE(CheckRope(rope).ok());
  EXPECT_EQ(rope.width(), 8);
  EXPECT_THAT(FrequenciesOf(rope, 1).angles, testing::Pointwise(testing::DoubleNear(1e-15), {0.5, 0.25, 0.0, 0.0}));
}

TEST(Rope, AttentionFactorOfYarnFollowsItsKeys) {
  Rope rope = Yarn13b();
  rope.mscale = 0.707;
  rope.mscale_all_dim = 1.0;
  EXPECT_NEAR(FrequenciesOf(rope, 1).attention_factor, (0.0707 * std::log(32) + 1) / (0.1 * std::log(32) + 1), 1e-15);
  rope.attention_factor = 1.25;
  EXPECT_EQ(FrequenciesOf(rope, 1).attention_factor, 1.25);
}

TEST(Rope, RowsAreCosinesAndSinesOfFullPhases) {
  const RopeFrequencies frequencies{{1.0, 0.37}, 1.5};
  std::vector<float> rows(2 * 4);
  FillRopeRows(frequencies, 262143, 2, rows.data());
  for (const int64_t row : {0, 1}) {
    const long double p = 262143 + row;
    for (const int i : {0, 1}) {
      const long double phase = p * static_cast<long double>(frequencies.angles[i]);
      EXPECT_NEAR(rows[row * 4 + i], 1.5L * std::cos(phase), 1e-7);
      EXPECT_NEAR(rows[row * 4 + 2 + i], 1.5L * std::sin(phase), 1e-7);
    }
  }
}

TEST(Rope, EveryKindHasANameThatIsRead) {
  for (int kind = 0; kind <= static_cast<int>(RopeKind::kProportional); ++kind) {
    const auto known = static_cast<RopeKind>(kind);
    EXPECT_EQ(ParseRopeKind(RopeKindName(known)), known);
  }
  EXPECT_EQ(ParseRopeKind("su"), RopeKind::kLongRope);
  EXPECT_EQ(ParseRopeKind("mrope"), std::nullopt);
}

TEST(Rope, RefusesWhatGivesNoNumbers) {
  const auto refused = [](const auto& change) {
    Rope rope = Yarn13b();
    change(rope);
    return StatusField(CheckRope(rope));
  };
  EXPECT_EQ(refused([](Rope& r) { r.factor = 0.5; }), "factor");
  EXPECT_EQ(refused([](Rope& r) { r.factor = NAN; }), "factor");
  EXPECT_EQ(refused([](Rope& r) { r.original_positions = 0; }), "original_max_position_embeddings");
  EXPECT_EQ(refused([](Rope& r) { r.head_dim = 7; }), "head_dim");
  EXPECT_EQ(refused([](Rope& r) { r.partial = 0; }), "partial_rotary_factor");
  EXPECT_EQ(refused([](Rope& r) { r.base = 1; }), "rope_theta");
  EXPECT_EQ(refused([](Rope& r) { r.beta_fast = 1; }), "beta_fast");
  EXPECT_EQ(refused([](Rope& r) { r.high_freq_factor = 1; }), "high_freq_factor");
  EXPECT_EQ(refused([](Rope& r) { r.kind = RopeKind::kLongRope; }), "short_factor");
  EXPECT_EQ(refused([](Rope& r) { r.kind = RopeKind::kDynamic, r.head_dim = 2; }), "head_dim");
}

}  // namespace
}  // namespace engram::checkpoint
