#include "core/continual/importance.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <utility>

#include "ATen/TensorOperators.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/full.h"
#include "ATen/ops/softmax.h"
#include "ATen/ops/zeros.h"
#include "absl/strings/str_cat.h"
#include "core/base/random.h"
#include "core/continual/consolidation.h"
#include "core/continual/importance_sink.h"
#include "core/nn/ops.h"

namespace engram::continual {
namespace {

using nn::HeadKind;
using train::TrainingExample;

constexpr std::pair<ImportanceKind, const char*> kKindNames[] = {{ImportanceKind::kExact, "exact"},
                                                                 {ImportanceKind::kSampled, "sampled"},
                                                                 {ImportanceKind::kEmpirical, "empirical"},
                                                                 {ImportanceKind::kBatched, "batched"}};

// The texts that take part: `samples` of them without replacement, in the order of the data set.
std::vector<int64_t> ChooseExamples(int64_t count, const ImportanceOptions& options) {
  std::vector<int64_t> chosen(count);
  std::iota(chosen.begin(), chosen.end(), int64_t{0});
  if (options.samples <= 0 || options.samples >= count) return chosen;
  RandomStream random(options.seed, RandomPurpose::kSubset, 0);
  for (int64_t i = 0; i < options.samples; ++i) std::swap(chosen[i], chosen[i + random.NextBelow(count - i)]);
  chosen.resize(options.samples);
  std::sort(chosen.begin(), chosen.end());
  return chosen;
}

// One row of labels for each row of logits, laid out like the head's logits: texts, or all words' tokens of the packed
// batch.
at::Tensor TrueLabels(const std::vector<const TrainingExample*>& batch, HeadKind kind, int64_t rows) {
  at::Tensor labels = at::empty({rows}, at::kLong);
  int64_t* out = labels.mutable_data_ptr<int64_t>();
  for (const TrainingExample* example : batch) {
    if (kind == HeadKind::kSequenceClassification) {
      *out++ = example->label;
    } else {
      out = std::copy(example->tags.begin(), example->tags.end(), out);
    }
  }
  return labels;
}

// Replaces each label that counts by a draw from softmax(logits). The numbers of text i depend on `first_text` + i
// alone, not on how texts fell into batches.
void DrawLabels(const at::Tensor& logits, const std::vector<int64_t>& text_ids,
                const std::vector<int64_t>& rows_of_text, uint64_t seed, at::Tensor& labels) {
  const at::Tensor probabilities = at::softmax(logits, 1).cpu().contiguous();
  const float* p = probabilities.const_data_ptr<float>();
  const int64_t classes = logits.size(1);
  int64_t* label = labels.mutable_data_ptr<int64_t>();
  int64_t row = 0;
  for (size_t text = 0; text < text_ids.size(); ++text) {
    RandomStream random(seed, RandomPurpose::kSampledFisher, static_cast<uint64_t>(text_ids[text]));
    for (int64_t end = row + rows_of_text[text]; row < end; ++row) {
      if (label[row] == nn::ops::kIgnored) continue;
      double remaining = random.NextDouble();
      int64_t drawn = 0;
      while (drawn + 1 < classes && remaining >= p[row * classes + drawn]) remaining -= p[row * classes + drawn++];
      label[row] = drawn;
    }
  }
}

// Everything one computation carries from batch to batch.
class Engine {
 public:
  Engine(nn::Model& model, const std::string& task, const ImportanceOptions& options, int64_t total)
      : model_(model),
        task_(task),
        kind_(model.heads().at(task).kind),
        options_(options),
        total_(total),
        device_(model.parameters().device()),
        fisher_(at::zeros({EncoderElements(model)}, at::TensorOptions().dtype(at::kFloat).device(device_))) {
    if (options.kind == ImportanceKind::kBatched) {
      model.parameters().EnableGradients();
      sink_ = std::make_unique<nn::AccumulateSink>(&model.parameters());
    } else {
      auto squares =
          std::make_unique<ImportanceSink>(model.parameters(), fisher_, std::vector<nn::SlotId>{}, /*absolute=*/false);
      squares_ = squares.get();
      sink_ = std::move(squares);
    }
  }

  absl::Status AddBatch(const std::vector<const TrainingExample*>& batch, const std::vector<int64_t>& text_ids) {
    std::vector<const nn::Sequence*> sequences;
    for (const TrainingExample* example : batch) sequences.push_back(&example->sequence);
    ENGRAM_ASSIGN_OR_RETURN(const nn::PackedBatch packed, nn::Pack(sequences, device_));
    const std::shared_ptr<nn::Tape> tape = nn::Model::NewTape();
    const at::Tensor hidden = model_.Encode(packed, std::nullopt, tape.get());
    const at::Tensor logits = model_.Head(task_, hidden, packed, at::Tensor(), std::nullopt, tape.get());
    switch (options_.kind) {
      case ImportanceKind::kExact:
        AddExact(logits, *tape);
        break;
      case ImportanceKind::kSampled:
      case ImportanceKind::kEmpirical:
        AddLogLikelihood(logits, batch, text_ids, packed, *tape);
        break;
      case ImportanceKind::kBatched:
        AddBatched(logits, batch, *tape);
        break;
    }
    return absl::OkStatus();
  }

  at::Tensor Finish() {
    if (options_.kind == ImportanceKind::kBatched) fisher_.div_(static_cast<double>(batches_));
    return fisher_;
  }

 private:
  // d log p(c|x)/d logits = onehot(c) - p; the sign is lost in the square. Scaling the gradient by sqrt(p(c|x)) gives
  // the square the weight p(c|x), so one pass for each class sums the expectation.
  void AddExact(const at::Tensor& logits, const nn::Tape& tape) {
    squares_->SetWeights(std::vector<float>(logits.size(0), 1.0F / static_cast<float>(total_)));
    const at::Tensor probabilities = at::softmax(logits, 1);
    for (int64_t c = 0; c < logits.size(1); ++c) {
      const at::Tensor label = at::full({logits.size(0)}, c, at::TensorOptions().dtype(at::kLong).device(device_));
      model_.Backward(nn::ops::CrossEntropy(logits, label, probabilities.select(1, c).sqrt()).grad, tape, *sink_);
    }
  }

  void AddLogLikelihood(const at::Tensor& logits, const std::vector<const TrainingExample*>& batch,
                        const std::vector<int64_t>& text_ids, const nn::PackedBatch& packed, const nn::Tape& tape) {
    at::Tensor labels = TrueLabels(batch, kind_, logits.size(0));
    if (options_.kind == ImportanceKind::kSampled) {
      std::vector<int64_t> rows_of_text(batch.size(), 1);
      if (kind_ == HeadKind::kTokenClassification) {
        for (size_t i = 0; i < batch.size(); ++i) rows_of_text[i] = packed.length(static_cast<int64_t>(i));
      }
      DrawLabels(logits, text_ids, rows_of_text, options_.seed, labels);
    }
    squares_->SetWeights(std::vector<float>(batch.size(), 1.0F / static_cast<float>(total_)));
    model_.Backward(nn::ops::CrossEntropy(logits, labels.to(device_), at::Tensor()).grad, tape, *sink_);
  }

  void AddBatched(const at::Tensor& logits, const std::vector<const TrainingExample*>& batch, const nn::Tape& tape) {
    model_.parameters().ZeroGradients();
    const at::Tensor labels = TrueLabels(batch, kind_, logits.size(0));
    const int64_t counted = (labels != nn::ops::kIgnored).sum().item<int64_t>();
    at::Tensor gradient = nn::ops::CrossEntropy(logits, labels.to(device_), at::Tensor()).grad;
    model_.Backward(gradient.div_(static_cast<double>(std::max<int64_t>(counted, 1))), tape, *sink_);
    const at::Tensor mean = model_.parameters().gradients().narrow(0, 0, fisher_.numel());
    fisher_.addcmul_(mean, mean);
    ++batches_;
  }

  nn::Model& model_;
  const std::string& task_;
  const HeadKind kind_;
  const ImportanceOptions& options_;
  const int64_t total_;
  const at::Device device_;
  at::Tensor fisher_;
  std::unique_ptr<nn::GradientSink> sink_;
  ImportanceSink* squares_ = nullptr;  // sink_, unless kBatched
  int64_t batches_ = 0;
};

absl::Status CheckArguments(const nn::Model& model, const std::string& task, size_t examples,
                            const ImportanceOptions& options) {
  auto head = model.heads().find(task);
  if (head == model.heads().end()) {
    return StatusWithReason(
        absl::StatusCode::kFailedPrecondition, "TASK_NOT_LEARNED",
        absl::StrCat("task ", task, " has no head in this version: train it before it is consolidated"));
  }
  if (examples == 0) return InvalidField("samples", "the task has no training texts to take the importance on");
  if (head->second.kind == HeadKind::kMaskedLanguageModel) {
    return InvalidField(
        "task", "importance of a masked language model is not offered: consolidate a classification or a tagging task");
  }
  if (options.kind == ImportanceKind::kExact && head->second.kind == HeadKind::kTokenClassification) {
    return InvalidField(
        "fisher",
        "exact needs one pass for each word and tag of a sentence; use sampled or empirical for a tagging task");
  }
  if (options.batch_size < 1) return InvalidField("batch_size", "must be at least 1");
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ImportanceKind> ParseImportanceKind(const std::string& name) {
  for (const auto& [kind, known] : kKindNames) {
    if (name == known) return kind;
  }
  return InvalidField("fisher",
                      absl::StrCat("unknown kind \"", name, "\"; the kinds are exact, sampled, empirical, batched"));
}

std::string ImportanceKindName(ImportanceKind kind) { return kKindNames[static_cast<int>(kind)].second; }

absl::StatusOr<Importance> ComputeImportance(nn::Model& model, const std::string& task,
                                             std::span<const TrainingExample> examples,
                                             const ImportanceOptions& options, const ImportanceProgress& progress) {
  ENGRAM_RETURN_IF_ERROR(CheckArguments(model, task, examples.size(), options));
  std::vector<int64_t> order = ChooseExamples(static_cast<int64_t>(examples.size()), options);
  const int64_t total = static_cast<int64_t>(order.size());
  const bool fixed_batches = options.kind == ImportanceKind::kBatched;
  if (!fixed_batches) {  // like lengths together: the mean does not care about the order, the packed kernels do
    std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
      return examples[a].sequence.ids.size() < examples[b].sequence.ids.size();
    });
  }
  Engine engine(model, task, options, total);
  for (int64_t begin = 0; begin < total;) {
    std::vector<const TrainingExample*> batch;
    std::vector<int64_t> text_ids;
    int64_t tokens = 0;
    while (begin < total) {
      const TrainingExample& next = examples[order[begin]];
      const int64_t length = static_cast<int64_t>(next.sequence.ids.size());
      const bool full = fixed_batches ? static_cast<int64_t>(batch.size()) == options.batch_size
                                      : tokens + length > options.batch_tokens;
      if (full && !batch.empty()) break;
      batch.push_back(&next);
      text_ids.push_back(order[begin++]);
      tokens += length;
    }
    ENGRAM_RETURN_IF_ERROR(engine.AddBatch(batch, text_ids));
    if (progress && !progress(begin, total)) return absl::CancelledError("the importance pass was cancelled");
  }
  Importance importance{engine.Finish(), 0, total};
  importance.trace = ExtentOf(importance.fisher).sum;
  if (!std::isfinite(importance.trace)) {
    return StatusWithReason(
        absl::StatusCode::kAborted, "IMPORTANCE_NOT_FINITE",
        "the importance holds NaN or Inf: the model's weights or activations overflow on this data");
  }
  return importance;
}

}  // namespace engram::continual
