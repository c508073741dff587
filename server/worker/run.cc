#include "server/worker/run.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "core/base/clock.h"

namespace engram::worker {

void RunContext::Report(engram::v1::JobProgress progress) const {
  for (const std::string& warning : warnings) progress.add_warnings(warning);
  if (!stage.empty()) progress.set_phase(stage + ", " + progress.phase());
  engram::worker::v1::RunEvent event;
  *event.mutable_progress() = std::move(progress);
  events->Send(event);
}

void RunContext::Phase(const std::string& phase) const {
  engram::v1::JobProgress progress;
  progress.set_phase(phase);
  Report(std::move(progress));
}

std::function<bool(int64_t, int64_t)> RunContext::Counter(const std::string& phase) const {
  const auto next = std::make_shared<int64_t>(0);
  const absl::Time start = Clock::Real().Now();
  return [this, phase, next, start](int64_t done, int64_t total) {
    if (done >= *next || done == total) {
      *next = done + std::max<int64_t>(1, total / 100);
      engram::v1::JobProgress progress;
      progress.set_phase(phase);
      progress.set_step(done);
      progress.set_total_steps(total);
      const double seconds = absl::ToDoubleSeconds(Clock::Real().Now() - start);
      progress.set_eta_seconds(done > 0 ? seconds / static_cast<double>(done) * static_cast<double>(total - done) : 0);
      Report(std::move(progress));
    }
    return !stopping();
  };
}

}  // namespace engram::worker
