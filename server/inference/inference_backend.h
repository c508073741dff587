#pragma once

#include <cstdint>

#include "server/rpc/call.h"

namespace engram::jobs {
class Store;
}
namespace engram::serve {
class Engine;
class ModelSet;
}  // namespace engram::serve

namespace engram::server {

// What inference calls stand on. All of it outlives every call and is thread-safe.
struct InferenceBackend {
  const CallEnvironment& environment;
  jobs::Store& store;
  serve::ModelSet& models;
  serve::Engine& engine;
  // Apart from environment.pool, so that a version that is being loaded keeps nobody from asking for a job's state.
  WorkPool& pool;
  int64_t max_texts;  // of one call
};

}  // namespace engram::server
