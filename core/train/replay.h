#pragma once

// Training on stored examples of earlier tasks: one pass of the encoder over a batch that mixes tasks, one head for
// each task in it. For strategies; what they draw is a pure function of (seed, step), so that nothing need be saved.

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/base/status.h"
#include "core/nn/gradient_sink.h"
#include "core/nn/model.h"
#include "core/train/version_memory.h"

namespace engram::train {

// INVALID_ARGUMENT naming examples[i] for one that the model cannot learn from: no head for its task or one of masked
// language modelling, a label or tag that the head does not have, more tokens than the model takes, ids outside the
// vocabulary.
absl::Status CheckStoredExamples(const nn::Model& model, std::span<const StoredExample> examples);

// The tasks of the examples, each once, in order of appearance.
std::vector<std::string> StoredTasks(std::span<const StoredExample> examples);

// Numbers of `count` of the `stored` examples for one step, drawn uniformly without replacement, ascending; all of them
// if there are no more.
std::vector<int64_t> DrawStored(int64_t stored, int64_t count, uint64_t seed, int64_t step);

struct ReplayLoss {
  double sum = 0;     // sum of the loss over units
  int64_t units = 0;  // texts; tagged tokens of tagging tasks
};

// Units of examples[chosen].
int64_t StoredUnits(std::span<const StoredExample> examples, std::span<const int64_t> chosen);

// Adds  weight * gradient of the sum over units  of the cross-entropy of examples[chosen] to the sink. Dropout is on,
// with masks of its own for (seed, step). The examples must have passed CheckStoredExamples.
absl::StatusOr<ReplayLoss> AddReplayGradient(const nn::Model& model, std::span<const StoredExample> examples,
                                             std::span<const int64_t> chosen, double weight, uint64_t seed,
                                             int64_t step, nn::GradientSink& sink);

// The same of  sum over labels of (logit - stored logit)^2  in place of the cross-entropy, over the labels that the head
// had when the logits were stored. An example without stored logits adds nothing.
absl::StatusOr<ReplayLoss> AddLogitGradient(const nn::Model& model, std::span<const StoredExample> examples,
                                            std::span<const int64_t> chosen, double weight, uint64_t seed, int64_t step,
                                            nn::GradientSink& sink);

// A memory of at most `size` examples in which every task has the same share: of each task in `held` as many as the
// share allows, and of the task just learned a uniform draw of `examples`. Of that task's share, what is held of it keeps
// the part `known`, in [0, 1], as far as there is so much (0: it is replaced). What is held of a task is in random order,
// so that a smaller share is a uniform draw again.
std::vector<StoredExample> BalancedMemory(std::vector<StoredExample> held, const std::string& task,
                                          std::span<const TrainingExample> examples, int64_t size, uint64_t seed,
                                          double known = 0);

}  // namespace engram::train
