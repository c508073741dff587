#include "server/jobs/describe_strategies.h"

#include "core/continual/strategy_info.h"
#include "core/train/train_options.h"
#include "server/jobs/task_options.h"

namespace engram::server {
namespace {

engram::v1::OptionType TypeOf(OptionType type) {
  switch (type) {
    case OptionType::kReal:
      return engram::v1::OPTION_TYPE_REAL;
    case OptionType::kWhole:
    case OptionType::kSeed:
      return engram::v1::OPTION_TYPE_WHOLE;
    case OptionType::kFlag:
      return engram::v1::OPTION_TYPE_FLAG;
    case OptionType::kChoice:
      return engram::v1::OPTION_TYPE_CHOICE;
    case OptionType::kText:
      return engram::v1::OPTION_TYPE_TEXT;
    case OptionType::kList:
      return engram::v1::OPTION_TYPE_LIST;
  }
  return engram::v1::OPTION_TYPE_UNSPECIFIED;
}

void Describe(const OptionTable& table, google::protobuf::RepeatedPtrField<engram::v1::TaskOption>& out) {
  for (const Option& from : table.options()) {
    engram::v1::TaskOption& option = *out.Add();
    option.set_name(from.name);
    option.set_type(TypeOf(from.type));
    option.set_default_value(from.Show(from.default_value));
    option.set_allowed(from.Allowed());
    if (from.type == OptionType::kReal || from.type == OptionType::kWhole) {
      option.set_minimum(from.range.low);
      option.set_minimum_excluded(from.range.low_excluded);
      option.set_maximum(from.range.high);
      option.set_maximum_excluded(from.range.high_excluded);
    }
    if (from.type == OptionType::kSeed) option.set_minimum(0);
    for (const std::string& choice : from.choices) option.add_choices(choice);
    if (!from.word.empty()) option.add_choices(from.word);
    if (from.name == kLambda) {
      option.add_choices(kAuto);
      option.set_allowed(option.allowed() + " or " + kAuto);
    }
    option.set_help(from.help);
  }
}

// Of a version whose encoder is large beside everything else, with texts kept of earlier tasks.
engram::v1::StrategyCost CostFor(const continual::StrategyInfo& info, int64_t consolidations) {
  constexpr int64_t kEncoderBytes = int64_t{1} << 30;
  const continual::StrategyCost cost = continual::CostOf(
      info, info.options.Defaults(),
      {.encoder_bytes = kEncoderBytes, .consolidations = consolidations, .stored_examples = consolidations});
  engram::v1::StrategyCost out;
  out.set_consolidations(consolidations);
  out.set_encoder_copies(static_cast<double>(cost.bytes) / kEncoderBytes);
  out.set_extra_passes(cost.extra_passes);
  return out;
}

engram::v1::Strategy Describe(const continual::StrategyInfo& info) {
  engram::v1::Strategy out;
  out.set_name(info.name);
  out.set_summary(info.summary);
  Describe(info.options, *out.mutable_options());
  out.mutable_needs()->set_consolidations(info.needs.consolidations);
  out.mutable_needs()->set_examples(info.needs.examples);
  out.mutable_needs()->set_teacher(info.needs.teacher);
  out.mutable_needs()->set_added_parameters(info.needs.added_parameters);
  out.mutable_needs()->set_memory(info.needs.memory);
  for (const int64_t consolidations : {1, 10}) *out.add_costs() = CostFor(info, consolidations);
  out.set_default_if_nothing_is_consolidated(&info == &continual::DefaultStrategy(/*consolidated=*/false));
  out.set_default_if_consolidated(&info == &continual::DefaultStrategy(/*consolidated=*/true));
  return out;
}

}  // namespace

engram::v1::ListStrategiesResponse DescribeStrategies() {
  engram::v1::ListStrategiesResponse response;
  for (const auto& [name, info] : continual::Strategies()) *response.add_strategies() = Describe(info);
  Describe(train::TrainOptionTable(), *response.mutable_training_options());
  Describe(StartTaskOptionTable(), *response.mutable_training_options());
  return response;
}

}  // namespace engram::server
