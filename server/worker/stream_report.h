#pragma once

// Between the API's metrics and the matrix of a stream in engram.json (core/continual/stream_metrics.h).

#include <string>
#include <vector>

#include "core/checkpoint/manifest.h"
#include "core/continual/stream_metrics.h"
#include "engram/v1/job.pb.h"
#include "google/protobuf/repeated_field.h"

namespace engram::worker {

// Of which texts a figure is, as engram.json names it, and back: "test", "validation", "training".
const char* PartName(engram::v1::MeasuredPart part);
engram::v1::MeasuredPart PartOfName(const std::string& name);

// Those that were measured on the tasks' own test parts.
std::vector<continual::Measurement> StreamMeasurements(
    const google::protobuf::RepeatedPtrField<engram::v1::Metric>& metrics);

// ComputeStreamMetrics of a version of `model` (its short name), as the API says it.
google::protobuf::RepeatedPtrField<engram::v1::StreamMetrics> DescribeStream(
    const std::string& model, const checkpoint::VersionManifest& manifest);

}  // namespace engram::worker
