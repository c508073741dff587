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
#include "core/nn/ops/cross_entropy/cross_entropy.h"

namespace engram::continual {
namespace {

using train::TrainingExample;
using Batch = std::vector<const TrainingExample*>;

constexpr std::pair<ImportanceKind, const char*> kKindNames[] = {{ImportanceKind::kExact, "exact"},
                                                                 {ImportanceKind::kSampled, "sampled"},
                                                                 {ImportanceKind::kEmpirical, "empirical"},
                                                                 {ImportanceKind::kBatched, "batched"}};

// One text: [first, first + windows) of the examples.
struct Text {
  int64_t first = 0, windows = 0, tokens = 0;
};

std::vector<Text> FindTexts(std::span<const TrainingExample> examples) {
  std::vector<Text> texts;
  for (size_t i = 0; i < examples.size(); ++i) {
    if (texts.empty() || !examples[i].continues) texts.push_back({static_cast<int64_t>(i), 0, 0});
    ++texts.back().windows;
    texts.back().tokens += static_cast<int64_t>(examples[i].sequence.ids.size());
  }
  return texts;
}

// Numbers of the texts that take part: `samples` of them without replacement, in the order of the data set.
std::vector<int64_t> ChooseTexts(int64_t count, const ImportanceOptions& options) {
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
at::Tensor TrueLabels(const Batch& batch, checkpoint::TaskKind kind, int64_t rows) {
  at::Tensor labels = at::empty({rows}, at::kLong);
  int64_t* out = labels.mutable_data_ptr<int64_t>();
  for (const TrainingExample* example : batch) {
    if (kind == checkpoint::TaskKind::kSequenceClassification) {
      *out++ = example->label;
    } else {
      out = std::copy(example->tags.begin(), example->tags.end(), out);
    }
  }
  return labels;
}

// Replaces each label that counts by a draw from softmax(logits). Each example has its text's stream, so that the draws
// do not depend on how texts fell into batches.
void DrawLabels(const at::Tensor& logits, const std::vector<int64_t>& rows_of_example, std::span<RandomStream> streams,
                at::Tensor& labels) {
  const at::Tensor probabilities = at::softmax(logits, 1).cpu().contiguous();
  const float* p = probabilities.const_data_ptr<float>();
  const int64_t classes = logits.size(1);
  int64_t* label = labels.mutable_data_ptr<int64_t>();
  int64_t row = 0;
  for (size_t example = 0; example < streams.size(); ++example) {
    for (int64_t end = row + rows_of_example[example]; row < end; ++row) {
      if (label[row] == nn::ops::kIgnored) continue;
      double remaining = streams[example].NextDouble();
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
        fisher_(at::zeros({model.EncoderElements()}, at::TensorOptions().dtype(at::kFloat).device(device_))) {
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

  RandomStream Labels(int64_t text) const {
    return RandomStream(options_.seed, RandomPurpose::kSampledFisher, static_cast<uint64_t>(text));
  }

  // Texts of one window each, or any examples for `batched`. `labels` holds the stream of each.
  absl::Status AddBatch(const Batch& batch, std::span<RandomStream> labels) {
    ENGRAM_ASSIGN_OR_RETURN(const Forward forward, Run(batch));
    if (options_.kind == ImportanceKind::kBatched) {
      AddBatched(forward, batch);
      return absl::OkStatus();
    }
    squares_->SetWeights(std::vector<float>(batch.size(), 1.0F / static_cast<float>(total_)));
    if (options_.kind == ImportanceKind::kExact) {
      AddExact(forward);
    } else {
      model_.Backward(LogLikelihoodGradient(forward, batch, labels), *forward.tape, *sink_);
    }
    return absl::OkStatus();
  }

  // One text of several windows. Each takes a pass of its own, so that a document of any length needs no more memory
  // than one window and the gradient buffer.
  absl::Status AddWindows(std::span<const TrainingExample> windows, int64_t text) {
    model_.parameters().EnableGradients();
    model_.parameters().ZeroGradients();
    nn::AccumulateSink sum(&model_.parameters());
    std::vector<RandomStream> labels{Labels(text)};
    for (const TrainingExample& window : windows) {
      const Batch batch{&window};
      ENGRAM_ASSIGN_OR_RETURN(const Forward forward, Run(batch));
      model_.Backward(LogLikelihoodGradient(forward, batch, labels), *forward.tape, sum);
    }
    AddSquare(1.0 / static_cast<double>(total_));
    return absl::OkStatus();
  }

  at::Tensor Finish() {
    if (options_.kind == ImportanceKind::kBatched) fisher_.div_(static_cast<double>(batches_));
    return fisher_;
  }

 private:
  struct Forward {
    nn::PackedBatch packed;
    std::shared_ptr<nn::Tape> tape;
    at::Tensor logits;
  };

  absl::StatusOr<Forward> Run(const Batch& batch) const {
    std::vector<const nn::Sequence*> sequences;
    for (const TrainingExample* example : batch) sequences.push_back(&example->sequence);
    ENGRAM_ASSIGN_OR_RETURN(nn::PackedBatch packed, nn::Pack(sequences, device_));
    const std::shared_ptr<nn::Tape> tape = nn::Model::NewTape();
    const at::Tensor logits = model_.Predict(packed, {task_, at::Tensor()}, std::nullopt, tape.get());
    return Forward{std::move(packed), tape, logits};
  }

  // d log p(c|x)/d logits = onehot(c) - p; the sign is lost in the square. Scaling the gradient by sqrt(p(c|x)) gives
  // the square the weight p(c|x), so one pass for each class sums the expectation.
  void AddExact(const Forward& forward) {
    const at::Tensor& logits = forward.logits;
    const at::Tensor probabilities = at::softmax(logits, 1);
    for (int64_t c = 0; c < logits.size(1); ++c) {
      const at::Tensor label = at::full({logits.size(0)}, c, at::TensorOptions().dtype(at::kLong).device(device_));
      const at::Tensor weight = probabilities.select(1, c).sqrt();
      model_.Backward(nn::ops::CrossEntropy(logits, label, weight).grad, *forward.tape, *sink_);
    }
  }

  // Of -log p(labels): true ones, or drawn.
  at::Tensor LogLikelihoodGradient(const Forward& forward, const Batch& batch, std::span<RandomStream> streams) const {
    at::Tensor labels = TrueLabels(batch, kind_, forward.logits.size(0));
    if (options_.kind == ImportanceKind::kSampled) {
      std::vector<int64_t> rows_of_example(batch.size(), 1);
      if (kind_ == checkpoint::TaskKind::kTokenClassification) {
        for (size_t i = 0; i < batch.size(); ++i) rows_of_example[i] = forward.packed.length(static_cast<int64_t>(i));
      }
      DrawLabels(forward.logits, rows_of_example, streams, labels);
    }
    return nn::ops::CrossEntropy(forward.logits, labels.to(device_), at::Tensor()).grad;
  }

  void AddBatched(const Forward& forward, const Batch& batch) {
    model_.parameters().ZeroGradients();
    const at::Tensor labels = TrueLabels(batch, kind_, forward.logits.size(0));
    const int64_t counted = (labels != nn::ops::kIgnored).sum().item<int64_t>();
    at::Tensor gradient = nn::ops::CrossEntropy(forward.logits, labels.to(device_), at::Tensor()).grad;
    model_.Backward(gradient.div_(static_cast<double>(std::max<int64_t>(counted, 1))), *forward.tape, *sink_);
    AddSquare(1.0);
    ++batches_;
  }

  void AddSquare(double weight) {
    const at::Tensor gradient = model_.parameters().gradients().narrow(0, 0, fisher_.numel());
    fisher_.addcmul_(gradient, gradient, weight);
  }

  nn::Model& model_;
  const std::string& task_;
  const checkpoint::TaskKind kind_;
  const ImportanceOptions& options_;
  const int64_t total_;
  const at::Device device_;
  at::Tensor fisher_;
  std::unique_ptr<nn::GradientSink> sink_;
  ImportanceSink* squares_ = nullptr;  // sink_, unless kBatched
  int64_t batches_ = 0;
};

// Batches of B examples in the order of the data set.
absl::Status AddInOrder(Engine& engine, std::span<const TrainingExample> examples, const std::vector<Text>& texts,
                        const std::vector<int64_t>& chosen, int64_t batch_size, const ImportanceProgress& progress) {
  Batch all;
  for (const int64_t text : chosen) {
    for (int64_t i = 0; i < texts[text].windows; ++i) all.push_back(&examples[texts[text].first + i]);
  }
  const auto total = static_cast<int64_t>(all.size());
  for (int64_t begin = 0; begin < total; begin += batch_size) {
    const int64_t end = std::min(total, begin + batch_size);
    ENGRAM_RETURN_IF_ERROR(engine.AddBatch({all.begin() + begin, all.begin() + end}, {}));
    if (progress && !progress(end, total)) return absl::CancelledError("the importance pass was cancelled");
  }
  return absl::OkStatus();
}

// Like lengths together: the mean does not care about the order, the packed kernels do.
absl::Status AddByLength(Engine& engine, std::span<const TrainingExample> examples, const std::vector<Text>& texts,
                         std::vector<int64_t> chosen, int64_t batch_tokens, const ImportanceProgress& progress) {
  std::stable_sort(chosen.begin(), chosen.end(),
                   [&](int64_t a, int64_t b) { return texts[a].tokens < texts[b].tokens; });
  const auto total = static_cast<int64_t>(chosen.size());
  for (int64_t begin = 0; begin < total;) {
    Batch batch;
    std::vector<RandomStream> labels;
    int64_t tokens = 0;
    for (; begin < total; ++begin) {
      const Text& next = texts[chosen[begin]];
      if (next.windows > 1 || (!batch.empty() && tokens + next.tokens > batch_tokens)) break;
      batch.push_back(&examples[next.first]);
      labels.push_back(engine.Labels(chosen[begin]));
      tokens += next.tokens;
    }
    if (!batch.empty()) {
      ENGRAM_RETURN_IF_ERROR(engine.AddBatch(batch, labels));
    } else {
      const Text& text = texts[chosen[begin]];
      ENGRAM_RETURN_IF_ERROR(engine.AddWindows(examples.subspan(text.first, text.windows), chosen[begin]));
      ++begin;
    }
    if (progress && !progress(begin, total)) return absl::CancelledError("the importance pass was cancelled");
  }
  return absl::OkStatus();
}

absl::Status CheckArguments(const nn::Model& model, const std::string& task, size_t examples,
                            const ImportanceOptions& options) {
  auto head = model.heads().find(task);
  if (head == model.heads().end()) {
    return StatusWithReason(
        absl::StatusCode::kFailedPrecondition, "TASK_NOT_LEARNED",
        absl::StrCat("task ", task, " has no head in this version: train it before it is consolidated"));
  }
  if (examples == 0) return InvalidField("samples", "the task has no training texts to take the importance on");
  if (head->second.kind == checkpoint::TaskKind::kMaskedLanguageModel) {
    return InvalidField(
        "task", "importance of a masked language model is not offered: consolidate a classification or a tagging task");
  }
  if (options.kind == ImportanceKind::kExact && head->second.kind == checkpoint::TaskKind::kTokenClassification) {
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
  const std::vector<Text> texts = FindTexts(examples);
  const std::vector<int64_t> chosen = ChooseTexts(static_cast<int64_t>(texts.size()), options);
  const auto total = static_cast<int64_t>(chosen.size());
  Engine engine(model, task, options, total);
  if (options.kind == ImportanceKind::kBatched) {
    ENGRAM_RETURN_IF_ERROR(AddInOrder(engine, examples, texts, chosen, options.batch_size, progress));
  } else {
    ENGRAM_RETURN_IF_ERROR(AddByLength(engine, examples, texts, chosen, options.batch_tokens, progress));
  }
  Importance importance{engine.Finish(), 0, total, static_cast<int64_t>(texts.size())};
  importance.trace = SumAndMinOf(importance.fisher).sum;
  if (!std::isfinite(importance.trace)) {
    return StatusWithReason(
        absl::StatusCode::kAborted, "IMPORTANCE_NOT_FINITE",
        "the importance holds NaN or Inf: the model's weights or activations overflow on this data");
  }
  return importance;
}

}  // namespace engram::continual
