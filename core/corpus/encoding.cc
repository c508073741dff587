#include "core/corpus/encoding.h"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/utf8.h"
#include "core/corpus/guess_encoding.h"

namespace engram::corpus {
namespace {

constexpr std::string_view kMark = "\xEF\xBB\xBF";

struct WideEncoding {
  const char* name;
  size_t unit;  // bytes
  bool big_endian;
  size_t mark;  // bytes of the byte-order mark
};

// UTF-16 without a mark: text in a Latin script has a zero in most other bytes, and nearly always in the same one.
std::optional<WideEncoding> UnmarkedUtf16(std::string_view bytes) {
  constexpr size_t kLooked = 4096;
  const std::string_view head = bytes.substr(0, std::min(kLooked, bytes.size() / 2 * 2));
  size_t zeros[2] = {0, 0};
  for (size_t i = 0; i < head.size(); ++i) zeros[i % 2] += head[i] == '\0' ? 1 : 0;
  const size_t most = std::max(zeros[0], zeros[1]), units = head.size() / 2;
  if (bytes.size() % 2 != 0 || units < 2 || std::min(zeros[0], zeros[1]) * 8 > most || most * 2 < units)
    return std::nullopt;
  return zeros[0] == most ? WideEncoding{"UTF-16 (big-endian)", 2, true, 0}
                          : WideEncoding{"UTF-16 (little-endian)", 2, false, 0};
}

std::optional<WideEncoding> FindWideEncoding(std::string_view bytes) {
  if (bytes.starts_with(std::string_view("\xFF\xFE\0\0", 4)))
    return WideEncoding{"UTF-32 (little-endian)", 4, false, 4};
  if (bytes.starts_with(std::string_view("\0\0\xFE\xFF", 4))) return WideEncoding{"UTF-32 (big-endian)", 4, true, 4};
  if (bytes.starts_with("\xFF\xFE")) return WideEncoding{"UTF-16 (little-endian)", 2, false, 2};
  if (bytes.starts_with("\xFE\xFF")) return WideEncoding{"UTF-16 (big-endian)", 2, true, 2};
  return UnmarkedUtf16(bytes);
}

uint32_t UnitAt(std::string_view bytes, size_t at, const WideEncoding& encoding) {
  uint32_t value = 0;
  for (size_t i = 0; i < encoding.unit; ++i) {
    const size_t byte = encoding.big_endian ? i : encoding.unit - 1 - i;
    value = value << 8 | static_cast<unsigned char>(bytes[at + byte]);
  }
  return value;
}

absl::StatusOr<std::string> FromWide(std::string_view bytes, const WideEncoding& encoding, std::string_view field,
                                     size_t max_bytes) {
  std::string text;
  int64_t line = 1;
  const auto broken = [&](std::string_view what) {
    return InvalidField(absl::StrCat(AbslView(field), " line ", line),
                        absl::StrCat("is ", encoding.name, " that ", AbslView(what), "; convert the file to UTF-8"));
  };
  if ((bytes.size() - encoding.mark) % encoding.unit != 0) return broken("ends inside of a character");
  for (size_t at = encoding.mark; at < bytes.size(); at += encoding.unit) {
    uint32_t c = UnitAt(bytes, at, encoding);
    if (encoding.unit == 2 && c >= 0xD800 && c < 0xDC00 && at + 4 <= bytes.size()) {
      const uint32_t low = UnitAt(bytes, at + 2, encoding);
      if (low >= 0xDC00 && low < 0xE000) {
        c = 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00);
        at += 2;
      }
    }
    if (c > 0x10FFFF || (c >= 0xD800 && c < 0xE000)) return broken("holds what is no character");
    AppendUtf8(static_cast<int32_t>(c), text);
    if (c == '\n') ++line;
    if (text.size() > max_bytes)
      return InvalidField(field, absl::StrCat("is larger than ", max_bytes, " bytes; split it"));
  }
  return text;
}

absl::Status CheckUtf8(std::string_view bytes, std::string_view field) {
  const std::optional<size_t> bad = FindInvalidUtf8(bytes);
  if (!bad) return absl::OkStatus();
  const std::string_view before = bytes.substr(0, *bad);
  const auto line = 1 + std::count(before.begin(), before.end(), '\n');
  char byte[8];
  std::snprintf(byte, sizeof byte, "0x%02X", static_cast<unsigned>(static_cast<unsigned char>(bytes[*bad])));
  return InvalidField(
      absl::StrCat(AbslView(field), " line ", line),
      absl::StrCat("is not UTF-8 (", byte, ", byte ", *bad, " of the file); ", EncodingAdvice(bytes, *bad)));
}

// Takes marks away that stand at the beginning of a line; see DecodeText.
std::string WithoutInnerMarks(std::string text, std::vector<Note>& notes) {
  if (text.find(kMark, 1) == std::string::npos) return text;
  LineList lines;
  std::string out;
  out.reserve(text.size());
  int64_t line = 1;
  for (size_t at = 0; at < text.size();) {
    const size_t behind = at + kMark.size();
    const bool begins_line = at > 0 && (text[at - 1] == '\n' || text[at - 1] == '\r');
    const bool token = behind < text.size() && (text[behind] == ' ' || text[behind] == '\t');
    if (begins_line && !token && std::string_view(text).substr(at).starts_with(kMark)) {
      lines.Add(line);
      at = behind;
      continue;
    }
    if (text[at] == '\n') ++line;
    out += text[at++];
  }
  lines.AddTo(notes, "BYTE_ORDER_MARKS", "byte-order mark(s) at the beginning of a line were left out",
              ": were files joined?");
  return out;
}

}  // namespace

absl::StatusOr<std::string> DecodeText(std::string bytes, std::string_view field, size_t max_bytes,
                                       std::vector<Note>& notes) {
  std::string text;
  if (const std::optional<WideEncoding> wide = FindWideEncoding(bytes)) {
    ENGRAM_ASSIGN_OR_RETURN(text, FromWide(bytes, *wide, field, max_bytes));
    notes.push_back({"ENCODING", absl::StrCat("the file is ", wide->name, " and was read as such")});
  } else {
    ENGRAM_RETURN_IF_ERROR(CheckUtf8(bytes, field));
    text = std::move(bytes);
  }
  while (text.starts_with(kMark)) text.erase(0, kMark.size());
  return WithoutInnerMarks(std::move(text), notes);
}

}  // namespace engram::corpus
