#include "server/admin/timed_http.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>

#include "core/base/clock.h"

namespace engram::server {
namespace {

// A connection that reads and writes until its time is up.
class TimedStream final : public httplib::Stream {
 public:
  // `context`: null without TLS.
  TimedStream(socket_t socket, absl::Time end, SSL_CTX* context) : socket_(socket), end_(end) {
    fcntl(socket_, F_SETFL, fcntl(socket_, F_GETFL, 0) | O_NONBLOCK);
    if (context == nullptr) return;
    ssl_ = SSL_new(context);
    SSL_set_fd(ssl_, static_cast<int>(socket_));
  }
  TimedStream(const TimedStream&) = delete;
  TimedStream& operator=(const TimedStream&) = delete;
  ~TimedStream() override {
    if (ssl_ != nullptr) SSL_shutdown(ssl_);
    SSL_free(ssl_);
    shutdown(socket_, SHUT_RDWR);
    close(socket_);
  }

  // False if the client does not speak TLS, or not in time.
  bool Open() {
    return ssl_ == nullptr || Repeat([this] { return SSL_accept(ssl_); }) > 0;
  }

  bool is_readable() const override { return begin_ < filled_ || Await(POLLIN); }
  bool is_writable() const override { return Await(POLLOUT); }
  // httplib asks byte by byte.
  ssize_t read(char* bytes, size_t size) override {
    if (begin_ == filled_) {
      begin_ = filled_ = 0;
      const ssize_t count = ssl_ != nullptr
                                ? Repeat([this] { return SSL_read(ssl_, buffer_, static_cast<int>(sizeof(buffer_))); })
                                : Repeat([this] { return recv(socket_, buffer_, sizeof(buffer_), 0); }, POLLIN);
      if (count <= 0) return count;
      filled_ = static_cast<size_t>(count);
    }
    const size_t count = std::min(size, filled_ - begin_);
    std::copy_n(buffer_ + begin_, count, bytes);
    begin_ += count;
    return static_cast<ssize_t>(count);
  }
  ssize_t write(const char* bytes, size_t size) override {
    constexpr size_t kMost = size_t{1} << 20;
    size = std::min(size, kMost);
    if (ssl_ != nullptr) return Repeat([&] { return SSL_write(ssl_, bytes, static_cast<int>(size)); });
    return Repeat([&] { return send(socket_, bytes, size, MSG_NOSIGNAL); }, POLLOUT);
  }
  void get_remote_ip_and_port(std::string& ip, int& port) const override { Name(getpeername, ip, port); }
  void get_local_ip_and_port(std::string& ip, int& port) const override { Name(getsockname, ip, port); }
  socket_t socket() const override { return socket_; }

 private:
  // False once the time is up.
  bool Await(int event) const {
    while (true) {
      const int64_t left = absl::ToInt64Milliseconds(end_ - Clock::Steady().Now());
      if (left <= 0) return false;
      pollfd waited{socket_, static_cast<short>(event), 0};
      const int ready = poll(&waited, 1, static_cast<int>(std::min<int64_t>(left, 60'000)));
      if (ready > 0) return true;
      if (ready < 0 && errno != EINTR) return false;
    }
  }
  // A system call, until it says more than that it would block; -1 where it fails or the time is up.
  template <typename Call>
  ssize_t Repeat(const Call& call, int event) {
    while (true) {
      const ssize_t result = call();
      if (result >= 0) return Clock::Steady().Now() < end_ ? result : -1;
      if (errno != EINTR && errno != EAGAIN && errno != EWOULDBLOCK) return -1;
      if (!Await(event)) return -1;
    }
  }
  // The same of a call of OpenSSL.
  template <typename Call>
  ssize_t Repeat(const Call& call) {
    while (true) {
      ERR_clear_error();
      const int result = call();
      if (result > 0) return Clock::Steady().Now() < end_ ? result : -1;
      const int error = SSL_get_error(ssl_, result);
      if (error == SSL_ERROR_ZERO_RETURN) return 0;
      if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE) return -1;
      if (!Await(error == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT)) return -1;
    }
  }
  template <typename NameOf>
  void Name(const NameOf& name_of, std::string& ip, int& port) const {
    sockaddr_storage address{};
    socklen_t size = sizeof(address);
    char text[INET6_ADDRSTRLEN] = "";
    if (name_of(socket_, reinterpret_cast<sockaddr*>(&address), &size) != 0) return;
    if (address.ss_family == AF_INET) {
      const auto& v4 = reinterpret_cast<const sockaddr_in&>(address);
      inet_ntop(AF_INET, &v4.sin_addr, text, sizeof(text));
      port = ntohs(v4.sin_port);
    } else if (address.ss_family == AF_INET6) {
      const auto& v6 = reinterpret_cast<const sockaddr_in6&>(address);
      inet_ntop(AF_INET6, &v6.sin6_addr, text, sizeof(text));
      port = ntohs(v6.sin6_port);
    }
    ip = text;
  }

  const socket_t socket_;
  const absl::Time end_;
  SSL* ssl_ = nullptr;
  char buffer_[4096];
  size_t begin_ = 0, filled_ = 0;  // of buffer_: what is read and not asked for yet
};

}  // namespace

TimedServer::TimedServer(absl::Duration patience, TlsMaterial* tls) : patience_(patience) {
  if (tls == nullptr) return;
  context_.reset(SSL_CTX_new(TLS_server_method()));
  SSL_CTX_set_min_proto_version(context_.get(), TLS1_2_VERSION);
  SSL_CTX_set_session_cache_mode(context_.get(), SSL_SESS_CACHE_OFF);
  // The files are asked again for each connection.
  SSL_CTX_set_cert_cb(
      context_.get(),
      [](SSL* connection, void* material) { return static_cast<TlsMaterial*>(material)->Apply(connection) ? 1 : 0; },
      tls);
}

bool TimedServer::process_and_close_socket(socket_t socket) {
  TimedStream stream(socket, Clock::Steady().Now() + patience_, context_.get());
  bool closed = false;
  return stream.Open() && process_request(stream, /*close_connection=*/true, closed, nullptr);
}

}  // namespace engram::server
