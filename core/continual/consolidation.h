#pragma once

// What a model remembers of a task it has learned: the importance of each encoder weight and the weights themselves
// (the anchor), taken when the task was consolidated. Stored with a version as continual.safetensors under the
// parameters' own names:
//   fisher.<task>.<parameter>   fp32, as continual/importance.h defines it (the mean over texts)
//   anchor.<task>.<parameter>   fp32
// and one metadata entry "consolidation.<task>" (JSON: kind, samples, n_train, dataset, seed).

#include <cstdint>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "core/base/status.h"
#include "core/continual/importance.h"
#include "core/nn/model.h"

namespace engram::continual {

struct Consolidation {
  std::string task;
  ImportanceKind kind = ImportanceKind::kSampled;
  int64_t samples = 0;         // texts that fisher is the mean of
  int64_t training_count = 0;  // N_A: training texts of the task; gives lambda its Bayes units
  std::string dataset_digest;
  uint64_t seed = 0;
  at::Tensor fisher;  // fp32 [encoder elements]
  at::Tensor anchor;  // fp32 [encoder elements], an own copy of the weights (never an alias)
};

// The number of elements of the encoder's slots, which are the first in the parameter buffer.
int64_t EncoderElements(const nn::Model& model);

// A copy of the encoder's weights, fp32 [EncoderElements].
at::Tensor EncoderWeights(const nn::Model& model);

// Writes the file so that a crash leaves the old one or the new one. `consolidations` in the order of the stream.
absl::Status SaveConsolidations(const std::string& path, const nn::Model& model,
                                const std::vector<Consolidation>& consolidations);

// Reads it for a model of the same shapes; missing, unexpected or wrongly shaped tensors, and entries of F that are
// negative or not finite, are errors that name the tensor. An absent file is an empty list.
absl::StatusOr<std::vector<Consolidation>> LoadConsolidations(const std::string& path, const nn::Model& model);

}  // namespace engram::continual
