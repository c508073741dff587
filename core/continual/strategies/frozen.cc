// A frozen encoder (Zheng et al., "Learn or recall?", ACL 2024, call it SEQ*): the first task of a line warms the encoder
// up, every later one trains its own head alone. Nothing can be forgotten; what a task can learn is what the frozen
// features hold.

#include <utility>

#include "core/continual/registry.h"

namespace engram::continual {
namespace {

class Frozen final : public train::Strategy {
 public:
  Frozen(std::string name, bool warm_up) : name_(std::move(name)), warm_up_(warm_up) {}

  std::string_view name() const override { return name_; }
  absl::Status BeginTask(train::TaskSetup& setup) override {
    const bool first = setup.model.heads().size() == 1;
    if (!(warm_up_ && first)) setup.trainable = setup.model.HeadSlots(setup.task);
    return absl::OkStatus();
  }

 private:
  const std::string name_;
  const bool warm_up_;
};

absl::StatusOr<std::unique_ptr<train::Strategy>> Make(const StrategyInfo& info, const OptionValues& options,
                                                      StrategyInputs) {
  return std::make_unique<Frozen>(info.name, options.Flag("warm_up"));
}

const StrategyRegistration kRegistration(
    {.name = "frozen",
     .summary = "the first task trains the encoder, later ones their heads alone; nothing can be forgotten",
     .options = OptionTable({Option::Flag("warm_up", true,
                                          "whether the first task of a model trains the encoder; otherwise no task "
                                          "does")})},
    Make);

}  // namespace
}  // namespace engram::continual
