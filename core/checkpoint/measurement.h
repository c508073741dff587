#pragma once

// What the training of a version measured on it, as engram.json keeps it under "measured".

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/base/status.h"
#include "nlohmann/json_fwd.hpp"

namespace engram::checkpoint {

// One label of a classification task or one entity type of a tagger. 0 where a division by zero would be.
struct LabelMeasurement {
  std::string label;
  double precision = 0, recall = 0, f1 = 0;  // in [0, 1]
  int64_t support = 0;                       // texts with the label, or entities of the type

  friend bool operator==(const LabelMeasurement&, const LabelMeasurement&) = default;
};

struct Measurement {
  std::string task;
  std::string part;                       // which texts: "test", "validation" or "training"
  int64_t texts = 0;                      // how many
  std::map<std::string, double> metrics;  // "accuracy" -> 0.93; finite
  std::vector<LabelMeasurement> labels;   // in the order of the labels; none for masked language models

  friend bool operator==(const Measurement&, const Measurement&) = default;
};

// INVALID_ARGUMENT names the field below `path`.
absl::Status ReadMeasurement(const nlohmann::json& json, const std::string& path, Measurement& out);
nlohmann::ordered_json MeasurementJson(const Measurement& measurement);
// INVALID_ARGUMENT for a part that is none, a number that is not finite, a score outside [0, 1].
absl::Status CheckMeasurement(const Measurement& measurement, const std::string& field);

}  // namespace engram::checkpoint
