// A task's own blocks in the encoder, against a BERT layer written out in fp64 whose gradients are autograd's.

#include "core/nn/task_blocks.h"

#include <cmath>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "ATen/Parallel.h"
#include "ATen/TensorOperators.h"
#include "ATen/ops/cat.h"
#include "ATen/ops/embedding.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/equal.h"
#include "ATen/ops/gelu.h"
#include "ATen/ops/layer_norm.h"
#include "ATen/ops/linear.h"
#include "ATen/ops/matmul.h"
#include "ATen/ops/softmax.h"
#include "ATen/ops/tensor.h"
#include "absl/strings/str_cat.h"
#include "c10/core/GradMode.h"
#include "core/base/files.h"
#include "core/nn/model.h"
#include "core/nn/model_io.h"
#include "tests/unit/tiny_model.h"

namespace engram::nn {
namespace {

using checkpoint::Blocks;
using checkpoint::BlocksKind;
using checkpoint::BlocksPlaces;

constexpr int64_t kLabels = 3;
const Blocks kAdapter{BlocksKind::kAdapter, BlocksPlaces::kSublayers, 5, 1, {}};
const Blocks kLowRank{BlocksKind::kLowRank, BlocksPlaces::kAll, 3, 0.75, {}};
const Blocks kColumn{BlocksKind::kProgressive, BlocksPlaces::kSublayers, 6, 1, {}};
const Blocks kSecondColumn{BlocksKind::kProgressive, BlocksPlaces::kSublayers, 4, 1, {"column"}};
const Blocks kThirdColumn{BlocksKind::kProgressive, BlocksPlaces::kSublayers, 7, 1, {"column", "second"}};

EncoderConfig Config() {
  EncoderConfig config = TinyConfig(/*dropout=*/0);
  config.initializer_range = 0.2;
  return config;
}

std::unique_ptr<Model> NewModel(double draw = 0.3) {
  auto model = *Model::Create(Config(), at::kCPU, Precision::kFloat32);
  model->InitializeEncoder(1);
  const auto add = [&](const std::string& task, const Blocks& blocks) {
    const HeadConfig head{
        checkpoint::TaskKind::kTokenClassification, kLabels, checkpoint::Pooling::kStandard, {}, blocks};
    const absl::Status added = model->AddHead(task, head, 2);
    EXPECT_TRUE(added.ok()) << added;
  };
  add("plain", {});
  add("adapter", kAdapter);
  add("low_rank", kLowRank);
  add("column", kColumn);
  add("second", kSecondColumn);
  add("third", kThirdColumn);
  // Parts that begin at 0 would hide what stands behind them.
  ParameterBuffer& parameters = model->parameters();
  for (size_t slot = 0; slot < parameters.slices().size(); ++slot) {
    const at::Tensor weight = parameters.Weight(static_cast<SlotId>(slot));
    if (draw == 0 || parameters.slices()[slot].name.find(".blocks.") == std::string::npos) continue;
    RandomStream random(7, RandomPurpose::kSubset, slot);
    for (int64_t i = 0; i < weight.numel(); ++i) weight.view({-1})[i] = static_cast<float>(draw * random.NextNormal());
  }
  parameters.RefreshCompute();
  return model;
}

PackedBatch TwoTexts() {
  const std::vector<Sequence> sequences = {{{1, 2, 3, 4, 5, 9, 9}, {}}, {{6, 7, 8, 50}, {}}};
  return *Pack(std::span<const Sequence>(sequences), at::kCPU);
}

// The model in fp64, one text at a time, as the header states it; differentiable.
class Oracle {
 public:
  explicit Oracle(const Model& model) : config_(model.config()) {
    const ParameterBuffer& parameters = model.parameters();
    for (size_t slot = 0; slot < parameters.slices().size(); ++slot) {
      values[parameters.slices()[slot].name] =
          parameters.Weight(static_cast<SlotId>(slot)).to(at::kDouble).detach().clone().requires_grad_(true);
    }
  }

  // The logits of every token.
  at::Tensor Logits(const PackedBatch& batch, const std::string& task, const Model& model) const {
    std::vector<at::Tensor> rows;
    for (int64_t i = 0; i < batch.sequences(); ++i) {
      const at::Tensor ids = batch.ids.narrow(0, batch.host_cu_seqlens[i], batch.length(i)).to(at::kLong);
      std::vector<std::map<std::string, at::Tensor>> codes;
      for (const std::string& earlier : model.heads().at(task).blocks.earlier) {
        // An earlier column is no function of the task's own parts.
        std::map<std::string, at::Tensor> own;
        Hidden(ids, earlier, model.heads().at(earlier).blocks, codes, own);
        for (auto& [place, code] : own) code = code.detach();
        codes.push_back(own);
      }
      std::map<std::string, at::Tensor> own;
      const at::Tensor hidden = Hidden(ids, task, model.heads().at(task).blocks, codes, own);
      rows.push_back(Linear(hidden, absl::StrCat("heads.", task, ".classifier")));
    }
    return at::cat(rows);
  }

  std::map<std::string, at::Tensor> values;

 private:
  at::Tensor Linear(const at::Tensor& x, const std::string& name) const {
    return at::linear(x, values.at(name + ".weight"), values.at(name + ".bias"));
  }
  at::Tensor Norm(const at::Tensor& x, const std::string& name) const {
    return at::layer_norm(x, {config_.hidden_size}, values.at(name + ".weight"), values.at(name + ".bias"),
                          config_.layer_norm_eps);
  }
  // The linear layer `name` with what the task adds behind it; `part` its name in the blocks.
  at::Tensor With(const at::Tensor& x, const std::string& name, const std::string& task, const Blocks& blocks,
                  const std::string& part, const std::vector<std::map<std::string, at::Tensor>>& codes,
                  std::map<std::string, at::Tensor>& own) const {
    const at::Tensor y = Linear(x, name);
    const std::string prefix = absl::StrCat("heads.", task, ".blocks.", part, ".");
    if (!values.contains(prefix + "down.weight")) return y;
    const at::Tensor down = values.at(prefix + "down.weight"), up = values.at(prefix + "up.weight");
    if (blocks.kind == BlocksKind::kLowRank) return y + blocks.scale * at::matmul(at::matmul(x, down.t()), up.t());
    at::Tensor pre = at::matmul(y, down.t()) + values.at(prefix + "down.bias");
    for (size_t j = 0; j < codes.size(); ++j)
      pre = pre + at::matmul(codes[j].at(part), values.at(absl::StrCat(prefix, "lateral.", j, ".weight")).t());
    own[part] = at::gelu(pre, "none");
    return y + at::matmul(own[part], up.t()) + values.at(prefix + "up.bias");
  }
  at::Tensor Hidden(const at::Tensor& ids, const std::string& task, const Blocks& blocks,
                    const std::vector<std::map<std::string, at::Tensor>>& codes,
                    std::map<std::string, at::Tensor>& own) const {
    const int64_t length = ids.size(0), d = config_.hidden_size, width = d / config_.heads;
    at::Tensor x = at::embedding(values.at("embeddings.word_embeddings.weight"), ids) +
                   values.at("embeddings.position_embeddings.weight").narrow(0, 0, length) +
                   values.at("embeddings.token_type_embeddings.weight").select(0, 0);
    x = Norm(x, "embeddings.LayerNorm");
    for (int64_t l = 0; l < config_.layers; ++l) {
      const std::string layer = absl::StrCat("encoder.layer.", l, ".");
      const auto with = [&](const at::Tensor& in, const std::string& name, const std::string& part) {
        return With(in, layer + name, task, blocks, absl::StrCat(l, ".", part), codes, own);
      };
      const auto heads = [&](const at::Tensor& y) { return y.view({length, config_.heads, width}).transpose(0, 1); };
      const at::Tensor q = heads(with(x, "attention.self.query", "query")),
                       k = heads(with(x, "attention.self.key", "key")),
                       v = heads(with(x, "attention.self.value", "value"));
      const at::Tensor scores = at::matmul(q, k.transpose(1, 2)) / std::sqrt(static_cast<double>(width));
      const at::Tensor mixed = at::matmul(at::softmax(scores, -1), v).transpose(0, 1).reshape({length, d});
      x = Norm(with(mixed, "attention.output.dense", "attention_output") + x, layer + "attention.output.LayerNorm");
      const at::Tensor inner = at::gelu(with(x, "intermediate.dense", "intermediate"), "none");
      x = Norm(with(inner, "output.dense", "output") + x, layer + "output.LayerNorm");
    }
    return x;
  }

  const EncoderConfig config_;
};

class TaskBlocksOf : public ::testing::TestWithParam<std::string> {};

TEST_P(TaskBlocksOf, LogitsAndEveryGradientAreThoseOfTheFormula) {
  const std::string task = GetParam();
  const auto model = NewModel();
  const PackedBatch batch = TwoTexts();
  Oracle oracle(*model);
  const at::Tensor expected = oracle.Logits(batch, task, *model);
  const auto tape = Model::NewTape();
  const at::Tensor logits = model->Predict(batch, {task, at::Tensor()}, std::nullopt, tape.get());
  EXPECT_LT((logits - expected).abs().max().item<double>(), 2e-5);
  const at::Tensor plain = model->Predict(batch, {"plain", at::Tensor()}, std::nullopt, nullptr);

  at::Tensor weight = at::empty(logits.sizes(), at::kFloat);
  RandomStream random(5, RandomPurpose::kSubset, 0);
  for (int64_t i = 0; i < weight.numel(); ++i) weight.view({-1})[i] = static_cast<float>(random.NextNormal());
  (expected * weight.to(at::kDouble)).sum().backward();
  model->parameters().EnableGradients();
  AccumulateSink sink(&model->parameters());
  model->Backward(weight, std::move(*tape), sink);
  const ParameterBuffer& parameters = model->parameters();
  int64_t of_blocks = 0;
  for (size_t slot = 0; slot < parameters.slices().size(); ++slot) {
    const std::string& name = parameters.slices()[slot].name;
    const at::Tensor own =
        parameters.gradients().narrow(0, parameters.slices()[slot].offset, parameters.slices()[slot].size);
    const at::Tensor& gradient = oracle.values.at(name).grad();
    const bool mine = name.starts_with(absl::StrCat("heads.", task, "."));
    EXPECT_TRUE(mine || !name.starts_with("heads.") || own.abs().max().item<double>() == 0) << name;
    if (!gradient.defined()) {
      EXPECT_EQ(own.abs().max().item<double>(), 0) << name;
      continue;
    }
    const double size = gradient.abs().max().item<double>();
    EXPECT_LT((own - gradient.reshape({-1})).abs().max().item<double>(), 1e-4 * size + 1e-5) << name;
    if (mine && name.find(".blocks.") != std::string::npos) {
      ++of_blocks;
      EXPECT_GT(size, 1e-4) << name << " plays no part";
    }
  }
  const size_t parts = model->HeadSlots(task).size() - model->HeadSlots("plain").size();
  EXPECT_EQ(of_blocks, static_cast<int64_t>(parts));
  EXPECT_EQ(parts > 0, task != "plain");
}

INSTANTIATE_TEST_SUITE_P(Kinds, TaskBlocksOf,
                         ::testing::Values("plain", "adapter", "low_rank", "column", "second", "third"),
                         [](const auto& info) { return info.param; });

TEST(TaskBlocks, AsTheyAreDrawnTheEncoderAnswersAsItIs) {
  const auto model = NewModel(/*draw=*/0);
  const PackedBatch batch = TwoTexts();
  ParameterBuffer& parameters = model->parameters();
  const std::vector<SlotId> plain = model->HeadSlots("plain");
  const at::Tensor expected = model->Predict(batch, {"plain", at::Tensor()}, std::nullopt, nullptr);
  for (const char* task : {"adapter", "low_rank", "column", "second", "third"}) {
    const std::vector<SlotId> slots = model->HeadSlots(task);
    for (size_t i = 0; i < plain.size(); ++i) parameters.Weight(slots[i]).copy_(parameters.Weight(plain[i]));
    const at::Tensor own = model->Predict(batch, {task, at::Tensor()}, std::nullopt, nullptr);
    EXPECT_LT((own - expected).abs().max().item<double>(), 1e-6) << task;
  }
}

// A low-rank update that stays apart answers as one that was merged into the weights does.
TEST(TaskBlocks, ALowRankUpdateAnswersAsTheMergedWeightsDo) {
  const auto model = NewModel();
  const auto merged = NewModel();
  const ParameterBuffer& parameters = model->parameters();
  for (int64_t l = 0; l < Config().layers; ++l) {
    for (const auto& [part, name] : std::map<std::string, std::string>{{"query", "attention.self.query"},
                                                                       {"key", "attention.self.key"},
                                                                       {"value", "attention.self.value"},
                                                                       {"attention_output", "attention.output.dense"},
                                                                       {"intermediate", "intermediate.dense"},
                                                                       {"output", "output.dense"}}) {
      const std::string prefix = absl::StrCat("heads.low_rank.blocks.", l, ".", part, ".");
      const at::Tensor a = parameters.Weight(parameters.Find(prefix + "down.weight")),
                       b = parameters.Weight(parameters.Find(prefix + "up.weight"));
      merged->parameters()
          .Weight(parameters.Find(absl::StrCat("encoder.layer.", l, ".", name, ".weight")))
          .add_(at::matmul(b, a), kLowRank.scale);
    }
  }
  const std::vector<SlotId> head = model->HeadSlots("low_rank"), plain = model->HeadSlots("plain");
  for (size_t i = 0; i < plain.size(); ++i) merged->parameters().Weight(plain[i]).copy_(parameters.Weight(head[i]));
  const PackedBatch batch = TwoTexts();
  const at::Tensor apart = model->Predict(batch, {"low_rank", at::Tensor()}, std::nullopt, nullptr);
  const at::Tensor together = merged->Predict(batch, {"plain", at::Tensor()}, std::nullopt, nullptr);
  const double largest = (apart - together).abs().max().item<double>();
  RecordProperty("largest_difference", absl::StrCat(largest));
  EXPECT_LT(largest, 2e-5) << "of logits up to " << together.abs().max().item<double>();
  EXPECT_GT((apart - model->Predict(batch, {"plain", at::Tensor()}, std::nullopt, nullptr)).abs().max().item<double>(),
            0.1);
}

// Tasks with blocks and without in one call: each answers, and has the gradient, that it has alone.
TEST(TaskBlocks, OneCallForSeveralTasksIsOneCallEach) {
  const auto model = NewModel();
  model->parameters().EnableGradients();
  const PackedBatch batch = TwoTexts();
  const std::vector<TaskQuery> queries = {{"third", {}}, {"plain", {}}, {"low_rank", {}}, {"adapter", {}}};
  const auto tape = Model::NewTape();
  const std::vector<at::Tensor> together = model->Predict(batch, queries, std::nullopt, tape.get());
  std::vector<HeadGradient> gradients;
  AccumulateSink sink(&model->parameters());
  for (size_t i = 0; i < queries.size(); ++i) {
    const auto alone = Model::NewTape();
    EXPECT_TRUE(at::equal(model->Predict(batch, queries[i], std::nullopt, alone.get()), together[i]));
    gradients.push_back({i, together[i]});
    model->Backward(together[i], *alone, sink);
  }
  const at::Tensor sum = model->parameters().gradients().clone();
  model->parameters().ZeroGradients();
  model->Backward(gradients, *tape, sink);
  EXPECT_LT((model->parameters().gradients() - sum).abs().max().item<double>(), 1e-5 * sum.abs().max().item<double>());
  // A part of the queries alone.
  model->parameters().ZeroGradients();
  model->Backward(std::span(gradients).subspan(2, 1), *tape, sink);
  for (const SlotId slot : model->HeadSlots("third"))
    EXPECT_EQ(model->parameters().gradient_buffer()->Of(slot).abs().max().item<double>(), 0);
}

TEST(TaskBlocks, ACopyAndSeveralThreadsAnswerTheSame) {
  const auto model = NewModel();
  const auto copy = model->Clone();
  std::vector<Sequence> sequences(20);
  for (size_t i = 0; i < sequences.size(); ++i) sequences[i].ids.assign(3 + i, static_cast<int32_t>(2 + i));
  const PackedBatch batch = *Pack(std::span<const Sequence>(sequences), at::kCPU);
  const int threads = at::get_num_threads();
  for (const auto& [task, head] : model->heads()) {
    at::set_num_threads(1);
    const at::Tensor expected = model->Predict(batch, {task, at::Tensor()}, std::nullopt, nullptr);
    at::set_num_threads(2);
    EXPECT_LT((copy->Predict(batch, {task, at::Tensor()}, std::nullopt, nullptr) - expected).abs().max().item<double>(),
              1e-5)
        << task;
    at::set_num_threads(threads);
  }
}

TEST(TaskBlocks, AreSavedAndLoadedWithTheHeads) {
  const auto model = NewModel();
  std::string directory = ::testing::TempDir() + "/engram-blocks-XXXXXX";
  ASSERT_NE(mkdtemp(directory.data()), nullptr);
  const std::string path = directory + "/heads.safetensors";
  ASSERT_TRUE(SaveHeads(*model, "", path).ok());
  const auto loaded = NewModel(/*draw=*/0);
  const absl::Status status = LoadHeads(path, "", *loaded);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_TRUE(at::equal(loaded->parameters().weights(), model->parameters().weights()));
  ASSERT_TRUE(RemoveTree(directory).ok());
}

TEST(TaskBlocks, WhatDoesNotFitIsRefused) {
  const auto model = NewModel();
  EXPECT_EQ(model->AddBlocks("none", kAdapter, 1).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(model->AddBlocks("adapter", kAdapter, 1).code(), absl::StatusCode::kAlreadyExists);
  Blocks blocks = kSecondColumn;
  blocks.earlier = {"plain"};
  EXPECT_EQ(model->AddBlocks("plain", blocks, 1).code(), absl::StatusCode::kNotFound);
  blocks.earlier = {"adapter"};
  EXPECT_EQ(model->AddBlocks("plain", blocks, 1).code(), absl::StatusCode::kInvalidArgument);
  blocks = kAdapter;
  blocks.places = BlocksPlaces::kAll;
  EXPECT_EQ(model->AddBlocks("plain", blocks, 1).code(), absl::StatusCode::kInvalidArgument);
  // The head may be replaced, the column that others read may not.
  HeadConfig head = model->heads().at("column");
  const at::Tensor before = model->Predict(TwoTexts(), {"third", at::Tensor()}, std::nullopt, nullptr);
  EXPECT_TRUE(model->ReplaceHead("column", head, 1).ok());
  EXPECT_EQ(model->heads().at("column").blocks, kColumn);
  EXPECT_TRUE(at::equal(model->Predict(TwoTexts(), {"third", at::Tensor()}, std::nullopt, nullptr), before));
  head.blocks = {};
  EXPECT_EQ(model->ReplaceHead("column", head, 1).code(), absl::StatusCode::kFailedPrecondition);
  head = model->heads().at("adapter");
  head.blocks = {};
  EXPECT_TRUE(model->ReplaceHead("adapter", head, 1).ok());
  EXPECT_EQ(model->HeadSlots("adapter").size(), model->HeadSlots("plain").size());
}

// What stands in engram.json says how large the blocks are before one is made.
TEST(TaskBlocks, TheirSizeIsKnownBefore) {
  const auto model = NewModel();
  const std::map<std::string, std::vector<int64_t>> widths = {{"second", {6}}, {"third", {6, 4}}};
  for (const auto& [task, head] : model->heads()) {
    int64_t elements = 0;
    for (const SlotId slot : model->HeadSlots(task)) elements += model->parameters().slice(slot).size;
    for (const SlotId slot : model->HeadSlots("plain")) elements -= model->parameters().slice(slot).size;
    const auto earlier = widths.find(task);
    EXPECT_EQ(
        TaskBlocks::Elements(head.blocks, Config(), earlier == widths.end() ? std::vector<int64_t>() : earlier->second),
        elements)
        << task;
  }
}

}  // namespace
}  // namespace engram::nn
