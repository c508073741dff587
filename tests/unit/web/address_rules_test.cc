#include "core/web/address_rules.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>

#include <string>

#include "core/web/url.h"

namespace engram::web {
namespace {

// What the fetcher decides before a connection is made; "" if it would connect.
std::string Decision(const std::string& text, const AllowedHosts& allowed = {}) {
  const absl::StatusOr<Url> url = ParseUrl(text);
  if (!url.ok()) return "INVALID";
  for (const absl::Status& status : {allowed.CheckPort(url->port), allowed.CheckHost(url->host, url->port)}) {
    if (!status.ok()) return StatusReason(status);
  }
  return "";
}

TEST(AddressRules, NoSpellingOfAPlaceThatIsNotPublicGetsThrough) {
  const char* const urls[] = {
      // loopback, in every way to write a number
      "http://127.0.0.1/", "http://127.1/", "http://127.0.1/", "http://2130706433/", "http://0x7f000001/",
      "http://0x7f.1/", "http://0x7f.0.0.1/", "http://0177.0.0.1/", "http://017700000001/", "http://127.0.0.1./",
      "http://127.255.255.254/", "http://0/", "http://0.0.0.0/", "http://0x0/", "http://00000000.0.0.0/",
      "http://localhost/", "http://LOCALHOST/", "http://localhost./", "http://a.localhost/",
      // full-width digits and letters, other dots, percent-encoded
      "http://\uFF11\uFF12\uFF17.0.0.1/", "http://127\u30020\u30020\u30021/", "http://\uFF4C\uFF4Fcalhost/",
      "http://127%2E0.0.1/", "http://%31%32%37.0.0.1/", "http://\u2460\u2461\u2466.0.0.1/",
      // IPv4 networks
      "http://10.0.0.1/", "http://10.255.255.255/", "http://100.64.0.1/", "http://100.127.255.255/",
      "http://100.100.100.200/", "http://169.254.169.254/latest/meta-data/", "http://0xA9FEA9FE/", "http://2852039166/",
      "http://172.16.0.1/", "http://172.31.255.255/", "http://192.0.0.1/", "http://192.0.0.192/", "http://192.0.2.1/",
      "http://192.88.99.1/", "http://192.168.0.1/", "http://192.168.1/", "http://198.18.0.1/", "http://198.19.255.255/",
      "http://198.51.100.7/", "http://203.0.113.7/", "http://224.0.0.1/", "http://239.255.255.250/",
      "http://240.0.0.1/", "http://255.255.255.255/",
      // IPv6
      "http://[::]/", "http://[::1]/", "http://[0:0:0:0:0:0:0:1]/", "http://[::127.0.0.1]/",
      "http://[::ffff:127.0.0.1]/", "http://[::ffff:7f00:1]/", "http://[::ffff:8.8.8.8]/",
      "http://[::ffff:0:127.0.0.1]/", "http://[64:ff9b::7f00:1]/", "http://[64:ff9b::8.8.8.8]/",
      "http://[64:ff9b:1::1]/", "http://[fc00::1]/", "http://[fd00:ec2::254]/", "http://[fdff::1]/",
      "http://[fe80::1]/", "http://[febf::1]/", "http://[fec0::1]/", "http://[ff02::1]/", "http://[2001:db8::1]/",
      "http://[2002:7f00:1::]/", "http://[2001:0:4136:e378::1]/", "http://[2606:4700::5efe:7f00:1]/",
      "http://[2606:4700::200:5efe:127.0.0.1]/", "http://[100::1]/",
      // https, ports
      "https://127.0.0.1/", "http://127.0.0.1:80/", "http://127.0.0.1:443/"};
  EXPECT_GE(std::size(urls), 60u);
  for (const char* url : urls) {
    const std::string decision = Decision(url);
    EXPECT_TRUE(decision == "ADDRESS_NOT_PUBLIC" || decision == "INVALID") << url << " -> " << decision;
  }
  // These are well-formed: an answer of INVALID for them would hide that the rule is missing.
  for (const char* url : {"http://2130706433/", "http://0x7f.1/", "http://017700000001/", "http://[::ffff:7f00:1]/",
                          "http://\uFF11\uFF12\uFF17.0.0.1/", "http://169.254.169.254/", "http://[fd00:ec2::254]/"})
    EXPECT_EQ(Decision(url), "ADDRESS_NOT_PUBLIC") << url;
}

TEST(AddressRules, WhatIsNoAddressOfThePublicWebIsRefused) {
  for (const char* url :
       {"ftp://example.org/", "file:///etc/passwd", "gopher://example.org/", "http://u@example.org/",
        "http://u:p@example.org/", "http://example.org@127.0.0.1/", "http://", "", "x", "http://exa mple.org/",
        "http://example.org\\@127.0.0.1/", "http://example.org/\r\nHost: x", "http://example.org:0/",
        "http://example.org:99999/", "http://[fe80::1%25eth0]/", "http://[::1/", "javascript:alert(1)"})
    EXPECT_EQ(Decision(url), "INVALID") << url;
  for (const char* url : {"http://example.org:22/", "http://example.org:8080/", "https://8.8.8.8:6379/"})
    EXPECT_EQ(Decision(url), "PORT_NOT_ALLOWED") << url;
}

TEST(AddressRules, PublicPlacesMayBeAsked) {
  for (const char* url : {"http://example.org/", "https://EXAMPLE.org:443/a?b=c#d", "http://8.8.8.8/",
                          "http://9.255.0.1/", "http://11.0.0.1/", "http://100.63.255.255/", "http://100.128.0.1/",
                          "http://172.15.0.1/", "http://172.32.0.1/", "http://192.167.1.1/", "http://192.0.1.1/",
                          "http://198.17.0.1/", "http://198.20.0.1/", "http://223.255.255.255/",
                          "https://[2606:4700:4700::1111]/", "https://[2a00:1450::1]/", "http://b\u00FCcher.example/"})
    EXPECT_EQ(Decision(url), "") << url;
}

TEST(AddressRules, OnlyTheAddressAndPortThatAreListedAreAllowed) {
  const AllowedHosts allowed = *AllowedHosts::Parse({"127.0.0.1:8080", "[::1]:8081"});
  EXPECT_EQ(Decision("http://127.0.0.1:8080/", allowed), "");
  EXPECT_EQ(Decision("http://2130706433:8080/", allowed), "");
  EXPECT_EQ(Decision("http://[::1]:8081/", allowed), "");
  EXPECT_EQ(Decision("http://127.0.0.1:8081/", allowed), "ADDRESS_NOT_PUBLIC");
  EXPECT_EQ(Decision("http://127.0.0.2:8080/", allowed), "ADDRESS_NOT_PUBLIC");
  EXPECT_EQ(Decision("http://8.8.8.8:8080/", allowed), "PORT_NOT_ALLOWED");
  EXPECT_EQ(Decision("http://127.0.0.1:8082/", allowed), "PORT_NOT_ALLOWED");
  for (const char* entry : {"127.0.0.1", "localhost:80", "127.0.0.1:0", "127.0.0.1:65536", ":80", ""})
    EXPECT_EQ(StatusField(AllowedHosts::Parse({entry}).status()), "collect_allowed_hosts") << entry;
}

TEST(Url, IsNormalized) {
  const Url url = *ParseUrl("HTTP://B\u00DCcher.Example.:80/a/../b?q=1#part");
  EXPECT_EQ(url.host, "xn--bcher-kva.example");
  EXPECT_EQ(url.port, 80);
  EXPECT_EQ(url.target, "/b?q=1");
  EXPECT_EQ(url.text.find('#'), std::string::npos);
  EXPECT_EQ(ParseUrl("http://example.org")->target, "/");
  EXPECT_EQ(ResolveUrl(*ParseUrl("https://example.org/a/b"), "../c?d")->text, "https://example.org/c?d");
  EXPECT_EQ(ResolveUrl(*ParseUrl("https://example.org/a"), "//127.0.0.1/x")->host, "127.0.0.1");
  EXPECT_FALSE(ResolveUrl(*ParseUrl("https://example.org/a"), "file:///etc/passwd").ok());
}

}  // namespace
}  // namespace engram::web
