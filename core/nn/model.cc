#include "core/nn/model.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "core/nn/encoder.h"
#include "core/nn/heads.h"
#include "core/nn/initialize.h"

namespace engram::nn {

struct Tape {
  Encoder::TapeState encoder;
  HeadChain::TapeState head;
  std::string task;
};

namespace {

absl::Status CheckConfig(const EncoderConfig& config) {
  const auto positive = [](const char* name, int64_t value) {
    return value > 0 ? absl::OkStatus() : InvalidField(name, absl::StrCat("must be positive, is ", value));
  };
  ENGRAM_RETURN_IF_ERROR(positive("vocab_size", config.vocab_size));
  ENGRAM_RETURN_IF_ERROR(positive("hidden_size", config.hidden_size));
  ENGRAM_RETURN_IF_ERROR(positive("num_hidden_layers", config.layers));
  ENGRAM_RETURN_IF_ERROR(positive("num_attention_heads", config.heads));
  ENGRAM_RETURN_IF_ERROR(positive("intermediate_size", config.intermediate_size));
  ENGRAM_RETURN_IF_ERROR(positive("max_position_embeddings", config.max_length()));
  if (config.hidden_size % config.heads != 0) {
    return InvalidField("num_attention_heads",
                        absl::StrCat(config.heads, " does not divide hidden_size ", config.hidden_size));
  }
  return absl::OkStatus();
}

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
  const std::map<std::string, HeadConfig>& heads() const override { return heads_; }
  std::vector<SlotId> EncoderSlots() const override { return encoder_.slots(); }
  std::vector<SlotId> HeadSlots(const std::string& task) const override { return chains_.at(task).slots(); }

  void PackForInference() override { encoder_.PackForInference(); }

  at::Tensor Encode(const PackedBatch& batch, const std::optional<TrainingMode>& mode, Tape* tape) const override {
    return encoder_.Forward(batch, mode, tape != nullptr ? &tape->encoder : nullptr);
  }
  at::Tensor Head(const std::string& task, const at::Tensor& hidden, const PackedBatch& batch, const at::Tensor& rows,
                  const std::optional<TrainingMode>& mode, Tape* tape) const override {
    if (tape != nullptr) tape->task = task;
    return chains_.at(task).Forward(hidden, batch, rows, mode, tape != nullptr ? &tape->head : nullptr);
  }
  void Backward(const at::Tensor& grad_logits, const Tape& tape, GradientSink& sink) const override {
    encoder_.Backward(chains_.at(tape.task).Backward(grad_logits, tape.head, sink), tape.encoder, sink);
    sink.EndBatch();
  }
  void Backward(const at::Tensor& grad_logits, Tape&& tape, GradientSink& sink) const override {
    at::Tensor gradient = chains_.at(tape.task).Backward(grad_logits, tape.head, sink);
    tape.head = {};
    encoder_.Backward(std::move(gradient), std::move(tape.encoder), sink);
    sink.EndBatch();
  }

 private:
  EncoderConfig config_;
  std::unique_ptr<ParameterBuffer> parameters_;
  Encoder encoder_;
  std::map<std::string, HeadConfig> heads_;
  std::map<std::string, HeadChain> chains_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Model>> Model::Create(const EncoderConfig& config, at::Device device,
                                                     Precision precision) {
  ENGRAM_RETURN_IF_ERROR(CheckConfig(config));
  auto parameters = std::make_unique<ParameterBuffer>(device, precision);
  ENGRAM_ASSIGN_OR_RETURN(Encoder encoder, Encoder::Create(config, parameters.get()));
  return std::make_unique<ModelImpl>(config, std::move(parameters), std::move(encoder));
}

std::shared_ptr<Tape> Model::NewTape() { return std::make_shared<Tape>(); }

}  // namespace engram::nn
