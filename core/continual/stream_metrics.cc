#include "core/continual/stream_metrics.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>

namespace engram::continual {

StreamMetrics ComputeStreamMetrics(const std::vector<std::vector<double>>& matrix) {
  StreamMetrics metrics;
  if (matrix.empty()) return metrics;
  const size_t last = matrix.size() - 1;
  for (size_t j = 0; j <= last; ++j) metrics.average_accuracy += matrix[last][j] / static_cast<double>(last + 1);
  for (size_t j = 0; j < last; ++j) {
    double best = -std::numeric_limits<double>::infinity();
    for (size_t i = j; i < last; ++i) {
      if (!std::isnan(matrix[i][j])) best = std::max(best, matrix[i][j]);
    }
    metrics.backward_transfer += (matrix[last][j] - matrix[j][j]) / static_cast<double>(last);
    metrics.forgetting += (best - matrix[last][j]) / static_cast<double>(last);
  }
  return metrics;
}

}  // namespace engram::continual
