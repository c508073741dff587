#pragma once

// What the lines of a file are, where its name does not say.

#include <cstdint>
#include <optional>
#include <string_view>

namespace engram::corpus {

// The first line that is not empty is a JSON object or begins a list of objects.
bool LooksLikeJson(std::string_view text);

// At least nine of ten lines (but empty ones, comments and the first) have two or more columns, separated by tabs or
// spaces, the same one of which is a tag in all of these lines; and some entity begins.
bool LooksLikeTags(std::string_view text);

// Lines that are not empty, and how many of them begin with fastText's "__label__".
struct FastTextLines {
  int64_t lines = 0, labelled = 0;
};
FastTextLines CountFastText(std::string_view text);

// At least nine of ten lines that are not empty are words with their tags behind a slash ("Ada/B-PER lived/O"), and some
// entity begins.
bool LooksLikeSlashTags(std::string_view text);

// All lines that are neither empty nor comments (#) have this many columns separated by tabs; 1 if they differ, or if there is one line.
int64_t TabColumns(std::string_view text);

// What reads like a label beside the text in all lines that are not empty (two or more): a word before the first or
// behind the last ',', ';' or '|', without a space beside it; a number at the beginning, other than the line's own; or
// a word with a colon inside ("DESC:manner"). `separator`: 0 for the last two.
struct LineLabel {
  char separator = 0;
  bool behind = false;     // the label is the last column, not the first
  std::string_view first;  // that of the first line
};
std::optional<LineLabel> FindLineLabel(std::string_view text);

}  // namespace engram::corpus
