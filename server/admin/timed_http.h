#pragma once

// httplib's server with a time for each connection as a whole: httplib alone counts from byte to byte, so that a client that
// sends slowly holds a thread for as long as it likes.

#include <httplib.h>
#include <openssl/ssl.h>

#include <memory>

#include "absl/time/time.h"
#include "server/admin/tls_files.h"

namespace engram::server {

class TimedServer final : public httplib::Server {
 public:
  // `patience`: from the moment at which a thread takes a connection until its answer is written. Over TLS where there is
  // `tls`, which outlives the server. One request for each connection.
  TimedServer(absl::Duration patience, TlsMaterial* tls);

 private:
  struct Free {
    void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
  };
  bool process_and_close_socket(socket_t socket) override;

  const absl::Duration patience_;
  std::unique_ptr<SSL_CTX, Free> context_;  // none: without TLS
};

}  // namespace engram::server
