// Training and importance, driven by train_vs_transformers.py, fisher_vs_backward.py and gpu.py. The model is --model (drawn anew
// where it is a config.json alone) with a mean-pooled head of 4 classes, dropout as in config.json. Commands:
//   train PRECISION ORDER STEPS   optimizer steps over batches of --batch texts (ORDER: random, length_grouped) ->
//                                 {"seconds", "tokens"}
//   ewc PRECISION STEPS           the same with EWC's penalty on top of naive steps on the same batches -> {"naive",
//                                 "ewc"} seconds
//   backward TEXTS [PRECISION], fisher TEXTS [PRECISION]
//                                 forward and backward, or the empirical Fisher, of the first texts in batches of like
//                                 length -> {"seconds"}; fp32 where it is not said

#include <memory>

#include "ATen/Parallel.h"
#include "ATen/ops/rand.h"
#include "CLI/CLI.hpp"
#include "bench/bench_common.h"
#include "c10/core/GradMode.h"
#include "core/continual/importance.h"
#include "core/nn/gradient_sink.h"
#include "core/train/adamw.h"
#include "core/train/batches.h"
#include "core/train/micro_batch.h"
#include "core/train/train_options.h"

namespace engram::bench {
namespace {

constexpr int64_t kLabels = 4;

// One fresh model with its optimizer, stepping through batches for ever.
class Trainer {
 public:
  Trainer(const std::string& directory, const nn::LoadOptions& options,
          const std::vector<train::TrainingExample>& examples, train::BatchOrder order, int64_t batch)
      : examples_(examples) {
    model_ = LoadOrDraw(directory, options);
    if (const auto status = model_->AddHead(
            "task", {checkpoint::TaskKind::kSequenceClassification, kLabels, checkpoint::Pooling::kMean}, 0);
        !status.ok())
      Die(status);
    model_->parameters().EnableGradients();
    std::vector<nn::SlotId> slots = model_->EncoderSlots();
    for (const nn::SlotId slot : model_->HeadSlots("task")) slots.push_back(slot);
    optimizer_ = std::make_unique<train::AdamW>(&model_->parameters(), slots, train::AdamWOptions{});
    std::vector<int32_t> lengths;
    for (const auto& example : examples) lengths.push_back(static_cast<int32_t>(example.sequence.ids.size()));
    batches_ = train::MakeBatches(lengths, {batch, 0, order, 0}, 0);
    spec_ = {"task", checkpoint::TaskKind::kSequenceClassification, kLabels, std::nullopt};
  }

  int64_t Step(std::span<const train::QuadraticPenalty> penalties) {
    nn::ParameterBuffer& parameters = model_->parameters();
    const auto number = static_cast<uint64_t>(step_);
    const train::MicroBatch batch = Must(
        train::MakeMicroBatch(spec_, examples_, batches_[step_++ % batches_.size()], 0, number, parameters.device()));
    parameters.ZeroGradients();
    nn::AccumulateSink sink(&parameters);
    const nn::TrainingMode mode{0, number};
    const auto tape = nn::Model::NewTape();
    const at::Tensor logits = model_->Predict(batch.batch, {"task", batch.rows}, mode, tape.get());
    model_->Backward(train::CrossEntropyLoss(logits, batch.targets, 1.0 / static_cast<double>(batch.units)).grad,
                     std::move(*tape), sink);
    optimizer_->Step(2e-5, train::ClipScale(train::GradientNorm(parameters, optimizer_->ranges()), 1.0), penalties);
    return batch.batch.tokens();
  }
  nn::Model& model() { return *model_; }

 private:
  const std::vector<train::TrainingExample>& examples_;
  std::unique_ptr<nn::Model> model_;
  std::unique_ptr<train::AdamW> optimizer_;
  std::vector<std::vector<int64_t>> batches_;
  train::TaskSpec spec_;
  size_t step_ = 0;
};

nlohmann::json Train(Trainer& trainer, int steps) {
  int64_t tokens = 0;
  const double seconds = Seconds([&] {
    for (int i = 0; i < steps; ++i) tokens += trainer.Step({});
    Await(trainer.model().parameters().weights());
  });
  return {{"seconds", seconds}, {"tokens", tokens}};
}

train::QuadraticPenalty MakePenalty(const nn::Model& model) {
  train::QuadraticPenalty penalty;
  for (const nn::SlotId slot : model.EncoderSlots()) penalty.end += model.parameters().slice(slot).size;
  penalty.importance = at::rand({penalty.end}, at::kFloat).mul_(1e-6).to(model.parameters().device());
  penalty.anchor = model.parameters().weights().narrow(0, 0, penalty.end).clone();
  penalty.strength = 1000;
  return penalty;
}

// Naive and EWC steps in turn, so that both see the same machine.
nlohmann::json Ewc(Trainer& naive, Trainer& ewc, int steps) {
  const train::QuadraticPenalty penalty = MakePenalty(ewc.model());
  double naive_seconds = 0, ewc_seconds = 0;
  for (int i = 0; i < steps; ++i) {
    naive_seconds += Seconds([&] {
      naive.Step({});
      Await(naive.model().parameters().weights());
    });
    ewc_seconds += Seconds([&] {
      ewc.Step(std::span(&penalty, 1));
      Await(ewc.model().parameters().weights());
    });
  }
  return {{"naive", naive_seconds}, {"ewc", ewc_seconds}};
}

nlohmann::json ForwardBackward(nn::Model& model, std::span<const train::TrainingExample> examples) {
  std::vector<int32_t> lengths;
  for (const auto& example : examples) lengths.push_back(static_cast<int32_t>(example.sequence.ids.size()));
  const train::TaskSpec spec{"task", checkpoint::TaskKind::kSequenceClassification, kLabels, std::nullopt};
  return {{"seconds", Seconds([&] {
             nn::AccumulateSink sink(&model.parameters());
             for (const auto& indices : train::BatchesByLength(lengths, continual::ImportanceOptions().batch_tokens)) {
               const train::MicroBatch batch =
                   Must(train::MakeMicroBatch(spec, examples, indices, 0, 0, model.parameters().device()));
               const auto tape = nn::Model::NewTape();
               const at::Tensor logits = model.Predict(batch.batch, {"task", batch.rows}, std::nullopt, tape.get());
               model.Backward(train::CrossEntropyLoss(logits, batch.targets, 1.0).grad, std::move(*tape), sink);
             }
             Await(model.parameters().gradients());
           })}};
}

nlohmann::json Fisher(nn::Model& model, std::span<const train::TrainingExample> examples) {
  continual::ImportanceOptions options;
  options.kind = continual::ImportanceKind::kEmpirical;
  options.samples = 0;
  return {{"seconds", Seconds([&] { Must(continual::ComputeImportance(model, "task", examples, options)); })}};
}

}  // namespace
}  // namespace engram::bench

int main(int argc, char** argv) {
  using namespace engram;
  using namespace engram::bench;
  CLI::App app("Training for bench/train_vs_transformers.py and its siblings");
  std::string directory, ids, device = "cpu";
  int threads = 1;
  int64_t batch = 32;
  app.add_option("--model", directory)->required();
  app.add_option("--ids", ids)->required();
  app.add_option("--device", device);
  app.add_option("--batch", batch);
  app.add_option("--threads", threads);
  CLI11_PARSE(app, argc, argv);
  engram::nn::KeepTensorMemory();
  at::set_num_threads(threads);
  const c10::NoGradGuard no_autograd;
  std::vector<train::TrainingExample> examples;
  for (nn::Sequence& sequence : ReadIds(ids))
    examples.push_back({std::move(sequence), static_cast<int64_t>(examples.size()) % kLabels, {}, {}});
  std::map<std::string, std::unique_ptr<Trainer>> trainers;
  const auto trainer = [&](const std::string& key, const std::string& precision, const std::string& order) -> Trainer& {
    auto& made = trainers[key + precision + order];
    if (!made) {
      const train::TrainOptions options = Must(train::ParseTrainOptions({{"order", order}}));
      nn::LoadOptions load;
      load.device = DeviceOf(device);
      load.precision = PrecisionOf(precision);
      made = std::make_unique<Trainer>(directory, load, examples, options.order, batch);
    }
    return *made;
  };
  Serve([&](std::istringstream& words) -> nlohmann::json {
    std::string command, precision, order;
    int count = 0;
    words >> command;
    if (command == "train") {
      words >> precision >> order >> count;
      return Train(trainer("train", precision, order), count);
    }
    if (command == "ewc") {
      words >> precision >> count;
      return Ewc(trainer("train", precision, "random"), trainer("ewc", precision, "random"), count);
    }
    if (!(words >> count >> precision)) precision = "fp32";
    Trainer& plain = trainer("train", precision, "random");
    const auto part =
        std::span<const train::TrainingExample>(examples).first(std::min(examples.size(), static_cast<size_t>(count)));
    return command == "fisher" ? Fisher(plain.model(), part) : ForwardBackward(plain.model(), part);
  });
  return 0;
}
