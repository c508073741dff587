#pragma once

#include <array>
#include <memory>
#include <optional>
#include <streambuf>
#include <string>

#include "client/wide_decoder.h"

namespace engram::client {

// The text of a file or of standard input: its bytes, unpacked if they begin as gzip does (members that follow each other
// are one text), as UTF-8 if they are UTF-16 or UTF-32, without a byte-order mark. Gives what has come as soon as it has come; memory does not grow with the file. Not thread-safe.
class GzipInput final : public std::streambuf {
 public:
  // "-": standard input. nullptr if it cannot be opened.
  static std::unique_ptr<GzipInput> Open(const std::string& path);
  ~GzipInput() override;
  GzipInput(const GzipInput&) = delete;
  GzipInput& operator=(const GzipInput&) = delete;

  // Whether the end was the file's: false after a read error, for gzip that breaks off or is damaged, and for an end inside
  // of a character of UTF-16.
  bool whole() const { return whole_; }
  // What the file was read as, where that is not UTF-8: "UTF-16 (little-endian)"; else nullptr. Known once something was
  // read.
  const char* encoding() const { return decoder_ ? decoder_->name() : nullptr; }

 private:
  struct Inflater;
  GzipInput(int descriptor, bool owned);
  int_type underflow() override;
  // Fills input_; false at the end.
  bool Read();
  // Bytes unpacked into output_; 0 at the end.
  size_t Unpack();
  // The same of what is not packed.
  size_t Copy();

  const int descriptor_;
  const bool owned_;
  bool begun_ = false, whole_ = true, ended_ = false;
  size_t at_ = 0, have_ = 0;            // of input_
  std::unique_ptr<Inflater> inflater_;  // of gzip alone
  std::array<char, 1 << 16> input_{}, output_{};
  std::optional<WideDecoder> decoder_;  // of UTF-16 and UTF-32 alone
  std::string decoded_;
};

}  // namespace engram::client
