// The strategy `fel`: encoder untouched, the head that of all texts together, whatever came first.

#include <cstdlib>

#include "ATen/TensorOperators.h"
#include "ATen/ops/cat.h"
#include "ATen/ops/equal.h"
#include "ATen/ops/stack.h"
#include "core/continual/expansion_statistics.h"
#include "core/nn/fixed_expansion.h"
#include "core/nn/ops/pooling/pooling.h"
#include "core/train/evaluate.h"
#include "tests/unit/continual/strategy_probe.h"

namespace engram::continual {
namespace {

using Examples = std::vector<train::TrainingExample>;

class Fel : public StrategyProbe {
 protected:
  static absl::StatusOr<train::TrainResult> Run(nn::Model& model, const Examples& examples, const Options& options,
                                                const train::VersionMemory& memory) {
    const auto strategy = Make("fel", options, memory);
    train::TrainInput input;
    input.task = TinyTask("a", model.heads().at("a").labels);
    input.training = examples;
    input.strategy = strategy.get();
    return train::Train(model, RunOptions(), input);
  }
  static at::Tensor Logits(const nn::Model& model, const Examples& examples) {
    auto logits = train::PredictLogits(model, TinyTask("a", model.heads().at("a").labels), examples, {});
    EXPECT_TRUE(logits.ok()) << logits.status();
    return at::stack(*logits);
  }
  static Examples OfLabels(const Examples& examples, int64_t begin, int64_t end) {
    Examples out;
    for (const auto& example : examples) {
      if (example.label >= begin && example.label < end) out.push_back(example);
    }
    return out;
  }
  const Options options_{{"width", "64"}, {"shrinkage", "0.1"}};
};

// Features of each text by a pass of its own.
TEST_F(Fel, SolvesTheHeadFromTheFeaturesOfTheFrozenEncoder) {
  const Examples examples = TinyExamples(120, kLabels, 1);
  const std::map<std::string, checkpoint::ExpansionKind> kinds{{"none", checkpoint::ExpansionKind::kUnit},
                                                               {"relu", checkpoint::ExpansionKind::kRelu},
                                                               {"rff", checkpoint::ExpansionKind::kRff},
                                                               {"kwta", checkpoint::ExpansionKind::kKwta}};
  for (const auto& [name, kind] : kinds) {
    for (const char* head : {"lda", "ridge"}) {
      const auto start = TinyModel({"a", "b"}, kLabels), model = TinyModel({"a", "b"}, kLabels);
      const int64_t width = name == "none" ? 32 : 64;
      Options options = options_;
      options["expansion"] = name;
      options["expansion_seed"] = "5";
      options["head"] = head;
      options["ridge"] = "0.2";
      const auto result = Run(*model, examples, options, {});
      ASSERT_TRUE(result.ok()) << result.status();
      EXPECT_EQ(result->steps, 0);
      EXPECT_EQ(result->outcome, train::TrainOutcome::kCompleted);
      // The encoder and the other head, to the bit.
      for (const nn::SlotId slot : start->EncoderSlots())
        EXPECT_TRUE(at::equal(model->parameters().Weight(slot), start->parameters().Weight(slot)));
      for (const nn::SlotId slot : start->HeadSlots("b"))
        EXPECT_TRUE(at::equal(model->parameters().Weight(slot), start->parameters().Weight(slot)));

      const auto expansion = *nn::FixedExpansion::Create({kind, width, name == "none" ? 0U : 5U}, 32, at::kCPU);
      std::vector<at::Tensor> features;
      std::vector<int64_t> labels;
      for (const auto& example : examples) {
        const auto batch = *nn::Pack(std::span(&example.sequence, 1), at::kCPU);
        features.push_back(
            expansion.Forward(nn::ops::MeanPool(start->Encode(batch, std::nullopt, nullptr), batch), nullptr));
        labels.push_back(example.label);
      }
      const at::Tensor phi = at::cat(features);
      ExpansionStatistics statistics(kLabels, width);
      ASSERT_TRUE(statistics.Add(phi, labels).ok());
      const auto solved = std::string(head) == "lda" ? statistics.SolveLda(0.1) : statistics.SolveRidge(0.2);
      const at::Tensor expected =
          phi.to(at::kDouble).matmul(solved->weight.to(at::kDouble).t()) + solved->bias.to(at::kDouble);
      EXPECT_LT((Logits(*model, examples) - expected).abs().max().item<double>(), 2e-2) << name << " " << head;
      EXPECT_GT(expected.abs().max().item<double>(), 0.3);
    }
  }
}

// Labels one after the other, in a head that grows, against all of them at once.
TEST_F(Fel, ForgetsNothingWhenLabelsComeOneAfterTheOther) {
  const Examples examples = TinyExamples(150, 6, 2);
  const auto joint = TinyModel({"a"}, 6);
  ASSERT_TRUE(Run(*joint, examples, options_, {}).ok());
  for (const std::vector<int64_t>& order : {std::vector<int64_t>{0, 1, 2}, std::vector<int64_t>{2, 0, 1}}) {
    train::VersionMemory memory;
    std::unique_ptr<nn::Model> model;
    int64_t known = 0;
    for (const int64_t step : order) {
      known = std::max(known, 2 * step + 2);
      model = TinyModel({"a"}, known);
      const auto result = Run(*model, OfLabels(examples, 2 * step, 2 * step + 2), options_, memory);
      ASSERT_TRUE(result.ok()) << result.status();
      memory = result->memory;
      // A label that has not come yet is not answered.
      const at::Tensor answers = Logits(*model, examples).argmax(1);
      for (size_t i = 0; order[0] == 2 && step == 2 && i < examples.size(); ++i)
        EXPECT_GE(answers[static_cast<int64_t>(i)].item<int64_t>(), 4);
    }
    EXPECT_LT((Logits(*model, examples) - Logits(*joint, examples)).abs().max().item<double>(), 2e-2);
  }
}

TEST_F(Fel, ForgetsExactlyWhatItIsToldToForget) {
  const Examples kept = TinyExamples(80, kLabels, 3), gone = TinyExamples(40, kLabels, 4);
  Examples both = kept;
  both.insert(both.end(), gone.begin(), gone.end());
  const auto all = TinyModel({"a"}, kLabels), after = TinyModel({"a"}, kLabels), never = TinyModel({"a"}, kLabels);
  const auto learned = Run(*all, both, options_, {});
  ASSERT_TRUE(learned.ok()) << learned.status();
  Options removing = options_;
  removing["texts"] = "remove";
  ASSERT_TRUE(Run(*after, gone, removing, learned->memory).ok());
  ASSERT_TRUE(Run(*never, kept, options_, {}).ok());
  EXPECT_LT((Logits(*after, both) - Logits(*never, both)).abs().max().item<double>(), 2e-2);
  EXPECT_GT((Logits(*all, both) - Logits(*never, both)).abs().max().item<double>(), 0.1);
  // Texts that were never learned.
  EXPECT_EQ(Run(*after, gone, removing, {}).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(Fel, RefusesWhatWouldSpoilItsSums) {
  const Examples examples = TinyExamples(60, kLabels, 5);
  const auto model = TinyModel({"a"}, kLabels);
  const auto learned = Run(*model, examples, options_, {});
  ASSERT_TRUE(learned.ok()) << learned.status();
  for (const auto& [option, value] : Options{{"expansion", "rff"}, {"width", "65"}, {"expansion_seed", "1"}}) {
    Options other = options_;
    other[option] = value;
    const auto refused = Run(*TinyModel({"a"}, kLabels), examples, other, learned->memory);
    EXPECT_EQ(refused.status().code(), absl::StatusCode::kFailedPrecondition) << option;
  }
  // Another encoder, and a head that shrinks.
  const auto moved = TinyModel({"a"}, kLabels);
  moved->parameters().Weight(moved->EncoderSlots()[0]).add_(1e-6);
  EXPECT_EQ(Run(*moved, examples, options_, learned->memory).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(Run(*TinyModel({"a"}, 2), OfLabels(examples, 0, 2), options_, learned->memory).status().code(),
            absl::StatusCode::kFailedPrecondition);
  const auto tagger = TinyModel({}, kLabels);
  ASSERT_TRUE(tagger->AddHead("a", {checkpoint::TaskKind::kTokenClassification, 3}, 1).ok());
  train::TrainInput input;
  input.task = {"a", checkpoint::TaskKind::kTokenClassification, 3, std::nullopt};
  Examples tagged = examples;
  for (auto& example : tagged) example.tags.assign(example.sequence.ids.size(), 0), example.label = -1;
  input.training = tagged;
  const auto strategy = Make("fel", options_, {});
  input.strategy = strategy.get();
  EXPECT_EQ(train::Train(*tagger, RunOptions(), input).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(Fel, StopsWhereItIsAskedTo) {
  const Examples examples = TinyExamples(60, kLabels, 6);
  for (const auto request : {train::StopRequest::kCheckpoint, train::StopRequest::kCancel}) {
    const auto model = TinyModel({"a"}, kLabels);
    const auto strategy = Make("fel", options_, {});
    train::TrainInput input = Input("a", examples, strategy.get());
    const std::atomic<train::StopRequest> stop{request};
    input.stop = &stop;
    const auto result = train::Train(*model, RunOptions(), input);
    if (request == train::StopRequest::kCancel) {
      EXPECT_EQ(result.status().code(), absl::StatusCode::kCancelled);
    } else {
      ASSERT_TRUE(result.ok()) << result.status();
      EXPECT_EQ(result->outcome, train::TrainOutcome::kInterrupted);
    }
  }
}

}  // namespace
}  // namespace engram::continual
