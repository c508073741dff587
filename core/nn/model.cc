#include "core/nn/model.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/nn/encoder.h"
#include "core/nn/heads.h"
#include "core/nn/initialize.h"

namespace engram::nn {

struct Tape {
  struct Head {
    std::string task;
    size_t pass = 0;  // which of `passes` its hidden states came from
    HeadChain::TapeState state;
  };
  std::vector<Encoder::TapeState> passes;
  std::vector<Head> heads;  // one for each query
};

namespace {

class ModelImpl final : public Model {
 public:
  ModelImpl(const EncoderConfig& config, std::unique_ptr<ParameterBuffer> parameters, Encoder encoder)
      : config_(config), parameters_(std::move(parameters)), encoder_(std::move(encoder)) {}

  const EncoderConfig& config() const override { return config_; }
  ParameterBuffer& parameters() override { return *parameters_; }
  const ParameterBuffer& parameters() const override { return *parameters_; }

  void InitializeEncoder(uint64_t seed) override {
    InitializeSlots(encoder_.slots(), config_.initializer_range, seed, *parameters_);
  }

  absl::Status AddHead(const std::string& task, const HeadConfig& head, uint64_t seed) override {
    if (heads_.contains(task)) return absl::AlreadyExistsError(absl::StrCat("task ", task, " has a head already"));
    ENGRAM_ASSIGN_OR_RETURN(HeadChain chain, HeadChain::Create(task, head, config_, encoder_, parameters_.get(), seed));
    heads_.emplace(task, head).first->second.blocks = {};
    chains_.emplace(task, std::move(chain));
    if (head.blocks.kind == checkpoint::BlocksKind::kNone) return absl::OkStatus();
    if (!blocks_.contains(task)) return AddBlocks(task, head.blocks, seed);
    heads_.at(task).blocks = head.blocks;
    return absl::OkStatus();
  }
  absl::Status AddBlocks(const std::string& task, const checkpoint::Blocks& blocks, uint64_t seed) override {
    const auto head = heads_.find(task);
    if (head == heads_.end()) return absl::NotFoundError(absl::StrCat("task ", task, " has no head"));
    if (blocks_.contains(task)) return absl::AlreadyExistsError(absl::StrCat("task ", task, " has blocks already"));
    std::vector<const TaskBlocks*> earlier;
    for (const std::string& name : blocks.earlier) {
      const auto column = blocks_.find(name);
      if (column == blocks_.end()) return absl::NotFoundError(absl::StrCat("task ", name, " has no blocks"));
      earlier.push_back(&column->second);
    }
    ENGRAM_ASSIGN_OR_RETURN(TaskBlocks made,
                            TaskBlocks::Create(task, blocks, config_, earlier, parameters_.get(), seed));
    blocks_.emplace(task, std::move(made));
    head->second.blocks = blocks;
    return absl::OkStatus();
  }
  absl::Status ReplaceHead(const std::string& task, const HeadConfig& head, uint64_t seed) override {
    const auto known = chains_.find(task);
    if (known == chains_.end()) return absl::NotFoundError(absl::StrCat("task ", task, " has no head"));
    const auto blocks = blocks_.find(task);
    if (blocks != blocks_.end() && blocks->second.config() != head.blocks) {
      for (const auto& [other, config] : heads_) {
        if (std::find(config.blocks.earlier.begin(), config.blocks.earlier.end(), task) == config.blocks.earlier.end())
          continue;
        return absl::FailedPreconditionError(
            absl::StrCat("the column of task ", other, " stands on that of ", task, ", which has to stay"));
      }
      parameters_->Retire(blocks->second.slots());
      blocks_.erase(blocks);
    }
    parameters_->Retire(known->second.slots());
    chains_.erase(known);
    heads_.erase(task);
    return AddHead(task, head, seed);
  }
  const std::map<std::string, HeadConfig>& heads() const override { return heads_; }
  std::vector<SlotId> EncoderSlots() const override { return encoder_.slots(); }
  std::vector<SlotId> HeadSlots(const std::string& task) const override {
    std::vector<SlotId> slots = chains_.at(task).slots();
    if (const auto blocks = blocks_.find(task); blocks != blocks_.end())
      slots.insert(slots.end(), blocks->second.slots().begin(), blocks->second.slots().end());
    return slots;
  }

  void PackForInference() override { encoder_.PackForInference(); }

  at::Tensor Encode(const PackedBatch& batch, const std::optional<TrainingMode>& mode, Tape* tape) const override {
    if (tape != nullptr) tape->passes.assign(1, {});
    return encoder_.Forward(batch, mode, tape != nullptr ? &tape->passes.front() : nullptr);
  }
  std::vector<at::Tensor> Predict(const PackedBatch& batch, std::span<const TaskQuery> queries,
                                  const std::optional<TrainingMode>& mode, Tape* tape) const override {
    if (tape != nullptr) {
      tape->passes.clear();
      tape->heads.assign(queries.size(), {});
    }
    std::vector<at::Tensor> logits(queries.size());
    for (const auto& [of_task, members] : Passes(queries)) {
      if (tape != nullptr) tape->passes.emplace_back();
      const at::Tensor hidden =
          encoder_.Forward(batch, mode, tape != nullptr ? &tape->passes.back() : nullptr, ColumnsOf(of_task));
      for (const size_t i : members) {
        HeadChain::TapeState* state = nullptr;
        if (tape != nullptr) {
          tape->heads[i].task = queries[i].task;
          tape->heads[i].pass = tape->passes.size() - 1;
          state = &tape->heads[i].state;
        }
        logits[i] = chains_.at(queries[i].task).Forward(hidden, batch, queries[i].rows, mode, state);
      }
    }
    return logits;
  }
  void Backward(std::span<const HeadGradient> gradients, const Tape& tape, GradientSink& sink) const override {
    std::vector<at::Tensor> hidden = HeadsBackward(gradients, tape, sink);
    for (size_t pass = 0; pass < hidden.size(); ++pass)
      if (hidden[pass].defined()) encoder_.Backward(std::move(hidden[pass]), tape.passes[pass], sink);
    sink.EndBatch();
  }
  void Backward(std::span<const HeadGradient> gradients, Tape&& tape, GradientSink& sink) const override {
    std::vector<at::Tensor> hidden = HeadsBackward(gradients, tape, sink);
    tape.heads.clear();
    for (size_t pass = 0; pass < hidden.size(); ++pass)
      if (hidden[pass].defined()) encoder_.Backward(std::move(hidden[pass]), std::move(tape.passes[pass]), sink);
    sink.EndBatch();
  }

  std::unique_ptr<Model> Clone() const override {
    auto parameters = std::make_unique<ParameterBuffer>(*parameters_);
    auto copy = std::make_unique<ModelImpl>(config_, std::move(parameters), encoder_);
    copy->encoder_.Rebind(copy->parameters_.get());
    copy->heads_ = heads_;
    for (const auto& [task, chain] : chains_) {
      copy->chains_.emplace(task, chain).first->second.Rebind(copy->parameters_.get());
    }
    for (const auto& [task, blocks] : blocks_)
      copy->blocks_.emplace(task, blocks).first->second.Rebind(copy->parameters_.get());
    return copy;
  }

 private:
  // The queries by the pass that answers them: those of tasks without blocks under "", the others by their task.
  std::map<std::string, std::vector<size_t>> Passes(std::span<const TaskQuery> queries) const {
    std::map<std::string, std::vector<size_t>> passes;
    if (queries.empty()) passes[""];
    for (size_t i = 0; i < queries.size(); ++i)
      passes[blocks_.contains(queries[i].task) ? queries[i].task : ""].push_back(i);
    return passes;
  }
  // The task's blocks behind the columns that they read; none for "".
  std::vector<const TaskBlocks*> ColumnsOf(const std::string& task) const {
    std::vector<const TaskBlocks*> columns;
    if (task.empty()) return columns;
    const TaskBlocks& own = blocks_.at(task);
    for (const std::string& name : own.config().earlier) columns.push_back(&blocks_.at(name));
    columns.push_back(&own);
    return columns;
  }
  // The gradient of each pass's hidden states, [T, d], undefined where none of its heads takes part: the heads' shares
  // added in the order of `gradients`.
  std::vector<at::Tensor> HeadsBackward(std::span<const HeadGradient> gradients, const Tape& tape,
                                        GradientSink& sink) const {
    std::vector<at::Tensor> hidden_of(tape.passes.size());
    for (const HeadGradient& gradient : gradients) {
      const Tape::Head& head = tape.heads.at(gradient.query);
      at::Tensor& hidden = hidden_of[head.pass];
      at::Tensor share = chains_.at(head.task).Backward(gradient.logits, head.state, sink);
      hidden = hidden.defined() ? hidden.add_(share) : std::move(share);
    }
    return hidden_of;
  }

  EncoderConfig config_;
  std::unique_ptr<ParameterBuffer> parameters_;
  Encoder encoder_;
  std::map<std::string, HeadConfig> heads_;
  std::map<std::string, HeadChain> chains_;
  std::map<std::string, TaskBlocks> blocks_;  // of the tasks that have any
};

}  // namespace

absl::StatusOr<std::unique_ptr<Model>> Model::Create(const EncoderConfig& config, at::Device device,
                                                     Precision precision) {
  ENGRAM_RETURN_IF_ERROR(CheckEncoderConfig(config));
  auto parameters = std::make_unique<ParameterBuffer>(device, precision);
  ENGRAM_ASSIGN_OR_RETURN(Encoder encoder, Encoder::Create(config, parameters.get()));
  return std::make_unique<ModelImpl>(config, std::move(parameters), std::move(encoder));
}

int64_t Model::EncoderElements() const {
  int64_t end = 0;
  for (const SlotId slot : EncoderSlots()) {
    const ParameterSlice& slice = parameters().slice(slot);
    end = std::max(end, slice.offset + slice.size);
  }
  return end;
}

at::Tensor Model::Predict(const PackedBatch& batch, const TaskQuery& query, const std::optional<TrainingMode>& mode,
                          Tape* tape) const {
  return Predict(batch, std::span(&query, 1), mode, tape).front();
}

void Model::Backward(const at::Tensor& grad_logits, const Tape& tape, GradientSink& sink) const {
  const HeadGradient gradient{0, grad_logits};
  Backward(std::span(&gradient, 1), tape, sink);
}

void Model::Backward(const at::Tensor& grad_logits, Tape&& tape, GradientSink& sink) const {
  const HeadGradient gradient{0, grad_logits};
  Backward(std::span(&gradient, 1), std::move(tape), sink);
}

std::shared_ptr<Tape> Model::NewTape() { return std::make_shared<Tape>(); }

}  // namespace engram::nn
