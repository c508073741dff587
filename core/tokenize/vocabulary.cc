#include "core/tokenize/vocabulary.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace engram::tokenize {

absl::StatusOr<Vocabulary> Vocabulary::Create(std::vector<std::string> tokens, std::string_view continuation_prefix,
                                              size_t in_words) {
  Vocabulary vocabulary;
  vocabulary.tokens_ = std::move(tokens);
  size_t edges = 0;  // at most one a byte in each of the two tries
  for (const std::string& token : vocabulary.tokens_)
    edges += token.starts_with(continuation_prefix) ? 2 * token.size() - continuation_prefix.size() : token.size();
  // A node's number has 24 bits in an edge's key.
  if (edges >= (size_t{1} << 24) - 3)
    return InvalidField("vocabulary", "is too large: its tokens hold more than 16 MiB, continuations counted twice");
  uint32_t bits = 8;  // at most half full, so that a probe is short and a missing edge is found to be missing
  while ((size_t{1} << bits) < 2 * edges) ++bits;
  vocabulary.edges_.resize(size_t{1} << bits);
  vocabulary.shift_ = 32 - bits;
  vocabulary.mask_ = (uint32_t{1} << bits) - 1;
  vocabulary.ids_.assign(3, -1);
  for (size_t id = 0; id < vocabulary.tokens_.size(); ++id) {
    const std::string_view token = vocabulary.tokens_[id];
    if (!vocabulary.by_text_.emplace(token, static_cast<int32_t>(id)).second) {
      return InvalidField("vocabulary", absl::StrCat("token number ", id, " occurs twice"));
    }
    if (id >= in_words) continue;
    vocabulary.Insert(kWordRoot, token, static_cast<int32_t>(id));
    if (token.starts_with(continuation_prefix)) {
      vocabulary.Insert(kContinuationRoot, token.substr(continuation_prefix.size()), static_cast<int32_t>(id));
    }
  }
  return vocabulary;
}

void Vocabulary::Insert(uint32_t root, std::string_view text, int32_t id) {
  if (text.empty()) return;
  uint32_t node = root;
  for (const char c : text) {
    const unsigned char byte = static_cast<unsigned char>(c);
    uint32_t child = Step(node, byte);
    if (child == 0) {
      child = static_cast<uint32_t>(ids_.size());
      ids_.push_back(-1);
      const uint32_t key = node << 8 | byte;
      uint32_t slot = key * 0x9E3779B1u >> shift_;
      while (edges_[slot].key != 0) slot = (slot + 1) & mask_;
      edges_[slot] = {key, child};
    }
    node = child;
  }
  ids_[node] = id;
}

int32_t Vocabulary::Find(std::string_view token) const {
  auto found = by_text_.find(token);
  return found == by_text_.end() ? -1 : found->second;
}

}  // namespace engram::tokenize
