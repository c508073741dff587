#pragma once

// Prometheus metrics of the server; docs/metrics.md lists them. Thread-safe.

#include <memory>
#include <string>
#include <string_view>

#include "core/jobs/store.h"
#include "prometheus/counter.h"
#include "prometheus/family.h"
#include "prometheus/gauge.h"
#include "prometheus/histogram.h"
#include "prometheus/registry.h"

namespace engram::server {

class Metrics {
 public:
  Metrics();
  // The text exposition format.
  std::string Serialize() const;

  void CountRequest(std::string_view method, std::string_view code, double seconds);
  void CountTexts(std::string_view method, int64_t texts, int64_t tokens, int64_t errors);
  void CountJob(std::string_view kind, std::string_view state, double seconds);
  void CountWorkerCrash() { worker_crashes_->Increment(); }

  // Values that are read when somebody scrapes. Postponed: jobs that wait because something is lacking.
  void SetPostponed(int64_t count) { postponed_->Set(static_cast<double>(count)); }
  void SetJobs(std::string_view state, int64_t count);
  void SetInference(int64_t queued_texts, int64_t queued_tokens, int64_t loaded_versions, int64_t batches,
                    int64_t tokens, double seconds);
  // Progress of a running job; Remove once it has ended.
  void SetTraining(const std::string& job, double loss, double penalty, double tokens_per_second, double step);
  void RemoveTraining(const std::string& job);

 private:
  prometheus::Registry registry_;
  prometheus::Family<prometheus::Counter>&requests_, &texts_, &tokens_, &text_errors_, &jobs_ended_;
  prometheus::Family<prometheus::Histogram>&request_seconds_, &job_seconds_;
  prometheus::Family<prometheus::Gauge>&jobs_, &inference_, &training_;
  prometheus::Counter* worker_crashes_;
  prometheus::Gauge* postponed_;
};

}  // namespace engram::server
