#pragma once

// Tokenizers that are put together out of tokenizer.json's parts: normalizers, a way to cut the text into pieces, and a
// model that takes the pieces apart (byte pair encoding, Unigram).

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "core/tokenize/added_tokens.h"
#include "core/tokenize/aligned_text.h"
#include "core/tokenize/framed_tokenizer.h"
#include "core/tokenize/normalizers.h"
#include "core/tokenize/piece_model.h"
#include "core/tokenize/splitter.h"

namespace engram::tokenize {

// Pre-tokenizers, applied in their order to each piece that there is.
struct CutAtSpaces {};  // WhitespaceSplit
struct CutByPattern {   // Split, ByteLevel
  SplitPattern pattern;
  // Whether a text that does not begin with a space gets one (ByteLevel); words that the caller gives always do.
  // nullopt: neither (Split).
  std::optional<bool> add_prefix_space;
};
struct CutAtMarks {  // Metaspace
  enum class Prepend : uint8_t { kNever, kFirst, kAlways };
  std::string mark = "\u2581";         // what a space becomes
  Prepend prepend = Prepend::kAlways;  // a mark before a piece; kFirst: of the text's beginning alone
  bool cut = true;                     // a piece begins at each mark
};
using PreTokenizerStep = std::variant<CutAtSpaces, CutByPattern, CutAtMarks>;

struct PieceTokenizerOptions {
  std::vector<std::unique_ptr<const TextNormalizer>> normalizers;
  std::vector<PreTokenizerStep> pre_tokenizers;
  std::unique_ptr<const PieceModel> model;
  // Offsets leave out the spaces at a token's ends (ByteLevel and RobertaProcessing with trim_offsets); the value:
  // add_prefix_space, so that a space that was put there is not counted.
  std::optional<bool> trim_offsets;
  Template frame = Template::None();
  std::string unknown, cls, sep, pad, mask;  // empty: there is none
  std::vector<AddedToken> added;             // as for BertTokenizerOptions
  bool split_special_tokens = false;
};

// A text's pieces.
struct Pieces {
  AlignedText text;
  std::vector<Range> ranges;  // bytes of `text`, in order, none empty
};

class PieceTokenizer final : public FramedTokenizer {
 public:
  // INVALID_ARGUMENT for added tokens that AddedTokens or AppendAdded refuse, and for a template that CheckTemplate does.
  static absl::StatusOr<std::unique_ptr<PieceTokenizer>> Create(PieceTokenizerOptions options);

  int32_t vocabulary_size() const override { return static_cast<int32_t>(tokens_.size()); }
  bool lowercases() const override;
  std::string_view IdToToken(int32_t id) const override;
  int32_t TokenToId(std::string_view token) const override;

 private:
  explicit PieceTokenizer(PieceTokenizerOptions options) : options_(std::move(options)) {}

  // The spaces at the ends of what was found as an added token, by the token's place in an encoding.
  using FoundSpaces = std::vector<std::pair<size_t, std::pair<uint16_t, uint16_t>>>;

  // Words that the caller gives get the prefix space of byte-level tokenizers, as transformers asks for.
  absl::Status AppendText(std::string_view text, const EncodeOptions& options, bool word, Encoding& out) const override;
  // What AppendText writes of a part without added tokens that are found as they stand, but for places in code points.
  void AppendPart(std::string_view part, uint32_t offset, bool split_special, bool word, int32_t& words,
                  FoundSpaces& spaces, Encoding& out) const;
  void AppendPieces(const Pieces& pieces, uint32_t offset, int32_t& words, Encoding& out) const;
  void Cut(Pieces& pieces, uint32_t offset, bool word) const;
  // Takes the spaces at the tokens' ends out of their places; `from`: the first token of this text.
  void TrimOffsets(std::string_view text, size_t from, bool prefixed, const FoundSpaces& spaces, Encoding& out) const;

  PieceTokenizerOptions options_;
  std::vector<std::string> tokens_;                    // by their ids
  std::unordered_map<std::string_view, int32_t> ids_;  // of tokens_
  std::vector<std::pair<uint16_t, uint16_t>> spaces_;  // of each token: before and behind it
  AddedTokens added_;
};

}  // namespace engram::tokenize
