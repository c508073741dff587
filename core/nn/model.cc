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
    HeadChain::TapeState state;
  };
  Encoder::TapeState encoder;
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
    heads_.emplace(task, head);
    chains_.emplace(task, std::move(chain));
    return absl::OkStatus();
  }
  absl::Status ReplaceHead(const std::string& task, const HeadConfig& head, uint64_t seed) override {
    const auto known = chains_.find(task);
    if (known == chains_.end()) return absl::NotFoundError(absl::StrCat("task ", task, " has no head"));
    parameters_->Retire(known->second.slots());
    chains_.erase(known);
    heads_.erase(task);
    return AddHead(task, head, seed);
  }
  const std::map<std::string, HeadConfig>& heads() const override { return heads_; }
  std::vector<SlotId> EncoderSlots() const override { return encoder_.slots(); }
  std::vector<SlotId> HeadSlots(const std::string& task) const override { return chains_.at(task).slots(); }

  void PackForInference() override { encoder_.PackForInference(); }

  at::Tensor Encode(const PackedBatch& batch, const std::optional<TrainingMode>& mode, Tape* tape) const override {
    return encoder_.Forward(batch, mode, tape != nullptr ? &tape->encoder : nullptr);
  }
  std::vector<at::Tensor> Predict(const PackedBatch& batch, std::span<const TaskQuery> queries,
                                  const std::optional<TrainingMode>& mode, Tape* tape) const override {
    const at::Tensor hidden = Encode(batch, mode, tape);
    if (tape != nullptr) tape->heads.assign(queries.size(), {});
    std::vector<at::Tensor> logits;
    for (size_t i = 0; i < queries.size(); ++i) {
      if (tape != nullptr) tape->heads[i].task = queries[i].task;
      logits.push_back(
          chains_.at(queries[i].task)
              .Forward(hidden, batch, queries[i].rows, mode, tape != nullptr ? &tape->heads[i].state : nullptr));
    }
    return logits;
  }
  void Backward(std::span<const HeadGradient> gradients, const Tape& tape, GradientSink& sink) const override {
    encoder_.Backward(HeadsBackward(gradients, tape, sink), tape.encoder, sink);
    sink.EndBatch();
  }
  void Backward(std::span<const HeadGradient> gradients, Tape&& tape, GradientSink& sink) const override {
    at::Tensor hidden = HeadsBackward(gradients, tape, sink);
    tape.heads.clear();
    encoder_.Backward(std::move(hidden), std::move(tape.encoder), sink);
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
    return copy;
  }

 private:
  // The gradient of the hidden states, [T, d]: the heads' shares added in the order of `gradients`.
  at::Tensor HeadsBackward(std::span<const HeadGradient> gradients, const Tape& tape, GradientSink& sink) const {
    at::Tensor hidden;
    for (const HeadGradient& gradient : gradients) {
      const Tape::Head& head = tape.heads.at(gradient.query);
      at::Tensor share = chains_.at(head.task).Backward(gradient.logits, head.state, sink);
      hidden = hidden.defined() ? hidden.add_(share) : std::move(share);
    }
    return hidden;
  }

  EncoderConfig config_;
  std::unique_ptr<ParameterBuffer> parameters_;
  Encoder encoder_;
  std::map<std::string, HeadConfig> heads_;
  std::map<std::string, HeadChain> chains_;
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
