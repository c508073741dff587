#include "core/train/abstention.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

namespace engram::train {
namespace {

std::span<const float> Row(const at::Tensor& logits, int64_t row) {
  const auto classes = static_cast<size_t>(logits.size(1));
  return {logits.const_data_ptr<float>() + static_cast<size_t>(row) * classes, classes};
}

// The logarithm of sum_c exp((logits_c - highest) / temperature).
double LogSum(std::span<const float> logits, double highest, double temperature) {
  double sum = 0;
  for (const float logit : logits) sum += std::exp((static_cast<double>(logit) - highest) / temperature);
  return std::log(sum);
}

double NegativeLogLikelihood(const at::Tensor& logits, std::span<const int64_t> labels, double temperature) {
  double sum = 0;
  for (int64_t i = 0; i < logits.size(0); ++i) {
    const std::span<const float> row = Row(logits, i);
    const double highest = *std::max_element(row.begin(), row.end());
    const double own = row[static_cast<size_t>(labels[static_cast<size_t>(i)])];
    sum += LogSum(row, highest, temperature) - (own - highest) / temperature;
  }
  return sum;
}

// Golden-section search: as a function of 1 / T the likelihood is convex, hence unimodal in log T.
double BestTemperature(const at::Tensor& logits, std::span<const int64_t> labels) {
  const double shrink = (std::sqrt(5.0) - 1) / 2;
  const auto at = [&](double logarithm) { return NegativeLogLikelihood(logits, labels, std::exp(logarithm)); };
  double low = std::log(kLowestTemperature), high = std::log(kHighestTemperature);
  double left = high - shrink * (high - low), right = low + shrink * (high - low);
  double at_left = at(left), at_right = at(right);
  while (high - low > 1e-6) {
    if (at_left <= at_right) {
      high = right;
      right = left;
      at_right = at_left;
      left = high - shrink * (high - low);
      at_left = at(left);
    } else {
      low = left;
      left = right;
      at_left = at_right;
      right = low + shrink * (high - low);
      at_right = at(right);
    }
  }
  return std::exp((low + high) / 2);
}

}  // namespace

double Confidence(std::span<const float> logits, double temperature) {
  return std::exp(-LogSum(logits, *std::max_element(logits.begin(), logits.end()), temperature));
}

absl::StatusOr<checkpoint::Abstention> ChooseAbstention(const at::Tensor& logits, std::span<const int64_t> labels) {
  const int64_t texts = logits.size(0);
  if (texts == 0) return absl::InvalidArgumentError("a threshold cannot be chosen without texts");
  checkpoint::Abstention chosen;
  chosen.texts = texts;
  chosen.temperature = BestTemperature(logits, labels);
  std::vector<double> confidence;
  for (int64_t i = 0; i < texts; ++i) confidence.push_back(Confidence(Row(logits, i), chosen.temperature));
  std::vector<double> descending = confidence;
  std::sort(descending.begin(), descending.end(), std::greater<>());
  const auto answered = static_cast<size_t>(std::ceil(kAnsweredShare * static_cast<double>(texts)));
  chosen.threshold = descending[answered - 1];
  int64_t kept = 0, right = 0;
  for (int64_t i = 0; i < texts; ++i) {
    if (confidence[static_cast<size_t>(i)] < chosen.threshold) continue;
    const std::span<const float> row = Row(logits, i);
    ++kept;
    right += std::max_element(row.begin(), row.end()) - row.begin() == labels[static_cast<size_t>(i)];
  }
  chosen.answered = static_cast<double>(kept) / static_cast<double>(texts);
  chosen.accuracy_of_answered = static_cast<double>(right) / static_cast<double>(kept);
  return chosen;
}

}  // namespace engram::train
