#include "server/inference/inference_call.h"

#include "absl/strings/str_cat.h"
#include "core/jobs/store.h"
#include "core/serve/engine.h"
#include "core/serve/model_set.h"
#include "server/rpc/names.h"

namespace engram::server {

InferenceCall::InferenceCall(const InferenceBackend& backend, const grpc::CallbackServerContext& context,
                             const google::protobuf::Message& reply, const char* method, WorkPool::Length length)
    : UnaryCall(backend.environment, context, reply, method, backend.pool, length), backend_(backend) {}

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

absl::Status InferenceCall::OpenVersion(const std::string& model, const std::string& version) {
  ENGRAM_ASSIGN_OR_RETURN(version_, OpenServedVersion(backend_, model, version));
  opened_ = backend_.environment.clock.Now();
  return absl::OkStatus();
}

double InferenceCall::SecondsSinceOpened() const {
  return absl::ToDoubleSeconds(backend_.environment.clock.Now() - opened_);
}

absl::Status InferenceCall::CheckTexts(const google::protobuf::RepeatedPtrField<std::string>& texts) const {
  if (texts.empty() || texts.size() > backend_.max_texts) {
    return InvalidField(
        "texts", absl::StrCat("are ", texts.size(), "; one call takes 1 to ", backend_.max_texts, ": send more calls"));
  }
  int64_t bytes = 0;
  for (const std::string& text : texts) bytes += static_cast<int64_t>(text.size());
  if (bytes <= kMaxTextBytes) return absl::OkStatus();
  return InvalidField(
      "texts", absl::StrCat("have ", bytes, " bytes together; one call takes ", kMaxTextBytes, ": send more calls"));
}

absl::Status InferenceCall::CheckPairs(const google::protobuf::RepeatedPtrField<std::string>& texts,
                                       const google::protobuf::RepeatedPtrField<std::string>& pairs) {
  if (!pairs.empty() && pairs.size() != texts.size()) {
    return InvalidField(
        "text_pairs", absl::StrCat("are ", pairs.size(), " for ", texts.size(), " texts; send one for each, or none"));
  }
  int64_t bytes = 0;
  for (const std::string& text : pairs) bytes += static_cast<int64_t>(text.size());
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
