#include "core/continual/stream_metrics.h"

#include <algorithm>
#include <cstddef>

namespace engram::continual {
namespace {

using checkpoint::MetricsMatrix;
using checkpoint::TaskKind;
using checkpoint::VersionManifest;

constexpr const char* kKept[] = {"accuracy", "entity_f1", "perplexity"};
// Perplexity is none of them: a mean of differences says little of it, and less is better.
constexpr struct {
  const char* metric;
  TaskKind kind;
} kStreams[] = {{"accuracy", TaskKind::kSequenceClassification}, {"entity_f1", TaskKind::kTokenClassification}};

MetricsMatrix* Find(const std::string& metric, VersionManifest& manifest) {
  const auto found =
      std::find_if(manifest.metrics.begin(), manifest.metrics.end(), [&](const auto& m) { return m.metric == metric; });
  return found == manifest.metrics.end() ? nullptr : &*found;
}

// The matrix of a metric, if anything was measured.
const MetricsMatrix* FindMeasured(const std::string& metric, const VersionManifest& manifest) {
  const auto found = std::find_if(manifest.metrics.begin(), manifest.metrics.end(),
                                  [&](const auto& m) { return m.metric == metric && !m.values.empty(); });
  return found == manifest.metrics.end() ? nullptr : &*found;
}

size_t Column(const MetricsMatrix& matrix, const std::string& task) {
  return static_cast<size_t>(std::find(matrix.tasks.begin(), matrix.tasks.end(), task) - matrix.tasks.begin());
}

void AddRow(const std::string& task, MetricsMatrix& matrix) {
  matrix.after.push_back(task);
  matrix.values.emplace_back(matrix.tasks.size());
}

// Rows of trainings that left none (nothing was measured yet, or an older program did not write them), but for `except`:
// so that the last row of every matrix is the version as it is.
void AddMissingRows(const std::string& except, const VersionManifest& manifest, MetricsMatrix& matrix) {
  for (const checkpoint::ManifestTask& task : manifest.tasks) {
    if (task.name != except && std::find(matrix.after.begin(), matrix.after.end(), task.name) == matrix.after.end())
      AddRow(task.name, matrix);
  }
}

void SetLast(const Measurement& measured, MetricsMatrix& matrix) {
  const size_t column = Column(matrix, measured.task);
  if (column == matrix.tasks.size()) {
    matrix.tasks.push_back(measured.task);
    for (auto& row : matrix.values) row.emplace_back();
  }
  matrix.values.back()[column] = measured.value;
}

// One task's column of a matrix that has rows.
struct Scores {
  std::optional<double> last, learned, best_earlier;
};

Scores ScoresOf(const MetricsMatrix& matrix, const std::string& task) {
  Scores scores;
  const size_t column = Column(matrix, task);
  if (column == matrix.tasks.size()) return scores;
  scores.last = matrix.values.back()[column];
  for (size_t row = 0; row + 1 < matrix.values.size(); ++row) {
    const std::optional<double>& value = matrix.values[row][column];
    if (matrix.after[row] == task) scores.learned = value;
    if (value && (!scores.best_earlier || *value > *scores.best_earlier)) scores.best_earlier = value;
  }
  return scores;
}

// The mean of `count` numbers of which `sum` is the sum of those that are there.
struct Mean {
  double sum = 0;
  bool complete = true;
  size_t count = 0;

  void Add(const std::optional<double>& plus, const std::optional<double>& minus) {
    complete = complete && plus && minus;
    if (complete) sum += *plus - *minus;
    ++count;
  }
  std::optional<double> value() const {
    return complete && count > 0 ? std::optional<double>(sum / static_cast<double>(count)) : std::nullopt;
  }
};

}  // namespace

void EnterTraining(const std::string& task, std::span<const Measurement> measured, VersionManifest& manifest) {
  for (const Measurement& one : measured) {
    const bool kept = std::find(std::begin(kKept), std::end(kKept), one.metric) != std::end(kKept);
    if (kept && Find(one.metric, manifest) == nullptr) manifest.metrics.emplace_back().metric = one.metric;
  }
  for (MetricsMatrix& matrix : manifest.metrics) {
    AddMissingRows(task, manifest, matrix);
    AddRow(task, matrix);
  }
  EnterEvaluation(measured, manifest);
}

void EnterEvaluation(std::span<const Measurement> measured, VersionManifest& manifest) {
  for (MetricsMatrix& matrix : manifest.metrics) AddMissingRows("", manifest, matrix);
  for (const Measurement& one : measured) {
    MetricsMatrix* const matrix = Find(one.metric, manifest);
    if (matrix != nullptr && checkpoint::FindManifestTask(manifest, one.task) != nullptr) SetLast(one, *matrix);
  }
}

std::vector<TaskScore> ScoresOfTasks(const VersionManifest& manifest) {
  std::vector<TaskScore> all;
  for (const checkpoint::ManifestTask& task : manifest.tasks) {
    const auto stream =
        std::find_if(std::begin(kStreams), std::end(kStreams), [&](const auto& s) { return s.kind == task.kind; });
    if (stream == std::end(kStreams)) continue;
    TaskScore& score = all.emplace_back();
    score.task = task.name;
    score.metric = stream->metric;
    const MetricsMatrix* const matrix = FindMeasured(stream->metric, manifest);
    if (matrix == nullptr) {
      score.earlier = manifest.tasks.size() > 1;
      continue;
    }
    const Scores scores = ScoresOf(*matrix, task.name);
    score.now = scores.last;
    score.best_earlier = scores.best_earlier;
    score.earlier =
        matrix->after.back() != task.name || std::count(matrix->after.begin(), matrix->after.end(), task.name) > 1;
  }
  return all;
}

std::vector<StreamMetrics> ComputeStreamMetrics(const VersionManifest& manifest) {
  std::vector<StreamMetrics> all;
  for (const auto& stream : kStreams) {
    const MetricsMatrix* const matrix = FindMeasured(stream.metric, manifest);
    if (matrix == nullptr) continue;
    StreamMetrics metrics;
    metrics.metric = stream.metric;
    Mean average, transfer, forgetting;
    for (const checkpoint::ManifestTask& task : manifest.tasks) {
      if (task.kind != stream.kind) continue;
      metrics.tasks.push_back(task.name);
      const Scores scores = ScoresOf(*matrix, task.name);
      average.Add(scores.last, 0);
      if (task.name == matrix->after.back()) continue;
      transfer.Add(scores.last, scores.learned);
      forgetting.Add(scores.best_earlier, scores.last);
    }
    if (metrics.tasks.empty()) continue;
    metrics.average = average.value();
    metrics.backward_transfer = transfer.value();
    metrics.forgetting = forgetting.value();
    all.push_back(std::move(metrics));
  }
  return all;
}

}  // namespace engram::continual
