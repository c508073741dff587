#include "server/inference/long_encode.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <optional>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/base/finite.h"
#include "core/base/process.h"
#include "core/longcontext/document.h"
#include "core/longcontext/model_vector.h"
#include "core/nn/device.h"
#include "core/nn/tensor_memory.h"

namespace engram::server {
namespace {

using engram::v1::LongContextEncodeRequest;
using engram::v1::LongContextEncodeResponse;
using longcontext::Aggregation, longcontext::EncodeOptions, longcontext::Estimate, longcontext::Mode,
    longcontext::Pooling;

static_assert(std::endian::native == std::endian::little, "vectors travel as little-endian bytes");

constexpr int64_t kTokenVectorBytes = 1 << 20;  // of one message of the stream

void FillTensor(const float* data, const std::vector<int64_t>& shape, engram::v1::Tensor& out) {
  size_t count = 1;
  out.set_dtype("float32");
  for (const int64_t size : shape) {
    out.add_shape(size);
    count *= static_cast<size_t>(size);
  }
  out.set_data(data, count * sizeof(float));
}

bool ByModules(const LongContextEncodeRequest& request) {
  return request.mode() == engram::v1::LONG_CONTEXT_MODE_UNSPECIFIED ||
         request.mode() == engram::v1::LONG_CONTEXT_MODE_MODEL;
}

// Fields that say how an encoder's rows are reduced go with none of the model's own modules.
absl::Status CheckModulesAlone(const LongContextEncodeRequest& request, bool token_vectors) {
  const std::pair<const char*, bool> set[] = {
      {"aggregation", request.aggregation() != engram::v1::LONG_CONTEXT_AGGREGATION_UNSPECIFIED},
      {"pooling", request.pooling() != engram::v1::LONG_CONTEXT_POOLING_UNSPECIFIED},
      {"window_tokens", request.window_tokens() != 0},
      {"positions", request.positions() != engram::v1::POSITION_EXTENSION_UNSPECIFIED},
      {"position_factor", request.position_factor() != 0},
      {"query", !request.query().empty()},
      {"temperature", request.has_temperature()},
      {"plan_tokens", request.plan_tokens() != 0},
      {"token_vectors", token_vectors}};
  for (const auto& [field, is_set] : set) {
    if (is_set) return InvalidField(field, "does not go with the mode \"model\"; use chunk, late, full or sliding");
  }
  return absl::OkStatus();
}

absl::Status FillMode(const LongContextEncodeRequest& request, EncodeOptions& options) {
  const bool has_aggregation = request.aggregation() != engram::v1::LONG_CONTEXT_AGGREGATION_UNSPECIFIED;
  switch (request.mode()) {
    case engram::v1::LONG_CONTEXT_MODE_TOKEN_MEAN:
    case engram::v1::LONG_CONTEXT_MODE_MAX:
      if (has_aggregation) return InvalidField("aggregation", "goes with the modes chunk and late alone");
      options.aggregation =
          request.mode() == engram::v1::LONG_CONTEXT_MODE_MAX ? Aggregation::kMax : Aggregation::kTokenMean;
      return absl::OkStatus();
    case engram::v1::LONG_CONTEXT_MODE_CHUNK:
      return absl::OkStatus();
    case engram::v1::LONG_CONTEXT_MODE_LATE:
      options.mode = Mode::kLate;
      return absl::OkStatus();
    case engram::v1::LONG_CONTEXT_MODE_FULL:
      options.mode = Mode::kFull;
      return absl::OkStatus();
    case engram::v1::LONG_CONTEXT_MODE_SLIDING:
      options.mode = Mode::kSliding;
      return absl::OkStatus();
    default:
      return InvalidField("mode", "must be model, chunk, late, full, sliding, token_mean or max");
  }
}

absl::Status FillReduction(const LongContextEncodeRequest& request, EncodeOptions& options) {
  if (!engram::v1::LongContextAggregation_IsValid(request.aggregation()))
    return InvalidField("aggregation", "must be mean, token_mean, max or attention");
  if (!engram::v1::LongContextPooling_IsValid(request.pooling()))
    return InvalidField("pooling", "must be mean, cls, last or max");
  // The values of the API's enums follow UNSPECIFIED in the order of the core's.
  static_assert(static_cast<int>(Aggregation::kAttention) + 1 == engram::v1::LONG_CONTEXT_AGGREGATION_ATTENTION);
  static_assert(static_cast<int>(Pooling::kMax) + 1 == engram::v1::LONG_CONTEXT_POOLING_MAX);
  if (request.aggregation() != engram::v1::LONG_CONTEXT_AGGREGATION_UNSPECIFIED)
    options.aggregation = static_cast<Aggregation>(request.aggregation() - 1);
  if (request.pooling() != engram::v1::LONG_CONTEXT_POOLING_UNSPECIFIED)
    options.pooling = static_cast<Pooling>(request.pooling() - 1);
  return absl::OkStatus();
}

absl::Status FillPositions(const LongContextEncodeRequest& request, EncodeOptions& options) {
  // The values of the API's enum are those of nn::PositionMode, in their order.
  static_assert(static_cast<int>(nn::PositionMode::kHierarchical) == engram::v1::POSITION_EXTENSION_HIERARCHICAL);
  static_assert(static_cast<int>(nn::PositionMode::kDynamicYarn) == engram::v1::POSITION_EXTENSION_DYNAMIC_YARN);
  if (!engram::v1::PositionExtension_IsValid(request.positions())) {
    return InvalidField("positions",
                        "must be hierarchical, grouped, tiled, interpolated, linear, ntk_aware, dynamic, yarn or "
                        "dynamic_yarn");
  }
  if (request.positions() == engram::v1::POSITION_EXTENSION_UNSPECIFIED) {
    if (request.position_factor() != 0)
      return InvalidField("position_factor", "goes with the positions linear, ntk_aware, dynamic and yarn");
    return absl::OkStatus();
  }
  if (options.mode != Mode::kFull && options.mode != Mode::kSliding)
    return InvalidField("positions", "goes with the modes full and sliding: the others stay within the trained ones");
  options.positions = nn::PositionPlan{static_cast<nn::PositionMode>(request.positions()), request.position_factor()};
  return absl::OkStatus();
}

absl::StatusOr<EncodeOptions> Options(const LongContextEncodeRequest& request, bool token_vectors) {
  EncodeOptions options;
  if (!request.device().empty()) return InvalidField("device", "goes with config_json alone");
  if (request.plan_tokens() != 0 && (!request.validate_only() || !request.text().empty()))
    return InvalidField("plan_tokens", "stands for the text of a call with validate_only");
  if (ByModules(request)) {
    ENGRAM_RETURN_IF_ERROR(CheckModulesAlone(request, token_vectors));
  } else {
    if (!request.prompt_name().empty()) return InvalidField("prompt_name", "goes with the mode \"model\" alone");
    ENGRAM_RETURN_IF_ERROR(FillMode(request, options));
    ENGRAM_RETURN_IF_ERROR(FillReduction(request, options));
    ENGRAM_RETURN_IF_ERROR(FillPositions(request, options));
  }
  if (request.has_temperature() && options.aggregation != Aggregation::kAttention)
    return InvalidField("temperature", "goes with the aggregation attention alone");
  if (request.has_temperature()) options.temperature = request.temperature();
  options.query = request.query();
  options.chunk_tokens = request.chunk_tokens();
  options.overlap = request.overlap();
  options.window_tokens = request.window_tokens();
  options.normalize = request.normalize();
  options.chunk_vectors = request.chunk_vectors();
  return options;
}

// One encode, step by step.
class LongEncode {
 public:
  LongEncode(const serve::ServedVersion& version, const LongContextEncodeRequest& request, LongEncodeBooks& books,
             const LongEncodeHooks& hooks, LongContextEncodeResponse& response)
      : version_(version),
        request_(request),
        books_(books),
        hooks_(hooks),
        response_(response),
        start_(hooks.clock.Now()) {}

  absl::Status Run() {
    ENGRAM_ASSIGN_OR_RETURN(options_, Options(request_, static_cast<bool>(hooks_.tokens)));
    ENGRAM_ASSIGN_OR_RETURN(const Estimate estimate, Plan());
    if (request_.validate_only()) return absl::OkStatus();
    ENGRAM_RETURN_IF_ERROR(hooks_.alive());
    ENGRAM_RETURN_IF_ERROR(CheckDeadline(estimate));
    std::optional<longcontext::MemoryLedger::Reservation> reservation;
    if (knows_memory()) {
      ENGRAM_ASSIGN_OR_RETURN(auto reserved, books_.memory.Reserve(estimate, free_));
      reservation.emplace(std::move(reserved));
    }
    return Compute();
  }

 private:
  const nn::Model& model() const { return *version_.version.model; }
  bool knows_memory() const { return free_ != kUnknown; }

  // Cuts the text, and says what reading it takes.
  absl::StatusOr<Estimate> Plan() {
    if (model().parameters().device().is_cpu()) free_ = FreeMemory().value_or(kUnknown);
    const int64_t left = knows_memory() ? books_.memory.Unpromised(free_) : free_;
    Estimate estimate;
    if (ByModules(request_)) {
      ENGRAM_RETURN_IF_ERROR(version_.vectors.status());
      const checkpoint::SentenceModules& modules = version_.vectors->modules();
      ENGRAM_ASSIGN_OR_RETURN(const std::string_view prompt, longcontext::FindPrompt(modules, request_.prompt_name()));
      ENGRAM_ASSIGN_OR_RETURN(
          longcontext::ModelPlan plan,
          longcontext::PlanModelVector(modules, *version_.tokenizer, request_.text(),
                                       {request_.chunk_tokens(), request_.overlap(), /*truncate=*/false, prompt}));
      ENGRAM_ASSIGN_OR_RETURN(estimate, longcontext::EstimateByModules(model(), version_.vectors->full_width(), plan,
                                                                       options_, left, books_.speeds));
      plan_ = std::move(plan);
    } else {
      ENGRAM_ASSIGN_OR_RETURN(
          longcontext::DocumentPlan plan,
          request_.plan_tokens() != 0
              ? longcontext::PlanTokens(model(), *version_.tokenizer, request_.plan_tokens(), options_)
              : longcontext::PlanDocument(model(), *version_.tokenizer, request_.text(), options_));
      ENGRAM_ASSIGN_OR_RETURN(estimate, longcontext::EstimateDocument(model(), plan, options_, left, books_.speeds));
      FillReduction(plan);
      plan_ = std::move(plan);
    }
    FillPlan(estimate, left);
    if (hooks_.planned) hooks_.planned(response_.plan());
    return estimate;
  }

  void FillPlan(const Estimate& estimate, int64_t left) {
    engram::v1::LongContextPlan& plan = *response_.mutable_plan();
    plan.set_tokens(estimate.tokens);
    plan.set_tokens_encoded(estimate.tokens_encoded);
    plan.set_windows(estimate.windows);
    plan.set_seconds(estimate.seconds);
    plan.set_bytes(estimate.bytes);
    if (!knows_memory()) return;
    plan.set_free_bytes(left);
    plan.set_largest_tokens(estimate.largest_tokens);
  }

  void FillReduction(const longcontext::DocumentPlan& plan) {
    response_.set_mode(request_.mode());
    if (plan.aggregation)
      response_.set_aggregation(
          static_cast<engram::v1::LongContextAggregation>(static_cast<int>(*plan.aggregation) + 1));
    response_.set_pooling(static_cast<engram::v1::LongContextPooling>(static_cast<int>(plan.pooling) + 1));
    response_.set_out_of_trained_range(plan.positions.out_of_trained_range);
    response_.set_position_factor(plan.positions.factor);
    // A table's own rows serve a text that is not longer than it, whatever was asked for.
    if (model().config().family->rotary() || plan.positions.out_of_trained_range)
      response_.set_positions(static_cast<engram::v1::PositionExtension>(plan.positions.plan.mode));
  }

  // A plan may be a quarter too high: what is refused could not be met even so.
  absl::Status CheckDeadline(const Estimate& estimate) const {
    constexpr double kLeastShare = 0.75;
    const double left = absl::ToDoubleSeconds(hooks_.deadline - hooks_.clock.Now());
    if (kLeastShare * estimate.seconds <= left) return absl::OkStatus();
    return StatusWithReason(absl::StatusCode::kDeadlineExceeded, "DEADLINE_TOO_SHORT",
                            absl::StrCat("the text takes about ", estimate.seconds, " s and the deadline leaves ", left,
                                         " s: give the call more time, or use the mode chunk"));
  }

  absl::Status Compute() {
    absl::Status alive;
    options_.progress = [&](int64_t done, int64_t total) {
      alive = hooks_.alive();
      if (alive.ok() && hooks_.progressed) Report(done, total);
      return alive.ok();
    };
    if (hooks_.tokens)
      options_.token_rows = [&](int64_t first, const at::Tensor& rows) { return SendTokens(first, rows); };
    const nn::TensorMeter meter;
    const absl::StatusOr<longcontext::DocumentVectors> vectors = Encode();
    ENGRAM_RETURN_IF_ERROR(alive);
    if (!vectors.ok()) {
      alive = hooks_.alive();  // a token's vector that nobody took
      return alive.ok() ? vectors.status() : alive;
    }
    ENGRAM_RETURN_IF_ERROR(CheckFinite(vectors->document));
    if (options_.mode == Mode::kFull || options_.mode == Mode::kSliding) response_.set_peak_bytes(meter.peak());
    FillVectors(*vectors);
    return absl::OkStatus();
  }

  absl::StatusOr<longcontext::DocumentVectors> Encode() const {
    if (const auto* plan = std::get_if<longcontext::ModelPlan>(&plan_))
      return longcontext::EncodeByModules(model(), *version_.vectors, *plan, options_);
    return longcontext::EncodeDocument(model(), *version_.tokenizer, std::get<longcontext::DocumentPlan>(plan_),
                                       options_);
  }

  void Report(int64_t done, int64_t total) const {
    engram::v1::LongContextProgress progress;
    progress.set_done(done);
    progress.set_total(total);
    progress.set_seconds(absl::ToDoubleSeconds(hooks_.clock.Now() - start_));
    hooks_.progressed(progress);
  }

  bool SendTokens(int64_t first, const at::Tensor& rows) const {
    const at::Tensor floats = rows.contiguous();
    const int64_t width = floats.size(1), count = floats.size(0);
    const int64_t each = std::max<int64_t>(1, kTokenVectorBytes / (width * static_cast<int64_t>(sizeof(float))));
    const tokenize::Encoding& content = std::get<longcontext::DocumentPlan>(plan_).content;
    for (int64_t begin = 0; begin < count; begin += each) {
      const int64_t part = std::min(each, count - begin);
      engram::v1::TokenVectors tokens;
      tokens.set_first_token(first + begin);
      FillTensor(floats.const_data_ptr<float>() + begin * width, {part, width}, *tokens.mutable_vectors());
      for (int64_t i = first + begin; i < first + begin + part; ++i) {
        tokens.add_starts(content.code_points[static_cast<size_t>(i)].begin);
        tokens.add_ends(content.code_points[static_cast<size_t>(i)].end);
      }
      if (!hooks_.tokens(std::move(tokens))) return false;
    }
    return true;
  }

  void FillVectors(const longcontext::DocumentVectors& vectors) {
    const auto width = static_cast<int64_t>(vectors.document.size()),
               count = static_cast<int64_t>(vectors.chunks.size());
    FillTensor(vectors.document.data(), {width}, *response_.mutable_vector());
    if (request_.chunk_vectors())
      FillTensor(vectors.chunk_vectors.const_data_ptr<float>(), {count, width}, *response_.mutable_chunk_vectors());
    if (ByModules(request_)) {
      response_.set_mode(count == 1 ? engram::v1::LONG_CONTEXT_MODE_MODEL : engram::v1::LONG_CONTEXT_MODE_MODEL_CHUNKS);
      response_.set_position_factor(1);
    }
    response_.set_tokens_encoded(vectors.tokens_encoded);
    response_.set_windows(vectors.windows);
    for (const longcontext::Chunk& from : vectors.chunks) {
      engram::v1::TextChunk* chunk = response_.add_chunks();
      chunk->set_start(from.start);
      chunk->set_end(from.end);
      chunk->set_start_byte(from.start_byte);
      chunk->set_end_byte(from.end_byte);
      chunk->set_tokens(from.tokens);
      chunk->set_owned_tokens(from.owned_tokens);
    }
  }

  // Of a device that does not say what is free.
  static constexpr int64_t kUnknown = std::numeric_limits<int64_t>::max();

  const serve::ServedVersion& version_;
  const LongContextEncodeRequest& request_;
  LongEncodeBooks& books_;
  const LongEncodeHooks& hooks_;
  LongContextEncodeResponse& response_;
  const absl::Time start_;
  EncodeOptions options_;
  std::variant<longcontext::DocumentPlan, longcontext::ModelPlan> plan_;
  int64_t free_ = kUnknown;
};

}  // namespace

absl::Status EncodeLong(const serve::ServedVersion& version, const LongContextEncodeRequest& request,
                        LongEncodeBooks& books, const LongEncodeHooks& hooks, LongContextEncodeResponse& response) {
  return nn::GuardTorch([&] { return LongEncode(version, request, books, hooks, response).Run(); });
}

}  // namespace engram::server
