#include "core/tokenize/aligned_text.h"

#include <algorithm>

#include "core/base/utf8.h"

namespace engram::tokenize {
namespace {

bool Continues(char byte) { return (static_cast<unsigned char>(byte) & 0xC0) == 0x80; }

// The end of the character that holds the byte before `end`.
size_t CharacterEnd(std::string_view text, size_t end) {
  while (end < text.size() && Continues(text[end])) ++end;
  return end;
}

}  // namespace

Range AlignedText::Source(size_t begin, size_t end) const {
  if (!sources.empty()) return {sources[begin].begin, sources[end - 1].end};
  size_t first = std::max<size_t>(begin, lead);
  while (first > lead && Continues(text[first])) --first;
  const size_t last = CharacterEnd(text, std::max<size_t>(end, lead + 1));
  return {static_cast<uint32_t>(first - lead), static_cast<uint32_t>(last - lead)};
}

void AlignedText::Prepend(std::string_view what) {
  if (sources.empty()) {
    lead += static_cast<uint32_t>(what.size());
  } else {
    sources.insert(sources.begin(), what.size(), Range(sources[0]));
  }
  text.insert(0, what);
}

void AlignedWriter::Keep(size_t begin, size_t end) {
  out_.text.append(in_.text, begin, end - begin);
  for (size_t i = begin; i < end; ++i) out_.sources.push_back(SourceOf(i));
}

void AlignedWriter::Replace(size_t end, std::string_view what) {
  out_.text.append(what);
  out_.sources.insert(out_.sources.end(), what.size(), SourceOf(end - 1));
}

void AlignedWriter::Flush() {
  if (!pending_) return;
  const auto [c, change] = *pending_;
  pending_.reset();
  const Range source = change > 0 ? at_ == 0 ? Range{} : SourceOf(at_ - 1) : SourceOf(at_);
  for (int used = change > 0 ? 1 : change; used <= 0 && at_ < in_.text.size(); ++used)
    at_ = CharacterEnd(in_.text, at_ + 1);
  const size_t before = out_.text.size();
  AppendUtf8(c, out_.text);
  out_.sources.insert(out_.sources.end(), out_.text.size() - before, source);
}

AlignedText AlignedWriter::Take() && {
  Flush();
  return std::move(out_);
}

}  // namespace engram::tokenize
