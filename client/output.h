#pragma once

// What people read: tables, the progress line, times and sizes; and the .npy format.

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "engram/v1/job.pb.h"
#include "google/protobuf/timestamp.pb.h"

namespace engram::client {

// Rows in aligned columns, the first one the header. Columns of numbers are aligned to the right.
std::string Table(const std::vector<std::vector<std::string>>& rows);

std::string FormatSeconds(double seconds);                        // "1:05", "2:03:04"
std::string FormatBytes(int64_t bytes);                           // "86.7 MiB"
std::string FormatTime(const google::protobuf::Timestamp& time);  // "2026-01-02 03:04:05" UTC, "-" if unset
std::string StateName(engram::v1::JobState state);
std::string KindName(engram::v1::JobKind kind);

// "training  epoch 1/3  [#####.....]  52%  98/189  3120 tok/s  loss 1.234  penalty 0.012  0:41 left"; `bar_width` 0:
// without the bar.
std::string ProgressLine(const engram::v1::JobProgress& progress, int bar_width);

// A line with a progress bar that fits into `columns` (0: any): with a shorter bar, or none, and cut as a last resort,
// so that a terminal can redraw it in place. `line` makes it with a bar of the width it is given.
std::string FitLine(const std::function<std::string(int bar_width)>& line, size_t columns);

// Which texts a figure was measured on: "test part", "training rows".
std::string MeasuredOn(engram::v1::MeasuredPart part);

// Precision, recall, F1 and support of each label or entity type, as rows of a table with a header; none if there are
// none.
std::vector<std::vector<std::string>> LabelRows(const engram::v1::JobResult& result);

// A row per metric of a cross-validation (mean, standard deviation, each fold), and one per label; with headers, the
// second none if there are no labels.
std::vector<std::vector<std::string>> FoldRows(const engram::v1::CrossValidation& validation);
std::vector<std::vector<std::string>> FoldLabelRows(const engram::v1::CrossValidation& validation);

// What a job would take, as rows of a table.
std::vector<std::vector<std::string>> EstimateRows(const engram::v1::JobEstimate& estimate);

// A row per metric of a stream, and the header that goes with it: metric, number of tasks, ACC, BWT, forgetting; "-" for
// what is not known.
std::vector<std::string> StreamColumns();
std::vector<std::string> StreamRow(const engram::v1::StreamMetrics& metrics);

// A little-endian fp32 array in numpy's format 1.0. `data`: product(shape) * 4 bytes.
std::string NpyBytes(const std::vector<int64_t>& shape, const std::string& data);

// With &, <, >, " and ' written so that HTML and SVG show them, in text and in attributes.
std::string EscapedMarkup(std::string_view text);

// Whether a text may go into a message: the check that protobuf makes on both sides, and without which it sends what
// the server cannot read.
bool IsUtf8(const std::string& text);

// Writes a file under a temporary name and renames it. False with a message on standard error if that fails.
bool WriteWhole(const std::string& path, const std::string& bytes);

}  // namespace engram::client
