#pragma once

// What one task adds to an encoder that all tasks share (checkpoint::Blocks): small trained parts behind the encoder's
// linear layers, applied when that task is asked and at no other time. x is a linear layer's input, y = x W^T + b its
// output, and what the encoder goes on with is
//
//   adapter      y + U act(D y + b) + c                             Houlsby et al., ICML 2019 (sublayers); Pfeiffer et
//                                                                   al., EACL 2021 (feed_forward)
//   low_rank     y + s B A x                                        Hu et al., ICLR 2022; not merged: W stays
//   progressive  y + U z + c,  z = act(D y + b + sum_j L_j z_j)     Rusu et al., 2016, with bottlenecks for columns
//
// z_j is what the column of the j-th earlier task computes at the same place on the same text, in a pass of its own
// without dropout: a column of k tasks costs k passes of the encoder. Only the task's own parts learn.
//
// D [w, d], U [d, w], L_j [w, w_j] and their biases, A [r, in], B [out, r] are parameters "heads.<task>.blocks.<layer>.
// <place>.<part>". D and L are drawn as the encoder is, A as peft draws it, uniform in +-1 / sqrt(in); U, B and biases
// begin at 0, so that a task begins with the encoder as it is.

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "core/base/status.h"
#include "core/checkpoint/blocks.h"
#include "core/nn/encoder_config.h"
#include "core/nn/gradient_sink.h"
#include "core/nn/parameter_buffer.h"

namespace engram::nn {

// The linear layers of an encoder layer that blocks stand behind, in the order of the pass.
enum class BlockSite { kQueryKeyValue, kAttentionOutput, kIntermediate, kOutput };
inline constexpr size_t kBlockSites = 4;

// What a pass keeps of one site for its backward pass.
struct BlockSiteTape {
  at::Tensor input;                 // low_rank: x; the others: y
  std::vector<at::Tensor> reduced;  // low_rank: s A x of each matrix
  at::Tensor pre, code;             // z before and after its activation
  std::vector<at::Tensor> earlier;  // z_j
};

// z of every layer and site, undefined where there is none: what later columns read.
using BlockCodes = std::vector<at::Tensor>;

class TaskBlocks {
 public:
  // Appends the parts to `parameters`, which must outlive the blocks. `earlier`: the blocks of the tasks that
  // blocks.earlier names, in that order. INVALID_ARGUMENT for blocks that are none, or of tasks that have no columns.
  static absl::StatusOr<TaskBlocks> Create(const std::string& task, const checkpoint::Blocks& blocks,
                                           const EncoderConfig& config, const std::vector<const TaskBlocks*>& earlier,
                                           ParameterBuffer* parameters, uint64_t seed);
  // Elements of all parts, before any is made.
  static int64_t Elements(const checkpoint::Blocks& blocks, const checkpoint::EncoderSizes& sizes,
                          const std::vector<int64_t>& earlier_widths);

  bool At(BlockSite site) const;
  // What the encoder goes on with; y may be changed in place. `earlier`: codes of the earlier columns, for a progressive
  // column alone. `tape` and `code` receive what was computed, where they are not null.
  at::Tensor Forward(size_t layer, BlockSite site, const at::Tensor& x, at::Tensor y,
                     std::span<const BlockCodes> earlier, BlockSiteTape* tape, at::Tensor* code) const;
  struct Gradient {
    at::Tensor y;  // of the linear layer's output
    at::Tensor x;  // what comes to the gradient of its input; undefined: nothing
  };
  // g: of what Forward returned.
  Gradient Backward(size_t layer, BlockSite site, const at::Tensor& g, const BlockSiteTape& tape, const RowOwners& rows,
                    GradientSink& sink) const;

  // For a copy: computes with the same slots of another buffer from now on.
  void Rebind(ParameterBuffer* parameters) { parameters_ = parameters; }

  const checkpoint::Blocks& config() const { return blocks_; }
  const std::vector<SlotId>& slots() const { return slots_; }

 private:
  // One bottleneck, or one low-rank update of `rows` rows of the layer's output from `first_row`.
  struct Part {
    int64_t first_row = 0, rows = 0;
    SlotId down = -1, down_bias = -1, up = -1, up_bias = -1;
    std::vector<SlotId> lateral;
  };
  struct PartPlan;

  TaskBlocks(const checkpoint::Blocks& blocks, Activation activation, ParameterBuffer* parameters)
      : blocks_(blocks), activation_(activation), parameters_(parameters) {}
  static std::vector<PartPlan> PlanLayer(const checkpoint::Blocks& blocks, const checkpoint::EncoderSizes& sizes);
  const std::vector<Part>& Parts(size_t layer, BlockSite site) const;
  at::Tensor Bottleneck(const Part& part, size_t place, at::Tensor y, std::span<const BlockCodes> earlier,
                        BlockSiteTape* tape, at::Tensor* code) const;
  Gradient BottleneckGradient(const Part& part, const at::Tensor& g, const BlockSiteTape& tape, const RowOwners& rows,
                              GradientSink& sink) const;

  checkpoint::Blocks blocks_;
  Activation activation_;
  ParameterBuffer* parameters_;
  std::vector<std::array<std::vector<Part>, kBlockSites>> layers_;
  std::vector<SlotId> slots_;
};

// One pass of the encoder with a task's blocks. A pointer to it goes down the layers; none: the encoder alone.
class BlockPass {
 public:
  // All must outlive the pass. `tape` (resized) and `codes` may be null.
  BlockPass(const TaskBlocks& blocks, size_t layers, std::span<const BlockCodes> earlier,
            std::vector<BlockSiteTape>* tape, BlockCodes* codes);

  bool At(BlockSite site) const { return blocks_.At(site); }
  // `y`, changed where the task has blocks there.
  at::Tensor Apply(size_t layer, BlockSite site, const at::Tensor& x, at::Tensor y) const;

 private:
  const TaskBlocks& blocks_;
  const std::span<const BlockCodes> earlier_;
  std::vector<BlockSiteTape>* const tape_;
  BlockCodes* const codes_;
};

}  // namespace engram::nn
