#include "client/stream_view.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <optional>

#include "client/output.h"
#include "client/session.h"

namespace engram::client {
namespace {

using engram::v1::StreamMetrics;

std::string Points(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f", 100 * value);
  return text;
}

std::optional<double> ScoreOf(const engram::v1::StreamRow& row, const std::string& task) {
  for (const auto& score : row.scores()) {
    if (score.task() == task) return score.value();
  }
  return std::nullopt;
}

// "a, b and c".
std::string Joined(const std::vector<std::string>& parts) {
  std::string text;
  for (size_t i = 0; i < parts.size(); ++i) {
    if (i > 0) text += i + 1 == parts.size() ? " and " : ", ";
    text += parts[i];
  }
  return text;
}

constexpr int kCell = 56, kRow = 26, kCharacter = 8, kGap = 16, kTitle = 28;

// Pixels that the longest of the names takes.
int Width(const std::vector<std::string>& names) {
  size_t longest = 0;
  for (const std::string& name : names) longest = std::max(longest, name.size());
  return static_cast<int>(longest) * kCharacter;
}

std::string Text(int x, int y, const char* anchor, const std::string& color, const std::string& text) {
  return "<text x=\"" + std::to_string(x) + "\" y=\"" + std::to_string(y) + "\" text-anchor=\"" + anchor +
         "\" fill=\"" + color + "\">" + EscapedMarkup(text) + "</text>\n";
}

// White at 0, (8, 69, 148) at 1.
std::string Cell(int x, int y, double value, const std::string& title) {
  const double share = std::clamp(value, 0.0, 1.0);
  const auto mix = [&](int dark) { return static_cast<int>(std::lround(255 + share * (dark - 255))); };
  char fill[32];
  std::snprintf(fill, sizeof fill, "rgb(%d,%d,%d)", mix(8), mix(69), mix(148));
  return "<rect x=\"" + std::to_string(x) + "\" y=\"" + std::to_string(y) + "\" width=\"" + std::to_string(kCell - 2) +
         "\" height=\"" + std::to_string(kRow - 2) + "\" fill=\"" + fill + "\"><title>" + EscapedMarkup(title) +
         "</title></rect>\n" +
         Text(x + kCell / 2 - 1, y + kRow / 2 + 4, "middle", share > 0.55 ? "white" : "black", Points(value));
}

// One matrix from `top` on; `top` moves below it. The answer is its width.
int DrawMatrix(const StreamMetrics& metrics, std::string& out, int& top) {
  std::vector<std::string> afters, names;
  for (const auto& row : metrics.rows()) afters.push_back("after " + LastPart(row.after()));
  for (const std::string& task : metrics.tasks()) names.push_back(LastPart(task));
  const int left = kGap + Width(afters), header = Width(names);
  out += Text(kGap, top + 12, "start", "black", metrics.metric() + ", per cent");
  top += kTitle;
  for (int j = 0; j < metrics.tasks_size(); ++j) {  // names of the columns stand upright
    const int x = left + 8 + j * kCell + kCell / 2 + 3, y = top + header;
    out += "<g transform=\"rotate(-90 " + std::to_string(x) + " " + std::to_string(y) + ")\">" +
           Text(x, y, "start", "black", names[static_cast<size_t>(j)]) + "</g>\n";
  }
  top += header + 6;
  for (int i = 0; i < metrics.rows_size(); ++i) {
    const std::string& after = afters[static_cast<size_t>(i)];
    out += Text(left, top + kRow / 2 + 4, "end", "black", after);
    for (int j = 0; j < metrics.tasks_size(); ++j) {
      const std::optional<double> score = ScoreOf(metrics.rows(i), metrics.tasks(j));
      if (score) out += Cell(left + 8 + j * kCell, top, *score, names[static_cast<size_t>(j)] + " " + after);
    }
    top += kRow;
  }
  top += kGap;
  return left + 8 + metrics.tasks_size() * kCell + kGap;
}

}  // namespace

std::vector<std::vector<std::string>> MatrixRows(const StreamMetrics& metrics) {
  std::vector<std::vector<std::string>> rows = {{metrics.metric() + " % after"}};
  for (const std::string& task : metrics.tasks()) rows[0].push_back(LastPart(task));
  for (const auto& from : metrics.rows()) {
    std::vector<std::string>& row = rows.emplace_back(std::vector{LastPart(from.after())});
    for (const std::string& task : metrics.tasks()) {
      const std::optional<double> score = ScoreOf(from, task);
      row.push_back(score ? Points(*score) : "-");
    }
  }
  return rows;
}

std::string GainsAndLosses(const engram::v1::JobResult& result) {
  std::vector<std::string> gained, lost, kept;
  for (const auto& metric : result.metrics()) {
    if (!metric.has_before() || (metric.metric() != "accuracy" && metric.metric() != "entity_f1")) continue;
    const double change = metric.value() - metric.before();
    const std::string task = LastPart(metric.task()), points = Points(std::abs(change));
    if (points == "0.0")
      kept.push_back(task);
    else
      (change > 0 ? gained : lost).push_back(points + " on " + task);
  }
  std::vector<std::string> parts;
  if (!gained.empty()) parts.push_back("gained " + Joined(gained));
  if (!lost.empty()) parts.push_back("lost " + Joined(lost));
  if (!kept.empty()) parts.push_back("kept " + Joined(kept));
  return Joined(parts);
}

std::vector<std::vector<std::string>> SweepRows(const engram::v1::StrengthSweep& sweep) {
  if (sweep.points_size() == 0) return {};
  std::vector<std::vector<std::string>> rows = {{sweep.option(), "new task %", "earlier tasks %", ""}};
  for (const auto& point : sweep.points()) {
    char strength[32];
    std::snprintf(strength, sizeof strength, "%g", point.strength());
    rows.push_back({strength, Points(point.new_score()), Points(point.earlier_score()),
                    point.strength() == sweep.chosen() ? "chosen" : ""});
  }
  return rows;
}

std::string HeatMap(const std::vector<StreamMetrics>& streams, const std::string& title) {
  std::string body;
  int top = kTitle + kGap, width = 2 * kGap + static_cast<int>(title.size()) * kCharacter;
  for (const StreamMetrics& metrics : streams) {
    if (metrics.rows_size() > 0) width = std::max(width, DrawMatrix(metrics, body, top));
  }
  if (body.empty()) return "";
  const std::string size = "width=\"" + std::to_string(width) + "\" height=\"" + std::to_string(top) + "\"";
  return "<svg xmlns=\"http://www.w3.org/2000/svg\" " + size + " font-family=\"sans-serif\" font-size=\"13\">\n<rect " +
         size + " fill=\"white\"/>\n" + Text(kGap, kTitle, "start", "black", title) + body + "</svg>\n";
}

int WriteHeatMap(const std::vector<StreamMetrics>& streams, const std::string& title, const std::string& path) {
  const std::string drawing = HeatMap(streams, title);
  if (drawing.empty()) return Session::Failed("nothing was measured yet that " + path + " could show");
  if (!WriteWhole(path, drawing)) return kFailed;
  std::fprintf(stderr, "wrote %s\n", path.c_str());
  return kOk;
}

}  // namespace engram::client
