#include "core/longcontext/stream_cost.h"

#include <algorithm>

#include "core/nn/layers/relative_positions.h"

namespace engram::longcontext {
namespace {

constexpr int64_t kFloatBytes = 4;
constexpr int64_t kMostQueries = 768, kQueryBlock = 256;  // libtorch's kernel takes 256 of at least 768 at a time
constexpr int64_t kFewQueries = 192;     // where the keys are so many that a run of 768 would take seconds
constexpr double kRunOperations = 1e11;  // of a run of queries, at most where that leaves kFewQueries

bool Causal(const nn::EncoderConfig& config) { return config.family->block.causal; }

// Keys that a run of queries is multiplied with, on average.
double KeysOf(const nn::EncoderConfig& config, int64_t tokens, int64_t reach) {
  const int64_t run = std::min(tokens, StreamQueryRun(config, tokens, reach));
  if (reach < 0) return Causal(config) ? 0.5 * static_cast<double>(tokens + run) : static_cast<double>(tokens);
  return static_cast<double>(std::min(tokens, run + (Causal(config) ? 1 : 2) * reach));
}

// Numbers of one row of a run that are held at once before and behind attention.
struct RowNumbers {
  int64_t before = 0, behind = 0;
};
RowNumbers NumbersOf(const nn::EncoderConfig& config) {
  const checkpoint::BlockSpec& block = config.family->block;
  const int64_t d = config.hidden_size, queries = config.query_width(), keys = config.key_width();
  const int64_t inner = config.intermediate_size;
  // A root mean square is taken of a copy, its square and its quotient.
  const int64_t norm = block.norm == checkpoint::NormKind::kRmsNorm ? 2 : 0;
  RowNumbers numbers;
  numbers.before = std::max(queries + 2 * keys + (block.pre_norm ? d : 0), (1 + norm) * d);
  if (config.family->names.query_norm != nullptr) numbers.before += (2 + norm) * queries;
  // Attention's projected output, the sum with its residual, and with a norm before it what the feed-forward reads; then
  // its inner rows, which an activation does not take the place of, or those and the layer's output.
  const int64_t read = (block.pre_norm ? 3 : 2) * d;
  numbers.behind = read + std::max((block.gated ? 4 : 2) * inner, (block.gated ? 3 : 1) * inner + 2 * d);
  return numbers;
}

int64_t RotationBytes(const nn::EncoderConfig& config) {
  int64_t bytes = 0;
  if (!config.family->rotary()) return 0;
  for (const checkpoint::Rope& rope : config.ropes) bytes += rope.width() * kFloatBytes;
  return bytes;
}

// What plain ATen holds under a mask (attention_runs.h): scores and their shares in fp32, and these as numbers of v.
int64_t PlainBytes(const nn::EncoderConfig& config, int64_t element, bool on_cpu, int64_t run, int64_t seen) {
  return on_cpu ? 0 : config.key_heads() * run * seen * (2 * kFloatBytes + element);
}

// What the attention of one layer holds beside query, key and value.
int64_t AttentionBytes(const nn::EncoderConfig& config, int64_t element, int64_t threads, bool on_cpu, int64_t tokens,
                       int64_t reach) {
  const int64_t run = std::min(tokens, StreamQueryRun(config, tokens, reach)), keys = config.key_width();
  // The kernel takes queries and keys in blocks.
  const int64_t block = run >= 768 ? 256 : run >= 192 ? 64 : 32;
  const int64_t scores = block * (512 + config.head_width() + 2) * kFloatBytes * threads;
  const int64_t out = run * (keys * element + config.key_heads() * kFloatBytes);
  if (config.family->names.relative_positions != nullptr) {
    // A mask of all heads around the queries, and what is put together from up to three parts.
    const int64_t near = std::min(tokens, run + 2 * (reach < 0 ? nn::RelativePositions::kFarthest : reach));
    const int64_t parts = reach >= 0 || near == tokens ? 1 : 3;
    return scores + config.heads * run * near * element + PlainBytes(config, element, on_cpu, run, near) + parts * out +
           (parts > 1 ? 2 * run * keys * kFloatBytes : 0);
  }
  if (reach < 0) return scores + (Causal(config) && tokens > run ? 2 * out + 2 * run * keys * kFloatBytes : out);
  const int64_t seen = std::min(tokens, run + (Causal(config) ? 1 : 2) * reach);
  return scores + out + run * seen * element + PlainBytes(config, element, on_cpu, run, seen);
}

}  // namespace

int64_t StreamReach(const nn::EncoderConfig& config, int64_t layer, int64_t window) {
  const int64_t own = config.window(layer);
  if (window <= 0 || own < 0) return window > 0 ? window : own;
  return std::min(own, window);
}

int64_t StreamRowRun(bool on_cpu) { return on_cpu ? 1024 : 8192; }

int64_t StreamQueryRun(const nn::EncoderConfig& config, int64_t tokens, int64_t reach) {
  // Where distances raise the scores, a mask is of all heads.
  if (config.family->names.relative_positions != nullptr) return kFewQueries;
  if (reach >= 0) return std::clamp(reach, kFewQueries, kMostQueries);
  const double operations =
      4.0 * static_cast<double>(tokens) * static_cast<double>(config.query_width() * kMostQueries);
  if (operations > kRunOperations) return kFewQueries;
  // Runs of like size: the kernel takes fewer than 768 queries in smaller blocks, which a short last run would be.
  const int64_t runs = std::max<int64_t>(1, tokens / kMostQueries);
  return (tokens + runs * kQueryBlock - 1) / (runs * kQueryBlock) * kQueryBlock;
}

double StreamSeconds(const nn::EncoderConfig& config, int64_t tokens, int64_t window, const StreamSpeed& speed,
                     double* attention) {
  const auto rows = static_cast<double>(tokens);
  double of_attention = 0;
  for (int64_t l = 0; l < config.layers; ++l)
    of_attention += rows * KeysOf(config, tokens, StreamReach(config, l, window)) * speed.per_pair;
  if (attention != nullptr) *attention = of_attention;
  return static_cast<double>(config.layers) * rows * speed.per_row + of_attention;
}

int64_t StreamPeakBytes(const nn::EncoderConfig& config, int64_t element, int64_t threads, bool on_cpu, int64_t tokens,
                        int64_t window) {
  const int64_t queries = config.query_width(), keys = config.key_width();
  const int64_t run = std::min(tokens, StreamRowRun(on_cpu));
  const RowNumbers row = NumbersOf(config);
  // The hidden state, ids, types, positions and rotations are there from the beginning to the end.
  const int64_t always = tokens * (config.hidden_size * element + 3 * 4 + RotationBytes(config));
  int64_t attention = 0;
  for (int64_t l = 0; l < config.layers; ++l) {
    const int64_t reach = StreamReach(config, l, window);
    attention = std::max(attention, AttentionBytes(config, element, threads, on_cpu, tokens, reach));
  }
  // Attention's output takes the place of the queries; keys and values go before the feed-forward begins.
  const int64_t beside_all = std::max(run * row.before * element, attention);
  return always + tokens * queries * element +
         std::max(tokens * 2 * keys * element + beside_all, run * row.behind * element);
}

int64_t LargestBy(const std::function<int64_t(int64_t)>& bytes, int64_t free, int64_t most) {
  int64_t fits = 0;
  for (int64_t step = int64_t{1} << 40; step > 0; step /= 2) {
    if (fits + step <= most && bytes(fits + step) <= free) fits += step;
  }
  return fits;
}

}  // namespace engram::longcontext
