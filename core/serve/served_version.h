#pragma once

// A version as it serves: weights on a device, tokenizer, tag sets. Immutable and thread-safe once made.

#include <map>
#include <memory>
#include <string>

#include "core/base/status.h"
#include "core/nn/sentence_vectors.h"
#include "core/nn/version.h"
#include "core/tagging/bio.h"
#include "core/tokenize/tokenizer.h"
#include "core/train/task_router.h"

namespace engram::serve {

struct ServedVersion {
  std::string model;  // short name
  int64_t number = 0;
  nn::Version version;
  std::unique_ptr<tokenize::Tokenizer> tokenizer;
  std::map<std::string, tagging::TagSet> tag_sets;  // of the token-classification tasks
  // How a text becomes a vector. FAILED_PRECONDITION for a version that was imported before all modules were read, and whose vector is
  // another than Engram can tell.
  absl::StatusOr<nn::SentenceVectors> vectors = absl::UnavailableError("not loaded");
  int64_t bytes = 0;         // of memory, as loading took it
  train::TaskRouter router;  // empty: no training was told to count for one

  int64_t max_tokens() const { return version.model->config().max_length(); }
  const checkpoint::ManifestTask* FindTask(const std::string& task) const;
};

// Loads and checks a directory; every file's digest is verified. Blocks for as long as that takes.
absl::StatusOr<std::shared_ptr<const ServedVersion>> LoadServedVersion(const std::string& model, int64_t number,
                                                                       const std::string& directory, at::Device device,
                                                                       nn::Precision precision);

}  // namespace engram::serve
