#pragma once

#include "engram/v1/task.pb.h"

namespace engram::server {

// Every strategy, and the options that every training takes, as ListStrategies answers. Costs nothing to speak of; any
// thread.
engram::v1::ListStrategiesResponse DescribeStrategies();

}  // namespace engram::server
