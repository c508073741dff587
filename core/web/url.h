#pragma once

// Web addresses that may be fetched: parsed by libcurl, host names brought to ASCII by ICU (UTS 46), everything else
// refused. What a name stands for is looked at when a connection is made (address_rules.h), not here.

#include <cstdint>
#include <string>
#include <string_view>

#include "core/base/status.h"

namespace engram::web {

struct Url {
  std::string scheme;          // "http" or "https"
  std::string host;            // lower-case ASCII without a dot at its end; an IPv6 address without brackets
  uint16_t port = 0;           // also where it is the scheme's own
  std::string target;          // path and query, as they are asked for; begins with "/"
  std::string text;            // the whole, normalized, without a fragment
  std::string origin() const;  // "https://host:port"
};

inline constexpr size_t kMaxUrlBytes = 2083;

// INVALID_ARGUMENT (field "url") for what is no http or https URL, has a user or password, control characters or white
// space, no host, or is longer than kMaxUrlBytes. Numbers that stand for an address ("http://2130706433/",
// "http://0x7f.1/") become that address.
absl::StatusOr<Url> ParseUrl(std::string_view text);

// `reference` as a link on the page `base`: RFC 3986.
absl::StatusOr<Url> ResolveUrl(const Url& base, std::string_view reference);

}  // namespace engram::web
