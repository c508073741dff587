#include "core/continual/importance.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <numeric>
#include <utility>

#include "ATen/TensorOperators.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/full.h"
#include "ATen/ops/softmax.h"
#include "ATen/ops/zeros.h"
#include "ATen/ops/zeros_like.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
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
                                                                 {ImportanceKind::kBatched, "batched"},
                                                                 {ImportanceKind::kReversed, "reversed"}};

// One text: [first, first + windows) of the examples, or one example with windows of its own.
struct Text {
  int64_t first = 0, windows = 0, tokens = 0;
  bool in_windows = false;
};

std::vector<Text> FindTexts(std::span<const TrainingExample> examples) {
  std::vector<Text> texts;
  for (size_t i = 0; i < examples.size(); ++i) {
    if (texts.empty() || !examples[i].continues) texts.push_back({static_cast<int64_t>(i), 0, 0, false});
    texts.back().in_windows = ++texts.back().windows > 1 || !examples[i].sequence.windows.empty();
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

// Slots that one text uses twice: the word embeddings, which a masked language model also scores words with.
std::vector<nn::SlotId> SharedSlots(const nn::Model& model, checkpoint::TaskKind kind) {
  std::vector<nn::SlotId> shared;
  if (kind != checkpoint::TaskKind::kMaskedLanguageModel) return shared;
  const std::vector<int64_t> words = {model.config().vocab_size, model.config().hidden_size};
  for (const nn::SlotId slot : model.EncoderSlots()) {
    if (model.parameters().slice(slot).shape == words) shared.push_back(slot);
  }
  return shared;
}

// What is differentiated: a log-likelihood, squared, or the squared length of the logits, in absolute value.
enum class Measure { kLikelihood, kLength };

// Hands everything to two sinks.
class BothSinks final : public nn::GradientSink {
 public:
  BothSinks(nn::GradientSink& first, nn::GradientSink& second) : first_(first), second_(second) {}
  void Linear(nn::SlotId weight, nn::SlotId bias, int count, const at::Tensor& a, const at::Tensor& g,
              const nn::RowOwners& rows) override {
    first_.Linear(weight, bias, count, a, g, rows);
    second_.Linear(weight, bias, count, a, g, rows);
  }
  void LayerNorm(nn::SlotId gamma, nn::SlotId beta, const at::Tensor& normalized, const at::Tensor& g,
                 const nn::RowOwners& rows) override {
    first_.LayerNorm(gamma, beta, normalized, g, rows);
    second_.LayerNorm(gamma, beta, normalized, g, rows);
  }
  void Embedding(nn::SlotId table, const at::Tensor& index, const at::Tensor& g, const nn::RowOwners& rows) override {
    first_.Embedding(table, index, g, rows);
    second_.Embedding(table, index, g, rows);
  }
  void Bias(nn::SlotId bias, const at::Tensor& g, const nn::RowOwners& rows) override {
    first_.Bias(bias, g, rows);
    second_.Bias(bias, g, rows);
  }
  void EndBatch() override {
    first_.EndBatch();
    second_.EndBatch();
  }

 private:
  nn::GradientSink &first_, &second_;
};

// Everything one computation carries from batch to batch.
class Engine {
 public:
  Engine(nn::Model& model, const std::string& task, std::span<const TrainingExample> examples, Measure measure,
         const ImportanceOptions& options, int64_t total, nn::GradientSink* also)
      : model_(model),
        spec_{task, model.heads().at(task).kind, model.heads().at(task).labels, options.masking},
        examples_(examples),
        measure_(measure),
        options_(options),
        total_(total),
        also_(also),
        device_(model.parameters().device()),
        fisher_(at::zeros({model.EncoderElements()}, at::TensorOptions().dtype(at::kFloat).device(device_))) {
    if (batched()) {
      model.parameters().EnableGradients();
      sink_ = std::make_unique<nn::AccumulateSink>(&model.parameters());
    } else {
      auto squares = std::make_unique<ImportanceSink>(model.parameters(), fisher_, SharedSlots(model, spec_.kind),
                                                      /*absolute=*/measure == Measure::kLength);
      squares_ = squares.get();
      sink_ = std::move(squares);
    }
  }

  bool batched() const { return measure_ == Measure::kLikelihood && options_.kind == ImportanceKind::kBatched; }
  // Whether texts are taken one by one: masks are drawn for each text.
  bool one_by_one() const { return spec_.kind == checkpoint::TaskKind::kMaskedLanguageModel; }

  RandomStream Labels(int64_t text) const {
    return RandomStream(options_.seed, RandomPurpose::kSampledFisher, static_cast<uint64_t>(text));
  }

  // Texts of one window each, or any examples for `batched`. `labels` holds the stream of each; `number` that of the
  // first text (or of the batch), which its masks are drawn by.
  absl::Status AddBatch(const Batch& batch, std::span<RandomStream> labels, int64_t number) {
    ENGRAM_ASSIGN_OR_RETURN(const Forward forward, Run(batch, number));
    if (forward.logits.size(0) == 0) return absl::OkStatus();  // no token to predict
    CountAnswers(forward);
    if (batched()) {
      AddBatched(forward);
      return absl::OkStatus();
    }
    squares_->SetWeights(std::vector<float>(batch.size(), 1.0F / static_cast<float>(total_)));
    if (measure_ == Measure::kLikelihood && options_.kind == ImportanceKind::kExact) {
      AddExact(forward);
    } else {
      Backward(Gradient(forward, labels), forward, *sink_);
    }
    return absl::OkStatus();
  }

  // One text of several windows, or an example with windows of its own. Each takes a pass of its own (or they take a few
  // together, core/nn/text_windows.h), so that a document of any length needs no more memory than these and the gradient
  // buffer.
  absl::Status AddWindows(std::span<const TrainingExample> windows, int64_t text) {
    if (measure_ == Measure::kLikelihood && options_.kind == ImportanceKind::kExact) {
      if (!windows.front().sequence.windows.empty()) return AddExactText(windows.front(), text);
      // A sum over words: it does not matter which window a word is in.
      for (const TrainingExample& window : windows) ENGRAM_RETURN_IF_ERROR(AddBatch({&window}, {}, text));
      return absl::OkStatus();
    }
    model_.parameters().EnableGradients();
    model_.parameters().ZeroGradients();
    nn::AccumulateSink sum(&model_.parameters());
    std::vector<RandomStream> labels{Labels(text)};
    for (const TrainingExample& window : windows) {
      ENGRAM_ASSIGN_OR_RETURN(const Forward forward, Run({&window}, text));
      CountAnswers(forward);
      if (forward.logits.size(0) > 0) Backward(Gradient(forward, labels), forward, sum);
    }
    AddOwnGradient(1.0 / static_cast<double>(total_));
    return absl::OkStatus();
  }

  // Fills in units, right and most_frequent.
  void ReportAnswers(Importance& importance) const {
    importance.right = right_;
    for (const auto& [label, count] : of_label_) {
      importance.units += count;
      importance.most_frequent = std::max(importance.most_frequent, count);
    }
  }

  at::Tensor Finish() {
    if (batched()) fisher_.div_(static_cast<double>(batches_));
    return fisher_;
  }

 private:
  struct Forward {
    std::shared_ptr<nn::Tape> tape;
    at::Tensor logits;
    at::Tensor labels;                     // int64 [rows of logits], on the CPU: true ones
    std::vector<int64_t> rows_of_example;  // how many rows each example has
  };

  void CountAnswers(const Forward& forward) {
    if (spec_.kind == checkpoint::TaskKind::kMaskedLanguageModel || forward.logits.size(0) == 0) return;
    const at::Tensor answers = forward.logits.argmax(1).cpu().contiguous();
    const int64_t* answer = answers.const_data_ptr<int64_t>();
    const int64_t* label = forward.labels.const_data_ptr<int64_t>();
    for (int64_t row = 0; row < answers.numel(); ++row) {
      if (label[row] == nn::ops::kIgnored) continue;
      ++of_label_[label[row]];
      if (answer[row] == label[row]) ++right_;
    }
  }

  void Backward(const at::Tensor& gradient, const Forward& forward, nn::GradientSink& sink) const {
    if (also_ == nullptr) return model_.Backward(gradient, *forward.tape, sink);
    BothSinks both(sink, *also_);
    model_.Backward(gradient, *forward.tape, both);
  }

  absl::StatusOr<Forward> Run(const Batch& batch, int64_t number) const {
    std::vector<int64_t> indices;
    for (const TrainingExample* example : batch) indices.push_back(example - examples_.data());
    ENGRAM_ASSIGN_OR_RETURN(
        const train::MicroBatch made,
        train::MakeMicroBatch(spec_, examples_, indices, options_.seed, static_cast<uint64_t>(number), device_));
    Forward forward{nn::Model::NewTape(), {}, made.targets.cpu(), {}};
    forward.logits = model_.Predict(made.batch, {spec_.name, made.rows}, std::nullopt, forward.tape.get());
    for (size_t i = 0; i < batch.size(); ++i) {
      forward.rows_of_example.push_back(spec_.kind == checkpoint::TaskKind::kTokenClassification
                                            ? made.batch.length(static_cast<int64_t>(i))
                                            : forward.logits.size(0) / static_cast<int64_t>(batch.size()));
    }
    return forward;
  }

  // d log p(c|x)/d logits = onehot(c) - p; the sign is lost in the square. Scaling the gradient by sqrt(p(c|x)) gives
  // the square the weight p(c|x), so one pass for each class sums the expectation. Of each example one row that counts
  // takes part at a time: classification has but one.
  void AddExact(const Forward& forward) {
    for (const std::vector<int64_t>& rows : NthRows(forward)) {
      const at::Tensor index = ToTensor(rows), logits = forward.logits.index_select(0, index);
      const at::Tensor probabilities = at::softmax(logits, 1);
      for (int64_t c = 0; c < logits.size(1); ++c) {
        const at::Tensor label = at::full({logits.size(0)}, c, at::TensorOptions().dtype(at::kLong).device(device_));
        const at::Tensor weight = probabilities.select(1, c).sqrt();
        const at::Tensor score = nn::ops::CrossEntropy(logits, label, weight).grad;
        Backward(at::zeros_like(forward.logits).index_copy_(0, index, score), forward, *sink_);
      }
    }
  }

  // The same for a text that is read in windows, whose gradient is whole only once all of them were run back.
  absl::Status AddExactText(const TrainingExample& example, int64_t text) {
    ENGRAM_ASSIGN_OR_RETURN(const Forward forward, Run({&example}, text));
    CountAnswers(forward);
    const at::Tensor probabilities = at::softmax(forward.logits, 1);
    model_.parameters().EnableGradients();
    nn::AccumulateSink sum(&model_.parameters());
    for (int64_t c = 0; c < forward.logits.size(1); ++c) {
      const at::Tensor label = at::full({1}, c, at::TensorOptions().dtype(at::kLong).device(device_));
      model_.parameters().ZeroGradients();
      Backward(nn::ops::CrossEntropy(forward.logits, label, probabilities.select(1, c).sqrt()).grad, forward, sum);
      AddOwnGradient(1.0 / static_cast<double>(total_));
    }
    return absl::OkStatus();
  }

  // The first row that counts of each example, then the second of those that have one, and so on.
  static std::vector<std::vector<int64_t>> NthRows(const Forward& forward) {
    std::vector<std::vector<int64_t>> nth;
    const int64_t* label = forward.labels.const_data_ptr<int64_t>();
    int64_t row = 0;
    for (const int64_t rows : forward.rows_of_example) {
      size_t counted = 0;
      for (const int64_t end = row + rows; row < end; ++row) {
        if (label[row] == nn::ops::kIgnored) continue;
        if (nth.size() == counted) nth.emplace_back();
        nth[counted++].push_back(row);
      }
    }
    return nth;
  }

  at::Tensor ToTensor(const std::vector<int64_t>& values) const {
    at::Tensor host = at::empty({static_cast<int64_t>(values.size())}, at::kLong);
    std::copy(values.begin(), values.end(), host.mutable_data_ptr<int64_t>());
    return host.to(device_);
  }

  // Of what is measured, by the logits of each example; its sign does not matter.
  at::Tensor Gradient(const Forward& forward, std::span<RandomStream> streams) const {
    at::Tensor labels = forward.labels;
    if (measure_ == Measure::kLength) {
      return (forward.logits * 2).mul_(labels.ne(nn::ops::kIgnored).to(device_).unsqueeze(1));
    }
    if (options_.kind == ImportanceKind::kReversed) {
      // d/df of log softmax(-f)(y), but for its sign.
      return nn::ops::CrossEntropy(forward.logits.neg(), labels.to(device_), at::Tensor()).grad;
    }
    if (options_.kind == ImportanceKind::kSampled) {
      labels = labels.clone();
      DrawLabels(forward.logits, forward.rows_of_example, streams, labels);
    }
    return nn::ops::CrossEntropy(forward.logits, labels.to(device_), at::Tensor()).grad;
  }

  void AddBatched(const Forward& forward) {
    model_.parameters().ZeroGradients();
    const int64_t counted = (forward.labels != nn::ops::kIgnored).sum().item<int64_t>();
    at::Tensor gradient = nn::ops::CrossEntropy(forward.logits, forward.labels.to(device_), at::Tensor()).grad;
    model_.Backward(gradient.div_(static_cast<double>(std::max<int64_t>(counted, 1))), *forward.tape, *sink_);
    AddOwnGradient(1.0);
    ++batches_;
  }

  // What the model's own gradient buffer holds.
  void AddOwnGradient(double weight) {
    const at::Tensor gradient = model_.parameters().gradients().narrow(0, 0, fisher_.numel());
    if (measure_ == Measure::kLength) {
      fisher_.add_(gradient.abs(), weight);
    } else {
      fisher_.addcmul_(gradient, gradient, weight);
    }
  }

  nn::Model& model_;
  const train::TaskSpec spec_;
  const std::span<const TrainingExample> examples_;
  const Measure measure_;
  const ImportanceOptions& options_;
  const int64_t total_;
  nn::GradientSink* const also_;  // may be null
  const at::Device device_;
  at::Tensor fisher_;
  std::unique_ptr<nn::GradientSink> sink_;
  ImportanceSink* squares_ = nullptr;  // sink_, unless kBatched
  int64_t batches_ = 0;
  int64_t right_ = 0;                    // answers that are the true label
  std::map<int64_t, int64_t> of_label_;  // units by true label
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
    ENGRAM_RETURN_IF_ERROR(engine.AddBatch({all.begin() + begin, all.begin() + end}, {}, begin));
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
    const int64_t first = chosen[begin];
    Batch batch;
    std::vector<RandomStream> labels;
    int64_t tokens = 0;
    for (; begin < total; ++begin) {
      const Text& next = texts[chosen[begin]];
      const bool full = tokens + next.tokens > batch_tokens || engine.one_by_one();
      if (next.in_windows || (!batch.empty() && full)) break;
      batch.push_back(&examples[next.first]);
      labels.push_back(engine.Labels(chosen[begin]));
      tokens += next.tokens;
    }
    if (!batch.empty()) {
      ENGRAM_RETURN_IF_ERROR(engine.AddBatch(batch, labels, first));
    } else {
      const Text& text = texts[first];
      ENGRAM_RETURN_IF_ERROR(engine.AddWindows(examples.subspan(text.first, text.windows), first));
      ++begin;
    }
    if (progress && !progress(begin, total)) return absl::CancelledError("the importance pass was cancelled");
  }
  return absl::OkStatus();
}

absl::Status CheckArguments(const nn::Model& model, const std::string& task, size_t examples, Measure measure,
                            const ImportanceOptions& options) {
  auto head = model.heads().find(task);
  if (head == model.heads().end()) {
    return StatusWithReason(
        absl::StatusCode::kFailedPrecondition, "TASK_NOT_LEARNED",
        absl::StrCat("task ", task, " has no head in this version: train it before it is consolidated"));
  }
  if (examples == 0) return InvalidField("samples", "the task has no training texts to take the importance on");
  if (head->second.kind == checkpoint::TaskKind::kMaskedLanguageModel) {
    if (!options.masking) return InvalidField("masking", "is needed for a masked language model");
    if (measure == Measure::kLikelihood && options.kind == ImportanceKind::kExact) {
      return InvalidField("fisher",
                          "exact needs one pass for each masked token and word of the vocabulary; use sampled or "
                          "empirical for a masked language model");
    }
  }
  if (options.batch_size < 1) return InvalidField("batch_size", "must be at least 1");
  return absl::OkStatus();
}

absl::StatusOr<Importance> Compute(nn::Model& model, const std::string& task, std::span<const TrainingExample> examples,
                                   Measure measure, const ImportanceOptions& options,
                                   const ImportanceProgress& progress, nn::GradientSink* also) {
  ENGRAM_RETURN_IF_ERROR(CheckArguments(model, task, examples.size(), measure, options));
  if (also != nullptr && options.kind == ImportanceKind::kBatched)
    return InvalidField("fisher", "batched has no gradients of texts");
  const std::vector<Text> texts = FindTexts(examples);
  const std::vector<int64_t> chosen = ChooseTexts(static_cast<int64_t>(texts.size()), options);
  const auto total = static_cast<int64_t>(chosen.size());
  Engine engine(model, task, examples, measure, options, total, also);
  if (engine.batched()) {
    ENGRAM_RETURN_IF_ERROR(AddInOrder(engine, examples, texts, chosen, options.batch_size, progress));
  } else {
    ENGRAM_RETURN_IF_ERROR(AddByLength(engine, examples, texts, chosen, options.batch_tokens, progress));
  }
  Importance importance;
  importance.fisher = engine.Finish();
  importance.samples = total;
  importance.training_examples = static_cast<int64_t>(texts.size());
  engine.ReportAnswers(importance);
  importance.trace = SumAndMinOf(importance.fisher).sum;
  if (!std::isfinite(importance.trace)) {
    return StatusWithReason(
        absl::StatusCode::kAborted, "IMPORTANCE_NOT_FINITE",
        "the importance holds NaN or Inf: the model's weights or activations overflow on this data");
  }
  return importance;
}

}  // namespace

absl::StatusOr<ImportanceKind> ParseImportanceKind(const std::string& name) {
  std::vector<std::string> names;
  for (const auto& [kind, known] : kKindNames) {
    if (name == known) return kind;
    names.push_back(known);
  }
  return InvalidField("fisher",
                      absl::StrCat("unknown kind \"", name, "\"; the kinds are ", absl::StrJoin(names, ", ")));
}

std::string ImportanceKindName(ImportanceKind kind) { return kKindNames[static_cast<int>(kind)].second; }

absl::StatusOr<Importance> ComputeImportance(nn::Model& model, const std::string& task,
                                             std::span<const TrainingExample> examples,
                                             const ImportanceOptions& options, const ImportanceProgress& progress,
                                             nn::GradientSink* also) {
  return Compute(model, task, examples, Measure::kLikelihood, options, progress, also);
}

absl::StatusOr<Importance> ComputeSensitivity(nn::Model& model, const std::string& task,
                                              std::span<const TrainingExample> examples,
                                              const ImportanceOptions& options, const ImportanceProgress& progress) {
  return Compute(model, task, examples, Measure::kLength, options, progress, /*also=*/nullptr);
}

}  // namespace engram::continual
