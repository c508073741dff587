#include "core/longcontext/document.h"

#include <algorithm>
#include <span>
#include <utility>

#include "ATen/TensorOperators.h"
#include "ATen/ops/empty.h"
#include "c10/core/InferenceMode.h"
#include "core/longcontext/streamed_encoder.h"
#include "core/nn/packed_batch.h"
#include "core/nn/sentence_vectors.h"

namespace engram::longcontext {
namespace {

constexpr int64_t kRowRun = 4096;  // token vectors that are turned to fp32 at once

absl::Status Cancelled() { return absl::CancelledError("the client went away"); }

// What becomes of the rows that the encoder makes: chunks' vectors, the document's, those of the tokens.
class Reduction {
 public:
  Reduction(const DocumentPlan& plan, const EncodeOptions& options, int64_t width, const at::Tensor& query)
      : plan_(plan),
        options_(options),
        document_(plan.aggregation.value_or(Aggregation::kTokenMean), width, query, options.temperature),
        whole_(plan.pooling, width),
        spans_(plan.pooling == Pooling::kCls ? Pooling::kMean : plan.pooling, width, plan.chunks) {
    if (options.chunk_vectors)
      chunk_vectors_ = at::empty({static_cast<int64_t>(plan.chunks.size()), width}, at::kFloat);
  }

  // A window of kChunk; `rows`: [tokens, d] of its content, `cls` [1, d] or undefined: of the token before it.
  bool AddWindow(size_t index, const at::Tensor& rows, const at::Tensor& cls) {
    const tokenize::TokenWindow& window = plan_.chunks[index];
    const at::Tensor owned = rows.narrow(0, window.first_owned - window.begin, window.owned());
    RowPool pool(plan_.pooling, rows.size(1));
    pool.Add(plan_.pooling == Pooling::kCls ? cls : rows);
    AddChunk(index, pool.Result());
    if (window.owned() == 0) return true;
    if (document_.of_tokens()) document_.AddTokens(owned);
    return Emit(owned);
  }

  // Rows of the next content tokens, of the other modes: any floating [n, d] on any device.
  bool AddRows(const at::Tensor& rows) {
    for (int64_t begin = 0; begin < rows.size(0); begin += kRowRun) {
      const at::Tensor run = rows.narrow(0, begin, std::min(kRowRun, rows.size(0) - begin)).to(at::kCPU, at::kFloat);
      if (!plan_.aggregation && plan_.pooling != Pooling::kCls) whole_.Add(run);
      if (document_.of_tokens() && plan_.aggregation) document_.AddTokens(run);
      spans_.Add(run, [this](size_t index, const at::Tensor& vector) { AddChunk(index, vector); });
      if (!Emit(run)) return false;
    }
    return true;
  }
  // Of kFull and kSliding with the pooling kCls, [1, d].
  void AddCls(const at::Tensor& row) { whole_.Add(row.to(at::kCPU, at::kFloat)); }

  DocumentVectors Finish() {
    DocumentVectors result;
    at::Tensor vector = (plan_.aggregation ? document_.Result() : whole_.Result()).unsqueeze(0);
    if (options_.normalize) {
      vector = nn::UnitLength(vector);
      if (chunk_vectors_.defined()) chunk_vectors_ = nn::UnitLength(chunk_vectors_);
    }
    const at::Tensor floats = vector.squeeze(0).to(at::kFloat).contiguous();
    result.document.assign(floats.const_data_ptr<float>(), floats.const_data_ptr<float>() + floats.numel());
    result.chunk_vectors = chunk_vectors_;
    for (const tokenize::TokenWindow& chunk : plan_.chunks) result.chunks.push_back(Describe(plan_.content, chunk));
    result.tokens = plan_.tokens;
    result.tokens_encoded = plan_.tokens_encoded;
    result.windows = static_cast<int64_t>(plan_.windows.size());
    return result;
  }

 private:
  void AddChunk(size_t index, const at::Tensor& vector) {
    if (plan_.aggregation && !document_.of_tokens()) document_.AddChunk(vector);
    if (chunk_vectors_.defined()) chunk_vectors_.select(0, static_cast<int64_t>(index)).copy_(vector);
  }
  bool Emit(const at::Tensor& rows) {
    const int64_t first = emitted_;
    emitted_ += rows.size(0);
    return !options_.token_rows || options_.token_rows(first, rows);
  }

  const DocumentPlan& plan_;
  const EncodeOptions& options_;
  DocumentPool document_;
  RowPool whole_;
  SpanPool spans_;
  at::Tensor chunk_vectors_;
  int64_t emitted_ = 0;
};

// The vector of the query, read and pooled as a chunk is: fp64 [d].
absl::StatusOr<at::Tensor> QueryVector(const nn::Model& model, const tokenize::TextFrame& frame,
                                       const DocumentPlan& plan) {
  if (plan.query.empty()) return at::Tensor();
  const nn::Sequence sequence{plan.query, {}};
  ENGRAM_ASSIGN_OR_RETURN(const nn::PackedBatch batch,
                          nn::Pack(std::span<const nn::Sequence>(&sequence, 1), model.parameters().device()));
  const at::Tensor rows = model.Encode(batch, std::nullopt, nullptr).to(at::kCPU, at::kFloat);
  RowPool pool(plan.pooling, rows.size(1));
  pool.Add(plan.pooling == Pooling::kCls
               ? rows.narrow(0, 0, 1)
               : rows.narrow(0, static_cast<int64_t>(frame.before.size()), rows.size(0) - frame.size()));
  return pool.Result();
}

// The windows [first, last) as one batch; `each(i, rows)` with the rows of window i, special tokens included.
absl::Status EncodeBatch(const nn::Model& model, const tokenize::TextFrame& frame, const DocumentPlan& plan,
                         size_t first, size_t last, const std::function<bool(size_t, const at::Tensor&)>& each) {
  const std::span<const int32_t> ids(plan.content.ids);
  std::vector<nn::Sequence> sequences;
  for (size_t i = first; i < last; ++i) {
    const tokenize::TokenWindow& window = plan.windows[i];
    sequences.push_back(
        {frame.Around(ids.subspan(static_cast<size_t>(window.begin), static_cast<size_t>(window.tokens()))), {}});
  }
  ENGRAM_ASSIGN_OR_RETURN(const nn::PackedBatch batch,
                          nn::Pack(std::span<const nn::Sequence>(sequences), model.parameters().device()));
  const at::Tensor hidden = model.Encode(batch, std::nullopt, nullptr).to(at::kCPU);
  for (size_t i = first; i < last; ++i) {
    const auto index = static_cast<int64_t>(i - first);
    if (!each(i, hidden.narrow(0, batch.host_cu_seqlens[index], batch.length(index)).to(at::kFloat)))
      return Cancelled();
  }
  return absl::OkStatus();
}

absl::Status EncodeWindows(const nn::Model& model, const tokenize::TextFrame& frame, const DocumentPlan& plan,
                           const EncodeOptions& options, Reduction& reduction) {
  const auto before = static_cast<int64_t>(frame.before.size());
  const auto each = [&](size_t i, const at::Tensor& rows) {
    const tokenize::TokenWindow& window = plan.windows[i];
    if (plan.mode == Mode::kLate) {
      return reduction.AddRows(rows.narrow(0, before + window.first_owned - window.begin, window.owned()));
    }
    return reduction.AddWindow(i, rows.narrow(0, before, window.tokens()),
                               before == 0 ? at::Tensor() : rows.narrow(0, 0, 1));
  };
  int64_t done = 0;
  for (size_t first = 0; first < plan.windows.size();) {
    size_t last = first;
    int64_t tokens = 0;
    while (last < plan.windows.size()) {
      const int64_t next = plan.windows[last].tokens() + frame.size();
      if (last > first && tokens + next > options.batch_tokens) break;
      tokens += next;
      ++last;
    }
    ENGRAM_RETURN_IF_ERROR(EncodeBatch(model, frame, plan, first, last, each));
    done += tokens;
    if (options.progress && !options.progress(done, plan.tokens_encoded)) return Cancelled();
    first = last;
  }
  return absl::OkStatus();
}

absl::Status EncodeWhole(const nn::Model& model, const tokenize::TextFrame& frame, const DocumentPlan& plan,
                         const EncodeOptions& options, Reduction& reduction) {
  const StreamedEncoder encoder(model);
  StreamOptions stream;
  stream.window = plan.window;
  stream.positions = plan.positions.plan;
  stream.progress = options.progress;
  const std::vector<int32_t> ids = frame.Around(plan.content.ids);
  ENGRAM_ASSIGN_OR_RETURN(const at::Tensor hidden, encoder.Forward(ids, stream));
  if (plan.pooling == Pooling::kCls) reduction.AddCls(hidden.narrow(0, 0, 1));
  return reduction.AddRows(hidden.narrow(0, static_cast<int64_t>(frame.before.size()), plan.tokens)) ? absl::OkStatus()
                                                                                                     : Cancelled();
}

}  // namespace

Chunk Describe(const tokenize::Encoding& content, const tokenize::TokenWindow& window) {
  const auto first = static_cast<size_t>(window.begin), last = static_cast<size_t>(window.end) - 1;
  return {content.code_points[first].begin,
          content.code_points[last].end,
          content.bytes[first].begin,
          content.bytes[last].end,
          window.tokens(),
          window.owned()};
}

absl::StatusOr<DocumentVectors> EncodeDocument(const nn::Model& model, const tokenize::Tokenizer& tokenizer,
                                               const DocumentPlan& plan, const EncodeOptions& options) {
  const c10::InferenceMode inference;
  const tokenize::TextFrame& frame = tokenizer.frame();
  ENGRAM_ASSIGN_OR_RETURN(const at::Tensor query, QueryVector(model, frame, plan));
  Reduction reduction(plan, options, model.config().hidden_size, query);
  ENGRAM_RETURN_IF_ERROR(plan.mode == Mode::kChunk || plan.mode == Mode::kLate
                             ? EncodeWindows(model, frame, plan, options, reduction)
                             : EncodeWhole(model, frame, plan, options, reduction));
  return reduction.Finish();
}

}  // namespace engram::longcontext
