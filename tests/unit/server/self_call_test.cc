#include "server/rpc/self_call.h"

#include <unistd.h>

#include <algorithm>
#include <memory>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "grpcpp/generic/async_generic_service.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"

namespace engram::server {
namespace {

constexpr absl::Duration kPatience = absl::Seconds(20);

// Calls of any method hold their thread until they are let go.
class Holding final : public grpc::CallbackGenericService {
 public:
  grpc::ServerGenericBidiReactor* CreateReactor(grpc::GenericCallbackServerContext*) override {
    {
      absl::MutexLock lock(&mutex_);
      ++held_;
      mutex_.Await(absl::Condition(&let_go_));
    }
    class Refusal final : public grpc::ServerGenericBidiReactor {
     public:
      Refusal() { Finish(grpc::Status(grpc::StatusCode::ABORTED, "")); }
      void OnDone() override { delete this; }
    };
    return new Refusal();
  }
  bool AwaitHeld(int count) {
    absl::MutexLock lock(&mutex_);
    const auto enough = [this, count]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return held_ >= count; };
    return mutex_.AwaitWithTimeout(absl::Condition(&enough), kPatience);
  }
  void LetGo() {
    absl::MutexLock lock(&mutex_);
    let_go_ = true;
  }

 private:
  absl::Mutex mutex_;
  int held_ ABSL_GUARDED_BY(mutex_) = 0;
  bool let_go_ ABSL_GUARDED_BY(mutex_) = false;
};

TEST(SelfCall, IsAnsweredOnlyWhileGrpcsThreadsMove) {
  grpc::EnableDefaultHealthCheckService(true);
  Holding holding;
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterCallbackGenericService(&holding);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  ASSERT_NE(server, nullptr);
  absl::Notification moving, held;
  {
    SelfCall self(*server);
    self.Ask([&] { moving.Notify(); });
    EXPECT_TRUE(moving.WaitForNotificationWithTimeout(kPatience));

    // gRPC has half as many threads as there are cores, 2 to 16; each is held by a call.
    const int threads = std::clamp(static_cast<int>(sysconf(_SC_NPROCESSORS_CONF)) / 2, 2, 16);
    std::vector<std::thread> clients;
    for (int i = 0; i < threads; ++i) {
      clients.emplace_back([&] {
        grpc::GenericStub stub(server->InProcessChannel(grpc::ChannelArguments()));
        grpc::ClientContext context;
        grpc::CompletionQueue queue;
        const grpc::Slice nothing;
        const grpc::ByteBuffer request(&nothing, 1);
        grpc::ByteBuffer reply;
        grpc::Status status;
        const auto call = stub.PrepareUnaryCall(&context, "/x.Y/Z", request, &queue);
        call->StartCall();
        call->Finish(&reply, &status, this);
        void* tag = nullptr;
        bool ok = false;
        queue.Next(&tag, &ok);
      });
    }
    EXPECT_TRUE(holding.AwaitHeld(threads));
    self.Ask([&] { held.Notify(); });
    EXPECT_FALSE(held.WaitForNotificationWithTimeout(absl::Milliseconds(100)));
    holding.LetGo();
    EXPECT_TRUE(held.WaitForNotificationWithTimeout(kPatience));
    for (std::thread& client : clients) client.join();
  }
  server->Shutdown();
}

}  // namespace
}  // namespace engram::server
