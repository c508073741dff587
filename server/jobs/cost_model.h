#pragma once

// What work on a version takes, from the files of the version and the texts of a data set. Kinds of jobs put their
// estimates together from it.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/status.h"
#include "core/checkpoint/manifest.h"
#include "core/checkpoint/model_config.h"
#include "core/checkpoint/task_kind.h"
#include "core/jobs/store.h"
#include "core/tokenize/tokenizer.h"
#include "core/train/train_options.h"
#include "engram/v1/job.pb.h"
#include "server/jobs/plan_context.h"

namespace engram::server {

inline constexpr int64_t kFloatBytes = 4, kBFloat16Bytes = 2;
// Of a larger data set this many texts are counted, evenly spread, and the rest is extrapolated.
inline constexpr int64_t kMaxCountedTexts = 4096;

// Texts of one part of a data set as the worker would see them.
struct CountedTexts {
  std::vector<int32_t> lengths;  // of the examples, in tokens, ascending
  std::vector<int64_t> sources;  // the text that each of them is of
  int64_t tokens = 0;
  double scale = 1;   // how many texts of the data set each counted one stands for
  int64_t texts = 0;  // fewer than examples where long sentences are several windows
  int64_t cut = 0;    // texts that lose something

  int64_t examples() const { return static_cast<int64_t>(lengths.size()); }
  int64_t Scaled(int64_t count) const;
  // Adds the warning that texts are cut, if any are. `which` they are: "training texts"; `window`: what the model
  // takes.
  void WarnOfCuts(std::string_view which, int64_t max_length, int64_t window, engram::v1::JobEstimate& out) const;
};

// A version as an estimate sees it. Read once per estimate; not thread-safe.
struct VersionCosts {
  checkpoint::ModelConfig config;
  checkpoint::VersionManifest manifest;
  std::unique_ptr<tokenize::Tokenizer> tokenizer;
  int64_t max_tokens = 0;    // the model's window
  int64_t size_bytes = 0;    // of the whole version
  int64_t model_bytes = 0;   // model.safetensors: the encoder, and small beside it the default head
  int64_t weight_bytes = 0;  // with the other heads

  static absl::StatusOr<VersionCosts> Open(const PlanContext& context, const std::string& model, int64_t number);
  // NOT_FOUND if the version has not learned it.
  absl::StatusOr<const checkpoint::ManifestTask*> FindTask(const std::string& name) const;
  // `path`: canonical JSON Lines with `rows` lines. Tokenizes up to kMaxCountedTexts of them.
  absl::StatusOr<CountedTexts> Count(const std::string& path, int64_t rows, checkpoint::TaskKind kind,
                                     const std::vector<std::string>& labels, int64_t max_length,
                                     train::LongTexts long_texts) const;
  // The same as a task that was learned reads them.
  absl::StatusOr<CountedTexts> Count(const std::string& path, int64_t rows, const checkpoint::ManifestTask& task) const;
};

// A step takes the forward products once, and twice as many backwards.
inline constexpr double kForwardPass = 1, kForwardAndBackwardPass = 3;

// Size of a version's model.safetensors; 0 if it is not there.
int64_t ModelFileBytes(const DataPaths& paths, const std::string& model, int64_t number);

// Multiply-adds per second of the product that a job's layers call, on this machine's CPU. Measured when it is first
// asked, which takes a tenth of a second of all cores. Thread-safe.
absl::StatusOr<double> ProductSpeed(bool bf16);

}  // namespace engram::server
