#pragma once

// What a model remembers of a task it has learned: the importance of each encoder weight and the weights themselves
// (the anchor), taken when the task was consolidated. Stored with a version as continual.safetensors under the
// parameters' own names:
//   fisher.<task>.<parameter>   fp32, as continual/importance.h defines it (the mean over texts)
//   anchor.<task>.<parameter>   fp32
// and one metadata entry "consolidation.<task>" (JSON: kind, samples, training_count, dataset_digest, seed).

#include <cstdint>
#include <functional>
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
  int64_t samples = 0;            // texts that fisher is the mean of
  int64_t training_examples = 0;  // N_A: texts that fisher stands for (Importance::training_examples)
  std::string dataset_digest;
  uint64_t seed = 0;
  at::Tensor fisher;  // fp32 [encoder elements]
  at::Tensor anchor;  // fp32 [encoder elements], an own copy of the weights (never an alias)
};

// A copy of the encoder's weights, fp32 [encoder elements].
at::Tensor EncoderWeights(const nn::Model& model);

// Writes the file so that a crash leaves the old one or the new one. `consolidations` in the order of the stream.
absl::Status SaveConsolidations(const std::string& path, const nn::Model& model,
                                const std::vector<Consolidation>& consolidations);

// Consolidations in the order of the stream, read one at a time: a strategy that merges them (online_ewc) never holds
// more than one beside what it merges into, however long the stream is.
struct ConsolidationSource {
  int64_t count = 0;
  std::function<absl::StatusOr<Consolidation>(int64_t)> read;  // [0, count), each at most once
};
ConsolidationSource FromMemory(std::vector<Consolidation> consolidations);

// Opens the file for a model of the same shapes, which must outlive the source. Missing, unexpected or wrongly shaped
// tensors, a Fisher that is not F32 or BF16 (F16 has lost most of it to zero) or an anchor that is not F32 are errors
// that name the tensor; reading gives the same for entries of F that are negative or not finite. No file: count 0.
absl::StatusOr<ConsolidationSource> OpenConsolidations(const std::string& path, const nn::Model& model);
// All of them.
absl::StatusOr<std::vector<Consolidation>> LoadConsolidations(const std::string& path, const nn::Model& model);

// Sum and smallest entry of a large fp32 vector, summed in fp64 piece by piece (ATen's fp64 sum of a whole fp32 tensor
// first makes an fp64 copy of it).
struct SumAndMin {
  double sum = 0, min = 0;
};
SumAndMin SumAndMinOf(const at::Tensor& flat);

}  // namespace engram::continual
