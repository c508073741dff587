// What one client may hold of the server: pages of lists, uploads that stand still, bytes of all uploads.

#include <optional>
#include <string>
#include <vector>

#include "core/base/retry.h"
#include "engram/v1/dataset.pb.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/library/byte_budget.h"
#include "server/rpc/idle_watch.h"
#include "server/rpc/page.h"

namespace engram::server {
namespace {

using ::testing::ElementsAre;

// A page of data sets with descriptions of so many bytes.
size_t Count(const std::vector<size_t>& sizes, int64_t size) {
  engram::v1::ListDatasetsResponse response;
  const auto describe = [](size_t bytes, engram::v1::Dataset& out) {
    out.set_name(std::string(bytes, 'x'));
    return absl::OkStatus();
  };
  const size_t count = FillPage(sizes, size, describe, *response.mutable_datasets()).value();
  EXPECT_EQ(static_cast<size_t>(response.datasets_size()), count);
  for (size_t i = 0; i < count; ++i) EXPECT_EQ(response.datasets(static_cast<int>(i)).name().size(), sizes[i]);
  return count;
}

TEST(Page, IsBoundedInItemsAndInBytes) {
  constexpr size_t kMiB = 1 << 20;
  EXPECT_EQ(Count({}, 3), 0);
  EXPECT_EQ(Count({1, 1, 1, 1}, 3), 3);
  EXPECT_EQ(Count({1, 1}, 3), 2);
  EXPECT_EQ(Count({kMiB, kMiB / 2, kMiB, 1}, 10), 2);
  EXPECT_EQ(Count({kMiB, kMiB - 100, 1}, 10), 3);
  // One item is always there, however large: the next page begins behind it.
  EXPECT_EQ(Count({5 * kMiB, 1}, 10), 1);
}

TEST(Page, AnItemThatCannotBeDescribedIsTold) {
  engram::v1::ListDatasetsResponse response;
  const auto describe = [](int, engram::v1::Dataset&) { return absl::DataLossError("damaged"); };
  EXPECT_EQ(FillPage(std::vector{1}, 1, describe, *response.mutable_datasets()).status(),
            absl::DataLossError("damaged"));
}

TEST(IdleWatch, EndsWhatStandsStillAndWhatTakesTooLongOnce) {
  FakeClock clock;
  IdleWatch watch(clock, absl::Seconds(60), absl::Seconds(150));
  std::vector<char> ended;
  const auto add = [&](char name) { return watch.Add([&ended, name] { ended.push_back(name); }); };
  add('s');
  const int64_t busy = add('b'), done = add('d');
  clock.Advance(absl::Seconds(60));
  watch.Touch(busy);
  watch.Remove(done);
  watch.Look();
  EXPECT_THAT(ended, ElementsAre());
  clock.Advance(absl::Seconds(1));
  watch.Look();
  EXPECT_THAT(ended, ElementsAre('s'));
  watch.Touch(busy);
  clock.Advance(absl::Seconds(55));
  watch.Touch(busy);
  clock.Advance(absl::Seconds(34));
  watch.Look();
  EXPECT_THAT(ended, ElementsAre('s'));
  clock.Advance(absl::Seconds(1));  // the 151st
  watch.Look();
  EXPECT_THAT(ended, ElementsAre('s', 'b'));
  clock.Advance(absl::Seconds(1000));
  watch.Look();
  EXPECT_THAT(ended, ElementsAre('s', 'b'));
}

TEST(ByteBudget, IsSharedAndGivenBack) {
  ByteBudget budget(100);
  std::optional<ByteBudget::Share> first(std::in_place, budget), second(std::in_place, budget);
  EXPECT_TRUE(first->Add(60).ok());
  EXPECT_TRUE(second->Add(40).ok());
  const absl::Status full = second->Add(1);
  EXPECT_EQ(StatusReason(full), "UPLOADS_FULL");
  EXPECT_EQ(RetryDelay(full), absl::Seconds(5));
  EXPECT_FALSE(first->Add(INT64_MAX).ok());
  first.reset();
  EXPECT_TRUE(second->Add(60).ok());
  EXPECT_FALSE(second->Add(1).ok());
  second->Release();
  EXPECT_TRUE(second->Add(100).ok());
  EXPECT_FALSE(second->Add(1).ok());
}

}  // namespace
}  // namespace engram::server
