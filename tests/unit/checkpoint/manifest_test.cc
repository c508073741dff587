#include "core/checkpoint/manifest.h"

#include <functional>

#include "absl/strings/str_replace.h"
#include "core/base/files.h"
#include "core/checkpoint/version_directory.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace engram::checkpoint {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using Options = std::map<std::string, std::string>;

constexpr const char* kDigest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

VersionManifest Sample() {
  VersionManifest manifest;
  manifest.model = "news";
  manifest.version = 7;
  manifest.parent = 5;
  manifest.created = "2026-01-02T03:04:05Z";
  manifest.default_task = "topic";
  ManifestTask task;
  task.name = "topic";
  task.labels = {"a", "b"};
  task.head_file = kModelFile;
  task.training_examples = 30;
  manifest.tasks = {task};
  manifest.strategy = "er";
  manifest.strategy_options = {{"size", "200"}};
  manifest.training_options = {{"lr", "0.0002"}, {"seed", "18446744073709551615"}};
  manifest.consolidations = {{"topic", "exact", 20, 30, kContinualFile}};
  manifest.memory = {{"er", "memory/er.safetensors", 200}, {"si", "memory/si.safetensors", 0}};
  manifest.metrics = {{"accuracy", {"topic"}, {"topic"}, {{0.5}}}};
  manifest.seeds = {{"training", 18446744073709551615U}};
  manifest.base_model_digest = kDigest;
  manifest.software = {{"engram", "0.1.0"}, {"libtorch", "2.11.0"}};
  for (const char* file : {kConfigFile, kModelFile, kContinualFile, "memory/er.safetensors", "memory/si.safetensors"}) {
    manifest.files[file] = kDigest;
  }
  return manifest;
}

std::string Text(const VersionManifest& manifest) { return RenderManifest(manifest).value(); }

TEST(Manifest, ReadsBackWhatItWrote) {
  const VersionManifest manifest = Sample();
  const absl::StatusOr<VersionManifest> back = ParseManifest(Text(manifest));
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(*back, manifest);
  EXPECT_THAT(Text(manifest), HasSubstr("\"format\": 2,"));
  EXPECT_THAT(Text(manifest),
              HasSubstr("\"strategy\": {\n    \"name\": \"er\",\n    \"options\": {\n      \"size\": \"200\"\n"));
  for (const char* gone : {"lambda_units", "gamma", "merged"}) EXPECT_THAT(Text(manifest), Not(HasSubstr(gone)));
}

TEST(Manifest, AnExpansionStandsWhereAHeadHasOne) {
  VersionManifest manifest = Sample();
  EXPECT_THAT(Text(manifest), Not(HasSubstr("expansion")));
  ManifestTask& task = manifest.tasks[0];
  task.pooling = Pooling::kMean;
  task.expansion = {ExpansionKind::kKwta, 2500, 18446744073709551615U};
  const absl::StatusOr<VersionManifest> back = ParseManifest(Text(manifest));
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(*back, manifest);
  EXPECT_THAT(Text(manifest), HasSubstr("\"kwta\""));
  const auto field = [&](Pooling pooling, Expansion expansion) {
    task.pooling = pooling;
    task.expansion = expansion;
    return StatusField(RenderManifest(manifest).status());
  };
  EXPECT_EQ(field(Pooling::kStandard, {ExpansionKind::kRelu, 10, 0}), "tasks[0].expansion");
  EXPECT_EQ(field(Pooling::kMean, {ExpansionKind::kRelu, 0, 0}), "tasks[0].expansion");
  EXPECT_EQ(field(Pooling::kMean, {ExpansionKind::kRelu, kMaxExpansionWidth + 1, 0}), "tasks[0].expansion");
  EXPECT_EQ(field(Pooling::kMean, {ExpansionKind::kNone, 10, 0}), "tasks[0].expansion");
  EXPECT_EQ(field(Pooling::kMean, {}), "");
}

TEST(Manifest, ChunksStandWhereATaskLearnedWholeTexts) {
  VersionManifest manifest = Sample();
  EXPECT_THAT(Text(manifest), Not(HasSubstr("chunk_tokens")));
  ManifestTask& task = manifest.tasks[0];
  task.chunk_tokens = 256;
  const absl::StatusOr<VersionManifest> back = ParseManifest(Text(manifest));
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(*back, manifest);
  const auto field = [&](const std::function<void(ManifestTask&)>& change) {
    VersionManifest changed = manifest;
    change(changed.tasks[0]);
    return StatusField(RenderManifest(changed).status());
  };
  EXPECT_EQ(field([](ManifestTask& t) { t.chunk_tokens = -1; }), "tasks[0].chunk_tokens");
  EXPECT_EQ(field([](ManifestTask& t) { t.chunk_tokens = (1 << 20) + 1; }), "tasks[0].chunk_tokens");
  EXPECT_EQ(field([](ManifestTask& t) { t.text_pairs = true; }), "tasks[0].chunk_tokens");
  EXPECT_EQ(field([](ManifestTask& t) { t.kind = TaskKind::kTokenClassification; }), "tasks[0].chunk_tokens");
  const std::string zero = absl::StrReplaceAll(Text(manifest), {{"\"chunk_tokens\": 256", "\"chunk_tokens\": 0"}});
  EXPECT_EQ(StatusField(ParseManifest(zero).status()), "tasks[0].chunk_tokens");
}

TEST(Manifest, BlocksStandWhereATaskHasThemAndReadEarlierColumnsAlone) {
  VersionManifest manifest = Sample();
  EXPECT_THAT(Text(manifest), Not(HasSubstr("blocks")));
  ManifestTask column = manifest.tasks[0];
  column.labels = {"yes", "no"};
  column.kind = TaskKind::kSequenceClassification;
  column.name = "column";
  column.blocks = {BlocksKind::kProgressive, BlocksPlaces::kSublayers, 7, 1, {}};
  manifest.tasks.push_back(column);
  column.name = "reader";
  column.blocks.earlier = {"column"};
  manifest.tasks.insert(manifest.tasks.begin(), column);  // a task that got its column after another was learned
  column.name = "apart";
  column.blocks = {BlocksKind::kLowRank, BlocksPlaces::kQueryValue, 8, 0.1, {}};
  manifest.tasks.push_back(column);
  const absl::StatusOr<VersionManifest> back = ParseManifest(Text(manifest));
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(*back, manifest);
  const auto field = [&](const Blocks& blocks) {
    manifest.tasks.front().blocks = blocks;
    return StatusField(RenderManifest(manifest).status());
  };
  const Blocks good{BlocksKind::kProgressive, BlocksPlaces::kFeedForward, 4, 1, {"column"}};
  EXPECT_EQ(field(good), "");
  const auto changed = [&](const std::function<void(Blocks&)>& change) {
    Blocks blocks = good;
    change(blocks);
    return field(blocks);
  };
  EXPECT_EQ(changed([](Blocks& b) { b.width = 0; }), "tasks[0].blocks.width");
  EXPECT_EQ(changed([](Blocks& b) { b.width = kMaxBlocksWidth + 1; }), "tasks[0].blocks.width");
  EXPECT_EQ(changed([](Blocks& b) { b.places = BlocksPlaces::kAll; }), "tasks[0].blocks.places");
  EXPECT_EQ(changed([](Blocks& b) { b.scale = 2; }), "tasks[0].blocks.scale");
  EXPECT_EQ(changed([](Blocks& b) { b.kind = BlocksKind::kAdapter; }), "tasks[0].blocks.earlier");
  EXPECT_EQ(changed([](Blocks& b) { b.kind = BlocksKind::kNone; }), "tasks[0].blocks.kind");
  for (const char* other : {"apart", "nothing", "reader"})
    EXPECT_EQ(changed([other](Blocks& b) { b.earlier = {other}; }), "tasks[0].blocks.earlier") << other;
  EXPECT_EQ(changed([](Blocks& b) { b.earlier = {"column", "column"}; }), "tasks[0].blocks.earlier");
  // A mask has a scale and nothing else.
  const Blocks masked{BlocksKind::kMasked, BlocksPlaces::kFeedForward, 0, 1.5, {}};
  EXPECT_EQ(field(masked), "");
  const auto mask_back = ParseManifest(*RenderManifest(manifest));
  ASSERT_TRUE(mask_back.ok()) << mask_back.status();
  EXPECT_EQ(mask_back->tasks.front().blocks, masked);
  EXPECT_EQ(field({BlocksKind::kMasked, BlocksPlaces::kFeedForward, 4, 1.5, {}}), "tasks[0].blocks.width");
  EXPECT_EQ(field({BlocksKind::kMasked, BlocksPlaces::kFeedForward, 0, 0, {}}), "tasks[0].blocks.scale");
  EXPECT_EQ(field({BlocksKind::kAdapter, BlocksPlaces::kFeedForward, 4, 1.5, {}}), "tasks[0].blocks.scale");
}

TEST(Manifest, SaysSinceWhenTextsAreKept) {
  VersionManifest manifest = Sample();
  ManifestMemory& memory = manifest.memory[0];
  memory.tasks = {{"emotion", static_cast<uint64_t>(memory.rows)}};
  memory.kept_since = {{"emotion", "2026-01-02T03:04:05Z"}};
  const auto text = RenderManifest(manifest);
  ASSERT_TRUE(text.ok()) << text.status();
  const auto back = ParseManifest(*text);
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(*back, manifest);
  memory.kept_since = {{"emotion", "yesterday"}};
  EXPECT_EQ(StatusField(RenderManifest(manifest).status()), "memory[0].kept_since");
  memory.kept_since = {{"nobody", "2026-01-02T03:04:05Z"}};
  EXPECT_EQ(StatusField(RenderManifest(manifest).status()), "memory[0].kept_since");
}

TEST(Manifest, RefusesByField) {
  const auto field = [](const std::function<void(VersionManifest&)>& change) {
    VersionManifest manifest = Sample();
    change(manifest);
    return StatusField(RenderManifest(manifest).status());
  };
  EXPECT_EQ(field([](auto&) {}), "");
  EXPECT_EQ(field([](auto& m) { m.parent = 7; }), "parent");
  EXPECT_EQ(field([](auto& m) { m.strategy = ""; }), "strategy.name");
  EXPECT_EQ(field([](auto& m) { m.consolidations[0].task = "merged"; }), "consolidations[0].task");
  EXPECT_EQ(field([](auto& m) { m.memory[1].strategy = ""; }), "memory[1].strategy");
  EXPECT_EQ(field([](auto& m) { m.memory[1].file = "memory/er.safetensors"; }), "memory[1].file");
  EXPECT_EQ(field([](auto& m) { m.memory[1] = m.memory[0]; }), "memory[1].strategy");
  EXPECT_EQ(field([](auto& m) { m.memory[0].rows = -1; }), "memory[0].rows");
  EXPECT_EQ(field([](auto& m) { m.files.erase("memory/si.safetensors"); }), "memory[1].file");
  EXPECT_EQ(field([](auto& m) { m.metrics[0].values[0].clear(); }), "metrics[0].values");

  const auto edited = [](const char* from, const char* to) {
    const std::string text = absl::StrReplaceAll(Text(Sample()), {{from, to}});
    EXPECT_NE(text, Text(Sample())) << from;
    return ParseManifest(text).status();
  };
  EXPECT_EQ(StatusField(edited("\"format\": 2", "\"format\": 3")), "format");
  EXPECT_EQ(StatusField(edited("\"format\": 2", "\"format\": 0")), "format");
  EXPECT_EQ(StatusField(edited("\"name\": \"er\",", "\"name\": \"er\", \"lambda\": 3,")), "strategy.\"lambda\"");
  EXPECT_EQ(StatusField(edited("\"rows\": 0", "\"rows\": 0, \"row\": 0")), "memory[1].\"row\"");
  EXPECT_EQ(StatusField(edited("\"samples\": 20", "\"samples\": 20, \"gamma\": 1")), "consolidations[0].\"gamma\"");
  // A manifest of format 2 without its members is none of format 1.
  EXPECT_EQ(StatusField(edited("\"training\"", "\"trainin\"")), "training");
}

// The directory was written by the program as it was when it wrote format 1; what stands here was copied from its text
// by hand.
TEST(Manifest, AVersionOfFormat1IsReadToTheValue) {
  const std::string directory = ENGRAM_TEST_DATA "/format1/version";
  const absl::StatusOr<VersionManifest> manifest = ReadManifest(directory);
  ASSERT_TRUE(manifest.ok()) << manifest.status();
  EXPECT_TRUE(VerifyFiles(directory, *manifest).ok());
  EXPECT_EQ(manifest->model, "zoo");
  EXPECT_EQ(manifest->version, 4);
  EXPECT_EQ(manifest->parent, 3);
  EXPECT_EQ(manifest->created, "2026-11-26T21:22:04Z");
  EXPECT_EQ(manifest->default_task, "things");
  ASSERT_EQ(manifest->tasks.size(), 2);
  EXPECT_EQ(manifest->tasks[0].name, "animals");
  EXPECT_EQ(manifest->tasks[0].labels, (std::vector<std::string>{"bird", "cat", "dog"}));
  EXPECT_EQ(manifest->tasks[0].head_file, kHeadsFile);
  EXPECT_EQ(manifest->tasks[0].head_prefix, "heads.animals.");
  EXPECT_EQ(manifest->tasks[0].dataset_digest, "ba7fc4d335ccab291c12776d1fc33d5dcd9d6a78278906afbb561607bbbba5c7");
  EXPECT_EQ(manifest->tasks[1].name, "things");
  EXPECT_EQ(manifest->tasks[1].labels.size(), 5);
  EXPECT_EQ(manifest->tasks[1].training_examples, 48);
  EXPECT_EQ(manifest->strategy, "ewc");
  EXPECT_EQ(manifest->strategy_options, (Options{{"lambda", "250"}, {"penalty_mode", "coupled"}}));
  EXPECT_EQ(manifest->training_options, (Options{{"accumulation", "1"},
                                                 {"batch_size", "32"},
                                                 {"batch_tokens", "0"},
                                                 {"beta1", "0.90000000000000002"},
                                                 {"beta2", "0.999"},
                                                 {"checkpoint_every_steps", "200"},
                                                 {"dropout", "model"},
                                                 {"early_stopping_patience", "0"},
                                                 {"epochs", "4"},
                                                 {"epsilon", "1e-08"},
                                                 {"lr", "0.0030000000000000001"},
                                                 {"max_grad_norm", "1"},
                                                 {"max_length", "40"},
                                                 {"order", "length_grouped"},
                                                 {"precision", "fp32"},
                                                 {"schedule", "linear"},
                                                 {"seed", "11"},
                                                 {"validation_fraction", "0"},
                                                 {"warmup_ratio", "0.059999999999999998"},
                                                 {"warmup_steps", "0"},
                                                 {"weight_decay", "0.01"}}));
  EXPECT_EQ(manifest->consolidations,
            (std::vector<ManifestConsolidation>{{"animals", "exact", 20, 48, "continual.safetensors"}}));
  EXPECT_TRUE(manifest->memory.empty());
  ASSERT_EQ(manifest->metrics.size(), 2);
  EXPECT_EQ(manifest->metrics[0].metric, "accuracy");
  EXPECT_EQ(manifest->metrics[0].values[0][0], 0.4583333333333333);
  EXPECT_EQ(manifest->metrics[1].values[0][0], 0.15384615384615385);
  EXPECT_EQ(manifest->seeds, (std::map<std::string, uint64_t>{{"importance", 3}, {"training", 11}}));
  EXPECT_EQ(manifest->base_model_digest, "a057ab7281bfc99ebe384225d3d8b84b9774a9107a8435ba6174eae4a05b944f");
  EXPECT_TRUE(manifest->software.empty());
  EXPECT_EQ(manifest->files.size(), 6);
  EXPECT_EQ(ParseManifest(Text(*manifest)).value(), *manifest);
}

std::string OfFormat1(const std::string& strategy) {
  return absl::StrReplaceAll(
      R"({"format": 1, "model": "m", "version": 2, "parent": 1, "created": "", "default_task": "t",
  "tasks": [{"name": "t", "kind": "sequence_classification", "labels": ["a", "b"], "head_file": "model.safetensors",
             "head_prefix": "", "pooling": "standard", "dataset": "d", "dataset_digest": "", "training_examples": 3}],
  "strategy": STRATEGY,
  "consolidations": [{"task": "t", "fisher": "exact", "samples": 3, "training_examples": 3, "gamma": 1.0,
                      "file": "model.safetensors"}],
  "metrics": [], "seeds": {}, "base_model_digest": "", "software": {},
  "files": {"config.json": "DIGEST", "model.safetensors": "DIGEST"}})",
      {{"STRATEGY", strategy}, {"DIGEST", kDigest}});
}

TEST(Manifest, FormatOneClaimedOptionsThatAStrategyDoesNotHave) {
  const auto read = [](const std::string& strategy) { return ParseManifest(OfFormat1(strategy)); };
  const std::string options = R"("options": {"lr": "0.1", "gamma": "0.5", "penalty_mode": "auto"}, )";
  const auto naive = read(R"({"name": "naive", )" + options + R"("lambda": 1000.0, "lambda_units": "bayes"})");
  ASSERT_TRUE(naive.ok()) << naive.status();
  EXPECT_EQ(naive->strategy_options, Options());
  EXPECT_EQ(naive->training_options, (Options{{"lr", "0.1"}}));
  const auto online = read(R"({"name": "online_ewc", )" + options + R"("lambda": 0.1, "lambda_units": "bayes"})");
  ASSERT_TRUE(online.ok()) << online.status();
  EXPECT_EQ(online->strategy_options,
            (Options{{"lambda", "0.10000000000000001"}, {"gamma", "0.5"}, {"penalty_mode", "auto"}}));
  const auto imported = read(R"({"name": "naive", "options": {}, "lambda": null, "lambda_units": "bayes"})");
  ASSERT_TRUE(imported.ok()) << imported.status();
  EXPECT_EQ(imported->strategy_options, Options());
  EXPECT_EQ(imported->training_options, Options());
  EXPECT_EQ(StatusField(read(R"({"name": "ewc", "options": {}, "lambda": -1, "lambda_units": "bayes"})").status()),
            "strategy.lambda");
  EXPECT_EQ(StatusField(read(R"({"name": "ewc", "options": {}, "lambda": 1, "lambda_units": "nats"})").status()),
            "strategy.lambda_units");
  EXPECT_EQ(StatusField(read(R"({"name": "ewc", "options": {}, "lambda": 1})").status()), "strategy.lambda_units");
}

}  // namespace
}  // namespace engram::checkpoint
