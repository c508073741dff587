#include "core/nn/model.h"

#include <algorithm>
#include <utility>

#include "ATen/ops/cat.h"
#include "ATen/ops/mm.h"
#include "absl/strings/str_cat.h"
#include "core/nn/encoder.h"
#include "core/nn/heads.h"
#include "core/nn/initialize.h"
#include "core/nn/text_windows.h"

namespace engram::nn {

namespace {

// What answers a task with a mask: its own encoder and head, in a buffer with its weights.
struct MaskedTask {
  MaskedTask(const ParameterBuffer& all, const Encoder& shared, const HeadChain& head)
      : parameters(all), encoder(shared), chain(head) {
    encoder.Rebind(&parameters);
    chain.Rebind(&parameters);
  }
  MaskedTask(const MaskedTask&) = delete;
  MaskedTask& operator=(const MaskedTask&) = delete;

  ParameterBuffer parameters;
  Encoder encoder;
  HeadChain chain;
};

}  // namespace

struct Tape {
  struct Head {
    std::string task;
    size_t pass = 0;  // which of `passes` its hidden states came from
    HeadChain::TapeState state;
  };
  // A batch of more windows than are held at once: what its groups are run again by.
  struct Groups {
    PackedBatch batch;
    std::vector<TaskQuery> queries;
    std::optional<TrainingMode> mode;
  };
  std::vector<Encoder::TapeState> passes;
  std::vector<std::shared_ptr<const MaskedTask>> masked;  // of each pass, null: the encoder that all share
  std::vector<Head> heads;                                // one for each query
  std::optional<Groups> groups;                           // in place of passes and heads
  at::Tensor shares;  // of windows in texts, [texts, windows]; undefined: each sequence is a text
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
    if (head.blocks.kind == checkpoint::BlocksKind::kMasked) {
      if (masks_.contains(task)) heads_.at(task).blocks = head.blocks;
      return absl::OkStatus();
    }
    if (!blocks_.contains(task)) return AddBlocks(task, head.blocks, seed);
    heads_.at(task).blocks = head.blocks;
    return absl::OkStatus();
  }
  absl::Status AddBlocks(const std::string& task, const checkpoint::Blocks& blocks, uint64_t seed) override {
    const auto head = heads_.find(task);
    if (head == heads_.end()) return absl::NotFoundError(absl::StrCat("task ", task, " has no head"));
    if (blocks_.contains(task) || masks_.contains(task))
      return absl::AlreadyExistsError(absl::StrCat("task ", task, " has blocks already"));
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
    if (head.blocks.kind != checkpoint::BlocksKind::kMasked) masks_.erase(task);
    packed_.erase(task);
    parameters_->Retire(known->second.slots());
    chains_.erase(known);
    heads_.erase(task);
    return AddHead(task, head, seed);
  }
  absl::Status SetMasks(at::Tensor update, std::map<std::string, TaskMask> masks) override {
    const int64_t size = EncoderElements();
    if (!masks.empty() &&
        (!update.defined() || update.scalar_type() != at::kFloat || update.dim() != 1 || update.numel() != size))
      return absl::InvalidArgumentError("the update is none of this encoder's weights");
    for (const auto& [task, mask] : masks) {
      if (!heads_.contains(task)) return absl::NotFoundError(absl::StrCat("task ", task, " has no head"));
      if (blocks_.contains(task)) return absl::AlreadyExistsError(absl::StrCat("task ", task, " has blocks already"));
      ENGRAM_RETURN_IF_ERROR(CheckMask(mask, size));
    }
    for (const auto& [task, mask] : masks_) heads_.at(task).blocks = {};
    update_ = masks.empty() ? at::Tensor() : update.to(parameters_->device());
    masks_ = std::move(masks);
    packed_.clear();
    for (const auto& [task, mask] : masks_) {
      checkpoint::Blocks& blocks = heads_.at(task).blocks;
      blocks.kind = checkpoint::BlocksKind::kMasked;
      blocks.scale = mask.scale;
    }
    return absl::OkStatus();
  }
  const std::map<std::string, TaskMask>& masks() const override { return masks_; }
  const at::Tensor& update() const override { return update_; }
  const std::map<std::string, HeadConfig>& heads() const override { return heads_; }
  std::vector<SlotId> EncoderSlots() const override { return encoder_.slots(); }
  std::vector<SlotId> HeadSlots(const std::string& task) const override {
    std::vector<SlotId> slots = chains_.at(task).slots();
    if (const auto blocks = blocks_.find(task); blocks != blocks_.end())
      slots.insert(slots.end(), blocks->second.slots().begin(), blocks->second.slots().end());
    return slots;
  }

  void PackForInference() override {
    encoder_.PackForInference();
    for (const auto& [task, mask] : masks_) {
      auto made = MakeMasked(task, mask);
      made->encoder.PackForInference();
      packed_[task] = std::move(made);
    }
  }

  at::Tensor Encode(const PackedBatch& batch, const std::optional<TrainingMode>& mode, Tape* tape) const override {
    if (tape != nullptr) tape->passes.assign(1, {});
    return encoder_.Forward(batch, mode, tape != nullptr ? &tape->passes.front() : nullptr);
  }
  std::vector<at::Tensor> Predict(const PackedBatch& batch, std::span<const TaskQuery> queries,
                                  const std::optional<TrainingMode>& mode, Tape* tape) const override {
    if (tape != nullptr) *tape = Tape();
    if (batch.host_cu_texts.empty()) return PredictSequences(batch, queries, mode, tape);
    const at::Tensor shares = TextShares(batch);
    std::vector<at::Tensor> logits = PredictWindows(batch, queries, mode, tape);
    for (size_t i = 0; i < queries.size(); ++i)
      if (OfTexts(queries[i].task)) logits[i] = at::mm(shares, logits[i]);
    if (tape != nullptr) tape->shares = shares;
    return logits;
  }
  void Backward(std::span<const HeadGradient> gradients, const Tape& tape, GradientSink& sink) const override {
    const std::vector<HeadGradient> own = OfSequences(gradients, tape);
    if (tape.groups) return GroupsBackward(own, *tape.groups, sink);
    std::vector<at::Tensor> hidden = HeadsBackward(own, tape, sink);
    for (size_t pass = 0; pass < hidden.size(); ++pass)
      if (hidden[pass].defined()) EncoderOf(tape, pass).Backward(std::move(hidden[pass]), tape.passes[pass], sink);
    sink.EndBatch();
  }
  void Backward(std::span<const HeadGradient> gradients, Tape&& tape, GradientSink& sink) const override {
    const std::vector<HeadGradient> own = OfSequences(gradients, tape);
    if (tape.groups) return GroupsBackward(own, *tape.groups, sink);
    SequencesBackward(own, std::move(tape), sink);
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
    copy->masks_ = masks_;
    copy->update_ = update_;
    return copy;
  }

 private:
  bool OfTexts(const std::string& task) const {
    return heads_.at(task).kind == checkpoint::TaskKind::kSequenceClassification;
  }
  // Logits of each sequence of the batch; the tape must be empty.
  std::vector<at::Tensor> PredictSequences(const PackedBatch& batch, std::span<const TaskQuery> queries,
                                           const std::optional<TrainingMode>& mode, Tape* tape) const {
    if (tape != nullptr) tape->heads.assign(queries.size(), {});
    std::vector<at::Tensor> logits(queries.size());
    for (const auto& [of_task, members] : Passes(queries)) {
      const std::shared_ptr<const MaskedTask> masked = MaskedOf(of_task);
      if (tape != nullptr) {
        tape->passes.emplace_back();
        tape->masked.push_back(masked);
      }
      const Encoder& encoder = masked ? masked->encoder : encoder_;
      const at::Tensor hidden =
          encoder.Forward(batch, mode, tape != nullptr ? &tape->passes.back() : nullptr, ColumnsOf(of_task));
      for (const size_t i : members) {
        HeadChain::TapeState* state = nullptr;
        if (tape != nullptr) {
          tape->heads[i].task = queries[i].task;
          tape->heads[i].pass = tape->passes.size() - 1;
          state = &tape->heads[i].state;
        }
        const HeadChain& chain = masked ? masked->chain : chains_.at(queries[i].task);
        logits[i] = chain.Forward(hidden, batch, queries[i].rows, mode, state);
      }
    }
    return logits;
  }
  // The same for windows of texts, group by group where there are many.
  std::vector<at::Tensor> PredictWindows(const PackedBatch& batch, std::span<const TaskQuery> queries,
                                         const std::optional<TrainingMode>& mode, Tape* tape) const {
    const std::vector<WindowGroup> groups = GroupWindows(batch, kWindowTokens);
    if (groups.size() == 1) return PredictSequences(batch, queries, mode, tape);
    std::vector<std::vector<at::Tensor>> parts(queries.size());
    for (size_t g = 0; g < groups.size(); ++g) {
      const PackedBatch part = Part(batch, groups[g].first, groups[g].count);
      const std::vector<at::Tensor> own = PredictSequences(part, queries, ModeOfGroup(mode, g), nullptr);
      for (size_t i = 0; i < queries.size(); ++i) parts[i].push_back(own[i]);
    }
    std::vector<at::Tensor> logits;
    for (const std::vector<at::Tensor>& own : parts) logits.push_back(at::cat(own));
    if (tape != nullptr) tape->groups = Tape::Groups{batch, {queries.begin(), queries.end()}, mode};
    return logits;
  }
  // Gradients by the logits of texts as those by the logits of their windows.
  std::vector<HeadGradient> OfSequences(std::span<const HeadGradient> gradients, const Tape& tape) const {
    std::vector<HeadGradient> own(gradients.begin(), gradients.end());
    if (!tape.shares.defined()) return own;
    for (HeadGradient& gradient : own) {
      const std::string& task =
          tape.groups ? tape.groups->queries.at(gradient.query).task : tape.heads.at(gradient.query).task;
      if (OfTexts(task)) gradient.logits = at::mm(tape.shares.t(), gradient.logits);
    }
    return own;
  }
  // Runs each group forward again, with the same dropout, and back.
  void GroupsBackward(std::span<const HeadGradient> gradients, const Tape::Groups& all, GradientSink& sink) const {
    std::vector<int64_t> rows(all.queries.size());  // of each query's logits, in the groups so far
    const std::vector<WindowGroup> groups = GroupWindows(all.batch, kWindowTokens);
    for (size_t g = 0; g < groups.size(); ++g) {
      Tape tape;
      const std::vector<at::Tensor> logits = PredictSequences(Part(all.batch, groups[g].first, groups[g].count),
                                                              all.queries, ModeOfGroup(all.mode, g), &tape);
      std::vector<HeadGradient> own;
      for (const HeadGradient& gradient : gradients) {
        own.push_back(
            {gradient.query, gradient.logits.narrow(0, rows[gradient.query], logits[gradient.query].size(0))});
      }
      SequencesBackward(own, std::move(tape), sink);
      for (size_t i = 0; i < rows.size(); ++i) rows[i] += logits[i].size(0);
    }
    sink.EndBatch();
  }
  void SequencesBackward(std::span<const HeadGradient> gradients, Tape&& tape, GradientSink& sink) const {
    std::vector<at::Tensor> hidden = HeadsBackward(gradients, tape, sink);
    tape.heads.clear();
    for (size_t pass = 0; pass < hidden.size(); ++pass)
      if (hidden[pass].defined())
        EncoderOf(tape, pass).Backward(std::move(hidden[pass]), std::move(tape.passes[pass]), sink);
  }
  // Null for a task without a mask, and for "".
  std::shared_ptr<const MaskedTask> MaskedOf(const std::string& task) const {
    if (const auto packed = packed_.find(task); packed != packed_.end()) return packed->second;
    const auto mask = masks_.find(task);
    return mask == masks_.end() ? nullptr : MakeMasked(task, mask->second);
  }
  std::shared_ptr<MaskedTask> MakeMasked(const std::string& task, const TaskMask& mask) const {
    auto made = std::make_shared<MaskedTask>(*parameters_, encoder_, chains_.at(task));
    const at::Tensor weights = made->parameters.weights().narrow(0, 0, EncoderElements());
    weights.copy_(ApplyMask(weights, update_, mask));
    made->parameters.RefreshCompute();
    return made;
  }
  const Encoder& EncoderOf(const Tape& tape, size_t pass) const {
    return tape.masked[pass] ? tape.masked[pass]->encoder : encoder_;
  }
  // The queries by the pass that answers them: those of tasks without blocks under "", the others by their task.
  std::map<std::string, std::vector<size_t>> Passes(std::span<const TaskQuery> queries) const {
    std::map<std::string, std::vector<size_t>> passes;
    if (queries.empty()) passes[""];
    for (size_t i = 0; i < queries.size(); ++i)
      passes[blocks_.contains(queries[i].task) || masks_.contains(queries[i].task) ? queries[i].task : ""].push_back(i);
    return passes;
  }
  // The task's blocks behind the columns that they read; none for "".
  std::vector<const TaskBlocks*> ColumnsOf(const std::string& task) const {
    std::vector<const TaskBlocks*> columns;
    if (!blocks_.contains(task)) return columns;
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
      const HeadChain& chain = tape.masked[head.pass] ? tape.masked[head.pass]->chain : chains_.at(head.task);
      at::Tensor share = chain.Backward(gradient.logits, head.state, sink);
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
  std::map<std::string, TaskMask> masks_;     // of the tasks that have one
  at::Tensor update_;                         // what those are masks of
  std::map<std::string, std::shared_ptr<const MaskedTask>> packed_;
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
