#include "server/engramd.h"

#include <algorithm>
#include <atomic>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/base/files.h"
#include "core/base/log.h"
#include "core/nn/device.h"
#include "core/nn/ops/op_library.h"
#include "core/serve/engine.h"
#include "core/serve/model_set.h"
#include "core/train/precision.h"
#include "grpcpp/ext/proto_server_reflection_plugin.h"
#include "grpcpp/grpcpp.h"
#include "grpcpp/health_check_service_interface.h"
#include "server/admin/admin_http.h"
#include "server/admin/metrics.h"
#include "server/admin/status_page.h"
#include "server/data_mark.h"
#include "server/data_paths.h"
#include "server/device_choice.h"
#include "server/entrance.h"
#include "server/heartbeats.h"
#include "server/inference/annotation_service.h"
#include "server/inference/inference_service.h"
#include "server/jobs/collection_service.h"
#include "server/jobs/estimator.h"
#include "server/jobs/job_kind.h"
#include "server/jobs/job_manager.h"
#include "server/jobs/job_service.h"
#include "server/jobs/recovery.h"
#include "server/jobs/task_service.h"
#include "server/library/catalog.h"
#include "server/library/dataset_service.h"
#include "server/library/dataset_shelf.h"
#include "server/library/disk_use.h"
#include "server/library/model_service.h"
#include "server/rpc/call.h"
#include "server/rpc/self_call.h"
#include "server/rpc/service_list.h"
#include "server/rpc/work_pool.h"

namespace engram::server {
namespace {

constexpr int kCallThreads = 4, kInferenceThreads = 4, kBulkThreads = 2, kEncodeThreads = 2, kLoadThreads = 2;
// How much the threads of work stand back that somebody waits seconds for anyhow.
constexpr int kCallNice = 5, kBulkNice = 10;
// What a short text waits for at most while long ones are computed, and again for its own batch.
constexpr absl::Duration kBatchTime = absl::Milliseconds(20);
// Between two messages of an upload, and for all of them.
constexpr absl::Duration kUploadIdle = absl::Minutes(1), kUploadWhole = absl::Hours(6);
// A part of the server that has not moved for so long is slow, and no further calls are to be sent here; after so much
// longer it hangs, and nothing but a new start helps.
constexpr absl::Duration kSlow = absl::Seconds(30), kHangs = absl::Minutes(2);
// Calls at once of one connection; a client that is gone without a word is noticed in two minutes.
constexpr int kMostStreams = 4096, kKeepaliveMilliseconds = 60'000;

struct InferenceDevice {
  at::Device device = at::kCPU;
  nn::Precision precision = nn::Precision::kFloat32;
};

absl::StatusOr<InferenceDevice> ChooseDevice(const Config& config) {
  InferenceDevice chosen;
  absl::StatusOr<at::Device> device = nn::ParseDevice(config.inference_device);
  if (!device.ok()) return Annotate(device.status(), "inference_device");
  chosen.device = *device;
  chosen.precision = train::ResolvePrecision(config.inference_precision, chosen.device);
  return chosen;
}

CollectionLimits CollectionsOf(const Config& config) {
  return {config.collect_allowed_hosts, config.collect_cache_mb << 20, config.max_dataset_mb << 20};
}

JobManagerOptions JobOptions(const Config& config, std::function<void(const std::string&, int64_t)> published) {
  JobManagerOptions options;
  options.devices = config.devices;
  options.worker_threads = static_cast<int32_t>(config.worker_threads);
  options.queue_limit = config.job_queue_limit;
  if (config.run_silence_minutes > 0) options.silence = absl::Minutes(config.run_silence_minutes);
  options.keep_failed = absl::Hours(24 * config.keep_failed_days);
  options.published = std::move(published);
  return options;
}

}  // namespace

// In the order of construction; destroyed from the last to the first.
struct Engramd::Parts {
  Parts(const Config& from, FileLock held, std::unique_ptr<jobs::Store> opened, const InferenceDevice& inference,
        std::unique_ptr<Entrance> let_in, std::string worker, std::function<void()> failed)
      : config(from),
        device(inference.device),
        entrance(std::move(let_in)),
        on_failure(std::move(failed)),
        paths{from.data_dir},
        lock(std::move(held)),
        store(std::move(opened)),
        catalog(*store, paths),
        planning{*store, catalog, paths, from.checkpoint_every_steps, CollectionsOf(from), from.memory_retention_days},
        estimator(planning, from.devices),
        launcher(std::move(worker)),
        shelf(*store, paths),
        jobs(*store, paths, launcher, shelf, metrics, Clock::Steady(), Clock::Real(),
             JobOptions(from,
                        [this](const std::string& model, int64_t number) {
                          if (WillBeAskedFor(model, number)) Prefetch(model, number);
                        })),
        models(
            [this, inference](const std::string& model, int64_t number) {
              return serve::LoadServedVersion(model, number, paths.version(model, number), inference.device,
                                              inference.precision);
            },
            from.max_loaded_versions,
            from.max_loaded_mb == 0 ? std::numeric_limits<int64_t>::max() : from.max_loaded_mb << 20),
        engine(Clock::Real(), {from.batch_tokens, from.queue_tokens, kBatchTime, absl::Seconds(from.queue_seconds)},
               static_cast<int>(from.inference_threads), [this] { OnDeviceFailure(); }),
        call_pool(kCallThreads, kCallNice),
        inference_pool(kInferenceThreads),
        bulk_pool(kBulkThreads, kBulkNice),
        encode_pool(kEncodeThreads, kBulkNice),
        load_pool(kLoadThreads, kCallNice) {
    beats.WatchPool("calls", call_pool);
    beats.WatchPool("inference", inference_pool);
    beats.Watch("engine", [this] { return engine.computing(); });
    // Publishing a large version may take minutes, and keeps nobody from asking.
    beats.Watch(
        "jobs", [this] { return jobs.working(); }, Heartbeats::Counts::kShown);
    beats.WatchAsked("grpc", [this](std::function<void()> done) { self_call->Ask(std::move(done)); });
    services.Add<JobService>(jobs, environment);
    services.Add<TaskService>(planning, estimator, jobs, environment);
    services.Add<ModelService>(
        *store, catalog, paths, config, environment,
        [this](const std::string& model, int64_t number) { models.Drop(model, number); },
        [this](const std::string& model, int64_t number) { Prefetch(model, number); });
    services.Add<DatasetService>(*store, paths, shelf, config, environment);
    services.Add<CollectionService>(planning, estimator, jobs, environment);
    services.Add<AnnotationService>(config.max_texts, matchers, environment);
    services.Add<InferenceService>(InferenceBackend{environment, *store, models, engine, inference_pool, bulk_pool,
                                                    encode_pool, load_pool, config.max_texts, matchers});
  }

  // Whether a call that names no version, or a label, gets this one.
  bool WillBeAskedFor(const std::string& model, int64_t number);
  // Loads a version, if another one of its model is loaded.
  void Prefetch(const std::string& model, int64_t number) {
    models.Prefetch(model, number, [this](std::function<void()> load) { load_pool.Schedule(std::move(load)); });
  }
  std::string Scrape();
  // What /readyz says beside whether calls are taken: why jobs do not go on, reason by reason.
  std::string Lacks();
  ServerState State();
  absl::Status Listen();
  // What health checks are told, for the server as a whole and for each service.
  void SetServing(bool serving);
  bool Ready() { return ready && !engine.health().failed() && beats.Longest() <= kSlow && store->Ping().ok(); }
  // Tells health checks when a part begins to hang, and when it moves again.
  void Notice(absl::Duration longest);
  void OnDeviceFailure();

  const Config config;
  const at::Device device;  // of inference
  const std::unique_ptr<Entrance> entrance;
  const std::function<void()> on_failure;
  const DataPaths paths;
  const FileLock lock;
  Metrics metrics;
  const std::unique_ptr<jobs::Store> store;
  const Catalog catalog;
  const PlanContext planning;
  const JobEstimator estimator;
  jobs::LocalLauncher launcher;
  DatasetShelf shelf;
  JobManager jobs;
  serve::ModelSet models;
  serve::Engine engine;
  MatcherCache matchers{MatcherCache::kBytes};
  WorkPool call_pool, inference_pool, bulk_pool, encode_pool, load_pool;
  Heartbeats beats{Clock::Steady()};
  std::atomic<bool> hanging{false};
  DiskUse disk_use{paths, Clock::Steady()};
  IdleWatch idle_watch{Clock::Steady(), kUploadIdle, kUploadWhole};
  const CallEnvironment environment{metrics, call_pool, Clock::Real(), entrance->authenticator(), &idle_watch};
  ServiceList services;
  bool database_older = false;
  std::atomic<bool> ready{false};
  int grpc_port = 0;
  std::unique_ptr<grpc::Server> server;
  std::unique_ptr<SelfCall> self_call;
  std::unique_ptr<AdminServer> admin;
};

bool Engramd::Parts::WillBeAskedFor(const std::string& model, int64_t number) {
  const auto record = store->GetModel(model);
  if (!record.ok()) return false;
  const auto labelled = [&](const auto& label) { return label.second == number; };
  return (record->latest == number && !record->labels.contains("stable")) ||
         std::any_of(record->labels.begin(), record->labels.end(), labelled);
}

std::string Engramd::Parts::Scrape() {
  // What cannot be read keeps its last value: zeros would say that there is no job.
  if (const auto counts = jobs.CountStates(); counts.ok()) {
    for (const auto& [state, count] : *counts) metrics.SetJobs(state, count);
  }
  const serve::EngineCounters& counters = engine.counters();
  metrics.SetPostponed(static_cast<int64_t>(jobs.Delayed().size()));
  metrics.SetInference(engine.batcher().queued_items(), engine.batcher().queued_tokens(), models.loaded(),
                       counters.batches, counters.tokens, static_cast<double>(counters.microseconds) * 1e-6);
  metrics.SetDisk(disk_use.OfModels());
  metrics.SetAdmission(engine.admission().waiting_tokens(), engine.admission().tokens_per_second());
  if (const auto memory = nn::MemoryOf(device))
    metrics.SetDeviceMemory(device.str(), memory->total_bytes, memory->free_bytes);
  for (const std::string& op : nn::ops::LeftOutOps(device.type())) metrics.SetLeftOutOp(op);
  return metrics.Serialize() + beats.Exposition();
}

std::string Engramd::Parts::Lacks() {
  std::map<std::string, std::pair<int64_t, absl::Time>> reasons;  // how many jobs, and when the first is tried again
  for (const auto& [id, delay] : jobs.Delayed()) {
    const std::string what = absl::StrCat(StatusReason(delay.why), " (", delay.why.message(), ")");
    auto& [count, next] = reasons.try_emplace(what, 0, absl::InfiniteFuture()).first->second;
    ++count;
    next = std::min(next, delay.until);
  }
  std::string text;
  for (const auto& [part, age] : beats.Ages()) {
    if (age > kSlow) absl::StrAppend(&text, part, ": has not moved for ", absl::ToInt64Seconds(age), " s\n");
  }
  text += database_older ? "database: an older copy; what it does not know is left alone\n" : "";
  for (const auto& [what, jobs_of] : reasons) {
    const int64_t seconds = std::max<int64_t>(
        0, absl::ToInt64Seconds(absl::Ceil(jobs_of.second - Clock::Steady().Now(), absl::Seconds(1))));
    absl::StrAppend(&text, "jobs postponed: ", jobs_of.first, ", next try in ", seconds, " s: ", what, "\n");
  }
  return text;
}

ServerState Engramd::Parts::State() {
  ServerState state{Ready(), std::nullopt, models.loaded(), engine.batcher().queued_items()};
  state.job_devices = config.devices;
  state.inference_device = config.inference_device;
  if (const auto memory = nn::MemoryOf(device)) state.device_bytes = {memory->total_bytes, memory->free_bytes};
  state.left_out_ops = nn::ops::LeftOutOps(device.type());
  if (auto counts = jobs.CountStates(); counts.ok()) state.jobs = *std::move(counts);
  return state;
}

void Engramd::Parts::Notice(absl::Duration longest) {
  const bool hangs = longest > kHangs;
  if (hanging.exchange(hangs) == hangs) return;
  LogError(hangs ? "a part of the server hangs" : "the part of the server that hung moves again",
           {{"seconds", absl::StrCat(absl::ToInt64Seconds(longest))}});
  services.SetServing(*server->GetHealthCheckService(), ready && !hangs);
}

void Engramd::Parts::SetServing(bool serving) {
  ready = serving;
  services.SetServing(*server->GetHealthCheckService(), serving);
}

void Engramd::Parts::OnDeviceFailure() {
  LogError("the inference device failed; the server stops, so that it can be started anew");
  if (server) SetServing(false);
  on_failure();
}

absl::Status Engramd::Parts::Listen() {
  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  grpc::ServerBuilder builder;
  if (!config.reflects()) builder.SetOption(WithoutReflection());
  builder.AddListeningPort(config.grpc_address, entrance->Credentials(), &grpc_port);
  builder.SetMaxReceiveMessageSize(static_cast<int>(config.max_message_mb << 20));
  builder.SetMaxSendMessageSize(-1);
  // gRPC inflates a message before it looks at its size: a megabyte on the wire could take all memory.
  for (const grpc_compression_algorithm algorithm : {GRPC_COMPRESS_DEFLATE, GRPC_COMPRESS_GZIP})
    builder.SetCompressionAlgorithmSupportStatus(algorithm, false);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kMostStreams);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMilliseconds);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveMilliseconds);
  // Two servers must not share one port by accident.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  services.Register(builder);
  server = builder.BuildAndStart();
  if (!server || grpc_port == 0)
    return absl::UnavailableError("grpc_address cannot be bound; another process may be using it");
  SetServing(false);
  self_call = std::make_unique<SelfCall>(*server);
  AdminPages pages;
  pages.alive = [this] { return beats.Longest() <= kHangs; };
  pages.metrics = [this] { return Scrape(); };
  pages.ready = [this] { return Readiness{Ready(), Lacks()}; };
  pages.status = [this] { return StatusPage(State()); };
  pages.allowed = [this](const std::string& authorization) { return entrance->Allows(authorization); };
  ENGRAM_ASSIGN_OR_RETURN(admin, AdminServer::Start(config.admin_address, std::move(pages), entrance->tls()));
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Engramd>> Engramd::Start(const Config& asked, const std::string& worker_program,
                                                        std::function<void()> on_failure) {
  Config config = asked;
  ENGRAM_RETURN_IF_ERROR(ChooseDevices(HasAutoDevices(asked) ? nn::FindCuda().devices : 0, config));
  const DataPaths paths{config.data_dir};
  ENGRAM_RETURN_IF_ERROR(Annotate(MakeDirectories(config.data_dir), "data_dir"));
  absl::StatusOr<FileLock> lock = FileLock::Acquire(paths.lock());
  if (!lock.ok()) {
    if (lock.status().code() != absl::StatusCode::kFailedPrecondition) return Annotate(lock.status(), "data_dir");
    return StatusWithReason(absl::StatusCode::kFailedPrecondition, "DATA_DIR_IN_USE",
                            "another engramd uses this data_dir; stop it first, or choose another data_dir");
  }
  ENGRAM_ASSIGN_OR_RETURN(std::unique_ptr<Entrance> entrance, Entrance::Open(config));
  ENGRAM_ASSIGN_OR_RETURN(const InferenceDevice device, ChooseDevice(config));
  for (const std::string& name : config.devices)
    ENGRAM_RETURN_IF_ERROR(Annotate(nn::ParseDevice(name).status(), "devices"));
  ENGRAM_RETURN_IF_ERROR(CheckDatabaseIsThere(paths));
  ENGRAM_ASSIGN_OR_RETURN(std::unique_ptr<jobs::Store> store, jobs::Store::Open(paths.database(), Clock::Real()));
  ENGRAM_RETURN_IF_ERROR(store->CheckIntegrity());
  ENGRAM_ASSIGN_OR_RETURN(const DatabaseAge age, MarkStart(*store, paths));
  ENGRAM_RETURN_IF_ERROR(RemoveOrphans(*store, paths, age));
  const std::string worker = config.worker_program.empty() ? worker_program : config.worker_program;
  if (!PathExists(worker))
    return absl::NotFoundError("worker_program is not there; build engram-worker, or set worker_program");

  LogInfo("devices", {{"jobs", absl::StrJoin(config.devices, " ")}, {"inference", config.inference_device}});
  auto parts = std::make_unique<Parts>(config, *std::move(lock), std::move(store), device, std::move(entrance), worker,
                                       std::move(on_failure));
  parts->database_older = age == DatabaseAge::kOlder;
  ENGRAM_RETURN_IF_ERROR(parts->jobs.Start());
  ENGRAM_RETURN_IF_ERROR(parts->Listen());
  parts->SetServing(true);
  parts->beats.Start([parts = parts.get()](absl::Duration longest) { parts->Notice(longest); });
  return std::unique_ptr<Engramd>(new Engramd(std::move(parts)));
}

Engramd::Engramd(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

Engramd::~Engramd() {
  constexpr absl::Duration kCallsEnd = absl::Seconds(5);
  parts_->beats.Stop();
  parts_->SetServing(false);
  LogInfo("draining");
  parts_->jobs.ShutDown(absl::Seconds(parts_->config.drain_seconds));
  parts_->server->Shutdown(absl::ToChronoTime(Clock::Real().Now() + kCallsEnd));
  parts_->server->Wait();
  parts_->engine.ShutDown();
}

std::string Engramd::grpc_address() const {
  const std::string& asked = parts_->config.grpc_address;
  return absl::StrCat(asked.substr(0, asked.rfind(':')), ":", parts_->grpc_port);
}

std::string Engramd::admin_address() const { return parts_->admin->address(); }

}  // namespace engram::server
