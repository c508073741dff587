#include "core/longcontext/streamed_encoder.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <tuple>

#include "ATen/TensorOperators.h"
#include "ATen/ops/_scaled_dot_product_flash_attention.h"
#include "ATen/ops/_scaled_dot_product_flash_attention_for_cpu.h"
#include "ATen/ops/arange.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/zeros.h"
#include "absl/strings/str_cat.h"
#include "core/nn/ops/embedding/embedding.h"
#include "core/nn/ops/layer_norm/layer_norm.h"
#include "core/nn/ops/linear/linear.h"
#include "core/nn/packed_batch.h"

namespace engram::longcontext {
namespace {

namespace ops = nn::ops;

constexpr int64_t kRowRun = 4096;        // rows of a run through linear layers
constexpr int64_t kMostQueries = 768;    // of a run of queries; libtorch's kernel takes 256 of them at a time
constexpr int64_t kFewQueries = 192;     // where the keys are so many that a run of 768 would take seconds
constexpr double kRunOperations = 1e11;  // of a run of queries, at most where that leaves kFewQueries
constexpr int64_t kMeasuredRows = 2048;  // of Measure
constexpr int64_t kMeasuredKeys = 8192;
constexpr int64_t kFloatBytes = 4;

// Query, key and value of one layer, [L, 3d], as heads: [1, heads, count, head_dim] of the rows from `begin` on.
at::Tensor Heads(const at::Tensor& qkv, int64_t which, int64_t heads, int64_t begin, int64_t count) {
  const int64_t d = qkv.size(1) / 3;
  return qkv.narrow(0, begin, count).narrow(1, which * d, d).view({1, count, heads, d / heads}).transpose(1, 2);
}

// mask: undefined, or additive [queries, keys]. The kernels are called by name: where they cannot serve, they throw, and
// no other one takes their place unseen.
at::Tensor Flash(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& mask) {
  at::Tensor out;
  if (q.is_cpu()) {
    out = std::get<0>(at::_scaled_dot_product_flash_attention_for_cpu(
        q, k, v, 0.0, false, mask.defined() ? std::optional<at::Tensor>(mask) : std::nullopt));
  } else {
    TORCH_CHECK(!mask.defined(), "sliding windows are computed on the CPU alone");
    out = std::get<0>(at::_scaled_dot_product_flash_attention(q, k, v));
  }
  return out.transpose(1, 2).reshape({q.size(2), q.size(1) * q.size(3)});
}

int64_t QueryRun(int64_t keys, int64_t width) {
  const double operations = 4.0 * static_cast<double>(keys) * static_cast<double>(width * kMostQueries);
  return operations <= kRunOperations ? kMostQueries : kFewQueries;
}

// 0 where |i - j| <= window, else -infinity, for queries from `query` on and keys from `key` on.
at::Tensor BandMask(int64_t query, int64_t queries, int64_t key, int64_t keys, int64_t window,
                    const at::TensorOptions& options) {
  const at::TensorOptions index = options.dtype(at::kLong);
  const at::Tensor distance =
      at::arange(query, query + queries, index).unsqueeze(1) - at::arange(key, key + keys, index);
  at::Tensor mask = at::zeros({queries, keys}, options);
  return mask.masked_fill_(distance.abs() > window, -std::numeric_limits<double>::infinity());
}

// Attention of the queries [begin, begin + count) of one sequence: [count, d].
at::Tensor Attend(const at::Tensor& qkv, int64_t heads, int64_t begin, int64_t count, int64_t window) {
  const int64_t tokens = qkv.size(0);
  const int64_t first = window == 0 ? 0 : std::max<int64_t>(0, begin - window);
  const int64_t last = window == 0 ? tokens : std::min(tokens, begin + count + window);
  at::Tensor mask;
  if (window != 0 && (first < begin + count - 1 - window || last > begin + window + 1))
    mask = BandMask(begin, count, first, last - first, window, qkv.options());
  return Flash(Heads(qkv, 0, heads, begin, count), Heads(qkv, 1, heads, first, last - first),
               Heads(qkv, 2, heads, first, last - first), mask);
}

double SecondsOf(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

absl::StatusOr<StreamedEncoder> StreamedEncoder::Create(const nn::Model& model) {
  StreamedEncoder encoder(model);
  encoder.layers_.resize(static_cast<size_t>(model.config().layers));
  const std::vector<nn::SlotId> slots = model.EncoderSlots();
  size_t next = 0;
  for (const checkpoint::ExpectedTensor& tensor : checkpoint::EncoderTensors(model.config())) {
    if (tensor.role == checkpoint::TensorRole::kPooler) continue;
    if (next == slots.size()) break;
    encoder.Place(tensor, model.parameters(), slots[next++]);
  }
  if (model.config().family->is_bert_block() && encoder.complete()) return encoder;
  return absl::FailedPreconditionError(
      absl::StrCat("models of the type ", model.config().family->model_type,
                   " have no full attention beyond their window here: use the mode chunk or late"));
}

void StreamedEncoder::Place(const checkpoint::ExpectedTensor& tensor, const nn::ParameterBuffer& parameters,
                            nn::SlotId slot) {
  using Role = checkpoint::TensorRole;
  const at::Tensor own = parameters.Compute(slot);
  const auto choose = [&](at::Tensor& weight, at::Tensor& bias) { (tensor.bias ? bias : weight) = own; };
  Layer of_no_layer;
  Layer& layer = tensor.layer < 0 ? of_no_layer : layers_[static_cast<size_t>(tensor.layer)];
  switch (tensor.role) {
    case Role::kWordEmbeddings:
      word_ = own;
      break;
    case Role::kPositionEmbeddings:
      position_ = own.narrow(0, config_.first_position(), config_.max_length());
      break;
    case Role::kTypeEmbeddings:
      type_ = own;
      break;
    case Role::kEmbeddingNorm:
      return choose(embedding_gamma_, embedding_beta_);
    case Role::kQuery:  // key and value lie behind it
      (tensor.bias ? layer.qkv_bias : layer.qkv_weight) = parameters.ComputeStacked(slot, 3);
      break;
    case Role::kAttentionOutput:
      return choose(layer.attention_weight, layer.attention_bias);
    case Role::kAttentionNorm:
      return choose(layer.attention_gamma, layer.attention_beta);
    case Role::kIntermediate:
      return choose(layer.intermediate_weight, layer.intermediate_bias);
    case Role::kOutput:
      return choose(layer.output_weight, layer.output_bias);
    case Role::kOutputNorm:
      return choose(layer.output_gamma, layer.output_beta);
    default:
      break;
  }
}

bool StreamedEncoder::complete() const {
  const auto all = [](std::initializer_list<at::Tensor> tensors) {
    return std::all_of(tensors.begin(), tensors.end(), [](const at::Tensor& tensor) { return tensor.defined(); });
  };
  return all({word_, position_, embedding_gamma_, embedding_beta_}) &&
         std::all_of(layers_.begin(), layers_.end(), [&](const Layer& l) {
           return all({l.qkv_weight, l.qkv_bias, l.attention_weight, l.attention_bias, l.attention_gamma,
                       l.attention_beta, l.intermediate_weight, l.intermediate_bias, l.output_weight, l.output_bias,
                       l.output_gamma, l.output_beta});
         });
}

at::Tensor StreamedEncoder::Embed(std::span<const int32_t> ids, nn::PositionExtension positions, int64_t begin,
                                  int64_t end) const {
  nn::Sequence run;
  run.ids.assign(ids.begin() + begin, ids.begin() + end);
  absl::StatusOr<nn::PackedBatch> batch = nn::Pack(std::span<const nn::Sequence>(&run, 1), word_.device());
  TORCH_CHECK(batch.ok(), "a run of rows is no batch");
  const at::Tensor rows =
      nn::ExtendedPositions(position_, positions, static_cast<int64_t>(ids.size()), begin, end).contiguous();
  const at::Tensor sum = ops::EmbeddingSum(*batch, word_, type_, rows, /*first_position=*/0);
  return ops::AddLayerNorm(sum, at::Tensor(), {}, embedding_gamma_, embedding_beta_, config_.layer_norm_eps, false).y;
}

at::Tensor StreamedEncoder::FeedForward(const Layer& l, const at::Tensor& attention, const at::Tensor& input) const {
  const double eps = config_.layer_norm_eps;
  const at::Tensor attended = ops::AddLayerNorm(ops::Linear(attention, l.attention_weight, l.attention_bias), input, {},
                                                l.attention_gamma, l.attention_beta, eps, false)
                                  .y;
  const at::Tensor activated =
      ops::LinearActivation(attended, l.intermediate_weight, l.intermediate_bias, config_.activation, nullptr);
  return ops::AddLayerNorm(ops::Linear(activated, l.output_weight, l.output_bias), attended, {}, l.output_gamma,
                           l.output_beta, eps, false)
      .y;
}

absl::StatusOr<at::Tensor> StreamedEncoder::Forward(std::span<const int32_t> ids, const StreamOptions& options) const {
  const auto tokens = static_cast<int64_t>(ids.size());
  const int64_t longest = nn::LongestExtended(options.positions, position_.size(0));
  if (tokens > longest) {
    return InvalidField("positions", absl::StrCat(AbslView(nn::PositionExtensionName(options.positions)), " makes ",
                                                  longest, " positions of this model's; the text has ", tokens,
                                                  " tokens: use tiled, grouped, interpolated, or the mode chunk"));
  }
  // Of a layer's work attention is most where the text is long: that is what progress is counted by.
  int64_t done = 0;
  const int64_t total = tokens * config_.layers;
  const auto goes_on = [&] { return !options.progress || options.progress(done, total); };
  const auto cancelled = [] { return absl::CancelledError("the client went away"); };
  const auto runs = [tokens](int64_t size, const std::function<bool(int64_t, int64_t)>& run) {
    for (int64_t begin = 0; begin < tokens; begin += size) {
      if (!run(begin, std::min(size, tokens - begin))) return false;
    }
    return true;
  };
  const int64_t d = config_.hidden_size;
  at::Tensor hidden = at::empty({tokens, d}, word_.options());
  if (!runs(kRowRun, [&](int64_t begin, int64_t count) {
        hidden.narrow(0, begin, count).copy_(Embed(ids, options.positions, begin, begin + count));
        return goes_on();
      }))
    return cancelled();
  const int64_t query_run = options.window == 0 ? QueryRun(tokens, d) : std::max<int64_t>(options.window, kFewQueries);
  for (const Layer& layer : layers_) {
    at::Tensor attention = at::empty({tokens, d}, word_.options());
    at::Tensor qkv = at::empty({tokens, 3 * d}, word_.options());
    if (!runs(kRowRun, [&](int64_t begin, int64_t count) {
          qkv.narrow(0, begin, count)
              .copy_(ops::Linear(hidden.narrow(0, begin, count), layer.qkv_weight, layer.qkv_bias));
          return goes_on();
        }))
      return cancelled();
    if (!runs(query_run, [&](int64_t begin, int64_t count) {
          attention.narrow(0, begin, count).copy_(Attend(qkv, config_.heads, begin, count, options.window));
          done += count;
          return goes_on();
        }))
      return cancelled();
    qkv.reset();
    if (!runs(kRowRun, [&](int64_t begin, int64_t count) {
          const at::Tensor input = hidden.narrow(0, begin, count);
          input.copy_(FeedForward(layer, attention.narrow(0, begin, count), input));
          return goes_on();
        }))
      return cancelled();
  }
  return hidden;
}

StreamSpeed StreamedEncoder::Measure() const {
  const int64_t d = config_.hidden_size;
  const Layer& layer = layers_.front();
  const at::Tensor rows = at::zeros({kMeasuredRows, d}, word_.options());
  const at::Tensor qkv = at::zeros({kMeasuredKeys, 3 * d}, word_.options());
  const auto linear = [&] {
    ops::Linear(rows, layer.qkv_weight, layer.qkv_bias);
    FeedForward(layer, rows, rows);
  };
  const auto attend = [&] { Attend(qkv, config_.heads, 0, kMostQueries, 0); };
  linear();
  attend();  // the first of each makes its kernels
  const auto per = [](double seconds, int64_t count) { return seconds / static_cast<double>(count); };
  return {per(SecondsOf(linear), kMeasuredRows), per(SecondsOf(attend), kMostQueries * kMeasuredKeys)};
}

double StreamedEncoder::Seconds(int64_t tokens, int64_t window, const StreamSpeed& speed) const {
  // A window's run of queries is multiplied with all keys that any of them sees.
  const int64_t run = std::max(window, kFewQueries);
  const auto keys = static_cast<double>(window == 0 ? tokens : std::min(tokens, run + 2 * window));
  const auto rows = static_cast<double>(tokens);
  return static_cast<double>(config_.layers) * rows * (speed.per_row + keys * speed.per_pair);
}

int64_t StreamedEncoder::BytesPerRow() const {
  // hidden, query, key, value, attention; and the kernel's logsumexp and packed keys and values are of a run or smaller.
  return 5 * config_.hidden_size * word_.element_size();
}

int64_t StreamedEncoder::FixedBytes(int64_t window) const {
  const int64_t d = config_.hidden_size, size = word_.element_size();
  // The feed-forward's run stands beside hidden and attention alone, an attention's run beside query, key and value.
  const int64_t linear = kRowRun * (4 * d + 2 * config_.intermediate_size) * size;
  const int64_t queries = window == 0 ? kMostQueries : std::max(window, kFewQueries);
  const int64_t attention = queries * (2 * d * size + config_.heads * kFloatBytes);
  const int64_t mask = window == 0 ? 0 : queries * (queries + 2 * window) * (size + 2 * 8 + 1);
  return std::max(linear, attention + mask);
}

int64_t StreamedEncoder::PeakBytes(int64_t tokens, int64_t window) const {
  return tokens * BytesPerRow() + FixedBytes(window);
}

}  // namespace engram::longcontext
