#pragma once

#include <functional>

namespace engram::nn {

// What this thread does between two layers of every pass that it computes while the object lives: a long pass lets short
// ones in without being given up. Objects of one thread may be nested; the innermost counts. `work` must not throw; passes
// that it computes itself have no pauses. Belongs to one thread, whose passes alone it sees.
class BetweenLayers {
 public:
  explicit BetweenLayers(std::function<void()> work);
  ~BetweenLayers();
  BetweenLayers(const BetweenLayers&) = delete;
  BetweenLayers& operator=(const BetweenLayers&) = delete;

  // For the encoder, between layers: runs the thread's work, if there is any.
  static void Pause();

 private:
  const std::function<void()> work_;
  BetweenLayers* const outer_;
};

}  // namespace engram::nn
