// ComputeClassificationMetrics of evaluate.h.

#include <algorithm>
#include <array>
#include <cmath>

#include "core/train/evaluate.h"

namespace engram::train {
namespace {

constexpr int kBins = 15;

// Confidence and correctness of the predictions, by bins of equal width: bin b holds (b / 15, (b + 1) / 15].
struct Calibration {
  std::array<double, kBins> confidence{}, correct{};

  void Add(double probability, bool right) {
    const int bin = std::clamp(static_cast<int>(std::ceil(probability * kBins)) - 1, 0, kBins - 1);
    confidence[bin] += probability;
    correct[bin] += right ? 1 : 0;
  }
  double Error(int64_t count) const {
    double error = 0;
    for (int bin = 0; bin < kBins; ++bin) error += std::abs(correct[bin] - confidence[bin]);
    return error / static_cast<double>(count);
  }
};

// Softmax of one row in fp64; returns the row's log-sum-exp.
double Softmax(const float* logits, int64_t classes, std::vector<double>& probabilities) {
  const double largest = *std::max_element(logits, logits + classes);
  double sum = 0;
  for (int64_t c = 0; c < classes; ++c) sum += probabilities[c] = std::exp(logits[c] - largest);
  for (int64_t c = 0; c < classes; ++c) probabilities[c] /= sum;
  return largest + std::log(sum);
}

double Ratio(int64_t part, int64_t whole) {
  return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
}

// Precision, recall and F1 of each class, and the macro F1, out of the confusion matrix.
void ScoreClasses(int64_t classes, ClassificationMetrics& metrics) {
  metrics.classes.resize(static_cast<size_t>(classes));
  int64_t occurring = 0;
  double f1_sum = 0;
  for (int64_t c = 0; c < classes; ++c) {
    int64_t predicted = 0;
    ClassScores& scores = metrics.classes[c];
    for (int64_t other = 0; other < classes; ++other) {
      scores.support += metrics.confusion[c * classes + other];
      predicted += metrics.confusion[other * classes + c];
    }
    const int64_t right = metrics.confusion[c * classes + c];
    scores.precision = Ratio(right, predicted);
    scores.recall = Ratio(right, scores.support);
    scores.f1 = Ratio(2 * right, predicted + scores.support);
    if (predicted + scores.support == 0) continue;
    ++occurring;
    f1_sum += scores.f1;
  }
  metrics.macro_f1 = occurring == 0 ? 0 : f1_sum / static_cast<double>(occurring);
}

}  // namespace

ClassificationMetrics ComputeClassificationMetrics(const at::Tensor& logits, std::span<const int64_t> labels) {
  ClassificationMetrics metrics;
  const int64_t count = static_cast<int64_t>(labels.size()), classes = logits.size(1);
  metrics.count = count;
  metrics.confusion.resize(static_cast<size_t>(classes * classes));
  const at::Tensor contiguous = logits.contiguous();
  const float* rows = contiguous.const_data_ptr<float>();
  std::vector<double> probabilities(static_cast<size_t>(classes));
  Calibration calibration;
  int64_t right = 0;
  for (int64_t i = 0; i < count; ++i) {
    const float* row = rows + i * classes;
    const int64_t label = labels[i], predicted = std::max_element(row, row + classes) - row;
    metrics.negative_log_likelihood += Softmax(row, classes, probabilities) - row[label];
    for (int64_t c = 0; c < classes; ++c) {
      const double difference = probabilities[c] - (c == label ? 1 : 0);
      metrics.brier += difference * difference;
    }
    calibration.Add(probabilities[predicted], predicted == label);
    ++metrics.confusion[label * classes + predicted];
    right += predicted == label ? 1 : 0;
  }
  ScoreClasses(classes, metrics);
  if (count == 0) return metrics;
  metrics.accuracy = Ratio(right, count);
  metrics.negative_log_likelihood /= static_cast<double>(count);
  metrics.brier /= static_cast<double>(count);
  metrics.expected_calibration_error = calibration.Error(count);
  return metrics;
}

}  // namespace engram::train
