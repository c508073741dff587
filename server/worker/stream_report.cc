#include "server/worker/stream_report.h"

#include "server/rpc/names.h"

namespace engram::worker {

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
  }
  return out;
}

}  // namespace engram::worker
