// Steps of every strategy and the importance pass, driven by continual_speed.py. The model is MiniLM with two mean-pooled
// heads of 4 classes; task "a" has been learned and consolidated, task "b" is learned. Commands:
//   steps STRATEGY TASKS STEPS   the trainer's own steps over batches of 32, naive ones and the strategy's in turn by runs
//                                of STEPS, TASKS consolidations held (all of them task a's) -> {"naive", "strategy"},
//                                seconds of STEPS steps each, without the first of a run
//   importance TEXTS             sampled importance of task a -> {"seconds"}
//   epoch TEXTS                  one epoch of naive training on the same texts -> {"seconds"}

#include <map>
#include <memory>

#include "ATen/Parallel.h"
#include "CLI/CLI.hpp"
#include "bench/bench_common.h"
#include "c10/core/GradMode.h"
#include "core/continual/importance.h"
#include "core/continual/registry.h"
#include "core/train/trainer.h"

namespace engram::bench {
namespace {

constexpr int64_t kLabels = 4, kBatch = 32;
constexpr int64_t kImportanceTexts = 128;  // of what is consolidated before

using Examples = std::span<const train::TrainingExample>;

train::TrainOptions Options() {
  train::TrainOptions options;
  options.lr = 2e-5;
  options.epochs = 1;
  options.batch_size = kBatch;
  options.warmup_ratio = 0;
  options.precision = train::PrecisionChoice::kFloat32;
  return options;
}

std::unique_ptr<nn::Model> Load(const std::string& directory) {
  std::unique_ptr<nn::Model> model = Must(nn::LoadModel(directory, {})).model;
  for (const char* task : {"a", "b"}) {
    const absl::Status status =
        model->AddHead(task, {checkpoint::TaskKind::kSequenceClassification, kLabels, checkpoint::Pooling::kMean}, 0);
    if (!status.ok()) Die(status);
  }
  return model;
}

// The time from the end of a run's first step to the end of its last.
class Stopwatch final : public train::TrainObserver {
 public:
  void OnProgress(const train::Progress& progress) override {
    const auto now = std::chrono::steady_clock::now();
    if (progress.step == 1) start_ = now;
    seconds = std::chrono::duration<double>(now - start_).count();
  }
  double seconds = 0;

 private:
  std::chrono::steady_clock::time_point start_;
};

class Bench {
 public:
  Bench(std::string directory, Examples examples) : directory_(std::move(directory)), examples_(examples) {
    const auto model = Load(directory_);
    const continual::Importance importance = Must(continual::ComputeImportance(
        *model, "a", examples_.first(std::min<size_t>(kImportanceTexts, examples_.size())), {}));
    consolidation_.task = "a";
    consolidation_.training_examples = importance.training_examples;
    consolidation_.samples = importance.samples;
    consolidation_.fisher = importance.fisher;
    consolidation_.anchor = continual::EncoderWeights(*model);
  }

  nlohmann::json Steps(const std::string& name, int64_t tasks, int64_t steps) {
    // One more: the first of a run is not timed.
    const Examples texts =
        examples_.first(std::min<size_t>(static_cast<size_t>((steps + 1) * kBatch), examples_.size()));
    const double naive = Run("naive", 0, texts), strategy = Run(name, tasks, texts);
    return {{"naive", naive}, {"strategy", strategy}};
  }
  nlohmann::json Importance(int64_t texts) {
    nn::Model& model = *ModelOf("naive");
    continual::ImportanceOptions options;
    options.samples = texts;
    return {{"seconds", Seconds([&] { Must(continual::ComputeImportance(model, "a", examples_, options)); })}};
  }
  nlohmann::json Epoch(int64_t texts) {
    nn::Model& model = *ModelOf("naive");
    return {{"seconds", Seconds([&] { Train(model, "naive", 0, "b", First(texts), nullptr); })}};
  }

 private:
  Examples First(int64_t texts) const {
    return examples_.first(std::min<size_t>(static_cast<size_t>(texts), examples_.size()));
  }
  // One for each strategy, so that blocks and the like are those of the strategy alone.
  nn::Model* ModelOf(const std::string& name) {
    std::unique_ptr<nn::Model>& model = models_[name];
    if (!model) model = Load(directory_);
    return model.get();
  }

  train::VersionMemory Train(nn::Model& model, const std::string& name, int64_t tasks, const std::string& task,
                             Examples texts, Stopwatch* stopwatch) {
    std::vector<continual::Consolidation> consolidations(static_cast<size_t>(tasks), consolidation_);
    continual::StrategyInputs inputs;
    inputs.consolidations = continual::FromMemory(std::move(consolidations));
    if (const auto known = memories_.find(name); known != memories_.end() && task == "b")
      inputs.memory = train::MemorySource(known->second);
    const auto strategy = Must(continual::MakeStrategy(name, {}, std::move(inputs)));
    train::TrainInput input;
    input.task = {task, checkpoint::TaskKind::kSequenceClassification, kLabels, std::nullopt};
    input.training = texts;
    input.strategy = strategy.get();
    input.observer = stopwatch;
    return Must(train::Train(model, Options(), input)).memory;
  }

  double Run(const std::string& name, int64_t tasks, Examples texts) {
    nn::Model& model = *ModelOf(name);
    const bool remembers = (*continual::FindStrategy(name))->needs.memory;
    if (remembers && !memories_.contains(name))
      memories_[name] = Train(model, name, tasks, "a", First(kImportanceTexts), nullptr);
    Stopwatch stopwatch;
    Train(model, name, tasks, "b", texts, &stopwatch);
    return stopwatch.seconds;
  }

  const std::string directory_;
  const Examples examples_;
  continual::Consolidation consolidation_;
  std::map<std::string, std::unique_ptr<nn::Model>> models_;
  std::map<std::string, train::VersionMemory> memories_;
};

}  // namespace
}  // namespace engram::bench

int main(int argc, char** argv) {
  using namespace engram;
  using namespace engram::bench;
  CLI::App app("Strategies for bench/continual_speed.py");
  std::string directory, ids;
  int threads = 1;
  app.add_option("--model", directory)->required();
  app.add_option("--ids", ids)->required();
  app.add_option("--threads", threads);
  CLI11_PARSE(app, argc, argv);
  engram::nn::KeepTensorMemory();
  at::set_num_threads(threads);
  const c10::NoGradGuard no_autograd;
  std::vector<train::TrainingExample> examples;
  for (nn::Sequence& sequence : ReadIds(ids)) {
    train::TrainingExample& example = examples.emplace_back();
    example.sequence = std::move(sequence);
    example.label = static_cast<int64_t>(examples.size()) % kLabels;
    example.source = static_cast<int64_t>(examples.size());
  }
  Bench bench(directory, examples);
  Serve([&](std::istringstream& words) -> nlohmann::json {
    std::string command, strategy;
    int64_t tasks = 0, count = 0;
    words >> command;
    if (command == "steps") {
      words >> strategy >> tasks >> count;
      return bench.Steps(strategy, tasks, count);
    }
    words >> count;
    return command == "importance" ? bench.Importance(count) : bench.Epoch(count);
  });
  return 0;
}
