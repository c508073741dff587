#include "server/config.h"

#include <yaml-cpp/yaml.h>

#include <set>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "core/base/struct_options.h"
#include "core/web/address_rules.h"

namespace engram::server {
namespace {

constexpr int64_t kMostThreads = 4096;
constexpr int64_t kMostMegabytes = 1 << 20;

// The one list of keys. Meanings are written for docs/configuration.md.
const StructOptions<Config>& Keys() {
  using C = Config;
  static const StructOptions<C> keys =
      StructOptions<C>("key of the configuration")
          .Text("data_dir", &C::data_dir, "directory of all state. One server at a time: a second one refuses to start")
          .Text("grpc_address", &C::grpc_address,
                "where the API listens; port 0 takes any free one, which the line on standard output names")
          .Text("admin_address", &C::admin_address, "where `/metrics`, `/healthz`, `/readyz` and the status page are")
          .Flag(
              "allow_insecure_public", &C::allow_insecure_public,
              "addresses other than loopback are refused unless there is TLS with `token_file` or `tls_client_ca`, or "
              "this is `true`")
          .Text("tls_certificate", &C::tls_certificate,
                "PEM file of the server's certificate and those that it is signed with: the API and the admin address "
                "speak TLS. Read again when it changes")
          .Text("tls_key", &C::tls_key, "PEM file of the certificate's private key")
          .Text("tls_client_ca", &C::tls_client_ca,
                "PEM file of authorities: clients have to show a certificate that one of them signed")
          .Text("token_file", &C::token_file,
                "lines of a name and a token: calls, `/metrics` and the status page want one of the tokens. Read again "
                "when it changes")
          .Choice("reflection", &C::reflection,
                  {{ReflectionChoice::kAuto, "auto"}, {ReflectionChoice::kOn, "on"}, {ReflectionChoice::kOff, "off"}},
                  "whether gRPC's tools can ask for services and messages; `auto`: on loopback without `token_file`")
          .List("devices", &C::devices,
                "where jobs run, one at a time each: `cpu`, `cuda:0`, ...; `auto`: every CUDA device, or the CPU where "
                "there is none")
          .Whole("worker_threads", &C::worker_threads, Closed(0, kMostThreads),
                 "threads of a run; 0: one per core that the process may use (its affinity, its CPU quota)")
          .Text("worker_program", &C::worker_program, "the program `engram-worker`; empty: the one beside `engramd`")
          .Text("inference_device", &C::inference_device,
                "where requests are computed; `auto`: `cuda:0` where it is there, else the CPU")
          .Whole("inference_threads", &C::inference_threads, Closed(0, kMostThreads),
                 "threads of one batch; 0: one per core that the process may use (its affinity, its CPU quota)")
          .Choice("inference_precision", &C::inference_precision, train::PrecisionChoices(),
                  "`fp32`, `bf16`, or `auto`: bf16 where the hardware multiplies it natively")
          .Whole("max_loaded_versions", &C::max_loaded_versions, Closed(1, 10'000),
                 "versions kept in memory; the least recently used one goes")
          .Whole("max_loaded_mb", &C::max_loaded_mb, Closed(0, kMostMegabytes),
                 "memory of these versions in MiB, as they took it when they were loaded; the one that was loaded last "
                 "stays; 0: no limit")
          .Whole("batch_tokens", &C::batch_tokens, Closed(16, 1 << 24), "most tokens in one batch")
          .Whole("queue_tokens", &C::queue_tokens, Closed(16, int64_t{1} << 40),
                 "most tokens that wait for the device; more is RESOURCE_EXHAUSTED")
          .Whole("queue_seconds", &C::queue_seconds, Closed(1, 86'400),
                 "most time that a call would wait for others on the device; more is RESOURCE_EXHAUSTED")
          .Whole("max_texts", &C::max_texts, Closed(1, 1'000'000), "texts in one call")
          .Whole("max_message_mb", &C::max_message_mb, Closed(1, 2047), "size of one request")
          .Whole("max_dataset_mb", &C::max_dataset_mb, Closed(1, kMostMegabytes),
                 "size of one part of a data set, decompressed")
          .Whole("max_uploads_mb", &C::max_uploads_mb, Closed(1, kMostMegabytes),
                 "what all uploads of data sets may hold in memory together before they are checked")
          .Whole("max_model_mb", &C::max_model_mb, Closed(1, 16 * kMostMegabytes), "size of one import")
          .Whole("job_queue_limit", &C::job_queue_limit, Closed(1, 1'000'000), "unfinished jobs")
          .Whole("checkpoint_every_steps", &C::checkpoint_every_steps, Closed(0, 1'000'000'000),
                 "steps between run checkpoints where a request does not say; 0: only when the server stops")
          .Whole("run_silence_minutes", &C::run_silence_minutes, Closed(0, 100'000),
                 "a run that reports nothing for so long hangs: it is stopped, killed a minute later, and started "
                 "again; 0: never")
          .Whole("keep_failed_days", &C::keep_failed_days, Closed(0, 36'500),
                 "how long the checkpoint of a failed job is kept for `engram jobs resume`; 0: not at all")
          .Whole("memory_retention_days", &C::memory_retention_days, Closed(0, 36'500),
                 "how long strategies may replay training texts that versions keep; 0: without end")
          .Whole("drain_seconds", &C::drain_seconds, Closed(0, 86'400),
                 "time for runs to write their checkpoints when the server stops")
          .List(
              "collect_allowed_hosts", &C::collect_allowed_hosts,
              "places that `engram collect` may ask although they are no public ones, or by another port than 80 and "
              "443: an address in numbers and a port, `127.0.0.1:8080`. A job keeps the list that it was accepted with")
          .Whole("collect_cache_mb", &C::collect_cache_mb, Closed(0, kMostMegabytes),
                 "copies of pages that are asked for again only if they have changed; 0: none are kept")
          .Choice("log_level", &C::log_level,
                  {{LogLevel::kDebug, "debug"},
                   {LogLevel::kInfo, "info"},
                   {LogLevel::kWarning, "warning"},
                   {LogLevel::kError, "error"}},
                  "`debug`, `info`, `warning`, `error`");
  return keys;
}

absl::Status Assign(const std::string& key, const Option& option, const YAML::Node& value, Config& config) {
  if (option.type != OptionType::kList) {
    if (!value.IsScalar()) return InvalidField(key, "must be a single value");
    return Keys().Set(config, key, value.Scalar());
  }
  if (!value.IsSequence()) return InvalidField(key, "must be a list with at least one entry");
  std::vector<std::string> list;
  for (const YAML::Node& entry : value) {
    if (!entry.IsScalar()) return InvalidField(key, "must be a list of texts");
    list.push_back(entry.Scalar());
  }
  return Keys().SetValue(config, key, std::move(list));
}

bool IsLoopback(const std::string& address) {
  const std::string host = address.substr(0, address.rfind(':'));
  return host == "localhost" || host == "[::1]" || host.starts_with("127.");
}

absl::Status CheckAddress(const std::string& key, const std::string& address, bool public_allowed) {
  const size_t colon = address.rfind(':');
  int port = -1;
  if (colon == std::string::npos || colon == 0 || !absl::SimpleAtoi(address.substr(colon + 1), &port) || port < 0 ||
      port > 65535) {
    return InvalidField(key, "must be HOST:PORT, such as 127.0.0.1:7860");
  }
  if (IsLoopback(address) || public_allowed) return absl::OkStatus();
  return InvalidField(key,
                      "is no loopback address, and callers would not have to prove who they are, or not over TLS; set "
                      "tls_certificate and tls_key with token_file or tls_client_ca, or put the server behind a proxy "
                      "that does it, and set allow_insecure_public: true");
}

absl::Status CheckTls(const Config& config) {
  if (config.tls_certificate.empty() != config.tls_key.empty())
    return InvalidField(config.tls_key.empty() ? "tls_key" : "tls_certificate", "is missing; TLS needs both");
  if (!config.tls_client_ca.empty() && !config.tls())
    return InvalidField("tls_client_ca", "goes with tls_certificate and tls_key");
  return absl::OkStatus();
}

absl::Status Check(const Config& config) {
  if (config.data_dir.empty())
    return InvalidField("data_dir", "is missing; name the directory that holds the server's state");
  ENGRAM_RETURN_IF_ERROR(CheckTls(config));
  const bool proven = config.tls() && (!config.token_file.empty() || !config.tls_client_ca.empty());
  const bool public_allowed = proven || config.allow_insecure_public;
  ENGRAM_RETURN_IF_ERROR(CheckAddress("grpc_address", config.grpc_address, public_allowed));
  ENGRAM_RETURN_IF_ERROR(CheckAddress("admin_address", config.admin_address, public_allowed));
  return web::AllowedHosts::Parse(config.collect_allowed_hosts).status();
}

}  // namespace

bool Config::reflects() const {
  if (reflection != ReflectionChoice::kAuto) return reflection == ReflectionChoice::kOn;
  return IsLoopback(grpc_address) && token_file.empty();
}

const OptionTable& ConfigTable() {
  static const OptionTable table = Keys().table();
  return table;
}

absl::StatusOr<Config> ParseConfig(const std::string& yaml, const std::string& data_dir) {
  Config config;
  std::vector<YAML::Node> documents;
  try {
    documents = YAML::LoadAll(yaml);
  } catch (const YAML::Exception& exception) {
    return InvalidField("config", absl::StrCat("line ", exception.mark.line + 1, " is not YAML: ", exception.msg));
  }
  // Keys of a document that is not read would silently keep their defaults.
  if (documents.size() > 1)
    return InvalidField("config", "holds several YAML documents; put all keys into one, without \"---\" between them");
  const YAML::Node root = documents.empty() ? YAML::Node() : documents[0];
  if (!root.IsMap() && !root.IsNull()) return InvalidField("config", "must be a map of keys to values");
  std::set<std::string> seen;
  for (const auto& entry : root) {
    const std::string key = entry.first.IsScalar() ? entry.first.Scalar() : "";
    if (key.empty()) return InvalidField("config", "has a key that is no text");
    const Option* option = ConfigTable().Find(key);
    if (option == nullptr) return ConfigTable().Unknown(key);
    if (!seen.insert(key).second) return InvalidField(key, "is there twice");
    ENGRAM_RETURN_IF_ERROR(Assign(key, *option, entry.second, config));
  }
  if (!data_dir.empty()) config.data_dir = data_dir;
  ENGRAM_RETURN_IF_ERROR(Check(config));
  return config;
}

}  // namespace engram::server
