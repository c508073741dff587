// Merging: each formula against loops over single weights in fp64, RegMean against a least-squares fit, and the strategy
// against models that were trained apart.

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "ATen/ops/cat.h"
#include "ATen/ops/linalg_lstsq.h"
#include "ATen/ops/mm.h"
#include "ATen/ops/ones.h"
#include "ATen/ops/stack.h"
#include "core/continual/encoder_memory.h"
#include "core/continual/importance.h"
#include "core/continual/merging.h"
#include "tests/unit/continual/strategy_probe.h"

namespace engram::continual {
namespace {

std::vector<at::Tensor> Draw(int64_t count, int64_t size, uint64_t seed, bool positive = false) {
  std::vector<at::Tensor> drawn;
  for (int64_t t = 0; t < count; ++t) {
    RandomStream random(seed, RandomPurpose::kSubset, static_cast<uint64_t>(t));
    at::Tensor& vector = drawn.emplace_back(at::zeros({size}, at::kFloat));
    for (int64_t i = 0; i < size; ++i) {
      const auto value = static_cast<float>(random.NextNormal());
      vector.mutable_data_ptr<float>()[i] = positive ? std::abs(value) : value;
    }
  }
  return drawn;
}

double At(const at::Tensor& vector, int64_t i) { return vector[i].item<double>(); }

TEST(Merging, AverageFisherAndArithmeticAreTheirFormulas) {
  const auto vectors = Draw(3, 50, 1);
  auto fishers = Draw(3, 50, 2, /*positive=*/true);
  for (at::Tensor& fisher : fishers) fisher[7] = 0;  // nobody knows
  const at::Tensor average = MergeAverage(vectors), fisher = MergeFisher(vectors, fishers),
                   arithmetic = MergeArithmetic(vectors, 0.4);
  for (int64_t i = 0; i < 50; ++i) {
    double sum = 0, weighted = 0, total = 0;
    for (size_t t = 0; t < 3; ++t) {
      sum += At(vectors[t], i);
      weighted += At(vectors[t], i) * At(fishers[t], i);
      total += At(fishers[t], i);
    }
    EXPECT_NEAR(At(average, i), sum / 3, 1e-6);
    EXPECT_NEAR(At(fisher, i), i == 7 ? sum / 3 : weighted / total, 1e-5);
    EXPECT_NEAR(At(arithmetic, i), 0.4 * sum, 1e-6);
  }
}

TEST(Merging, TiesTrimsElectsAndTakesTheMeanOfThoseThatAgree) {
  constexpr int64_t kSize = 40;
  const auto vectors = Draw(3, kSize, 3);
  const at::Tensor merged = MergeTies(vectors, /*keep=*/0.3, /*scale=*/0.7);
  std::vector<std::vector<double>> trimmed;
  for (const at::Tensor& vector : vectors) {
    std::vector<std::pair<double, int64_t>> by_size;
    for (int64_t i = 0; i < kSize; ++i) by_size.push_back({-std::abs(At(vector, i)), i});
    std::sort(by_size.begin(), by_size.end());
    std::vector<double>& own = trimmed.emplace_back(kSize, 0.0);
    for (int64_t k = 0; k < 12; ++k) own[by_size[k].second] = At(vector, by_size[k].second);
  }
  int64_t conflicts = 0;
  for (int64_t i = 0; i < kSize; ++i) {
    double sum = 0, agreeing = 0, count = 0;
    for (const auto& own : trimmed) sum += own[i];
    bool up = false, down = false;
    for (const auto& own : trimmed) {
      up = up || own[i] > 0;
      down = down || own[i] < 0;
      if (own[i] == 0 || (own[i] > 0) != (sum > 0)) continue;
      agreeing += own[i];
      ++count;
    }
    conflicts += up && down ? 1 : 0;
    EXPECT_NEAR(At(merged, i), count == 0 ? 0 : 0.7 * agreeing / count, 1e-6) << i;
  }
  EXPECT_GT(conflicts, 0);
  EXPECT_TRUE(at::equal(MergeTies(std::span(vectors).first(1), 1, 1), vectors[0]));
}

// sigma, the largest that agrees, the masks and the scales, weight by weight as the paper has them.
TEST(Merging, EmrElectsASignMasksAndRescales) {
  constexpr int64_t kSize = 70;
  auto vectors = Draw(3, kSize, 8);
  for (const size_t t : {0, 2}) vectors[t][5] = 0;  // a weight that one task alone has moved
  const EmrMerge merged = MergeEmr(vectors);
  std::vector<double> own(3, 0), left(3, 0);
  std::vector<std::vector<bool>> masks(3, std::vector<bool>(kSize));
  for (int64_t i = 0; i < kSize; ++i) {
    double sum = 0, update = 0;
    for (const at::Tensor& vector : vectors) sum += At(vector, i);
    for (const at::Tensor& vector : vectors) {
      const double value = At(vector, i);
      if (value * sum > 0 && std::abs(value) > std::abs(update)) update = value;
    }
    EXPECT_NEAR(At(merged.update, i), update, 1e-7) << i;
    for (size_t t = 0; t < 3; ++t) {
      own[t] += std::abs(At(vectors[t], i));
      masks[t][static_cast<size_t>(i)] = At(vectors[t], i) * update > 0;
      if (masks[t][static_cast<size_t>(i)]) left[t] += std::abs(update);
    }
  }
  for (size_t t = 0; t < 3; ++t) {
    EXPECT_NEAR(merged.masks[t].scale, own[t] / left[t], 1e-6) << t;
    const at::Tensor bits = nn::UnpackBits(merged.masks[t].bits, kSize);
    for (int64_t i = 0; i < kSize; ++i) EXPECT_EQ(bits[i].item<bool>(), masks[t][static_cast<size_t>(i)]) << t << i;
  }
  // One task alone is itself.
  const EmrMerge alone = MergeEmr(std::span(vectors).first(1));
  EXPECT_TRUE(at::equal(alone.update, vectors[0]));
  EXPECT_EQ(alone.masks[0].scale, 1);
  const at::Tensor nothing = at::zeros({4});
  EXPECT_EQ(MergeEmr(std::span(&nothing, 1)).masks[0].scale, 1) << "a task that moved nothing";
}

// The merged layer is the one that comes nearest, over all tasks' inputs, to what each task's own makes of its inputs.
TEST(Merging, RegMeanIsTheLeastSquaresFitOfEveryLinearLayer) {
  const auto model = TinyModel({"a"}, 3);
  const nn::ParameterBuffer& parameters = model->parameters();
  const auto vectors = Draw(2, model->EncoderElements(), 5);
  constexpr int64_t kTokens = 400;
  std::vector<LayerFactors> factors(2);
  std::map<nn::SlotId, std::vector<at::Tensor>> inputs;
  for (const nn::SlotId matrix : LayerMatrices(*model)) {
    const int64_t columns = parameters.slice(matrix).shape[1];
    for (size_t t = 0; t < 2; ++t) {
      const at::Tensor x = Draw(1, kTokens * columns, 100 * static_cast<uint64_t>(matrix) + t)[0]
                               .view({kTokens, columns})
                               .to(at::kDouble) +
                           0.3;
      const at::Tensor augmented = at::cat({x, at::ones({kTokens, 1}, at::kDouble)}, 1);
      inputs[matrix].push_back(augmented);
      factors[t][matrix].inputs = (at::mm(augmented.t(), augmented) / kTokens).to(at::kFloat);
    }
  }
  const at::Tensor merged = MergeRegMean(parameters, vectors, factors, /*off_diagonal=*/1);
  const at::Tensor average = MergeAverage(vectors);
  at::Tensor rest = merged - average;
  for (const auto& [matrix, x] : inputs) {
    const nn::ParameterSlice &w = parameters.slice(matrix), &b = parameters.slice(BiasOf(parameters, matrix));
    const auto layer = [&](const at::Tensor& vector) {
      return at::cat(
                 {vector.narrow(0, w.offset, w.size).view(w.shape), vector.narrow(0, b.offset, b.size).unsqueeze(1)}, 1)
          .to(at::kDouble)
          .t();
    };
    const at::Tensor outputs = at::cat({at::mm(x[0], layer(vectors[0])), at::mm(x[1], layer(vectors[1]))});
    const at::Tensor fit = std::get<0>(at::linalg_lstsq(at::cat({x[0], x[1]}), outputs));
    EXPECT_LT((layer(merged) - fit).abs().max().item<double>(), 2e-4) << w.name;
    EXPECT_GT((layer(average) - fit).abs().max().item<double>(), 0.02) << "no more than the average";
    for (const nn::ParameterSlice& slice : {w, b}) rest.narrow(0, slice.offset, slice.size).zero_();
  }
  EXPECT_EQ(rest.abs().max().item<double>(), 0) << "what is no linear layer is averaged";
  // Without inner products it is the mean weighted by the inputs' squares.
  const at::Tensor diagonal = MergeRegMean(parameters, vectors, factors, /*off_diagonal=*/0);
  const nn::SlotId matrix = inputs.begin()->first;
  const nn::ParameterSlice& w = parameters.slice(matrix);
  const double f = At(factors[0][matrix].inputs.select(0, 3), 3), g = At(factors[1][matrix].inputs.select(0, 3), 3);
  const int64_t i = w.offset + 5 * w.shape[1] + 3;
  EXPECT_NEAR(At(diagonal, i), (f * At(vectors[0], i) + g * At(vectors[1], i)) / (f + g), 1e-4);
}

class MergeStrategy : public StrategyProbe {
 protected:
  static absl::StatusOr<train::TrainResult> Learn(nn::Model& model, const std::string& task, train::Strategy* strategy,
                                                  uint64_t seed) {
    const auto training = TinyExamples(40, kLabels, seed);
    return train::Train(model, RunOptions(), Input(task, training, strategy));
  }
};

// Keeps what the task's training ended with, before it is merged.
struct KeepSingle final : Forwarding {
  using Forwarding::Forwarding;
  absl::StatusOr<bool> AfterTraining(const train::TaskSetup& setup) override {
    single = EncoderWeights(setup.model);
    return Forwarding::AfterTraining(setup);
  }
  at::Tensor single;
};

TEST_F(MergeStrategy, TheEncoderIsTheMergeOfModelsThatWereTrainedApart) {
  const std::map<std::string, uint64_t> tasks = {{"a", 1}, {"b", 2}, {"c", 3}};
  for (const std::string method : {"average", "fisher", "arithmetic", "ties", "regmean"}) {
    const auto model = TinyModel({"a", "b", "c"}, kLabels);
    const at::Tensor base = EncoderWeights(*model);
    const Options options = {{"method", method}, {"keep", "0.5"}, {"samples", "0"}};
    train::VersionMemory memory;
    std::vector<at::Tensor> vectors, fishers;
    std::vector<LayerFactors> factors;
    for (const auto& [task, seed] : tasks) {
      const auto alone = TinyModel({"a", "b", "c"}, kLabels);
      ASSERT_TRUE(Learn(*alone, task, nullptr, seed).ok());
      vectors.push_back(EncoderWeights(*alone) - base);
      ImportanceOptions taken;
      taken.samples = 0;
      taken.seed = RunOptions().seed;
      KroneckerSink sink(*alone, TokenSharing::kExpand);
      const auto training = TinyExamples(40, kLabels, seed);
      fishers.push_back(ComputeImportance(*alone, task, training, taken, nullptr, &sink)->fisher);
      factors.push_back(sink.Finish(40));

      const auto strategy = Make("merge", options, memory);
      const auto result = Learn(*model, task, strategy.get(), seed);
      ASSERT_TRUE(result.ok()) << result.status();
      memory = result->memory;
      at::Tensor expected = vectors[0];
      if (vectors.size() > 1) {
        if (method == "average") expected = MergeAverage(vectors);
        if (method == "fisher") expected = MergeFisher(vectors, fishers);
        if (method == "arithmetic") expected = MergeArithmetic(vectors, 0.4);
        if (method == "ties") expected = MergeTies(vectors, 0.5, 1);
        if (method == "regmean") expected = MergeRegMean(model->parameters(), vectors, factors, 0.9);
      }
      EXPECT_LT((EncoderWeights(*model) - base - expected).abs().max().item<double>(), 2e-6) << method << " " << task;
      for (const nn::SlotId slot : model->HeadSlots(task))
        EXPECT_TRUE(at::equal(model->parameters().Weight(slot), alone->parameters().Weight(slot))) << method;
    }
  }
}

// With EMR the encoder stays, and each task is asked as a model with its share of the update.
TEST_F(MergeStrategy, EachTaskIsAskedWithItsMaskOfOneUpdate) {
  const auto model = TinyModel({"a", "b", "plain"}, kLabels);
  const at::Tensor base = EncoderWeights(*model);
  const auto texts = TinyExamples(6, kLabels, 5);
  const auto ask = [&](const nn::Model& asked, const std::string& task) {
    std::vector<nn::Sequence> sequences;
    for (const train::TrainingExample& text : texts) sequences.push_back(text.sequence);
    return asked.Predict(*nn::Pack(std::span<const nn::Sequence>(sequences), at::kCPU), {task, {}}, std::nullopt,
                         nullptr);
  };
  train::VersionMemory memory;
  std::vector<std::string> tasks;
  std::vector<at::Tensor> vectors;
  const auto learn = [&](const std::string& task, uint64_t seed) {
    const auto alone = TinyModel({"a", "b", "plain"}, kLabels);
    for (const nn::SlotId slot : model->HeadSlots(task))  // a task that is learned again goes on from its head
      alone->parameters().Weight(slot).copy_(model->parameters().Weight(slot));
    ASSERT_TRUE(Learn(*alone, task, nullptr, seed).ok());
    const auto known = std::find(tasks.begin(), tasks.end(), task);
    if (known != tasks.end()) {
      vectors.erase(vectors.begin() + (known - tasks.begin()));
      tasks.erase(known);
    }
    tasks.push_back(task);
    vectors.push_back(EncoderWeights(*alone) - base);
    const auto strategy = Make("merge", {{"method", "emr"}}, memory);
    const auto result = Learn(*model, task, strategy.get(), seed);
    ASSERT_TRUE(result.ok()) << result.status();
    memory = result->memory;
    EXPECT_TRUE(at::equal(EncoderWeights(*model), base));
    const EmrMerge merged = MergeEmr(vectors);
    for (size_t t = 0; t < tasks.size(); ++t) {
      const auto own = model->Clone();
      ASSERT_TRUE(own->SetMasks({}, {}).ok());
      own->parameters().weights().narrow(0, 0, base.numel()).copy_(nn::ApplyMask(base, merged.update, merged.masks[t]));
      EXPECT_LT((ask(*model, tasks[t]) - ask(*own, tasks[t])).abs().max().item<double>(), 1e-5) << tasks[t];
    }
    const double from_alone = (ask(*model, task) - ask(*alone, task)).abs().max().item<double>();
    if (vectors.size() == 1) {
      EXPECT_LT(from_alone, 1e-5);
    }
  };
  learn("a", 1);
  learn("b", 2);
  EXPECT_TRUE(at::equal(ask(*model, "plain"), ask(*TinyModel({"a", "b", "plain"}, kLabels), "plain")));
  learn("a", 3);
  // Under another method the same vectors are one encoder for all.
  const auto strategy = Make("merge", {{"method", "average"}}, memory);
  KeepSingle keep(*strategy);
  ASSERT_TRUE(Learn(*model, "b", &keep, 4).ok());
  EXPECT_TRUE(model->masks().empty());
  EXPECT_LT((EncoderWeights(*model) - (base + vectors[1] + keep.single) / 2).abs().max().item<double>(), 1e-6);
}

TEST_F(MergeStrategy, MasksWithoutTheirVectorsAreRefused) {
  const auto model = TinyModel({"a", "b"}, kLabels);
  const auto first = Make("merge", {{"method", "emr"}}, {});
  ASSERT_TRUE(Learn(*model, "a", first.get(), 1).ok());
  const auto second = Make("merge", {{"method", "emr"}}, {});
  EXPECT_EQ(Learn(*model, "b", second.get(), 2).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(MergeStrategy, ATaskLearnedAgainTakesItsOwnPlace) {
  const auto model = TinyModel({"a", "b"}, kLabels);
  const at::Tensor base = EncoderWeights(*model);
  train::VersionMemory memory;
  at::Tensor last_a, b;
  for (const auto& [task, seed] : std::vector<std::pair<std::string, uint64_t>>{{"a", 1}, {"b", 2}, {"a", 3}}) {
    const auto strategy = Make("merge", {{"method", "average"}}, memory);
    KeepSingle keep(*strategy);
    const auto result = Learn(*model, task, &keep, seed);
    ASSERT_TRUE(result.ok()) << result.status();
    memory = result->memory;
    (task == "a" ? last_a : b) = keep.single;
  }
  EXPECT_LT((EncoderWeights(*model) - (last_a + b) / 2).abs().max().item<double>(), 1e-6);
  EXPECT_FALSE(memory.values.contains("task.2"));
}

TEST_F(MergeStrategy, WhatAnotherStrategyTrainedSinceIsTheNewBase) {
  const auto model = TinyModel({"a", "b", "c"}, kLabels);
  const auto first = Make("merge", {{"method", "average"}}, {});
  const auto learned = Learn(*model, "a", first.get(), 1);
  ASSERT_TRUE(learned.ok());
  ASSERT_TRUE(Learn(*model, "b", nullptr, 2).ok());
  const at::Tensor base = EncoderWeights(*model);
  const auto second = Make("merge", {{"method", "average"}}, learned->memory);
  const auto result = Learn(*model, "c", second.get(), 3);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_TRUE(at::equal(*RecallEncoder(*model, "base", result->memory, base), base));
  EXPECT_EQ(result->memory.values.at("task.0"), "c");
  EXPECT_FALSE(result->memory.values.contains("task.1"));
}

TEST_F(MergeStrategy, AMethodThatLacksWhatEarlierTasksLeftIsRefused) {
  const auto model = TinyModel({"a", "b"}, kLabels);
  const auto first = Make("merge", {{"method", "average"}}, {});
  const auto learned = Learn(*model, "a", first.get(), 1);
  ASSERT_TRUE(learned.ok());
  for (const char* method : {"fisher", "regmean"}) {
    const auto second = Make("merge", {{"method", method}}, learned->memory);
    const absl::Status status = Learn(*model, "b", second.get(), 2).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
    EXPECT_NE(status.message().find("average"), std::string::npos) << status;
  }
}

// Interrupted while the merged encoder is measured, when all steps are done.
TEST_F(MergeStrategy, GoesOnToTheBitFromAnInterruptedMeasurement) {
  for (const std::string method : {"regmean", "emr"}) {
    const auto start = TinyModel({"a", "b"}, kLabels);
    const auto first = Make("merge", {{"method", method}}, {});
    const auto learned = Learn(*start, "a", first.get(), 1);
    ASSERT_TRUE(learned.ok());
    const auto training = TinyExamples(40, kLabels, 2);
    const auto run = [&](nn::Model& model, bool interrupt, const std::string& path) {
      const auto strategy = Make("merge", {{"method", method}}, learned->memory);
      std::atomic<train::StopRequest> stop{train::StopRequest::kNone};
      train::TrainInput input = Input("b", training, strategy.get());
      input.checkpoint_path = path;
      input.stop = &stop;
      input.measure = [&]() -> absl::Status {
        if (!interrupt) return absl::OkStatus();
        stop.store(train::StopRequest::kCheckpoint);
        return absl::CancelledError("stopped");
      };
      const auto result = train::Train(model, RunOptions(), input);
      EXPECT_TRUE(result.ok()) << result.status();
      return *result;
    };
    const auto whole = start->Clone(), stopped = start->Clone(), resumed = start->Clone();
    const train::TrainResult expected = run(*whole, false, "");
    EXPECT_EQ(run(*stopped, true, directory_ + "/" + method).outcome, train::TrainOutcome::kInterrupted);
    const train::TrainResult result = run(*resumed, false, directory_ + "/" + method);
    EXPECT_TRUE(result.resumed);
    EXPECT_TRUE(at::equal(resumed->parameters().weights(), whole->parameters().weights()));
    for (const auto& [name, tensor] : expected.memory.tensors)
      EXPECT_TRUE(at::equal(result.memory.tensors.at(name), tensor)) << name;
    ASSERT_EQ(resumed->masks().size(), whole->masks().size());
    for (const auto& [task, mask] : whole->masks()) {
      EXPECT_TRUE(at::equal(resumed->masks().at(task).bits, mask.bits)) << task;
      EXPECT_EQ(resumed->masks().at(task).scale, mask.scale) << task;
    }
  }
}

}  // namespace
}  // namespace engram::continual
