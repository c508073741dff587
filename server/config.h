#pragma once

// engramd's configuration: one YAML file, every key optional but data_dir. Each key is the name of a member; ranges and
// meanings stand in one table (ConfigTable), which docs/configuration.md repeats.

#include <cstdint>
#include <string>
#include <vector>

#include "core/base/log.h"
#include "core/base/options.h"
#include "core/base/status.h"
#include "core/train/train_options.h"

namespace engram::server {

enum class ReflectionChoice { kAuto, kOn, kOff };

struct Config {
  std::string data_dir;
  std::string grpc_address = "127.0.0.1:7860";
  std::string admin_address = "127.0.0.1:7861";
  bool allow_insecure_public = false;
  std::string tls_certificate, tls_key, tls_client_ca;
  std::string token_file;
  ReflectionChoice reflection = ReflectionChoice::kAuto;
  std::vector<std::string> devices = {"auto"};
  int64_t worker_threads = 0;
  std::string worker_program;
  std::string inference_device = "auto";
  int64_t inference_threads = 0;
  train::PrecisionChoice inference_precision = train::PrecisionChoice::kAuto;
  int64_t max_loaded_versions = 4;
  int64_t max_loaded_mb = 0;
  int64_t batch_tokens = 8192;
  int64_t queue_tokens = 1048576;
  int64_t queue_seconds = 30;
  int64_t max_texts = 1024;
  int64_t max_message_mb = 64;
  int64_t max_dataset_mb = 1024;
  int64_t max_uploads_mb = 2048;
  int64_t max_model_mb = 16384;
  int64_t job_queue_limit = 1000;
  int64_t checkpoint_every_steps = 200;
  int64_t run_silence_minutes = 30;
  int64_t keep_failed_days = 7;
  int64_t memory_retention_days = 0;
  int64_t drain_seconds = 30;
  std::vector<std::string> collect_allowed_hosts;
  int64_t collect_cache_mb = 1024;
  LogLevel log_level = LogLevel::kInfo;

  bool tls() const { return !tls_certificate.empty(); }
  // Whether services and messages can be asked for by name: kAuto where only this machine can ask, and without a token.
  bool reflects() const;
};

// Name, type, default, range and meaning of every key.
const OptionTable& ConfigTable();

// INVALID_ARGUMENT naming the key: unknown (with the nearest known one), twice, of the wrong type or out of range, an
// address that is no address, half of what TLS needs, a public address where callers need not prove who they are, or not
// over TLS, without allow_insecure_public. A `data_dir` that is not empty stands instead
// of the file's.
absl::StatusOr<Config> ParseConfig(const std::string& yaml, const std::string& data_dir = "");

}  // namespace engram::server
