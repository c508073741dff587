// Kinds of importance against loops that take one text, one labelling at a time.

#include <algorithm>
#include <cmath>

#include "ATen/ops/allclose.h"
#include "ATen/ops/zeros_like.h"
#include "core/continual/importance.h"
#include "core/nn/ops/cross_entropy/cross_entropy.h"
#include "core/train/evaluate.h"
#include "tests/unit/continual/strategy_probe.h"

namespace engram::continual {
namespace {

using checkpoint::TaskKind;

constexpr int64_t kLabels = 3;

std::unique_ptr<nn::Model> ModelWith(TaskKind kind) {
  auto model = *nn::Model::Create(TinyConfig(), at::kCPU, nn::Precision::kFloat32);
  model->InitializeEncoder(1);
  const int64_t labels = kind == TaskKind::kMaskedLanguageModel ? 0 : kLabels;
  EXPECT_TRUE(model->AddHead("t", {kind, labels, checkpoint::Pooling::kMean}, 2).ok());
  // Far from uniform answers.
  model->parameters().weights().mul_(3);
  return model;
}

// The gradient over the encoder, fp64, of a loss whose slope in the logits is `slope`.
at::Tensor Gradient(nn::Model& model, const nn::PackedBatch& batch, const at::Tensor& rows,
                    const std::function<at::Tensor(const at::Tensor&)>& slope) {
  const auto tape = nn::Model::NewTape();
  const at::Tensor logits = model.Predict(batch, {"t", rows}, std::nullopt, tape.get());
  nn::GradientBuffer own(model.parameters());
  nn::AccumulateSink sink(&own);
  model.Backward(slope(logits), *tape, sink);
  return own.flat().narrow(0, 0, model.EncoderElements()).to(at::kDouble);
}

void ExpectClose(const at::Tensor& actual, const at::Tensor& expected) {
  EXPECT_LT((actual - expected).abs().max().item<double>(), 1e-5 * expected.abs().max().item<double>());
}

double LogSoftmax(const std::vector<double>& z, size_t label) {
  double sum = 0;
  for (const double value : z) sum += std::exp(value);
  return z[label] - std::log(sum);
}

TEST(Importance, ReversedIsTheSquareOfTheGradientWithNegatedLogits) {
  const auto model = ModelWith(TaskKind::kSequenceClassification);
  const auto texts = TinyExamples(12, kLabels, 1);
  ImportanceOptions options;
  options.kind = ImportanceKind::kReversed;
  const auto importance = ComputeImportance(*model, "t", texts, options);
  ASSERT_TRUE(importance.ok()) << importance.status();
  at::Tensor expected = at::zeros({model->EncoderElements()}, at::kDouble);
  for (const train::TrainingExample& text : texts) {
    const auto batch = *nn::Pack(std::span(&text.sequence, 1), at::kCPU);
    const at::Tensor gradient = Gradient(*model, batch, {}, [&](const at::Tensor& logits) {
      at::Tensor slope = at::zeros_like(logits);
      for (int64_t c = 0; c < kLabels; ++c) {  // by differences, in fp64
        const auto loss = [&](double step) {
          std::vector<double> negated;
          for (int64_t k = 0; k < kLabels; ++k) negated.push_back(-(logits[0][k].item<double>() + (k == c ? step : 0)));
          return LogSoftmax(negated, static_cast<size_t>(text.label));
        };
        slope[0][c] = (loss(1e-5) - loss(-1e-5)) / 2e-5;
      }
      return slope;
    });
    expected += gradient * gradient / 12;
  }
  ExpectClose(importance->fisher, expected);
  options.kind = ImportanceKind::kEmpirical;
  const auto empirical = ComputeImportance(*model, "t", texts, options);
  EXPECT_FALSE(at::allclose(importance->fisher, empirical->fisher));
}

// What the pass says of how well the task is known, against answers that are asked for one by one; every kind says the
// same, whatever it draws, and texts that take no part are not counted.
TEST(Importance, SaysHowManyTextsAreAnsweredRightly) {
  const auto model = ModelWith(TaskKind::kSequenceClassification);
  auto texts = TinyExamples(30, kLabels, 1);
  const auto logits = train::PredictLogits(*model, {"t", TaskKind::kSequenceClassification, kLabels, {}}, texts, {});
  ASSERT_TRUE(logits.ok()) << logits.status();
  std::vector<int64_t> of_label(kLabels);
  int64_t right = 0;
  for (size_t i = 0; i < texts.size(); ++i) {
    // Every third label is made right, so that the count is none of a constant answer.
    if (i % 3 == 0) texts[i].label = (*logits)[i].argmax().item<int64_t>();
    ++of_label[static_cast<size_t>(texts[i].label)];
    right += (*logits)[i].argmax().item<int64_t>() == texts[i].label ? 1 : 0;
  }
  ImportanceOptions options;
  options.samples = 0;
  for (const ImportanceKind kind :
       {ImportanceKind::kExact, ImportanceKind::kSampled, ImportanceKind::kEmpirical, ImportanceKind::kBatched}) {
    options.kind = kind;
    const auto importance = ComputeImportance(*model, "t", texts, options);
    ASSERT_TRUE(importance.ok()) << importance.status();
    EXPECT_EQ(importance->units, 30);
    EXPECT_EQ(importance->right, right);
    EXPECT_EQ(importance->most_frequent, *std::max_element(of_label.begin(), of_label.end()));
  }
  options.samples = 7;
  EXPECT_EQ(ComputeImportance(*model, "t", texts, options)->units, 7);
}

// Words count, not sentences; a word in two windows counts once, and masked language models have no majority.
TEST(Importance, OfATaggerWordsAreCounted) {
  const auto model = ModelWith(TaskKind::kTokenClassification);
  auto texts = TinyExamples(2, kLabels, 1);
  for (auto& text : texts) text.tags.assign(text.sequence.ids.size(), nn::ops::kIgnored);
  texts[0].tags[0] = 0;
  texts[0].tags[2] = 1;
  texts[1].tags[1] = 1;
  texts[1].continues = true;
  const auto importance = ComputeImportance(*model, "t", texts, {});
  ASSERT_TRUE(importance.ok()) << importance.status();
  EXPECT_EQ(importance->samples, 1);
  EXPECT_EQ(importance->units, 3);
  EXPECT_EQ(importance->most_frequent, 2);
  ImportanceOptions masked;
  masked.masking.emplace();
  masked.masking->mask_token_id = 1;
  masked.masking->vocab_size = TinyConfig().vocab_size;
  const auto words = ComputeImportance(*ModelWith(TaskKind::kMaskedLanguageModel), "t", TinyExamples(3, 1, 1), masked);
  ASSERT_TRUE(words.ok()) << words.status();
  EXPECT_EQ(words->units, 0);
}

// Of a sentence of three words with three tags: the expectation over all 27 taggings of the square of the gradient of
// the sentence's log-likelihood.
TEST(Importance, ExactOfATaggingTaskIsTheExpectationOverAllTaggings) {
  const auto model = ModelWith(TaskKind::kTokenClassification);
  auto texts = TinyExamples(4, kLabels, 1);
  for (size_t i = 0; i < texts.size(); ++i) {
    texts[i].sequence.ids.resize(5, 7);
    texts[i].tags = {nn::ops::kIgnored, 0, 1, nn::ops::kIgnored, 2};
    if (i == 1) texts[i].tags[4] = nn::ops::kIgnored;  // a word less
  }
  texts[3].continues = true;  // a further window of the text before
  ImportanceOptions options;
  options.kind = ImportanceKind::kExact;
  const auto importance = ComputeImportance(*model, "t", texts, options);
  ASSERT_TRUE(importance.ok()) << importance.status();
  EXPECT_EQ(importance->samples, 3);
  at::Tensor expected = at::zeros({model->EncoderElements()}, at::kDouble);
  for (const std::vector<size_t>& windows : std::vector<std::vector<size_t>>{{0}, {1}, {2, 3}}) {
    std::vector<std::pair<size_t, int64_t>> words;  // window and row
    for (const size_t window : windows) {
      for (int64_t row = 0; row < 5; ++row) {
        if (texts[window].tags[static_cast<size_t>(row)] != nn::ops::kIgnored) words.push_back({window, row});
      }
    }
    const auto taggings = static_cast<int64_t>(std::pow(kLabels, words.size()));
    for (int64_t tagging = 0; tagging < taggings; ++tagging) {
      at::Tensor gradient = at::zeros({model->EncoderElements()}, at::kDouble);
      double probability = 1;
      for (const size_t window : windows) {
        const auto batch = *nn::Pack(std::span(&texts[window].sequence, 1), at::kCPU);
        gradient += Gradient(*model, batch, {}, [&](const at::Tensor& logits) {
          const at::Tensor p = logits.softmax(1);
          at::Tensor slope = at::zeros_like(logits);
          int64_t left = tagging;
          for (const auto& [of, row] : words) {
            const int64_t tag = left % kLabels;
            left /= kLabels;
            if (of != window) continue;
            probability *= p[row][tag].item<double>();
            slope[row].copy_(p[row].neg());
            slope[row][tag] += 1;
          }
          return slope;
        });
      }
      expected += probability * gradient * gradient / 3;
    }
  }
  ExpectClose(importance->fisher, expected);
}

// Each text is masked by itself, and the word embeddings, which are read and scored with, have one gradient.
TEST(Importance, OfAMaskedLanguageModelSquaresTheGradientOfEachTextsMaskedTokens) {
  const auto model = ModelWith(TaskKind::kMaskedLanguageModel);
  const auto texts = TinyExamples(6, kLabels, 1);
  ImportanceOptions options;
  options.kind = ImportanceKind::kEmpirical;
  EXPECT_EQ(StatusField(ComputeImportance(*model, "t", texts, options).status()), "masking");
  train::MaskingOptions masking;
  masking.mask_token_id = 1;
  masking.vocab_size = TinyConfig().vocab_size;
  masking.probability = 0.4;
  options.masking = masking;
  options.seed = 5;
  const auto importance = ComputeImportance(*model, "t", texts, options);
  ASSERT_TRUE(importance.ok()) << importance.status();
  at::Tensor expected = at::zeros({model->EncoderElements()}, at::kDouble);
  const train::TaskSpec spec{"t", TaskKind::kMaskedLanguageModel, 0, masking};
  for (size_t i = 0; i < texts.size(); ++i) {
    const auto made =
        *train::MakeMicroBatch(spec, texts, std::vector<int64_t>{static_cast<int64_t>(i)}, 5, i, at::kCPU);
    const at::Tensor gradient = Gradient(*model, made.batch, made.rows, [&](const at::Tensor& logits) {
      at::Tensor slope = logits.softmax(1);
      for (int64_t row = 0; row < slope.size(0); ++row) slope[row][made.targets[row].item<int64_t>()] -= 1;
      return slope;
    });
    expected += gradient * gradient / 6;
  }
  ExpectClose(importance->fisher, expected);
  options.kind = ImportanceKind::kSampled;
  const auto sampled = ComputeImportance(*model, "t", texts, options);
  ASSERT_TRUE(sampled.ok()) << sampled.status();
  EXPECT_FALSE(at::allclose(sampled->fisher, importance->fisher));
  options.kind = ImportanceKind::kExact;
  EXPECT_EQ(StatusField(ComputeImportance(*model, "t", texts, options).status()), "fisher");
}

}  // namespace
}  // namespace engram::continual
