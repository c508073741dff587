#include "core/base/clock.h"

#include <chrono>

namespace engram {
namespace {
class RealClock final : public Clock {
 public:
  absl::Time Now() const override { return absl::Now(); }
};

class SteadyClock final : public Clock {
 public:
  absl::Time Now() const override {
    return absl::UnixEpoch() + absl::FromChrono(std::chrono::steady_clock::now().time_since_epoch());
  }
};
}  // namespace

const Clock& Clock::Steady() {
  static const SteadyClock clock;
  return clock;
}

const Clock& Clock::Real() {
  static const RealClock clock;
  return clock;
}

}  // namespace engram
