#include "server/jobs/job_kind.h"

#include <set>

#include "engram/v1/task.pb.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace engram::server {
namespace {

using engram::worker::v1::RunSpec;

// Whoever adds a message to RunSpec.work, or a kind to the API, adds the room that handles it.
TEST(JobKind, EveryWorkAndEveryKindOfTheApiHasItsRoom) {
  std::set<int> works, shown;
  const auto* const oneof = RunSpec::descriptor()->FindOneofByName("work");
  ASSERT_NE(oneof, nullptr);
  for (int i = 0; i < oneof->field_count(); ++i) works.insert(oneof->field(i)->number());
  for (int i = 0; i < engram::v1::JobKind_descriptor()->value_count(); ++i)
    shown.insert(engram::v1::JobKind_descriptor()->value(i)->number());
  shown.erase(engram::v1::JOB_KIND_UNSPECIFIED);

  std::set<int> found_works, found_shown;
  std::set<std::string> names;
  std::set<const google::protobuf::Descriptor*> requests;
  for (const JobKind* kind : AllJobKinds()) {
    EXPECT_EQ(FindJobKind(kind->facts().work), kind);
    found_works.insert(kind->facts().work);
    found_shown.insert(kind->facts().shown_as);
    names.insert(kind->facts().name);
    requests.insert(kind->request_type());
  }
  EXPECT_EQ(found_works, works);
  EXPECT_EQ(found_shown, shown);
  EXPECT_EQ(names.size(), works.size());
  EXPECT_EQ(requests.size(), works.size());
  EXPECT_EQ(FindJobKind(RunSpec::WORK_NOT_SET), nullptr);
}

// The version reserved for a job follows from this; a kind that says another thing would leave its version unpublished.
TEST(JobKind, WhatEachLeaves) {
  const auto output = [](RunSpec::WorkCase work) { return FindJobKind(work)->facts().output; };
  EXPECT_EQ(output(RunSpec::kTrain), JobOutput::kVersion);
  EXPECT_EQ(output(RunSpec::kConsolidate), JobOutput::kVersion);
  EXPECT_EQ(output(RunSpec::kEvaluate), JobOutput::kReport);
  EXPECT_EQ(output(RunSpec::kCrossValidate), JobOutput::kVersion);
  EXPECT_EQ(output(RunSpec::kCollect), JobOutput::kDataset);
  RunSpec collect;
  collect.mutable_collect()->set_dataset("pages");
  EXPECT_EQ(FindJobKind(RunSpec::kCollect)->MadeDataset(collect), "pages");
}

TEST(JobKind, DataSetsGetTheirPathsWhenTheRunStarts) {
  const DataPaths paths{"/data"};
  RunSpec train, consolidate, evaluate;
  train.mutable_train()->mutable_dataset()->set_name("a");
  consolidate.mutable_consolidate()->mutable_dataset()->set_name("b");
  for (const char* name : {"c", "d"}) evaluate.mutable_evaluate()->add_items()->mutable_dataset()->set_name(name);
  for (RunSpec* spec : {&train, &consolidate, &evaluate}) FindJobKind(spec->work_case())->FillPaths(paths, *spec);
  EXPECT_EQ(train.train().dataset().training_path(), "/data/datasets/a/train.jsonl");
  RunSpec folds;
  folds.mutable_cross_validate()->mutable_train()->mutable_dataset()->set_name("a");
  FindJobKind(folds.work_case())->FillPaths(paths, folds);
  EXPECT_EQ(folds.cross_validate().train().dataset().training_path(), "/data/datasets/a/train.jsonl");
  EXPECT_EQ(train.train().dataset().test_path(), "");  // there is no such file
  EXPECT_EQ(consolidate.consolidate().dataset().training_path(), "/data/datasets/b/train.jsonl");
  EXPECT_EQ(evaluate.evaluate().items(0).dataset().training_path(), "/data/datasets/c/train.jsonl");
  EXPECT_EQ(evaluate.evaluate().items(1).dataset().training_path(), "/data/datasets/d/train.jsonl");
}

}  // namespace
}  // namespace engram::server
