#pragma once

// Prometheus metrics of the server; docs/metrics.md lists them. Thread-safe.

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
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
  // Tokens of all calls that were taken and are not answered, and how many the device computes in a second.
  void SetAdmission(int64_t taken_tokens, double tokens_per_second);
  // Memory of the device of inference, whoever holds it.
  void SetDeviceMemory(const std::string& device, int64_t total_bytes, int64_t free_bytes);
  // A kernel of the device that failed its probe.
  void SetLeftOutOp(const std::string& op);
  // Bytes on disk by model; models that are not there are shown no more.
  void SetDisk(const std::map<std::string, int64_t>& of_models) ABSL_LOCKS_EXCLUDED(disk_mutex_);
  // Progress of a running job; Remove once it has ended.
  void SetTraining(const std::string& job, double loss, double penalty, double tokens_per_second, double step);
  void RemoveTraining(const std::string& job);

 private:
  prometheus::Registry registry_;
  prometheus::Family<prometheus::Counter>&requests_, &texts_, &tokens_, &text_errors_, &jobs_ended_;
  prometheus::Family<prometheus::Histogram>&request_seconds_, &job_seconds_;
  prometheus::Family<prometheus::Gauge>&jobs_, &inference_, &training_, &disk_, &device_memory_, &left_out_ops_;
  prometheus::Counter* worker_crashes_;
  prometheus::Gauge* postponed_;
  absl::Mutex disk_mutex_;
  std::map<std::string, prometheus::Gauge*> disk_of_models_ ABSL_GUARDED_BY(disk_mutex_);
};

}  // namespace engram::server
