#pragma once

// Metrics of a stream of tasks, from its accuracy matrix R: R[i][j] is the accuracy on task j after learning task i
// (NaN: not measured). ACC, BWT: Lopez-Paz & Ranzato, "Gradient episodic memory for continual learning", NIPS 2017.
// Forgetting: Chaudhry et al., "Riemannian walk for incremental learning", ECCV 2018 (the best earlier accuracy minus
// the last one).

#include <vector>

namespace engram::continual {

struct StreamMetrics {
  double average_accuracy = 0;   // ACC: mean of the last row
  double backward_transfer = 0;  // BWT: mean over j < T of R[T][j] - R[j][j]; negative is forgetting
  double forgetting = 0;         // mean over j < T of max_{i < T} R[i][j] - R[T][j]
};

// `matrix` is square, row i measured at least on tasks 0..i. With one task BWT and forgetting are 0. Empty: all 0.
StreamMetrics ComputeStreamMetrics(const std::vector<std::vector<double>>& matrix);

}  // namespace engram::continual
