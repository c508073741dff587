#include "core/annotate/byte_automaton.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace engram::annotate {
namespace {

constexpr int32_t kBytes = 256;
// A gap for a state's children is sought among this many places, then they go behind everything: building stays linear.
constexpr int32_t kPlacesTried = 512;

}  // namespace

// The keys as a tree of bytes, in the order of the keys.
struct ByteAutomaton::Trie {
  struct Node {
    int32_t first_child = -1, next_sibling = -1, key = -1;
    unsigned char byte = 0;
  };
  std::vector<Node> nodes = {Node()};

  explicit Trie(const std::vector<std::string>& keys) {
    std::vector<int32_t> path = {
        0};  // the nodes of the key before; as keys are sorted, only the last child can be shared
    std::string_view before;
    for (size_t k = 0; k < keys.size(); ++k) {
      const std::string_view key = keys[k];
      const size_t shared =
          static_cast<size_t>(std::mismatch(key.begin(), key.end(), before.begin(), before.end()).first - key.begin());
      path.resize(shared + 1);
      for (size_t i = shared; i < key.size(); ++i) {
        const auto node = static_cast<int32_t>(nodes.size());
        nodes.push_back({-1, -1, -1, static_cast<unsigned char>(key[i])});
        last_child.push_back(-1);
        const int32_t sibling = last_child[path.back()];
        (sibling >= 0 ? nodes[sibling].next_sibling : nodes[path.back()].first_child) = node;
        last_child[path.back()] = node;
        path.push_back(node);
      }
      nodes[path.back()].key = static_cast<int32_t>(k);
      before = key;
    }
  }

 private:
  std::vector<int32_t> last_child = {-1};
};

absl::StatusOr<ByteAutomaton> ByteAutomaton::Build(const std::vector<std::string>& keys) {
  size_t bytes = 0;
  for (size_t k = 0; k < keys.size(); ++k) {
    if (keys[k].empty() || (k > 0 && keys[k] <= keys[k - 1]))
      return absl::InvalidArgumentError("keys must be sorted, each once, and none of them empty");
    bytes += keys[k].size();
    if (bytes > kMaxBytes) {
      return absl::ResourceExhaustedError(
          absl::StrCat("the terms are longer than ", kMaxBytes >> 20, " MiB together; use fewer"));
    }
  }
  ByteAutomaton automaton;
  automaton.Place(Trie(keys));
  return automaton;
}

void ByteAutomaton::Place(const Trie& trie) {
  states_.resize(2 * kBytes);
  keys_.resize(states_.size(), -1);
  states_[0].parent = 0;  // taken
  int32_t end = 1;        // behind the last state that is taken
  std::vector<int32_t> order = {0}, nodes = {0};
  std::vector<unsigned char> bytes = {0};  // by which each state of `order` is reached
  int32_t first_gap = 1;
  for (size_t i = 0; i < nodes.size(); ++i) {
    const int32_t state = order[i], first = trie.nodes[nodes[i]].first_child;
    keys_[state] = trie.nodes[nodes[i]].key;
    if (first < 0) continue;
    const int32_t base = FindBase(trie, first, end, first_gap);
    states_[state].base = base;
    for (int32_t child = first; child >= 0; child = trie.nodes[child].next_sibling) {
      const int32_t to = base + trie.nodes[child].byte;
      end = std::max(end, to + 1);
      if (static_cast<size_t>(end) + kBytes > states_.size()) {
        states_.resize(states_.size() + states_.size() / 2 + kBytes);
        keys_.resize(states_.size(), -1);
      }
      states_[to].parent = state;
      nodes.push_back(child);
      order.push_back(to);
      bytes.push_back(trie.nodes[child].byte);
    }
  }
  states_.resize(static_cast<size_t>(end) + kBytes);
  keys_.resize(states_.size());
  Link(order, bytes);
}

int32_t ByteAutomaton::FindBase(const Trie& trie, int32_t first, int32_t end, int32_t& first_gap) const {
  while (first_gap < end && states_[first_gap].parent >= 0) ++first_gap;
  const auto fits = [&](int32_t base) {
    for (int32_t child = first; child >= 0; child = trie.nodes[child].next_sibling) {
      const int32_t to = base + trie.nodes[child].byte;
      if (to <= 0 || states_[to].parent >= 0) return false;
    }
    return true;
  };
  // Children come in ascending order of their bytes: the first one goes into the gap.
  const int32_t last = std::min(end, first_gap + kPlacesTried);
  for (int32_t gap = std::max<int32_t>(first_gap, trie.nodes[first].byte); gap < last; ++gap) {
    if (states_[gap].parent < 0 && fits(gap - trie.nodes[first].byte)) return gap - trie.nodes[first].byte;
  }
  if (first_gap < end) ++first_gap;
  return end;
}

void ByteAutomaton::Link(const std::vector<int32_t>& order, const std::vector<unsigned char>& bytes) {
  for (int32_t byte = 0; byte < kBytes; ++byte) root_[byte] = std::max(0, Child(0, static_cast<unsigned char>(byte)));
  shorter_.resize(states_.size(), 0);
  std::vector<unsigned char> reached_by(states_.size(), 0);
  // By breadth: what a fallback points to is shorter, so it is done.
  for (size_t i = 1; i < order.size(); ++i) {
    State& state = states_[order[i]];
    reached_by[order[i]] = bytes[i];
    const bool inside = kWordBytes[reached_by[state.parent]] && kWordBytes[bytes[i]];
    state.fallback = state.parent == 0 ? 0 : Next(states_[state.parent].fallback, bytes[i], inside);
    shorter_[order[i]] = states_[state.fallback].ending;
    state.ending = keys_[order[i]] >= 0 ? order[i] : shorter_[order[i]];
  }
}

}  // namespace engram::annotate
