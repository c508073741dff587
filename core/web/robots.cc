#include "core/web/robots.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "core/base/status.h"

namespace engram::web {
namespace {

constexpr size_t kMaxPattern = 2083;

bool IsHex(char c) { return absl::ascii_isxdigit(static_cast<unsigned char>(c)); }

// One way to write a path (RFC 9309, 2.2.2): bytes that are no ASCII are encoded, hexadecimal digits are capitals.
std::string Encode(std::string_view text) {
  constexpr char kDigits[] = "0123456789ABCDEF";
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte == '%' && i + 2 < text.size() && IsHex(text[i + 1]) && IsHex(text[i + 2])) {
      out += '%';
      out += absl::ascii_toupper(static_cast<unsigned char>(text[++i]));
      out += absl::ascii_toupper(static_cast<unsigned char>(text[++i]));
    } else if (byte >= 0x80) {
      out += '%';
      out += kDigits[byte >> 4];
      out += kDigits[byte & 15];
    } else {
      out += text[i];
    }
  }
  return out;
}

// "*" is any sequence, a "$" at the end the end; else a prefix. The greedy way back to the last star is enough.
bool Fits(std::string_view pattern, std::string_view path) {
  const bool anchored = absl::EndsWith(AbslView(pattern), "$");
  if (anchored) pattern.remove_suffix(1);
  size_t p = 0, at = 0, star = std::string_view::npos, resume = 0;
  while (true) {
    if (p == pattern.size() && (!anchored || at == path.size())) return true;
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = at;
    } else if (p < pattern.size() && at < path.size() && pattern[p] == path[at]) {
      ++p;
      ++at;
    } else if (star != std::string_view::npos && resume < path.size()) {
      p = star + 1;
      at = ++resume;
    } else {
      return false;
    }
  }
}

// Letters, "_" and "-" at the beginning: what a product token is.
std::string_view ProductToken(std::string_view text) {
  size_t end = 0;
  while (end < text.size() &&
         (absl::ascii_isalpha(static_cast<unsigned char>(text[end])) || text[end] == '_' || text[end] == '-'))
    ++end;
  return text.substr(0, end);
}

std::string_view Strip(std::string_view text) {
  const absl::string_view stripped = absl::StripAsciiWhitespace(AbslView(text));
  return {stripped.data(), stripped.size()};
}

struct Line {
  std::string_view key, value;
};

// "key: value # comment"; also without the colon, as people write it.
std::optional<Line> Split(std::string_view line) {
  line = Strip(line.substr(0, line.find('#')));
  size_t colon = line.find(':');
  if (colon == std::string_view::npos) colon = line.find_first_of(" \t");
  if (colon == std::string_view::npos) return std::nullopt;
  return Line{Strip(line.substr(0, colon)), Strip(line.substr(colon + 1))};
}

bool Is(std::string_view key, std::string_view name) { return absl::EqualsIgnoreCase(AbslView(key), AbslView(name)); }

// The rules of one kind of group: those that name the crawler, or those for all.
struct Group {
  bool seen = false;
  std::vector<std::pair<std::string, bool>> rules;
  std::optional<absl::Duration> delay;
};

class Reader {
 public:
  explicit Reader(std::string_view product) : product_(product) {}

  void Read(std::string_view line) {
    const std::optional<Line> split = Split(line);
    if (!split) return;
    if (Is(split->key, "user-agent")) {
      // Lines of agents one after the other begin one group together.
      if (!agents_) in_ours_ = in_all_ = false;
      agents_ = true;
      in_all_ = in_all_ || split->value == "*" || absl::StartsWith(AbslView(split->value), "* ");
      in_ours_ = in_ours_ || Is(ProductToken(split->value), product_);
      ours.seen = ours.seen || in_ours_;
      return;
    }
    const bool allow = Is(split->key, "allow");
    if (allow || Is(split->key, "disallow")) {
      agents_ = false;
      if (split->value.empty()) return;
      if (in_ours_) ours.rules.emplace_back(Encode(split->value.substr(0, kMaxPattern)), allow);
      if (in_all_) all.rules.emplace_back(Encode(split->value.substr(0, kMaxPattern)), allow);
    } else if (Is(split->key, "crawl-delay")) {
      agents_ = false;
      double seconds = 0;
      if (!absl::SimpleAtod(AbslView(split->value), &seconds) || !(seconds >= 0)) return;
      if (in_ours_) ours.delay = absl::Seconds(seconds);
      if (in_all_) all.delay = absl::Seconds(seconds);
    }
  }

  Group ours, all;

 private:
  const std::string_view product_;
  bool agents_ = false, in_ours_ = false, in_all_ = false;
};

}  // namespace

Robots Robots::Parse(std::string_view text, std::string_view product) {
  text = text.substr(0, kMaxBytes);
  if (absl::StartsWith(AbslView(text), "\xEF\xBB\xBF")) text.remove_prefix(3);
  Reader reader(product);
  while (!text.empty()) {
    const size_t end = text.find_first_of("\r\n");
    reader.Read(text.substr(0, end));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  Group& group = reader.ours.seen ? reader.ours : reader.all;
  Robots robots;
  for (auto& [pattern, allow] : group.rules) robots.rules_.push_back({std::move(pattern), allow});
  robots.delay_ = group.delay;
  return robots;
}

Robots Robots::DisallowAll() {
  Robots robots;
  robots.rules_.push_back({"/", false});
  return robots;
}

bool Robots::Allows(std::string_view target) const {
  if (target == "/robots.txt") return true;
  const std::string path = Encode(target);
  size_t longest = 0;
  bool allowed = true;
  for (const Rule& rule : rules_) {
    const size_t length = rule.pattern.size();
    if (length < longest || (length == longest && (allowed || !rule.allow))) continue;
    if (!Fits(rule.pattern, path)) continue;
    longest = length;
    allowed = rule.allow;
  }
  return allowed;
}

}  // namespace engram::web
