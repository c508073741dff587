#include "server/inference/inference_call.h"

#include "absl/strings/str_cat.h"
#include "core/jobs/store.h"
#include "core/serve/engine.h"
#include "core/serve/model_set.h"
#include "server/rpc/names.h"

namespace engram::server {

int64_t BytesOf(const Texts& texts) {
  int64_t bytes = 0;
  for (const std::string& text : texts) bytes += static_cast<int64_t>(text.size());
  return bytes;
}

WorkPool& PoolFor(const InferenceBackend& backend, int64_t bytes) {
  constexpr int64_t kFewBytes = 64 << 10;  // tokenized in some milliseconds
  return bytes <= kFewBytes ? backend.pool : backend.bulk;
}

InferenceCall::InferenceCall(const InferenceBackend& backend, const grpc::CallbackServerContext& context,
                             const google::protobuf::Message& reply, const char* method, WorkPool& pool,
                             const std::string& model, const std::string& version)
    : UnaryCall(backend.environment, context, reply, method, pool, WorkPool::Length::kShort),
      backend_(backend),
      model_(model),
      asked_version_(version) {}

void InferenceCall::Work() {
  const auto find = [this]() -> absl::StatusOr<std::pair<std::string, int64_t>> {
    ENGRAM_ASSIGN_OR_RETURN(std::string name, ParseName("model", "models", model_));
    ENGRAM_ASSIGN_OR_RETURN(const int64_t number, backend_.store.ResolveVersion(name, asked_version_));
    return std::pair(std::move(name), number);
  };
  if (const auto version = find(); version.ok()) {
    auto there = backend_.models.Fetch(
        version->first, version->second,
        [this](std::function<void()> load) { backend_.loads.Schedule(std::move(load)); },
        [this](const absl::StatusOr<serve::ModelSet::Pointer>& loaded) {
          found_ = loaded;
          Schedule([this] { WorkOnVersion(); });
        });
    if (there == nullptr) return;
    found_ = std::move(there);
  } else {
    found_ = version.status();
  }
  WorkOnVersion();
}

void InferenceCall::End(const absl::Status& status) {
  backend_.engine.health().Note(status);
  UnaryCall::End(status);
}

absl::StatusOr<std::shared_ptr<const serve::ServedVersion>> OpenServedVersion(const InferenceBackend& backend,
                                                                              const std::string& model,
                                                                              const std::string& version) {
  ENGRAM_ASSIGN_OR_RETURN(const std::string name, ParseName("model", "models", model));
  ENGRAM_ASSIGN_OR_RETURN(const int64_t number, backend.store.ResolveVersion(name, version));
  return backend.models.Get(name, number);
}

absl::Status InferenceCall::OpenVersion() {
  ENGRAM_RETURN_IF_ERROR(scope_.Alive());  // it may have been loaded for long
  ENGRAM_ASSIGN_OR_RETURN(version_, std::move(found_));
  opened_ = backend_.environment.clock.Now();
  return absl::OkStatus();
}

double InferenceCall::SecondsSinceOpened() const {
  return absl::ToDoubleSeconds(backend_.environment.clock.Now() - opened_);
}

absl::Status InferenceCall::CheckTexts(const Texts& texts) const {
  if (texts.empty() || texts.size() > backend_.max_texts) {
    return InvalidField(
        "texts", absl::StrCat("are ", texts.size(), "; one call takes 1 to ", backend_.max_texts, ": send more calls"));
  }
  const int64_t bytes = BytesOf(texts);
  if (bytes <= kMaxTextBytes) return absl::OkStatus();
  return InvalidField(
      "texts", absl::StrCat("have ", bytes, " bytes together; one call takes ", kMaxTextBytes, ": send more calls"));
}

absl::Status InferenceCall::CheckPairs(const Texts& texts, const Texts& pairs) {
  if (!pairs.empty() && pairs.size() != texts.size()) {
    return InvalidField(
        "text_pairs", absl::StrCat("are ", pairs.size(), " for ", texts.size(), " texts; send one for each, or none"));
  }
  const int64_t bytes = BytesOf(pairs);
  if (bytes <= kMaxTextBytes) return absl::OkStatus();
  return InvalidField("text_pairs", absl::StrCat("have ", bytes, " bytes together; one call takes ", kMaxTextBytes,
                                                 ": send more calls"));
}

absl::Status InferenceCall::AddTokens(size_t count) {
  ENGRAM_RETURN_IF_ERROR(scope_.Alive());
  tokens_ += static_cast<int64_t>(count);
  if (tokens_ <= kMaxTokens) return absl::OkStatus();
  return InvalidField(
      "texts", absl::StrCat("have more than ", kMaxTokens, " tokens, which is what one call takes: send more calls"));
}

}  // namespace engram::server
