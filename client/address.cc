#include "client/address.h"

#include <algorithm>
#include <iterator>
#include <sstream>
#include <string_view>

namespace engram::client {
namespace {

constexpr const char* kWanted =
    "; it is written HOST:PORT, and engramd's port is 7860 unless its configuration says another one";

bool IsResolved(std::string_view address) {
  constexpr std::string_view kSchemes[] = {"unix:", "unix-abstract:", "dns:", "ipv4:", "ipv6:", "xds:"};
  return std::any_of(std::begin(kSchemes), std::end(kSchemes),
                     [&](std::string_view scheme) { return address.starts_with(scheme); });
}

// "[::1]:7860" -> "::1"; "host:7860" -> "host".
std::string HostOf(const std::string& address) {
  if (address.starts_with('[')) return address.substr(1, std::min(address.find(']'), address.size()) - 1);
  return address.substr(0, address.rfind(':'));
}

bool IsPort(const std::string& text) {
  return !text.empty() && text.size() <= 5 && text.find_first_not_of("0123456789") == std::string::npos &&
         std::stoi(text) >= 1 && std::stoi(text) <= 65535;
}

}  // namespace

std::string AddressProblem(const std::string& address) {
  if (const size_t scheme = address.find("://"); scheme != std::string::npos && !IsResolved(address)) {
    std::string rest = address.substr(scheme + 3);
    rest = rest.substr(0, rest.find('/'));
    if (rest.find(':') == std::string::npos) rest += ":7860";
    return "\"" + address + "\" is a URL, and the address is written without \"" + address.substr(0, scheme + 3) +
           "\": --address " + rest;
  }
  if (IsResolved(address)) return "";
  const bool bracketed = address.starts_with('[');
  const size_t close = address.find(']');
  const size_t colon = bracketed && close != std::string::npos ? close + 1 : address.rfind(':');
  if (address.empty()) return std::string("the address is empty") + kWanted;
  if (!bracketed && std::count(address.begin(), address.end(), ':') > 1)
    return "\"" + address + "\" is an IPv6 address: write it in brackets, with the port: --address [" + address +
           "]:7860";
  if (colon == std::string::npos || colon >= address.size() || address[colon] != ':')
    return "\"" + address + "\" has no port" + kWanted + ": --address " + address + ":7860";
  if (colon == 0) return "\"" + address + "\" has no host" + kWanted;
  if (!IsPort(address.substr(colon + 1)))
    return "\"" + address + "\" has no port from 1 to 65535 behind its colon" + kWanted;
  return "";
}

bool IsLoopback(const std::string& address) {
  if (address.starts_with("unix:") || address.starts_with("unix-abstract:")) return true;
  std::string host = address;
  if (const size_t scheme = host.rfind('/'); scheme != std::string::npos) host = host.substr(scheme + 1);
  for (const char* prefix : {"dns:", "ipv4:", "ipv6:"}) {
    if (host.starts_with(prefix)) host = host.substr(std::string_view(prefix).size());
  }
  host = HostOf(host);
  return host == "localhost" || host == "::1" || host.ends_with(".localhost") ||
         (host.starts_with("127.") && host.find_first_not_of("0123456789.") == std::string::npos);
}

std::string ProxyFor(const std::string& address, const std::function<std::string(const char*)>& variable) {
  if (IsLoopback(address)) return "";
  std::string proxy;
  for (const char* name : {"grpc_proxy", "https_proxy", "http_proxy"}) {
    if (proxy.empty()) proxy = variable(name);
  }
  if (proxy.empty()) return "";
  std::string exceptions = variable("no_grpc_proxy");
  if (exceptions.empty()) exceptions = variable("no_proxy");
  const std::string host = HostOf(address);
  std::istringstream list(exceptions);
  for (std::string suffix; std::getline(list, suffix, ',');) {
    suffix.erase(0, suffix.find_first_not_of(' '));
    suffix.erase(suffix.find_last_not_of(' ') + 1);
    if (!suffix.empty() && host.ends_with(suffix)) return "";
  }
  const size_t scheme = proxy.find("://"), begin = scheme == std::string::npos ? 0 : scheme + 3;
  if (const size_t user = proxy.find('@', begin); user != std::string::npos) proxy.erase(begin, user + 1 - begin);
  return proxy;
}

}  // namespace engram::client
