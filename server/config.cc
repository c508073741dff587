#include "server/config.h"

#include <yaml-cpp/yaml.h>

#include <map>
#include <set>
#include <utility>
#include <variant>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "core/base/strict_json.h"

namespace engram::server {
namespace {

struct Whole {
  int64_t Config::*member;
  int64_t low, high;
};
using Field = std::variant<std::string Config::*, bool Config::*, std::vector<std::string> Config::*, Whole>;

// The one table of keys.
const std::map<std::string, Field>& Fields() {
  static const std::map<std::string, Field> fields = {
      {"data_dir", &Config::data_dir},
      {"grpc_address", &Config::grpc_address},
      {"admin_address", &Config::admin_address},
      {"allow_insecure_public", &Config::allow_insecure_public},
      {"devices", &Config::devices},
      {"worker_threads", Whole{&Config::worker_threads, 0, 4096}},
      {"worker_program", &Config::worker_program},
      {"inference_device", &Config::inference_device},
      {"inference_threads", Whole{&Config::inference_threads, 0, 4096}},
      {"inference_precision", &Config::inference_precision},
      {"max_loaded_versions", Whole{&Config::max_loaded_versions, 1, 10'000}},
      {"batch_tokens", Whole{&Config::batch_tokens, 16, 1 << 24}},
      {"queue_tokens", Whole{&Config::queue_tokens, 16, int64_t{1} << 40}},
      {"max_texts", Whole{&Config::max_texts, 1, 1'000'000}},
      {"max_message_mb", Whole{&Config::max_message_mb, 1, 2047}},
      {"max_dataset_mb", Whole{&Config::max_dataset_mb, 1, 1 << 20}},
      {"max_model_mb", Whole{&Config::max_model_mb, 1, 1 << 24}},
      {"job_queue_limit", Whole{&Config::job_queue_limit, 1, 1'000'000}},
      {"checkpoint_every_steps", Whole{&Config::checkpoint_every_steps, 0, 1'000'000'000}},
      {"drain_seconds", Whole{&Config::drain_seconds, 0, 86'400}},
      {"log_level", &Config::log_level},
  };
  return fields;
}

absl::Status Assign(const std::string& key, const Field& field, const YAML::Node& value, Config& config) {
  if (const auto* list = std::get_if<std::vector<std::string> Config::*>(&field)) {
    if (!value.IsSequence() || value.size() == 0) return InvalidField(key, "must be a list with at least one entry");
    (config.**list).clear();
    for (const YAML::Node& entry : value) {
      if (!entry.IsScalar()) return InvalidField(key, "must be a list of texts");
      (config.**list).push_back(entry.Scalar());
    }
    return absl::OkStatus();
  }
  if (!value.IsScalar()) return InvalidField(key, "must be a single value");
  if (const auto* text = std::get_if<std::string Config::*>(&field)) {
    config.** text = value.Scalar();
  } else if (const auto* flag = std::get_if<bool Config::*>(&field)) {
    if (value.Scalar() != "true" && value.Scalar() != "false") return InvalidField(key, "must be true or false");
    config.** flag = value.Scalar() == "true";
  } else {
    const Whole& whole = std::get<Whole>(field);
    int64_t number = 0;
    if (!absl::SimpleAtoi(value.Scalar(), &number) || number < whole.low || number > whole.high) {
      return InvalidField(key, absl::StrCat("must be a whole number in [", whole.low, ", ", whole.high, "]"));
    }
    config.*whole.member = number;
  }
  return absl::OkStatus();
}

absl::Status CheckAddress(const std::string& key, const std::string& address, bool public_allowed) {
  const size_t colon = address.rfind(':');
  int port = -1;
  if (colon == std::string::npos || colon == 0 || !absl::SimpleAtoi(address.substr(colon + 1), &port) || port < 0 ||
      port > 65535) {
    return InvalidField(key, "must be HOST:PORT, such as 127.0.0.1:7860");
  }
  const std::string host = address.substr(0, colon);
  const bool loopback = host == "localhost" || host == "[::1]" || host.starts_with("127.");
  if (loopback || public_allowed) return absl::OkStatus();
  return InvalidField(
      key,
      "is no loopback address, and this server has neither TLS nor authentication; put it behind a proxy that has, "
      "and set allow_insecure_public: true");
}

absl::Status CheckChoice(const std::string& key, const std::string& value, const std::set<std::string>& choices) {
  if (choices.contains(value)) return absl::OkStatus();
  std::string list;
  for (const std::string& choice : choices) absl::StrAppend(&list, list.empty() ? "" : ", ", choice);
  return InvalidField(key, absl::StrCat("must be one of ", list));
}

absl::Status Check(const Config& config) {
  if (config.data_dir.empty())
    return InvalidField("data_dir", "is missing; name the directory that holds the server's state");
  ENGRAM_RETURN_IF_ERROR(CheckAddress("grpc_address", config.grpc_address, config.allow_insecure_public));
  ENGRAM_RETURN_IF_ERROR(CheckAddress("admin_address", config.admin_address, config.allow_insecure_public));
  ENGRAM_RETURN_IF_ERROR(CheckChoice("inference_precision", config.inference_precision, {"auto", "fp32", "bf16"}));
  ENGRAM_RETURN_IF_ERROR(CheckChoice("log_level", config.log_level, {"debug", "info", "warning", "error"}));
  return absl::OkStatus();
}

}  // namespace

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
  std::set<std::string> known, seen;
  for (const auto& [key, field] : Fields()) known.insert(key);
  for (const auto& entry : root) {
    const std::string key = entry.first.IsScalar() ? entry.first.Scalar() : "";
    const auto field = Fields().find(key);
    if (field == Fields().end()) {
      const std::string nearest = NearestName(key, known);
      return InvalidField(key.empty() ? "config" : key,
                          nearest.empty()
                              ? "is no key of the configuration"
                              : absl::StrCat("is no key of the configuration; did you mean ", nearest, "?"));
    }
    if (!seen.insert(key).second) return InvalidField(key, "is there twice");
    ENGRAM_RETURN_IF_ERROR(Assign(key, field->second, entry.second, config));
  }
  if (!data_dir.empty()) config.data_dir = data_dir;
  ENGRAM_RETURN_IF_ERROR(Check(config));
  return config;
}

}  // namespace engram::server
