#include "server/admin/admin_http.h"

#include <httplib.h>
#include <sys/socket.h>

#include <thread>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "server/admin/timed_http.h"

namespace engram::server {
namespace {

constexpr size_t kThreads = 64;

}  // namespace

struct AdminServer::Listener {
  std::unique_ptr<TimedServer> server;
  AdminPages pages;
  std::thread thread;
};

AdminServer::AdminServer(std::unique_ptr<Listener> listener, std::string address)
    : listener_(std::move(listener)), address_(std::move(address)) {}

AdminServer::~AdminServer() {
  listener_->server->stop();
  listener_->thread.join();
}

absl::StatusOr<std::unique_ptr<AdminServer>> AdminServer::Start(const std::string& address, AdminPages pages,
                                                                TlsMaterial* tls, absl::Duration patience) {
  auto listener = std::make_unique<Listener>();
  listener->pages = std::move(pages);
  const AdminPages& shown = listener->pages;
  listener->server = std::make_unique<TimedServer>(patience, tls);
  httplib::Server& http = *listener->server;
  // A page is asked for without a body, and a body is read into memory whole: nobody sends one here. One request for each
  // connection, so that what a refused request still sends is never taken for the next one.
  http.set_pre_routing_handler([&shown](const httplib::Request& request, httplib::Response& response) {
    const bool reads = request.method == "GET" || request.method == "HEAD";
    if (reads && !request.has_header("Transfer-Encoding") &&
        request.get_header_value<uint64_t>("Content-Length") == 0) {
      const bool health = request.path == "/healthz" || request.path == "/readyz";
      if (health || !shown.allowed || shown.allowed(request.get_header_value("Authorization")))
        return httplib::Server::HandlerResponse::Unhandled;
      response.status = 401;
      response.set_header("WWW-Authenticate", "Bearer");
      return httplib::Server::HandlerResponse::Handled;
    }
    response.status = reads ? 413 : 405;
    response.set_header("Allow", "GET, HEAD");
    return httplib::Server::HandlerResponse::Handled;
  });
  // Each connection holds a thread while it is slow, for its time at most. Probes of an orchestrator ask gRPC's health
  // service instead, which no number of slow connections keeps from answering.
  http.new_task_queue = [] { return new httplib::ThreadPool(kThreads); };
  http.Get("/metrics", [&shown](const httplib::Request&, httplib::Response& response) {
    response.set_content(shown.metrics(), "text/plain; version=0.0.4");
  });
  http.Get("/healthz", [&shown](const httplib::Request&, httplib::Response& response) {
    const bool alive = shown.alive();
    response.status = alive ? 200 : 503;
    response.set_content(alive ? "ok\n" : "hangs\n", "text/plain");
  });
  http.Get("/readyz", [&shown](const httplib::Request&, httplib::Response& response) {
    const Readiness readiness = shown.ready();
    response.status = readiness.ready ? 200 : 503;
    response.set_content(absl::StrCat(readiness.ready ? "ready\n" : "not ready\n", readiness.lacks), "text/plain");
  });
  http.Get("/", [&shown](const httplib::Request&, httplib::Response& response) {
    response.set_content(shown.status(), "text/plain; charset=utf-8");
  });
  const size_t colon = address.rfind(':');
  std::string host = address.substr(0, colon);
  int port = 0;
  if (colon == std::string::npos || !absl::SimpleAtoi(address.substr(colon + 1), &port)) {
    return InvalidField("admin_address", "must be HOST:PORT");
  }
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  // httplib's own choice, SO_REUSEPORT, would let two servers share one port by accident.
  http.set_socket_options([](socket_t socket) {
    const int yes = 1;
    setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
  });
  if (port == 0) {
    port = http.bind_to_any_port(host);
  } else if (!http.bind_to_port(host, port)) {
    port = -1;
  }
  if (port < 0) return absl::UnavailableError("admin_address cannot be bound; another process may be using it");
  listener->thread = std::thread([&http] { http.listen_after_bind(); });
  // stop() does nothing to a server that does not run yet: wait for the thread to get there.
  while (!http.is_running()) std::this_thread::yield();
  return std::unique_ptr<AdminServer>(
      new AdminServer(std::move(listener), absl::StrCat(address.substr(0, colon), ":", port)));
}

}  // namespace engram::server
