// Plain fine-tuning: nothing is protected. The lower bound that every other strategy is measured against.

#include "core/continual/registry.h"

namespace engram::continual {
namespace {

class Naive final : public train::Strategy {
 public:
  explicit Naive(std::string name) : name_(std::move(name)) {}
  std::string_view name() const override { return name_; }

 private:
  const std::string name_;
};

absl::StatusOr<std::unique_ptr<train::Strategy>> Make(const StrategyInfo& info, const OptionValues&, StrategyInputs) {
  return std::make_unique<Naive>(info.name);
}

const StrategyRegistration kRegistration({.name = "naive",
                                          .summary = "plain fine-tuning; protects nothing",
                                          .grows_heads = true,
                                          .default_where = DefaultWhere::kNothingConsolidated},
                                         Make);

}  // namespace
}  // namespace engram::continual
