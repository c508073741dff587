#include "core/continual/union_replay.h"

#include <algorithm>
#include <span>
#include <utility>

#include "core/train/replay.h"

namespace engram::continual {

std::vector<Option> MemoryOptions() {
  return {Option::Whole("memory_size", 1000, Closed(1, 1000000), "texts kept, of all tasks together"),
          Option::Choice("memory", "balanced", {"balanced", "reservoir"},
                         "which texts are kept: the same number of every task, or every text of any task with the same "
                         "probability")};
}

train::ExampleMemory MakeMemory(const OptionValues& options, train::MemorySource source) {
  const auto choice =
      options.Text("memory") == "reservoir" ? train::MemoryChoice::kReservoir : train::MemoryChoice::kBalanced;
  return train::ExampleMemory(options.Whole("memory_size"), choice, std::move(source));
}

absl::Status UnionReplay::BeginTask(train::TaskSetup& setup) {
  ENGRAM_RETURN_IF_ERROR(memory_.Recall(setup));
  memory_.TrainHeads(setup);
  seed_ = setup.seed;
  return absl::OkStatus();
}

absl::StatusOr<double> UnionReplay::ExtraPasses(nn::Model& model, const train::MicroBatch& batch,
                                                const train::StepInfo& info, nn::GradientSink& sink) {
  const std::vector<train::StoredExample>& held = memory_.held();
  const std::vector<int64_t> drawn = Draw(static_cast<int64_t>(held.size()), batch, info);
  ENGRAM_ASSIGN_OR_RETURN(const train::ReplayLoss loss, train::AddReplayGradient(model, held, drawn, info.unit_weight,
                                                                                 seed_, info.micro_batch, sink));
  replayed_units_ += loss.units;
  return loss.sum * info.unit_weight;
}

absl::Status UnionReplay::OnGradients(const train::ParameterView& view, const train::StepInfo& info) {
  if (replayed_units_ > 0) view.gradients.div_(1 + info.unit_weight * static_cast<double>(replayed_units_));
  replayed_units_ = 0;
  return absl::OkStatus();
}

absl::Status UnionReplay::EndTask(const train::TaskSetup& setup, train::VersionMemory& memory) {
  memory_.Remember(setup, memory);
  return absl::OkStatus();
}

std::vector<int64_t> BatchReplay::Draw(int64_t held, const train::MicroBatch& /*batch*/, const train::StepInfo& info) {
  return train::DrawStored(held, batch_, seed(), info.micro_batch);
}

std::vector<Option> BatchReplayOptions() {
  std::vector<Option> options = MemoryOptions();
  options.push_back(Option::Whole("replay_batch", 32, Closed(1, 4096), "texts replayed with each batch"));
  return options;
}

StrategyCost BatchReplayCost(const StrategySizes& sizes) {
  return {.bytes = sizes.stored_examples * train::StoredExampleBytes(sizes.longest_example, 0),
          .extra_passes = sizes.stored_examples > 0 ? 1.0 : 0.0};
}

}  // namespace engram::continual
