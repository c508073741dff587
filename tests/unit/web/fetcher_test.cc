#include "core/web/fetcher.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zlib.h>

#include <filesystem>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"

namespace engram::web {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

// A web of canned answers, asked one after the other; what is not in it is 404.
class FakeWeb final : public HttpClient {
 public:
  absl::StatusOr<HttpResponse> Get(const HttpRequest& request) const override {
    asked.push_back(request.url.text);
    headers.push_back(request.headers);
    agents.push_back(request.user_agent);
    const auto found = answers.find(request.url.text);
    if (found == answers.end()) return HttpResponse{.status = 404};
    return found->second;
  }
  std::map<std::string, absl::StatusOr<HttpResponse>> answers;
  mutable std::vector<std::string> asked, agents;
  mutable std::vector<std::vector<std::string>> headers;
};

HttpResponse Html(const std::string& body, const std::string& etag = "") {
  return {.status = 200,
          .body = body,
          .content_type = "Text/HTML; charset=utf-8",
          .etag = etag,
          .downloaded_bytes = static_cast<int64_t>(body.size())};
}
HttpResponse Redirect(const std::string& to) { return {.status = 302, .location = to}; }

class FetcherTest : public testing::Test {
 protected:
  Fetcher Make(FetchOptions options = {}, const std::string& cache = "") {
    options.contact = "https://example.org/bot";
    return Fetcher(
        web, PageCache(cache), clock,
        [this](absl::Duration pause) {
          waits.push_back(pause);
          clock.Advance(pause);
          return !stopped;
        },
        options);
  }
  std::string Reason(const std::string& url, FetchOptions options = {}) {
    return StatusReason(Make(options).Fetch(url).status());
  }
  FakeWeb web;
  FakeClock clock;
  std::vector<absl::Duration> waits;
  bool stopped = false;
};

TEST_F(FetcherTest, AsksForTheRulesFirstAndWaitsBetweenTwoRequestsToAHost) {
  web.answers["http://a.org/robots.txt"] = HttpResponse{.status = 200, .body = "User-agent: *\nCrawl-delay: 3"};
  web.answers["http://a.org/1"] = Html("one");
  web.answers["http://a.org/2"] = Html("two");
  Fetcher fetcher = Make();
  EXPECT_EQ(fetcher.Fetch("http://a.org/1")->body, "one");
  EXPECT_EQ(fetcher.Fetch("http://a.org/2")->body, "two");
  EXPECT_THAT(web.asked, ElementsAre("http://a.org/robots.txt", "http://a.org/1", "http://a.org/2"));
  EXPECT_THAT(waits, ElementsAre(absl::Seconds(1), absl::Seconds(3)));
  EXPECT_EQ(web.agents[0].substr(0, 7), "Engram/");
  EXPECT_THAT(web.agents[0], testing::HasSubstr("(+https://example.org/bot)"));
  clock.Advance(absl::Hours(25));
  (void)fetcher.Fetch("http://a.org/1");
  EXPECT_EQ(web.asked[3], "http://a.org/robots.txt") << "rules hold for a day";
}

TEST_F(FetcherTest, WhatRobotsSayAndWhatHappensWithoutThem) {
  web.answers["http://a.org/robots.txt"] = HttpResponse{.status = 200, .body = "User-agent: *\nDisallow: /x"};
  web.answers["http://down.org/robots.txt"] = HttpResponse{.status = 503};
  web.answers["http://gone.org/robots.txt"] = absl::UnavailableError("no connection");
  web.answers["http://slow.org/robots.txt"] = HttpResponse{.status = 200, .body = "User-agent: *\nCrawl-delay: 3600"};
  web.answers["http://none.org/p"] = Html("page");
  EXPECT_EQ(Reason("http://a.org/x/y"), "ROBOTS_DISALLOWED");
  EXPECT_EQ(Reason("http://down.org/"), "ROBOTS_DISALLOWED");
  EXPECT_EQ(Reason("http://gone.org/"), "ROBOTS_DISALLOWED");
  EXPECT_EQ(Reason("http://slow.org/"), "CRAWL_DELAY_TOO_LONG");
  EXPECT_TRUE(Make().Fetch("http://none.org/p").ok()) << "404: everything is allowed";
}

TEST_F(FetcherTest, RedirectsAreFollowedHopByHop) {
  web.answers["http://a.org/1"] = Redirect("/2");
  web.answers["http://a.org/2"] = Redirect("https://b.org/3");
  web.answers["https://b.org/3"] = Html("there");
  const FetchedPage page = *Make().Fetch("http://a.org/1");
  EXPECT_EQ(page.url, "https://b.org/3");
  EXPECT_THAT(web.asked, testing::Contains("https://b.org/robots.txt"));
  EXPECT_EQ(Reason("http://a.org/1", {.max_redirects = 1}), "TOO_MANY_REDIRECTS");
  web.answers["http://a.org/f"] = Redirect("file:///etc/passwd");
  EXPECT_EQ(Reason("http://a.org/f"), "REDIRECT_NOWHERE");
}

TEST_F(FetcherTest, OnlyPagesBecomeText) {
  EXPECT_EQ(Reason("http://a.org/missing"), "HTTP_404");
  HttpResponse picture = Html("GIF");
  picture.content_type = "image/gif";
  web.answers["http://a.org/gif"] = picture;
  EXPECT_EQ(Reason("http://a.org/gif"), "CONTENT_TYPE");
  EXPECT_EQ(StatusField(Make().Fetch("ftp://a.org/").status()), "url");
  web.answers["http://a.org/1"] = Html(std::string(100, 'x'));
  Fetcher fetcher = Make({.max_total_bytes = 100});
  EXPECT_TRUE(fetcher.Fetch("http://a.org/1").ok());
  EXPECT_EQ(StatusReason(fetcher.Fetch("http://a.org/2").status()), "TOTAL_TOO_LARGE");
  stopped = true;
  EXPECT_TRUE(absl::IsCancelled(Make().Fetch("http://a.org/1").status()));
}

TEST_F(FetcherTest, ABusyServerIsAskedAgainAsItSays) {
  web.answers["http://a.org/1"] = HttpResponse{.status = 429, .retry_after = "7"};
  EXPECT_EQ(Reason("http://a.org/1"), "HTTP_429");
  EXPECT_THAT(waits, testing::Contains(absl::Seconds(7)).Times(2));
  waits.clear();
  web.answers["http://a.org/1"] = HttpResponse{.status = 503, .retry_after = "86400"};
  EXPECT_EQ(Reason("http://a.org/1"), "HTTP_503");
  EXPECT_THAT(waits, testing::Each(absl::Seconds(1))) << "not for a day";
}

TEST_F(FetcherTest, WhatHasNotChangedIsNotFetchedAgain) {
  const std::string folder = testing::TempDir() + "/page_cache";
  std::filesystem::remove_all(folder);
  web.answers["http://a.org/1"] = Html("old copy", "\"v1\"");
  EXPECT_FALSE(Make({}, folder).Fetch("http://a.org/1")->unchanged);
  web.answers["http://a.org/1"] = HttpResponse{.status = 304};
  const FetchedPage again = *Make({}, folder).Fetch("http://a.org/1");
  EXPECT_TRUE(again.unchanged);
  EXPECT_EQ(again.body, "old copy");
  EXPECT_THAT(web.headers.back(), ElementsAre("If-None-Match: \"v1\""));
  EXPECT_TRUE(PageCache(folder).Trim(0).ok());
  EXPECT_EQ(PageCache(folder).Find("http://a.org/1"), std::nullopt);
}

// ---------------------------------------------------------------- libcurl against a socket of this machine

// Answers one connection with fixed bytes, then closes.
class OneAnswer {
 public:
  explicit OneAnswer(std::string answer, const char* address = "127.0.0.1") {
    listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in at{};
    at.sin_family = AF_INET;
    inet_pton(AF_INET, address, &at.sin_addr);
    socklen_t length = sizeof at;
    bind(listener_, reinterpret_cast<sockaddr*>(&at), length);
    getsockname(listener_, reinterpret_cast<sockaddr*>(&at), &length);
    listen(listener_, 4);
    port_ = ntohs(at.sin_port);
    thread_ = std::thread([this, answer = std::move(answer)] {
      const int peer = accept(listener_, nullptr, nullptr);
      if (peer < 0) return;
      for (char byte; request_.find("\r\n\r\n") == std::string::npos && read(peer, &byte, 1) == 1;) request_ += byte;
      for (size_t sent = 0; sent < answer.size();) {
        const ssize_t now = send(peer, answer.data() + sent, answer.size() - sent, MSG_NOSIGNAL);
        if (now <= 0) break;
        sent += static_cast<size_t>(now);
      }
      if (answer.find("HANG") != std::string::npos) {
        for (char byte; read(peer, &byte, 1) == 1;) {
        }
      }
      close(peer);
    });
  }
  ~OneAnswer() {
    shutdown(listener_, SHUT_RDWR);
    thread_.join();
    close(listener_);
  }
  std::string place() const { return absl::StrCat("127.0.0.1:", port_); }
  uint16_t port() const { return port_; }

 private:
  int listener_ = -1;
  uint16_t port_ = 0;
  std::string request_;
  std::thread thread_;
};

absl::StatusOr<HttpResponse> Ask(const std::string& url, const std::vector<std::string>& allowed,
                                 HttpRequest request = {}, CurlClient::Resolver resolver = nullptr,
                                 std::function<bool()> stop = nullptr) {
  request.url = *ParseUrl(url);
  request.user_agent = "test";
  return CurlClient(*AllowedHosts::Parse(allowed), std::move(stop), std::move(resolver)).Get(request);
}

TEST(CurlClient, GetsAPageOfAPlaceThatIsAllowed) {
  OneAnswer server("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nETag: \"x\"\r\nContent-Length: 4\r\n\r\npage");
  const auto response = Ask("http://" + server.place() + "/", {server.place()});
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(response->status, 200);
  EXPECT_EQ(response->body, "page");
  EXPECT_EQ(response->etag, "\"x\"");
  EXPECT_EQ(response->downloaded_bytes, 4);
}

TEST(CurlClient, TheAddressThatANameLeadsToIsWhatCounts) {
  OneAnswer server("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\npage");
  const std::string url = absl::StrCat("http://name.example:", server.port(), "/");
  // Rebinding: the name is the same, the address is another one at the second question.
  int questions = 0;
  const auto resolver = [&](const std::string&) {
    return std::vector<std::string>{++questions == 1 ? "127.0.0.1" : "127.0.0.2"};
  };
  EXPECT_TRUE(Ask(url, {server.place()}, {}, resolver).ok());
  EXPECT_EQ(StatusReason(Ask(url, {server.place()}, {}, resolver).status()), "ADDRESS_NOT_PUBLIC");
  for (const char* address : {"127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "::ffff:127.0.0.1", "fd00:ec2::254"}) {
    const auto leads = [&](const std::string&) { return std::vector<std::string>{address}; };
    EXPECT_EQ(StatusReason(Ask("http://name.example/", {}, {}, leads).status()), "ADDRESS_NOT_PUBLIC") << address;
  }
  EXPECT_EQ(questions, 2);
}

TEST(CurlClient, BytesAndTimeAreBounded) {
  const std::string head = "HTTP/1.1 200 OK\r\n";
  HttpRequest small;
  small.max_bytes = 1000;
  {
    OneAnswer server(head + "Content-Length: 5000\r\n\r\n" + std::string(5000, 'x'));
    EXPECT_EQ(StatusReason(Ask("http://" + server.place() + "/", {server.place()}, small).status()), "TOO_LARGE");
  }
  {
    OneAnswer server(head + "\r\n" + std::string(200'000, 'x'));  // no length is told
    HttpRequest counted = small;
    int64_t came = 0;
    counted.downloaded_bytes = &came;
    const std::string reason = StatusReason(Ask("http://" + server.place() + "/", {server.place()}, counted).status());
    EXPECT_EQ(reason.substr(0, 9), "TOO_LARGE");
    EXPECT_GT(came, 0) << "what fails was fetched as well";
    EXPECT_LT(came, 200'000);
  }
  {
    HttpRequest cut = small;
    cut.cut_at_max = true;
    OneAnswer server(head + "\r\n" + std::string(200'000, 'x'));
    const auto response = Ask("http://" + server.place() + "/", {server.place()}, cut);
    ASSERT_TRUE(response.ok()) << response.status();
    EXPECT_EQ(response->body, std::string(1000, 'x'));
  }
  {
    OneAnswer server(head + "X: " + std::string(90'000, 'x') + "\r\n\r\n");
    EXPECT_EQ(StatusReason(Ask("http://" + server.place() + "/", {server.place()}).status()), "HEADERS_TOO_LARGE");
  }
  {
    HttpRequest quick;
    quick.timeout = absl::Milliseconds(200);
    OneAnswer server(head + "X: HANG\r\n");
    EXPECT_EQ(StatusReason(Ask("http://" + server.place() + "/", {server.place()}, quick).status()), "TIMEOUT");
  }
  {
    // A bomb: a thousandth of its length comes over the network.
    const std::string zeros(10'000'000, '0');
    uLongf length = compressBound(zeros.size());
    std::string packed(length, '\0');
    ASSERT_EQ(compress(reinterpret_cast<Bytef*>(packed.data()), &length, reinterpret_cast<const Bytef*>(zeros.data()),
                       zeros.size()),
              Z_OK);
    packed.resize(length);
    HttpRequest bounded;
    bounded.max_bytes = 100'000;
    ASSERT_LT(packed.size(), 100'000u);
    OneAnswer server(absl::StrCat(head, "Content-Encoding: deflate\r\nContent-Length: ", packed.size(), "\r\n\r\n") +
                     packed);
    EXPECT_EQ(StatusReason(Ask("http://" + server.place() + "/", {server.place()}, bounded).status()),
              "TOO_LARGE_UNPACKED");
  }
  OneAnswer server(head + "X: HANG\r\n");
  const auto stop = [] { return true; };
  EXPECT_TRUE(absl::IsCancelled(Ask("http://" + server.place() + "/", {server.place()}, {}, nullptr, stop).status()));
}

}  // namespace
}  // namespace engram::web
