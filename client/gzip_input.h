#pragma once

#include <array>
#include <memory>
#include <streambuf>
#include <string>

namespace engram::client {

// The bytes of a file or of standard input, unpacked if they begin as gzip does (members that follow each other are one
// text). Gives what has come as soon as it has come; memory does not grow with the file. Not thread-safe.
class GzipInput final : public std::streambuf {
 public:
  // "-": standard input. nullptr if it cannot be opened.
  static std::unique_ptr<GzipInput> Open(const std::string& path);
  ~GzipInput() override;
  GzipInput(const GzipInput&) = delete;
  GzipInput& operator=(const GzipInput&) = delete;

  // Whether the end was the file's: false after a read error, and for gzip that breaks off or is damaged.
  bool whole() const { return whole_; }

 private:
  struct Inflater;
  GzipInput(int descriptor, bool owned);
  int_type underflow() override;
  // Fills input_; false at the end.
  bool Read();
  // Bytes unpacked into output_; 0 at the end.
  size_t Unpack();

  const int descriptor_;
  const bool owned_;
  bool begun_ = false, whole_ = true, ended_ = false;
  size_t at_ = 0, have_ = 0;            // of input_
  std::unique_ptr<Inflater> inflater_;  // of gzip alone
  std::array<char, 1 << 16> input_{}, output_{};
};

}  // namespace engram::client
