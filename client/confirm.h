#pragma once

#include <string>

namespace engram::client {

// Whether what `question` says may happen: `yes` says so, and so does somebody at a terminal who answers "y". Without a
// terminal nobody can be asked: then it is refused with the remedy, --yes. False after a message on standard error.
bool Confirm(const std::string& question, bool yes);

}  // namespace engram::client
