// Runs one model on one batch and writes what it computed, for tests/parity/test_model.py and test_importance.py to
// compare with autograd.
//
//   parity_model SPEC.json OUT.safetensors
//   SPEC: {"directory", "precision": "fp32|bf16", "head": {"kind": "sequence|token|mlm", "labels", "pooling":
//          "standard|mean"} or null,
//          "sequences": [{"ids", "type_ids", "windows": [[tokens, counted], ...] of a text in windows}], "targets": [...], "rows": [...] (mlm), "save": directory or "",
//          "importance": [{"kind", "samples", "seed", "batch_size", "batch_tokens"}], "steps": n, "lr": x}
// OUT: "hidden", "logits", "loss", "gradient.<name>"; for request i of importance "fisher.<i>.<name>"; with `steps`
// AdamW steps "losses" (before each step) and "weight.<name>" after them.

#include <fstream>
#include <iostream>

#include "ATen/Parallel.h"
#include "ATen/TensorOperators.h"
#include "ATen/ops/tensor.h"
#include "ATen/ops/zeros.h"
#include "core/base/files.h"
#include "core/checkpoint/safetensors.h"
#include "core/continual/consolidation.h"
#include "core/continual/importance.h"
#include "core/continual/importance_sink.h"
#include "core/nn/model_io.h"
#include "core/nn/ops/cross_entropy/cross_entropy.h"
#include "core/train/adamw.h"
#include "core/train/schedule.h"
#include "nlohmann/json.hpp"

namespace engram {
namespace {

class Results {
 public:
  void Add(const std::string& name, const at::Tensor& tensor) {
    kept_.emplace_back(name, tensor.to(at::kFloat).contiguous());
  }
  absl::Status Write(const std::string& path) const {
    std::vector<checkpoint::TensorToWrite> tensors;
    for (const auto& [name, tensor] : kept_) {
      tensors.push_back(
          {name,
           checkpoint::Dtype::kF32,
           {tensor.sizes().begin(), tensor.sizes().end()},
           {static_cast<const std::byte*>(tensor.const_data_ptr()), static_cast<size_t>(tensor.nbytes())}});
    }
    return checkpoint::WriteSafetensors(path, std::move(tensors), {});
  }

 private:
  std::vector<std::pair<std::string, at::Tensor>> kept_;
};

// Adds "prefix<name>" for each slot out of a flat tensor.
void AddSlices(const nn::Model& model, const at::Tensor& flat, const std::string& prefix, Results& results) {
  for (const nn::ParameterSlice& slice : model.parameters().slices()) {
    if (slice.offset + slice.size > flat.numel()) continue;
    results.Add(prefix + slice.name, flat.narrow(0, slice.offset, slice.size).view(slice.shape));
  }
}

// The empirical Fisher of a masked LM, whose word embeddings are also its decoder: what ComputeImportance does not
// offer as a task, but the sink must get right for every tied model.
void AddTiedImportance(const nn::Model& model, const nn::PackedBatch& batch, const at::Tensor& loss_gradient,
                       const nn::Tape& tape, const std::string& prefix, Results& results) {
  at::Tensor fisher = at::zeros({model.EncoderElements()}, at::kFloat);
  continual::ImportanceSink sink(model.parameters(), fisher,
                                 {model.parameters().Find("embeddings.word_embeddings.weight")}, /*absolute=*/false);
  sink.SetWeights(std::vector<float>(batch.sequences(), 1.0F / static_cast<float>(batch.sequences())));
  model.Backward(loss_gradient, tape, sink);
  AddSlices(model, fisher, prefix, results);
}

// The texts as a data set hands them to the importance pass: a label each, or a tag each token.
std::vector<train::TrainingExample> ToExamples(const std::vector<nn::Sequence>& sequences,
                                               const std::vector<int64_t>& targets, checkpoint::TaskKind kind) {
  std::vector<train::TrainingExample> examples;
  auto next = targets.begin();
  for (const nn::Sequence& sequence : sequences) {
    train::TrainingExample example;
    example.sequence = sequence;
    if (kind == checkpoint::TaskKind::kSequenceClassification) {
      example.label = *next++;
    } else {
      example.tags.assign(next, next + static_cast<std::ptrdiff_t>(sequence.ids.size()));
      next += static_cast<std::ptrdiff_t>(sequence.ids.size());
    }
    examples.push_back(std::move(example));
  }
  return examples;
}

absl::Status AddImportance(nn::Model& model, const std::vector<train::TrainingExample>& examples,
                           const nlohmann::json& request, const std::string& prefix, Results& results) {
  continual::ImportanceOptions options;
  ENGRAM_ASSIGN_OR_RETURN(options.kind, continual::ParseImportanceKind(request.at("kind")));
  options.samples = request.value("samples", int64_t{0});
  options.seed = request.value("seed", uint64_t{0});
  options.batch_size = request.value("batch_size", options.batch_size);
  options.batch_tokens = request.value("batch_tokens", options.batch_tokens);
  ENGRAM_ASSIGN_OR_RETURN(const continual::Importance importance,
                          continual::ComputeImportance(model, "task", examples, options));
  AddSlices(model, importance.fisher, prefix, results);
  return absl::OkStatus();
}

// AdamW on one batch, linear schedule with 4 steps of warm-up, clipping at 1.
void TrainSteps(nn::Model& model, const nn::PackedBatch& batch, const at::Tensor& rows, const at::Tensor& targets,
                int steps, double lr, Results& results) {
  std::vector<nn::SlotId> slots = model.EncoderSlots();
  for (const nn::SlotId slot : model.HeadSlots("task")) slots.push_back(slot);
  train::AdamW optimizer(&model.parameters(), slots, {});
  nn::AccumulateSink sink(&model.parameters());
  const double counted = (targets != nn::ops::kIgnored).sum().item<double>();
  std::vector<double> losses;
  for (int step = 0; step < steps; ++step) {
    model.parameters().ZeroGradients();
    const auto tape = nn::Model::NewTape();
    const at::Tensor logits = model.Predict(batch, {"task", rows}, std::nullopt, tape.get());
    const auto loss = nn::ops::CrossEntropy(logits, targets, at::Tensor());
    losses.push_back(loss.loss.sum().item<double>() / counted);
    model.Backward(loss.grad / counted, *tape, sink);
    const double clip = train::ClipScale(train::GradientNorm(model.parameters(), optimizer.ranges()), 1.0);
    optimizer.Step(lr * train::ScheduleFactor(train::ScheduleKind::kLinear, step, 4, steps), clip, {});
  }
  results.Add("losses", at::tensor(losses));
  AddSlices(model, model.parameters().weights(), "weight.", results);
}

// Everything that stands on the head: logits, loss, gradients, importance, steps.
absl::Status RunHead(const nlohmann::json& spec, nn::Model& model, checkpoint::TaskKind kind,
                     const std::vector<nn::Sequence>& sequences, const nn::PackedBatch& batch, Results& results) {
  at::Tensor rows;
  if (spec.contains("rows")) rows = at::tensor(spec.at("rows").get<std::vector<int64_t>>());
  const auto target_list = spec.at("targets").get<std::vector<int64_t>>();
  const at::Tensor targets = at::tensor(target_list);
  const auto tape = nn::Model::NewTape();
  const at::Tensor logits = model.Predict(batch, {"task", rows}, std::nullopt, tape.get());
  results.Add("logits", logits);
  const double counted = (targets != nn::ops::kIgnored).sum().item<double>();
  const auto loss = nn::ops::CrossEntropy(logits, targets, at::Tensor());
  results.Add("loss", (loss.loss.sum() / counted).reshape({1}));
  model.parameters().EnableGradients();
  nn::AccumulateSink sink(&model.parameters());
  model.Backward(loss.grad / counted, *tape, sink);
  AddSlices(model, model.parameters().gradients(), "gradient.", results);
  const nlohmann::json requests = spec.value("importance", nlohmann::json::array());
  for (size_t i = 0; i < requests.size(); ++i) {
    const std::string prefix = "fisher." + std::to_string(i) + ".";
    if (kind == checkpoint::TaskKind::kMaskedLanguageModel) {
      AddTiedImportance(model, batch, loss.grad, *tape, prefix, results);
      continue;
    }
    std::vector<train::TrainingExample> examples = ToExamples(sequences, target_list, kind);
    for (const size_t window : spec.value("continues", std::vector<size_t>())) examples[window].continues = true;
    ENGRAM_RETURN_IF_ERROR(AddImportance(model, examples, requests[i], prefix, results));
  }
  if (const int steps = spec.value("steps", 0); steps > 0)
    TrainSteps(model, batch, rows, targets, steps, spec.at("lr"), results);
  return absl::OkStatus();
}

absl::Status Run(const nlohmann::json& spec, const std::string& out) {
  nn::LoadOptions options;
  options.precision = spec.at("precision") == "bf16" ? nn::Precision::kBFloat16 : nn::Precision::kFloat32;
  nn::HeadConfig head;
  const bool has_head = !spec.at("head").is_null();
  if (has_head) {
    const std::string kind = spec.at("head").at("kind");
    head.kind = kind == "sequence" ? checkpoint::TaskKind::kSequenceClassification
                : kind == "token"  ? checkpoint::TaskKind::kTokenClassification
                                   : checkpoint::TaskKind::kMaskedLanguageModel;
    head.labels = spec.at("head").at("labels");
    head.pooling =
        spec.at("head").at("pooling") == "mean" ? checkpoint::Pooling::kMean : checkpoint::Pooling::kStandard;
    options.head = nn::FileHead{"task", head};
  }
  ENGRAM_ASSIGN_OR_RETURN(nn::LoadedModel loaded, nn::LoadModel(spec.at("directory"), options));
  nn::Model& model = *loaded.model;
  std::vector<nn::Sequence> sequences;
  for (const auto& s : spec.at("sequences")) {
    sequences.push_back({s.at("ids"), s.value("type_ids", std::vector<int32_t>())});
    for (const auto& window : s.value("windows", nlohmann::json::array()))
      sequences.back().windows.push_back({window.at(0), window.at(1)});
  }
  ENGRAM_ASSIGN_OR_RETURN(const nn::PackedBatch batch, nn::Pack(sequences, at::kCPU));
  Results results;
  const auto tape = nn::Model::NewTape();
  const at::Tensor hidden = model.Encode(batch, std::nullopt, tape.get());
  results.Add("hidden", hidden);
  results.Add("hidden_inference", model.Encode(batch, std::nullopt, nullptr));
  if (has_head) ENGRAM_RETURN_IF_ERROR(RunHead(spec, model, head.kind, sequences, batch, results));
  if (const std::string save = spec.value("save", ""); !save.empty()) {
    std::vector<std::string> labels;
    for (int64_t i = 0; i < head.labels; ++i) labels.push_back("label-" + std::to_string(i));
    ENGRAM_RETURN_IF_ERROR(nn::SaveModel(model, loaded.config_text, has_head ? "task" : "", labels, save));
    ENGRAM_RETURN_IF_ERROR(nn::SaveHeads(model, head.pooling == checkpoint::Pooling::kStandard ? "task" : "",
                                         save + "/heads.safetensors"));
  }
  return results.Write(out);
}

}  // namespace
}  // namespace engram

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  at::set_num_threads(2);
  const absl::Status status = engram::Run(nlohmann::json::parse(std::ifstream(argv[1])), argv[2]);
  if (!status.ok()) std::cerr << status << "\n";
  return status.ok() ? 0 : 1;
}
