// How a run speaks: frames of events, warnings that go along, counters that do not flood.

#include <unistd.h>

#include <array>
#include <thread>

#include "server/worker/event_pipe.h"
#include "tests/unit/worker/run_fixture.h"

namespace engram::worker {
namespace {

using ::testing::ElementsAre;
using ::testing::Lt;
using ::testing::SizeIs;

// A context whose events are read from the other end of a pipe when it is closed.
class ContextTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(pipe(ends_.data()), 0);
    events_.emplace(ends_[1]);
    context_.stop = &stop_;
    context_.events = &*events_;
    reader_ = std::thread([this] {
      std::array<char, 4096> buffer{};
      for (ssize_t got = 0; (got = read(ends_[0], buffer.data(), buffer.size())) > 0;)
        bytes_.append(buffer.data(), static_cast<size_t>(got));
    });
  }
  void TearDown() override {
    if (reader_.joinable()) Close();
    close(ends_[0]);
  }
  std::vector<engram::worker::v1::RunEvent> Close() {
    close(ends_[1]);
    reader_.join();
    return ReadFrames(bytes_);
  }

  std::array<int, 2> ends_{};
  std::optional<EventPipe> events_;
  std::atomic<train::StopRequest> stop_{train::StopRequest::kNone};
  RunContext context_;
  std::thread reader_;
  std::string bytes_;
};

TEST_F(ContextTest, FramesHoldOneMessageEachWhateverItsSize) {
  engram::worker::v1::RunEvent small, empty, large;
  small.set_checkpoint_step(7);
  large.mutable_progress()->set_phase(std::string(100'000, 'x'));  // more than a pipe holds
  for (const auto& event : {small, empty, large, small}) events_->Send(event);
  const auto read = Close();
  ASSERT_THAT(read, SizeIs(4));
  EXPECT_EQ(read[0].checkpoint_step(), 7);
  EXPECT_EQ(read[1].event_case(), engram::worker::v1::RunEvent::EVENT_NOT_SET);
  EXPECT_EQ(read[2].progress().phase().size(), 100'000U);
  EXPECT_EQ(read[3].checkpoint_step(), 7);
}

TEST_F(ContextTest, WarningsGoAlongWithEveryReport) {
  context_.Phase("loading");
  context_.WarnIfAny(std::nullopt);
  context_.WarnIfAny("two texts were cut");
  context_.Phase("training");
  const auto read = Close();
  ASSERT_THAT(read, SizeIs(2));
  EXPECT_EQ(read[0].progress().phase(), "loading");
  EXPECT_THAT(read[0].progress().warnings(), SizeIs(0));
  EXPECT_THAT(read[1].progress().warnings(), ElementsAre("two texts were cut"));
}

TEST_F(ContextTest, ACounterReportsEveryHundredthAndTheLast) {
  const auto counter = context_.Counter("importance");
  for (int64_t done = 1; done <= 1005; ++done) EXPECT_TRUE(counter(done, 1005));
  const auto read = Close();
  EXPECT_THAT(read, SizeIs(::testing::AllOf(::testing::Ge(100U), Lt(105U))));
  EXPECT_EQ(read.front().progress().step(), 1);
  EXPECT_EQ(read[1].progress().step(), 11);
  EXPECT_EQ(read.back().progress().step(), 1005);
  EXPECT_EQ(read.back().progress().eta_seconds(), 0);
  for (const auto& event : read) EXPECT_EQ(event.progress().total_steps(), 1005);
}

TEST_F(ContextTest, ACounterSaysWhenToStop) {
  const auto counter = context_.Counter("importance");
  EXPECT_TRUE(counter(1, 10));
  stop_ = train::StopRequest::kCheckpoint;
  EXPECT_TRUE(context_.stopping());
  EXPECT_FALSE(counter(2, 10));
}

}  // namespace
}  // namespace engram::worker
