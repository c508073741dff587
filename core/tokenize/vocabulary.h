#pragma once

// The WordPiece vocabulary as one trie over bytes for whole words and one for continuations ("##..."), in one hash
// table: a step is one probe, so the greedy longest match costs one probe a byte.

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/base/status.h"

namespace engram::tokenize {

// Immutable after it is made, thread-safe.
class Vocabulary {
 public:
  // tokens[id]. Only the first `in_words` are parts of words (the model's own); the others have an id and a text alone.
  // INVALID_ARGUMENT for a token that occurs twice.
  static absl::StatusOr<Vocabulary> Create(std::vector<std::string> tokens, std::string_view continuation_prefix,
                                           size_t in_words = std::numeric_limits<size_t>::max());

  // The longest token that is a prefix of `text` (a word's rest; `continuation`: not its beginning). Returns its id and
  // sets `length` in bytes; -1 if there is none.
  int32_t LongestPrefix(std::string_view text, bool continuation, size_t& length) const {
    uint32_t node = continuation ? kContinuationRoot : kWordRoot;
    int32_t best = -1;
    for (size_t i = 0; i < text.size(); ++i) {
      node = Step(node, static_cast<unsigned char>(text[i]));
      if (node == 0) break;
      if (ids_[node] >= 0) {
        best = ids_[node];
        length = i + 1;
      }
    }
    return best;
  }

  // take(id, length in bytes) for each token that is a prefix of `text` (a word's beginning), the shortest first.
  template <typename Take>
  void ForEachPrefix(std::string_view text, const Take& take) const {
    uint32_t node = kWordRoot;
    for (size_t i = 0; i < text.size(); ++i) {
      node = Step(node, static_cast<unsigned char>(text[i]));
      if (node == 0) return;
      if (ids_[node] >= 0) take(ids_[node], i + 1);
    }
  }

  int32_t Find(std::string_view token) const;
  std::string_view Token(int32_t id) const {
    return id >= 0 && id < size() ? std::string_view(tokens_[id]) : std::string_view();
  }
  int32_t size() const { return static_cast<int32_t>(tokens_.size()); }

 private:
  static constexpr uint32_t kWordRoot = 1, kContinuationRoot = 2;
  struct Edge {
    uint32_t key = 0;  // parent << 8 | byte; 0: free (node 0 is nobody's parent)
    uint32_t child = 0;
  };

  uint32_t Step(uint32_t node, unsigned char byte) const {
    const uint32_t key = node << 8 | byte;
    for (uint32_t slot = key * 0x9E3779B1u >> shift_;; slot = (slot + 1) & mask_) {
      if (edges_[slot].key == key) return edges_[slot].child;
      if (edges_[slot].key == 0) return 0;
    }
  }
  void Insert(uint32_t root, std::string_view text, int32_t id);

  std::vector<std::string> tokens_;
  std::unordered_map<std::string_view, int32_t> by_text_;
  std::vector<Edge> edges_;
  std::vector<int32_t> ids_;  // of each node
  uint32_t shift_ = 0, mask_ = 0;
};

}  // namespace engram::tokenize
