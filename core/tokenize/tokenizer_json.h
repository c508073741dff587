#pragma once

// The parts of tokenizer.json. For .cc files: this header brings nlohmann/json.

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/strict_json.h"
#include "core/tokenize/added_tokens.h"
#include "core/tokenize/framed_tokenizer.h"
#include "core/tokenize/piece_tokenizer.h"

namespace engram::tokenize {

// The file's object, with known keys alone.
absl::StatusOr<nlohmann::json> ParseTokenizerJson(std::string_view text);

// What the model is: "WordPiece", "BPE", "Unigram". INVALID_ARGUMENT for any other. Files from before tokenizers 0.9 do
// not say it: then, as tokenizers does, by what it holds.
absl::StatusOr<std::string> ModelTypeOf(const nlohmann::json& json);

// A boolean that may be absent or null; then `absent`.
bool ReadFlag(ObjectReader& reader, const char* key, bool absent);
// The texts of each id of an object of tokens and ids, which must leave no hole.
absl::StatusOr<std::vector<std::string>> ReadVocabularyObject(const nlohmann::json& vocabulary);
absl::StatusOr<std::vector<AddedToken>> ReadAddedTokenList(const nlohmann::json& json);

// post_processor, of every kind.
struct PostProcessing {
  Template frame = Template::None();
  std::optional<bool> trim_offsets;  // as PieceTokenizerOptions have it
};
// `find`: the id of a token, -1 if there is none. INVALID_ARGUMENT for one that is not understood, or that gives a token
// another id than it has.
absl::StatusOr<PostProcessing> ReadPostProcessor(const nlohmann::json& json,
                                                 const std::function<int64_t(const std::string&)>& find);

// Everything that a BPE or Unigram tokenizer.json says; cls and sep are what its template has first and last.
// INVALID_ARGUMENT naming the part that is not understood.
absl::StatusOr<PieceTokenizerOptions> ReadPieceTokenizer(const nlohmann::json& json);

}  // namespace engram::tokenize
