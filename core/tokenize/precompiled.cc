#include <array>
#include <cstring>
#include <string>
#include <utility>

#include "core/base/utf8.h"
#include "core/tokenize/graphemes.h"
#include "core/tokenize/normalizers.h"

namespace engram::tokenize {
namespace {

constexpr size_t kWholeClusterBytes = 6;  // clusters below it are looked up as a whole first

// darts-clone's double array: a unit says where its children lie, whether one of them is a value, and its own label.
class Charsmap {
 public:
  static absl::StatusOr<Charsmap> Parse(std::string_view bytes) {
    const auto refuse = [](std::string_view why) {
      return InvalidField("tokenizer.json: normalizer.precompiled_charsmap", std::string(why));
    };
    uint32_t size = 0;
    if (bytes.size() < sizeof(size)) return refuse("is too short");
    std::memcpy(&size, bytes.data(), sizeof(size));
    bytes.remove_prefix(sizeof(size));
    if (size == 0 || size % sizeof(uint32_t) != 0 || size > bytes.size()) return refuse("has a trie that does not fit");
    Charsmap map;
    map.units_.resize(size / sizeof(uint32_t));
    std::memcpy(map.units_.data(), bytes.data(), size);
    map.texts_ = std::string(bytes.substr(size));
    if (FindInvalidUtf8(map.texts_)) return refuse("holds texts that are not UTF-8");
    if (!map.texts_.empty() && map.texts_.back() != '\0') return refuse("ends within a text");
    for (const uint32_t unit : map.units_) {
      // A value's unit has the highest bit; a text begins where a character does.
      if ((unit >> 31) != 0 && (unit & kValueBits) < map.texts_.size() &&
          (static_cast<unsigned char>(map.texts_[unit & kValueBits]) & 0xC0) == 0x80)
        return refuse("points into a character");
    }
    return map;
  }

  // What the shortest of the map's keys that `text` begins with becomes; nullopt if it begins with none. The reference
  // takes the shortest, and for it gives up the rest of `text`.
  std::optional<std::string_view> Find(std::string_view text) const {
    size_t node = 0;
    node ^= Offset(units_[0]);
    for (const char c : text) {
      const auto byte = static_cast<unsigned char>(c);
      if (byte == 0) return std::nullopt;
      node ^= byte;
      if (node >= units_.size()) return std::nullopt;
      const uint32_t unit = units_[node];
      if ((unit & (uint32_t{1} << 31 | 0xFF)) != byte) return std::nullopt;
      node ^= Offset(unit);
      if (node >= units_.size()) return std::nullopt;
      if ((unit >> 8 & 1) == 0) continue;
      const size_t at = units_[node] & kValueBits;
      return at < texts_.size() ? std::string_view(texts_.c_str() + at) : std::string_view();
    }
    return std::nullopt;
  }

 private:
  static constexpr uint32_t kValueBits = (uint32_t{1} << 31) - 1;
  static size_t Offset(uint32_t unit) { return size_t{unit >> 10} << ((unit & (1u << 9)) >> 6); }

  std::vector<uint32_t> units_;
  std::string texts_;
};

class PrecompiledNormalizer final : public TextNormalizer {
 public:
  explicit PrecompiledNormalizer(Charsmap map) : map_(std::move(map)) {
    for (size_t c = 0; c < plain_.size(); ++c) {
      const char text = static_cast<char>(c);
      plain_[c] = !map_.Find({&text, 1}) && c != '\r';
    }
  }

  void Apply(AlignedText& text) const override {
    const std::string_view in = text.text;
    if (Stays(in)) return;
    AlignedWriter out(text);
    for (size_t at = 0; at < in.size();) {
      const size_t end = IsPlain(in, at) ? at + 1 : GraphemeEnd(in, at);
      const std::string_view cluster = in.substr(at, end - at);
      const auto whole = cluster.size() < kWholeClusterBytes ? map_.Find(cluster) : std::nullopt;
      if (whole) {
        Replace(cluster, *whole, out);
      } else {
        for (size_t i = 0; i < cluster.size();) {
          const size_t first = i;
          const int32_t c = DecodeUtf8(cluster, i);
          const std::string_view character = cluster.substr(first, i - first);
          if (const auto replaced = map_.Find(character)) {
            Replace(character, *replaced, out);
          } else {
            out.Push(c, 0);
          }
        }
      }
      at = end;
    }
    text = std::move(out).Take();
  }

 private:
  // A character of one byte that stays as it is and is a cluster by itself, as the next one is of one byte, too.
  bool IsPlain(std::string_view text, size_t at) const {
    const auto byte = static_cast<unsigned char>(text[at]);
    return byte < plain_.size() && plain_[byte] &&
           (at + 1 == text.size() || static_cast<unsigned char>(text[at + 1]) < plain_.size());
  }
  bool Stays(std::string_view text) const {
    for (size_t at = 0; at < text.size(); ++at) {
      if (!IsPlain(text, at)) return false;
    }
    return true;
  }
  static void Replace(std::string_view from, std::string_view to, AlignedWriter& out) {
    const int64_t before = CountCodePoints(from), after = CountCodePoints(to);
    int64_t left = after;
    for (size_t at = 0; at < to.size(); --left) {
      // The last of those that are more than before are inserted; the last one takes along what is dropped.
      const bool inserted = left <= after - before;
      const int change = inserted ? 1 : left == 1 && after < before ? static_cast<int>(after - before) : 0;
      out.Push(DecodeUtf8(to, at), change);
    }
    if (after == 0) out.Amend(static_cast<int>(-before));
  }

  Charsmap map_;
  std::array<bool, 0x80> plain_{};
};

}  // namespace

absl::StatusOr<std::unique_ptr<TextNormalizer>> MakePrecompiledNormalizer(std::string_view charsmap) {
  ENGRAM_ASSIGN_OR_RETURN(Charsmap map, Charsmap::Parse(charsmap));
  return std::make_unique<PrecompiledNormalizer>(std::move(map));
}

}  // namespace engram::tokenize
