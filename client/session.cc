#include "client/session.h"

#include <cstdio>

#include "google/protobuf/util/json_util.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace engram::client {

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
  const engram::v1::Error error = ToError(status);
  // Without details it was not Engram that answered, but gRPC that found nobody.
  if (status.error_code() == grpc::StatusCode::UNAVAILABLE && error.reason().empty()) {
    std::fprintf(stderr, "error: no Engram server answers at %s; start engramd, or say where it is with --address\n",
                 address.c_str());
    return kUnreachable;
  }
  std::string message = error.message();
  if (status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED && error.reason().empty())
    message = "the server did not answer in time (--timeout)";
  if (status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED && error.reason().empty())
    message += "; send less in one call, or raise max_message_mb in the server's configuration";
  if (message.empty()) message = "the server could not read the request, and did not say why";
  std::fprintf(stderr, "error: %s%s\n", message.c_str(),
               error.reason().empty() ? "" : (" [" + error.reason() + "]").c_str());
  return kFailed;
}

int Session::Usage(const std::string& message) {
  std::fprintf(stderr, "error: %s\n", message.c_str());
  return kUsage;
}

void Session::PrintJson(const google::protobuf::Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  options.always_print_primitive_fields = true;
  std::string text;
  if (google::protobuf::util::MessageToJsonString(message, &text, options).ok()) std::printf("%s\n", text.c_str());
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
