// Scores logits for test_metrics.py: {"logits": [[...]], "labels": [...]} on standard input, metrics on standard
// output.

#include <iostream>
#include <vector>

#include "ATen/ops/tensor.h"
#include "core/train/evaluate.h"
#include "nlohmann/json.hpp"

int main() {
  const nlohmann::json input = nlohmann::json::parse(std::cin);
  const auto labels = input.at("labels").get<std::vector<int64_t>>();
  std::vector<float> flat;
  for (const auto& row : input.at("logits")) {
    for (const float value : row) flat.push_back(value);
  }
  const at::Tensor logits = at::tensor(flat).view({static_cast<int64_t>(labels.size()), -1});
  const auto metrics = engram::train::ComputeClassificationMetrics(logits, labels);
  nlohmann::json classes = nlohmann::json::array();
  for (const auto& c : metrics.classes) classes.push_back({c.precision, c.recall, c.f1, c.support});
  std::cout << nlohmann::json{{"count", metrics.count},
                              {"accuracy", metrics.accuracy},
                              {"macro_f1", metrics.macro_f1},
                              {"classes", classes},
                              {"confusion", metrics.confusion},
                              {"negative_log_likelihood", metrics.negative_log_likelihood},
                              {"brier", metrics.brier},
                              {"expected_calibration_error", metrics.expected_calibration_error}}
            << "\n";
  return 0;
}
