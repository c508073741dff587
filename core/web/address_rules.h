#pragma once

// Which machines may be asked: those of the public internet, on the ports of the web. A page's author chooses names,
// redirects and what a name resolves to; so the address is looked at when the connection is made, the one that is
// connected to, at every hop (server-side request forgery, DNS rebinding). Pure functions.

#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/status.h"

namespace engram::web {

// Why an address is not of the public internet ("loopback", "private network", "cloud metadata", ...), by IANA's
// registries of special addresses; nullptr if it is. IPv6 addresses that carry an IPv4 address (mapped, compatible,
// NAT64, 6to4, Teredo, ISATAP) are never public.
const char* SpecialAddress(const in_addr& address);
const char* SpecialAddress(const in6_addr& address);

// Places that may be asked although they are not public, or by another port than 80 and 443. Immutable; thread-safe.
class AllowedHosts {
 public:
  AllowedHosts() = default;
  // Entries "127.0.0.1:8080" or "[::1]:8080": an address and a port, no names. INVALID_ARGUMENT (field
  // "collect_allowed_hosts").
  static absl::StatusOr<AllowedHosts> Parse(const std::vector<std::string>& entries);

  // Whether a connection may be made. PERMISSION_DENIED with reason ADDRESS_NOT_PUBLIC or PORT_NOT_ALLOWED.
  absl::Status Check(const sockaddr* address) const;
  // Before anything is resolved: whether a URL's port can lead anywhere.
  absl::Status CheckPort(uint16_t port) const;
  // The same for a host that is an address in numbers; OK for names.
  absl::Status CheckHost(std::string_view host, uint16_t port) const;

 private:
  std::vector<std::string> entries_;  // as Render gives them
};

}  // namespace engram::web
