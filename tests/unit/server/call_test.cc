#include "server/rpc/call.h"

#include <algorithm>
#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "absl/synchronization/notification.h"
#include "engram/v1/dataset.grpc.pb.h"
#include "engram/v1/job.grpc.pb.h"
#include "gmock/gmock.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"
#include "server/rpc/service_list.h"
#include "server/rpc/stream.h"
#include "server/rpc/unary.h"
#include "server/rpc/upload.h"
#include "tests/unit/server/request_counts.h"

namespace engram::server {
namespace {

using engram::v1::Dataset;
using engram::v1::Job;
using engram::v1::UploadDatasetRequest;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;
using ::testing::StartsWith;
using ::testing::UnorderedElementsAre;

constexpr absl::Duration kPatience = absl::Seconds(20);  // for other threads; nothing waits this long unless it fails

constexpr const char* kHuge = "jobs/huge";  // the job whose answer is larger than any answer may be

// What a test sees of the calls, and what it makes them do.
struct Script {
  explicit Script(const CallEnvironment& stands_on) : environment(stands_on) {}

  const CallEnvironment& environment;
  std::function<absl::Status(const CallScope&)> unary = [](const CallScope&) { return absl::OkStatus(); };
  absl::Notification arrived;  // a call is in its handler
  std::thread::id handler;
  std::function<void(StreamCall<Job>&)> open = [](StreamCall<Job>& stream) { stream.Close(absl::OkStatus()); };
  std::atomic<int> written{0}, taken{0}, cleaned{0};
  absl::Notification gone;
  std::function<absl::Status()> take = [] { return absl::OkStatus(); };
};

class ScriptedUnary final : public UnaryCall {
 public:
  ScriptedUnary(Script& script, const grpc::CallbackServerContext& context, const Job& reply)
      : UnaryCall(script.environment, context, reply, "GetJob", script.environment.pool, WorkPool::Length::kShort),
        script_(script) {}

 private:
  void Work() override { End(script_.unary(scope_)); }
  Script& script_;
};

class ScriptedStream final : public StreamCall<Job> {
 public:
  ScriptedStream(Script& script, const grpc::CallbackServerContext& context, bool latest_only)
      : StreamCall(script.environment, context, "WatchJob", latest_only), script_(script) {}

 private:
  void Open() override { script_.open(*this); }
  void OnWritten() override { ++script_.written; }
  void OnGone() override { script_.gone.Notify(); }
  Script& script_;
};

class ScriptedUpload final : public UploadCall<UploadDatasetRequest, Dataset> {
 public:
  ScriptedUpload(Script& script, const grpc::CallbackServerContext& context, Dataset* response)
      : UploadCall(script.environment, context, "UploadDataset", response), script_(script) {}

 private:
  absl::Status Take(const UploadDatasetRequest& /*message*/) override {
    ++script_.taken;
    return script_.take();
  }
  absl::Status Done(Dataset& response) override {
    response.set_name("datasets/done");
    return absl::OkStatus();
  }
  void CleanUp() override { ++script_.cleaned; }
  Script& script_;
};

class JobService final : public engram::v1::JobService::CallbackService {
 public:
  using Api = engram::v1::JobService;
  explicit JobService(Script& script) : script_(script) {}

  grpc::ServerUnaryReactor* GetJob(grpc::CallbackServerContext* context, const engram::v1::GetJobRequest* /*request*/,
                                   Job* response) override {
    script_.handler = std::this_thread::get_id();
    grpc::ServerUnaryReactor* call = Started(new ScriptedUnary(script_, *context, *response));
    script_.arrived.Notify();
    return call;
  }
  grpc::ServerUnaryReactor* CancelJob(grpc::CallbackServerContext* context, const engram::v1::CancelJobRequest* request,
                                      Job* response) override {
    return Change(script_.environment, context, *request, response, "CancelJob", [request, response]() -> absl::Status {
      if (request->name().empty()) return InvalidField("name", "is empty");
      response->set_name(request->name());
      if (request->name() == kHuge) response->set_name(std::string(kMaxReplyBytes + 1, 'x'));
      return absl::OkStatus();
    });
  }
  // A request without a name gets every state, one with a name the latest.
  grpc::ServerWriteReactor<Job>* WatchJob(grpc::CallbackServerContext* context,
                                          const engram::v1::WatchJobRequest* request) override {
    auto* const stream = StartStream<ScriptedStream>(script_, *context, !request->name().empty());
    if (!script_.arrived.HasBeenNotified()) script_.arrived.Notify();
    return stream;
  }

 private:
  Script& script_;
};

class DatasetService final : public engram::v1::DatasetService::CallbackService {
 public:
  using Api = engram::v1::DatasetService;
  explicit DatasetService(Script& script) : script_(script) {}

  grpc::ServerReadReactor<UploadDatasetRequest>* UploadDataset(grpc::CallbackServerContext* context,
                                                               Dataset* response) override {
    auto* upload = new ScriptedUpload(script_, *context, response);
    upload->Begin();
    return upload;
  }

 private:
  Script& script_;
};

class Calls : public ::testing::Test {
 protected:
  Calls() {
    services_.Add<JobService>(script_);
    services_.Add<DatasetService>(script_);
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    services_.Register(builder);
    server_ = builder.BuildAndStart();
    channel_ = grpc::CreateChannel("127.0.0.1:" + std::to_string(port), grpc::InsecureChannelCredentials());
    jobs_ = engram::v1::JobService::NewStub(channel_);
    datasets_ = engram::v1::DatasetService::NewStub(channel_);
  }
  ~Calls() override { ShutDown(); }

  // Ends when every call has ended.
  void ShutDown() {
    server_->Shutdown();
    server_->Wait();
  }
  std::map<std::string, int> Counted(const std::string& method) { return RequestCounts(metrics_.Serialize())[method]; }
  // Keeps the pool's only thread until `let_go_`.
  void HoldPool() {
    absl::Notification begun;
    pool_.Schedule([&] {
      begun.Notify();
      let_go_.WaitForNotification();
    });
    begun.WaitForNotification();
  }
  grpc::Status Upload(const std::vector<UploadDatasetRequest>& messages, Dataset* response) {
    grpc::ClientContext context;
    const auto writer = datasets_->UploadDataset(&context, response);
    for (const UploadDatasetRequest& message : messages) writer->Write(message);
    writer->WritesDone();
    return writer->Finish();
  }

  FakeClock clock_{absl::Now()};
  Metrics metrics_;
  absl::Notification let_go_;
  WorkPool pool_{1};
  const CallEnvironment environment_{metrics_, pool_, clock_};
  Script script_{environment_};
  ServiceList services_;
  std::unique_ptr<grpc::Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<engram::v1::JobService::Stub> jobs_;
  std::unique_ptr<engram::v1::DatasetService::Stub> datasets_;
};

TEST_F(Calls, AUnaryCallIsWorkedOnInThePoolAndKnowsWhoCallsAndUntilWhen) {
  std::string principal, method;
  absl::Time deadline;
  std::thread::id worked;
  script_.unary = [&](const CallScope& scope) {
    principal = scope.principal();
    method = scope.method();
    deadline = scope.deadline();
    worked = std::this_thread::get_id();
    clock_.Advance(absl::Seconds(2));
    return scope.Alive();
  };
  grpc::ClientContext context;
  const absl::Time asked = absl::Now() + absl::Seconds(600);
  context.set_deadline(absl::ToChronoTime(asked));
  Job response;
  EXPECT_TRUE(jobs_->GetJob(&context, {}, &response).ok());
  EXPECT_THAT(principal, StartsWith("ipv4:127.0.0.1:"));
  EXPECT_EQ(method, "GetJob");
  EXPECT_LT(absl::AbsDuration(deadline - asked), absl::Seconds(30));  // it travels as a duration
  EXPECT_NE(worked, script_.handler);
  EXPECT_THAT(Counted("GetJob"), ElementsAre(Pair("OK", 1)));
  // The call's two seconds on the server's clock.
  EXPECT_THAT(metrics_.Serialize(), ::testing::HasSubstr("engram_request_seconds_sum{method=\"GetJob\"} 2\n"));
}

TEST_F(Calls, ADeadlineThatPassedWhileTheCallWaitedIsSeenAndNothingIsWorkedOn) {
  HoldPool();
  bool worked = false;
  script_.unary = [&](const CallScope&) {
    worked = true;
    return absl::OkStatus();
  };
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + absl::Seconds(600)));
  grpc::Status status;
  absl::Notification answered;
  const engram::v1::GetJobRequest request;
  Job response;
  jobs_->async()->GetJob(&context, &request, &response, [&](const grpc::Status& ended) {
    status = ended;
    answered.Notify();
  });
  ASSERT_TRUE(script_.arrived.WaitForNotificationWithTimeout(kPatience));
  clock_.Advance(absl::Seconds(700));
  let_go_.Notify();
  ASSERT_TRUE(answered.WaitForNotificationWithTimeout(kPatience));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_FALSE(worked);
  EXPECT_THAT(Counted("GetJob"), ElementsAre(Pair("DEADLINE_EXCEEDED", 1)));
}

TEST_F(Calls, AClientThatLeavesTakesItsCallOutOfTheQueueAndIsCountedAsCancelled) {
  HoldPool();
  bool worked = false;
  script_.unary = [&](const CallScope&) {
    worked = true;
    return absl::OkStatus();
  };
  grpc::ClientContext context;
  absl::Notification answered;
  const engram::v1::GetJobRequest request;
  Job response;
  jobs_->async()->GetJob(&context, &request, &response, [&](const grpc::Status&) { answered.Notify(); });
  ASSERT_TRUE(script_.arrived.WaitForNotificationWithTimeout(kPatience));
  context.TryCancel();
  ASSERT_TRUE(answered.WaitForNotificationWithTimeout(kPatience));
  ShutDown();  // while the pool is still held: the call ends without it
  EXPECT_THAT(Counted("GetJob"), ElementsAre(Pair("CANCELLED", 1)));
  let_go_.Notify();
  absl::Notification drained;
  pool_.Schedule([&] { drained.Notify(); });
  drained.WaitForNotification();
  EXPECT_FALSE(worked);
}

UploadDatasetRequest Header() {
  UploadDatasetRequest message;
  message.mutable_header()->set_dataset("rows");
  return message;
}
UploadDatasetRequest Rows() {
  UploadDatasetRequest message;
  message.set_training("x");
  return message;
}
UploadDatasetRequest End() {
  UploadDatasetRequest message;
  message.set_end(true);
  return message;
}

// Clients stop at their own deadline, which is a little before the server's.
TEST_F(Calls, AClientWhoseTimeIsOverDidNotLeave) {
  HoldPool();
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + absl::Seconds(600)));
  absl::Notification answered;
  const engram::v1::GetJobRequest request;
  Job response;
  jobs_->async()->GetJob(&context, &request, &response, [&](const grpc::Status&) { answered.Notify(); });
  ASSERT_TRUE(script_.arrived.WaitForNotificationWithTimeout(kPatience));
  clock_.Advance(absl::Seconds(580));
  context.TryCancel();
  ASSERT_TRUE(answered.WaitForNotificationWithTimeout(kPatience));
  ShutDown();
  EXPECT_THAT(Counted("GetJob"), ElementsAre(Pair("DEADLINE_EXCEEDED", 1)));
  let_go_.Notify();
}

TEST_F(Calls, AChangeIsWrittenDownWithWhoAskedForIt) {
  engram::v1::CancelJobRequest request;
  request.set_name("jobs/\n" + std::string(100, 'x'));
  Job response;
  grpc::ClientContext context;
  ::testing::internal::CaptureStderr();
  EXPECT_TRUE(jobs_->CancelJob(&context, request, &response).ok());
  Dataset uploaded;
  EXPECT_TRUE(Upload({Header(), Rows(), End()}, &uploaded).ok());
  ShutDown();
  const std::string log = ::testing::internal::GetCapturedStderr();
  EXPECT_THAT(log, HasSubstr(R"("message":"change","method":"CancelJob","principal":"ipv4:127.0.0.1:)"));
  EXPECT_THAT(log, HasSubstr(R"("request":"name=jobs/\\n)" + std::string(58, 'x') + R"(","code":"OK")"));
  EXPECT_THAT(log, HasSubstr(R"("method":"UploadDataset")"));
  EXPECT_THAT(log, HasSubstr(R"("request":"dataset=rows")"));
}

TEST_F(Calls, APoolThatTooManyWaitForTakesNoFurtherCall) {
  HoldPool();
  for (int i = 0; i < 10'000; ++i) pool_.Schedule([] {});
  grpc::ClientContext context;
  Job response;
  const grpc::Status status = jobs_->GetJob(&context, {}, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(Counted("GetJob"), ElementsAre(Pair("RESOURCE_EXHAUSTED", 1)));
  let_go_.Notify();
}

TEST_F(Calls, AnAnswerCarriesItsStatus) {
  engram::v1::CancelJobRequest request;
  Job response;
  grpc::ClientContext wrong, right;
  EXPECT_EQ(jobs_->CancelJob(&wrong, request, &response).error_message(), "name: is empty");
  request.set_name("jobs/x");
  EXPECT_TRUE(jobs_->CancelJob(&right, request, &response).ok());
  EXPECT_EQ(response.name(), "jobs/x");
  EXPECT_THAT(Counted("CancelJob"), UnorderedElementsAre(Pair("INVALID_ARGUMENT", 1), Pair("OK", 1)));
}

TEST_F(Calls, AnAnswerThatIsTooLargeIsNotSent) {
  engram::v1::CancelJobRequest request;
  request.set_name(kHuge);
  Job response;
  grpc::ClientContext context;
  const grpc::Status status = jobs_->CancelJob(&context, request, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(status.error_message(), StartsWith("the answer is larger than 256 MiB"));
  EXPECT_THAT(Counted("CancelJob"), UnorderedElementsAre(Pair("RESOURCE_EXHAUSTED", 1)));
}

std::vector<int32_t> Read(grpc::ClientReader<Job>& reader) {
  std::vector<int32_t> attempts;
  for (Job job; reader.Read(&job);) attempts.push_back(job.attempts());
  return attempts;
}

void PushAttempts(StreamCall<Job>& stream, int32_t count) {
  for (int32_t i = 1; i <= count; ++i) {
    Job job;
    job.set_attempts(i);
    stream.Push(std::move(job));
  }
}

TEST_F(Calls, AStreamSendsEverythingInOrderAndThenItsStatus) {
  script_.open = [](StreamCall<Job>& stream) {
    PushAttempts(stream, 20);
    stream.Close(absl::NotFoundError("gone"));
    PushAttempts(stream, 1);
    stream.Close(absl::OkStatus());
  };
  grpc::ClientContext context;
  const auto reader = jobs_->WatchJob(&context, {});
  std::vector<int32_t> all(20);
  std::iota(all.begin(), all.end(), 1);
  EXPECT_EQ(Read(*reader), all);
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::NOT_FOUND);
  ASSERT_TRUE(script_.gone.WaitForNotificationWithTimeout(kPatience));
  EXPECT_EQ(script_.written, 20);
  EXPECT_THAT(Counted("WatchJob"), ElementsAre(Pair("NOT_FOUND", 1)));
}

TEST_F(Calls, AStreamOfTheLatestSkipsWhatIsOutOfDate) {
  script_.open = [](StreamCall<Job>& stream) {
    PushAttempts(stream, 1000);
    stream.Close(absl::OkStatus());
  };
  grpc::ClientContext context;
  engram::v1::WatchJobRequest request;
  request.set_name("latest");
  const auto reader = jobs_->WatchJob(&context, request);
  const std::vector<int32_t> seen = Read(*reader);
  EXPECT_TRUE(reader->Finish().ok());
  // Pushed by one function, so that most of them were replaced while the first was on its way.
  ASSERT_FALSE(seen.empty());
  EXPECT_LT(seen.size(), 1000);
  EXPECT_EQ(seen.back(), 1000);
  EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end()));
}

TEST_F(Calls, AClientThatLeavesAStreamEndsItAndIsCountedOnce) {
  script_.open = [](StreamCall<Job>& stream) { PushAttempts(stream, 1); };
  grpc::ClientContext context;
  const auto reader = jobs_->WatchJob(&context, {});
  Job job;
  EXPECT_TRUE(reader->Read(&job));
  context.TryCancel();
  ASSERT_TRUE(script_.gone.WaitForNotificationWithTimeout(kPatience));
  EXPECT_THAT(Counted("WatchJob"), ElementsAre(Pair("CANCELLED", 1)));
}

TEST_F(Calls, AStreamThatNobodyOpensEndsWithItsClient) {
  HoldPool();
  grpc::ClientContext context;
  const auto reader = jobs_->WatchJob(&context, {});
  ASSERT_TRUE(script_.arrived.WaitForNotificationWithTimeout(kPatience));  // a call cancelled before it arrives is none
  context.TryCancel();
  reader->Finish();
  ShutDown();
  let_go_.Notify();
  ASSERT_TRUE(script_.gone.WaitForNotificationWithTimeout(kPatience));
  EXPECT_EQ(script_.written, 0);
}

TEST_F(Calls, AnUploadIsTakenInOrderDoneAndCleanedUp) {
  Dataset response;
  EXPECT_TRUE(Upload({Header(), Rows(), Rows(), End()}, &response).ok());
  EXPECT_EQ(response.name(), "datasets/done");
  EXPECT_EQ(script_.taken, 3);
  EXPECT_EQ(script_.cleaned, 1);
  EXPECT_THAT(Counted("UploadDataset"), ElementsAre(Pair("OK", 1)));
}

TEST_F(Calls, AnUploadThatIsNotWholeIsRefusedAndCleanedUp) {
  Dataset response;
  EXPECT_THAT(Upload({Header(), Rows()}, &response).error_message(), StartsWith("end: is missing"));
  EXPECT_EQ(Upload({Rows(), End()}, &response).error_message(), "header: must be the first message");
  EXPECT_EQ(Upload({Header(), Header(), End()}, &response).error_message(), "header: was sent twice");
  EXPECT_EQ(Upload({Header(), End(), Rows()}, &response).error_message(), "end: must be the last message");
  EXPECT_EQ(response.name(), "");
  EXPECT_EQ(script_.cleaned, 4);
  EXPECT_THAT(Counted("UploadDataset"), ElementsAre(Pair("INVALID_ARGUMENT", 4)));
}

TEST_F(Calls, AnErrorEndsAnUploadAtOnce) {
  script_.take = [] { return absl::ResourceExhaustedError("too much"); };
  Dataset response;
  EXPECT_EQ(Upload({Header(), Rows(), End()}, &response).error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(script_.taken, 1);
  EXPECT_EQ(script_.cleaned, 1);
  EXPECT_THAT(Counted("UploadDataset"), ElementsAre(Pair("RESOURCE_EXHAUSTED", 1)));
}

TEST_F(Calls, AClientThatLeavesInTheMiddleOfAnUploadIsCleanedUpAfter) {
  absl::Notification took;
  script_.take = [&] {
    took.Notify();
    return absl::OkStatus();
  };
  grpc::ClientContext context;
  Dataset response;
  const auto writer = datasets_->UploadDataset(&context, &response);
  writer->Write(Header());
  ASSERT_TRUE(took.WaitForNotificationWithTimeout(kPatience));
  context.TryCancel();
  EXPECT_FALSE(writer->Finish().ok());
  ShutDown();
  EXPECT_EQ(script_.taken, 1);
  EXPECT_EQ(script_.cleaned, 1);
  int calls = 0;
  for (const auto& [code, count] : Counted("UploadDataset")) {
    EXPECT_NE(code, "OK");
    calls += count;
  }
  EXPECT_EQ(calls, 1);
}

}  // namespace
}  // namespace engram::server
