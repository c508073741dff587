#include "client/send_file.h"

#include <fstream>

#include "client/session.h"

namespace engram::client {

bool SendFile(const std::string& path, const std::function<bool(std::string)>& send, std::string& unreadable) {
  constexpr size_t kChunkBytes = 1 << 20;
  std::ifstream file(path, std::ios::binary);
  std::string buffer(kChunkBytes, '\0');
  bool first = true;
  while (file.read(buffer.data(), static_cast<std::streamsize>(buffer.size())), file.gcount() > 0 || first) {
    first = false;
    if (!send(buffer.substr(0, static_cast<size_t>(file.gcount())))) return false;
  }
  // Anything but the end of the file is an error: what was sent is not the whole.
  if (file.eof() && !file.bad()) return true;
  unreadable = path;
  return false;
}

int FailUnreadable(const std::string& path) {
  return Session::Failed(path + " cannot be read to its end; nothing was stored");
}

}  // namespace engram::client
