#pragma once

// robots.txt as RFC 9309 says, read as Google's parser reads what people write. Pure; linear in the file.

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"

namespace engram::web {

// Immutable; thread-safe.
class Robots {
 public:
  // More of a robots.txt is not read (RFC 9309, 2.5: at least 500 KiB).
  static constexpr size_t kMaxBytes = size_t{500} << 10;

  // The rules for the crawler `product` ("engram"): of all groups that name it, in any case; else of those for "*".
  static Robots Parse(std::string_view text, std::string_view product);
  static Robots AllowAll() { return Robots(); }
  static Robots DisallowAll();

  // Whether path and query (Url::target) may be fetched. The longest rule that fits decides, of equally long ones an
  // allowing one; "*" and a "$" at the end are understood. Without a rule: yes.
  bool Allows(std::string_view target) const;
  // Crawl-delay (no part of the RFC): how long to wait between two requests.
  std::optional<absl::Duration> delay() const { return delay_; }

 private:
  struct Rule {
    std::string pattern;
    bool allow;
  };
  std::vector<Rule> rules_;
  std::optional<absl::Duration> delay_;
};

}  // namespace engram::web
