#pragma once

// The structured log: one JSON object per line on standard error, written by spdlog.
//   LogInfo("job started", {{"job", id}, {"device", "cpu"}});
// gives {"time":"2026-01-02T03:04:05.678Z","level":"info","message":"job started","job":"...","device":"cpu"}.
// Thread-safe. Values are JSON-escaped here; texts of users and secrets are never logged by Engram.

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

namespace engram {

using LogFields = std::initializer_list<std::pair<std::string_view, std::string>>;

enum class LogLevel { kDebug, kInfo, kWarning, kError };

// Messages below `level` are dropped; the default is kInfo.
void SetLogLevel(LogLevel level);

void LogDebug(std::string_view message, LogFields fields = {});
void LogInfo(std::string_view message, LogFields fields = {});
void LogWarning(std::string_view message, LogFields fields = {});
void LogError(std::string_view message, LogFields fields = {});

}  // namespace engram
