#include "client/session.h"

#include <cstdio>
#include <cstdlib>

#include "client/address.h"
#include "client/json_output.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "nlohmann/json.hpp"

namespace engram::client {
namespace {

bool errors_as_json = false;

// One line, whatever bytes stand in it.
std::string Line(const nlohmann::ordered_json& json) {
  return json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

int Say(const engram::v1::Error& error, int exit_code) {
  if (errors_as_json) {
    const nlohmann::ordered_json json = {
        {"error",
         {{"code", error.code()}, {"reason", error.reason()}, {"message", error.message()}, {"field", error.field()}}}};
    std::fprintf(stderr, "%s\n", Line(json).c_str());
  } else {
    std::fprintf(stderr, "error: %s%s\n", error.message().c_str(),
                 error.reason().empty() ? "" : (" [" + error.reason() + "]").c_str());
  }
  return exit_code;
}

std::string Variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

// What to say of an address where nothing that speaks gRPC answers.
std::string Unreachable(const std::string& address, const std::string& detail) {
  // gRPC's own words for an HTTP/1 server: engramd's admin address is one.
  if (detail.find("http1") != std::string::npos || detail.find("HTTP/1") != std::string::npos) {
    return "what answers at " + address +
           " speaks HTTP/1 and not gRPC; if it is engramd's admin address (port 7861 by "
           "default), the API is at the other one, port 7860 by default: --address";
  }
  const std::string proxy = ProxyFor(address, Variable);
  return "no Engram server answers at " + address +
         (proxy.empty()
              ? "; start engramd, or say where it is with --address"
              : " through the proxy " + proxy +
                    " (grpc_proxy, https_proxy or http_proxy); start engramd, say where it is with --address, "
                    "or name its host in no_grpc_proxy");
}

}  // namespace

engram::v1::Error ToError(const grpc::Status& status) {
  engram::v1::Error error;
  error.set_code(status.error_code());
  error.set_message(status.error_message());
  google::rpc::Status full;
  if (!full.ParseFromString(status.error_details())) return error;
  for (const google::protobuf::Any& any : full.details()) {
    google::rpc::ErrorInfo info;
    google::rpc::BadRequest bad;
    if (any.UnpackTo(&info)) error.set_reason(info.reason());
    if (any.UnpackTo(&bad) && bad.field_violations_size() > 0) error.set_field(bad.field_violations(0).field());
  }
  return error;
}

std::shared_ptr<grpc::Channel> Session::Channel() {
  if (!channel_) {
    grpc::ChannelArguments arguments;
    arguments.SetMaxReceiveMessageSize(-1);
    arguments.SetMaxSendMessageSize(-1);
    // No proxy leads back to this machine.
    if (IsLoopback(address)) arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
    channel_ = grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
  }
  return channel_;
}

std::unique_ptr<grpc::ClientContext> Session::NewContext() const {
  auto context = std::make_unique<grpc::ClientContext>();
  if (timeout_seconds > 0) {
    context->set_deadline(std::chrono::system_clock::now() +
                          std::chrono::milliseconds(static_cast<int64_t>(timeout_seconds * 1000)));
  }
  return context;
}

int Session::Fail(const grpc::Status& status) const {
  engram::v1::Error error = ToError(status);
  // Without details it was not Engram that answered, but gRPC that found nobody.
  if (status.error_code() == grpc::StatusCode::UNAVAILABLE && error.reason().empty()) {
    error.set_reason("UNREACHABLE");
    error.set_message(Unreachable(address, status.error_message()));
    return Say(error, kUnreachable);
  }
  if (status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED && error.reason().empty())
    error.set_message("the server did not answer in time (--timeout)");
  if (status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED && error.reason().empty()) {
    error.set_message(error.message() +
                      "; send less in one call, or raise max_message_mb in the server's configuration");
  }
  if (error.message().empty()) error.set_message("the server could not read the request, and did not say why");
  return Say(error, kFailed);
}

int Session::Usage(const std::string& message) {
  engram::v1::Error error;
  error.set_code(grpc::StatusCode::INVALID_ARGUMENT);
  error.set_message(message);
  return Say(error, kUsage);
}

int Session::Failed(const std::string& message) {
  engram::v1::Error error;
  error.set_code(grpc::StatusCode::UNKNOWN);
  error.set_message(message);
  return Say(error, kFailed);
}

void Session::ErrorsAsJson() { errors_as_json = true; }

void Session::PrintJson(const google::protobuf::Message& message) {
  std::printf("%s\n", Line(ToJson(message)).c_str());
}

ModelReference SplitReference(const std::string& text) {
  const size_t at = text.find('@');
  if (at == std::string::npos) return {text, ""};
  return {text.substr(0, at), text.substr(at + 1)};
}

std::string LastPart(const std::string& name) {
  const size_t slash = name.rfind('/');
  return slash == std::string::npos ? name : name.substr(slash + 1);
}

}  // namespace engram::client
