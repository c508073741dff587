#include "core/tokenize/bpe_model.h"

#include <algorithm>
#include <queue>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/base/strict_json.h"
#include "core/base/utf8.h"

namespace engram::tokenize {
namespace {

constexpr std::string_view kMark = "\u2581";  // SentencePiece's space
constexpr uint64_t kFree = ~uint64_t{0};
constexpr size_t kShort = 48;  // symbols up to which looking at all pairs beats a queue

uint64_t PairOf(int32_t left, int32_t right) {
  return static_cast<uint64_t>(left) << 32 | static_cast<uint32_t>(right);
}
uint64_t Hash(uint64_t pair) { return pair * 0x9E3779B97F4A7C15u >> 32; }

// GPT-2's alphabet: the printable bytes of Latin-1 stand for themselves, the others for U+0100 and on.
std::array<int32_t, 0x180> MakeAlphabet() {
  std::array<int32_t, 0x180> byte_of;
  byte_of.fill(-1);
  size_t next = 0x100;
  for (int32_t byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
    byte_of[printable ? static_cast<size_t>(byte) : next++] = byte;
  }
  return byte_of;
}

// Merges that wait, the lowest rank first, of one rank the leftmost. Ranks are few and their places mostly come in
// order, so that a queue of ranks with a list of places each costs little more than the text's length.
class MergeQueue {
 public:
  void Push(uint32_t rank, uint32_t at) {
    Places& places = places_[rank];
    if (places.empty()) ranks_.push(rank);
    places.Push(at);
  }
  bool empty() const { return ranks_.empty(); }
  std::pair<uint32_t, uint32_t> Pop() {
    const uint32_t rank = ranks_.top();
    Places& places = places_[rank];
    const uint32_t at = places.Pop();
    if (places.empty()) ranks_.pop();
    return {rank, at};
  }

 private:
  class Places {
   public:
    bool empty() const { return next_ == ordered_.size() && late_.empty(); }
    void Push(uint32_t at) {
      if (next_ == ordered_.size()) {
        ordered_.clear();
        next_ = 0;
      }
      if (ordered_.empty() || at >= ordered_.back()) {
        ordered_.push_back(at);
      } else {
        late_.push(at);
      }
    }
    uint32_t Pop() {
      if (late_.empty() || (next_ < ordered_.size() && ordered_[next_] <= late_.top())) return ordered_[next_++];
      const uint32_t at = late_.top();
      late_.pop();
      return at;
    }

   private:
    std::vector<uint32_t> ordered_;
    size_t next_ = 0;
    std::priority_queue<uint32_t, std::vector<uint32_t>, std::greater<>> late_;
  };

  std::unordered_map<uint32_t, Places> places_;
  std::priority_queue<uint32_t, std::vector<uint32_t>, std::greater<>> ranks_;
};

absl::Status Refuse(std::string_view field, std::string why) {
  return InvalidField(absl::StrCat("tokenizer.json: model.", AbslView(field)), std::move(why));
}

}  // namespace

std::optional<std::string> BytesOfSpelling(std::string_view token) {
  static const std::array<int32_t, 0x180> alphabet = MakeAlphabet();
  std::string bytes;
  for (size_t at = 0; at < token.size();) {
    const int32_t c = DecodeUtf8(token, at);
    if (c < 0 || c >= static_cast<int32_t>(alphabet.size()) || alphabet[static_cast<size_t>(c)] < 0)
      return std::nullopt;
    bytes.push_back(static_cast<char>(alphabet[static_cast<size_t>(c)]));
  }
  return bytes;
}

absl::StatusOr<std::unique_ptr<BpeModel>> BpeModel::Create(std::vector<std::string> tokens, const Merges& merges,
                                                           const BpeOptions& options) {
  auto model = std::unique_ptr<BpeModel>(new BpeModel(options));
  ENGRAM_RETURN_IF_ERROR(model->IndexTokens(std::move(tokens)));
  ENGRAM_RETURN_IF_ERROR(model->IndexCharacters());
  ENGRAM_RETURN_IF_ERROR(model->IndexMerges(merges));
  model->IndexWholePieces();
  return model;
}

absl::Status BpeModel::IndexTokens(std::vector<std::string> tokens) {
  tokens_ = std::move(tokens);
  for (size_t id = 0; id < tokens_.size(); ++id) {
    const std::optional<std::string> bytes = options_.byte_level ? BytesOfSpelling(tokens_[id]) : tokens_[id];
    if (bytes && !by_bytes_.emplace(*bytes, static_cast<int32_t>(id)).second)
      return Refuse("vocab", absl::StrCat("the token ", Quoted(tokens_[id]), " occurs twice"));
  }
  return absl::OkStatus();
}

absl::Status BpeModel::IndexCharacters() {
  for (size_t c = 0; c < ascii_.size(); ++c) {
    const auto found = by_bytes_.find(std::string(1, static_cast<char>(c)));
    ascii_[c] = found == by_bytes_.end() ? -1 : found->second;
  }
  bytes_.fill(-1);
  int missing = 0;
  for (int byte = 0; byte < 256; ++byte) {
    const std::string spelled = options_.byte_level ? std::string(1, static_cast<char>(byte))
                                                    : absl::StrFormat("<0x%02X>", static_cast<unsigned>(byte));
    const auto found = by_bytes_.find(spelled);
    if (found != by_bytes_.end()) bytes_[static_cast<size_t>(byte)] = found->second;
    missing += found == by_bytes_.end() ? 1 : 0;
  }
  if ((options_.byte_level || options_.byte_fallback) && missing > 0)
    return Refuse("vocab",
                  absl::StrCat("lacks the tokens of ", missing, " of the 256 bytes, so that texts would lose them"));
  if (options_.byte_level || options_.byte_fallback) return absl::OkStatus();
  if (options_.unknown.empty())
    return Refuse("unk_token", "is missing, and the vocabulary spells no bytes: texts would lose characters");
  const auto found = by_bytes_.find(options_.unknown);
  if (found == by_bytes_.end()) return Refuse("unk_token", "is not in the vocabulary");
  unknown_ = found->second;
  return absl::OkStatus();
}

absl::Status BpeModel::IndexMerges(const Merges& merges) {
  size_t slots = 16;
  while (slots < 2 * merges.size()) slots *= 2;
  merges_.assign(slots, {kFree, 0, -1});
  mask_ = slots - 1;
  parts_at_mark_ = by_bytes_.contains(std::string(kMark));
  const auto id = [&](const std::string& token) {
    const std::optional<std::string> bytes = options_.byte_level ? BytesOfSpelling(token) : token;
    const auto found = bytes ? by_bytes_.find(*bytes) : by_bytes_.end();
    return found == by_bytes_.end() ? -1 : found->second;
  };
  for (const auto& [left, right] : merges) {
    const Merge merge{PairOf(id(left), id(right)), static_cast<uint32_t>(wholes_.size()), id(left + right)};
    if (id(left) < 0 || id(right) < 0 || merge.whole < 0)
      return Refuse("merges", absl::StrCat("number ", wholes_.size(), ", of ", Quoted(left), " and ", Quoted(right),
                                           ", is of or to a token that the vocabulary lacks"));
    wholes_.push_back(merge.whole);
    uint64_t slot = Hash(merge.pair) & mask_;
    while (merges_[slot].pair != kFree && merges_[slot].pair != merge.pair) slot = (slot + 1) & mask_;
    merges_[slot] = merge;  // of a pair that is there twice the last counts, as in the reference
    if (right.starts_with(kMark) && !left.ends_with(kMark)) parts_at_mark_ = false;
  }
  return absl::OkStatus();
}

// A piece that its merges make one token is found with one look.
void BpeModel::IndexWholePieces() {
  std::vector<ModelToken> tokens;
  for (const auto& [bytes, id] : by_bytes_) {
    tokens.clear();
    if (!options_.ignore_merges && !bytes.empty()) AppendPart(bytes, 0, tokens);
    const bool whole = options_.ignore_merges || (tokens.size() == 1 && tokens[0].id == id);
    if (whole) whole_.emplace(bytes, id);
  }
}

const BpeModel::Merge* BpeModel::FindMerge(int32_t left, int32_t right) const {
  const uint64_t pair = PairOf(left, right);
  for (uint64_t slot = Hash(pair) & mask_;; slot = (slot + 1) & mask_) {
    if (merges_[slot].pair == pair) return &merges_[slot];
    if (merges_[slot].pair == kFree) return nullptr;
  }
}

void BpeModel::Append(std::string_view piece, std::vector<ModelToken>& out) const {
  if (options_.ignore_merges) {
    if (const auto found = whole_.find(piece); found != whole_.end()) {
      out.push_back({found->second, 0, static_cast<uint32_t>(piece.size())});
      return;
    }
  }
  if (!parts_at_mark_) return AppendPart(piece, 0, out);
  for (size_t at = 0; at < piece.size();) {
    size_t end = at;
    while (piece.substr(end).starts_with(kMark)) end += kMark.size();
    end = std::min(piece.find(kMark, end), piece.size());
    AppendPart(piece.substr(at, end - at), static_cast<uint32_t>(at), out);
    at = end;
  }
}

void BpeModel::AppendPart(std::string_view part, uint32_t offset, std::vector<ModelToken>& out) const {
  if (const auto found = whole_.find(part); found != whole_.end()) {
    out.push_back({found->second, offset, offset + static_cast<uint32_t>(part.size())});
    return;
  }
  std::vector<Symbol> symbols;
  Start(part, symbols);
  symbols.size() <= kShort ? MergeShort(symbols) : MergeLong(symbols);
  for (int32_t at = symbols.empty() ? -1 : 0; at >= 0;) {
    const Symbol& symbol = symbols[static_cast<size_t>(at)];
    const auto end =
        symbol.behind < 0 ? static_cast<uint32_t>(part.size()) : symbols[static_cast<size_t>(symbol.behind)].begin;
    out.push_back({symbol.id, offset + symbol.begin, offset + end});
    at = symbol.behind;
  }
}

void BpeModel::Start(std::string_view part, std::vector<Symbol>& symbols) const {
  const auto add = [&](int32_t id, size_t begin) {
    const auto at = static_cast<int32_t>(symbols.size());
    if (at > 0) symbols.back().behind = at;
    symbols.push_back({id, at - 1, -1, static_cast<uint32_t>(begin)});
  };
  if (options_.byte_level) {
    symbols.reserve(part.size());
    for (size_t i = 0; i < part.size(); ++i) add(bytes_[static_cast<unsigned char>(part[i])], i);
    return;
  }
  bool after_unknown = false;
  std::string character;
  symbols.reserve(part.size());
  for (size_t at = 0; at < part.size();) {
    const size_t begin = at;
    int32_t id = -1;
    if (const auto byte = static_cast<unsigned char>(part[at]); byte < ascii_.size()) {
      id = ascii_[byte];
      ++at;
    } else {
      DecodeUtf8(part, at);
      character.assign(part, begin, at - begin);
      const auto found = by_bytes_.find(character);
      id = found != by_bytes_.end() ? found->second : -1;
    }
    if (id >= 0) {
      add(id, begin);
    } else if (options_.byte_fallback) {
      for (size_t i = begin; i < at; ++i) add(bytes_[static_cast<unsigned char>(part[i])], i);
    } else if (!after_unknown || !options_.fuse_unknown) {
      add(unknown_, begin);
    }
    after_unknown = id < 0 && !options_.byte_fallback;
  }
}

void BpeModel::Join(std::vector<Symbol>& symbols, int32_t at, int32_t whole) {
  Symbol& left = symbols[static_cast<size_t>(at)];
  Symbol& right = symbols[static_cast<size_t>(left.behind)];
  left.id = whole;
  left.behind = right.behind;
  right.id = -1;
  if (left.behind >= 0) symbols[static_cast<size_t>(left.behind)].before = at;
}

void BpeModel::MergeShort(std::vector<Symbol>& symbols) const {
  std::array<const Merge*, kShort> merges{};  // of each symbol with the one behind it
  const auto look = [&](int32_t at) {
    if (at < 0) return;
    const Symbol& left = symbols[static_cast<size_t>(at)];
    merges[static_cast<size_t>(at)] =
        left.behind < 0 ? nullptr : FindMerge(left.id, symbols[static_cast<size_t>(left.behind)].id);
  };
  const auto count = static_cast<int32_t>(symbols.size());
  for (int32_t at = 0; at < count; ++at) look(at);
  for (;;) {
    int32_t best = -1;
    for (int32_t at = 0; at >= 0 && at < count; at = symbols[static_cast<size_t>(at)].behind) {
      const Merge* merge = merges[static_cast<size_t>(at)];
      if (merge != nullptr && (best < 0 || merge->rank < merges[static_cast<size_t>(best)]->rank)) best = at;
    }
    if (best < 0) return;
    Join(symbols, best, merges[static_cast<size_t>(best)]->whole);
    look(best);
    look(symbols[static_cast<size_t>(best)].before);
  }
}

void BpeModel::MergeLong(std::vector<Symbol>& symbols) const {
  MergeQueue queue;
  const auto push = [&](int32_t at) {
    if (at < 0 || symbols[static_cast<size_t>(at)].behind < 0) return;
    const Symbol& left = symbols[static_cast<size_t>(at)];
    const Merge* merge = FindMerge(left.id, symbols[static_cast<size_t>(left.behind)].id);
    if (merge != nullptr) queue.Push(merge->rank, static_cast<uint32_t>(at));
  };
  for (size_t at = 0; at < symbols.size(); ++at) push(static_cast<int32_t>(at));
  while (!queue.empty()) {
    const auto [rank, at] = queue.Pop();
    const Symbol& left = symbols[at];
    if (left.id < 0 || left.behind < 0) continue;
    // What waited may be gone by now: the pair at its place makes something else.
    const Merge* merge = FindMerge(left.id, symbols[static_cast<size_t>(left.behind)].id);
    if (merge == nullptr || merge->whole != wholes_[rank]) continue;
    const auto place = static_cast<int32_t>(at);
    Join(symbols, place, merge->whole);
    push(left.before);
    push(place);
  }
}

}  // namespace engram::tokenize
