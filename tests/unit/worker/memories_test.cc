#include "server/worker/memories.h"

#include <cstdlib>
#include <string>

#include "core/base/files.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace engram::worker {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

const absl::Time kNow = absl::FromCivil(absl::CivilSecond(2026, 5, 10), absl::UTCTimeZone());

class Memories : public ::testing::Test {
 protected:
  Memories() {
    std::string folder = ::testing::TempDir() + "/engram-memories-XXXXXX";
    EXPECT_NE(mkdtemp(folder.data()), nullptr);
    context_.directory = folder;
    context_.spec.set_base_directory(folder + "/base");
    EXPECT_TRUE(MakeDirectories(folder + "/base").ok());
    EXPECT_TRUE(MakeDirectories(context_.output()).ok());
    for (const char* task : {"old", "young"}) base_.tasks.emplace_back().name = task;
    train::VersionMemory memory;
    for (const char* task : {"old", "young", "young"}) {
      train::StoredExample& stored = memory.examples.emplace_back();
      stored.task = task;
      stored.example.sequence.ids = {1, 2};
      stored.example.label = 0;
    }
    EXPECT_TRUE(train::WriteVersionMemory(context_.spec.base_directory(), "er", memory).ok());
    checkpoint::ManifestMemory& entry = base_.memory.emplace_back();
    entry.strategy = "er";
    entry.file = checkpoint::MemoryFile("er");
    entry.rows = 3;
    entry.tasks = {{"old", 1}, {"young", 2}};
    entry.kept_since = {{"old", "2026-01-01T00:00:00Z"}, {"young", "2026-05-01T00:00:00Z"}};
  }
  ~Memories() override { EXPECT_TRUE(RemoveTree(context_.directory).ok()); }

  // How many texts of each task are read.
  std::map<std::string, uint64_t> Read(int64_t days) {
    context_.warnings.clear();
    context_.spec.mutable_train()->set_memory_retention_days(days);
    const auto memory = OpenMemory(context_, "er", base_, kNow).Read();
    EXPECT_TRUE(memory.ok()) << memory.status();
    return train::ExamplesPerTask(memory->examples);
  }

  RunContext context_;
  checkpoint::VersionManifest base_;
};

TEST_F(Memories, TextsThatAreTooOldAreLeftOutWithAWarning) {
  EXPECT_THAT(Read(0), ElementsAre(Pair("old", 1), Pair("young", 2)));
  EXPECT_THAT(context_.warnings, IsEmpty());
  EXPECT_THAT(Read(30), ElementsAre(Pair("young", 2)));
  EXPECT_THAT(context_.warnings, ElementsAre(HasSubstr("TEXTS_EXPIRED: texts of \"old\" were not replayed")));
  EXPECT_THAT(Read(8), IsEmpty());
  EXPECT_THAT(context_.warnings, ElementsAre(HasSubstr("\"old\", \"young\"")));
  EXPECT_THAT(Read(365), ElementsAre(Pair("old", 1), Pair("young", 2)));
}

TEST_F(Memories, TextsOfUnknownAgeAreTooOld) {
  base_.memory[0].kept_since.clear();
  base_.memory[0].tasks.clear();  // as an older program left it
  EXPECT_THAT(Read(36'500), IsEmpty());
  EXPECT_EQ(context_.warnings.size(), 1);
}

TEST_F(Memories, WhatIsWrittenReplacesAndKeepsTheDatesOfOthers) {
  train::VersionMemory memory;
  for (const char* task : {"young", "new"}) {
    train::StoredExample& stored = memory.examples.emplace_back();
    stored.task = task;
    stored.example.sequence.ids = {1, 2};
    stored.example.label = 0;
  }
  ASSERT_TRUE(WriteMemory(context_, "er", memory, "new", /*grows=*/false, kNow, base_).ok());
  ASSERT_EQ(base_.memory.size(), 1);
  EXPECT_EQ(base_.memory[0].rows, 2);
  EXPECT_THAT(base_.memory[0].kept_since,
              ElementsAre(Pair("new", "2026-05-10T00:00:00Z"), Pair("young", "2026-05-01T00:00:00Z")));
  EXPECT_TRUE(PathExists(context_.output() + "/memory/er.safetensors"));
}

}  // namespace
}  // namespace engram::worker
