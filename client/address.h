#pragma once

// Where the server is, as somebody writes it, and what stands between. No I/O but the environment.

#include <functional>
#include <string>

namespace engram::client {

// What is wrong with an address and how it is to be written; empty for HOST:PORT and for what gRPC resolves itself
// (unix:, dns:, ipv4:, ipv6:, xds:).
std::string AddressProblem(const std::string& address);

// Whether the address is this machine: localhost, 127.0.0.0/8, ::1 or a Unix socket.
bool IsLoopback(const std::string& address);

// The HTTP proxy that gRPC takes for the address, without user and password; empty for none. As gRPC chooses it: the
// first of grpc_proxy, https_proxy and http_proxy that is set, unless no_grpc_proxy (or else no_proxy) names a suffix
// of the host; and, as Session asks gRPC, none for this machine. `variable`: of the environment; empty if it is not set.
std::string ProxyFor(const std::string& address, const std::function<std::string(const char*)>& variable);

}  // namespace engram::client
