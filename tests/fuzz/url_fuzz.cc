// Any bytes as a URL: refused, or one that is its own normal form, with a host and a port, of which a link leads nowhere
// that is not http. What stands before a line end is the page, what stands behind it the link.

#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "core/web/address_rules.h"
#include "core/web/url.h"

namespace {

void Check(const engram::web::Url& url) {
  const bool whole = (url.scheme == "http" || url.scheme == "https") && !url.host.empty() && url.port > 0 &&
                     url.target.starts_with("/") && url.text.find_first_of(" \t\r\n#") == std::string::npos;
  if (!whole) std::abort();
  const auto again = engram::web::ParseUrl(url.text);
  if (!again.ok() || again->text != url.text || again->host != url.host || again->port != url.port) std::abort();
  (void)engram::web::AllowedHosts().CheckHost(url.host, url.port);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const size_t line = bytes.find('\n');
  const auto url = engram::web::ParseUrl(bytes.substr(0, line));
  if (!url.ok()) return 0;
  Check(*url);
  if (line == std::string_view::npos) return 0;
  const auto link = engram::web::ResolveUrl(*url, bytes.substr(line + 1));
  if (link.ok()) Check(*link);
  return 0;
}
