#pragma once

#include <string>

#include "client/session.h"

namespace engram::client {

// Follows a job to its end and prints what it made. On a terminal a line that is redrawn, else a line at each new phase
// and each tenth of it. A server that restarts is waited for, up to a minute. Ctrl-C leaves the job running and says
// how to go on. 0 if it succeeded.
int FollowJob(Session& session, const std::string& name);

// After a call that queued a job: follows it (`wait`), or says how to. Prints JSON where asked for.
int PrintQueued(Session& session, const engram::v1::Job& job, bool wait);

// One job in full.
void DescribeJob(const engram::v1::Job& job);

}  // namespace engram::client
