#include "client/session.h"

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <utility>

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

constexpr const char* kSystem = "system";  // --ca of this machine's authorities

bool ReadSmallFile(const std::string& path, std::string& text) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream read;
  read << file.rdbuf();
  text = read.str();
  return file.is_open() && !file.bad();
}

// Of a file of one token, or of names and tokens as engramd's token_file.
std::string FirstToken(const std::string& text) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string first, second;
    if (!(words >> first) || first.starts_with('#')) continue;
    return words >> second ? second : first;
  }
  return "";
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

std::string Session::Prepare() {
  if (certificate.empty() != key.empty()) return "--certificate and --key go together";
  if (!certificate.empty() && ca.empty()) return "--certificate and --key go with --ca";
  credentials_ = grpc::InsecureChannelCredentials();
  if (!ca.empty()) {
    grpc::SslCredentialsOptions options;
    for (const auto& [file, text] :
         {std::pair(&ca, &options.pem_root_certs), std::pair(&certificate, &options.pem_cert_chain),
          std::pair(&key, &options.pem_private_key)}) {
      if (file->empty() || *file == kSystem) continue;
      if (!ReadSmallFile(*file, *text) || text->empty()) return "\"" + *file + "\" cannot be read, or is empty";
    }
    credentials_ = grpc::SslCredentials(options);
  }
  if (token_file.empty()) return "";
  if (ca.empty() && !IsLoopback(address))
    return "a token is not sent over a connection that everybody on the way can read; say --ca, too";
  std::string text;
  if (!ReadSmallFile(token_file, text)) return "\"" + token_file + "\" cannot be read";
  token_ = FirstToken(text);
  return token_.empty() ? "\"" + token_file + "\" holds no token" : "";
}

std::shared_ptr<grpc::Channel> Session::Channel() {
  if (!channel_) {
    grpc::ChannelArguments arguments;
    arguments.SetMaxReceiveMessageSize(-1);
    arguments.SetMaxSendMessageSize(-1);
    // No proxy leads back to this machine.
    if (IsLoopback(address)) arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
    channel_ = grpc::CreateCustomChannel(address, credentials_, arguments);
  }
  return channel_;
}

void Session::Authorize(grpc::ClientContext& context) const {
  if (!token_.empty()) context.AddMetadata("authorization", "Bearer " + token_);
}

std::unique_ptr<grpc::ClientContext> Session::NewContext() const {
  auto context = std::make_unique<grpc::ClientContext>();
  Authorize(*context);
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
