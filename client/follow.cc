#include "client/follow.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <thread>

#include "client/output.h"
#include "client/stream_view.h"

namespace engram::client {
namespace {

using engram::v1::Job;

constexpr auto kRestartPatience = std::chrono::seconds(60);
constexpr auto kRetryEvery = std::chrono::milliseconds(500);

std::atomic<bool> detached{false};

void OnInterrupt(int /*signal*/) { detached.store(true); }

bool Ended(const Job& job) { return job.state() >= engram::v1::JOB_STATE_SUCCEEDED; }

std::string StatusLine(const Job& job, int bar_width) {
  if (job.state() == engram::v1::JOB_STATE_QUEUED) {
    if (job.queue_position() == 0) return "queued, next to run";
    return "queued, " + std::to_string(job.queue_position()) + (job.queue_position() == 1 ? " job" : " jobs") +
           " before it";
  }
  if (job.state() == engram::v1::JOB_STATE_RUNNING && !job.progress().phase().empty())
    return ProgressLine(job.progress(), bar_width);
  return StateName(job.state());
}

// Shows progress on standard error, so that standard output holds results alone.
class ProgressDisplay {
 public:
  ProgressDisplay() : terminal_(isatty(STDERR_FILENO) == 1) {}
  ~ProgressDisplay() { Clear(); }

  void Show(const Job& job) {
    if (terminal_) {
      std::fprintf(stderr, "\r\033[K%s", FitLine([&](int width) { return StatusLine(job, width); }, Width()).c_str());
      std::fflush(stderr);
      drawn_ = true;
      return;
    }
    const auto& progress = job.progress();
    const int64_t tenth = progress.total_steps() > 0 ? progress.step() * 10 / progress.total_steps() : 0;
    const std::string key = StateName(job.state()) + "/" + progress.phase() + "/" + std::to_string(tenth);
    if (key == shown_ || Ended(job)) return;
    shown_ = key;
    std::fprintf(stderr, "%s\n", StatusLine(job, 0).c_str());
  }
  void Clear() {
    if (drawn_) std::fprintf(stderr, "\r\033[K");
    drawn_ = false;
  }

 private:
  // Columns of the terminal; 0 if it does not say.
  static size_t Width() {
    winsize size{};
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
  }

  const bool terminal_;
  bool drawn_ = false;
  std::string shown_;
};

void PrintStream(const engram::v1::JobResult& result) {
  if (result.stream_metrics_size() == 0) return;
  std::vector<std::vector<std::string>> rows = {StreamColumns()};
  for (const auto& metrics : result.stream_metrics()) rows.push_back(StreamRow(metrics));
  std::printf("\n%s", Table(rows).c_str());
  for (const auto& metrics : result.stream_metrics()) {
    if (metrics.rows_size() > 0) std::printf("\n%s", Table(MatrixRows(metrics)).c_str());
  }
}

void PrintFolds(const engram::v1::CrossValidation& validation) {
  if (validation.folds_size() == 0) return;
  std::printf("\nover %d folds (%lld groups of rows); then trained on all rows for %lld epochs\n",
              validation.folds_size(), static_cast<long long>(validation.groups()),
              static_cast<long long>(validation.refit_epochs()));
  std::printf("%s", Table(FoldRows(validation)).c_str());
  if (const auto labels = FoldLabelRows(validation); !labels.empty()) std::printf("\n%s", Table(labels).c_str());
}

void PrintMetrics(const engram::v1::JobResult& result) {
  if (result.metrics_size() == 0) {
    PrintFolds(result.cross_validation());
    return;
  }
  std::vector<std::vector<std::string>> rows = {{"task", "metric", "value", "texts", "measured on"}};
  for (const auto& metric : result.metrics()) {
    char value[32];
    std::snprintf(value, sizeof value, "%.4f", metric.value());
    rows.push_back(
        {LastPart(metric.task()), metric.metric(), value, std::to_string(metric.count()), MeasuredOn(metric.part())});
  }
  std::printf("%s", Table(rows).c_str());
  if (const auto labels = LabelRows(result); !labels.empty()) std::printf("\n%s", Table(labels).c_str());
  PrintFolds(result.cross_validation());
  if (const auto sweep = SweepRows(result.strength_sweep()); !sweep.empty())
    std::printf("\ntried on held-out texts:\n%s", Table(sweep).c_str());
  PrintStream(result);
  if (const std::string changes = GainsAndLosses(result); !changes.empty())
    std::printf("\nthis version %s\n", changes.c_str());
}

// What a collection found.
void PrintCollected(const engram::v1::JobResult& result) {
  if (result.dataset().empty()) return;
  const auto& collected = result.collected();
  std::printf("%s: %lld pages, %lld duplicates, %lld that could not be read, %s over the network\n",
              result.dataset().c_str(), static_cast<long long>(collected.pages()),
              static_cast<long long>(collected.duplicates()), static_cast<long long>(collected.failed()),
              FormatBytes(collected.downloaded_bytes()).c_str());
  for (const auto& failure : collected.failures()) {
    std::printf("  %s: %s [%s]\n", failure.source().c_str(), failure.error().message().c_str(),
                failure.error().reason().c_str());
  }
  if (collected.failed() > collected.failures_size())
    std::printf("  and more: `engram pages %s` lists all\n", LastPart(result.dataset()).c_str());
}

int Conclude(const Session& session, const Job& job) {
  if (session.json) {
    Session::PrintJson(job);
  } else if (job.state() == engram::v1::JOB_STATE_SUCCEEDED) {
    const auto& result = job.result();
    std::printf("%s succeeded in %s%s%s\n", job.name().c_str(), FormatSeconds(result.seconds()).c_str(),
                result.version().empty() ? "" : (": " + result.version()).c_str(),
                job.label().empty() ? "" : (" (label " + job.label() + ")").c_str());
    PrintCollected(result);
    PrintMetrics(result);
    // Without a label nobody is answered by it yet.
    if (job.label().empty() && !result.version().empty()) {
      const std::string model = LastPart(job.model()), number = LastPart(result.version());
      std::printf(
          "no label points to it: ask it as %s@%s, or `engram models promote %s %s` makes it the one that %s "
          "stands for\n",
          model.c_str(), number.c_str(), model.c_str(), number.c_str(), model.c_str());
    }
    for (const std::string& warning : result.warnings()) std::fprintf(stderr, "warning: %s\n", warning.c_str());
  }
  if (job.state() == engram::v1::JOB_STATE_SUCCEEDED) return kOk;
  if (job.state() == engram::v1::JOB_STATE_FAILED) {
    return Session::Failed(job.name() + " failed: " + job.error().message() + " [" + job.error().reason() + "]");
  }
  return Session::Failed(job.name() + " was cancelled");
}

// Reads one stream until it ends. `on_job` is called with each state of the job.
template <typename OnJob>
grpc::Status ReadStream(Session& session, const std::string& name, Job& job, const OnJob& on_job) {
  grpc::ClientContext context;  // a job may run longer than a call may take
  session.Authorize(context);
  std::atomic<bool> done{false};
  // A signal handler may not call gRPC; this thread may.
  std::thread canceller([&] {
    while (!done && !detached) std::this_thread::sleep_for(std::chrono::milliseconds(50));
    if (detached) context.TryCancel();
  });
  engram::v1::WatchJobRequest request;
  request.set_name(name);
  auto stub = session.Stub<engram::v1::JobService>();
  auto reader = stub->WatchJob(&context, request);
  while (reader->Read(&job)) on_job();
  const grpc::Status status = reader->Finish();
  done = true;
  canceller.join();
  return status;
}

}  // namespace

int FollowJob(Session& session, const std::string& name) {
  std::signal(SIGINT, OnInterrupt);
  ProgressDisplay display;
  Job job;
  auto last_seen = std::chrono::steady_clock::now();
  bool waiting = false;
  while (true) {
    const grpc::Status status = ReadStream(session, name, job, [&] {
      last_seen = std::chrono::steady_clock::now();
      waiting = false;
      display.Show(job);
    });
    if (status.ok() && Ended(job)) {
      display.Clear();
      return Conclude(session, job);
    }
    if (detached) {
      display.Clear();
      const std::string id = LastPart(name);
      std::fprintf(stderr,
                   "The job goes on. `engram jobs watch %s` follows it again, `engram jobs cancel %s` ends it.\n",
                   id.c_str(), id.c_str());
      return kFailed;
    }
    const bool restarting =
        status.error_code() == grpc::StatusCode::UNAVAILABLE || status.error_code() == grpc::StatusCode::CANCELLED;
    if (!restarting || job.name().empty() || std::chrono::steady_clock::now() - last_seen > kRestartPatience) {
      display.Clear();
      return session.Fail(status);
    }
    if (!waiting) {
      display.Clear();
      std::fprintf(stderr, "the server does not answer; trying again for up to a minute\n");
    }
    waiting = true;
    std::this_thread::sleep_for(kRetryEvery);
  }
}

int PrintQueued(Session& session, const Job& job, bool wait) {
  if (wait && !job.name().empty()) return FollowJob(session, job.name());
  return session.Print(job, [&] {
    if (job.name().empty()) {
      std::printf("valid; nothing was queued\n\n");
      DescribeJob(job);
      return;
    }
    const std::string id = LastPart(job.name());
    std::printf("%s queued; `engram jobs watch %s` follows it\n", job.name().c_str(), id.c_str());
  });
}

void DescribeJob(const Job& job) {
  std::vector<std::vector<std::string>> rows = {{"field", "value"}};
  const auto add = [&](const std::string& field, const std::string& value) {
    if (!value.empty()) rows.push_back({field, value});
  };
  add("name", job.name());
  add("kind", KindName(job.kind()));
  if (!job.name().empty()) add("state", StatusLine(job, 0));
  add("model", job.model());
  add("task", job.task());
  add("from", job.base_version());
  add("label", job.label());
  for (const auto& [field, time] : {std::pair("accepted", &job.create_time()), std::pair("started", &job.start_time()),
                                    std::pair("ended", &job.end_time())}) {
    if (time->seconds() > 0) add(field, FormatTime(*time));
  }
  if (!job.name().empty()) add("runs", std::to_string(job.attempts()));
  add("made", job.result().version());
  if (job.result().fisher_samples() > 0) {
    add("fisher trace", std::to_string(job.result().fisher_trace()) + " over " +
                            std::to_string(job.result().fisher_samples()) + " texts");
  }
  if (job.has_postponed()) {
    add("postponed", job.postponed().reason().message() + " [" + job.postponed().reason().reason() + "]; try " +
                         std::to_string(job.postponed().tries() + 1) + " at " +
                         FormatTime(job.postponed().retry_time()));
  }
  if (job.has_resumable_until()) {
    add("resumable", "`engram jobs resume " + LastPart(job.name()) + "` goes on from its checkpoint, kept until " +
                         FormatTime(job.resumable_until()));
  }
  if (job.has_error()) add("error", job.error().message() + " [" + job.error().reason() + "]");
  std::vector<std::string> keys;
  for (const auto& [key, value] : job.options()) keys.push_back(key);
  std::sort(keys.begin(), keys.end());
  for (const std::string& key : keys) add("  " + key, job.options().at(key));
  std::printf("%s", Table(rows).c_str());
  if (job.has_estimate()) std::printf("\n%s", Table(EstimateRows(job.estimate())).c_str());
  for (const std::string& warning : job.estimate().warnings()) std::printf("warning: %s\n", warning.c_str());
  PrintCollected(job.result());
  PrintMetrics(job.result());
  for (const std::string& warning : job.result().warnings()) std::printf("warning: %s\n", warning.c_str());
}

}  // namespace engram::client
