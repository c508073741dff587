#pragma once

#include <optional>
#include <string>

#include "core/base/status.h"
#include "core/checkpoint/manifest.h"
#include "core/nn/model.h"
#include "core/tokenize/tokenizer.h"

namespace engram::server {

// An imported tagger whose labels are O, and B-x for each I-x, may be of BIO2 or of IOB1. What a few sentences with names
// say: a sentence for whoever imports it, where most of the entities that it finds begin with I-x, as in IOB1; nullopt
// where they do not, where it finds too few, and for all other heads. Errors are those of the model's pass.
absl::StatusOr<std::optional<std::string>> LooksLikeIob1(const nn::Model& model, const checkpoint::ManifestTask& task,
                                                         const tokenize::Tokenizer& tokenizer);

}  // namespace engram::server
