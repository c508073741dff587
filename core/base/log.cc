#include "core/base/log.h"

#include <memory>

#include "nlohmann/json.hpp"
#include "spdlog/sinks/stdout_sinks.h"
#include "spdlog/spdlog.h"

namespace engram {
namespace {

spdlog::logger& Logger() {
  static const std::shared_ptr<spdlog::logger> logger = [] {
    auto made = std::make_shared<spdlog::logger>("engram", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    // The payload is the tail of a JSON object, rendered by Write below.
    made->set_pattern(R"({"time":"%Y-%m-%dT%H:%M:%S.%eZ","level":"%l",%v})", spdlog::pattern_time_type::utc);
    made->set_level(spdlog::level::info);
    made->flush_on(spdlog::level::debug);
    return made;
  }();
  return *logger;
}

std::string Quoted(std::string_view text) {
  return nlohmann::json(std::string(text)).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

void Write(spdlog::level::level_enum level, std::string_view message, LogFields fields) {
  if (!Logger().should_log(level)) return;
  std::string line = "\"message\":" + Quoted(message);
  for (const auto& [key, value] : fields) line += "," + Quoted(key) + ":" + Quoted(value);
  Logger().log(level, "{}", line);
}

}  // namespace

void SetLogLevel(LogLevel level) {
  constexpr spdlog::level::level_enum kLevels[] = {spdlog::level::debug, spdlog::level::info, spdlog::level::warn,
                                                   spdlog::level::err};
  Logger().set_level(kLevels[static_cast<int>(level)]);
}

void LogDebug(std::string_view message, LogFields fields) { Write(spdlog::level::debug, message, fields); }
void LogInfo(std::string_view message, LogFields fields) { Write(spdlog::level::info, message, fields); }
void LogWarning(std::string_view message, LogFields fields) { Write(spdlog::level::warn, message, fields); }
void LogError(std::string_view message, LogFields fields) { Write(spdlog::level::err, message, fields); }

}  // namespace engram
