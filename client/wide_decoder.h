#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace engram::client {

// UTF-16 and UTF-32 to UTF-8, piece by piece. What is no character becomes bytes that are no UTF-8 either, so that the
// check of the text finds it. Not thread-safe.
class WideDecoder {
 public:
  // What the first bytes of a file say (4096 of them tell enough): a byte-order mark, or a zero in every other byte, as
  // UTF-16 has them where letters are Latin. nullopt: it is neither.
  static std::optional<WideDecoder> Find(std::string_view first);

  // Adds the characters that are whole by now, without the byte-order mark.
  void Decode(std::string_view bytes, std::string& out);
  // Whether the bytes so far end with a character.
  bool whole() const { return left_.empty(); }
  // "UTF-16 (little-endian)".
  const char* name() const { return name_; }

 private:
  WideDecoder(const char* name, size_t unit, bool big_endian) : name_(name), unit_(unit), big_endian_(big_endian) {}

  const char* name_;
  size_t unit_;  // bytes
  bool big_endian_, begun_ = false;
  std::string left_;  // the beginning of a character
};

}  // namespace engram::client
