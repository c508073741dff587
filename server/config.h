#pragma once

// engramd's configuration: one YAML file, every key optional but data_dir. docs/configuration.md explains each.

#include <cstdint>
#include <string>
#include <vector>

#include "core/base/status.h"

namespace engram::server {

struct Config {
  std::string data_dir;                          // all state lies below it
  std::string grpc_address = "127.0.0.1:7860";   // port 0: any free one
  std::string admin_address = "127.0.0.1:7861";  // metrics and health over HTTP
  bool allow_insecure_public = false;            // lets addresses be other than loopback
  std::vector<std::string> devices = {"cpu"};    // where jobs run, one at a time each
  int64_t worker_threads = 0;                    // of one run; 0: as many as the machine has
  std::string worker_program;                    // empty: engram-worker beside engramd
  std::string inference_device = "cpu";
  int64_t inference_threads = 0;             // of one batch; 0: as many as the machine has
  std::string inference_precision = "auto";  // auto, fp32, bf16
  int64_t max_loaded_versions = 4;
  int64_t batch_tokens = 8192;           // most tokens in one batch
  int64_t queue_tokens = 1048576;        // most tokens waiting for the device
  int64_t max_texts = 1024;              // in one call
  int64_t max_message_mb = 64;           // of one request
  int64_t max_dataset_mb = 1024;         // of one data set, decompressed
  int64_t max_model_mb = 16384;          // of one import
  int64_t job_queue_limit = 1000;        // unfinished jobs
  int64_t checkpoint_every_steps = 200;  // where a request does not say
  int64_t drain_seconds = 30;            // for runs to write their checkpoints when the server stops
  std::string log_level = "info";        // debug, info, warning, error
};

// INVALID_ARGUMENT naming the key: unknown (with the nearest known one), twice, of the wrong type or out of range, an
// address that is no address, a public one without allow_insecure_public. A `data_dir` that is not empty stands instead
// of the file's.
absl::StatusOr<Config> ParseConfig(const std::string& yaml, const std::string& data_dir = "");

}  // namespace engram::server
