#include "core/tokenize/piece_tokenizer.h"

#include <algorithm>
#include <limits>

#include "absl/strings/str_cat.h"
#include "core/base/strict_json.h"
#include "core/base/utf8.h"
#include "core/tokenize/bert_normalizer.h"
#include "core/tokenize/code_points.h"

namespace engram::tokenize {
namespace {

bool IsAscii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

// The place of code points from that of bytes. Fastest where the asked bytes lie close to each other.
class CodePointCounter {
 public:
  explicit CodePointCounter(std::string_view text) : text_(text) {}
  uint32_t At(size_t byte) {
    for (; at_ < byte; ++at_) count_ += Begins(at_) ? 1 : 0;
    for (; at_ > byte; --at_) count_ -= Begins(at_ - 1) ? 1 : 0;
    return count_;
  }
  // The byte at which the code point after `count` further ones begins.
  size_t Forward(size_t byte, uint32_t count) const {
    while (count > 0 && byte < text_.size()) {
      if (++byte == text_.size() || Begins(byte)) --count;
    }
    return byte;
  }
  size_t Back(size_t byte, uint32_t count) const {
    while (count > 0 && byte > 0) {
      if (Begins(--byte)) --count;
    }
    return byte;
  }

 private:
  bool Begins(size_t byte) const { return (static_cast<unsigned char>(text_[byte]) & 0xC0) != 0x80; }

  std::string_view text_;
  size_t at_ = 0;
  uint32_t count_ = 0;
};

// The spaces at the ends of a token: "Ġ", which spells one, and white space.
std::pair<uint16_t, uint16_t> SpacesAround(std::string_view token) {
  constexpr int32_t kSpelledSpace = 0x120;
  uint16_t before = 0, behind = 0;
  bool within = false;
  for (size_t at = 0; at < token.size();) {
    const int32_t c = DecodeUtf8(token, at);
    const bool space = c == kSpelledSpace || (c >= 0 && ClassOf(c) == CharacterKind::kSpace);
    within = within || !space;
    if (c < 0) return {before, 0};
    constexpr uint16_t kMost = std::numeric_limits<uint16_t>::max();
    if (!within && before < kMost) ++before;
    behind = !space ? uint16_t{0} : behind < kMost ? static_cast<uint16_t>(behind + 1) : kMost;
  }
  return {before, behind};
}

void CutSpaces(Pieces& pieces) {
  std::vector<Range> out;
  const std::string_view text = pieces.text.text;
  for (const Range& range : pieces.ranges) {
    uint32_t begin = range.begin;
    for (size_t at = range.begin; at < range.end;) {
      const auto first = static_cast<uint32_t>(at);
      if (ClassOf(DecodeUtf8(text, at)) != CharacterKind::kSpace) continue;
      if (begin < first) out.push_back({begin, first});
      begin = static_cast<uint32_t>(at);
    }
    if (begin < range.end) out.push_back({begin, range.end});
  }
  pieces.ranges = std::move(out);
}

void CutPattern(const CutByPattern& step, bool word, Pieces& pieces) {
  // The prefix is the whole text's: a step with one stands alone (piece_json.cc).
  if (step.add_prefix_space && (*step.add_prefix_space || word) && !pieces.text.text.starts_with(' ')) {
    pieces.text.Prepend(" ");
    ++pieces.ranges.back().end;
  }
  std::vector<Range> out;
  for (const Range& range : pieces.ranges) {
    const std::string_view piece = std::string_view(pieces.text.text).substr(range.begin, range.end - range.begin);
    out.reserve(piece.size() / 4);
    for (size_t at = 0; at < piece.size();) {
      const size_t end = PieceEnd(step.pattern, piece, at);
      out.push_back({range.begin + static_cast<uint32_t>(at), range.begin + static_cast<uint32_t>(end)});
      at = end;
    }
  }
  pieces.ranges = std::move(out);
}

// Each piece of marks: a mark with what follows it up to the next one.
void CutMarked(const std::string& text, uint32_t begin, const CutAtMarks& step, std::vector<Range>& out) {
  const auto size = static_cast<uint32_t>(text.size());
  while (step.cut && begin < size) {
    const size_t next = text.find(
        step.mark, begin + (text.compare(begin, step.mark.size(), step.mark) == 0 ? step.mark.size() : size_t{1}));
    const auto end = static_cast<uint32_t>(std::min<size_t>(next, size));
    out.push_back({begin, end});
    begin = end;
  }
  if (begin < size) out.push_back({begin, size});
}

void CutMarks(const CutAtMarks& step, uint32_t offset, Pieces& pieces) {
  AlignedText out;
  std::vector<Range> ranges;
  const std::string_view text = pieces.text.text;
  out.text.reserve(text.size() + text.size() / 2);
  out.sources.reserve(text.size() + text.size() / 2);
  const auto append = [&](std::string_view what, Range source) {
    out.text.append(what);
    for (size_t i = 0; i < what.size(); ++i) out.sources.push_back(source);
  };
  for (const Range& range : pieces.ranges) {
    const auto begin = static_cast<uint32_t>(out.text.size());
    const std::string_view piece = text.substr(range.begin, range.end - range.begin);
    const bool first = offset == 0 && (range.begin == 0 || pieces.text.Source(range.begin, range.begin + 1).begin == 0);
    const bool prepends =
        step.prepend == CutAtMarks::Prepend::kAlways || (step.prepend == CutAtMarks::Prepend::kFirst && first);
    if (prepends && !piece.starts_with(' ') && !piece.starts_with(step.mark))
      append(step.mark, pieces.text.Source(range.begin, range.begin + 1));
    for (size_t at = range.begin; at < range.end;) {
      const size_t here = at;
      DecodeUtf8(text, at);
      append(text[here] == ' ' ? std::string_view(step.mark) : text.substr(here, at - here),
             pieces.text.Source(here, at));
    }
    CutMarked(out.text, begin, step, ranges);
  }
  pieces.text = std::move(out);
  pieces.ranges = std::move(ranges);
}

}  // namespace

absl::StatusOr<std::unique_ptr<PieceTokenizer>> PieceTokenizer::Create(PieceTokenizerOptions options) {
  ENGRAM_RETURN_IF_ERROR(CheckTemplate(options.frame));
  auto made = std::unique_ptr<PieceTokenizer>(new PieceTokenizer(std::move(options)));
  const PieceTokenizerOptions& parts = made->options_;
  made->tokens_ = parts.model->tokens();
  ENGRAM_RETURN_IF_ERROR(AppendAdded(parts.added, made->tokens_));
  for (size_t id = 0; id < made->tokens_.size(); ++id) made->ids_.emplace(made->tokens_[id], static_cast<int32_t>(id));
  for (const std::string& token : made->tokens_) made->spaces_.push_back(SpacesAround(token));
  for (const Template::Part& part : parts.frame.pair) {
    if (part.kind == Template::Part::kSpecial && (part.id < 0 || part.id >= made->vocabulary_size()))
      return InvalidField("post_processor", absl::StrCat("names the token ", part.id, ", which there is not"));
  }
  const auto find = [&](const std::string& token) { return token.empty() ? -1 : made->TokenToId(token); };
  made->SetFrame(parts.frame,
                 {find(parts.cls), find(parts.sep), find(parts.pad), find(parts.unknown), find(parts.mask)});
  ENGRAM_ASSIGN_OR_RETURN(made->added_, AddedTokens::Create(parts.added, [&](const std::string& content) {
                            AlignedText text{.text = content, .sources = {}};
                            for (const auto& normalizer : parts.normalizers) normalizer->Apply(text);
                            return text.text;
                          }));
  return made;
}

bool PieceTokenizer::lowercases() const {
  return std::any_of(options_.normalizers.begin(), options_.normalizers.end(),
                     [](const auto& normalizer) { return normalizer->lowercases(); });
}

std::string_view PieceTokenizer::IdToToken(int32_t id) const {
  return id >= 0 && id < vocabulary_size() ? std::string_view(tokens_[static_cast<size_t>(id)]) : std::string_view();
}

int32_t PieceTokenizer::TokenToId(std::string_view token) const {
  const auto found = ids_.find(token);
  return found == ids_.end() ? -1 : found->second;
}

void PieceTokenizer::Cut(Pieces& pieces, uint32_t offset, bool word) const {
  for (const PreTokenizerStep& step : options_.pre_tokenizers) {
    if (std::holds_alternative<CutAtSpaces>(step)) CutSpaces(pieces);
    if (const auto* pattern = std::get_if<CutByPattern>(&step)) CutPattern(*pattern, word, pieces);
    if (const auto* marks = std::get_if<CutAtMarks>(&step)) CutMarks(*marks, offset, pieces);
  }
}

void PieceTokenizer::AppendPieces(const Pieces& pieces, uint32_t offset, int32_t& words, Encoding& out) const {
  std::vector<ModelToken> tokens;
  for (const Range& range : pieces.ranges) {
    tokens.clear();
    options_.model->Append(std::string_view(pieces.text.text).substr(range.begin, range.end - range.begin), tokens);
    for (const ModelToken& token : tokens) {
      const Range source = pieces.text.Source(range.begin + token.begin, range.begin + token.end);
      out.ids.push_back(token.id);
      out.bytes.push_back({source.begin + offset, source.end + offset});
      out.words.push_back(words);
    }
    ++words;
  }
}

void PieceTokenizer::AppendPart(std::string_view part, uint32_t offset, bool split_special, bool word, int32_t& words,
                                FoundSpaces& spaces, Encoding& out) const {
  AlignedText text{.text = std::string(part), .sources = {}};
  for (const auto& normalizer : options_.normalizers) normalizer->Apply(text);
  if (!added_.any_normalized()) {
    if (text.text.empty()) return;
    const auto size = static_cast<uint32_t>(text.text.size());
    Pieces pieces{std::move(text), {{0, size}}};
    Cut(pieces, offset, word);
    return AppendPieces(pieces, offset, words, out);
  }
  for (const AddedTokens::Part& found : added_.Split(text.text, /*normalized=*/true, split_special)) {
    const Range source = text.Source(found.begin, found.end);
    if (found.id != AddedTokens::kText) {
      spaces.emplace_back(out.ids.size(),
                          SpacesAround(std::string_view(text.text).substr(found.begin, found.end - found.begin)));
      out.ids.push_back(found.id);
      out.bytes.push_back({source.begin + offset, source.end + offset});
      out.words.push_back(words++);
      continue;
    }
    Pieces pieces;
    pieces.text.text = text.text.substr(found.begin, found.end - found.begin);
    const auto size = static_cast<uint32_t>(pieces.text.text.size());
    uint32_t before = offset;
    if (!text.sources.empty()) {
      pieces.text.sources.assign(text.sources.begin() + static_cast<int64_t>(found.begin),
                                 text.sources.begin() + static_cast<int64_t>(found.end));
    } else {
      before += source.begin;
      pieces.text.lead = found.begin == 0 ? text.lead : 0;
    }
    pieces.ranges = {{0, size}};
    Cut(pieces, before, word);
    AppendPieces(pieces, before, words, out);
  }
}

void PieceTokenizer::TrimOffsets(std::string_view text, size_t from, bool prefixed, const FoundSpaces& spaces,
                                 Encoding& out) const {
  const CodePointCounter counter(text);
  auto found = spaces.begin();
  for (size_t i = from; i < out.ids.size(); ++i) {
    Range &places = out.code_points[i], &bytes = out.bytes[i];
    const bool added = found != spaces.end() && found->first == i;
    auto [before, behind] = added ? (found++)->second : spaces_[static_cast<size_t>(out.ids[i])];
    // One space may have been put before the text; more are its own (the reference's rule).
    if (before == 1 && prefixed && (i == 0 || places.begin == 0)) before = 0;
    const uint32_t forward = std::min<uint32_t>(before, places.end - places.begin);
    bytes.begin = static_cast<uint32_t>(counter.Forward(bytes.begin, forward));
    places.begin += forward;
    const uint32_t back = places.end >= behind ? std::min<uint32_t>(behind, places.end - places.begin) : 0;
    bytes.end = static_cast<uint32_t>(counter.Back(bytes.end, back));
    places.end -= back;
  }
}

absl::Status PieceTokenizer::AppendText(std::string_view text, const EncodeOptions& options, bool word,
                                        Encoding& out) const {
  ENGRAM_RETURN_IF_ERROR(CheckText(text));
  const bool split_special = options.split_special_tokens.value_or(options_.split_special_tokens);
  const size_t from = out.ids.size();
  int32_t words = 0;
  FoundSpaces spaces;
  for (const AddedTokens::Part& part : added_.Split(text, /*normalized=*/false, split_special)) {
    const auto begin = static_cast<uint32_t>(part.begin), end = static_cast<uint32_t>(part.end);
    if (part.id == AddedTokens::kText) {
      AppendPart(text.substr(begin, end - begin), begin, split_special, word, words, spaces, out);
    } else {
      spaces.emplace_back(out.ids.size(), SpacesAround(text.substr(begin, end - begin)));
      out.ids.push_back(part.id);
      out.bytes.push_back({begin, end});
      out.words.push_back(words++);
    }
  }
  if (IsAscii(text)) {
    out.code_points.insert(out.code_points.end(), out.bytes.begin() + static_cast<int64_t>(from), out.bytes.end());
  } else {
    CodePointCounter counter(text);
    for (size_t i = from; i < out.bytes.size(); ++i) {
      const uint32_t begin = counter.At(out.bytes[i].begin);
      out.code_points.push_back({begin, counter.At(out.bytes[i].end)});
    }
  }
  if (options_.trim_offsets) TrimOffsets(text, from, *options_.trim_offsets || word, spaces, out);
  return absl::OkStatus();
}

}  // namespace engram::tokenize
