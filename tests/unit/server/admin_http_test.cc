#include "server/admin/admin_http.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "absl/strings/numbers.h"
#include "core/base/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace engram::server {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

AdminPages Pages() {
  return {[] { return true; }, [] { return std::string(1 << 20, 'm'); },
          [] {
            return Readiness{true, "a lack\n"};
          },
          [] { return std::string("status"); }};
}

// A connection to the server that sends and reads as it is told.
class Client {
 public:
  explicit Client(const AdminServer& server) : socket_(socket(AF_INET, SOCK_STREAM, 0)) {
    int port = 0;
    EXPECT_TRUE(absl::SimpleAtoi(server.address().substr(server.address().rfind(':') + 1), &port));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(connect(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  }
  ~Client() { close(socket_); }

  void Send(const std::string& bytes) { send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL); }
  std::string ReadAll() {
    std::string all;
    char buffer[4096];
    for (ssize_t count = 0; (count = recv(socket_, buffer, sizeof(buffer), 0)) > 0;)
      all.append(buffer, static_cast<size_t>(count));
    return all;
  }
  // Whether the server closes the connection, or says something, within this time.
  bool Hears(absl::Duration time) {
    pollfd waited{socket_, POLLIN, 0};
    return poll(&waited, 1, static_cast<int>(absl::ToInt64Milliseconds(time))) > 0;
  }

 private:
  const int socket_;
};

TEST(AdminHttp, AnswersWhole) {
  const auto server = AdminServer::Start("127.0.0.1:0", Pages());
  ASSERT_TRUE(server.ok()) << server.status();
  const auto ask = [&](const std::string& request) {
    Client client(**server);
    client.Send(request);
    return client.ReadAll();
  };
  EXPECT_THAT(ask("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"), StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(ask("GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n"), HasSubstr("ready\na lack\n"));
  const std::string metrics = ask("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_EQ(metrics.size() - (metrics.find("\r\n\r\n") + 4), size_t{1} << 20);
  EXPECT_THAT(ask("POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"), StartsWith("HTTP/1.1 405"));
  EXPECT_THAT(ask("GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 7\r\n\r\n"), StartsWith("HTTP/1.1 413"));
}

// Counted from byte to byte, this would go on for as long as the client likes.
TEST(AdminHttp, ASlowRequestHasAnEnd) {
  const auto server = AdminServer::Start("127.0.0.1:0", Pages(), nullptr, absl::Milliseconds(200));
  ASSERT_TRUE(server.ok()) << server.status();
  Client silent(**server), slow(**server);
  slow.Send("GET /healthz HTTP/1.1\r\nX-A: ");
  bool over = false;
  for (const absl::Time end = Clock::Steady().Now() + absl::Seconds(10); !over && Clock::Steady().Now() < end;) {
    slow.Send("a");
    over = slow.Hears(absl::Milliseconds(10));
  }
  EXPECT_TRUE(over);
  EXPECT_TRUE(silent.Hears(absl::Seconds(10)));
}

}  // namespace
}  // namespace engram::server
