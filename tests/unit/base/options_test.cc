#include "core/base/options.h"

#include <cmath>
#include <limits>

#include "core/base/struct_options.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace engram {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;

using Texts = std::map<std::string, std::string>;

OptionTable Table() {
  return OptionTable("toy option",
                     {Option::Real("rate", 0.1, LeftOpen(0, 1), "how fast"),
                      Option::Real("keep", 1, RightOpen(-2, 1e9), "how much stays"),
                      Option::Real("dropout", 0, Closed(0, 0.9), "of all layers").WithWord("model"),
                      Option::Whole("rounds", 3, Closed(1, 1'000'000'000), "how often"),
                      Option::Seed("seed", 0, "of everything random"), Option::Flag("loud", false, "says more"),
                      Option::Choice("mode", "auto", {"auto", "fp32", "bf16"}, "how exactly"),
                      Option::Text("title", "none", "for people"), Option::List("devices", {"cpu"}, "where")});
}

std::string Refusal(const Texts& texts) { return std::string(Table().Parse(texts).status().message()); }

TEST(OptionTable, GivesEveryTypeAndTheDefaultsOfTheRest) {
  const auto values = Table().Parse({{"rate", "0.25"},
                                     {"dropout", "0.5"},
                                     {"rounds", "7"},
                                     {"seed", "18446744073709551615"},
                                     {"loud", "true"},
                                     {"mode", "bf16"},
                                     {"title", "a, b"},
                                     {"devices", "cpu,cuda:0"}});
  ASSERT_TRUE(values.ok()) << values.status();
  EXPECT_EQ(values->Real("rate"), 0.25);
  EXPECT_EQ(values->Real("keep"), 1);
  EXPECT_EQ(values->Real("dropout"), 0.5);
  EXPECT_EQ(values->Whole("rounds"), 7);
  EXPECT_EQ(values->Seed("seed"), std::numeric_limits<uint64_t>::max());
  EXPECT_TRUE(values->Flag("loud"));
  EXPECT_EQ(values->Text("mode"), "bf16");
  EXPECT_EQ(values->Text("title"), "a, b");
  EXPECT_THAT(values->List("devices"), ElementsAre("cpu", "cuda:0"));
  const OptionValues defaults = Table().Defaults();
  EXPECT_EQ(defaults.Real("rate"), 0.1);
  EXPECT_EQ(defaults.Value("dropout"), OptionValue());
  EXPECT_EQ(defaults.Whole("rounds"), 3);
  EXPECT_EQ(defaults.Text("mode"), "auto");
  EXPECT_EQ(*Table().Parse({}), defaults);
  EXPECT_FALSE(*values == defaults);
  EXPECT_EQ(*Table().Parse({{"dropout", "model"}}), defaults);
}

TEST(OptionTable, BoundsBelongToARangeOrNot) {
  for (const auto& [name, inside] : std::vector<std::pair<std::string, std::string>>{{"rate", "1"},
                                                                                     {"rate", "1e-300"},
                                                                                     {"keep", "-2"},
                                                                                     {"keep", "999999999.99"},
                                                                                     {"dropout", "0"},
                                                                                     {"dropout", "0.9"},
                                                                                     {"rounds", "1"},
                                                                                     {"rounds", "1000000000"},
                                                                                     {"seed", "0"}}) {
    EXPECT_EQ(Refusal({{name, inside}}), "") << name;
  }
  for (const auto& [name, outside] :
       std::vector<std::pair<std::string, std::string>>{{"rate", "0"},
                                                        {"rate", "1.0000001"},
                                                        {"rate", "nan"},
                                                        {"rate", "inf"},
                                                        {"keep", "1e9"},
                                                        {"keep", "-2.1"},
                                                        {"dropout", "0.91"},
                                                        {"dropout", "-1e-9"},
                                                        {"rounds", "0"},
                                                        {"rounds", "1000000001"},
                                                        {"seed", "-1"},
                                                        {"rounds", "99999999999999999999"},
                                                        {"seed", "18446744073709551616"}}) {
    EXPECT_EQ(StatusField(Table().Parse({{name, outside}}).status()), name) << outside;
  }
}

TEST(OptionTable, AnErrorNamesTheOptionAndWhatMayStandThere) {
  EXPECT_EQ(Refusal({{"rate", "2"}}), "rate: is 2; it must lie in (0, 1]");
  EXPECT_EQ(Refusal({{"keep", "1e9"}}), "keep: is 1e9; it must lie in [-2, 1e9)");
  EXPECT_EQ(Refusal({{"rate", "nan"}}), "rate: is nan; it must lie in (0, 1]");
  EXPECT_EQ(Refusal({{"dropout", "modle"}}), "dropout: \"modle\" is not a number in [0, 0.9] or model");
  EXPECT_EQ(Refusal({{"rounds", "0"}}), "rounds: is 0; it must lie in [1, 1000000000]");
  EXPECT_EQ(Refusal({{"rounds", "2.5"}}), "rounds: \"2.5\" is not a whole number in [1, 1000000000]");
  EXPECT_EQ(Refusal({{"seed", "-1"}}), "seed: \"-1\" is not a whole number in [0, 18446744073709551615]");
  EXPECT_EQ(Refusal({{"loud", "yes"}}), "loud: must be true or false");
  EXPECT_EQ(Refusal({{"mode", "fp16"}}), "mode: \"fp16\" is unknown; choose auto, fp32 or bf16");
  for (const char* list : {"", "cpu,", ",cpu"})
    EXPECT_THAT(Refusal({{"devices", list}}), HasSubstr("devices: must be a list"));
  const absl::Status unknown = Table().Parse({{"ronds", "1"}}).status();
  EXPECT_EQ(StatusField(unknown), "ronds");
  EXPECT_THAT(std::string(unknown.message()),
              AllOf(HasSubstr("is no toy option; did you mean rounds?"),
                    HasSubstr("there are devices, dropout, keep, loud, mode, rate, rounds, seed, title")));
  EXPECT_THAT(std::string(Table().Unknown("zzzzzzzzzzzzzzzzzzzz").message()), Not(HasSubstr("did you mean")));
  EXPECT_EQ(OptionTable("option of naive", {}).Parse({{"lambda", "1"}}).status().message(),
            "lambda: is no option of naive; there is none");
}

TEST(OptionTable, RenderedValuesParseBackToTheBit) {
  for (const double rate : {1.0 / 3, 0.1, 1e-8, 0.9, std::nextafter(1.0, 0.0), 5e-324}) {
    const Texts text = {{"rate", Option::Real("", 0, Closed(0, 1), "").Render(rate)},
                        {"seed", "18446744073709551615"},
                        {"devices", "cpu,cuda:1"},
                        {"loud", "true"}};
    const auto values = Table().Parse(text);
    ASSERT_TRUE(values.ok()) << values.status();
    EXPECT_EQ(values->Real("rate"), rate);
    for (const Texts& again : {values->Render(), values->Show()}) {
      EXPECT_EQ(again.size(), 9);
      EXPECT_EQ(*Table().Parse(again), *values);
    }
  }
  const OptionValues defaults = Table().Defaults();
  EXPECT_EQ(defaults.Render().at("rate"), "0.10000000000000001");
  EXPECT_EQ(defaults.Show().at("rate"), "0.1");
  EXPECT_EQ(defaults.Show().at("dropout"), "model");
  const Option real = Option::Real("", 0, Closed(0, 1), "");
  for (const auto& [value, shown] : std::vector<std::pair<double, const char*>>{
           {1e-8, "1e-8"}, {1e9, "1e9"}, {1e100, "1e100"}, {1000, "1000"}, {-3e-12, "-3e-12"}, {0, "0"}}) {
    EXPECT_EQ(real.Show(value), shown);
  }
}

enum class Shape { kRound, kSquare };
struct Toy {
  double rate = 0.1;
  std::optional<double> dropout;
  int64_t rounds = 3;
  uint64_t seed = 9;
  bool loud = false;
  Shape shape = Shape::kSquare;
  std::string title = "none";
  std::string mode = "b";
  std::vector<std::string> devices = {"cpu"};

  friend bool operator==(const Toy&, const Toy&) = default;
};

StructOptions<Toy> ToyOptions() {
  return StructOptions<Toy>("toy option")
      .Real("rate", &Toy::rate, LeftOpen(0, 1), "how fast")
      .Real("dropout", &Toy::dropout, Closed(0, 0.9), "model", "of all layers")
      .Whole("rounds", &Toy::rounds, Closed(1, 9), "how often")
      .Seed("seed", &Toy::seed, "of everything random")
      .Flag("loud", &Toy::loud, "says more")
      .Choice("shape", &Toy::shape, {{Shape::kRound, "round"}, {Shape::kSquare, "square"}}, "as seen from above")
      .Text("title", &Toy::title, "for people")
      .Choice("mode", &Toy::mode, {"a", "b"}, "one of two")
      .List("devices", &Toy::devices, "where");
}

TEST(StructOptions, TakesItsDefaultsFromTheStruct) {
  EXPECT_THAT(ToyOptions().Render(Toy()),
              UnorderedElementsAre(Pair("rate", "0.10000000000000001"), Pair("dropout", "model"), Pair("rounds", "3"),
                                   Pair("seed", "9"), Pair("loud", "false"), Pair("shape", "square"),
                                   Pair("title", "none"), Pair("mode", "b"), Pair("devices", "cpu")));
  EXPECT_EQ(ToyOptions().table().Defaults().Render(), ToyOptions().Render(Toy()));
}

TEST(StructOptions, SetOfWhatWasRenderedGivesTheSameStruct) {
  const Toy toy{1.0 / 3, 0.05, 9, 1, true, Shape::kRound, "", "a", {"cuda:0", "cuda:1"}};
  for (const Texts& texts : {ToyOptions().Render(toy), ToyOptions().Show(toy)}) {
    Toy back;
    for (const auto& [name, text] : texts) ASSERT_TRUE(ToyOptions().Set(back, name, text).ok()) << name;
    EXPECT_EQ(back, toy);
  }
  Toy back = toy;
  ASSERT_TRUE(ToyOptions().Set(back, "dropout", "model").ok());
  EXPECT_EQ(back.dropout, std::nullopt);
}

TEST(StructOptions, RefusesByNameAndLeavesTheStructAsItWas) {
  Toy toy;
  EXPECT_EQ(StatusField(ToyOptions().Set(toy, "rate", "0")), "rate");
  EXPECT_EQ(StatusField(ToyOptions().Set(toy, "shape", "oval")), "shape");
  EXPECT_EQ(StatusField(ToyOptions().Set(toy, "ratte", "0.5")), "ratte");
  EXPECT_EQ(StatusField(ToyOptions().SetValue(toy, "devices", OptionValue(std::vector<std::string>()))), "devices");
  EXPECT_EQ(toy, Toy());
  EXPECT_TRUE(ToyOptions().Check(toy).ok());
  toy.dropout = 0.95;
  EXPECT_EQ(StatusField(ToyOptions().Check(toy)), "dropout");
  toy.dropout.reset();
  toy.rate = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(StatusField(ToyOptions().Check(toy)), "rate");
}

}  // namespace
}  // namespace engram
