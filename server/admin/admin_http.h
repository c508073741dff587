#pragma once

// The admin side: /metrics, /healthz (the process lives), /readyz (it takes calls) and a status page, over HTTP.

#include <functional>
#include <memory>
#include <string>

#include "core/base/status.h"

namespace engram::server {

// What /readyz answers: 200 or 503, and lines about what the server lacks. Jobs that wait for disk or memory do not take a
// server out of the service that answers calls.
struct Readiness {
  bool ready = false;
  std::string lacks;
};

struct AdminPages {
  std::function<std::string()> metrics;
  std::function<Readiness()> ready;
  std::function<std::string()> status;  // a page of plain text
};

class AdminServer {
 public:
  // Listens on HOST:PORT (port 0: any free one) with threads of its own. UNAVAILABLE if the address cannot be bound.
  static absl::StatusOr<std::unique_ptr<AdminServer>> Start(const std::string& address, AdminPages pages);
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
