#include "client/output.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <fstream>

#include "client/session.h"
#include "google/protobuf/stubs/common.h"

namespace engram::client {
namespace {

// How many columns of a terminal a UTF-8 text takes, one for each code point.
size_t Columns(const std::string& text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

bool IsNumber(const std::string& text) {
  return !text.empty() && text.find_first_not_of("0123456789.,-+% eE") == std::string::npos;
}

template <typename... Values>
std::string Print(const char* format, Values... values) {
  std::array<char, 256> buffer{};
  const int size = std::snprintf(buffer.data(), buffer.size(), format, values...);
  return std::string(buffer.data(), std::min(static_cast<size_t>(std::max(size, 0)), buffer.size() - 1));
}

// A range, and what it is based on.
std::string TimeOf(const engram::v1::JobEstimate& estimate) {
  const std::string speed = Print("%.0f tok/s", estimate.tokens_per_second());
  const std::string range =
      FormatSeconds(estimate.seconds_low()) + " to " + FormatSeconds(estimate.seconds_high()) + ", based on ";
  switch (estimate.speed_origin()) {
    case engram::v1::SPEED_ORIGIN_SAME_MODEL:
      return range +
             (estimate.speed_jobs() == 1 ? "the one such job of this model, "
                                         : Print("the newest %d such jobs of this model, the last of them ",
                                                 static_cast<int>(estimate.speed_jobs()))) +
             estimate.speed_job() + " at " + speed;
    case engram::v1::SPEED_ORIGIN_OTHER_MODEL:
      return range + estimate.speed_job() + " on another model, by weights: " + speed;
    case engram::v1::SPEED_ORIGIN_MATRIX_PRODUCTS:
      return "more than " + FormatSeconds(estimate.seconds_low()) +
             ": no such job was measured here yet, and the matrix products alone run at " + speed;
    default:
      return "unknown: no such job was measured here yet";
  }
}

}  // namespace

std::string Table(const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths;
  std::vector<bool> numeric;
  for (size_t r = 0; r < rows.size(); ++r) {
    widths.resize(std::max(widths.size(), rows[r].size()));
    numeric.resize(widths.size(), true);
    for (size_t c = 0; c < rows[r].size(); ++c) {
      widths[c] = std::max(widths[c], Columns(rows[r][c]));
      if (r > 0 && rows[r][c] != "-") numeric[c] = numeric[c] && IsNumber(rows[r][c]);
    }
  }
  std::string text;
  for (const auto& row : rows) {
    std::string line;
    for (size_t c = 0; c < row.size(); ++c) {
      const std::string fill(widths[c] - Columns(row[c]), ' ');
      line += (c > 0 ? "  " : "") + (numeric[c] ? fill + row[c] : row[c] + fill);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  return text;
}

std::string FormatSeconds(double seconds) {
  const auto whole = static_cast<long long>(std::llround(std::max(0.0, seconds)));
  if (whole >= 3600) return Print("%lld:%02lld:%02lld", whole / 3600, whole / 60 % 60, whole % 60);
  return Print("%lld:%02lld", whole / 60, whole % 60);
}

std::string FormatBytes(int64_t bytes) {
  constexpr std::array<const char*, 5> kUnits = {"B", "KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  for (; value >= 1024 && unit + 1 < kUnits.size(); ++unit) value /= 1024;
  return unit == 0 ? Print("%lld B", static_cast<long long>(bytes)) : Print("%.1f %s", value, kUnits[unit]);
}

std::string FormatTime(const google::protobuf::Timestamp& time) {
  if (time.seconds() == 0) return "-";
  const auto seconds = static_cast<std::time_t>(time.seconds());
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  std::array<char, 32> buffer{};
  std::strftime(buffer.data(), buffer.size(), "%Y-%m-%d %H:%M:%S", &parts);
  return buffer.data();
}

std::string StateName(engram::v1::JobState state) {
  std::string name = engram::v1::JobState_Name(state).substr(std::strlen("JOB_STATE_"));
  std::transform(name.begin(), name.end(), name.begin(), [](char c) { return static_cast<char>(std::tolower(c)); });
  return name;
}

std::string KindName(engram::v1::JobKind kind) {
  std::string name = engram::v1::JobKind_Name(kind).substr(std::strlen("JOB_KIND_"));
  std::transform(name.begin(), name.end(), name.begin(), [](char c) { return static_cast<char>(std::tolower(c)); });
  return name;
}

std::string ProgressLine(const engram::v1::JobProgress& progress, int bar_width) {
  std::string line = progress.phase();
  if (progress.epochs() > 0)
    line +=
        Print("  epoch %lld/%lld", static_cast<long long>(progress.epoch()), static_cast<long long>(progress.epochs()));
  if (progress.total_steps() > 0) {
    const double share =
        std::clamp(static_cast<double>(progress.step()) / static_cast<double>(progress.total_steps()), 0.0, 1.0);
    if (bar_width > 0) {
      const auto filled = static_cast<size_t>(std::lround(share * bar_width));
      line += "  [" + std::string(filled, '#') + std::string(static_cast<size_t>(bar_width) - filled, '.') + "]";
    }
    line += Print("  %3.0f%%  %lld/%lld", share * 100, static_cast<long long>(progress.step()),
                  static_cast<long long>(progress.total_steps()));
  }
  if (progress.tokens_per_second() > 0) line += Print("  %.0f tok/s", progress.tokens_per_second());
  if (progress.epochs() > 0) line += Print("  loss %.3f", progress.loss());
  if (progress.penalty() > 0) line += Print("  penalty %.3g", progress.penalty());
  if (progress.eta_seconds() > 0) line += "  " + FormatSeconds(progress.eta_seconds()) + " left";
  return line;
}

std::string FitLine(const std::function<std::string(int bar_width)>& line, size_t columns) {
  constexpr int kBarWidths[] = {24, 12, 6, 0};
  std::string text;
  for (const int width : kBarWidths) {
    text = line(width);
    // The last column stays free: writing it may move the cursor to the next line.
    if (columns == 0 || Columns(text) < columns) return text;
  }
  while (Columns(text) >= columns && !text.empty()) {
    do text.pop_back();
    while (!text.empty() && (static_cast<unsigned char>(text.back()) & 0x80) != 0);
  }
  return text;
}

std::string MeasuredOn(engram::v1::MeasuredPart part) {
  switch (part) {
    case engram::v1::MEASURED_PART_TEST:
      return "test part";
    case engram::v1::MEASURED_PART_VALIDATION:
      return "validation texts";
    case engram::v1::MEASURED_PART_TRAINING:
      return "training rows";
    case engram::v1::MEASURED_PART_OTHER:
      return "rows of another data set";
    case engram::v1::MEASURED_PART_FOLD:
      return "a fold left out";
    default:
      return "not recorded";
  }
}

std::vector<std::vector<std::string>> LabelRows(const engram::v1::JobResult& result) {
  if (result.label_metrics_size() == 0) return {};
  const bool before = std::any_of(result.label_metrics().begin(), result.label_metrics().end(),
                                  [](const auto& label) { return label.has_f1_before(); });
  std::vector<std::vector<std::string>> rows = {
      {"task", "label", "precision", "recall", "F1", "support", "measured on"}};
  if (before) rows[0].insert(rows[0].begin() + 5, "F1 before");
  for (const auto& label : result.label_metrics()) {
    auto& row = rows.emplace_back(std::vector{LastPart(label.task()), label.label(), Print("%.4f", label.precision()),
                                              Print("%.4f", label.recall()), Print("%.4f", label.f1()),
                                              std::to_string(label.support()), MeasuredOn(label.part())});
    if (before) row.insert(row.begin() + 5, label.has_f1_before() ? Print("%.4f", label.f1_before()) : "-");
  }
  return rows;
}

std::vector<std::vector<std::string>> FoldRows(const engram::v1::CrossValidation& validation) {
  std::vector<std::vector<std::string>> rows = {{"metric", "mean", "sd"}};
  for (const auto& fold : validation.folds()) rows[0].push_back("fold " + std::to_string(fold.fold()));
  for (const auto& metric : validation.metrics()) {
    auto& row = rows.emplace_back(
        std::vector{metric.metric(), Print("%.4f", metric.mean()), Print("%.4f", metric.standard_deviation())});
    for (const auto& fold : validation.folds()) {
      const auto at = std::find_if(fold.metrics().begin(), fold.metrics().end(),
                                   [&](const auto& of) { return of.metric() == metric.metric(); });
      row.push_back(at == fold.metrics().end() ? "-" : Print("%.4f", at->value()));
    }
  }
  return rows;
}

std::vector<std::vector<std::string>> FoldLabelRows(const engram::v1::CrossValidation& validation) {
  if (validation.labels_size() == 0) return {};
  std::vector<std::vector<std::string>> rows = {{"label", "precision", "recall", "F1", "sd", "support", "folds"}};
  for (const auto& label : validation.labels()) {
    rows.push_back({label.label(), Print("%.4f", label.precision()), Print("%.4f", label.recall()),
                    Print("%.4f", label.f1()), Print("%.4f", label.f1_standard_deviation()),
                    std::to_string(label.support()), std::to_string(label.folds())});
  }
  return rows;
}

std::vector<std::vector<std::string>> EstimateRows(const engram::v1::JobEstimate& estimate) {
  const auto whole = [](int64_t value) { return std::to_string(value); };
  std::vector<std::vector<std::string>> rows = {{"estimate", "value"}};
  const bool all_counted = estimate.counted_texts() >= estimate.texts();
  rows.push_back(
      {"texts", whole(estimate.texts()) +
                    (all_counted ? "" : ", from " + whole(estimate.counted_texts()) + " that were counted")});
  rows.push_back({"tokens", whole(estimate.tokens()) + (estimate.total_tokens() > estimate.tokens()
                                                            ? " a pass, " + whole(estimate.total_tokens()) + " in all"
                                                            : "")});
  if (estimate.steps() > 0) rows.push_back({"steps", whole(estimate.steps())});
  rows.push_back({"time", TimeOf(estimate)});
  rows.push_back({"memory", FormatBytes(estimate.memory_bytes()) + " beside the worker's libraries"});
  if (estimate.version_bytes() > 0) {
    rows.push_back({"disk", FormatBytes(estimate.version_bytes()) + " for the version, " +
                                FormatBytes(estimate.disk_bytes()) + " while it runs; " +
                                FormatBytes(estimate.free_disk_bytes()) + " are free"});
  }
  return rows;
}

std::vector<std::string> StreamColumns() { return {"metric", "tasks", "ACC", "BWT", "forgetting"}; }

std::vector<std::string> StreamRow(const engram::v1::StreamMetrics& metrics) {
  const auto number = [](bool known, double value) { return known ? Print("%.4f", value) : std::string("-"); };
  return {metrics.metric(), std::to_string(metrics.tasks_size()), number(metrics.has_average(), metrics.average()),
          number(metrics.has_backward_transfer(), metrics.backward_transfer()),
          number(metrics.has_forgetting(), metrics.forgetting())};
}

std::string NpyBytes(const std::vector<int64_t>& shape, const std::string& data) {
  std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (";
  for (const int64_t size : shape) header += std::to_string(size) + ",";
  header += "), }";
  // The header with its 10 bytes of magic is a multiple of 64 long and ends with a line end.
  header += std::string((64 - (10 + header.size() + 1) % 64) % 64, ' ') + "\n";
  std::string bytes("\x93NUMPY\x01\x00", 8);
  bytes += static_cast<char>(header.size() & 0xFF);
  bytes += static_cast<char>(header.size() >> 8 & 0xFF);
  return bytes + header + data;
}

std::string EscapedMarkup(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

bool IsUtf8(const std::string& text) {
  return google::protobuf::internal::IsStructurallyValidUTF8(text.data(), static_cast<int>(text.size()));
}

bool WriteWhole(const std::string& path, const std::string& bytes) {
  const std::string temporary = path + ".partial";
  std::ofstream file(temporary, std::ios::binary | std::ios::trunc);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  file.close();
  if (file.good() && std::rename(temporary.c_str(), path.c_str()) == 0) return true;
  const std::string why = std::strerror(errno);
  std::remove(temporary.c_str());
  Session::Failed(path + " cannot be written: " + why);
  return false;
}

}  // namespace engram::client
