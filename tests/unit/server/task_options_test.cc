#include "server/jobs/task_options.h"

#include <limits>
#include <set>

#include "core/train/train_options.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/jobs/describe_strategies.h"

namespace engram::server {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;
using Texts = std::map<std::string, std::string>;

engram::v1::StartTaskRequest Request(const std::string& strategy, const Texts& options) {
  engram::v1::StartTaskRequest request;
  request.set_strategy(strategy);
  for (const auto& [name, value] : options) (*request.mutable_options())[name] = value;
  return request;
}

TEST(TaskOptions, GoWhereTheyBelong) {
  engram::v1::StartTaskRequest request =
      Request("online_ewc", {{"gamma", "0.5"}, {"lr", "0.1"}, {"pooling", "mean"}, {"progress_every", "7"}});
  request.set_lambda(0.1);
  const auto options = ReadTaskOptions(request, 2);
  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_EQ(options->strategy->name, "online_ewc");
  EXPECT_EQ(options->strategy_options.Render(),
            (Texts{{"gamma", "0.5"}, {"lambda", "0.10000000000000001"}, {"penalty_mode", "auto"}}));
  EXPECT_EQ(options->training, (Texts{{"lr", "0.1"}}));
  EXPECT_EQ(options->task.Text("pooling"), "mean");
  EXPECT_EQ(options->task.Whole("progress_every"), 7);
}

TEST(TaskOptions, TheDefaultStrategyFollowsFromTheVersion) {
  EXPECT_EQ(ReadTaskOptions(Request("", {}), 0)->strategy->name, "naive");
  EXPECT_TRUE(ReadTaskOptions(Request("", {}), 0)->strategy_options.Render().empty());
  const auto options = ReadTaskOptions(Request("", {}), 1);
  EXPECT_EQ(options->strategy->name, "ewc");
  EXPECT_EQ(options->strategy_options.Show(), (Texts{{"centre", "own"}, {"lambda", "1000"}, {"penalty_mode", "auto"}}));
  EXPECT_EQ(options->task.Whole("progress_every"), 1);
}

TEST(TaskOptions, AnOptionOfAnotherStrategyIsRefusedByName) {
  const auto refusal = [](const engram::v1::StartTaskRequest& request) { return ReadTaskOptions(request, 1).status(); };
  const absl::Status gamma = refusal(Request("ewc", {{"gamma", "0.5"}}));
  EXPECT_EQ(StatusField(gamma), "gamma");
  EXPECT_THAT(std::string(gamma.message()),
              AllOf(HasSubstr("gamma: is no option of ewc; "), HasSubstr("online_ewc"), HasSubstr("it")));
  engram::v1::StartTaskRequest naive = Request("naive", {});
  naive.set_lambda(1);
  EXPECT_EQ(StatusField(refusal(naive)), "lambda");
  EXPECT_THAT(std::string(refusal(naive).message()), AllOf(HasSubstr("is no option of naive"), HasSubstr("ewc, ")));
  engram::v1::StartTaskRequest twice = Request("ewc", {{"lambda", "3"}});
  twice.set_lambda(3);
  EXPECT_THAT(std::string(refusal(twice).message()), HasSubstr("lambda: is given twice"));
  const absl::Status mistyped = refusal(Request("online_ewc", {{"gama", "0.5"}}));
  EXPECT_EQ(StatusField(mistyped), "gama");
  EXPECT_THAT(std::string(mistyped.message()),
              AllOf(HasSubstr("is no option of a training with online_ewc; did you mean gamma?"),
                    HasSubstr("batch_size, "), HasSubstr("pooling, ")));
}

TEST(TaskOptions, AStrengthMayBeSearched) {
  const auto searched = ReadTaskOptions(Request("ewc", {{"lambda", "auto"}, {"lambda_grid", "0,0.5"}}), 1);
  ASSERT_TRUE(searched.ok()) << searched.status();
  EXPECT_TRUE(searched->search);
  EXPECT_EQ(searched->strategy_options.Real("lambda"), 1000);
  EXPECT_EQ(searched->task.List("lambda_grid"), (std::vector<std::string>{"0", "0.5"}));
  EXPECT_FALSE(ReadTaskOptions(Request("ewc", {{"lambda", "3"}}), 1)->search);
  EXPECT_EQ(StatusField(ReadTaskOptions(Request("naive", {{"lambda", "auto"}}), 1).status()), "lambda");
  EXPECT_EQ(StatusField(ReadTaskOptions(Request("ewc", {{"lambda_grid", "0,1"}}), 1).status()), "lambda_grid");
  engram::v1::StartTaskRequest twice = Request("ewc", {{"lambda", "auto"}});
  twice.set_lambda(3);
  EXPECT_THAT(std::string(ReadTaskOptions(twice, 1).status().message()), HasSubstr("lambda: is given twice"));
  // ListStrategies says so.
  const engram::v1::ListStrategiesResponse described = DescribeStrategies();
  for (const auto& strategy : described.strategies()) {
    for (const auto& option : strategy.options()) {
      if (option.name() != "lambda") continue;
      EXPECT_EQ(option.choices(option.choices_size() - 1), "auto") << strategy.name();
      EXPECT_TRUE(option.allowed().ends_with("] or auto")) << option.allowed();
    }
  }
}

TEST(TaskOptions, AMistypedOptionOfAnotherStrategyIsRecognized) {
  const absl::Status mistyped = ReadTaskOptions(Request("naive", {{"lamda", "3"}}), 1).status();
  EXPECT_EQ(StatusField(mistyped), "lamda");
  EXPECT_THAT(std::string(mistyped.message()),
              AllOf(HasSubstr("is no option of a training with naive; did you mean lambda? "), HasSubstr("ewc, "),
                    HasSubstr(" have it")));
  // One of the training's own is nearer.
  EXPECT_THAT(std::string(ReadTaskOptions(Request("naive", {{"epoch", "3"}}), 1).status().message()),
              HasSubstr("did you mean epochs?"));
}

TEST(TaskOptions, ValuesAreHeldAgainstTheRangesOfTheStrategy) {
  for (const double lambda : {-1.0, 1e30, std::numeric_limits<double>::quiet_NaN()}) {
    engram::v1::StartTaskRequest request = Request("ewc", {});
    request.set_lambda(lambda);
    EXPECT_EQ(StatusField(ReadTaskOptions(request, 1).status()), "lambda") << lambda;
  }
  EXPECT_EQ(StatusField(ReadTaskOptions(Request("online_ewc", {{"gamma", "nan"}}), 1).status()), "gamma");
  EXPECT_EQ(StatusField(ReadTaskOptions(Request("ewc", {{"penalty_mode", "x"}}), 1).status()), "penalty_mode");
  EXPECT_EQ(StatusField(ReadTaskOptions(Request("", {{"progress_every", "0"}}), 1).status()), "progress_every");
  EXPECT_EQ(StatusField(ReadTaskOptions(Request("", {{"pooling", "max"}}), 1).status()), "pooling");
  EXPECT_EQ(StatusField(ReadTaskOptions(Request("magic", {}), 1).status()), "strategy");
  // A wrong value is said before what is missing.
  EXPECT_EQ(StatusField(ReadTaskOptions(Request("online_ewc", {{"gamma", "2"}}), 0).status()), "gamma");
  EXPECT_EQ(StatusReason(ReadTaskOptions(Request("online_ewc", {}), 0).status()), "NOT_CONSOLIDATED");
}

engram::worker::v1::TrainWork Work(const std::string& strategy, const Texts& options) {
  engram::worker::v1::TrainWork work;
  work.set_strategy(strategy);
  for (const auto& [name, value] : options) (*work.mutable_strategy_options())[name] = value;
  for (const auto& [name, value] : train::TrainOptionsToMap({})) (*work.mutable_options())[name] = value;
  return work;
}

TEST(TaskOptions, WhatIsShownIsWhatApplies) {
  const Texts naive = *ShowOptions(Work("naive", {}));
  EXPECT_EQ(naive.at("strategy"), "naive");
  EXPECT_EQ(naive.at("warmup_ratio"), "0.06");
  for (const char* other : {"lambda", "gamma", "penalty_mode"}) EXPECT_FALSE(naive.contains(other)) << other;
  const Texts ewc = *ShowOptions(Work("ewc", {{"lambda", "0.10000000000000001"}, {"penalty_mode", "auto"}}));
  EXPECT_EQ(ewc.at("lambda"), "0.1");
  EXPECT_FALSE(ewc.contains("gamma"));
}

// Importance and anchor per quadratic, in bytes of the encoder: one quadratic per task, but one in all for online_ewc.
TEST(TaskOptions, AStrategyIsChargedForWhatItHolds) {
  const continual::StrategySizes sizes{.encoder_bytes = 100, .consolidations = 3};
  const auto bytes = [&](const char* strategy) { return StrategyCostOf(Work(strategy, {}), sizes)->bytes; };
  EXPECT_EQ(bytes("naive"), 0);
  EXPECT_EQ(bytes("ewc"), 600);
  EXPECT_EQ(bytes("online_ewc"), 200);
}

TEST(DescribeStrategies, SaysWhatTheTablesSay) {
  const engram::v1::ListStrategiesResponse response = DescribeStrategies();
  ASSERT_EQ(static_cast<size_t>(response.strategies_size()), continual::Strategies().size());
  int first_defaults = 0, later_defaults = 0;
  for (const engram::v1::Strategy& strategy : response.strategies()) {
    const continual::StrategyInfo& info = continual::Strategies().at(strategy.name());
    EXPECT_EQ(strategy.summary(), info.summary);
    EXPECT_EQ(strategy.needs().consolidations(), info.needs.consolidations);
    EXPECT_EQ(static_cast<size_t>(strategy.options_size()), info.options.options().size());
    ASSERT_EQ(strategy.costs_size(), 2);
    first_defaults += strategy.default_if_nothing_is_consolidated() ? 1 : 0;
    later_defaults += strategy.default_if_consolidated() ? 1 : 0;
    if (strategy.name() != "online_ewc") continue;
    EXPECT_EQ(strategy.costs(1).consolidations(), 10);
    EXPECT_EQ(strategy.costs(1).encoder_copies(), 2);
    const engram::v1::TaskOption& gamma = strategy.options(2);
    EXPECT_EQ(gamma.name(), "gamma");
    EXPECT_EQ(gamma.type(), engram::v1::OPTION_TYPE_REAL);
    EXPECT_EQ(gamma.default_value(), "1");
    EXPECT_EQ(gamma.allowed(), "(0, 1]");
    EXPECT_EQ(gamma.minimum(), 0);
    EXPECT_TRUE(gamma.minimum_excluded());
    EXPECT_EQ(gamma.maximum(), 1);
    EXPECT_FALSE(gamma.maximum_excluded());
    EXPECT_FALSE(gamma.help().empty());
    EXPECT_THAT(strategy.options(1).choices(), UnorderedElementsAre("auto", "coupled", "proximal"));
  }
  EXPECT_EQ(first_defaults, 1);
  EXPECT_EQ(later_defaults, 1);
  // No name is two options.
  std::set<std::string> names;
  for (const auto& option : response.training_options()) EXPECT_TRUE(names.insert(option.name()).second);
  for (const auto& [name, info] : continual::Strategies()) {
    for (const Option& option : info.options.options()) EXPECT_FALSE(names.contains(option.name)) << name;
  }
  EXPECT_TRUE(names.contains("lr") && names.contains("pooling") && names.contains("progress_every"));
}

}  // namespace
}  // namespace engram::server
