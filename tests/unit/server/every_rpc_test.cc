// A whole engramd in this process, and every RPC that proto/ declares: one that a handler forgets to count, counts twice
// or counts under another name is found, and so is a service that nobody registered.

#include <httplib.h>

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "core/base/files.h"
#include "engram/v1/dataset.pb.h"
#include "engram/v1/inference.pb.h"
#include "engram/v1/job.pb.h"
#include "engram/v1/model.pb.h"
#include "engram/v1/task.pb.h"
#include "gmock/gmock.h"
#include "google/protobuf/descriptor.h"
#include "grpcpp/generic/generic_stub.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"
#include "server/engramd.h"
#include "tests/unit/checkpoint/temporary_directory.h"
#include "tests/unit/server/request_counts.h"

namespace engram::server {
namespace {

using ::testing::Contains;
using ::testing::IsEmpty;
using ::testing::Key;
using ::testing::Not;

// The methods of every service in proto/engram/v1, a file that is added there included.
std::vector<const google::protobuf::MethodDescriptor*> EveryMethod() {
  std::vector<const google::protobuf::MethodDescriptor*> methods;
  const auto proto = std::filesystem::path(ENGRAM_TEST_DATA).parent_path().parent_path() / "proto";
  for (const auto& entry : std::filesystem::directory_iterator(proto / "engram" / "v1")) {
    const std::string name = entry.path().lexically_relative(proto).generic_string();
    const auto* file = google::protobuf::DescriptorPool::generated_pool()->FindFileByName(name);
    EXPECT_NE(file, nullptr) << name << " is not linked into the server";
    for (int s = 0; file != nullptr && s < file->service_count(); ++s) {
      for (int m = 0; m < file->service(s)->method_count(); ++m) methods.push_back(file->service(s)->method(m));
    }
  }
  return methods;
}

// Calls a method of any kind with one empty message and takes whatever comes.
grpc::Status CallWithNothing(const std::shared_ptr<grpc::Channel>& channel, const std::string& path,
                             const std::string& authorization = "") {
  grpc::GenericStub stub(channel);
  grpc::ClientContext context;
  if (!authorization.empty()) context.AddMetadata("authorization", authorization);
  grpc::CompletionQueue queue;
  const auto finished = [&queue] {
    void* tag = nullptr;
    bool ok = false;
    return queue.Next(&tag, &ok) && ok;
  };
  const auto call = stub.PrepareCall(&context, path, &queue);
  call->StartCall(nullptr);
  finished();
  grpc::Slice nothing;
  call->WriteLast(grpc::ByteBuffer(&nothing, 1), grpc::WriteOptions(), nullptr);
  finished();
  grpc::ByteBuffer answer;
  do call->Read(&answer, nullptr);
  while (finished());
  grpc::Status status;
  call->Finish(&status, nullptr);
  finished();
  return status;
}

std::string Get(const std::string& address, const std::string& path) {
  httplib::Client client("http://" + address);
  const httplib::Result page = client.Get(path);
  EXPECT_TRUE(page) << path;
  return page ? page->body : "";
}

TEST(EveryRpc, IsServedAndCountedOnceUnderItsName) {
  const checkpoint::TemporaryDirectory directory;
  Config config;
  config.data_dir = directory.path() + "/data";
  config.grpc_address = config.admin_address = "127.0.0.1:0";
  // No job runs here, so any program will do for the worker's.
  const auto server = Engramd::Start(config, "/proc/self/exe", [] {});
  ASSERT_EQ(server.status(), absl::OkStatus());
  const auto channel = grpc::CreateChannel((*server)->grpc_address(), grpc::InsecureChannelCredentials());

  std::map<std::string, int> expected;
  for (const google::protobuf::MethodDescriptor* method : EveryMethod()) {
    const std::string path = "/" + method->service()->full_name() + "/" + method->name();
    const grpc::Status status = CallWithNothing(channel, path);
    EXPECT_NE(status.error_code(), grpc::StatusCode::UNIMPLEMENTED) << path << ": " << status.error_message();
    EXPECT_THAT(expected, Not(Contains(Key(method->name())))) << "two methods of one name share one label";
    expected[method->name()] = 1;
  }
  EXPECT_THAT(expected, Not(IsEmpty()));

  std::map<std::string, int> counted;
  for (const auto& [method, codes] : RequestCounts(Get((*server)->admin_address(), "/metrics"))) {
    for (const auto& [code, count] : codes) counted[method] += count;
  }
  EXPECT_EQ(counted, expected);
}

TEST(EveryRpc, WantsATokenWhereThereAreTokens) {
  const checkpoint::TemporaryDirectory directory;
  Config config;
  config.data_dir = directory.path() + "/data";
  config.grpc_address = config.admin_address = "127.0.0.1:0";
  config.token_file = directory.path() + "/tokens";
  ASSERT_EQ(WriteFileAtomic(config.token_file, "alice 0123456789abcdef\n"), absl::OkStatus());
  const auto server = Engramd::Start(config, "/proc/self/exe", [] {});
  ASSERT_EQ(server.status(), absl::OkStatus());
  const auto channel = grpc::CreateChannel((*server)->grpc_address(), grpc::InsecureChannelCredentials());
  for (const google::protobuf::MethodDescriptor* method : EveryMethod()) {
    const std::string path = "/" + method->service()->full_name() + "/" + method->name();
    EXPECT_EQ(CallWithNothing(channel, path).error_code(), grpc::StatusCode::UNAUTHENTICATED) << path;
    EXPECT_EQ(CallWithNothing(channel, path, "Bearer 0123456789abcdeF").error_code(), grpc::StatusCode::UNAUTHENTICATED)
        << path;
    EXPECT_NE(CallWithNothing(channel, path, "Bearer 0123456789abcdef").error_code(), grpc::StatusCode::UNAUTHENTICATED)
        << path;
  }
  // What is told to everybody, and what is not.
  EXPECT_EQ(CallWithNothing(channel, "/grpc.health.v1.Health/Check").error_code(), grpc::StatusCode::OK);
  EXPECT_EQ(CallWithNothing(channel, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo").error_code(),
            grpc::StatusCode::UNIMPLEMENTED);
  httplib::Client admin("http://" + (*server)->admin_address());
  EXPECT_EQ(admin.Get("/metrics")->status, 401);
  EXPECT_EQ(admin.Get("/")->status, 401);
  EXPECT_EQ(admin.Get("/healthz")->status, 200);
  EXPECT_EQ(admin.Get("/readyz")->status, 200);
  EXPECT_EQ(admin.Get("/metrics", {{"Authorization", "Bearer 0123456789abcdef"}})->status, 200);
}

}  // namespace
}  // namespace engram::server
