#include "server/rpc/pooled_messages.h"

#include "absl/synchronization/notification.h"
#include "engram/v1/inference.pb.h"
#include "gtest/gtest.h"

namespace engram::server {
namespace {

// What is waiting in a pool whose only thread is held, once messages with so many tokens are released.
size_t WaitingAfter(int tokens) {
  WorkPool pool(1);
  absl::Notification held, let_go;
  pool.Schedule([&] {
    held.Notify();
    let_go.WaitForNotification();
  });
  held.WaitForNotification();
  PooledMessages<engram::v1::TokenizeRequest, engram::v1::TokenizeResponse> messages(pool);
  auto* const both = messages.AllocateMessages();
  EXPECT_EQ(both->request()->texts_size(), 0);
  for (int i = 0; i < tokens; ++i) both->response()->add_results()->add_tokens()->set_token("token");
  EXPECT_FALSE(both->response()->SerializeAsString().empty());
  both->Release();
  const size_t waiting = pool.waiting();
  let_go.Notify();
  return waiting;
}

TEST(PooledMessages, OnlyLargeRepliesAreFreedInThePool) {
  EXPECT_EQ(WaitingAfter(10), 0U);
  EXPECT_EQ(WaitingAfter(20'000), 1U);
}

}  // namespace
}  // namespace engram::server
