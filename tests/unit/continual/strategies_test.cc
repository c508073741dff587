#include <cmath>
#include <cstdlib>
#include <deque>
#include <limits>

#include "ATen/ops/equal.h"
#include "ATen/ops/from_blob.h"
#include "ATen/ops/ones.h"
#include "ATen/ops/ones_like.h"
#include "ATen/ops/zeros_like.h"
#include "core/base/files.h"
#include "core/checkpoint/safetensors.h"
#include "core/continual/registry.h"
#include "core/train/quadratic_penalty.h"
#include "core/train/trainer.h"
#include "gmock/gmock.h"
#include "tests/unit/tiny_model.h"

namespace engram::continual {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr int64_t kLabels = 3;

train::TrainOptions Options() {
  train::TrainOptions options;
  options.lr = 2e-3;
  options.epochs = 2;
  options.batch_size = 8;
  options.warmup_ratio = 0;
  return options;
}

Consolidation Consolidate(nn::Model& model, const std::string& task,
                          const std::vector<train::TrainingExample>& examples) {
  ImportanceOptions options;
  options.kind = ImportanceKind::kExact;
  options.samples = 0;
  auto importance = ComputeImportance(model, task, examples, options);
  EXPECT_TRUE(importance.ok()) << importance.status();
  Consolidation made;
  made.task = task;
  made.kind = options.kind;
  made.samples = importance->samples;
  made.training_examples = static_cast<int64_t>(examples.size());
  made.fisher = importance->fisher;
  made.anchor = EncoderWeights(model);
  return made;
}

struct Learned {
  at::Tensor weights;
  double last_penalty = 0, first_penalty = 0;
};

// Task b on top of a fixed model with one strategy.
Learned LearnB(const std::string& name, const std::map<std::string, std::string>& options) {
  const auto model = TinyModel({"a", "b"}, kLabels);
  const auto a = TinyExamples(40, kLabels, 1), b = TinyExamples(40, kLabels, 9);
  std::vector<Consolidation> consolidations;
  if (name != "naive") consolidations.push_back(Consolidate(*model, "a", a));
  const auto strategy = MakeStrategy(name, options, {FromMemory(consolidations)});
  EXPECT_TRUE(strategy.ok()) << strategy.status();
  struct Watch final : train::TrainObserver {
    void OnProgress(const train::Progress& progress) override {
      if (progress.step == 2) run.first_penalty = progress.penalty;
      run.last_penalty = progress.penalty;
    }
    Learned run;
  } watch;
  train::TrainInput input;
  input.task = TinyTask("b", kLabels);
  input.training = b;
  input.strategy = strategy->get();
  input.observer = &watch;
  const auto result = train::Train(*model, Options(), input);
  EXPECT_TRUE(result.ok()) << result.status();
  watch.run.weights = model->parameters().weights().clone();
  return watch.run;
}

// What the registry says of each strategy holds for it: nothing here knows a name, but for the two that are defaults.
TEST(Registry, EveryStrategySaysWhatItNeedsAndIsMadeUnderItsName) {
  ASSERT_FALSE(Strategies().empty());
  const auto model = TinyModel({"a", "b"}, kLabels);
  const Consolidation consolidation = Consolidate(*model, "a", TinyExamples(20, kLabels, 1));
  for (const auto& [name, info] : Strategies()) {
    EXPECT_EQ(info.name, name);
    EXPECT_THAT(info.summary, Not(HasSubstr("\n")));
    EXPECT_FALSE(info.summary.empty()) << name;
    for (const Option& option : info.options.options()) {
      EXPECT_FALSE(option.help.empty()) << name << " " << option.name;
      EXPECT_TRUE(option.Check(option.default_value).ok()) << name << " " << option.name;
      EXPECT_EQ(train::TrainOptionTable().Find(option.name), nullptr) << option.name << " would be two options";
    }
    const auto bare = MakeStrategy(name, {}, {});
    EXPECT_EQ(bare.ok() ? "OK" : StatusReason(bare.status()), info.needs.consolidations ? "NOT_CONSOLIDATED" : "OK")
        << name;
    const auto made = MakeStrategy(name, info.options.Defaults().Render(), {FromMemory({consolidation})});
    ASSERT_TRUE(made.ok()) << made.status();
    EXPECT_EQ((*made)->name(), name);
  }
  EXPECT_EQ(DefaultStrategy(/*consolidated=*/false).name, "naive");
  EXPECT_EQ(DefaultStrategy(/*consolidated=*/true).name, "ewc");
}

// What a strategy of penalties holds in memory is what its registration says, for any number of consolidated tasks; one
// that holds more than its penalties says at least those.
TEST(Registry, TheCostIsWhatThePenaltiesHold) {
  const auto model = TinyModel({"a", "b"}, kLabels);
  std::vector<Consolidation> consolidations;
  for (const char* task : {"a", "c", "d"}) {
    consolidations.push_back(Consolidate(*model, "a", TinyExamples(20, kLabels, 1)));
    consolidations.back().task = task;
  }
  const std::vector<train::TrainingExample> examples = TinyExamples(20, kLabels, 9);
  for (const auto& [name, info] : Strategies()) {
    const auto learning = TinyModel({"a", "b"}, kLabels);
    train::TaskSetup setup(*learning);
    setup.task = "b";
    setup.training_units = 20;
    setup.examples = examples;
    const auto made = MakeStrategy(name, {}, {FromMemory(consolidations)});
    ASSERT_TRUE(made.ok()) << made.status();
    const absl::Status begun = (*made)->BeginTask(setup);
    ASSERT_TRUE(begun.ok()) << name << begun;
    int64_t bytes = 0;
    for (const train::QuadraticPenalty& penalty : (*made)->Penalties())
      bytes += static_cast<int64_t>(penalty.importance.nbytes() + penalty.anchor.nbytes());
    const StrategySizes sizes{.encoder_bytes = model->EncoderElements() * 4, .consolidations = 3};
    const int64_t said = CostOf(info, info.options.Defaults(), sizes).bytes;
    EXPECT_GE(said, bytes) << name;
    if (info.needs.consolidations) {
      EXPECT_EQ(said, bytes) << name;
    }
    EXPECT_EQ(bytes > 0, info.needs.consolidations) << name;
  }
}

TEST(Registry, RefusesWhatCannotBe) {
  const absl::Status unknown = MakeStrategy("ewk", {}, {}).status();
  EXPECT_EQ(StatusField(unknown), "strategy");
  EXPECT_THAT(std::string(unknown.message()), HasSubstr("did you mean ewc?"));
  for (const auto& [name, unused] : Strategies()) EXPECT_THAT(std::string(unknown.message()), HasSubstr(name));
  for (const auto& [name, info] : Strategies()) {
    if (info.options.Find("penalty_mode") == nullptr) continue;
    for (const char* lambda : {"-1", "nan", "1e30", "much"})
      EXPECT_EQ(StatusField(MakeStrategy(name, {{"lambda", lambda}}, {}).status()), "lambda") << name << lambda;
    EXPECT_EQ(StatusField(MakeStrategy(name, {{"penalty_mode", "soft"}}, {}).status()), "penalty_mode") << name;
  }
  for (const char* gamma : {"0", "1.5", "nan"})
    EXPECT_EQ(StatusField(MakeStrategy("online_ewc", {{"gamma", gamma}}, {}).status()), "gamma");
  EXPECT_EQ(StatusField(MakeStrategy("ewc", {{"gamma", "0.5"}}, {}).status()), "gamma");
  EXPECT_EQ(StatusField(MakeStrategy("naive", {{"lambda", "1"}}, {}).status()), "lambda");
}

TEST(Registry, PenaltyModesReachThePenalty) {
  const auto model = TinyModel({"a", "b"}, kLabels);
  const Consolidation consolidation = Consolidate(*model, "a", TinyExamples(20, kLabels, 1));
  train::TaskSetup setup(*model);
  setup.training_units = 20;
  for (const train::PenaltyMode mode :
       {train::PenaltyMode::kAuto, train::PenaltyMode::kCoupled, train::PenaltyMode::kProximal}) {
    const auto made = MakeStrategy("ewc", {{"penalty_mode", std::string(train::PenaltyModeName(mode))}},
                                   {FromMemory({consolidation})});
    ASSERT_TRUE(made.ok()) << made.status();
    ASSERT_TRUE((*made)->BeginTask(setup).ok());
    EXPECT_EQ((*made)->Penalties()[0].mode, mode);
  }
}

TEST(Ewc, LambdaZeroIsNaiveToTheBit) {
  EXPECT_TRUE(at::equal(LearnB("ewc", {{"lambda", "0"}}).weights, LearnB("naive", {}).weights));
}

TEST(Ewc, ThePenaltyIsAboveZeroAfterOneStepAndHoldsTheWeights) {
  const auto start = TinyModel({"a", "b"}, kLabels);
  const at::Tensor anchor = EncoderWeights(*start);
  const auto distance = [&](const Learned& run) {
    return (run.weights.narrow(0, 0, anchor.numel()) - anchor).norm().item<double>();
  };
  const Learned naive = LearnB("naive", {}), ewc = LearnB("ewc", {{"lambda", "1e6"}}),
                control = LearnB("l2sp", {{"lambda", "1e6"}});
  EXPECT_GT(ewc.first_penalty, 0);
  EXPECT_LT(distance(ewc), distance(naive));
  EXPECT_LT(distance(control), distance(naive));
  EXPECT_FALSE(at::equal(ewc.weights, control.weights));
  EXPECT_FALSE(at::equal(ewc.weights, LearnB("permuted_ewc", {{"lambda", "1e6"}}).weights));
}

// Tasks of 10 and 30 texts, of constant importance 1 and 2 around anchors of zeros and of ones.
std::pair<Consolidation, Consolidation> TwoTasks(const nn::Model& model) {
  Consolidation first, second;
  first.task = "first";
  second.task = "second";
  first.training_examples = 10;
  second.training_examples = 30;
  first.fisher = at::ones({model.EncoderElements()}, at::kFloat);
  second.fisher = first.fisher * 2;
  first.anchor = at::zeros_like(first.fisher);
  second.anchor = at::ones_like(first.fisher);
  return {first, second};
}

TEST(Ewc, KeepsOneQuadraticForEachTaskAroundItsOwnAnchor) {
  const auto model = TinyModel({"b"}, kLabels);
  const auto [first, second] = TwoTasks(*model);
  train::TaskSetup setup(*model);
  setup.training_units = 20;
  const auto strategy = MakeStrategy("ewc", {{"lambda", "4"}}, {FromMemory({first, second})});
  ASSERT_TRUE(strategy.ok()) << strategy.status();
  ASSERT_TRUE((*strategy)->BeginTask(setup).ok());
  const auto penalties = (*strategy)->Penalties();
  ASSERT_EQ(penalties.size(), 2);
  EXPECT_EQ(penalties[0].name, "first");
  EXPECT_DOUBLE_EQ(penalties[0].strength, 4.0 * 10 / 20);
  EXPECT_DOUBLE_EQ(penalties[1].strength, 4.0 * 30 / 20);
  EXPECT_TRUE(at::equal(penalties[0].importance, first.fisher));
  EXPECT_TRUE(at::equal(penalties[1].importance, second.fisher));
  EXPECT_TRUE(at::equal(penalties[0].anchor, first.anchor));
  EXPECT_TRUE(at::equal(penalties[1].anchor, second.anchor));
}

TEST(Ewc, AroundTheLatestAnchorAllTasksAreOneQuadratic) {
  const auto model = TinyModel({"b"}, kLabels);
  const auto [first, second] = TwoTasks(*model);
  train::TaskSetup setup(*model);
  setup.training_units = 20;
  for (const char* name : {"ewc", "l2sp", "permuted_ewc"}) {  // a constant F is its own mean and its own shuffle
    const auto strategy = MakeStrategy(name, {{"lambda", "4"}, {"centre", "latest"}}, {FromMemory({first, second})});
    ASSERT_TRUE(strategy.ok()) << strategy.status();
    ASSERT_TRUE((*strategy)->BeginTask(setup).ok());
    const auto penalties = (*strategy)->Penalties();
    ASSERT_EQ(penalties.size(), 1) << name;
    EXPECT_FLOAT_EQ(penalties[0].importance[0].item<float>(), 10 * 1 + 30 * 2) << name;
    EXPECT_DOUBLE_EQ(penalties[0].strength, 4.0 / 20) << name;
    EXPECT_TRUE(at::equal(penalties[0].anchor, second.anchor)) << name;
    const StrategyInfo& info = **FindStrategy(name);
    const StrategySizes sizes{.encoder_bytes = 100, .consolidations = 3};
    EXPECT_EQ(CostOf(info, *info.options.Parse({{"centre", "latest"}}), sizes).bytes, 200) << name;
    EXPECT_EQ(CostOf(info, info.options.Defaults(), sizes).bytes, 600) << name;
  }
}

// lr * strength * F is far beyond 2 for most weights: the explicit step would diverge, the proximal one holds them.
TEST(Ewc, TheLargestLambdaHoldsTheWeightsInsteadOfBlowingThemUp) {
  const Learned run = LearnB("ewc", {{"lambda", "1e9"}});
  const at::Tensor anchor = EncoderWeights(*TinyModel({"a", "b"}, kLabels));
  const at::Tensor moved = (run.weights.narrow(0, 0, anchor.numel()) - anchor).abs();
  EXPECT_TRUE(std::isfinite(run.weights.sum().item<double>()));
  const Learned naive = LearnB("naive", {});
  EXPECT_LT(moved.mean().item<double>(),
            0.2 * (naive.weights.narrow(0, 0, anchor.numel()) - anchor).abs().mean().item<double>());
}

TEST(OnlineEwc, WithOneTaskAndGammaOneIsEwc) {
  const Learned online = LearnB("online_ewc", {{"lambda", "1000"}}), ewc = LearnB("ewc", {{"lambda", "1000"}});
  EXPECT_LT((online.weights - ewc.weights).abs().max().item<double>(), 1e-5);
  EXPECT_NEAR(online.last_penalty, ewc.last_penalty, 1e-4 * ewc.last_penalty);
}

TEST(OnlineEwc, MergesPrecisionsWithGamma) {
  Consolidation first, second;
  first.training_examples = 10;
  second.training_examples = 30;
  const auto model = TinyModel({"b"}, kLabels);
  // The penalties are what counts: asked of the factory's strategy through a context of its own.
  train::TaskSetup setup(*model);
  setup.training_units = 20;
  first.fisher = at::ones({model->EncoderElements()}, at::kFloat);
  second.fisher = first.fisher * 2;
  first.anchor = at::zeros_like(first.fisher);
  second.anchor = at::ones_like(first.fisher);
  const auto strategy = MakeStrategy("online_ewc", {{"lambda", "1"}, {"gamma", "0.5"}}, {FromMemory({first, second})});
  ASSERT_TRUE(strategy.ok());
  ASSERT_TRUE((*strategy)->BeginTask(setup).ok());
  const auto penalties = (*strategy)->Penalties();
  ASSERT_EQ(penalties.size(), 1);
  // P = gamma (gamma 0 + 10 * 1) + 30 * 2 = 65; strength gamma / N_B = 0.5 / 20.
  EXPECT_FLOAT_EQ(penalties[0].importance[0].item<float>(), 65);
  EXPECT_DOUBLE_EQ(penalties[0].strength, 0.5 / 20);
  EXPECT_FLOAT_EQ(penalties[0].anchor[0].item<float>(), 1);
}

TEST(Controls, KeepTheTrace) {
  const auto model = TinyModel({"b"}, kLabels);
  Consolidation c;
  c.training_examples = 10;
  c.fisher = at::zeros({model->EncoderElements()}, at::kFloat);
  RandomStream random(1, RandomPurpose::kSubset, 0);
  for (int64_t i = 0; i < c.fisher.numel(); ++i)
    c.fisher.mutable_data_ptr<float>()[i] = static_cast<float>(random.NextDouble());
  c.anchor = at::zeros_like(c.fisher);
  train::TaskSetup setup(*model);
  setup.training_units = 10;
  for (const char* name : {"l2sp", "permuted_ewc"}) {
    const auto strategy = MakeStrategy(name, {}, {FromMemory({c})});
    ASSERT_TRUE((*strategy)->BeginTask(setup).ok());
    const at::Tensor importance = (*strategy)->Penalties()[0].importance;
    EXPECT_FALSE(at::equal(importance, c.fisher));
    EXPECT_NEAR(importance.sum(at::kDouble).item<double>(), c.fisher.sum(at::kDouble).item<double>(),
                1e-3 * c.fisher.sum(at::kDouble).item<double>());
  }
}

TEST(Consolidation, SurvivesItsFileAndRefusesADamagedOne) {
  const auto model = TinyModel({"a"}, kLabels);
  const Consolidation made = Consolidate(*model, "a", TinyExamples(20, kLabels, 1));
  const std::string path = ::testing::TempDir() + "/engram-continual.safetensors";
  ASSERT_TRUE(SaveConsolidations(path, *model, {made}).ok());
  const auto loaded = LoadConsolidations(path, *model);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  ASSERT_EQ(loaded->size(), 1);
  EXPECT_TRUE(at::equal(loaded->front().fisher, made.fisher));
  EXPECT_TRUE(at::equal(loaded->front().anchor, made.anchor));
  EXPECT_EQ(loaded->front().training_examples, 20);
  Consolidation negative = made;
  negative.fisher = -made.fisher;
  ASSERT_TRUE(SaveConsolidations(path, *model, {negative}).ok());
  EXPECT_EQ(StatusField(LoadConsolidations(path, *model).status()), "fisher.a");
  ASSERT_TRUE(WriteFileAtomic(path, "no safetensors").ok());
  EXPECT_EQ(LoadConsolidations(path, *model).status().code(), absl::StatusCode::kInvalidArgument);
}

// A BERT that came without a pooler learns a standard classification task after a consolidation: the pooler is younger.
TEST(Consolidation, APoolerThatCameLaterHasNoImportance) {
  nn::EncoderConfig config = TinyConfig();
  const auto make = [&](bool pooler) {
    config.has_pooler = pooler;
    auto model = *nn::Model::Create(config, at::kCPU, nn::Precision::kFloat32);
    model->InitializeEncoder(1);
    return model;
  };
  const auto old = make(false), now = make(true);
  Consolidation made;
  made.task = "a";
  made.samples = made.training_examples = 20;
  made.fisher = at::ones({old->EncoderElements()}, at::kFloat);
  made.anchor = EncoderWeights(*old);
  const std::string path = ::testing::TempDir() + "/engram-continual-pooler.safetensors";
  ASSERT_TRUE(SaveConsolidations(path, *old, {made}).ok());
  const auto loaded = LoadConsolidations(path, *now);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  for (const nn::SlotId slot : now->EncoderSlots()) {
    const nn::ParameterSlice& slice = now->parameters().slice(slot);
    const bool pooler = slice.name.starts_with("pooler.");
    const auto part = [&](const at::Tensor& flat) { return flat.narrow(0, slice.offset, slice.size); };
    EXPECT_TRUE((part(loaded->front().fisher) == (pooler ? 0 : 1)).all().item<bool>()) << slice.name;
    if (!pooler) continue;
    EXPECT_TRUE(at::equal(part(loaded->front().anchor), part(now->parameters().weights())));
  }
  // The other way round something would be forgotten.
  Consolidation whole = made;
  whole.fisher = at::ones({now->EncoderElements()}, at::kFloat);
  whole.anchor = EncoderWeights(*now);
  ASSERT_TRUE(SaveConsolidations(path, *now, {whole}).ok());
  EXPECT_EQ(LoadConsolidations(path, *old).status().code(), absl::StatusCode::kInvalidArgument);
}

// A Fisher in fp16 has lost most of its entries to zero (they lie around 1e-7); bf16 keeps the range of fp32.
TEST(Consolidation, RefusesAFisherInFp16AndReadsOneInBf16) {
  const auto model = TinyModel({"a"}, kLabels);
  const Consolidation made = Consolidate(*model, "a", TinyExamples(20, kLabels, 1));
  const std::string path = ::testing::TempDir() + "/engram-continual-dtype.safetensors";
  ASSERT_TRUE(SaveConsolidations(path, *model, {made}).ok());
  const auto rewritten = [&](const std::string& prefix, at::ScalarType type, checkpoint::Dtype dtype) {
    auto file = *checkpoint::SafetensorsFile::Open(path);
    std::vector<checkpoint::TensorToWrite> tensors;
    std::deque<at::Tensor> kept;
    for (const auto& [name, entry] : file.tensors()) {
      tensors.push_back({name, entry.dtype, entry.shape, entry.bytes});
      if (!name.starts_with(prefix)) continue;
      const at::Tensor values = at::from_blob(const_cast<std::byte*>(entry.bytes.data()),
                                              {static_cast<int64_t>(entry.bytes.size() / 4)}, at::kFloat);
      const at::Tensor& converted = kept.emplace_back(values.to(type));
      tensors.back().dtype = dtype;
      tensors.back().bytes = {static_cast<const std::byte*>(converted.const_data_ptr()), converted.nbytes()};
    }
    const std::string target = path + "." + checkpoint::DtypeName(dtype);
    EXPECT_TRUE(checkpoint::WriteSafetensors(target, tensors, file.metadata()).ok());
    return LoadConsolidations(target, *model);
  };
  const absl::Status half = rewritten("fisher.", at::kHalf, checkpoint::Dtype::kF16).status();
  EXPECT_EQ(half.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(StatusField(half).starts_with("fisher.a.")) << half;
  EXPECT_THAT(std::string(half.message()), HasSubstr("F16"));
  const auto brain = rewritten("fisher.", at::kBFloat16, checkpoint::Dtype::kBF16);
  ASSERT_TRUE(brain.ok()) << brain.status();
  EXPECT_TRUE(at::equal(brain->front().fisher, made.fisher.to(at::kBFloat16).to(at::kFloat)));
  // An anchor is rounded by as much as fine-tuning moves a weight: fp32 alone.
  EXPECT_TRUE(
      StatusField(rewritten("anchor.", at::kBFloat16, checkpoint::Dtype::kBF16).status()).starts_with("anchor.a."));
}

TEST(Importance, TheBatchedControlIsAnotherNumber) {
  const auto model = TinyModel({"a"}, kLabels);
  const auto examples = TinyExamples(32, kLabels, 1);
  double traces[2];
  for (const ImportanceKind kind : {ImportanceKind::kEmpirical, ImportanceKind::kBatched}) {
    ImportanceOptions options;
    options.kind = kind;
    options.samples = 0;
    const auto importance = ComputeImportance(*model, "a", examples, options);
    ASSERT_TRUE(importance.ok()) << importance.status();
    traces[kind == ImportanceKind::kBatched] = importance->trace;
  }
  // The square of a mean is below the mean of squares.
  EXPECT_LT(traces[1], 0.9 * traces[0]);
}

}  // namespace
}  // namespace engram::continual
