#include "server/entrance.h"

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>
#include <vector>

#include "core/base/files.h"
#include "core/base/log.h"
#include "grpcpp/impl/server_builder_plugin.h"
#include "grpcpp/security/tls_certificate_provider.h"
#include "grpcpp/security/tls_credentials_options.h"
#include "grpcpp/support/channel_arguments.h"

namespace engram::server {
namespace {

constexpr unsigned kLookSeconds = 1;
constexpr size_t kMostTokenBytes = 1 << 20;

absl::StatusOr<std::string> ReadTokens(const std::string& path) {
  absl::StatusOr<std::string> text = ReadFile(path, kMostTokenBytes);
  if (!text.ok()) return InvalidField("token_file", "names a file that cannot be read, or is larger than 1 MiB");
  return text;
}

std::filesystem::file_time_type ChangeTime(const std::string& path) {
  std::error_code missing;
  return std::filesystem::last_write_time(path, missing);
}

class NoReflection final : public grpc::ServerBuilderOption {
 public:
  void UpdateArguments(grpc::ChannelArguments* /*arguments*/) override {}
  void UpdatePlugins(std::vector<std::unique_ptr<grpc::ServerBuilderPlugin>>* plugins) override {
    std::erase_if(*plugins, [](const auto& plugin) { return plugin->name() == "proto_server_reflection"; });
  }
};

}  // namespace

absl::StatusOr<std::unique_ptr<Entrance>> Entrance::Open(const Config& config) {
  std::unique_ptr<Entrance> entrance(new Entrance());
  if (config.tls()) {
    ENGRAM_ASSIGN_OR_RETURN(entrance->tls_,
                            TlsMaterial::Load({config.tls_certificate, config.tls_key, config.tls_client_ca}));
  }
  if (!config.token_file.empty()) {
    ENGRAM_ASSIGN_OR_RETURN(const std::string text, ReadTokens(config.token_file));
    ENGRAM_ASSIGN_OR_RETURN(entrance->authenticator_, Authenticator::Parse(text));
    entrance->watcher_ = std::thread([self = entrance.get(), path = config.token_file] { self->Watch(path); });
  }
  return entrance;
}

Entrance::~Entrance() {
  closing_.Notify();
  if (watcher_.joinable()) watcher_.join();
}

void Entrance::Watch(const std::string& token_file) {
  auto seen = std::filesystem::file_time_type::min();
  while (!closing_.WaitForNotificationWithTimeout(absl::Seconds(kLookSeconds))) {
    if (const auto now = ChangeTime(token_file); now == std::exchange(seen, now)) continue;
    const absl::StatusOr<std::string> text = ReadTokens(token_file);
    const absl::Status replaced = text.ok() ? authenticator_->Replace(*text) : text.status();
    if (!replaced.ok()) {
      LogWarning("the file of tokens was changed and cannot be used; the tokens of before go on",
                 {{"detail", std::string(replaced.message())}});
    }
  }
}

bool Entrance::Allows(const std::string& authorization) const {
  return authenticator_ == nullptr || authenticator_->Check(authorization).ok();
}

std::shared_ptr<grpc::ServerCredentials> Entrance::Credentials() const {
  if (tls_ == nullptr) return grpc::InsecureServerCredentials();
  namespace experimental = grpc::experimental;
  const TlsFiles& files = tls_->files();
  experimental::TlsServerCredentialsOptions options(std::make_shared<experimental::FileWatcherCertificateProvider>(
      files.key, files.certificate, files.client_ca, kLookSeconds));
  options.watch_identity_key_cert_pairs();
  if (!files.client_ca.empty()) {
    options.watch_root_certs();
    options.set_cert_request_type(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  }
  return experimental::TlsServerCredentials(options);
}

std::unique_ptr<grpc::ServerBuilderOption> WithoutReflection() { return std::make_unique<NoReflection>(); }

}  // namespace engram::server
