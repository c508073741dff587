#pragma once

// The places in a byte string where one of many keys ends: Aho and Corasick's automaton (CACM 18(6), 1975) over bytes,
// its transitions in a double array (Aoe, IEEE TSE 15(9), 1989). Linear in the text plus what it finds, whatever the
// keys are. Keys that begin inside of a word of ASCII (letters, digits, "_") are not looked for: most bytes of a text are
// passed over without a look at the keys.
//
// Example:
//   ASSIGN_OR_RETURN(ByteAutomaton automaton, ByteAutomaton::Build({"he", "she"}));
//   automaton.Scan("she hers", [](size_t end, int32_t key) { ...; return true; });   // (3, 1), (6, 0)

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/status.h"

namespace engram::annotate {

// Immutable once built; thread-safe.
class ByteAutomaton {
 public:
  // Most bytes of all keys together.
  static constexpr size_t kMaxBytes = size_t{64} << 20;

  // `keys`: sorted, each once, none empty. INVALID_ARGUMENT otherwise; RESOURCE_EXHAUSTED past kMaxBytes.
  static absl::StatusOr<ByteAutomaton> Build(const std::vector<std::string>& keys);

  // Calls found(end, key) for each key that ends at byte `end` (exclusive), ends ascending, longer keys first, until it
  // says false. Left out are keys whose first byte and the byte before it are both of words of ASCII.
  template <typename Found>
  void Scan(std::string_view text, const Found& found) const {
    int32_t state = 0;
    bool in_word = false;  // the byte before is one of a word
    for (size_t i = 0; i < text.size(); ++i) {
      const auto byte = static_cast<unsigned char>(text[i]);
      const bool inside = in_word && kWordBytes[byte];
      in_word = kWordBytes[byte];
      if (state == 0 && inside) continue;
      state = Next(state, byte, inside);
      for (int32_t s = states_[state].ending; s != 0; s = shorter_[s]) {
        if (!found(i + 1, keys_[s])) return;
      }
    }
  }

  size_t bytes() const { return states_.size() * (sizeof(State) + 2 * sizeof(int32_t)); }

 private:
  struct Trie;
  struct State {
    int32_t base = 0;      // the state after byte c is base + c, if that state's parent is this one
    int32_t parent = -1;   // -1: free
    int32_t fallback = 0;  // the state of the longest proper suffix that begins a key, not inside of a word
    int32_t ending = 0;    // the longest suffix that is a key, this state's own included; 0: none
  };
  int32_t Child(int32_t state, unsigned char byte) const {
    const int32_t to = states_[state].base + byte;
    return states_[to].parent == state ? to : -1;
  }
  // `inside`: the byte and the one before it are of a word, so that no key begins with this one.
  int32_t Next(int32_t state, unsigned char byte, bool inside) const {
    while (state != 0) {
      if (const int32_t to = Child(state, byte); to >= 0) return to;
      state = states_[state].fallback;
    }
    return inside ? 0 : root_[byte];
  }
  static constexpr std::array<bool, 256> kWordBytes = [] {
    std::array<bool, 256> of_words = {};
    for (int c = 0; c < 128; ++c)
      of_words[static_cast<size_t>(c)] =
          (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';
    return of_words;
  }();
  void Place(const Trie& trie);
  // A base at which all children (siblings from `first`) come to lie on free states.
  int32_t FindBase(const Trie& trie, int32_t first, int32_t end, int32_t& first_gap) const;
  void Link(const std::vector<int32_t>& order, const std::vector<unsigned char>& bytes);

  std::vector<State> states_;           // 0: the root; 256 free ones at the end, so that base + c is always one
  std::vector<int32_t> keys_;           // of each state: the key that ends there; -1: none
  std::vector<int32_t> shorter_;        // of each state at which a key ends: the next shorter one, as `ending`
  std::array<int32_t, 256> root_ = {};  // the root's transitions
};

}  // namespace engram::annotate
