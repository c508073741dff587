#include "core/serve/engine.h"

#include <set>
#include <utility>
#include <vector>

#include "ATen/Parallel.h"
#include "c10/core/InferenceMode.h"
#include "core/base/finite.h"
#include "core/base/process.h"
#include "core/nn/between_layers.h"
#include "core/nn/device.h"
#include "core/nn/packed_batch.h"

namespace engram::serve {
namespace {

// Logits of the whole batch, on the CPU, for every head that any item asks for.
absl::StatusOr<std::map<std::string, at::Tensor>> Forward(const ServedVersion& version,
                                                          const std::vector<const nn::Sequence*>& sequences,
                                                          const std::set<std::string>& heads, nn::PackedBatch& packed) {
  const nn::Model& model = *version.version.model;
  ENGRAM_ASSIGN_OR_RETURN(packed, nn::Pack(sequences, model.parameters().device()));
  std::vector<nn::TaskQuery> queries;
  for (const std::string& head : heads) queries.push_back({head, at::Tensor()});
  const std::vector<at::Tensor> answers = model.Predict(packed, queries, std::nullopt, nullptr);
  std::map<std::string, at::Tensor> logits;
  for (size_t i = 0; i < queries.size(); ++i) logits[queries[i].task] = answers[i].cpu();
  return logits;
}

// The vector of every item: each is computed from its own rows alone, so its bits do not depend on the batch.
absl::Status ForwardVectors(const ServedVersion& version, const std::vector<const nn::Sequence*>& sequences,
                            const std::vector<std::shared_ptr<BatchItem>>& batch, nn::PackedBatch& packed,
                            std::vector<at::Tensor>& vectors) {
  const nn::Model& model = *version.version.model;
  ENGRAM_RETURN_IF_ERROR(version.vectors.status());
  ENGRAM_ASSIGN_OR_RETURN(packed, nn::Pack(sequences, model.parameters().device()));
  const at::Tensor hidden = model.Encode(packed, std::nullopt, nullptr).cpu();
  for (size_t i = 0; i < batch.size(); ++i) {
    const at::Tensor rows = hidden.narrow(0, packed.host_cu_seqlens[i], packed.length(static_cast<int64_t>(i)));
    const auto& item = static_cast<const SequenceItem&>(*batch[i]);
    vectors.push_back(version.vectors->Apply(rows, item.vector()->prompt_tokens));
  }
  return absl::OkStatus();
}

}  // namespace

// What a batch came to.
struct Engine::Pass {
  absl::Time start;
  absl::Duration time = absl::ZeroDuration();  // with what was computed between its layers
  nn::PackedBatch packed = {};
  absl::StatusOr<std::map<std::string, at::Tensor>> logits = absl::UnknownError("not computed");
  std::vector<at::Tensor> vectors = {};  // of each item, where vectors are asked for
};

Engine::Engine(const Clock& clock, BatcherLimits limits, int threads, std::function<void()> on_device_failure)
    : clock_(clock),
      admission_(clock, limits.queue_time),
      batcher_(clock, limits),
      health_(std::move(on_device_failure)),
      thread_([this, threads] { Run(threads); }) {}

Engine::~Engine() {
  batcher_.ShutDown();
  thread_.join();
}

void Engine::Run(int threads) {
  const c10::InferenceMode inference;
  at::set_num_threads(threads > 0 ? threads : UsableCores());
  for (auto batch = batcher_.NextBatch(); !batch.empty(); batch = batcher_.NextBatch()) {
    Compute(batch);
    computing_since_ = 0;
  }
}

absl::Duration Engine::computing() const {
  const int64_t since = computing_since_;
  return since == 0 ? absl::ZeroDuration() : clock_.Now() - absl::FromUnixNanos(since);
}

void Engine::ComputeOthers() {
  if (const auto fitting = batcher_.NextFitting(); !fitting.empty()) Compute(fitting);
  computing_since_ = absl::ToUnixNanos(clock_.Now());  // with the next layer
}

void Engine::Compute(const std::vector<std::shared_ptr<BatchItem>>& batch) {
  Pass pass{.start = clock_.Now()};
  computing_since_ = absl::ToUnixNanos(pass.start);
  std::vector<const nn::Sequence*> sequences;
  std::set<std::string> heads;
  for (const auto& item : batch) {
    const auto& sequence = static_cast<const SequenceItem&>(*item);
    sequences.push_back(&sequence.sequence());
    heads.insert(sequence.heads().begin(), sequence.heads().end());
  }
  const auto& first = static_cast<const SequenceItem&>(*batch.front());
  const ServedVersion& version = first.version();
  const int64_t budget = batcher_.budget(first.batch_key());
  absl::Duration others = absl::ZeroDuration();
  std::optional<nn::BetweenLayers> pauses;
  if (batch.size() == 1 && first.tokens() > budget) {
    pauses.emplace([this, &others] {
      const absl::Time paused = clock_.Now();
      ComputeOthers();
      others += clock_.Now() - paused;
    });
  }
  pass.logits = nn::GuardTorch([&]() -> absl::StatusOr<std::map<std::string, at::Tensor>> {
    // One batch asks for vectors or for logits, never for both: their keys differ.
    if (!first.vector()) return Forward(version, sequences, heads, pass.packed);
    ENGRAM_RETURN_IF_ERROR(ForwardVectors(version, sequences, batch, pass.packed, pass.vectors));
    return std::map<std::string, at::Tensor>();
  });
  pauses.reset();
  health_.Note(pass.logits.status());
  pass.time = clock_.Now() - pass.start;
  const absl::Duration compute = pass.time - others;
  ++counters_.batches;
  counters_.sequences += static_cast<int64_t>(batch.size());
  counters_.tokens += pass.packed.tokens();
  counters_.microseconds += absl::ToInt64Microseconds(compute);
  if (pass.logits.ok()) {
    batcher_.Computed(first.batch_key(), pass.packed.tokens(), compute);
    admission_.Computed(pass.packed.tokens(), budget);
  }
  for (size_t i = 0; i < batch.size(); ++i) Finish(pass, i, static_cast<SequenceItem&>(*batch[i]));
}

void Engine::Finish(const Pass& pass, size_t index, SequenceItem& item) {
  if (!pass.logits.ok()) return item.Fail(pass.logits.status());
  SequenceResult result;
  result.queue_seconds = absl::ToDoubleSeconds(pass.start - item.enqueued);
  result.compute_seconds = absl::ToDoubleSeconds(pass.time);
  if (item.vector()) result.vector = pass.vectors[index];
  const auto row = static_cast<int64_t>(index);
  for (const std::string& head : item.heads()) {
    const at::Tensor& all = pass.logits->at(head);
    const bool per_text =
        all.size(0) == pass.packed.sequences() &&
        item.version().version.model->heads().at(head).kind == checkpoint::TaskKind::kSequenceClassification;
    result.logits[head] =
        per_text ? all.select(0, row) : all.narrow(0, pass.packed.host_cu_seqlens[index], pass.packed.length(row));
  }
  absl::Status finite;
  for (const auto& [head, rows] : result.logits)  // rows of a contiguous tensor
    finite.Update(CheckFinite({rows.const_data_ptr<float>(), static_cast<size_t>(rows.numel())}));
  if (!finite.ok()) return item.Fail(finite);
  item.Finish(std::move(result));
}

}  // namespace engram::serve
