#pragma once

// `engram models gc`: old versions go that nobody points to.

#include <cstdint>
#include <vector>

#include "CLI/CLI.hpp"
#include "client/session.h"

namespace engram::client {

// Of a model's versions, newest first, those that may go: without a label, and not among the `keep` newest.
std::vector<engram::v1::Version> ToCollect(const std::vector<engram::v1::Version>& versions, int64_t keep);

// Adds the verb to `models`.
void AddGcVerb(CLI::App& models, Session& session);

}  // namespace engram::client
