#include "core/web/http_client.h"

#include <curl/curl.h>
#include <sys/socket.h>

#include <algorithm>
#include <memory>
#include <mutex>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace engram::web {
namespace {

constexpr size_t kMaxHeaderBytes = size_t{64} << 10;

struct CloseEasy {
  void operator()(CURL* handle) const { curl_easy_cleanup(handle); }
};
struct FreeList {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};
using List = std::unique_ptr<curl_slist, FreeList>;

void Append(List& list, const std::string& line) { list.reset(curl_slist_append(list.release(), line.c_str())); }

absl::Status Failure(absl::StatusCode code, const char* reason, std::string_view message) {
  return StatusWithReason(code, reason, message);
}

// What the callbacks of one transfer share.
struct Transfer {
  const HttpRequest& request;
  const AllowedHosts& allowed;
  const std::function<bool()>& stop;
  HttpResponse response;
  absl::Status refused;  // why a callback ended the transfer
  size_t header_bytes = 0;
  bool cut = false;
};

size_t OnBody(char* bytes, size_t, size_t length, void* pointer) {
  auto& transfer = *static_cast<Transfer*>(pointer);
  std::string& body = transfer.response.body;
  const auto most = static_cast<size_t>(transfer.request.max_bytes);
  if (body.size() + length > most) {
    if (transfer.request.cut_at_max) {
      body.append(bytes, most - body.size());
      transfer.cut = true;
    } else {
      transfer.refused = Failure(absl::StatusCode::kResourceExhausted, "TOO_LARGE_UNPACKED",
                                 absl::StrCat("it is larger than ", most, " bytes; raise the limit, or leave it out"));
    }
    return 0;
  }
  body.append(bytes, length);
  return length;
}

void KeepHeader(std::string_view line, HttpResponse& response) {
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos) return;
  const absl::string_view name = AbslView(line.substr(0, colon));
  const std::string value(absl::StripAsciiWhitespace(AbslView(line.substr(colon + 1))));
  const std::pair<const char*, std::string*> kept[] = {{"content-type", &response.content_type},
                                                       {"etag", &response.etag},
                                                       {"last-modified", &response.last_modified},
                                                       {"location", &response.location},
                                                       {"retry-after", &response.retry_after}};
  for (const auto& [wanted, target] : kept) {
    if (absl::EqualsIgnoreCase(name, wanted)) *target = value;
  }
}

size_t OnHeader(char* bytes, size_t, size_t length, void* pointer) {
  auto& transfer = *static_cast<Transfer*>(pointer);
  transfer.header_bytes += length;
  if (transfer.header_bytes > kMaxHeaderBytes) {
    transfer.refused = Failure(absl::StatusCode::kResourceExhausted, "HEADERS_TOO_LARGE",
                               absl::StrCat("its headers are larger than ", kMaxHeaderBytes >> 10, " KiB"));
    return 0;
  }
  KeepHeader({bytes, length}, transfer.response);
  return length;
}

// The address that libcurl is about to connect to, whatever the name resolved to before.
curl_socket_t OnSocket(void* pointer, curlsocktype, curl_sockaddr* address) {
  auto& transfer = *static_cast<Transfer*>(pointer);
  const absl::Status allowed = transfer.allowed.Check(&address->addr);
  if (!allowed.ok()) {
    transfer.refused = allowed;
    return CURL_SOCKET_BAD;
  }
  return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

int OnProgress(void* pointer, curl_off_t, curl_off_t downloaded, curl_off_t, curl_off_t) {
  auto& transfer = *static_cast<Transfer*>(pointer);
  if (transfer.stop && transfer.stop()) {
    transfer.refused = absl::CancelledError("the collection was stopped");
    return 1;
  }
  if (downloaded > transfer.request.max_bytes && !transfer.request.cut_at_max) {
    transfer.refused = Failure(absl::StatusCode::kResourceExhausted, "TOO_LARGE",
                               absl::StrCat("more than ", transfer.request.max_bytes,
                                            " bytes came over the network; "
                                            "raise the limit, or leave it out"));
    return 1;
  }
  return 0;
}

absl::Status ToStatus(CURLcode code, const Transfer& transfer) {
  switch (code) {
    case CURLE_OPERATION_TIMEDOUT:
      return Failure(absl::StatusCode::kDeadlineExceeded, "TIMEOUT",
                     absl::StrCat("it took longer than ", absl::FormatDuration(transfer.request.timeout)));
    case CURLE_COULDNT_RESOLVE_HOST:
      return Failure(absl::StatusCode::kUnavailable, "NOT_REACHABLE", "its host is not known; check the URL");
    case CURLE_COULDNT_CONNECT:
      return Failure(absl::StatusCode::kUnavailable, "NOT_REACHABLE", "its host takes no connection");
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
      return Failure(absl::StatusCode::kUnavailable, "TLS_FAILED",
                     "its host cannot prove who it is, or speaks no TLS that is taken");
    case CURLE_FILESIZE_EXCEEDED:
      return Failure(absl::StatusCode::kResourceExhausted, "TOO_LARGE",
                     absl::StrCat("it is larger than ", transfer.request.max_bytes,
                                  " bytes; raise the limit, or "
                                  "leave it out"));
    default:
      return Failure(absl::StatusCode::kUnavailable, "BROKEN_OFF",
                     absl::StrCat("the answer broke off or is none (", curl_easy_strerror(code), ")"));
  }
}

void SetUp(CURL* handle, const HttpRequest& request, Transfer& transfer) {
  constexpr long kConnectSeconds = 10;
  const auto set = [handle](CURLoption option, auto value) { curl_easy_setopt(handle, option, value); };
  set(CURLOPT_URL, request.url.text.c_str());
  set(CURLOPT_PROTOCOLS_STR, "http,https");
  set(CURLOPT_FOLLOWLOCATION, 0L);
  set(CURLOPT_PROXY, "");
  set(CURLOPT_NOPROXY, "*");
  set(CURLOPT_NOSIGNAL, 1L);
  set(CURLOPT_USERAGENT, request.user_agent.c_str());
  set(CURLOPT_ACCEPT_ENCODING, "gzip, deflate");
  set(CURLOPT_CONNECTTIMEOUT, kConnectSeconds);
  set(CURLOPT_TIMEOUT_MS, static_cast<long>(std::max<int64_t>(1, absl::ToInt64Milliseconds(request.timeout))));
  set(CURLOPT_FORBID_REUSE, 1L);
  set(CURLOPT_FRESH_CONNECT, 1L);
  if (!request.cut_at_max) set(CURLOPT_MAXFILESIZE_LARGE, static_cast<curl_off_t>(request.max_bytes));
  set(CURLOPT_WRITEFUNCTION, &OnBody);
  set(CURLOPT_WRITEDATA, static_cast<void*>(&transfer));
  set(CURLOPT_HEADERFUNCTION, &OnHeader);
  set(CURLOPT_HEADERDATA, static_cast<void*>(&transfer));
  set(CURLOPT_OPENSOCKETFUNCTION, &OnSocket);
  set(CURLOPT_OPENSOCKETDATA, static_cast<void*>(&transfer));
  set(CURLOPT_NOPROGRESS, 0L);
  set(CURLOPT_XFERINFOFUNCTION, &OnProgress);
  set(CURLOPT_XFERINFODATA, static_cast<void*>(&transfer));
}

}  // namespace

CurlClient::CurlClient(AllowedHosts allowed, std::function<bool()> stop, Resolver resolver)
    : allowed_(std::move(allowed)), stop_(std::move(stop)), resolver_(std::move(resolver)) {
  static std::once_flag once;
  std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
}

absl::StatusOr<HttpResponse> CurlClient::Get(const HttpRequest& request) const {
  ENGRAM_RETURN_IF_ERROR(allowed_.CheckPort(request.url.port));
  ENGRAM_RETURN_IF_ERROR(allowed_.CheckHost(request.url.host, request.url.port));
  const std::unique_ptr<CURL, CloseEasy> handle(curl_easy_init());
  if (!handle) return absl::InternalError("libcurl cannot start");
  Transfer transfer{request, allowed_, stop_, {}, absl::OkStatus()};
  SetUp(handle.get(), request, transfer);
  List headers, resolved;
  Append(headers, "Accept: text/html, application/xhtml+xml;q=0.9, text/plain;q=0.8");
  for (const std::string& header : request.headers) Append(headers, header);
  curl_easy_setopt(handle.get(), CURLOPT_HTTPHEADER, headers.get());
  if (resolver_) {
    const std::vector<std::string> addresses = resolver_(request.url.host);
    if (!addresses.empty()) {
      Append(resolved, absl::StrCat(request.url.host, ":", request.url.port, ":", absl::StrJoin(addresses, ",")));
      curl_easy_setopt(handle.get(), CURLOPT_RESOLVE, resolved.get());
    }
  }
  const CURLcode code = curl_easy_perform(handle.get());
  curl_off_t downloaded = 0;
  curl_easy_getinfo(handle.get(), CURLINFO_SIZE_DOWNLOAD_T, &downloaded);
  transfer.response.downloaded_bytes = downloaded;
  if (request.downloaded_bytes != nullptr) *request.downloaded_bytes = downloaded;
  if (!transfer.refused.ok()) return transfer.refused;
  if (code != CURLE_OK && !transfer.cut) return ToStatus(code, transfer);
  long status = 0;
  curl_easy_getinfo(handle.get(), CURLINFO_RESPONSE_CODE, &status);
  transfer.response.status = static_cast<int>(status);
  return std::move(transfer.response);
}

}  // namespace engram::web
