#include "client/gzip_input.h"

#include <fcntl.h>
#include <unistd.h>
#include <zlib.h>

#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>

namespace engram::client {
namespace {

constexpr std::string_view kMark = "\xEF\xBB\xBF";  // of UTF-8

}  // namespace

struct GzipInput::Inflater {
  z_stream stream{};
  bool in_member = true;  // false between two members
};

std::unique_ptr<GzipInput> GzipInput::Open(const std::string& path) {
  const bool standard_input = path == "-";
  const int descriptor = standard_input ? STDIN_FILENO : open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return nullptr;
  return std::unique_ptr<GzipInput>(new GzipInput(descriptor, !standard_input));
}

GzipInput::GzipInput(int descriptor, bool owned) : descriptor_(descriptor), owned_(owned) {}

GzipInput::~GzipInput() {
  if (inflater_) inflateEnd(&inflater_->stream);
  if (owned_) close(descriptor_);
}

bool GzipInput::Read() {
  if (ended_) return false;
  // What is left over stays in front.
  std::memmove(input_.data(), input_.data() + at_, have_ - at_);
  have_ -= at_;
  at_ = 0;
  ssize_t got = 0;
  do {
    got = read(descriptor_, input_.data() + have_, input_.size() - have_);
  } while (got < 0 && errno == EINTR);
  if (got < 0) whole_ = false;
  if (got <= 0) ended_ = true;
  if (got > 0) have_ += static_cast<size_t>(got);
  return got > 0;
}

size_t GzipInput::Unpack() {
  constexpr int kGzip = 15 + 16;  // window bits; gzip's header and trailer
  z_stream& stream = inflater_->stream;
  while (true) {
    if (at_ == have_ && !Read()) {
      if (inflater_->in_member) whole_ = false;  // it breaks off
      return 0;
    }
    if (!inflater_->in_member) {
      inflateEnd(&stream);
      stream = {};
      if (inflateInit2(&stream, kGzip) != Z_OK) {
        whole_ = false;
        return 0;
      }
      inflater_->in_member = true;
    }
    stream.next_in = reinterpret_cast<Bytef*>(input_.data() + at_);
    stream.avail_in = static_cast<uInt>(have_ - at_);
    stream.next_out = reinterpret_cast<Bytef*>(output_.data());
    stream.avail_out = static_cast<uInt>(output_.size());
    const int result = inflate(&stream, Z_SYNC_FLUSH);
    at_ = have_ - stream.avail_in;
    if (result == Z_STREAM_END) inflater_->in_member = false;
    if (result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR) {
      whole_ = false;
      ended_ = true;
      at_ = have_;
      inflater_->in_member = false;
      return 0;
    }
    if (stream.avail_out < output_.size()) return output_.size() - stream.avail_out;
  }
}

size_t GzipInput::Copy() {
  if (at_ == have_ && !Read()) return 0;
  const size_t size = have_ - at_;
  std::memcpy(output_.data(), input_.data() + at_, size);
  at_ = have_;
  return size;
}

GzipInput::int_type GzipInput::underflow() {
  const bool first = !std::exchange(begun_, true);
  if (first) {
    // Two bytes say what a file is, four where it may have a byte-order mark or be UTF-16; no more, so that a terminal is answered line by line.
    const auto wide = [&] {
      return input_[0] == '\0' || input_[1] == '\0' || input_[0] == kMark[0] ||
             static_cast<unsigned char>(input_[0]) >= 0xFE;
    };
    while ((have_ < 2 || (have_ < 4 && wide())) && Read()) {
    }
    if (have_ >= 2 && input_[0] == '\x1F' && input_[1] == '\x8B') {
      inflater_ = std::make_unique<Inflater>();
      inflater_->in_member = false;
    }
  }
  while (true) {
    const size_t size = inflater_ ? Unpack() : Copy();
    if (size == 0) {
      if (decoder_ && !decoder_->whole()) whole_ = false;
      return traits_type::eof();
    }
    if (first && !decoder_) decoder_ = WideDecoder::Find({output_.data(), size});
    char* text = output_.data();
    size_t length = size;
    if (first && std::string_view(text, length).starts_with(kMark)) {
      text += kMark.size();
      length -= kMark.size();
    }
    if (decoder_) {
      decoded_.clear();
      decoder_->Decode({output_.data(), size}, decoded_);
      text = decoded_.data();
      length = decoded_.size();
    }
    if (length == 0) continue;  // a part of a character
    setg(text, text, text + length);
    return traits_type::to_int_type(*gptr());
  }
}

}  // namespace engram::client
