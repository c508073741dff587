#include "core/checkpoint/safetensors.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <string_view>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"

namespace engram::checkpoint {
namespace {

static_assert(std::endian::native == std::endian::little, "safetensors holds little-endian numbers; they are mapped as they are");

constexpr uint64_t kMaxHeader = 100'000'000;
struct DtypeInfo {
  const char* name;
  size_t bytes;
};
// Indexed by Dtype; the order is the reference's (by alignment), which decides the order in a written file.
constexpr DtypeInfo kDtypes[] = {{"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"F8_E5M2", 1}, {"F8_E4M3", 1}, {"I16", 2}, {"U16", 2}, {"F16", 2},
                                 {"BF16", 2}, {"I32", 4}, {"U32", 4}, {"F32", 4},     {"I64", 8},     {"U64", 8}, {"F64", 8}};

absl::Status Bad(const std::string& why) { return absl::InvalidArgumentError("not a valid safetensors file: " + why); }

// One entry of the header, not yet checked against the others.
struct HeaderEntry {
  std::string name;
  std::string dtype;
  std::vector<uint64_t> shape;
  std::vector<uint64_t> offsets;
  bool has_dtype = false, has_shape = false, has_offsets = false;
};

// Reads the header event by event: nesting is fixed by the format, duplicate keys are refused, nothing is built that the format does not allow.
class HeaderReader final : public nlohmann::json_sax<nlohmann::json> {
 public:
  std::vector<HeaderEntry> entries;
  std::map<std::string, std::string> metadata;
  std::string error;

  bool start_object(size_t) override {
    ++depth_;
    if (depth_ == 1) return true;
    if (depth_ == 2 && array_depth_ == 0) return true;
    return Fail("the header nests too deep");
  }
  bool end_object() override {
    --depth_;
    if (depth_ == 1 && !in_metadata_) {
      const HeaderEntry& e = entries.back();
      if (!e.has_dtype || !e.has_shape || !e.has_offsets) return Fail("tensor " + e.name + " lacks dtype, shape or data_offsets");
    }
    if (depth_ == 1) in_metadata_ = false;
    return true;
  }
  bool key(string_t& name) override {
    if (depth_ == 1) {
      if (!names_.emplace(name, 0).second) return Fail("the name " + name + " occurs twice");
      in_metadata_ = name == "__metadata__";
      if (!in_metadata_) {
        entries.emplace_back();
        entries.back().name = name;
      }
      return true;
    }
    key_ = name;
    if (in_metadata_) return metadata.emplace(name, "").second || Fail("a metadata key occurs twice");
    HeaderEntry& e = entries.back();
    bool* seen = name == "dtype" ? &e.has_dtype : name == "shape" ? &e.has_shape : name == "data_offsets" ? &e.has_offsets : nullptr;
    if (seen == nullptr) return Fail("tensor " + e.name + " has the unknown field " + name);
    if (*seen) return Fail("tensor " + e.name + " has the field " + name + " twice");
    *seen = true;
    return true;
  }
  bool string(string_t& value) override {
    if (depth_ == 2 && in_metadata_) {
      metadata[key_] = value;
      return true;
    }
    if (depth_ == 2 && key_ == "dtype" && array_depth_ == 0) {
      entries.back().dtype = value;
      return true;
    }
    return Fail("a string stands where none may stand");
  }
  bool start_array(size_t) override {
    if (depth_ == 2 && !in_metadata_ && array_depth_ == 0 && (key_ == "shape" || key_ == "data_offsets")) {
      ++array_depth_;
      return true;
    }
    return Fail("an array stands where none may stand");
  }
  bool end_array() override {
    --array_depth_;
    return true;
  }
  bool number_unsigned(number_unsigned_t value) override {
    if (array_depth_ != 1) return Fail("a number stands where none may stand");
    (key_ == "shape" ? entries.back().shape : entries.back().offsets).push_back(value);
    return true;
  }
  bool number_integer(number_integer_t) override { return Fail("a negative number"); }
  bool number_float(number_float_t, const string_t&) override { return Fail("a number that is not an integer"); }
  bool null() override { return Fail("null stands where none may stand"); }
  bool boolean(bool) override { return Fail("a boolean stands where none may stand"); }
  bool binary(binary_t&) override { return Fail("binary content"); }
  bool parse_error(size_t position, const std::string&, const nlohmann::json::exception&) override {
    return Fail("the header is no JSON (at byte " + std::to_string(position) + ")");
  }

 private:
  bool Fail(const std::string& why) {
    if (error.empty()) error = why;
    return false;
  }

  int depth_ = 0, array_depth_ = 0;
  bool in_metadata_ = false;
  std::string key_;
  std::map<std::string, int> names_;
};

absl::StatusOr<uint64_t> ByteCount(const HeaderEntry& e, Dtype dtype) {
  uint64_t bytes = DtypeBytes(dtype);
  for (uint64_t extent : e.shape) {
    if (__builtin_mul_overflow(bytes, extent, &bytes)) return Bad("the size of tensor " + e.name + " overflows");
  }
  return bytes;
}

absl::StatusOr<Dtype> ParseDtype(const std::string& name) {
  for (size_t i = 0; i < std::size(kDtypes); ++i) {
    if (name == kDtypes[i].name) return static_cast<Dtype>(i);
  }
  return Bad("unknown or unsupported dtype " + name);
}

}  // namespace

const char* DtypeName(Dtype dtype) { return kDtypes[static_cast<int>(dtype)].name; }
size_t DtypeBytes(Dtype dtype) { return kDtypes[static_cast<int>(dtype)].bytes; }

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

absl::Status SafetensorsFile::ParseInto(std::span<const std::byte> bytes) {
  if (bytes.size() < 8) return Bad("shorter than the 8 bytes of the header's length");
  uint64_t header = 0;
  std::memcpy(&header, bytes.data(), 8);
  if (header > kMaxHeader) return Bad(absl::StrCat("the header's length ", header, " is above ", kMaxHeader));
  if (header > bytes.size() - 8) return Bad("the header is cut off");
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()) + 8, header);
  if (text.empty() || text.front() != '{') return Bad("the header does not begin with {");
  HeaderReader reader;
  if (!nlohmann::json::sax_parse(text.begin(), text.end(), &reader) || !reader.error.empty()) return Bad(reader.error);
  const std::span<const std::byte> data = bytes.subspan(8 + header);
  for (const HeaderEntry& e : reader.entries) {
    if (e.offsets.size() != 2) return Bad("tensor " + e.name + " needs two data_offsets");
  }
  std::sort(reader.entries.begin(), reader.entries.end(), [](const HeaderEntry& a, const HeaderEntry& b) {
    return std::tie(a.offsets[0], a.offsets[1]) < std::tie(b.offsets[0], b.offsets[1]);
  });
  uint64_t end = 0;
  for (HeaderEntry& e : reader.entries) {
    if (e.offsets[0] != end || e.offsets[1] < e.offsets[0]) return Bad("tensor " + e.name + " overlaps another, leaves a hole or runs backwards");
    ENGRAM_ASSIGN_OR_RETURN(const Dtype dtype, ParseDtype(e.dtype));
    ENGRAM_ASSIGN_OR_RETURN(const uint64_t size, ByteCount(e, dtype));
    if (e.offsets[1] - e.offsets[0] != size) return Bad("the shape of tensor " + e.name + " does not fit its bytes");
    end = e.offsets[1];
    if (end > data.size()) return Bad("the data are cut off");
    tensors_.emplace(e.name, TensorEntry{dtype, std::move(e.shape), data.subspan(e.offsets[0], size)});
  }
  if (end != data.size()) return Bad(absl::StrCat(data.size() - end, " bytes follow the last tensor"));
  metadata_ = std::move(reader.metadata);
  return absl::OkStatus();
}

absl::Status WriteSafetensors(const std::string& path, std::vector<TensorToWrite> tensors,
                              const std::map<std::string, std::string>& metadata) {
  std::sort(tensors.begin(), tensors.end(), [](const TensorToWrite& a, const TensorToWrite& b) {
    return a.dtype != b.dtype ? a.dtype > b.dtype : a.name < b.name;
  });
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  uint64_t offset = 0;
  for (const TensorToWrite& tensor : tensors) {
    uint64_t size = DtypeBytes(tensor.dtype);
    for (uint64_t extent : tensor.shape) size *= extent;
    if (size != tensor.bytes.size()) return absl::InvalidArgumentError("tensor " + tensor.name + ": the bytes do not fit the shape");
    if (header.contains(tensor.name)) return absl::InvalidArgumentError("tensor " + tensor.name + " is given twice");
    header[tensor.name] = {{"dtype", DtypeName(tensor.dtype)}, {"shape", tensor.shape}, {"data_offsets", {offset, offset + size}}};
    offset += size;
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');
  const uint64_t length = text.size();
  std::string prefix(8, '\0');
  std::memcpy(prefix.data(), &length, 8);
  std::vector<std::string_view> parts = {prefix, text};
  for (const TensorToWrite& tensor : tensors) parts.emplace_back(reinterpret_cast<const char*>(tensor.bytes.data()), tensor.bytes.size());
  return WritePartsAtomic(path, parts);
}

}  // namespace engram::checkpoint
