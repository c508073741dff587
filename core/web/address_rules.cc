#include "core/web/address_rules.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cstring>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace engram::web {
namespace {

struct Network4 {
  uint32_t network;
  int bits;
  const char* what;
};
constexpr uint32_t Ip(uint32_t a, uint32_t b, uint32_t c, uint32_t d) { return a << 24 | b << 16 | c << 8 | d; }
constexpr Network4 kSpecial4[] = {
    {Ip(0, 0, 0, 0), 8, "this network"},
    {Ip(10, 0, 0, 0), 8, "private network"},
    {Ip(100, 64, 0, 0), 10, "shared address space"},  // cloud metadata 100.100.100.200 as well
    {Ip(127, 0, 0, 0), 8, "loopback"},
    {Ip(169, 254, 0, 0), 16, "link-local"},  // cloud metadata 169.254.169.254 as well
    {Ip(172, 16, 0, 0), 12, "private network"},
    {Ip(192, 0, 0, 0), 24, "protocol assignments"},  // cloud metadata 192.0.0.192 as well
    {Ip(192, 0, 2, 0), 24, "documentation"},
    {Ip(192, 88, 99, 0), 24, "6to4 relay"},
    {Ip(192, 168, 0, 0), 16, "private network"},
    {Ip(198, 18, 0, 0), 15, "benchmarking"},
    {Ip(198, 51, 100, 0), 24, "documentation"},
    {Ip(203, 0, 113, 0), 24, "documentation"},
    {Ip(224, 0, 0, 0), 4, "multicast"},
    {Ip(240, 0, 0, 0), 4, "reserved"},
};

struct Network6 {
  uint8_t network[16];
  int bits;
  const char* what;
};
constexpr Network6 kSpecial6[] = {
    {{}, 96, "unspecified, loopback or IPv4-compatible"},
    {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff}, 96, "IPv4-mapped"},
    {{0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff}, 96, "IPv4-translated"},
    {{0, 0x64, 0xff, 0x9b}, 96, "NAT64"},
    {{0, 0x64, 0xff, 0x9b, 0, 1}, 48, "NAT64"},
    {{0x01, 0x00}, 64, "discard only"},
    {{0x20, 0x01}, 23, "protocol assignments"},  // Teredo 2001::/32, ORCHID and others
    {{0x20, 0x01, 0x0d, 0xb8}, 32, "documentation"},
    {{0x20, 0x02}, 16, "6to4"},
    {{0x3f, 0xff}, 20, "documentation"},
    {{0x5f, 0x00}, 16, "segment routing"},
    {{0xfc}, 7, "private network"},  // cloud metadata fd00:ec2::254 as well
    {{0xfe, 0x80}, 10, "link-local"},
    {{0xfe, 0xc0}, 10, "site-local"},
    {{0xff}, 8, "multicast"},
};

bool InNetwork(const uint8_t* address, const Network6& network) {
  const int whole = network.bits / 8, rest = network.bits % 8;
  if (std::memcmp(address, network.network, static_cast<size_t>(whole)) != 0) return false;
  return rest == 0 || ((address[whole] ^ network.network[whole]) >> (8 - rest)) == 0;
}

// "127.0.0.1:80", "[::1]:80".
std::string Render(const sockaddr* address) {
  char text[INET6_ADDRSTRLEN] = "";
  if (address->sa_family == AF_INET) {
    const auto* const v4 = reinterpret_cast<const sockaddr_in*>(address);
    inet_ntop(AF_INET, &v4->sin_addr, text, sizeof text);
    return absl::StrCat(text, ":", ntohs(v4->sin_port));
  }
  const auto* const v6 = reinterpret_cast<const sockaddr_in6*>(address);
  inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof text);
  return absl::StrCat("[", text, "]:", ntohs(v6->sin6_port));
}

// An address in numbers and a port; false for anything else.
bool Read(const std::string& host, uint16_t port, sockaddr_storage& out) {
  std::memset(&out, 0, sizeof out);
  auto* const v4 = reinterpret_cast<sockaddr_in*>(&out);
  if (inet_pton(AF_INET, host.c_str(), &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(port);
    return true;
  }
  auto* const v6 = reinterpret_cast<sockaddr_in6*>(&out);
  if (inet_pton(AF_INET6, host.c_str(), &v6->sin6_addr) != 1) return false;
  v6->sin6_family = AF_INET6;
  v6->sin6_port = htons(port);
  return true;
}

bool IsWebPort(uint16_t port) { return port == 80 || port == 443; }

absl::Status Denied(const char* reason, std::string_view message) {
  return StatusWithReason(absl::StatusCode::kPermissionDenied, reason, message);
}

}  // namespace

const char* SpecialAddress(const in_addr& address) {
  const uint32_t value = ntohl(address.s_addr);
  for (const Network4& special : kSpecial4) {
    if ((value ^ special.network) >> (32 - special.bits) == 0) return special.what;
  }
  return nullptr;
}

const char* SpecialAddress(const in6_addr& address) {
  const uint8_t* const bytes = address.s6_addr;
  for (const Network6& special : kSpecial6) {
    if (InNetwork(bytes, special)) return special.what;
  }
  // RFC 5214: the interface is 0000:5efe or 0200:5efe and an IPv4 address.
  const bool isatap = (bytes[8] & 0xfd) == 0 && bytes[9] == 0 && bytes[10] == 0x5e && bytes[11] == 0xfe;
  return isatap ? "ISATAP" : nullptr;
}

absl::StatusOr<AllowedHosts> AllowedHosts::Parse(const std::vector<std::string>& entries) {
  AllowedHosts hosts;
  for (const std::string& entry : entries) {
    const size_t colon = entry.rfind(':');
    std::string host = entry.substr(0, colon == std::string::npos ? 0 : colon);
    if (host.size() > 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
    int port = 0;
    sockaddr_storage address;
    if (host.empty() || !absl::SimpleAtoi(entry.substr(colon + 1), &port) || port < 1 || port > 65535 ||
        !Read(host, static_cast<uint16_t>(port), address)) {
      return InvalidField("collect_allowed_hosts",
                          "must be addresses in numbers with a port, such as 127.0.0.1:8080 or [::1]:8080");
    }
    hosts.entries_.push_back(Render(reinterpret_cast<const sockaddr*>(&address)));
  }
  return hosts;
}

absl::Status AllowedHosts::Check(const sockaddr* address) const {
  if (address->sa_family != AF_INET && address->sa_family != AF_INET6)
    return Denied("ADDRESS_NOT_PUBLIC", "its host is at no internet address");
  if (std::find(entries_.begin(), entries_.end(), Render(address)) != entries_.end()) return absl::OkStatus();
  const bool v4 = address->sa_family == AF_INET;
  const char* const special = v4 ? SpecialAddress(reinterpret_cast<const sockaddr_in*>(address)->sin_addr)
                                 : SpecialAddress(reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr);
  if (special != nullptr) {
    return Denied("ADDRESS_NOT_PUBLIC",
                  absl::StrCat("its host is at an address that is not of the public internet (", special, ")"));
  }
  const uint16_t port = ntohs(v4 ? reinterpret_cast<const sockaddr_in*>(address)->sin_port
                                 : reinterpret_cast<const sockaddr_in6*>(address)->sin6_port);
  return IsWebPort(port) ? absl::OkStatus()
                         : Denied("PORT_NOT_ALLOWED", absl::StrCat("port ", port, " is none of the web's (80, 443)"));
}

absl::Status AllowedHosts::CheckPort(uint16_t port) const {
  const bool listed = std::any_of(entries_.begin(), entries_.end(), [port](const std::string& entry) {
    return entry.substr(entry.rfind(':') + 1) == std::to_string(port);
  });
  if (IsWebPort(port) || listed) return absl::OkStatus();
  return Denied("PORT_NOT_ALLOWED", absl::StrCat("port ", port, " is none of the web's (80, 443)"));
}

absl::Status AllowedHosts::CheckHost(std::string_view host, uint16_t port) const {
  sockaddr_storage address;
  if (!Read(std::string(host), port, address)) {
    const bool local = host == "localhost" || absl::EndsWith(AbslView(host), ".localhost");
    return local ? Denied("ADDRESS_NOT_PUBLIC", "its host is this machine") : absl::OkStatus();
  }
  return Check(reinterpret_cast<const sockaddr*>(&address));
}

}  // namespace engram::web
