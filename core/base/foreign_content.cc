#include "core/base/foreign_content.h"

#include <algorithm>
#include <string>

#include "core/base/utf8.h"

namespace engram {
namespace {

struct Kind {
  std::string_view magic, what;
};

constexpr std::string_view kPage =
    "is a web page (HTML), not the file itself; download the raw file, and log in first if the site asks for it";
constexpr std::string_view kPointer =
    "is a Git LFS pointer, not the file itself; fetch the file with \"git lfs pull\", or download it from the site";
constexpr std::string_view kPickle =
    "is a Python pickle, which runs code when it is read and is not read here; load it in Python and save what it "
    "holds: "
    "rows as JSON Lines or CSV, weights as .safetensors";
constexpr std::string_view kTorch =
    "is a file of PyTorch (torch.save): weights are read under the name pytorch_model.bin; save rows as JSON Lines or "
    "CSV";
constexpr std::string_view kXml = "is XML, which is not read; convert it to JSON Lines or CSV";

constexpr Kind kBinary[] = {
    {"PAR1", "is a Parquet file; convert it to JSON Lines (pandas: read_parquet, then to_json with lines=True)"},
    {"ARROW1", "is an Arrow file; convert it to JSON Lines"},
    {"PK\x03\x04", "is a ZIP archive (so are .xlsx and .docx); unpack it, or save the sheet as CSV"},
    {"\xD0\xCF\x11\xE0", "is an old Office document; save the sheet as CSV"},
    {"BZh", "is compressed with bzip2; unpack it, or compress it with gzip"},
    {"\xFD"
     "7zXZ",
     "is compressed with xz; unpack it, or compress it with gzip"},
    {"\x28\xB5\x2F\xFD", "is compressed with Zstandard; unpack it, or compress it with gzip"},
    {"7z\xBC\xAF\x27\x1C", "is a 7-Zip archive; unpack it"},
    {"Rar!", "is a RAR archive; unpack it"},
    {"%PDF-", "is a PDF document; extract its text first"},
    {"SQLite format 3", "is an SQLite database; export the table as CSV"},
    {"\x93NUMPY", "is a NumPy array, not a file of texts"},
    {"\x89HDF", "is an HDF5 file; convert it first"},
};

// "BZh" may also begin a text. Text has no zero byte and is UTF-8 (but for a character that is cut at the end).
bool IsBinary(std::string_view bytes) {
  const std::string_view head = bytes.substr(0, 1024);
  constexpr size_t kLongestCharacter = 4;
  const std::optional<size_t> bad = FindInvalidUtf8(head);
  return head.find('\0') != std::string_view::npos || (bad && *bad + kLongestCharacter <= head.size());
}

// Protocols 2 to 5, by their first two bytes. The older ones, which are ASCII, begin with a list or a dictionary, a mark and
// (protocol 0) the number of a memo.
bool IsPickle(std::string_view bytes) {
  if (bytes.size() > 2 && bytes[0] == '\x80' && bytes[1] >= 2 && bytes[1] <= 5) return true;
  return bytes.starts_with("(lp0\n") || bytes.starts_with("(dp0\n") || bytes.starts_with(std::string_view("]q\0", 3)) ||
         bytes.starts_with(std::string_view("}q\0", 3));
}

bool StartsWithNoCase(std::string_view text, std::string_view lower) {
  return text.size() >= lower.size() && std::equal(lower.begin(), lower.end(), text.begin(), [](char a, char b) {
           return a == (b >= 'A' && b <= 'Z' ? static_cast<char>(b - 'A' + 'a') : b);
         });
}

}  // namespace

std::optional<std::string_view> ForeignContent(std::string_view bytes) {
  constexpr size_t kFirstEntry = 128;
  if (bytes.starts_with("PK\x03\x04") && bytes.substr(0, kFirstEntry).find("/data.pkl") != std::string_view::npos)
    return kTorch;
  if (IsPickle(bytes)) return kPickle;
  for (const Kind& kind : kBinary) {
    if (bytes.starts_with(kind.magic) && IsBinary(bytes)) return kind.what;
  }
  if (bytes.starts_with("version https://git-lfs.github.com/spec/") ||
      bytes.starts_with("version https://hawser.github.com/spec/")) {
    return kPointer;
  }
  constexpr size_t kTarMagic = 257;
  if (bytes.size() > kTarMagic && bytes.substr(kTarMagic).starts_with("ustar"))
    return "is a tar archive; unpack it and give one of its files";
  if (bytes.starts_with("\xEF\xBB\xBF")) bytes.remove_prefix(3);
  bytes = bytes.substr(std::min(bytes.size(), bytes.find_first_not_of(" \t\r\n")));
  if (StartsWithNoCase(bytes, "<!doctype html") || StartsWithNoCase(bytes, "<html") ||
      StartsWithNoCase(bytes, "<head>") || StartsWithNoCase(bytes, "<!doctype>")) {
    return kPage;
  }
  if (StartsWithNoCase(bytes, "<?xml")) {
    return bytes.substr(0, 1000).find("<html") == std::string_view::npos ? kXml : kPage;
  }
  return std::nullopt;
}

}  // namespace engram
