#pragma once

// One HTTP request, by libcurl, with nothing left to chance: the address that is connected to is looked at
// (address_rules.h), no proxy, no redirects, TLS verified, bounds on bytes and time.

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"
#include "core/base/status.h"
#include "core/web/address_rules.h"
#include "core/web/url.h"

namespace engram::web {

struct HttpRequest {
  Url url;
  std::string user_agent;
  std::vector<std::string> headers;  // "If-None-Match: ...", beside the usual ones
  absl::Duration timeout = absl::Seconds(30);
  int64_t max_bytes = int64_t{20} << 20;  // of the body: over the network, and decompressed
  bool cut_at_max = false;                // keep what came until there instead of failing
  int64_t* downloaded_bytes = nullptr;    // set to what came of the body over the network, also where the request fails
};

struct HttpResponse {
  int status = 0;
  std::string body = {};  // decompressed
  // Headers; empty: not there.
  std::string content_type = {}, etag = {}, last_modified = {}, location = {}, retry_after = {};
  int64_t downloaded_bytes = 0;  // of the body, over the network
};

// Thread-safe.
class HttpClient {
 public:
  virtual ~HttpClient() = default;
  // A response of any status. Otherwise, with these reasons: ADDRESS_NOT_PUBLIC, PORT_NOT_ALLOWED (PERMISSION_DENIED),
  // TOO_LARGE, TOO_LARGE_UNPACKED, HEADERS_TOO_LARGE (RESOURCE_EXHAUSTED), TIMEOUT (DEADLINE_EXCEEDED), NOT_REACHABLE,
  // TLS_FAILED, BROKEN_OFF (UNAVAILABLE), CANCELLED.
  virtual absl::StatusOr<HttpResponse> Get(const HttpRequest& request) const = 0;
};

class CurlClient final : public HttpClient {
 public:
  // Addresses of a host, in numbers; for tests. Empty: the system's resolver.
  using Resolver = std::function<std::vector<std::string>(const std::string& host)>;

  // `stop`: asked often; true ends the request with CANCELLED. Called from the thread that calls Get.
  CurlClient(AllowedHosts allowed, std::function<bool()> stop, Resolver resolver = nullptr);
  absl::StatusOr<HttpResponse> Get(const HttpRequest& request) const override;

 private:
  const AllowedHosts allowed_;
  const std::function<bool()> stop_;
  const Resolver resolver_;
};

}  // namespace engram::web
