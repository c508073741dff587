#pragma once

// Texts from where they are, some at a time.

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "client/session.h"

namespace engram::client {

// Not thread-safe.
class TextSource {
 public:
  virtual ~TextSource() = default;
  // Adds texts to `texts`, as many as are at hand, at most `count`, and no further one once they have `bytes` together;
  // none at the end. False, with the reason, if they cannot be read.
  virtual bool Next(size_t count, size_t bytes, std::vector<std::string>& texts, std::string& error) = 0;
};

std::unique_ptr<TextSource> OneText(const std::string& text);
// Records of a file (record_file.h) but those without a text. nullptr, with the reason, if it cannot be opened. A record
// that cannot be read is an error by its number.
std::unique_ptr<TextSource> TextsOfFile(const std::string& path, const std::string& text_column, std::string& error);
// The texts of a data set that a collection of pages made, in the order of its rows.
std::unique_ptr<TextSource> PagesOfDataset(Session& session, const std::string& dataset);

// A text for people to know it by: its first 60 bytes or so; ShortText: on one line.
std::string Shorten(std::string_view text);
std::string ShortText(std::string_view text);

}  // namespace engram::client
