#pragma once

// Metrics of a stream of tasks, from its matrix R: R[i][j] is the score on task j's test part after the i-th training
// (engram.json keeps R for each metric, checkpoint::MetricsMatrix).
//
//   ACC         mean over all j of R[T][j]
//   BWT         mean over all j but the task trained last of R[T][j] - R[j][j]; negative: forgotten
//   forgetting  mean over the same j of max over i < T of R[i][j] - R[T][j]
//
// T is the last training; R[j][j] stands for the score right after task j was trained, the last time if it was trained
// more than once. ACC and BWT: Lopez-Paz and Ranzato, "Gradient episodic memory for continual learning", NIPS 2017.
// Forgetting: Chaudhry et al., "Riemannian walk for incremental learning: understanding forgetting and intransigence",
// ECCV 2018.
//
// A training measures the task that it trains and the tasks before it, each if the test part of its data set is at hand;
// the other cells of its row are absent until somebody evaluates the version. An absent cell leaves absent what would need it; the
// exception is the maximum, which is taken over the cells that are there. Thread-safe.

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/checkpoint/manifest.h"

namespace engram::continual {

// A score on the test part of the data set that the task was trained on.
struct Measurement {
  std::string task;    // short name
  std::string metric;  // "accuracy", "entity_f1", "perplexity"; others are not kept
  double value = 0;
};

// A version that has just trained `task`, which is in manifest.tasks already: every matrix gets a row after `task` with
// what was measured.
void EnterTraining(const std::string& task, std::span<const Measurement> measured,
                   checkpoint::VersionManifest& manifest);

// What was measured later on a version goes into the last row of its matrices, over what stood there. Tasks that the
// version has not learned and metrics that have no matrix are left out.
void EnterEvaluation(std::span<const Measurement> measured, checkpoint::VersionManifest& manifest);

// In the unit of the metric. Absent: not enough was measured; BWT and forgetting also for a single task.
struct StreamMetrics {
  std::string metric;              // "accuracy" or "entity_f1": for both more is better
  std::vector<std::string> tasks;  // those of the version that have this metric, in the order of the stream
  std::optional<double> average;   // ACC
  std::optional<double> backward_transfer;
  std::optional<double> forgetting;

  friend bool operator==(const StreamMetrics&, const StreamMetrics&) = default;
};

// One entry for each metric of which the manifest has a matrix and a task.
std::vector<StreamMetrics> ComputeStreamMetrics(const checkpoint::VersionManifest& manifest);

// What is known of one task of a stream, accuracy or entity F1. Absent: not measured.
struct TaskScore {
  std::string task, metric;
  std::optional<double> now;           // R[T][j]
  std::optional<double> best_earlier;  // max over i < T of R[i][j]
  bool earlier = false;                // the task was learned in a training before the last

  friend bool operator==(const TaskScore&, const TaskScore&) = default;
};

// Of every task but masked language models, in the order of the stream; also of tasks that nothing was ever measured of.
std::vector<TaskScore> ScoresOfTasks(const checkpoint::VersionManifest& manifest);

}  // namespace engram::continual
