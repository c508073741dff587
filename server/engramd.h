#pragma once

// The whole server: state, services, threads. engramd_main.cc wraps it in a process.

#include <functional>
#include <memory>
#include <string>

#include "core/base/status.h"
#include "server/config.h"

namespace engram::server {

class Engramd {
 public:
  // Opens data_dir (FAILED_PRECONDITION if another server holds it), takes up its jobs, listens. `worker_program`: what
  // config.worker_program stands for if it is empty. `on_failure`: called once, from any thread, if the inference
  // device failed and the process is to end; health checks have been told by then.
  static absl::StatusOr<std::unique_ptr<Engramd>> Start(const Config& config, const std::string& worker_program,
                                                        std::function<void()> on_failure);
  // Says NOT_SERVING, lets runs write their checkpoints, lets calls end, stops.
  ~Engramd();

  // HOST:PORT as they were bound.
  std::string grpc_address() const;
  std::string admin_address() const;

 private:
  struct Parts;
  explicit Engramd(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace engram::server
