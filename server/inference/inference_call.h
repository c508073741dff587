#pragma once

// What calls that ask a version have in common: finding and opening the version, limits on the texts, the end of the
// reply. BatchedCall (batched_call.h) sends sequences through the device's batches, PoolCall (below) computes by itself.

#include <cstdint>
#include <memory>
#include <string>

#include "core/serve/served_version.h"
#include "engram/v1/inference.pb.h"
#include "server/inference/inference_backend.h"
#include "server/rpc/unary.h"

namespace engram::server {

// What one call may ask of the server's memory: a token's place in an answer takes a hundred bytes.
inline constexpr int64_t kMaxTextBytes = 16 << 20, kMaxTokens = 1 << 20;

using Texts = google::protobuf::RepeatedPtrField<std::string>;

int64_t BytesOf(const Texts& texts);
// Where a call of so many bytes is tokenized: what takes milliseconds waits for nothing that takes a second.
WorkPool& PoolFor(const InferenceBackend& backend, int64_t bytes);

// ParseName, ResolveVersion, ModelSet::Get: blocks while the version is loaded.
absl::StatusOr<std::shared_ptr<const serve::ServedVersion>> OpenServedVersion(const InferenceBackend& backend,
                                                                              const std::string& model,
                                                                              const std::string& version);

class InferenceCall : public UnaryCall {
 public:
  // `pool`: where it works. `model`, `version`: the request's, which lives as long as the call.
  InferenceCall(const InferenceBackend& backend, const grpc::CallbackServerContext& context,
                const google::protobuf::Message& reply, const char* method, WorkPool& pool, const std::string& model,
                const std::string& version);

 protected:
  // In the pool, once the version is in memory, or it is known why it cannot be. Leads to End, once, at once or later.
  virtual void WorkOnVersion() = 0;
  // The version of the call; or why there is none.
  absl::Status OpenVersion();
  // Seconds since OpenVersion: loading, where it was needed, is no part of the call's own time.
  double SecondsSinceOpened() const;
  // INVALID_ARGUMENT unless they are 1 to max_texts of together at most kMaxTextBytes.
  absl::Status CheckTexts(const Texts& texts) const;
  // INVALID_ARGUMENT if there are second texts, but not one for each text, or more than kMaxTextBytes of them.
  static absl::Status CheckPairs(const Texts& texts, const Texts& pairs);
  // Counts tokens of the call's texts: INVALID_ARGUMENT beyond kMaxTokens; CANCELLED or DEADLINE_EXCEEDED once nobody
  // waits any more. For calls that take texts of any length, before they make anything of the tokens.
  absl::Status AddTokens(size_t count);
  // Ends the call, and tells the device's health how.
  void End(const absl::Status& status) override;

  const InferenceBackend& backend_;
  std::shared_ptr<const serve::ServedVersion> version_;
  engram::v1::Timings timings_;

 private:
  // Finds the version, and waits for it without holding a thread where it has to be loaded.
  void Work() final;

  const std::string &model_, &asked_version_;
  absl::StatusOr<std::shared_ptr<const serve::ServedVersion>> found_ = absl::UnknownError("not looked for");
  absl::Time opened_ = absl::InfinitePast();
  int64_t tokens_ = 0;  // of AddTokens
};

// A call that computes its answer in the pool, from end to end.
class PoolCall : public InferenceCall {
 public:
  using InferenceCall::InferenceCall;

 private:
  // Opens the version, checks the request, computes, fills the response.
  virtual absl::Status Compute() = 0;
  void WorkOnVersion() final { End(Compute()); }
};

}  // namespace engram::server
