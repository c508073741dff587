// Experience replay (Chaudhry et al., "On tiny episodic memories in continual learning", 2019; de Masson d'Autume et
// al., NeurIPS 2019): examples of earlier tasks are kept with the version and trained on again. Each step learns the
// union of its batch and a batch drawn anew from the memory (core/continual/union_replay.h).

#include <utility>

#include "core/continual/union_replay.h"
#include "core/train/replay.h"

namespace engram::continual {
namespace {

class ExperienceReplay final : public UnionReplay {
 public:
  ExperienceReplay(const std::string& name, const OptionValues& options, train::MemorySource source)
      : UnionReplay(name, MakeMemory(options, std::move(source))), batch_(options.Whole("replay_batch")) {}

 private:
  std::vector<int64_t> Draw(int64_t held, const train::MicroBatch& /*batch*/, const train::StepInfo& info) override {
    return train::DrawStored(held, batch_, seed(), info.micro_batch);
  }

  const int64_t batch_;
};

absl::StatusOr<std::unique_ptr<train::Strategy>> Make(const StrategyInfo& info, const OptionValues& options,
                                                      StrategyInputs inputs) {
  return std::make_unique<ExperienceReplay>(info.name, options, std::move(inputs.memory));
}

// The stored texts; a batch of the memory beside each batch.
StrategyCost Cost(const OptionValues&, const StrategySizes& sizes) {
  return {.bytes = sizes.stored_examples * train::StoredExampleBytes(sizes.longest_example, 0),
          .extra_passes = sizes.stored_examples > 0 ? 1.0 : 0.0};
}

std::vector<Option> Options() {
  std::vector<Option> options = MemoryOptions();
  options.push_back(Option::Whole("replay_batch", 32, Closed(1, 4096), "texts replayed with each batch"));
  return options;
}

const StrategyRegistration kRegistration(
    {.name = "er",
     .summary = "trains on kept examples of earlier tasks along with each batch; stores texts with the version",
     .options = OptionTable(Options()),
     .needs = {.examples = true, .memory = true},
     .cost = Cost},
    Make);

}  // namespace
}  // namespace engram::continual
