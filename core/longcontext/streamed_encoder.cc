#include "core/longcontext/streamed_encoder.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <utility>

#include "ATen/Parallel.h"
#include "ATen/TensorOperators.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/zeros.h"
#include "core/checkpoint/tensor_names.h"
#include "core/longcontext/attention_runs.h"
#include "core/longcontext/long_positions.h"
#include "core/nn/layers/pass.h"
#include "core/nn/layers/positions.h"
#include "core/nn/packed_batch.h"

namespace engram::longcontext {
namespace {

constexpr int64_t kMeasuredRows = 1024;  // of Measure
constexpr int64_t kMeasuredKeys = 8192;

const std::optional<nn::TrainingMode> kNoTraining;

nn::PackedBatch BatchOf(std::vector<int32_t> ids, const nn::PositionPlan& positions, at::Device device) {
  const nn::Sequence sequence{std::move(ids), {}, positions};
  absl::StatusOr<nn::PackedBatch> batch = nn::Pack(std::span<const nn::Sequence>(&sequence, 1), device);
  TORCH_CHECK(batch.ok(), "one sequence is no batch");
  return *std::move(batch);
}

double SecondsOf(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

// One text on its way.
class StreamedEncoder::Pass {
 public:
  Pass(const StreamedEncoder& encoder, std::span<const int32_t> ids, const StreamOptions& options)
      : encoder_(encoder),
        options_(options),
        config_(encoder.model_->config()),
        parameters_(encoder.model_->parameters()),
        batch_(BatchOf({ids.begin(), ids.end()}, options.positions, parameters_.device())),
        rotations_(nn::Rotations::Of(config_, batch_)),
        by_distance_(encoder.relative_.exists() ? encoder.relative_.ByDistance(parameters_) : at::Tensor()),
        tokens_(static_cast<int64_t>(ids.size())),
        total_(tokens_ * config_.layers) {}

  absl::StatusOr<at::Tensor> Run() {
    hidden_ = at::empty({tokens_, config_.hidden_size}, parameters_.compute().options());
    const bool whole = EachRun([&](int64_t begin, int64_t count, const nn::ForwardPass& pass) {
                         Rows(begin, count).copy_(encoder_.embedding_.ForwardRows(pass, begin, count));
                       }) &&
                       Layers() && FinalNorm();
    if (!whole) return absl::CancelledError("the client went away");
    return hidden_;
  }

 private:
  at::Tensor Rows(int64_t begin, int64_t count) const { return hidden_.narrow(0, begin, count); }
  // Of a layer's work attention is most where the text is long: that is what progress is counted by.
  bool GoesOn() const { return !options_.progress || options_.progress(done_, total_); }

  // Runs of rows, each with a pass of its own. False: the work is to end.
  template <typename Work>
  bool EachRun(const Work& work) {
    const int64_t size = StreamRowRun(parameters_.device().is_cpu());
    for (int64_t begin = 0; begin < tokens_; begin += size) {
      const int64_t count = std::min(size, tokens_ - begin);
      const std::optional<nn::Rotations> rotations =
          rotations_ ? std::optional(rotations_->Rows(begin, count)) : std::nullopt;
      work(begin, count,
           nn::ForwardPass{parameters_, batch_, kNoTraining, rotations ? &*rotations : nullptr, nullptr, false});
      if (!GoesOn()) return false;
    }
    return true;
  }

  bool Layers() {
    for (size_t l = 0; l < encoder_.layers_.size(); ++l) {
      if (!Layer(encoder_.layers_[l], StreamReach(config_, static_cast<int64_t>(l), options_.window))) return false;
    }
    return true;
  }

  bool Layer(const nn::Block& layer, int64_t reach) {
    nn::ops::AttentionShape shape = layer.attention_shape();
    shape.window = reach;
    // Queries become attention's output, which the feed-forward reads; keys and values are let go before it begins.
    const at::Tensor queries = at::empty({tokens_, shape.out_width()}, hidden_.options());
    if (!Attend(layer, shape, queries)) return false;
    return EachRun([&](int64_t begin, int64_t count, const nn::ForwardPass& pass) {
      const at::Tensor rows = Rows(begin, count);
      rows.copy_(layer.BehindAttention(rows, queries.narrow(0, begin, count), pass));
    });
  }

  bool Attend(const nn::Block& layer, const nn::ops::AttentionShape& shape, const at::Tensor& queries) {
    const int64_t width = shape.out_width(), keys = 2 * shape.key_width();
    AttentionRuns runs(shape, at::empty({tokens_, keys}, hidden_.options()), by_distance_);
    if (!EachRun([&](int64_t begin, int64_t count, const nn::ForwardPass& pass) {
          const at::Tensor qkv = layer.Project(Rows(begin, count), pass);
          queries.narrow(0, begin, count).copy_(qkv.narrow(1, 0, width));
          runs.keys().narrow(0, begin, count).copy_(qkv.narrow(1, width, keys));
        }))
      return false;
    const int64_t run = StreamQueryRun(config_, tokens_, shape.window);
    for (int64_t begin = 0; begin < tokens_; begin += run) {
      const int64_t count = std::min(run, tokens_ - begin);
      runs.Attend(queries, begin, count);
      done_ += count;
      if (!GoesOn()) return false;
    }
    return true;
  }

  bool FinalNorm() {
    if (!encoder_.final_norm_.exists()) return true;
    return EachRun([&](int64_t begin, int64_t count, const nn::ForwardPass& pass) {
      const at::Tensor rows = Rows(begin, count);
      rows.copy_(encoder_.final_norm_.Forward(rows, at::Tensor(), {}, pass).y);
    });
  }

  const StreamedEncoder& encoder_;
  const StreamOptions& options_;
  const nn::EncoderConfig& config_;
  const nn::ParameterBuffer& parameters_;
  const nn::PackedBatch batch_;
  const std::optional<nn::Rotations> rotations_;
  const at::Tensor by_distance_;
  const int64_t tokens_, total_;
  at::Tensor hidden_;
  int64_t done_ = 0;
};

StreamedEncoder::StreamedEncoder(const nn::Model& model)
    : model_(&model),
      embedding_(model.config()),
      final_norm_(model.config().family->block.norm, model.config().layer_norm_eps) {
  for (size_t l = 0; l < static_cast<size_t>(model.config().layers); ++l) layers_.emplace_back(model.config(), l);
  const std::vector<nn::SlotId> slots = model.EncoderSlots();
  size_t next = 0;
  for (const checkpoint::ExpectedTensor& tensor : checkpoint::EncoderTensors(model.config())) {
    if (tensor.role == checkpoint::TensorRole::kPooler) continue;  // the last ones, where the model has them
    const nn::SlotId slot = slots[next++];
    if (tensor.layer >= 0) {
      layers_[static_cast<size_t>(tensor.layer)].Append(tensor, slot);
    } else if (!embedding_.Append(tensor, slot) && !relative_.Append(tensor, slot)) {
      final_norm_.Append(tensor, slot);
    }
  }
}

absl::StatusOr<at::Tensor> StreamedEncoder::Forward(std::span<const int32_t> ids, const StreamOptions& options) const {
  ENGRAM_RETURN_IF_ERROR(CheckLength(model_->config(), options.positions, static_cast<int64_t>(ids.size())));
  return Pass(*this, ids, options).Run();
}

StreamSpeed StreamedEncoder::Measure() const {
  const nn::EncoderConfig& config = model_->config();
  const nn::ParameterBuffer& parameters = model_->parameters();
  const at::TensorOptions options = parameters.compute().options();
  const nn::Block& layer = layers_.front();
  nn::ops::AttentionShape shape = layer.attention_shape();
  shape.window = -1;
  shape.causal = false;  // of a causal text all runs but the first see most keys without a mask
  const nn::PackedBatch batch = BatchOf(std::vector<int32_t>(kMeasuredRows, 0), {}, parameters.device());
  const std::optional<nn::Rotations> rotations = nn::Rotations::Of(config, batch);
  const nn::ForwardPass pass{parameters, batch, kNoTraining, rotations ? &*rotations : nullptr, nullptr, false};
  const at::Tensor rows = at::zeros({kMeasuredRows, config.hidden_size}, options);
  const at::Tensor queries = at::zeros({kMeasuredRows, shape.out_width()}, options);
  AttentionRuns runs(shape, at::zeros({kMeasuredKeys, 2 * shape.key_width()}, options), at::Tensor());
  const int64_t run = std::min(kMeasuredRows, StreamQueryRun(config, kMeasuredKeys, -1));
  const auto linear = [&] {
    layer.Project(rows, pass);
    layer.BehindAttention(rows, queries, pass);
  };
  const auto attend = [&] { runs.Attend(queries, 0, run); };
  linear();
  attend();  // the first of each makes its kernels
  const auto per = [](double seconds, int64_t count) { return seconds / static_cast<double>(count); };
  return {per(SecondsOf(linear), kMeasuredRows), per(SecondsOf(attend), run * kMeasuredKeys)};
}

double StreamedEncoder::Seconds(int64_t tokens, int64_t window, const StreamSpeed& speed) const {
  return StreamSeconds(model_->config(), tokens, window, speed);
}

int64_t StreamedEncoder::PeakBytes(int64_t tokens, int64_t window) const {
  const nn::ParameterBuffer& parameters = model_->parameters();
  return StreamPeakBytes(model_->config(), parameters.compute().element_size(), at::get_num_threads(),
                         parameters.device().is_cpu(), tokens, window);
}

}  // namespace engram::longcontext
