#include "server/worker/fold_summary.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <string>

namespace engram::worker {
namespace {

double Mean(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

double StandardDeviation(const std::vector<double>& values) {
  if (values.size() < 2) return 0;
  const double mean = Mean(values);
  double squares = 0;
  for (const double value : values) squares += (value - mean) * (value - mean);
  return std::sqrt(squares / static_cast<double>(values.size() - 1));
}

// What the folds say under one name.
struct Values {
  std::vector<double> first, second, third;
  int64_t support = 0;
};

// In the order in which their names came.
class ByName {
 public:
  Values& At(const std::string& name) {
    const auto [at, added] = places_.emplace(name, all_.size());
    if (added) all_.emplace_back(name, Values());
    return all_[at->second].second;
  }
  const std::vector<std::pair<std::string, Values>>& all() const { return all_; }

 private:
  std::map<std::string, size_t> places_;
  std::vector<std::pair<std::string, Values>> all_;
};

}  // namespace

void Summarize(engram::v1::CrossValidation& validation) {
  ByName metrics, labels;
  for (const engram::v1::FoldResult& fold : validation.folds()) {
    for (const engram::v1::Metric& metric : fold.metrics()) metrics.At(metric.metric()).first.push_back(metric.value());
    for (const engram::v1::LabelMetrics& label : fold.label_metrics()) {
      if (label.support() == 0) continue;
      Values& values = labels.At(label.label());
      values.first.push_back(label.precision());
      values.second.push_back(label.recall());
      values.third.push_back(label.f1());
      values.support += label.support();
    }
  }
  for (const auto& [name, values] : metrics.all()) {
    engram::v1::MetricSummary& out = *validation.add_metrics();
    out.set_metric(name);
    out.set_mean(Mean(values.first));
    out.set_standard_deviation(StandardDeviation(values.first));
    out.set_minimum(*std::min_element(values.first.begin(), values.first.end()));
    out.set_maximum(*std::max_element(values.first.begin(), values.first.end()));
    out.set_folds(static_cast<int32_t>(values.first.size()));
  }
  for (const auto& [name, values] : labels.all()) {
    engram::v1::LabelSummary& out = *validation.add_labels();
    out.set_label(name);
    out.set_precision(Mean(values.first));
    out.set_recall(Mean(values.second));
    out.set_f1(Mean(values.third));
    out.set_f1_standard_deviation(StandardDeviation(values.third));
    out.set_support(values.support);
    out.set_folds(static_cast<int32_t>(values.third.size()));
  }
}

int64_t Median(std::vector<int64_t> values) {
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half] + 1) / 2;
}

}  // namespace engram::worker
