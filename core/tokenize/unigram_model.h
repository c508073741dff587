#pragma once

// SentencePiece's Unigram model: of all ways to cut a piece into tokens the one with the greatest sum of scores
// (Viterbi). Equal to huggingface/tokenizers' Unigram.

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/base/status.h"
#include "core/tokenize/piece_model.h"
#include "core/tokenize/vocabulary.h"

namespace engram::tokenize {

class UnigramModel final : public PieceModel {
 public:
  // Tokens with their scores, by their ids. INVALID_ARGUMENT for a score that is no number, a token that occurs twice or
  // is empty, an unknown token outside the vocabulary, and byte_fallback without the tokens of all bytes.
  static absl::StatusOr<std::unique_ptr<UnigramModel>> Create(std::vector<std::pair<std::string, double>> vocabulary,
                                                              int64_t unknown, bool byte_fallback);

  // O(bytes of the piece * bytes of the longest token).
  void Append(std::string_view piece, std::vector<ModelToken>& out) const override;
  const std::vector<std::string>& tokens() const override { return tokens_; }

 private:
  struct Node {  // the best cut of what lies before a byte
    double score = 0;
    uint32_t begin = kNone;  // of its last token
    int32_t id = -1;
  };
  static constexpr uint32_t kNone = ~uint32_t{0};

  UnigramModel() = default;
  void Search(std::string_view piece, std::vector<Node>& ends) const;
  void AppendBest(std::string_view piece, std::vector<ModelToken>& out) const;
  void Emit(std::string_view text, uint32_t begin, int32_t id, std::vector<ModelToken>& out) const;

  std::vector<std::string> tokens_;
  Vocabulary vocabulary_;
  std::vector<double> scores_;
  std::vector<bool> whole_;     // of each token whether a piece that it is becomes it alone
  std::vector<int32_t> bytes_;  // the token of each byte; empty without byte fallback
  double unknown_score_ = 0;
  int32_t unknown_ = -1;
};

}  // namespace engram::tokenize
