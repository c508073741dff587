#pragma once

// Byte pair encoding: a piece's characters (byte-level: its bytes) are merged pair by pair, the pair first learned first
// and of several the leftmost. Equal to huggingface/tokenizers' BPE without dropout.

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/base/status.h"
#include "core/tokenize/piece_model.h"

namespace engram::tokenize {

struct BpeOptions {
  // The vocabulary spells bytes as GPT-2 does: one printable character for each ("Ġ" is a space).
  bool byte_level = false;
  // A character without a token becomes the tokens <0x00> to <0xFF> of its bytes.
  bool byte_fallback = false;
  bool ignore_merges = false;  // a piece that is a token is that token, whatever its merges
  bool fuse_unknown = false;   // neighbouring characters without a token are one unknown token
  std::string unknown;         // empty: there is none
};

// The bytes that a token spells in GPT-2's alphabet; nullopt if a character of it is none of the alphabet's.
std::optional<std::string> BytesOfSpelling(std::string_view token);

class BpeModel final : public PieceModel {
 public:
  using Merges = std::vector<std::pair<std::string, std::string>>;
  // `tokens` by their ids. INVALID_ARGUMENT for a token that occurs twice, a merge of or to something that is no token,
  // and a vocabulary under which a character of a text could be lost (no unknown token; bytes that are missing).
  static absl::StatusOr<std::unique_ptr<BpeModel>> Create(std::vector<std::string> tokens, const Merges& merges,
                                                          const BpeOptions& options);

  // O(n log n) in the length of a piece, linear in the number of pieces.
  void Append(std::string_view piece, std::vector<ModelToken>& out) const override;
  const std::vector<std::string>& tokens() const override { return tokens_; }

 private:
  struct Symbol {
    int32_t id;  // -1: merged into the one before it
    int32_t before, behind;
    uint32_t begin;
  };
  struct Merge {
    uint64_t pair;  // left << 32 | right
    uint32_t rank;
    int32_t whole;
  };

  explicit BpeModel(const BpeOptions& options) : options_(options) {}
  absl::Status IndexTokens(std::vector<std::string> tokens);
  absl::Status IndexCharacters();
  absl::Status IndexMerges(const Merges& merges);
  void IndexWholePieces();

  // The merge of two tokens; nullptr if there is none.
  const Merge* FindMerge(int32_t left, int32_t right) const;
  // A part of a piece that no merge crosses the ends of, at byte `offset` of the piece.
  void AppendPart(std::string_view part, uint32_t offset, std::vector<ModelToken>& out) const;
  void Start(std::string_view part, std::vector<Symbol>& symbols) const;
  void MergeShort(std::vector<Symbol>& symbols) const;
  void MergeLong(std::vector<Symbol>& symbols) const;
  static void Join(std::vector<Symbol>& symbols, int32_t at, int32_t whole);

  const BpeOptions options_;
  std::vector<std::string> tokens_;
  std::unordered_map<std::string, int32_t> by_bytes_;    // what a token covers of a text -> its id
  std::unordered_map<std::string_view, int32_t> whole_;  // pieces that are one token
  std::array<int32_t, 256> bytes_{};                     // the token of each byte (byte level, byte fallback); -1: none
  std::array<int32_t, 128> ascii_{};                     // the token of each ASCII character; -1: none
  int32_t unknown_ = -1;
  std::vector<Merge> merges_;  // a hash table, at most half full
  uint64_t mask_ = 0;
  std::vector<int32_t> wholes_;  // of each rank
  bool parts_at_mark_ = false;   // no merge crosses the beginning of a "▁" behind another character
};

}  // namespace engram::tokenize
