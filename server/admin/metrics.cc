#include "server/admin/metrics.h"

#include "prometheus/text_serializer.h"

namespace engram::server {
namespace {

const prometheus::Histogram::BucketBoundaries kRequestSeconds = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
                                                                 0.25,  0.5,    1,     2.5,  5,     10};
const prometheus::Histogram::BucketBoundaries kJobSeconds = {1, 5, 15, 60, 300, 900, 3600, 14400, 86400};
constexpr const char* kTrainingValues[] = {"loss", "penalty", "tokens_per_second", "step"};

template <typename Builder>
auto& Make(Builder builder, const char* name, const char* help, prometheus::Registry& registry) {
  return builder.Name(name).Help(help).Register(registry);
}

}  // namespace

Metrics::Metrics()
    : requests_(Make(prometheus::BuildCounter(), "engram_requests_total", "Calls by method and gRPC code.", registry_)),
      texts_(Make(prometheus::BuildCounter(), "engram_inference_texts_total", "Texts of inference calls by method.",
                  registry_)),
      tokens_(Make(prometheus::BuildCounter(), "engram_inference_text_tokens_total",
                   "Tokens of answered texts by method.", registry_)),
      text_errors_(Make(prometheus::BuildCounter(), "engram_inference_text_errors_total",
                        "Texts without a result by method.", registry_)),
      jobs_ended_(Make(prometheus::BuildCounter(), "engram_jobs_ended_total", "Jobs that ended, by kind and state.",
                       registry_)),
      request_seconds_(
          Make(prometheus::BuildHistogram(), "engram_request_seconds", "Duration of calls by method.", registry_)),
      job_seconds_(Make(prometheus::BuildHistogram(), "engram_job_seconds",
                        "Time from acceptance to the end of jobs by kind.", registry_)),
      jobs_(Make(prometheus::BuildGauge(), "engram_jobs", "Unfinished jobs by state.", registry_)),
      inference_(
          Make(prometheus::BuildGauge(), "engram_inference", "State of the inference engine by value.", registry_)),
      training_(
          Make(prometheus::BuildGauge(), "engram_training", "Progress of running jobs by job and value.", registry_)),
      disk_(Make(prometheus::BuildGauge(), "engram_model_disk_bytes",
                 "Bytes on disk of all versions of a model; files that versions share once.", registry_)),
      device_memory_(Make(prometheus::BuildGauge(), "engram_device_memory_bytes",
                          "Memory of the device that requests are computed on, by device and value.", registry_)),
      left_out_ops_(Make(prometheus::BuildGauge(), "engram_device_ops_left_out",
                         "1 for each kernel that did not compute what it stands for when its device was opened.",
                         registry_)),
      worker_crashes_(&Make(prometheus::BuildCounter(), "engram_worker_crashes_total",
                            "Workers that ended without saying why.", registry_)
                           .Add({})),
      postponed_(&Make(prometheus::BuildGauge(), "engram_jobs_postponed",
                       "Jobs that wait because disk, memory or the like is lacking.", registry_)
                      .Add({})) {}

std::string Metrics::Serialize() const { return prometheus::TextSerializer().Serialize(registry_.Collect()); }

void Metrics::CountRequest(std::string_view method, std::string_view code, double seconds) {
  requests_.Add({{"method", std::string(method)}, {"code", std::string(code)}}).Increment();
  request_seconds_.Add({{"method", std::string(method)}}, kRequestSeconds).Observe(seconds);
}

void Metrics::CountTexts(std::string_view method, int64_t texts, int64_t tokens, int64_t errors) {
  const prometheus::Labels labels = {{"method", std::string(method)}};
  texts_.Add(labels).Increment(static_cast<double>(texts));
  tokens_.Add(labels).Increment(static_cast<double>(tokens));
  text_errors_.Add(labels).Increment(static_cast<double>(errors));
}

void Metrics::CountJob(std::string_view kind, std::string_view state, double seconds) {
  jobs_ended_.Add({{"kind", std::string(kind)}, {"state", std::string(state)}}).Increment();
  job_seconds_.Add({{"kind", std::string(kind)}}, kJobSeconds).Observe(seconds);
}

void Metrics::SetJobs(std::string_view state, int64_t count) {
  jobs_.Add({{"state", std::string(state)}}).Set(static_cast<double>(count));
}

void Metrics::SetDeviceMemory(const std::string& device, int64_t total_bytes, int64_t free_bytes) {
  device_memory_.Add({{"device", device}, {"value", "total"}}).Set(static_cast<double>(total_bytes));
  device_memory_.Add({{"device", device}, {"value", "free"}}).Set(static_cast<double>(free_bytes));
}

void Metrics::SetLeftOutOp(const std::string& op) { left_out_ops_.Add({{"op", op}}).Set(1); }

void Metrics::SetInference(int64_t queued_texts, int64_t queued_tokens, int64_t loaded_versions, int64_t batches,
                           int64_t tokens, double seconds) {
  const auto set = [this](const char* value, double number) { inference_.Add({{"value", value}}).Set(number); };
  set("queued_texts", static_cast<double>(queued_texts));
  set("queued_tokens", static_cast<double>(queued_tokens));
  set("loaded_versions", static_cast<double>(loaded_versions));
  set("batches", static_cast<double>(batches));
  set("tokens", static_cast<double>(tokens));
  set("compute_seconds", seconds);
}

void Metrics::SetAdmission(int64_t taken_tokens, double tokens_per_second) {
  inference_.Add({{"value", "taken_tokens"}}).Set(static_cast<double>(taken_tokens));
  inference_.Add({{"value", "tokens_per_second"}}).Set(tokens_per_second);
}

void Metrics::SetDisk(const std::map<std::string, int64_t>& of_models) {
  absl::MutexLock lock(&disk_mutex_);
  for (auto shown = disk_of_models_.begin(); shown != disk_of_models_.end();) {
    if (of_models.contains(shown->first)) {
      ++shown;
    } else {
      disk_.Remove(shown->second);
      shown = disk_of_models_.erase(shown);
    }
  }
  for (const auto& [model, bytes] : of_models) {
    prometheus::Gauge*& gauge = disk_of_models_[model];
    if (gauge == nullptr) gauge = &disk_.Add({{"model", model}});
    gauge->Set(static_cast<double>(bytes));
  }
}

void Metrics::SetTraining(const std::string& job, double loss, double penalty, double tokens_per_second, double step) {
  const double values[] = {loss, penalty, tokens_per_second, step};
  for (size_t i = 0; i < std::size(values); ++i)
    training_.Add({{"job", job}, {"value", kTrainingValues[i]}}).Set(values[i]);
}

void Metrics::RemoveTraining(const std::string& job) {
  for (const char* value : kTrainingValues) {
    const prometheus::Labels labels = {{"job", job}, {"value", value}};
    if (training_.Has(labels)) training_.Remove(&training_.Add(labels));
  }
}

}  // namespace engram::server
