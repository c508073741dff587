#include "core/jobs/launcher.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>

#include "core/base/files.h"
#include "core/jobs/event_source.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace engram::jobs {
namespace {

using ::testing::ElementsAre;

constexpr absl::Duration kPatience = absl::Seconds(20);  // for other processes; nothing waits this long unless it fails

// What a run says, as a list.
class Heard {
 public:
  RunCallbacks callbacks() {
    return {[this](const std::string& message) { Add(message); },
            [this](RunExit exit) { Add("exit " + std::to_string(exit.code) + " " + std::to_string(exit.signal)); }};
  }
  std::vector<std::string> Await(size_t count) {
    absl::MutexLock lock(&mutex_);
    const auto there = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return said_.size() >= count; };
    EXPECT_TRUE(mutex_.AwaitWithTimeout(absl::Condition(&there), kPatience));
    return said_;
  }

 private:
  void Add(const std::string& what) {
    absl::MutexLock lock(&mutex_);
    said_.push_back(what);
  }
  absl::Mutex mutex_;
  std::vector<std::string> said_ ABSL_GUARDED_BY(mutex_);
};

class LauncherTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = ::testing::TempDir() + "/engram-launcher-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
    ASSERT_EQ(mkfifo((directory_ + "/go").c_str(), 0600), 0);
    // Says one, waits to be told to go on, says two and exits with 7.
    ASSERT_TRUE(WriteFileAtomic(directory_ + "/worker",
                                "#!/bin/sh\nprintf '\\003\\000\\000\\000one' >&3\nread line < \"$2/go\"\n"
                                "printf '\\003\\000\\000\\000two' >&3\nexit 7\n")
                    .ok());
    ASSERT_EQ(chmod((directory_ + "/worker").c_str(), 0700), 0);
  }
  void TearDown() override { ASSERT_TRUE(RemoveTree(directory_).ok()); }
  RunRequest Request() const { return {"run", directory_, {"cpu"}}; }
  void Go() const {
    const int fifo = open((directory_ + "/go").c_str(), O_WRONLY);  // waits for its reader
    ASSERT_GE(fifo, 0);
    ASSERT_EQ(write(fifo, "\n", 1), 1);
    close(fifo);
  }

  std::string directory_;
};

TEST_F(LauncherTest, MessagesAndExitArriveInOrder) {
  LocalLauncher launcher(directory_ + "/worker");
  Heard heard;
  const auto run = launcher.Launch(Request(), heard.callbacks());
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_THAT(heard.Await(1), ElementsAre("one"));
  Go();
  EXPECT_THAT(heard.Await(3), ElementsAre("one", "two", "exit 7 0"));
}

TEST_F(LauncherTest, StopAndKillAreSignalsAndAHandleThatGoesKills) {
  LocalLauncher launcher(directory_ + "/worker");
  Heard stopped, killed, dropped;
  const auto one = launcher.Launch(Request(), stopped.callbacks());
  ASSERT_TRUE(one.ok());
  stopped.Await(1);
  (*one)->Stop();
  EXPECT_THAT(stopped.Await(2), ElementsAre("one", "exit -1 " + std::to_string(SIGTERM)));
  const auto two = launcher.Launch(Request(), killed.callbacks());
  ASSERT_TRUE(two.ok());
  killed.Await(1);
  (*two)->Kill();
  EXPECT_THAT(killed.Await(2), ElementsAre("one", "exit -1 " + std::to_string(SIGKILL)));
  auto three = launcher.Launch(Request(), dropped.callbacks());
  ASSERT_TRUE(three.ok());
  dropped.Await(1);
  three->reset();
  EXPECT_THAT(dropped.Await(2), ElementsAre("one", "exit -1 " + std::to_string(SIGKILL)));
}

TEST_F(LauncherTest, ARunThatIsDetachedGoesOnAndIsAttachedToAgain) {
  LocalLauncher launcher(directory_ + "/worker");
  Heard before, after;
  auto run = launcher.Launch(Request(), before.callbacks());
  ASSERT_TRUE(run.ok());
  before.Await(1);
  (*run)->Detach();
  run->reset();
  Go();
  const auto again = launcher.Attach("run", after.callbacks());
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_THAT(after.Await(2), ElementsAre("two", "exit 7 0"));
  EXPECT_THAT(before.Await(1), ElementsAre("one"));
}

TEST_F(LauncherTest, WhatEndedWhileNobodyFollowedIsToldByAttach) {
  LocalLauncher launcher(directory_ + "/worker");
  Heard before, after;
  auto run = launcher.Launch(Request(), before.callbacks());
  ASSERT_TRUE(run.ok());
  before.Await(1);
  (*run)->Detach();
  Go();
  Heard between;
  auto brief = launcher.Attach("run", between.callbacks());
  ASSERT_TRUE(brief.ok());
  between.Await(2);  // it has ended
  (*brief)->Detach();
  const auto again = launcher.Attach("run", after.callbacks());
  ASSERT_TRUE(again.ok());
  EXPECT_THAT(after.Await(1), ElementsAre("exit 7 0"));
}

TEST_F(LauncherTest, NobodyIsAttachedToARunThatIsNotThere) {
  LocalLauncher launcher(directory_ + "/worker");
  Heard heard;
  EXPECT_EQ(launcher.Attach("run", heard.callbacks()).status().code(), absl::StatusCode::kNotFound);
  EXPECT_FALSE(launcher.RunsOutliveServer());
  LocalLauncher nothing(directory_ + "/none");
  EXPECT_EQ(StatusReason(nothing.Launch(Request(), heard.callbacks()).status()), "WORKER_NOT_STARTED");
}

TEST(DescriptorEvents, FramesUntilTheEndOrTheFirstThatIsNone) {
  const auto read = [](const std::string& bytes) {
    int ends[2];
    EXPECT_EQ(pipe(ends), 0);
    EXPECT_EQ(write(ends[1], bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
    close(ends[1]);
    DescriptorEvents events(ends[0]);
    std::vector<std::string> messages;
    while (const auto message = events.Next()) messages.push_back(*message);
    return messages;
  };
  const std::string two("\2\0\0\0ab\0\0\0\0", 10);
  EXPECT_THAT(read(two), ElementsAre("ab", ""));
  EXPECT_THAT(read(two + std::string("\5\0\0\0abc", 7)), ElementsAre("ab", ""));
  EXPECT_THAT(read(two + std::string("\1\0", 2)), ElementsAre("ab", ""));
  EXPECT_THAT(read(std::string("\1\0\0\1x", 5) + two), ElementsAre());  // 16 MiB and one
  std::string frame("\0\1\0\0", 4);
  frame.append(256, 'x');
  EXPECT_THAT(read(frame), ElementsAre(std::string(256, 'x')));
}

}  // namespace
}  // namespace engram::jobs
