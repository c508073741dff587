#pragma once

// A model: one encoder and any number of heads, all on one ParameterBuffer.
//
//   tokens -> embeddings -> layers -> hidden [T, d] -> heads of the tasks asked for -> logits of each
//
// Forward and backward are explicit (core/nn/ops/). A forward pass that will be followed by a backward pass fills a
// Tape. Thread-safety: Encode and Predict without a tape are const and may run concurrently; training needs exclusive
// access.
//
// Example: the gradient of one task's mean loss.
//   const auto tape = Model::NewTape();
//   const at::Tensor logits = model.Predict(batch, {"emotion"}, mode, tape.get());
//   AccumulateSink sink(&model.parameters());
//   model.Backward(CrossEntropyLoss(logits, targets, weight).grad, std::move(*tape), sink);

#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/base/status.h"
#include "core/nn/encoder_config.h"
#include "core/nn/gradient_sink.h"
#include "core/nn/masked_update.h"
#include "core/nn/packed_batch.h"
#include "core/nn/parameter_buffer.h"

namespace engram::nn {

// What is asked of a batch: the logits of one task.
struct TaskQuery {
  std::string task;
  // Masked LM: int64 [R], the tokens to score as ascending indices into the T tokens; undefined: all. Not for batches of
  // texts in windows.
  at::Tensor rows;
};

// The gradient of one answer.
struct HeadGradient {
  size_t query = 0;   // which of the queries that filled the tape
  at::Tensor logits;  // fp32, shaped as that query's logits
};

struct Tape;  // what one forward pass keeps for its backward pass (model.cc); made by Model::NewTape

class Model {
 public:
  // An encoder with weights at 0 (load them, or Initialize). INVALID_ARGUMENT for numbers that do not fit together.
  static absl::StatusOr<std::unique_ptr<Model>> Create(const EncoderConfig& config, at::Device device,
                                                       Precision precision);
  virtual ~Model() = default;

  virtual const EncoderConfig& config() const = 0;
  virtual ParameterBuffer& parameters() = 0;
  virtual const ParameterBuffer& parameters() const = 0;

  // Draws all encoder weights: N(0, initializer_range), biases 0, LayerNorm 1 and 0.
  virtual void InitializeEncoder(uint64_t seed) = 0;
  // Adds the head of a task; its slots follow in the buffer under "heads.<task>.<standard name>". Draws its weights
  // like transformers does. ALREADY_EXISTS if the task has one.
  virtual absl::Status AddHead(const std::string& task, const HeadConfig& head, uint64_t seed) = 0;
  // Puts a new head in the place of the one that the task has; its slots are new, the old ones are out of use until the
  // model is saved and loaded. Blocks that stay as they are configured keep their weights. NOT_FOUND if the task has
  // none; FAILED_PRECONDITION if columns of other tasks stand on blocks that would go.
  virtual absl::Status ReplaceHead(const std::string& task, const HeadConfig& head, uint64_t seed) = 0;
  // Gives a task that has a head, and no blocks, blocks of its own: from then on they are applied when it is asked, and
  // their parameters are among HeadSlots(task). AddHead does the same for a head that is configured with blocks.
  // NOT_FOUND for a task without a head, or of blocks.earlier without blocks; ALREADY_EXISTS.
  virtual absl::Status AddBlocks(const std::string& task, const checkpoint::Blocks& blocks, uint64_t seed) = 0;
  // Puts masks of an update of the encoder (core/nn/masked_update.h) in the place of those that there are: the tasks that
  // `masks` names are asked with their share of `update`, fp32 [EncoderElements]; those that had one and are not named,
  // without. NOT_FOUND for a task without a head, ALREADY_EXISTS for one that has blocks of its own, INVALID_ARGUMENT for
  // a mask or an update of another size, or a scale that is not above 0.
  virtual absl::Status SetMasks(at::Tensor update, std::map<std::string, TaskMask> masks) = 0;
  virtual const std::map<std::string, TaskMask>& masks() const = 0;
  // Undefined where no task has a mask.
  virtual const at::Tensor& update() const = 0;
  virtual const std::map<std::string, HeadConfig>& heads() const = 0;
  // The slots of the encoder (what importance and penalties cover) and of one head, with the task's blocks behind it.
  virtual std::vector<SlotId> EncoderSlots() const = 0;
  virtual std::vector<SlotId> HeadSlots(const std::string& task) const = 0;
  // Elements of the encoder's slots, which are the first in the buffer: [0, EncoderElements).
  int64_t EncoderElements() const;
  // A model of its own with the same weights, heads and precision; no gradients, not packed for inference.
  virtual std::unique_ptr<Model> Clone() const = 0;

  // For a model that will only be asked: keeps the encoder's weights in the layout that this processor multiplies with
  // fastest (one more copy in the compute dtype), and of each task with a mask an encoder of its own, which is made anew
  // for each pass otherwise. The weights must not change afterwards.
  virtual void PackForInference() = 0;

  static std::shared_ptr<Tape> NewTape();

  // Embeddings: hidden [T, d] in the compute dtype, without the blocks of any task. `tape` nullptr: inference (least
  // memory).
  virtual at::Tensor Encode(const PackedBatch& batch, const std::optional<TrainingMode>& mode, Tape* tape) const = 0;
  // Logits fp32 of each query, in their order: sequence classification [n, C], n the texts (of one that is read in
  // windows the mean, core/nn/text_windows.h), token classification [T, C], masked LM [R, V]. The encoder runs once for all tasks without blocks of their own, whatever their number, and once for each
  // task with blocks (a column of k tasks: k times); the model must have the heads. `tape` nullptr: inference. More
  // windows than kWindowTokens are run in groups, which are run again in Backward.
  virtual std::vector<at::Tensor> Predict(const PackedBatch& batch, std::span<const TaskQuery> queries,
                                          const std::optional<TrainingMode>& mode, Tape* tape) const = 0;
  at::Tensor Predict(const PackedBatch& batch, const TaskQuery& query, const std::optional<TrainingMode>& mode,
                     Tape* tape) const;
  // The backward pass of the Predict that filled `tape`, of the sum of what `gradients` (at least one, each query at
  // most once) are of; each pass of the encoder is run back once. Ends with sink.EndBatch(). A tape serves several
  // backward passes (exact Fisher runs one for each class); one that is moved in serves the last, which gives its memory
  // back on the way.
  virtual void Backward(std::span<const HeadGradient> gradients, const Tape& tape, GradientSink& sink) const = 0;
  virtual void Backward(std::span<const HeadGradient> gradients, Tape&& tape, GradientSink& sink) const = 0;
  // The same for the first query alone.
  void Backward(const at::Tensor& grad_logits, const Tape& tape, GradientSink& sink) const;
  void Backward(const at::Tensor& grad_logits, Tape&& tape, GradientSink& sink) const;
};

}  // namespace engram::nn
