#pragma once

#include "core/base/status.h"
#include "engram/worker/v1/worker.pb.h"

namespace engram::worker {

// The worker's end of the pipe to the server (worker.proto). Not thread-safe. A server that is gone ends the process
// elsewhere (worker_main.cc), so a failed write is no error here.
class EventPipe {
 public:
  explicit EventPipe(int descriptor) : descriptor_(descriptor) {}
  void Send(const engram::worker::v1::RunEvent& event);

 private:
  int descriptor_;
};

}  // namespace engram::worker
