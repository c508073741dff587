// engramd: the server. `engramd --config engramd.yaml`; docs/configuration.md has the keys. Once it takes calls it
// prints one line of JSON on standard output with the addresses it listens on; everything else goes to the log on
// standard error.

#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <thread>

#include "CLI/CLI.hpp"
#include "absl/time/time.h"
#include "core/base/descriptors.h"
#include "core/base/files.h"
#include "core/base/log.h"
#include "core/base/process.h"
#include "core/nn/device.h"
#include "core/nn/tensor_memory.h"
#include "google/protobuf/stubs/logging.h"
#include "grpc/support/log.h"
#include "nlohmann/json.hpp"
#include "server/engramd.h"

namespace engram::server {
namespace {

std::atomic<bool> device_failed{false};

absl::StatusOr<Config> ReadConfig(const std::string& path, const std::string& data_dir) {
  std::string text;
  if (!path.empty()) {
    ENGRAM_ASSIGN_OR_RETURN(text, ReadFile(path, 1 << 20));
  }
  return ParseConfig(text, data_dir);
}

// What the libraries say goes into the one log, in its form.
void TakeOverLibraryLogs() {
  gpr_set_log_function([](gpr_log_func_args* args) {
    const auto log = args->severity == GPR_LOG_SEVERITY_ERROR ? LogError : LogInfo;
    log("gRPC says", {{"detail", args->message}});
  });
  google::protobuf::SetLogHandler([](google::protobuf::LogLevel level, const char*, int, const std::string& message) {
    const auto log = level >= google::protobuf::LOGLEVEL_ERROR ? LogWarning : LogInfo;
    log("protobuf says", {{"detail", message}});
  });
}

// What a shutdown takes beside draining: calls end, threads are joined.
constexpr absl::Duration kRestOfShutdown = absl::Seconds(15);

// Whatever hangs, a process that does not end in the kernel or a call that does not return: nothing of it is waited for
// longer. The state on disk is as after a kill, which any start can take up.
void EndInTime(absl::Duration patience) {
  std::thread([patience] {
    std::this_thread::sleep_for(absl::ToChronoNanoseconds(patience));
    LogError("the server did not end in time, because something hangs; it ends now");
    _exit(EXIT_FAILURE);
  }).detach();
}

int Fail(const absl::Status& status) {
  std::fprintf(stderr, "engramd: %s\n", std::string(status.message()).c_str());
  return EXIT_FAILURE;
}

int Main(const std::string& config_path, const std::string& data_dir) {
  const absl::StatusOr<Config> config = ReadConfig(config_path, data_dir);
  if (!config.ok()) return Fail(config.status());
  SetLogLevel(config->log_level);
  TakeOverLibraryLogs();
  // Blocked here, before any thread starts, and waited for below: no handler, no race.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  std::signal(SIGPIPE, SIG_IGN);

  const std::string worker = (std::filesystem::read_symlink("/proc/self/exe").parent_path() / "engram-worker").string();
  absl::StatusOr<std::unique_ptr<Engramd>> server = Engramd::Start(*config, worker, [] {
    device_failed.store(true);
    kill(getpid(), SIGTERM);
  });
  if (!server.ok()) return Fail(server.status());
  const nlohmann::json ready = {{"grpc_address", (*server)->grpc_address()},
                                {"admin_address", (*server)->admin_address()}};
  std::printf("%s\n", ready.dump().c_str());
  std::fflush(stdout);
  LogInfo("serving", {{"grpc_address", (*server)->grpc_address()}, {"admin_address", (*server)->admin_address()}});
  int received = 0;
  sigwait(&signals, &received);
  EndInTime(absl::Seconds(config->drain_seconds) + kRestOfShutdown);
  server->reset();
  LogInfo("stopped");
  return device_failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

}  // namespace
}  // namespace engram::server

int main(int argc, char** argv) {
  engram::RestartWithPassiveOpenMp(argv);
  umask(077);  // texts of users and weights are nobody else's on this machine
  engram::RaiseDescriptorLimit();
  engram::nn::KeepTensorMemory();
  engram::nn::BoundShapeCaches();
  CLI::App app("Engram's server. Prints its addresses as one line of JSON once it takes calls.", "engramd");
  std::string config, data_dir;
  app.add_option("--config", config, "YAML file; docs/configuration.md has the keys")->check(CLI::ExistingFile);
  app.add_option("--data-dir", data_dir, "where all state lies (instead of data_dir in the file)");
  CLI11_PARSE(app, argc, argv);
  return engram::server::Main(config, data_dir);
}
