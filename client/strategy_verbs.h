#pragma once

// Strategies and the options of a training, as the server describes them.

#include <string>

#include "CLI/CLI.hpp"
#include "client/session.h"

namespace engram::client {

// What `engram start-task --help` adds: every option with default, range and meaning. A line that says how to get it
// if no server answers within two seconds. `app` holds the option --address.
std::string TaskOptionsHelp(const CLI::App& app, Session& session);

}  // namespace engram::client
