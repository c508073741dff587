#pragma once

// Who is let in and how: TLS for both addresses, tokens for calls, and which of gRPC's own services are shown.

#include <memory>
#include <string>
#include <thread>

#include "absl/synchronization/notification.h"
#include "core/base/status.h"
#include "grpcpp/impl/server_builder_option.h"
#include "grpcpp/security/server_credentials.h"
#include "server/admin/tls_files.h"
#include "server/config.h"
#include "server/rpc/authenticator.h"

namespace engram::server {

// The files that it is made of are looked at every second, and taken when they change; files that are not whole change
// nothing. Thread-safe.
class Entrance {
 public:
  // INVALID_ARGUMENT with the key for a file that cannot be used.
  static absl::StatusOr<std::unique_ptr<Entrance>> Open(const Config& config);
  ~Entrance();

  // Of the API's address.
  std::shared_ptr<grpc::ServerCredentials> Credentials() const;
  // Null: no token is asked for.
  const Authenticator* authenticator() const { return authenticator_.get(); }
  // Null: no TLS.
  TlsMaterial* tls() const { return tls_.get(); }
  // Whether somebody with this "authorization" may see what tells of the server's content.
  bool Allows(const std::string& authorization) const;

 private:
  Entrance() = default;
  void Watch(const std::string& token_file);

  std::unique_ptr<TlsMaterial> tls_;
  std::unique_ptr<Authenticator> authenticator_;
  absl::Notification closing_;
  std::thread watcher_;
};

// Takes gRPC's reflection service out of a server: its library puts it into every one that is built.
std::unique_ptr<grpc::ServerBuilderOption> WithoutReflection();

}  // namespace engram::server
