#include "core/serve/engine.h"

#include <set>
#include <utility>
#include <vector>

#include "ATen/Parallel.h"
#include "c10/core/InferenceMode.h"
#include "core/base/finite.h"
#include "core/base/process.h"
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

Engine::Engine(const Clock& clock, BatcherLimits limits, int threads, std::function<void()> on_device_failure)
    : clock_(clock),
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
  for (auto batch = batcher_.NextBatch(); !batch.empty(); batch = batcher_.NextBatch()) Compute(batch);
}

void Engine::Compute(const std::vector<std::shared_ptr<BatchItem>>& batch) {
  const absl::Time start = clock_.Now();
  std::vector<const nn::Sequence*> sequences;
  std::set<std::string> heads;
  for (const auto& item : batch) {
    const auto& sequence = static_cast<const SequenceItem&>(*item);
    sequences.push_back(&sequence.sequence());
    heads.insert(sequence.heads().begin(), sequence.heads().end());
  }
  const ServedVersion& version = static_cast<const SequenceItem&>(*batch.front()).version();
  nn::PackedBatch packed;
  std::vector<at::Tensor> vectors;
  // One batch asks for vectors or for logits, never for both: their keys differ.
  const bool for_vectors = static_cast<const SequenceItem&>(*batch.front()).vector().has_value();
  const auto logits = nn::GuardTorch([&]() -> absl::StatusOr<std::map<std::string, at::Tensor>> {
    if (!for_vectors) return Forward(version, sequences, heads, packed);
    ENGRAM_RETURN_IF_ERROR(ForwardVectors(version, sequences, batch, packed, vectors));
    return std::map<std::string, at::Tensor>();
  });
  health_.Note(logits.status());
  const absl::Duration compute = clock_.Now() - start;
  ++counters_.batches;
  counters_.sequences += static_cast<int64_t>(batch.size());
  counters_.tokens += packed.tokens();
  counters_.microseconds += absl::ToInt64Microseconds(compute);
  if (logits.ok()) batcher_.Computed(packed.tokens(), compute);
  for (size_t i = 0; i < batch.size(); ++i) {
    auto& item = static_cast<SequenceItem&>(*batch[i]);
    if (!logits.ok()) {
      item.Fail(logits.status());
      continue;
    }
    SequenceResult result;
    result.queue_seconds = absl::ToDoubleSeconds(start - item.enqueued);
    result.compute_seconds = absl::ToDoubleSeconds(compute);
    if (for_vectors) result.vector = vectors[i];
    for (const std::string& head : item.heads()) {
      const at::Tensor& all = logits->at(head);
      const auto row = static_cast<int64_t>(i);
      const bool per_text = all.size(0) == packed.sequences() && version.version.model->heads().at(head).kind ==
                                                                     checkpoint::TaskKind::kSequenceClassification;
      result.logits[head] =
          per_text ? all.select(0, row) : all.narrow(0, packed.host_cu_seqlens[i], packed.length(row));
    }
    absl::Status finite;
    for (const auto& [head, rows] : result.logits)  // rows of a contiguous tensor
      finite.Update(CheckFinite({rows.const_data_ptr<float>(), static_cast<size_t>(rows.numel())}));
    if (!finite.ok()) {
      item.Fail(finite);
      continue;
    }
    item.Finish(std::move(result));
  }
}

}  // namespace engram::serve
