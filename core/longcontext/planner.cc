#include "core/longcontext/planner.h"

#include <algorithm>
#include <bit>
#include <chrono>
#include <functional>
#include <span>
#include <vector>

#include "absl/strings/str_cat.h"
#include "c10/core/InferenceMode.h"
#include "core/nn/encoder_cost.h"
#include "core/nn/packed_batch.h"

namespace engram::longcontext {
namespace {

constexpr int64_t kMeasuredTokens = 2048;
// Of a tokenized text: id, type, both ranges, whether it is special, its word; twice, as vectors grow by doubling.
constexpr int64_t kTextBytesPerToken = 2 * (4 + 4 + 8 + 8 + 1 + 4);
constexpr int64_t kFloatBytes = 4;

// Bytes of what is returned for each chunk: its window, its place, its vector as a tensor and in the reply.
int64_t BytesPerChunk(int64_t width, bool vectors) {
  return static_cast<int64_t>(2 * sizeof(tokenize::TokenWindow) + 2 * sizeof(Chunk)) +
         (vectors ? 2 * width * kFloatBytes : 0);
}

// Of a text that is read in pieces of at most `window` tokens: all of it tokenized, one batch in the encoder.
int64_t PackedBytes(const nn::Model& model, int64_t batch_tokens) {
  return nn::ActivationBytes(batch_tokens, /*kept_layers=*/0, model.config(), model.parameters().precision()) +
         batch_tokens * model.config().hidden_size * kFloatBytes;
}

int64_t Longest(std::span<const tokenize::TokenWindow> windows) {
  int64_t longest = 1;
  for (const tokenize::TokenWindow& window : windows) longest = std::max(longest, window.tokens());
  return longest;
}

// Chunks for each token, as this text has them.
int64_t ChunkBytes(int64_t tokens, int64_t chunks, int64_t width, bool vectors, int64_t of_tokens) {
  const double share = static_cast<double>(chunks) / static_cast<double>(std::max<int64_t>(tokens, 1));
  return static_cast<int64_t>(share * static_cast<double>(of_tokens) *
                              static_cast<double>(BytesPerChunk(width, vectors)));
}

// The most tokens with fixed + tokens * per_token <= free.
int64_t Largest(int64_t free, int64_t fixed, double per_token) {
  return std::max<int64_t>(0, static_cast<int64_t>(static_cast<double>(free - fixed) / per_token));
}

// A text in windows, of which `chunks` come back.
Estimate OfWindows(const nn::Model& model, int64_t width, Estimate estimate, int64_t window, int64_t chunks,
                   const EncodeOptions& options, int64_t free, SpeedBook& speeds) {
  const int64_t batch = std::min(std::max(options.batch_tokens, window), estimate.tokens_encoded);
  const int64_t fixed = PackedBytes(model, batch);
  const int64_t own = ChunkBytes(estimate.tokens, chunks, width, options.chunk_vectors, estimate.tokens);
  const double per_token = static_cast<double>(kTextBytesPerToken) +
                           static_cast<double>(own) / static_cast<double>(std::max<int64_t>(estimate.tokens, 1));
  // Measured at powers of two, so that texts of many lengths share a few measurements.
  const auto measured = static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(std::max<int64_t>(window, 8))));
  estimate.seconds = static_cast<double>(estimate.tokens_encoded) *
                     speeds.PackedSecondsPerToken(model, std::min(measured, model.config().max_length()));
  estimate.bytes = fixed + estimate.tokens * kTextBytesPerToken + own;
  estimate.largest_tokens = Largest(free, fixed, per_token);
  return estimate;
}

}  // namespace

SpeedBook::Key SpeedBook::KeyOf(const nn::Model& model, int64_t length) {
  const nn::EncoderConfig& config = model.config();
  const at::Device device = model.parameters().device();
  return {config.family,
          config.hidden_size,
          config.layers,
          config.heads,
          config.key_heads(),
          config.head_width(),
          config.intermediate_size,
          model.parameters().precision(),
          static_cast<int64_t>(device.type()) * 1000 + device.index(),
          length};
}

double SpeedBook::PackedSecondsPerToken(const nn::Model& model, int64_t length) {
  const c10::InferenceMode inference;
  const absl::MutexLock lock(&mutex_);
  const auto [place, is_new] = packed_.try_emplace(KeyOf(model, length), 0);
  if (!is_new) return place->second;
  const nn::Sequence sequence{std::vector<int32_t>(static_cast<size_t>(length), 0), {}};
  const std::vector<nn::Sequence> sequences(static_cast<size_t>(std::max<int64_t>(2, kMeasuredTokens / length)),
                                            sequence);
  const auto batch = nn::Pack(std::span<const nn::Sequence>(sequences), model.parameters().device());
  TORCH_CHECK(batch.ok(), "sequences of equal lengths are no batch");
  model.Encode(*batch, std::nullopt, nullptr);  // the first pass makes the kernels
  const auto start = std::chrono::steady_clock::now();
  model.Encode(*batch, std::nullopt, nullptr).cpu();
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
  return place->second = taken.count() / static_cast<double>(batch->tokens());
}

StreamSpeed SpeedBook::Streamed(const nn::Model& model, const StreamedEncoder& encoder) {
  const c10::InferenceMode inference;
  const absl::MutexLock lock(&mutex_);
  const auto [place, is_new] = streamed_.try_emplace(KeyOf(model, 0));
  if (is_new) place->second = encoder.Measure();
  return place->second;
}

absl::StatusOr<Estimate> EstimateDocument(const nn::Model& model, const DocumentPlan& plan,
                                          const EncodeOptions& options, int64_t free, SpeedBook& speeds) {
  Estimate estimate{plan.tokens, plan.tokens_encoded, static_cast<int64_t>(plan.windows.size())};
  const int64_t width = model.config().hidden_size, chunks = static_cast<int64_t>(plan.chunks.size());
  const int64_t special = (plan.tokens_encoded - plan.tokens);
  if (plan.mode == Mode::kChunk || plan.mode == Mode::kLate) {
    return OfWindows(model, width, estimate, Longest(plan.windows), chunks, options, free, speeds);
  }
  const StreamedEncoder encoder(model);
  const int64_t own = ChunkBytes(plan.tokens, chunks, width, options.chunk_vectors, plan.tokens);
  estimate.seconds = encoder.Seconds(plan.tokens_encoded, plan.window, speeds.Streamed(model, encoder));
  const double beside = static_cast<double>(kTextBytesPerToken) +
                        static_cast<double>(own) / static_cast<double>(plan.tokens);  // for each token
  const auto bytes = [&](int64_t tokens) {
    return encoder.PeakBytes(tokens + special, plan.window) +
           static_cast<int64_t>(beside * static_cast<double>(tokens));
  };
  estimate.bytes = bytes(plan.tokens);
  estimate.largest_tokens = LargestBy(bytes, free, LongestText(model.config(), options.positions) - special);
  return estimate;
}

absl::StatusOr<Estimate> EstimateByModules(const nn::Model& model, int64_t width, const ModelPlan& plan,
                                           const EncodeOptions& options, int64_t free, SpeedBook& speeds) {
  const auto parts = static_cast<int64_t>(plan.parts.size());
  int64_t longest = 1;
  for (const ModelPart& part : plan.parts) longest = std::max(longest, static_cast<int64_t>(part.sequence.ids.size()));
  return OfWindows(model, width, {plan.text_tokens, plan.tokens, parts}, longest, parts, options, free, speeds);
}

int64_t MemoryLedger::Unpromised(int64_t free) const {
  const absl::MutexLock lock(&mutex_);
  return std::max<int64_t>(0, free - promised_);
}

absl::StatusOr<MemoryLedger::Reservation> MemoryLedger::Reserve(const Estimate& estimate, int64_t free) {
  const absl::MutexLock lock(&mutex_);
  const int64_t left = std::max<int64_t>(0, free - promised_);
  if (estimate.bytes > left) {
    return StatusWithReason(absl::StatusCode::kResourceExhausted, "OUT_OF_MEMORY",
                            absl::StrCat("the text needs ", estimate.bytes, " bytes and ", left, " are free: at most ",
                                         estimate.largest_tokens, " tokens fit in this mode, this text has ",
                                         estimate.tokens, "; send less, or use the mode chunk"));
  }
  promised_ += estimate.bytes;
  return Reservation(this, estimate.bytes);
}

void MemoryLedger::Release(int64_t bytes) {
  const absl::MutexLock lock(&mutex_);
  promised_ -= bytes;
}

}  // namespace engram::longcontext
