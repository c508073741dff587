#pragma once

// The verbs. Each function adds some to `app`; parsing one of them sets session.run.

#include "CLI/CLI.hpp"
#include "client/session.h"

namespace engram::client {

void AddDatasetVerbs(CLI::App& app, Session& session);
void AddModelVerbs(CLI::App& app, Session& session);
void AddTaskVerbs(CLI::App& app, Session& session);
void AddStrategyVerbs(CLI::App& app, Session& session);
void AddJobVerbs(CLI::App& app, Session& session);
void AddInferenceVerbs(CLI::App& app, Session& session);
void AddCollectVerbs(CLI::App& app, Session& session);
void AddAnnotateVerb(CLI::App& app, Session& session);
void AddHelpVerbs(CLI::App& app, Session& session);

}  // namespace engram::client
