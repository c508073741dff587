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

class MatcherCache;

// What inference calls stand on. All of it outlives every call and is thread-safe.
struct InferenceBackend {
  const CallEnvironment& environment;
  jobs::Store& store;
  serve::ModelSet& models;
  serve::Engine& engine;
  // Apart from environment.pool, so that a version that is being loaded keeps nobody from asking for a job's state. `pool`
  // is for calls of few bytes, `bulk` for those of many, `encodes` for texts of any length: none of them holds the others'
  // threads, and the latter two stand back where cores are short.
  WorkPool &pool, &bulk, &encodes;
  // Where versions are loaded: a call waits for one without holding a thread.
  WorkPool& loads;
  int64_t max_texts;  // of one call
  MatcherCache& matchers;
};

}  // namespace engram::server
