#pragma once

#include <cstdint>
#include <string>

#include "core/base/status.h"
#include "core/checkpoint/manifest.h"
#include "core/nn/model.h"
#include "core/tokenize/tokenizer.h"

namespace engram::server {

// How an imported tagger is read, and a sentence about it for whoever imports it; both empty where the labels say it, and
// where nothing speaks against BIO2.
struct TagTrial {
  std::string scheme;  // ManifestTask::tag_scheme
  std::string said;
};

// Labels that are O, and B-x for each I-x, are those of BIO2 and of IOB1. What a few sentences with names say: where most
// of the entities found begin with I-x, it is IOB1; where too few are found, it stays open, and both are read; else it is
// BIO2. Errors are those of the model's pass.
absl::StatusOr<TagTrial> TryTagScheme(const nn::Model& model, const checkpoint::ManifestTask& task,
                                      const tokenize::Tokenizer& tokenizer);

// The same from what was found: entities that begin with B-x, and with I-x behind none of their type.
TagTrial JudgeTagScheme(int64_t begin, int64_t inside);

}  // namespace engram::server
