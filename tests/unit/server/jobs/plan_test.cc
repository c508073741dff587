// What is planned and estimated for a request, in numbers that follow from the data set and the sizes of the model by
// hand; and what the API shows of a version.

#include <stdlib.h>

#include <filesystem>
#include <memory>

#include "engram/v1/task.pb.h"
#include "gmock/gmock.h"
#include "server/jobs/estimator.h"
#include "server/jobs/job_kind.h"
#include "tests/unit/letters_version.h"

namespace engram::server {
namespace {

using engram::v1::ConsolidateTaskRequest;
using engram::v1::EvaluateTaskRequest;
using engram::v1::JobEstimate;
using engram::v1::StartTaskRequest;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr int64_t kEncoderBytes = 3584 * 4;
constexpr int64_t kHeadsBytes = 100;  // a stand-in for heads.safetensors: only its size is asked
// Numbers per token that a step keeps: 8 x 16 + 2 x 32 of the layer, (3 + 11) x 16 + 2 x 32 beside it.
constexpr int64_t kActivations = 8 * 16 + 2 * 32 + 14 * 16 + 2 * 32;

class PlanTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = ::testing::TempDir() + "/engram-plan-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    paths_.data_dir = pattern;
    auto store = jobs::Store::Open(paths_.database(), clock_);
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
    catalog_ = std::make_unique<Catalog>(*store_, paths_);
    context_.reset(new PlanContext{*store_, *catalog_, paths_, /*checkpoint_every_steps=*/0});
    AddDataset("rows", 1, Rows(10), Rows(5), {"a", "b"});
    AddVersion({});
  }
  void TearDown() override { EXPECT_TRUE(RemoveTree(paths_.data_dir).ok()); }

  // Text i is one word of i + 1 letters, so i + 3 tokens; labels take turns.
  static std::string Rows(int count) {
    std::string rows;
    for (int i = 0; i < count; ++i)
      rows += R"({"text":")" + std::string(static_cast<size_t>(i) + 1, 'x') + R"(","label":")" + "ab"[i % 2] + "\"}\n";
    return rows;
  }
  void AddDataset(const std::string& name, int64_t kind, const std::string& training, const std::string& test,
                  const std::vector<std::string>& labels) {
    ASSERT_TRUE(MakeDirectories(paths_.dataset(name)).ok());
    ASSERT_TRUE(WriteFileAtomic(paths_.training(name), training).ok());
    if (!test.empty()) {
      ASSERT_TRUE(WriteFileAtomic(paths_.test(name), test).ok());
    }
    jobs::DatasetRecord record;
    record.name = name;
    record.kind = kind;
    record.training_rows = std::count(training.begin(), training.end(), '\n');
    record.test_rows = std::count(test.begin(), test.end(), '\n');
    record.labels = labels;
    record.digest = Sha256Hex(Sha256Hex(training) + Sha256Hex(test));
    ASSERT_TRUE(store_->AddDataset(record).ok());
  }
  // The next version of "m", with tasks that learned "rows"; `consolidated` of them, the first ones.
  int64_t AddVersion(const std::vector<std::string>& tasks, size_t consolidated = 0) {
    const int64_t number = store_->ReserveVersion("m").value();
    const std::string directory = paths_.version("m", number);
    EXPECT_TRUE(MakeDirectories(directory).ok());
    checkpoint::VersionManifest manifest;
    manifest.model = "m";
    manifest.version = number;
    for (const std::string& name : tasks) {
      checkpoint::ManifestTask task;
      task.name = name;
      task.labels = {"b", "a"};  // not the data set's order
      task.pooling = checkpoint::Pooling::kMean;
      task.head_file = checkpoint::kHeadsFile;
      task.head_prefix = "heads." + name + ".";
      task.dataset = "rows";
      task.dataset_digest = store_->GetDataset("rows")->digest;
      task.training_examples = 10;
      manifest.tasks.push_back(task);
    }
    for (size_t i = 0; i < consolidated; ++i) {
      checkpoint::ManifestConsolidation consolidation;
      consolidation.task = tasks[i];
      consolidation.fisher = "sampled";
      consolidation.samples = consolidation.training_examples = 10;
      manifest.consolidations.push_back(consolidation);
    }
    if (!tasks.empty()) {
      EXPECT_TRUE(WriteFileAtomic(directory + "/heads.safetensors", std::string(kHeadsBytes, 'h')).ok());
    }
    if (consolidated > 0) {
      EXPECT_TRUE(WriteFileAtomic(directory + "/continual.safetensors", "c").ok());
    }
    WriteLettersVersion(directory, manifest);
    jobs::VersionRecord record;
    record.model = "m";
    record.number = number;
    record.size_bytes = 50'000;
    EXPECT_TRUE(store_->AddVersion(record, "", {}).ok());
    return number;
  }
  int64_t ModelBytes() const {
    return static_cast<int64_t>(std::filesystem::file_size(paths_.version("m", 1) + "/model.safetensors"));
  }

  static StartTaskRequest Start(const std::map<std::string, std::string>& options = {}) {
    StartTaskRequest request;
    request.set_model("models/m");
    request.set_task("t");
    request.set_dataset("datasets/rows");
    const std::map<std::string, std::string> all = {
        {"epochs", "3"}, {"batch_size", "4"}, {"order", "arrival"}, {"precision", "fp32"}, {"pooling", "mean"}};
    for (const auto& [key, value] : all) (*request.mutable_options())[key] = value;
    for (const auto& [key, value] : options) (*request.mutable_options())[key] = value;
    return request;
  }
  absl::StatusOr<PlannedJob> Plan(const google::protobuf::Message& request) { return PlanJob(*context_, request); }
  JobEstimate Estimate(const google::protobuf::Message& request) {
    const auto job = Plan(request);
    EXPECT_TRUE(job.ok()) << job.status();
    const auto estimate = JobEstimator(*context_, {"cpu"}).Estimate(job.value());
    EXPECT_TRUE(estimate.ok()) << estimate.status();
    return estimate.value_or(JobEstimate());
  }
  // A job of `model` that succeeded in one go with these numbers.
  std::string AddEndedJob(const std::string& model, const PlannedJob& like, int64_t tokens, double seconds) {
    jobs::JobRecord record = like.record;
    record.model = model;
    record.description = like.description.SerializeAsString();
    record.specification = like.spec.SerializeAsString();
    const auto added = store_->AddJob(record, /*makes_version=*/true, {}, 100);
    EXPECT_TRUE(added.ok()) << added.status();
    EXPECT_TRUE(store_->BeginRun(added->id).ok());
    engram::worker::v1::RunOutcome outcome;
    outcome.mutable_result()->set_tokens(tokens);
    outcome.mutable_result()->set_work_seconds(seconds);
    EXPECT_TRUE(store_->EndJob(added->id, jobs::JobState::kSucceeded, outcome.SerializeAsString(), std::nullopt).ok());
    return "jobs/" + added->id;
  }

  FakeClock clock_;
  DataPaths paths_;
  std::unique_ptr<jobs::Store> store_;
  std::unique_ptr<Catalog> catalog_;
  std::unique_ptr<PlanContext> context_;
};

TEST_F(PlanTest, AFirstTraining) {
  const auto job = Plan(Start());
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->record.model, "m");
  EXPECT_EQ(job->record.base_version, 1);
  EXPECT_THAT(job->record.datasets, ElementsAre("rows"));
  const auto& work = job->spec.train();
  EXPECT_EQ(work.task(), "t");
  EXPECT_EQ(work.kind(), "sequence_classification");
  EXPECT_EQ(work.pooling(), "mean");
  EXPECT_EQ(work.strategy(), "naive") << "nothing is consolidated yet";
  EXPECT_THAT(work.labels(), ElementsAre("a", "b"));
  EXPECT_EQ(work.dataset().digest(), store_->GetDataset("rows")->digest);
  EXPECT_EQ(work.dataset().training_path(), "") << "paths are filled in when a run starts";
  EXPECT_EQ(work.options().at("epochs"), "3");
  EXPECT_EQ(work.options().at("max_length"), "24") << "the model's window, which is below the default";
  EXPECT_EQ(job->description.options().at("dataset"), "datasets/rows");
  engram::worker::v1::RunSpec spec = job->spec;
  FindJobKind(spec.work_case())->FillPaths(paths_, spec);
  EXPECT_EQ(spec.train().dataset().training_path(), paths_.training("rows"));
  EXPECT_EQ(spec.train().dataset().test_path(), paths_.test("rows"));
}

TEST_F(PlanTest, ATaskThatIsLearnedKeepsItsLabelsInTheirOrder) {
  AddVersion({"t"}, 1);
  const auto job = Plan(Start({{"pooling", "standard"}}));
  ASSERT_FALSE(job.ok()) << "its head has the mean of the tokens";
  EXPECT_EQ(StatusField(job.status()), "pooling");
  StartTaskRequest request = Start();
  const auto again = Plan(request);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_THAT(again->spec.train().labels(), ElementsAre("b", "a"));
  EXPECT_EQ(again->spec.train().strategy(), "ewc") << "there is something to protect";
  AddDataset("more-labels", 1, Rows(4), "", {"a", "b", "c"});
  request.set_dataset("more-labels");
  EXPECT_FALSE(Plan(request).ok());
}

TEST_F(PlanTest, WhatCannotRunIsRefusedWithItsField) {
  const auto field_of = [&](const std::map<std::string, std::string>& options) {
    const absl::Status status = Plan(Start(options)).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    return StatusField(status);
  };
  EXPECT_EQ(field_of({{"epochs", "0"}}), "epochs");
  EXPECT_EQ(field_of({{"epochs", "many"}}), "epochs");
  EXPECT_EQ(field_of({{"max_length", "25"}}), "max_length");
  EXPECT_EQ(field_of({{"pooling", "max"}}), "pooling");
  StartTaskRequest request = Start();
  request.set_kind(engram::v1::TASK_KIND_TOKEN_CLASSIFICATION);
  EXPECT_EQ(StatusField(Plan(request).status()), "kind");
  request = Start();
  request.set_strategy("no-such-strategy");
  EXPECT_EQ(StatusField(Plan(request).status()), "strategy");
  request.set_strategy("ewc");
  EXPECT_EQ(StatusReason(Plan(request).status()), "NOT_CONSOLIDATED");
  request = Start();
  request.set_base("7");
  EXPECT_TRUE(absl::IsNotFound(Plan(request).status()));
  ConsolidateTaskRequest consolidate;
  consolidate.set_model("m");
  consolidate.set_task("t");
  EXPECT_EQ(StatusReason(Plan(consolidate).status()), "TASK_NOT_LEARNED");
  EvaluateTaskRequest evaluate;
  evaluate.set_model("m");
  EXPECT_EQ(StatusReason(Plan(evaluate).status()), "NO_TASKS");
}

TEST_F(PlanTest, TrainingInNumbers) {
  const JobEstimate estimate = Estimate(Start());
  // Texts of 3 to 12 tokens in batches of 3 + 4 + 5 + 6, 7 + 8 + 9 + 10 and 11 + 12.
  EXPECT_EQ(estimate.texts(), 10);
  EXPECT_EQ(estimate.counted_texts(), 10);
  EXPECT_EQ(estimate.tokens(), 75);
  EXPECT_EQ(estimate.total_tokens(), 3 * 75);
  EXPECT_EQ(estimate.steps(), 3 * 3);
  EXPECT_THAT(estimate.warnings(), IsEmpty());
  EXPECT_GE(ModelBytes(), kEncoderBytes);
  EXPECT_LT(ModelBytes(), kEncoderBytes + 8192) << "the file's header";
  const int64_t head = 4 * 2 * (16 + 1), weights = ModelBytes() + head;
  EXPECT_EQ(estimate.memory_bytes(), 4 * weights + 4 * kActivations * 34);
  EXPECT_EQ(estimate.version_bytes(), 50'000 + head);
  EXPECT_EQ(estimate.disk_bytes(), estimate.version_bytes() + 3 * weights);
  EXPECT_EQ(estimate.speed_origin(), engram::v1::SPEED_ORIGIN_MATRIX_PRODUCTS);
  EXPECT_GT(estimate.seconds(), 0);
}

TEST_F(PlanTest, WhatOptionsAddToATraining) {
  EXPECT_EQ(Estimate(Start({{"accumulation", "2"}})).steps(), 3 * 2);
  const JobEstimate split = Estimate(Start({{"validation_fraction", "0.2"}}));
  EXPECT_EQ(split.texts(), 8);
  EXPECT_EQ(split.steps(), 3 * 2);
  const int64_t weights = ModelBytes() + 4 * 2 * (16 + 1);
  // A dense layer of 16 x 16 and its bias before the classifier.
  EXPECT_EQ(Estimate(Start({{"pooling", "standard"}})).version_bytes(), 50'000 + 4 * (2 * (16 + 1) + 16 * 16 + 16));
  EXPECT_EQ(Estimate(Start({{"precision", "bf16"}})).memory_bytes(),
            4 * weights + weights / 2 + (2 * kActivations + 4 * 32) * 34);
  const JobEstimate stopping = Estimate(Start({{"early_stopping_patience", "1"}, {"validation_fraction", "0.2"}}));
  EXPECT_EQ(stopping.disk_bytes(), stopping.version_bytes() + 4 * weights) << "the best weights, too";
  const JobEstimate often = Estimate(Start({{"checkpoint_every_steps", "8"}}));
  EXPECT_EQ(often.disk_bytes(), often.version_bytes() + 2 * 3 * weights) << "the old one is there until the new one is";
  EXPECT_EQ(Estimate(Start({{"checkpoint_every_steps", "9"}})).disk_bytes(), often.disk_bytes() - 3 * weights);
  const JobEstimate cut = Estimate(Start({{"max_length", "8"}}));
  EXPECT_EQ(cut.tokens(), 3 + 4 + 5 + 6 + 7 + 5 * 8);
  ASSERT_THAT(cut.warnings(), SizeIs(1));
  EXPECT_THAT(cut.warnings(0), ::testing::HasSubstr("4 of 10 training texts"));
}

TEST_F(PlanTest, AStrategyIsChargedForWhatItKeeps) {
  AddVersion({"one", "two"}, 2);
  const auto memory = [&](const std::string& strategy) {
    StartTaskRequest request = Start();
    request.set_strategy(strategy);
    return Estimate(request).memory_bytes();
  };
  const int64_t naive = memory("naive");
  EXPECT_EQ(naive, 4 * (ModelBytes() + kHeadsBytes + 4 * 2 * (16 + 1)) + 4 * kActivations * 34);
  EXPECT_EQ(memory("ewc") - naive, 2 * 2 * ModelBytes()) << "importance and anchor of both tasks";
}

TEST_F(PlanTest, ConsolidationInNumbers) {
  AddVersion({"t", "other"}, 0);
  AddVersion({"t", "other"}, 2);
  ConsolidateTaskRequest request;
  request.set_model("m");
  request.set_task("t");
  request.set_base("2");
  request.set_samples(4);
  const JobEstimate first = Estimate(request);
  EXPECT_EQ(first.texts(), 4);
  EXPECT_EQ(first.counted_texts(), 10);
  EXPECT_EQ(first.tokens(), 30) << "4 texts of 7.5 tokens on average";
  EXPECT_EQ(first.steps(), 0);
  EXPECT_EQ(first.version_bytes(), 50'000 + 2 * ModelBytes());
  request.set_base("3");
  const JobEstimate again = Estimate(request);
  EXPECT_EQ(again.version_bytes(), 50'000) << "it replaces what is there";
  EXPECT_EQ(again.memory_bytes() - first.memory_bytes(), 2 * ModelBytes()) << "the other task's, read and written";
}

TEST_F(PlanTest, EvaluationInNumbers) {
  AddVersion({"t", "other"});
  EvaluateTaskRequest request;
  request.set_model("m");
  const JobEstimate estimate = Estimate(request);
  EXPECT_EQ(estimate.texts(), 2 * 5) << "the test part, once for each task";
  EXPECT_EQ(estimate.tokens(), 2 * (3 + 4 + 5 + 6 + 7));
  EXPECT_EQ(estimate.version_bytes(), 0);
  const auto job = Plan(request);
  ASSERT_TRUE(job.ok());
  EXPECT_EQ(job->spec.evaluate().items_size(), 2);
  EXPECT_EQ(job->spec.version(), 0);
}

TEST_F(PlanTest, LargeDataSetsAreCountedInPart) {
  // 9,000 rows: every third is counted, which is 3,000.
  std::string rows;
  for (int i = 0; i < 900; ++i) rows += Rows(10);
  AddDataset("large", 1, rows, "", {"a", "b"});
  StartTaskRequest request = Start();
  request.set_dataset("large");
  const JobEstimate estimate = Estimate(request);
  EXPECT_EQ(estimate.texts(), 9000);
  EXPECT_EQ(estimate.counted_texts(), 3000);
  EXPECT_EQ(estimate.tokens(), 900 * 75) << "every length occurs equally often in each third";
  EXPECT_EQ(estimate.steps(), 3 * 9000 / 4);
}

TEST_F(PlanTest, SpeedIsThatOfTheNewestJobLikeIt) {
  const auto job = Plan(Start());
  ASSERT_TRUE(job.ok());
  // A model of twice the bytes at 100 tokens per second: ours is twice as fast.
  ASSERT_TRUE(MakeDirectories(paths_.version("large", 1)).ok());
  ASSERT_TRUE(WriteFileAtomic(paths_.version("large", 1) + "/model.safetensors",
                              std::string(static_cast<size_t>(2 * ModelBytes()), 'w'))
                  .ok());
  ASSERT_EQ(store_->ReserveVersion("large").value(), 1);
  jobs::VersionRecord version;
  version.model = "large";
  version.number = 1;
  ASSERT_TRUE(store_->AddVersion(version, "", {}).ok());
  const std::string other = AddEndedJob("large", *job, 1000, 10);
  JobEstimate estimate = Estimate(Start());
  EXPECT_EQ(estimate.speed_origin(), engram::v1::SPEED_ORIGIN_OTHER_MODEL);
  EXPECT_EQ(estimate.speed_job(), other);
  EXPECT_EQ(estimate.tokens_per_second(), 200);
  EXPECT_EQ(estimate.seconds(), 225.0 / 200);
  AddEndedJob("m", *job, 1000, 4);
  const std::string newest = AddEndedJob("m", *job, 1000, 2);
  AddEndedJob("large", *job, 1000, 1);
  estimate = Estimate(Start());
  EXPECT_EQ(estimate.speed_origin(), engram::v1::SPEED_ORIGIN_SAME_MODEL);
  EXPECT_EQ(estimate.speed_job(), newest);
  EXPECT_EQ(estimate.tokens_per_second(), 500);
  EXPECT_EQ(Estimate(Start({{"precision", "bf16"}})).speed_origin(), engram::v1::SPEED_ORIGIN_MATRIX_PRODUCTS)
      << "nothing was measured at that precision";
}

TEST_F(PlanTest, TheCatalogShowsAVersion) {
  const int64_t number = AddVersion({"one", "two"}, 1);
  ASSERT_TRUE(store_->SetLabel("m", "stable", number).ok());
  ASSERT_TRUE(store_->SetLabel("m", "old", 1).ok());
  jobs::VersionRecord record = store_->GetVersion("m", number).value();
  record.parent = 1;
  record.job = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
  const auto version = catalog_->Describe(record);
  ASSERT_TRUE(version.ok()) << version.status();
  EXPECT_EQ(version->name(), "models/m/versions/2");
  EXPECT_EQ(version->parent(), "models/m/versions/1");
  EXPECT_EQ(version->job(), "jobs/01ARZ3NDEKTSV4RRFFQ69G5FAV");
  EXPECT_EQ(version->size_bytes(), 50'000);
  EXPECT_EQ(version->max_tokens(), 24);
  EXPECT_THAT(version->labels(), ElementsAre("stable"));
  ASSERT_EQ(version->tasks_size(), 2);
  EXPECT_EQ(version->tasks(0).name(), "models/m/tasks/one");
  EXPECT_EQ(version->tasks(0).kind(), engram::v1::TASK_KIND_SEQUENCE_CLASSIFICATION);
  EXPECT_EQ(version->tasks(0).dataset(), "datasets/rows");
  EXPECT_EQ(version->tasks(0).training_examples(), 10);
  EXPECT_THAT(version->tasks(0).labels(), ElementsAre("b", "a"));
  EXPECT_TRUE(version->tasks(0).consolidated());
  EXPECT_FALSE(version->tasks(1).consolidated());
  ASSERT_TRUE(RemoveTree(paths_.version("m", number)).ok());
  EXPECT_TRUE(absl::IsDataLoss(catalog_->Describe(record).status()));
}

}  // namespace
}  // namespace engram::server
