#pragma once

// The admin side: /metrics, /healthz (the process lives), /readyz (it takes calls) and a status page, over HTTP.

#include <functional>
#include <memory>
#include <string>

#include "absl/time/time.h"
#include "core/base/status.h"
#include "server/admin/tls_files.h"

namespace engram::server {

// What /readyz answers: 200 or 503, and lines about what the server lacks. Jobs that wait for disk or memory do not take a
// server out of the service that answers calls.
struct Readiness {
  bool ready = false;
  std::string lacks;
};

struct AdminPages {
  std::function<bool()> alive;  // /healthz: whether a new start would not help
  std::function<std::string()> metrics;
  std::function<Readiness()> ready;
  std::function<std::string()> status;  // a page of plain text
  // Whether somebody with this "authorization" may see the metrics and the status page; empty: everybody. How the server
  // fares (/healthz, /readyz) is told to everybody.
  std::function<bool(const std::string&)> allowed = {};
};

class AdminServer {
 public:
  // Listens on HOST:PORT (port 0: any free one) with threads of its own, over TLS where there is `tls`, which outlives it.
  // `patience`: what each connection has for its request and its answer. UNAVAILABLE if the address cannot be bound.
  static absl::StatusOr<std::unique_ptr<AdminServer>> Start(const std::string& address, AdminPages pages,
                                                            TlsMaterial* tls = nullptr,
                                                            absl::Duration patience = absl::Seconds(5));
  ~AdminServer();
  // HOST:PORT as it was bound.
  const std::string& address() const { return address_; }

 private:
  struct Listener;
  AdminServer(std::unique_ptr<Listener> listener, std::string address);
  std::unique_ptr<Listener> listener_;
  std::string address_;
};

}  // namespace engram::server
