#pragma once

// Runs of the worker without its process: a random BERT of letters in a version directory, data sets as the server
// stores them, and the events that a run sends.

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <atomic>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/base/files.h"
#include "core/checkpoint/manifest.h"
#include "core/nn/version.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/worker/run.h"
#include "tests/unit/letters_version.h"

namespace engram::worker {

// Reads the frames of worker.proto: 4 bytes little-endian length, then the message.
inline std::vector<engram::worker::v1::RunEvent> ReadFrames(const std::string& bytes) {
  std::vector<engram::worker::v1::RunEvent> events;
  for (size_t at = 0; at < bytes.size();) {
    EXPECT_LE(at + 4, bytes.size());
    size_t size = 0;
    for (size_t i = 4; i-- > 0;) size = size << 8 | static_cast<unsigned char>(bytes[at + i]);
    EXPECT_LE(at + 4 + size, bytes.size());
    EXPECT_TRUE(events.emplace_back().ParseFromString(bytes.substr(at + 4, size)));
    at += 4 + size;
  }
  return events;
}

class RunTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = ::testing::TempDir() + "/engram-run-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
    checkpoint::VersionManifest manifest;  // of an encoder that has learned nothing
    manifest.model = "letters";
    manifest.version = 1;
    WriteLettersVersion(root_ + "/base", manifest);
  }
  void TearDown() override { EXPECT_TRUE(RemoveTree(root_).ok()); }

  // A data set of two parts in the stored form; `test` may be empty.
  engram::worker::v1::RunDataset MakeDataset(const std::string& name, const std::string& training,
                                             const std::string& test) {
    engram::worker::v1::RunDataset dataset;
    dataset.set_name(name);
    dataset.set_training_path(root_ + "/" + name + ".training");
    EXPECT_TRUE(WriteFileAtomic(dataset.training_path(), training).ok());
    if (!test.empty()) {
      dataset.set_test_path(root_ + "/" + name + ".test");
      EXPECT_TRUE(WriteFileAtomic(dataset.test_path(), test).ok());
    }
    dataset.set_digest(Sha256Hex(Sha256Hex(training) + Sha256Hex(test)));
    return dataset;
  }

  // Ten texts of four letters in two words ("ab xx": 6 tokens with [CLS] and [SEP]), whose label is their first letter;
  // four such texts for the test.
  engram::worker::v1::RunDataset FirstLetters(const std::string& name, char one, char other) {
    std::string training, test;
    for (int i = 0; i < 14; ++i) {
      const char first = i % 2 == 0 ? one : other;
      const std::string label(1, first), text = absl::StrCat(label, std::string(1, static_cast<char>('e' + i)), " xx");
      absl::StrAppend(i < 10 ? &training : &test, R"({"text":")", text, R"(","label":")", label, "\"}\n");
    }
    return MakeDataset(name, training, test);
  }

  // A specification for a run on top of `base` that makes version base + 1 (0: none).
  engram::worker::v1::RunSpec Spec(const std::string& base_directory, int64_t base, bool makes_version = true) const {
    engram::worker::v1::RunSpec spec;
    spec.set_job("jobs/test");
    spec.set_model("letters");
    spec.set_base_directory(base_directory);
    spec.set_base_version(base);
    spec.set_version(makes_version ? base + 1 : 0);
    spec.set_device("cpu");
    return spec;
  }
  engram::worker::v1::RunSpec TrainSpec(const std::string& base_directory, int64_t base, const std::string& task,
                                        const engram::worker::v1::RunDataset& dataset,
                                        const std::vector<std::string>& labels) const {
    engram::worker::v1::RunSpec spec = Spec(base_directory, base);
    auto& work = *spec.mutable_train();
    work.set_task(task);
    work.set_kind("sequence_classification");
    work.set_pooling("mean");
    *work.mutable_dataset() = dataset;
    for (const std::string& label : labels) work.add_labels(label);
    work.set_strategy("naive");
    work.set_progress_every_steps(1);
    const std::map<std::string, std::string> options = {
        {"epochs", "2"}, {"batch_size", "4"}, {"precision", "fp32"}, {"lr", "0.01"}, {"seed", "7"}};
    for (const auto& [key, value] : options) (*work.mutable_options())[key] = value;
    return spec;
  }

  // One run in `directory`, which may hold an earlier run's checkpoint. Its events are in `events` afterwards.
  RunResult Run(const engram::worker::v1::RunSpec& spec, const std::string& directory,
                train::StopRequest request = train::StopRequest::kNone) {
    EXPECT_TRUE(MakeDirectories(directory + "/output").ok());
    const std::string path = directory + "/events";
    const int descriptor = open(path.c_str(), O_CREAT | O_TRUNC | O_WRONLY, 0600);
    EXPECT_GE(descriptor, 0);
    EventPipe pipe(descriptor);
    std::atomic<train::StopRequest> stop{request};
    RunContext context;
    context.spec = spec;
    context.directory = directory;
    context.stop = &stop;
    context.events = &pipe;
    RunResult result = absl::InternalError("no work");
    if (spec.has_train()) result = RunTraining(context);
    if (spec.has_consolidate()) result = RunConsolidation(context);
    if (spec.has_evaluate()) result = RunEvaluation(context);
    if (spec.has_cross_validate()) result = RunCrossValidation(context);
    close(descriptor);
    events = ReadFrames(*ReadFile(path));
    warnings = context.warnings;
    return result;
  }
  // Of a run that must succeed.
  engram::v1::JobResult Done(const engram::worker::v1::RunSpec& spec, const std::string& directory) {
    RunResult result = Run(spec, directory);
    EXPECT_TRUE(result.ok()) << result.status();
    EXPECT_TRUE(result.ok() && result->has_value());
    return result.ok() && result->has_value() ? **result : engram::v1::JobResult();
  }

  static checkpoint::VersionManifest Manifest(const std::string& directory) {
    auto manifest = checkpoint::ReadManifest(directory);
    EXPECT_TRUE(manifest.ok()) << manifest.status();
    return manifest.ok() ? *manifest : checkpoint::VersionManifest();
  }
  // The value of one metric of one task; fails if it is there another number of times than once.
  static double Metric(const engram::v1::JobResult& result, const std::string& task, const std::string& metric) {
    std::vector<double> values;
    for (const auto& entry : result.metrics()) {
      if (entry.task() == "models/letters/tasks/" + task && entry.metric() == metric) values.push_back(entry.value());
    }
    EXPECT_EQ(values.size(), 1U) << metric << " of " << task;
    return values.empty() ? -1 : values[0];
  }
  std::string Phases() const {
    std::string phases;
    for (const auto& event : events) {
      if (event.has_progress() && !phases.ends_with(event.progress().phase() + ";"))
        phases += event.progress().phase() + ";";
    }
    return phases;
  }

  std::string root_;
  std::vector<engram::worker::v1::RunEvent> events;
  std::vector<std::string> warnings;
};

}  // namespace engram::worker
