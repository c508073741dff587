#include "core/checkpoint/zip_entries.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/strict_json.h"

namespace engram::checkpoint {
namespace {

// APPNOTE.TXT of PKWARE, sections 4.3.7 to 4.3.16 and 4.5.3.
constexpr uint32_t kLocalHeader = 0x04034b50, kCentralHeader = 0x02014b50, kEnd = 0x06054b50, kEnd64 = 0x06064b50,
                   kEnd64Locator = 0x07064b50;
constexpr size_t kLocalSize = 30, kCentralSize = 46, kEndSize = 22, kEnd64Size = 56, kLocatorSize = 20;
constexpr size_t kMaxComment = 0xFFFF;
constexpr uint64_t kMaxEntries = 1'000'000;
constexpr uint32_t kInExtra32 = 0xFFFFFFFF;  // the number stands in the 64-bit extra field
constexpr uint16_t kInExtra16 = 0xFFFF, kExtra64 = 1;

absl::Status Bad(std::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat("not a readable zip archive: ", AbslView(why)));
}

using Bytes = std::span<const std::byte>;

template <typename T>
T Read(Bytes bytes, size_t at) {
  T value{};
  std::memcpy(&value, bytes.data() + at, sizeof(T));
  return value;
}
// The part of `size` bytes at `at`; nullopt if it does not lie within.
std::optional<Bytes> Part(Bytes bytes, uint64_t at, uint64_t size) {
  if (at > bytes.size() || size > bytes.size() - at) return std::nullopt;
  return bytes.subspan(at, size);
}
std::string Text(Bytes bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

struct Directory {
  uint64_t entries = 0, size = 0, offset = 0;
};

absl::StatusOr<Directory> FindDirectory(Bytes bytes) {
  if (bytes.size() < kEndSize) return Bad("it is too short");
  const size_t lowest = bytes.size() - std::min(bytes.size(), kEndSize + kMaxComment);
  for (size_t at = bytes.size() - kEndSize + 1; at-- > lowest;) {
    if (Read<uint32_t>(bytes, at) != kEnd) continue;
    Directory found{Read<uint16_t>(bytes, at + 10), Read<uint32_t>(bytes, at + 12), Read<uint32_t>(bytes, at + 16)};
    if (found.entries != kInExtra16 && found.size != kInExtra32 && found.offset != kInExtra32) return found;
    if (at < kLocatorSize || Read<uint32_t>(bytes, at - kLocatorSize) != kEnd64Locator)
      return Bad("it names a 64-bit directory and has none");
    const std::optional<Bytes> end = Part(bytes, Read<uint64_t>(bytes, at - kLocatorSize + 8), kEnd64Size);
    if (!end || Read<uint32_t>(*end, 0) != kEnd64) return Bad("its 64-bit directory lies elsewhere than it says");
    return Directory{Read<uint64_t>(*end, 32), Read<uint64_t>(*end, 40), Read<uint64_t>(*end, 48)};
  }
  return Bad("its end is missing; it was cut off");
}

struct Entry {
  uint64_t size = 0, packed = 0, offset = 0;
};

// Numbers of 64 bits, in the order in which the header's own fields are full.
bool ReadExtra(Bytes extra, Entry& entry) {
  for (size_t at = 0; at + 4 <= extra.size();) {
    const auto kind = Read<uint16_t>(extra, at), length = Read<uint16_t>(extra, at + 2);
    const std::optional<Bytes> field = Part(extra, at + 4, length);
    if (!field) return false;
    at += size_t{4} + length;
    if (kind != kExtra64) continue;
    size_t next = 0;
    for (uint64_t* number : {&entry.size, &entry.packed, &entry.offset}) {
      if (*number != kInExtra32) continue;
      if (next + 8 > field->size()) return false;
      *number = Read<uint64_t>(*field, next);
      next += 8;
    }
  }
  return true;
}

// The bytes of an entry, behind its local header.
absl::StatusOr<Bytes> DataOf(Bytes bytes, const Entry& entry, const std::string& name) {
  const std::optional<Bytes> header = Part(bytes, entry.offset, kLocalSize);
  if (!header || Read<uint32_t>(*header, 0) != kLocalHeader)
    return Bad(absl::StrCat("the file ", Quoted(name), " lies elsewhere than the directory says"));
  const uint64_t begin = entry.offset + kLocalSize + Read<uint16_t>(*header, 26) +
                         Read<uint16_t>(*header, 28);  // its name and extra field
  const std::optional<Bytes> data = Part(bytes, begin, entry.size);
  if (!data) return Bad(absl::StrCat("the file ", Quoted(name), " reaches past the archive's end"));
  return *data;
}

}  // namespace

bool IsZip(Bytes bytes) { return bytes.size() >= 4 && Read<uint32_t>(bytes, 0) == kLocalHeader; }

absl::StatusOr<std::map<std::string, Bytes>> ReadZipEntries(Bytes bytes) {
  ENGRAM_ASSIGN_OR_RETURN(const Directory directory, FindDirectory(bytes));
  const std::optional<Bytes> headers = Part(bytes, directory.offset, directory.size);
  if (!headers || directory.entries > kMaxEntries || directory.entries > headers->size() / kCentralSize)
    return Bad("its directory does not fit");
  std::map<std::string, Bytes> files;
  size_t at = 0;
  for (uint64_t i = 0; i < directory.entries; ++i) {
    const std::optional<Bytes> header = Part(*headers, at, kCentralSize);
    if (!header || Read<uint32_t>(*header, 0) != kCentralHeader) return Bad("its directory is damaged");
    const auto name_size = Read<uint16_t>(*header, 28), extra_size = Read<uint16_t>(*header, 30);
    const std::optional<Bytes> name = Part(*headers, at + kCentralSize, name_size),
                               extra = Part(*headers, at + kCentralSize + name_size, extra_size);
    if (!name || !extra) return Bad("its directory is cut off");
    const std::string file = Text(*name);
    Entry entry{Read<uint32_t>(*header, 24), Read<uint32_t>(*header, 20), Read<uint32_t>(*header, 42)};
    if (!ReadExtra(*extra, entry)) return Bad(absl::StrCat("the sizes of the file ", Quoted(file), " are damaged"));
    if (Read<uint16_t>(*header, 10) != 0 || (Read<uint16_t>(*header, 8) & 1) != 0 || entry.packed != entry.size)
      return Bad(absl::StrCat("the file ", Quoted(file), " is compressed or encrypted; torch.save writes neither"));
    ENGRAM_ASSIGN_OR_RETURN(const Bytes data, DataOf(bytes, entry, file));
    if (!files.emplace(file, data).second) return Bad(absl::StrCat("the file ", Quoted(file), " is there twice"));
    at += kCentralSize + name_size + extra_size + Read<uint16_t>(*header, 32);
  }
  return files;
}

}  // namespace engram::checkpoint
