#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace engram::corpus {

// Finds, by a hash, the place of an item that lies elsewhere, in some list: 8 to 16 bytes an item. Places are below 2^32 - 1.
class PlaceIndex {
 public:
  // The place of an item with that hash for which equals(place) holds.
  template <typename Equals>
  std::optional<uint32_t> Find(size_t hash, const Equals& equals) const {
    if (slots_.empty()) return std::nullopt;
    for (size_t at = hash & (slots_.size() - 1);; at = (at + 1) & (slots_.size() - 1)) {
      if (slots_[at] == kFree) return std::nullopt;
      if (equals(slots_[at])) return slots_[at];
    }
  }
  // An item that is not there. hash_of(place): the hash of an item that is.
  template <typename HashOf>
  void Add(size_t hash, uint32_t place, const HashOf& hash_of) {
    if (2 * (count_ + 1) > slots_.size()) {
      std::vector<uint32_t> old(slots_.empty() ? kFirstSlots : 2 * slots_.size(), kFree);
      old.swap(slots_);
      for (const uint32_t known : old) {
        if (known != kFree) Put(hash_of(known), known);
      }
    }
    Put(hash, place);
    ++count_;
  }
  size_t size() const { return count_; }

 private:
  static constexpr uint32_t kFree = UINT32_MAX;
  static constexpr size_t kFirstSlots = 16;  // a power of two, as all later sizes are

  void Put(size_t hash, uint32_t place) {
    size_t at = hash & (slots_.size() - 1);
    while (slots_[at] != kFree) at = (at + 1) & (slots_.size() - 1);
    slots_[at] = place;
  }

  std::vector<uint32_t> slots_;
  size_t count_ = 0;
};

}  // namespace engram::corpus
