#include "core/web/url.h"

#include <curl/curl.h>
#include <unicode/uidna.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "core/base/utf8.h"

namespace engram::web {
namespace {

struct CloseUrl {
  void operator()(CURLU* url) const { curl_url_cleanup(url); }
};
using Handle = std::unique_ptr<CURLU, CloseUrl>;

// Unset parts are empty.
std::string Part(CURLU* url, CURLUPart part, unsigned flags = 0) {
  char* text = nullptr;
  if (curl_url_get(url, part, &text, flags) != CURLUE_OK) return "";
  std::string out = text;
  curl_free(text);
  return out;
}

absl::Status Refuse(std::string_view why) { return InvalidField("url", why); }

// UTS 46: full-width letters, capitals, other dots and scripts become the ASCII that is looked up. Empty: not a name.
std::string ToAscii(const std::string& host) {
  UErrorCode error = U_ZERO_ERROR;
  const std::unique_ptr<UIDNA, void (*)(UIDNA*)> idna(
      uidna_openUTS46(UIDNA_CHECK_BIDI | UIDNA_CHECK_CONTEXTJ | UIDNA_NONTRANSITIONAL_TO_ASCII, &error), uidna_close);
  if (U_FAILURE(error)) return "";
  std::string out(512, '\0');
  UIDNAInfo info = UIDNA_INFO_INITIALIZER;
  const int32_t length = uidna_nameToASCII_UTF8(idna.get(), host.data(), static_cast<int32_t>(host.size()), out.data(),
                                                static_cast<int32_t>(out.size()), &info, &error);
  // Names in use have hyphens where UTS 46 would not.
  constexpr uint32_t kTolerated = UIDNA_ERROR_HYPHEN_3_4 | UIDNA_ERROR_LEADING_HYPHEN | UIDNA_ERROR_TRAILING_HYPHEN;
  if (U_FAILURE(error) || (info.errors & ~kTolerated) != 0 || length > static_cast<int32_t>(out.size())) return "";
  out.resize(static_cast<size_t>(length));
  return out;
}

bool IsNameCharacter(char c) {
  return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '.' || c == '_';
}

absl::StatusOr<Url> Normalize(CURLU* handle) {
  Url url;
  url.scheme = Part(handle, CURLUPART_SCHEME);
  if (url.scheme != "http" && url.scheme != "https") return Refuse("is neither http nor https");
  if (!Part(handle, CURLUPART_USER).empty() || !Part(handle, CURLUPART_PASSWORD).empty())
    return Refuse("has a user name or password; leave it out");
  if (!Part(handle, CURLUPART_ZONEID).empty()) return Refuse("names a network interface; leave it out");
  std::string host = Part(handle, CURLUPART_HOST, CURLU_URLDECODE);
  const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (!bracketed) {
    host = ToAscii(host);
    if (!host.empty() && host.back() == '.') host.pop_back();
    if (host.empty() || !std::all_of(host.begin(), host.end(), IsNameCharacter))
      return Refuse("has no host, or one that is no name");
    // Once more: what was full-width digits is now an address in numbers, which libcurl brings to its usual form.
    if (curl_url_set(handle, CURLUPART_HOST, host.c_str(), 0) != CURLUE_OK) return Refuse("has a host that is no name");
    const std::string again = absl::StrCat(url.scheme, "://", host, "/");
    const Handle numbers(curl_url());
    if (curl_url_set(numbers.get(), CURLUPART_URL, again.c_str(), 0) != CURLUE_OK)
      return Refuse("has a host that is no name");
    host = Part(numbers.get(), CURLUPART_HOST);
  }
  if (curl_url_set(handle, CURLUPART_HOST, host.c_str(), 0) != CURLUE_OK) return Refuse("has a host that is no name");
  url.host = bracketed ? host.substr(1, host.size() - 2) : host;
  int port = 0;
  if (!absl::SimpleAtoi(Part(handle, CURLUPART_PORT, CURLU_DEFAULT_PORT), &port) || port < 1 || port > 65535)
    return Refuse("has a port that is none");
  url.port = static_cast<uint16_t>(port);
  curl_url_set(handle, CURLUPART_FRAGMENT, nullptr, 0);
  const std::string path = Part(handle, CURLUPART_PATH), query = Part(handle, CURLUPART_QUERY);
  url.target = absl::StrCat(path.empty() ? "/" : path, query.empty() ? "" : "?", query);
  url.text = Part(handle, CURLUPART_URL);
  if (url.text.empty() || url.text.size() > kMaxUrlBytes) return Refuse("is too long");
  return url;
}

absl::Status CheckText(std::string_view text) {
  if (text.empty()) return Refuse("is empty");
  if (text.size() > kMaxUrlBytes)
    return Refuse(absl::StrCat("has ", text.size(), " bytes; at most ", kMaxUrlBytes, " are taken"));
  if (FindInvalidUtf8(text)) return Refuse("is not UTF-8");
  const bool odd = std::any_of(text.begin(), text.end(),
                               [](char c) { return static_cast<unsigned char>(c) <= ' ' || c == '\x7f' || c == '\\'; });
  return odd ? Refuse("holds white space, a backslash or a control character; encode it (%20)") : absl::OkStatus();
}

}  // namespace

std::string Url::origin() const {
  const bool address = host.find(':') != std::string::npos;
  return absl::StrCat(scheme, "://", address ? "[" : "", host, address ? "]" : "", ":", port);
}

absl::StatusOr<Url> ParseUrl(std::string_view text) {
  ENGRAM_RETURN_IF_ERROR(CheckText(text));
  const Handle handle(curl_url());
  const std::string bytes(text);
  if (curl_url_set(handle.get(), CURLUPART_URL, bytes.c_str(), 0) != CURLUE_OK)
    return Refuse("is no URL; write it whole, such as https://example.org/page");
  return Normalize(handle.get());
}

absl::StatusOr<Url> ResolveUrl(const Url& base, std::string_view reference) {
  ENGRAM_RETURN_IF_ERROR(CheckText(reference));
  const Handle handle(curl_url());
  const std::string bytes(reference);
  if (curl_url_set(handle.get(), CURLUPART_URL, base.text.c_str(), 0) != CURLUE_OK ||
      curl_url_set(handle.get(), CURLUPART_URL, bytes.c_str(), 0) != CURLUE_OK) {
    return Refuse("is no URL");
  }
  return Normalize(handle.get());
}

}  // namespace engram::web
