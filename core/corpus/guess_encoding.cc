#include "core/corpus/guess_encoding.h"

#include <uchardet/uchardet.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>

#include "absl/strings/str_cat.h"
#include "core/base/status.h"
#include "core/base/utf8.h"

namespace engram::corpus {
namespace {

constexpr size_t kLooked = size_t{64} << 10;
// Fewer bytes that are not ASCII fit many encodings.
constexpr int64_t kFewest = 8;

int64_t CountOf(std::string_view bytes, bool (*is)(unsigned char)) {
  return std::count_if(bytes.begin(), bytes.end(), [is](char c) { return is(static_cast<unsigned char>(c)); });
}

// Characters of several bytes, in valid UTF-8.
int64_t Characters(std::string_view valid) {
  return CountOf(valid, [](unsigned char c) { return c >= 0xC0; });
}

int64_t InvalidPlaces(std::string_view bytes) {
  int64_t places = 0;
  while (const std::optional<size_t> bad = FindInvalidUtf8(bytes)) {
    ++places;
    bytes.remove_prefix(*bad + 1);
  }
  return places;
}

// uchardet's guess; empty if it has none, or one that cannot be right.
std::string Detect(std::string_view bytes) {
  const std::unique_ptr<uchardet, void (*)(uchardet*)> detector(uchardet_new(), uchardet_delete);
  if (uchardet_handle_data(detector.get(), bytes.data(), bytes.size()) != 0) return "";
  uchardet_data_end(detector.get());
  std::string name = uchardet_get_charset(detector.get());
  if (name == "UTF-8" || name == "ASCII") name.clear();
  return name;
}

struct Name {
  std::string_view detected, shown, iconv;
};
constexpr Name kNames[] = {{"GB18030", "GBK (GB18030)", "GB18030"},
                           {"SHIFT_JIS", "Shift_JIS", "CP932"},
                           {"UHC", "EUC-KR (CP949)", "CP949"},
                           {"BIG5", "Big5", "BIG5-HKSCS"}};

}  // namespace

std::string EncodingAdvice(std::string_view bytes, size_t bad) {
  constexpr int64_t kMany = 20;
  const size_t break_before = bad == 0 ? std::string_view::npos : bytes.rfind('\n', bad - 1);
  const size_t line = break_before == std::string_view::npos ? 0 : break_before + 1;
  const std::string_view looked = bytes.substr(std::max(line, bad > kLooked ? bad - kLooked : 0), kLooked);
  // Other encodings have a sequence now and then that is UTF-8 by chance.
  const int64_t before = Characters(bytes.substr(0, bad));
  if (before > 0 && (before >= kMany || before >= InvalidPlaces(bytes.substr(bad, kLooked)))) {
    return "other characters before it are, so this place is damaged, or files in two encodings were joined: correct "
           "it, or convert the file to UTF-8";
  }
  constexpr const char* kWestern =
      "Latin-1 or Windows-1252, as older programs write it: convert the file to UTF-8 (iconv -f WINDOWS-1252 -t UTF-8)";
  const bool few = CountOf(looked, [](unsigned char c) { return c >= 0x80; }) < kFewest;
  if (few) {
    return absl::StrCat("too little of it is not ASCII to tell its encoding; it may be ", kWestern,
                        " and look at the result");
  }
  const std::string found = Detect(looked);
  if (found == "ISO-8859-1" || found == "ISO-8859-15" || found == "WINDOWS-1252")
    return absl::StrCat("it may be ", kWestern);
  if (found.empty()) {
    return "its encoding could not be told: ask whoever wrote it, or the program that did, and convert the file to "
           "UTF-8 "
           "(iconv -f ENCODING -t UTF-8)";
  }
  Name name{found, found, found};
  for (const Name& known : kNames) {
    if (known.detected == found) name = known;
  }
  return absl::StrCat("it reads like ", AbslView(name.shown), ": convert the file to UTF-8 (iconv -f ",
                      AbslView(name.iconv), " -t UTF-8) and look at the result, for this is a guess");
}

}  // namespace engram::corpus
