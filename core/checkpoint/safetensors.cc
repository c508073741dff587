#include "core/checkpoint/safetensors.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/foreign_content.h"
#include "core/base/strict_json.h"
#include "core/base/utf8.h"
#include "core/checkpoint/safetensors_header.h"

namespace engram::checkpoint {
namespace {

static_assert(std::endian::native == std::endian::little,
              "safetensors holds little-endian numbers; they are mapped as they are");

constexpr size_t kLengthBytes = sizeof(uint64_t);

// Whether the tensor starts where the one before it ended, and ends where its shape says.
absl::Status CheckPlace(const HeaderTensor& tensor, uint64_t previous_end, uint64_t data_size) {
  const auto [begin, end] = tensor.offsets;
  const auto bad = [&](std::string_view why) {
    return BadSafetensors(absl::StrCat("tensor ", Quoted(tensor.name), AbslView(why)));
  };
  if (end < begin) return bad(absl::StrCat(" ends at ", end, ", before its begin at ", begin));
  if (begin < previous_end) return bad(" overlaps another tensor");
  if (begin > previous_end) return bad(absl::StrCat(" leaves a hole of ", begin - previous_end, " bytes before it"));
  ENGRAM_ASSIGN_OR_RETURN(const uint64_t size, TensorBytes(tensor.name, tensor.dtype, tensor.shape));
  if (end - begin != size)
    return bad(absl::StrCat(" has ", end - begin, " bytes, but its shape and dtype ask for ", size));
  if (end > data_size) return bad(absl::StrCat(" is cut off: it ends at byte ", end, " of ", data_size));
  return absl::OkStatus();
}

// `text` as a JSON string.
absl::StatusOr<std::string> JsonText(const std::string& text) {
  if (FindInvalidUtf8(text)) return absl::InvalidArgumentError(absl::StrCat(Quoted(text), " is not valid UTF-8"));
  return nlohmann::json(text).dump();
}

// Built by hand: the order is the reference writer's, and a header of 100 MB should not be a tree in memory.
absl::StatusOr<std::string> RenderHeader(const std::vector<TensorToWrite>& tensors,
                                         const std::map<std::string, std::string>& metadata) {
  std::string text = "{";
  if (!metadata.empty()) {
    text += "\"__metadata__\":{";
    for (auto it = metadata.begin(); it != metadata.end(); ++it) {
      ENGRAM_ASSIGN_OR_RETURN(const std::string key, JsonText(it->first));
      ENGRAM_ASSIGN_OR_RETURN(const std::string value, JsonText(it->second));
      absl::StrAppend(&text, it == metadata.begin() ? "" : ",", key, ":", value);
    }
    text += "}";
  }
  uint64_t offset = 0;
  for (const TensorToWrite& tensor : tensors) {
    ENGRAM_ASSIGN_OR_RETURN(const std::string name, JsonText(tensor.name));
    absl::StrAppend(&text, text.size() > 1 ? "," : "", name, ":{\"dtype\":\"", DtypeName(tensor.dtype),
                    "\",\"shape\":[");
    for (size_t i = 0; i < tensor.shape.size(); ++i) absl::StrAppend(&text, i == 0 ? "" : ",", tensor.shape[i]);
    absl::StrAppend(&text, "],\"data_offsets\":[", offset, ",", offset + tensor.bytes.size(), "]}");
    offset += tensor.bytes.size();
  }
  text += "}";
  text.append((8 - text.size() % 8) % 8, ' ');
  if (text.size() > kMaxSafetensorsHeader) {
    return absl::InvalidArgumentError(
        absl::StrCat("the header would have ", text.size(), " bytes; the format allows ", kMaxSafetensorsHeader));
  }
  return text;
}

}  // namespace

absl::StatusOr<SafetensorsFile> SafetensorsFile::Open(const std::string& path) {
  SafetensorsFile result;
  ENGRAM_ASSIGN_OR_RETURN(MappedFile mapped, MappedFile::Open(path));
  result.file_ = std::make_unique<MappedFile>(std::move(mapped));
  ENGRAM_RETURN_IF_ERROR(result.ParseInto(result.file_->bytes()));
  return result;
}

absl::StatusOr<SafetensorsFile> SafetensorsFile::Parse(std::span<const std::byte> bytes) {
  SafetensorsFile result;
  ENGRAM_RETURN_IF_ERROR(result.ParseInto(bytes));
  return result;
}

const TensorEntry* SafetensorsFile::Find(const std::string& name) const {
  auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : &found->second;
}

void SafetensorsFile::Release(const TensorEntry& entry) const {
  if (file_ != nullptr) file_->Release(entry.bytes);
}

absl::Status SafetensorsFile::ParseInto(std::span<const std::byte> bytes) {
  if (bytes.size() < kLengthBytes) return BadSafetensors("shorter than the 8 bytes of the header's length");
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), kLengthBytes);
  if (length > kMaxSafetensorsHeader) {
    const std::string_view content(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (const auto foreign = ForeignContent(content)) return BadSafetensors(absl::StrCat("it ", AbslView(*foreign)));
    return BadSafetensors(absl::StrCat("the header's length ", length, " is above ", kMaxSafetensorsHeader));
  }
  if (length > bytes.size() - kLengthBytes) return BadSafetensors("the header is cut off");
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()) + kLengthBytes, length);
  if (text.empty() || text.front() != '{') return BadSafetensors("the header does not begin with {");
  ENGRAM_ASSIGN_OR_RETURN(SafetensorsHeader header, ParseSafetensorsHeader(text));
  const std::span<const std::byte> data = bytes.subspan(kLengthBytes + length);
  std::sort(header.tensors.begin(), header.tensors.end(),
            [](const HeaderTensor& a, const HeaderTensor& b) { return a.offsets < b.offsets; });
  uint64_t end = 0;
  for (HeaderTensor& tensor : header.tensors) {
    ENGRAM_RETURN_IF_ERROR(CheckPlace(tensor, end, data.size()));
    end = tensor.offsets[1];
    tensors_.emplace(std::move(tensor.name), TensorEntry{tensor.dtype, std::move(tensor.shape),
                                                         data.subspan(tensor.offsets[0], end - tensor.offsets[0])});
  }
  if (end != data.size()) return BadSafetensors(absl::StrCat(data.size() - end, " bytes follow the last tensor"));
  metadata_ = std::move(header.metadata);
  return absl::OkStatus();
}

absl::Status WriteSafetensors(const std::string& path, std::vector<TensorToWrite> tensors,
                              const std::map<std::string, std::string>& metadata) {
  std::sort(tensors.begin(), tensors.end(), [](const TensorToWrite& a, const TensorToWrite& b) {
    return a.dtype != b.dtype ? a.dtype > b.dtype : a.name < b.name;
  });
  std::vector<const std::string*> names;
  for (const TensorToWrite& tensor : tensors) {
    ENGRAM_ASSIGN_OR_RETURN(const uint64_t size, TensorBytes(tensor.name, tensor.dtype, tensor.shape));
    if (size != tensor.bytes.size() || tensor.shape.size() > kMaxTensorRank) {
      return absl::InvalidArgumentError(
          absl::StrCat("tensor ", Quoted(tensor.name), ": the bytes do not fit the shape"));
    }
    if (tensor.name == "__metadata__") return absl::InvalidArgumentError("__metadata__ cannot be the name of a tensor");
    names.push_back(&tensor.name);
  }
  const auto less = [](const std::string* a, const std::string* b) { return *a < *b; };
  std::sort(names.begin(), names.end(), less);
  const auto repeated = std::adjacent_find(names.begin(), names.end(),
                                           [](const std::string* a, const std::string* b) { return *a == *b; });
  if (repeated != names.end())
    return absl::InvalidArgumentError(absl::StrCat("tensor ", Quoted(**repeated), " is given twice"));
  ENGRAM_ASSIGN_OR_RETURN(const std::string text, RenderHeader(tensors, metadata));
  const uint64_t length = text.size();
  std::string prefix(kLengthBytes, '\0');
  std::memcpy(prefix.data(), &length, kLengthBytes);
  std::vector<std::string_view> parts = {prefix, text};
  for (const TensorToWrite& tensor : tensors) {
    parts.emplace_back(reinterpret_cast<const char*>(tensor.bytes.data()), tensor.bytes.size());
  }
  return WritePartsAtomic(path, parts);
}

}  // namespace engram::checkpoint
