#pragma once

// One invocation of the CLI: where the server is, how answers are printed, what the exit status is.

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "engram/v1/dataset.grpc.pb.h"
#include "engram/v1/inference.grpc.pb.h"
#include "engram/v1/job.grpc.pb.h"
#include "engram/v1/model.grpc.pb.h"
#include "engram/v1/task.grpc.pb.h"
#include "google/protobuf/message.h"
#include "grpcpp/grpcpp.h"

namespace engram::client {

enum ExitCode : int { kOk = 0, kFailed = 1, kUsage = 2, kUnreachable = 3 };

class Session {
 public:
  std::string address = "127.0.0.1:7860";
  bool json = false;
  double timeout_seconds = 0;  // of one call; 0: none
  // PEM files. Authorities that the server's certificate is checked with, or "system" for those of this machine; empty: no
  // TLS. Certificate and key that are shown to a server that wants some; both or neither.
  std::string ca, certificate, key;
  std::string token_file;  // its first word that is no comment, or the second of two, is the token; empty: none
  // What the chosen verb does; set by its parser, called once.
  std::function<int()> run;

  // What is wrong with the files above; empty if nothing is. To be called once, before the first call.
  std::string Prepare();

  // Shows the token to the server.
  void Authorize(grpc::ClientContext& context) const;
  // A context with the call's deadline and the token.
  std::unique_ptr<grpc::ClientContext> NewContext() const;
  template <typename Service>
  std::unique_ptr<typename Service::Stub> Stub() {
    return Service::NewStub(Channel());
  }

  // Says on standard error what went wrong and what to do; gives the exit status.
  int Fail(const grpc::Status& status) const;
  static int Usage(const std::string& message);
  // The same for anything else that went wrong here.
  static int Failed(const std::string& message);
  // From now on what goes wrong is said as JSON: {"error": {"code", "reason", "message", "field"}}, one line of standard
  // error. To be called before anything can.
  static void ErrorsAsJson();

  // Prints a message as JSON (json_output.h).
  static void PrintJson(const google::protobuf::Message& message);
  // Prints the message as JSON if asked for, else calls `human`; 0.
  template <typename Human>
  int Print(const google::protobuf::Message& message, const Human& human) const {
    if (json) {
      PrintJson(message);
    } else {
      human();
    }
    return kOk;
  }

 private:
  std::shared_ptr<grpc::Channel> Channel();
  std::shared_ptr<grpc::Channel> channel_;
  std::shared_ptr<grpc::ChannelCredentials> credentials_;
  std::string token_;
};

// An error as data: code, message, and the reason and field that the server gave with it (empty where it gave none).
engram::v1::Error ToError(const grpc::Status& status);

// "news@3" -> ("news", "3"); "news" -> ("news", "").
struct ModelReference {
  std::string model, version;
};
ModelReference SplitReference(const std::string& text);

// "models/news/versions/3" -> "3"; "jobs/01J" -> "01J".
std::string LastPart(const std::string& name);

}  // namespace engram::client
