#include "server/worker/stream_report.h"

#include <algorithm>
#include <cstddef>

#include "server/rpc/names.h"

namespace engram::worker {
namespace {

void AddRows(const std::string& model, const continual::StreamMetrics& stream,
             const checkpoint::VersionManifest& manifest, engram::v1::StreamMetrics& out) {
  for (const checkpoint::MetricsMatrix& matrix : manifest.metrics) {
    if (matrix.metric != stream.metric) continue;
    for (size_t i = 0; i < matrix.after.size(); ++i) {
      engram::v1::StreamRow* row = out.add_rows();
      row->set_after(server::TaskName(model, matrix.after[i]));
      for (const std::string& task : stream.tasks) {
        const auto column =
            static_cast<size_t>(std::find(matrix.tasks.begin(), matrix.tasks.end(), task) - matrix.tasks.begin());
        if (column == matrix.tasks.size() || !matrix.values[i][column]) continue;
        engram::v1::StreamScore* score = row->add_scores();
        score->set_task(server::TaskName(model, task));
        score->set_value(*matrix.values[i][column]);
      }
    }
  }
}

}  // namespace

const char* PartName(engram::v1::MeasuredPart part) {
  switch (part) {
    case engram::v1::MEASURED_PART_TEST:
      return "test";
    case engram::v1::MEASURED_PART_VALIDATION:
      return "validation";
    default:
      return "training";
  }
}

engram::v1::MeasuredPart PartOfName(const std::string& name) {
  for (const auto part : {engram::v1::MEASURED_PART_TEST, engram::v1::MEASURED_PART_VALIDATION}) {
    if (name == PartName(part)) return part;
  }
  return engram::v1::MEASURED_PART_TRAINING;
}

std::vector<continual::Measurement> StreamMeasurements(
    const google::protobuf::RepeatedPtrField<engram::v1::Metric>& metrics) {
  std::vector<continual::Measurement> measured;
  for (const engram::v1::Metric& metric : metrics) {
    if (metric.own_test_part()) measured.push_back({server::LastPart(metric.task()), metric.metric(), metric.value()});
  }
  return measured;
}

google::protobuf::RepeatedPtrField<engram::v1::StreamMetrics> DescribeStream(
    const std::string& model, const checkpoint::VersionManifest& manifest) {
  google::protobuf::RepeatedPtrField<engram::v1::StreamMetrics> out;
  for (const continual::StreamMetrics& from : continual::ComputeStreamMetrics(manifest)) {
    engram::v1::StreamMetrics* metrics = out.Add();
    metrics->set_metric(from.metric);
    for (const std::string& task : from.tasks) metrics->add_tasks(server::TaskName(model, task));
    if (from.average) metrics->set_average(*from.average);
    if (from.backward_transfer) metrics->set_backward_transfer(*from.backward_transfer);
    if (from.forgetting) metrics->set_forgetting(*from.forgetting);
    AddRows(model, from, manifest, *metrics);
  }
  return out;
}

}  // namespace engram::worker
