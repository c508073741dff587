// Any bytes as a robots.txt, its last line as what is asked for: read, and an answer that is the same for the same file
// with other line ends.

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "core/web/robots.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string file(reinterpret_cast<const char*>(data), size);
  const size_t line = file.rfind('\n');
  const std::string target = line == std::string::npos ? "/" : "/" + file.substr(line + 1);
  const auto robots = engram::web::Robots::Parse(file, "engram");
  const bool allowed = robots.Allows(target);
  std::replace(file.begin(), file.end(), '\r', '\n');
  const auto again = engram::web::Robots::Parse(file, "engram");
  if (again.Allows(target) != allowed || again.delay() != robots.delay()) std::abort();
  if (robots.delay() && *robots.delay() < absl::ZeroDuration()) std::abort();
  return 0;
}
