#pragma once

// What was odd about a file that was read all the same.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace engram::corpus {

struct Note {
  std::string reason;   // UPPER_SNAKE_CASE, for programs
  std::string message;  // for people; names the first lines
  int64_t count = 1;    // of lines, labels or rows that it is about
};

// The lines of a file that have something in common: all are counted, the first are kept.
class LineList {
 public:
  // `what` follows the line's number ("tag ..."); may be empty.
  void Add(int64_t line, std::string_view what = {});
  int64_t count() const { return count_; }
  // "line 3", "lines 3, 4 and 7 more", "line 3 tag ...; line 9 tag ...; and 2 more".
  std::string Text() const;
  // Adds a note "<count> <before> (<lines>)<behind>" unless the list is empty. `before` says what there are so many of.
  void AddTo(std::vector<Note>& notes, std::string_view reason, std::string_view before,
             std::string_view behind = {}) const;

 private:
  struct Line {
    int64_t number;
    std::string what;
  };
  int64_t count_ = 0;
  std::vector<Line> shown_;
};

}  // namespace engram::corpus
