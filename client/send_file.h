#pragma once

#include <functional>
#include <string>

namespace engram::client {

// Hands a file to `send` in chunks; an empty file is one empty chunk. False if `send` was (the server has ended the
// stream), and if the file could not be read to its end: then `unreadable` is its path.
bool SendFile(const std::string& path, const std::function<bool(std::string)>& send, std::string& unreadable);

// Says on standard error that a file cannot be read; gives the exit status.
int FailUnreadable(const std::string& path);

}  // namespace engram::client
