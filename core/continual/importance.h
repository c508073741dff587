#pragma once

// Importance of each encoder weight for a task: diagonals of the Fisher information, as docs/ewc.md defines them.
//
//   exact      F = 1/N sum_x sum_c p(c|x) (d log p(c|x) / d theta)^2      C backward passes over one forward pass
//   sampled    F = 1/N sum_x (d log p(y|x) / d theta)^2, y ~ p(.|x)        unbiased, one backward pass
//   empirical  the same with y = the true label                            one backward pass; vanishes at a perfect fit
//   reversed   the same as empirical, of log softmax(-f)(y) in place of log softmax(f)(y), f the logits: does not vanish
//              where the model is sure (EWC-DR, CVPR 2026, arXiv 2603.18596; there squares are of batch means)
//   batched    1/M sum over M batches of (gradient of the batch's mean loss)^2    NOT a Fisher (about F_empirical / B),
//                                                                                 kept as a control
// The unit x is one text. For token classification it is one sentence, whose log-likelihood is the sum over its words,
// with tags sampled for each word. Given x the words' tags are drawn independently and scores have mean 0, so `exact` is
// the sum over words of the expectation over each word's tag: one pass for each word of the longest sentence and tag. A
// sentence, or text, of several windows is still one x: their gradients are summed before they are squared (`batched` alone takes
// windows, as training's batches do). For masked language models it is the sum over the masked tokens of a text, masked
// as in training, once for each text by the seed; `exact` is refused there (it would take a pass for each token and word
// of the vocabulary). Always without dropout, without any penalty, at the weights as they are; squares are summed in
// fp32.

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "core/base/status.h"
#include "core/nn/model.h"
#include "core/train/example.h"
#include "core/train/micro_batch.h"

namespace engram::continual {

enum class ImportanceKind { kExact, kSampled, kEmpirical, kBatched, kReversed };

// "exact", "sampled", "empirical", "batched", "reversed"; INVALID_ARGUMENT naming the known kinds for anything else.
absl::StatusOr<ImportanceKind> ParseImportanceKind(const std::string& name);
std::string ImportanceKindName(ImportanceKind kind);

struct ImportanceOptions {
  ImportanceKind kind = ImportanceKind::kSampled;
  int64_t samples = 1000;       // texts drawn without replacement (all, if there are fewer); 0: all
  int64_t batch_tokens = 4096;  // size of a packed batch; the result does not depend on it beyond rounding
  int64_t batch_size = 8;       // B of `batched` only
  uint64_t seed = 0;
  std::optional<train::MaskingOptions> masking;  // set exactly for masked language models
};

struct Importance {
  at::Tensor fisher;    // fp32 [encoder elements], in the order of the parameter buffer, >= 0
  double trace = 0;     // sum of fisher
  int64_t samples = 0;  // texts that it is the mean of
  // Texts that it stands for, N: all of the task's; N * fisher is the penalty's precision.
  int64_t training_examples = 0;
  // How well the model knows the task on these texts, as it answers them in the same pass: labelled units (texts, tagged
  // words), those answered with their true label, and those of the most frequent label. 0 for masked language models.
  int64_t units = 0, right = 0, most_frequent = 0;
};

// Called after each batch with (texts done, texts in all; windows of `batched`); a false answer cancels.
using ImportanceProgress = std::function<bool(int64_t, int64_t)>;

// `examples` are the task's training examples, labels as training uses them. The model is not changed; `batched` and
// texts of several windows use its gradient buffer. Errors: INVALID_ARGUMENT (no examples, exact for masked language
// models), CANCELLED, ABORTED if an entry is not finite.
//
// `also` is handed every backward pass, too: each is that of the log-likelihoods of whole texts (of a text of several
// windows, window by window), summed over the texts of its batch. Not for `batched` (INVALID_ARGUMENT).
absl::StatusOr<Importance> ComputeImportance(nn::Model& model, const std::string& task,
                                             std::span<const train::TrainingExample> examples,
                                             const ImportanceOptions& options,
                                             const ImportanceProgress& progress = nullptr,
                                             nn::GradientSink* also = nullptr);

// How much each encoder weight moves what a task's head answers (Aljundi et al., "Memory aware synapses", ECCV 2018):
//   1/N sum_x | d |f(x)|^2 / d theta |
// f the logits of a text, of all tagged tokens of a sentence together, or of the masked tokens of a text. No label is
// looked at. `options.kind` plays no part; the rest and the errors are those of ComputeImportance. The result stands in
// Importance::fisher, which is none.
absl::StatusOr<Importance> ComputeSensitivity(nn::Model& model, const std::string& task,
                                              std::span<const train::TrainingExample> examples,
                                              const ImportanceOptions& options,
                                              const ImportanceProgress& progress = nullptr);

}  // namespace engram::continual
