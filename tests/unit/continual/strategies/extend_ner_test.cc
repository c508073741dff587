#include <cmath>

#include "ATen/ops/zeros_like.h"
#include "core/nn/ops/cross_entropy/cross_entropy.h"
#include "tests/unit/continual/strategy_probe.h"

namespace engram::continual {
namespace {

constexpr int64_t kTags = 5, kKnown = 3;  // O, B-old, I-old; B-new, I-new

class ExtendNerTest : public StrategyProbe {
 protected:
  static nn::HeadConfig Head() {
    nn::HeadConfig head;
    head.kind = checkpoint::TaskKind::kTokenClassification;
    head.labels = kTags;
    return head;
  }
  static std::unique_ptr<nn::Model> Tagger() {
    auto model = TinyModel({"other"}, 2, /*dropout=*/0);
    EXPECT_TRUE(model->AddHead("names", Head(), 5).ok());
    // Answers that differ from word to word, so that hard targets are not all one tag.
    model->parameters().weights().mul_(2);
    model->parameters().RefreshCompute();
    return model;
  }
  // Sentences whose words are O or of the new type; first and last token are none.
  static std::vector<train::TrainingExample> Sentences(int count) {
    std::vector<train::TrainingExample> sentences = TinyExamples(count, 2, 11);
    int64_t word = 0;
    for (train::TrainingExample& sentence : sentences) {
      sentence.label = -1;
      for (size_t i = 0; i < sentence.sequence.ids.size(); ++i, ++word) {
        const bool counted = i > 0 && i + 1 < sentence.sequence.ids.size();
        sentence.tags.push_back(!counted ? nn::ops::kIgnored : word % 3 == 0 ? 3 : word % 7 == 0 ? 4 : 0);
      }
    }
    return sentences;
  }
  static train::TrainInput TaggerInput(const std::vector<train::TrainingExample>& training, train::Strategy* strategy,
                                       int64_t known = kKnown) {
    train::TrainInput input;
    input.task = {"names", checkpoint::TaskKind::kTokenClassification, kTags, std::nullopt, known, 0};
    input.training = training;
    input.strategy = strategy;
    return input;
  }

  static std::vector<double> Softmax(const std::vector<double>& z, double temperature) {
    std::vector<double> p;
    double sum = 0;
    for (const double value : z) sum += std::exp(value / temperature);
    for (const double value : z) p.push_back(std::exp(value / temperature) / sum);
    return p;
  }
  static std::vector<double> Row(const at::Tensor& logits, int64_t row) {
    const at::Tensor values = logits[row].to(at::kDouble).contiguous();
    return {values.const_data_ptr<double>(), values.const_data_ptr<double>() + values.numel()};
  }

  struct Definition {
    bool hard = false;
    double alpha = 1, temperature = 2, confidence = 0;
    std::vector<double> weights = {1, 1, 1, 1, 1};  // of the tags that the data has
    // The loss of one word in fp64: `then` are the earlier tagger's logits of its own tags.
    double Loss(int64_t tag, const std::vector<double>& then, const std::vector<double>& now) const {
      return tag == nn::ops::kIgnored ? 0 : weights[static_cast<size_t>(tag)] * OfWord(tag, then, now);
    }
    double OfWord(int64_t tag, const std::vector<double>& then, const std::vector<double>& now) const {
      if (tag != 0) return -std::log(Softmax(now, 1)[static_cast<size_t>(tag)]);
      if (hard) {
        const std::vector<double> p = Softmax(then, 1);
        const auto best = static_cast<size_t>(std::max_element(p.begin(), p.end()) - p.begin());
        return -alpha * std::log(Softmax(now, 1)[p[best] >= confidence ? best : 0]);
      }
      const std::vector<double> p = Softmax(then, temperature), q = Softmax(now, temperature);
      double divergence = 0;
      for (size_t k = 0; k < p.size(); ++k) divergence += p[k] * std::log(p[k] / q[k]);
      return alpha * temperature * temperature * divergence;
    }
  };

  // The gradient of the sum of the losses of a sentence's words: the slope in each logit by differences.
  static at::Tensor GradientOfSentence(nn::Model& model, const nn::Model& before,
                                       const train::TrainingExample& sentence, const Definition& definition) {
    const auto batch = *nn::Pack(std::span(&sentence.sequence, 1), at::kCPU);
    const auto tape = nn::Model::NewTape();
    const at::Tensor logits = model.Predict(batch, {"names", at::Tensor()}, std::nullopt, tape.get());
    const at::Tensor answers = before.Predict(batch, {"names", at::Tensor()}, std::nullopt, nullptr);
    at::Tensor slope = at::zeros_like(logits);
    for (int64_t row = 0; row < logits.size(0); ++row) {
      std::vector<double> then = Row(answers, row);
      then.resize(static_cast<size_t>(kKnown));
      const std::vector<double> now = Row(logits, row);
      const int64_t tag = sentence.tags[static_cast<size_t>(row)];
      for (size_t k = 0; k < now.size(); ++k) {
        std::vector<double> above = now, below = now;
        above[k] += 1e-5;
        below[k] -= 1e-5;
        slope[row][static_cast<int64_t>(k)] =
            (definition.Loss(tag, then, above) - definition.Loss(tag, then, below)) / 2e-5;
      }
    }
    nn::GradientBuffer own(model.parameters());
    nn::AccumulateSink sink(&own);
    model.Backward(slope, *tape, sink);
    return own.flat().to(at::kDouble);
  }

  void ExpectGradient(const Options& options, const Definition& definition,
                      train::ClassWeights weights = train::ClassWeights::kNone) {
    const auto sentences = Sentences(16);
    const auto strategy = Make("extend_ner", options, {});
    Recorder recorder(*strategy);
    const auto trained = Tagger(), before = Tagger(), model = Tagger();
    train::TrainOptions run = RunOptions();
    run.epochs = 1;
    run.accumulation = 2;  // sixteen sentences are one step
    run.max_grad_norm = 0;
    run.class_weights = weights;
    ASSERT_TRUE(train::Train(*trained, run, TaggerInput(sentences, &recorder)).ok());
    at::Tensor expected = at::zeros({model->parameters().size()}, at::kDouble);
    double words = 0;
    for (const train::TrainingExample& sentence : sentences) {
      expected += GradientOfSentence(*model, *before, sentence, definition);
      for (const int64_t tag : sentence.tags) words += tag == nn::ops::kIgnored ? 0 : 1;
    }
    expected /= words;
    EXPECT_GT(expected.abs().max().item<double>(), 1e-3);
    EXPECT_LT((recorder.steps[0].used - expected).abs().max().item<double>(),
              1e-4 * expected.abs().max().item<double>());
  }
};

TEST_F(ExtendNerTest, SoftTargetsAreTheEarlierTaggersProbabilities) {
  ExpectGradient({{"alpha", "1.5"}, {"temperature", "3"}}, {.alpha = 1.5, .temperature = 3});
}

TEST_F(ExtendNerTest, HardTargetsAreItsAnswersWhereItIsSure) {
  ExpectGradient({{"targets", "hard"}}, {.hard = true});
  ExpectGradient({{"targets", "hard"}, {"alpha", "0.5"}, {"confidence", "0.45"}},
                 {.hard = true, .alpha = 0.5, .confidence = 0.45});
}

TEST_F(ExtendNerTest, WordsThatTheDataCallsOWeighAsOtherwise) {
  std::vector<double> weights(static_cast<size_t>(kTags));
  double words = 0;
  for (const train::TrainingExample& sentence : Sentences(16)) {
    for (const int64_t tag : sentence.tags) {
      if (tag != nn::ops::kIgnored) ++weights[static_cast<size_t>(tag)], ++words;
    }
  }
  for (double& weight : weights) weight = weight == 0 ? 1 : words / (3 * weight);  // O, B-new and I-new occur
  ExpectGradient({}, {.weights = weights}, train::ClassWeights::kBalanced);
}

TEST_F(ExtendNerTest, WithoutNewTypesATaskIsLearnedAsByNaive) {
  const auto sentences = Sentences(12);
  const auto model = Tagger(), naive = Tagger();
  const auto strategy = Make("extend_ner", {}, {});
  ASSERT_TRUE(train::Train(*model, RunOptions(), TaggerInput(sentences, strategy.get(), 0)).ok());
  ASSERT_TRUE(train::Train(*naive, RunOptions(), TaggerInput(sentences, nullptr)).ok());
  EXPECT_TRUE(at::equal(model->parameters().weights(), naive->parameters().weights()));
}

}  // namespace
}  // namespace engram::continual
