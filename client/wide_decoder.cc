#include "client/wide_decoder.h"

#include <algorithm>
#include <cstdint>

namespace engram::client {
namespace {

constexpr uint32_t kMark = 0xFEFF;

// As UTF-8 has characters of this many bits; also what is none, which no check of UTF-8 lets pass.
void Append(uint32_t c, std::string& out) {
  const auto tail = [&](int bits) { out += static_cast<char>(0x80 | (c >> bits & 0x3F)); };
  if (c < 0x80) {
    out += static_cast<char>(c);
  } else if (c < 0x800) {
    out += static_cast<char>(0xC0 | c >> 6);
    tail(0);
  } else if (c < 0x10000) {
    out += static_cast<char>(0xE0 | c >> 12);
    tail(6);
    tail(0);
  } else if (c <= 0x10FFFF) {
    out += static_cast<char>(0xF0 | c >> 18);
    tail(12);
    tail(6);
    tail(0);
  } else {
    out += '\xFF';
  }
}

}  // namespace

std::optional<WideDecoder> WideDecoder::Find(std::string_view first) {
  constexpr size_t kLooked = 4096;
  if (first.starts_with(std::string_view("\xFF\xFE\0\0", 4))) return WideDecoder("UTF-32 (little-endian)", 4, false);
  if (first.starts_with(std::string_view("\0\0\xFE\xFF", 4))) return WideDecoder("UTF-32 (big-endian)", 4, true);
  if (first.starts_with("\xFF\xFE")) return WideDecoder("UTF-16 (little-endian)", 2, false);
  if (first.starts_with("\xFE\xFF")) return WideDecoder("UTF-16 (big-endian)", 2, true);
  const size_t units = std::min(kLooked, first.size()) / 2;
  size_t zeros[2] = {0, 0};
  for (size_t i = 0; i < 2 * units; ++i) zeros[i % 2] += first[i] == '\0' ? 1 : 0;
  const size_t most = std::max(zeros[0], zeros[1]);
  if (units < 2 || std::min(zeros[0], zeros[1]) * 8 > most || most * 2 < units) return std::nullopt;
  return zeros[0] == most ? WideDecoder("UTF-16 (big-endian)", 2, true)
                          : WideDecoder("UTF-16 (little-endian)", 2, false);
}

void WideDecoder::Decode(std::string_view bytes, std::string& out) {
  left_ += bytes;
  const auto unit_at = [&](size_t at) {
    uint32_t value = 0;
    for (size_t i = 0; i < unit_; ++i)
      value = value << 8 | static_cast<unsigned char>(left_[at + (big_endian_ ? i : unit_ - 1 - i)]);
    return value;
  };
  size_t at = 0;
  while (at + unit_ <= left_.size()) {
    uint32_t c = unit_at(at);
    if (unit_ == 2 && c >= 0xD800 && c < 0xDC00) {
      if (at + 4 > left_.size()) break;  // its other half is to come
      const uint32_t low = unit_at(at + 2);
      if (low >= 0xDC00 && low < 0xE000) {
        c = 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00);
        at += 2;
      }
    }
    at += unit_;
    if (begun_ || c != kMark) Append(c, out);
    begun_ = true;
  }
  left_.erase(0, at);
}

}  // namespace engram::client
