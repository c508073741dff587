#include "core/checkpoint/measurement.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "core/base/strict_json.h"
#include "core/checkpoint/read_list.h"
#include "nlohmann/json.hpp"

namespace engram::checkpoint {
namespace {

constexpr int64_t kMostTexts = int64_t{1} << 53;
constexpr size_t kMostLabels = 1 << 20;

absl::Status ReadMetrics(const nlohmann::json& json, const std::string& path, std::map<std::string, double>& out) {
  if (!json.is_object()) return InvalidField(path, "must be an object of numbers");
  for (const auto& [name, value] : json.items()) {
    if (!value.is_number()) return InvalidField(absl::StrCat(path, ".", name), "must be a number");
    out[name] = value.get<double>();
  }
  return absl::OkStatus();
}

absl::Status ReadLabel(const nlohmann::json& json, const std::string& path, LabelMeasurement& out) {
  ObjectReader reader(json, path);
  reader.Text("label", out.label);
  reader.Real("precision", 0, 1, out.precision);
  reader.Real("recall", 0, 1, out.recall);
  reader.Real("f1", 0, 1, out.f1);
  reader.Integer("support", 0, kMostTexts, out.support);
  return reader.Finish();
}

}  // namespace

absl::Status ReadMeasurement(const nlohmann::json& json, const std::string& path, Measurement& out) {
  ObjectReader reader(json, path);
  reader.Text("task", out.task);
  reader.Text("part", out.part);
  reader.Integer("texts", 0, kMostTexts, out.texts);
  if (const nlohmann::json* metrics = reader.Required("metrics"); metrics != nullptr)
    reader.Fail(ReadMetrics(*metrics, path + ".metrics", out.metrics));
  ReadList(reader, "labels", kMostLabels, out.labels, ReadLabel);
  return reader.Finish();
}

nlohmann::ordered_json MeasurementJson(const Measurement& measurement) {
  nlohmann::ordered_json labels = nlohmann::ordered_json::array();
  for (const LabelMeasurement& label : measurement.labels) {
    labels.push_back({{"label", label.label},
                      {"precision", label.precision},
                      {"recall", label.recall},
                      {"f1", label.f1},
                      {"support", label.support}});
  }
  nlohmann::ordered_json json;
  json["task"] = measurement.task;
  json["part"] = measurement.part;
  json["texts"] = measurement.texts;
  json["metrics"] = measurement.metrics;
  json["labels"] = std::move(labels);
  return json;
}

absl::Status CheckMeasurement(const Measurement& measurement, const std::string& field) {
  const std::string& part = measurement.part;
  if (part != "test" && part != "validation" && part != "training")
    return InvalidField(field + ".part", "must be test, validation or training");
  for (const auto& [name, value] : measurement.metrics) {
    if (!std::isfinite(value)) return InvalidField(absl::StrCat(field, ".metrics.", name), "must be finite");
  }
  for (const LabelMeasurement& label : measurement.labels) {
    for (const double score : {label.precision, label.recall, label.f1}) {
      if (!(score >= 0 && score <= 1)) return InvalidField(field + ".labels", "has a score outside [0, 1]");
    }
  }
  return absl::OkStatus();
}

}  // namespace engram::checkpoint
