#include "core/checkpoint/safetensors_header.h"

#include <iterator>
#include <optional>
#include <unordered_set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/strict_json.h"

namespace engram::checkpoint {
namespace {

struct DtypeInfo {
  std::string_view name;
  int bits;
};
// Indexed by Dtype.
constexpr DtypeInfo kDtypes[] = {{"BOOL", 8},        {"F4", 4},      {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"U8", 8},
                                 {"I8", 8},          {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8},
                                 {"F8_E5M2FNUZ", 8}, {"I16", 16},    {"U16", 16},    {"F16", 16},    {"BF16", 16},
                                 {"I32", 32},        {"U32", 32},    {"F32", 32},    {"C64", 64},    {"F64", 64},
                                 {"I64", 64},        {"U64", 64}};
static_assert(std::size(kDtypes) == static_cast<size_t>(Dtype::kU64) + 1);

std::optional<Dtype> FindDtype(std::string_view name) {
  for (size_t i = 0; i < std::size(kDtypes); ++i) {
    if (name == kDtypes[i].name) return static_cast<Dtype>(i);
  }
  return std::nullopt;
}

class HeaderReader final : public nlohmann::json_sax<nlohmann::json> {
 public:
  SafetensorsHeader header;
  std::string error;

  bool start_object(size_t) override {
    if (in_array_ || place_ == Place::kTensor || place_ == Place::kMetadata) return Misplaced();
    if (place_ == Place::kOutside) {
      place_ = Place::kTop;
    } else {
      place_ = metadata_key_ ? Place::kMetadata : Place::kTensor;
    }
    return true;
  }

  bool end_object() override {
    if (place_ == Place::kTensor) {
      for (const auto& [field, seen] :
           {std::pair{"dtype", has_dtype_}, {"shape", has_shape_}, {"two data_offsets", offsets_ == 2}}) {
        if (!seen) return Fail(absl::StrCat(Tensor(), " lacks ", field));
      }
    }
    place_ = place_ == Place::kTop ? Place::kOutside : Place::kTop;
    return true;
  }

  bool key(string_t& name) override {
    switch (place_) {
      case Place::kTensor:
        return TensorField(name);
      case Place::kMetadata:
        key_ = name;
        return header.metadata.emplace(name, "").second ||
               Fail(absl::StrCat("the metadata key ", Quoted(name), " occurs twice"));
      default:
        break;
    }
    if (!names_.insert(name).second) return Fail(absl::StrCat("the name ", Quoted(name), " occurs twice"));
    metadata_key_ = name == "__metadata__";
    if (metadata_key_) return true;
    header.tensors.emplace_back().name = name;
    has_dtype_ = has_shape_ = has_offsets_ = false;
    offsets_ = 0;
    return true;
  }

  bool string(string_t& value) override {
    if (place_ == Place::kMetadata) {
      header.metadata[key_] = value;
      return true;
    }
    if (place_ != Place::kTensor || key_ != "dtype" || in_array_) return Misplaced();
    const std::optional<Dtype> dtype = FindDtype(value);
    if (!dtype) return Fail(absl::StrCat(Tensor(), " has the unknown dtype ", Quoted(value)));
    header.tensors.back().dtype = *dtype;
    return true;
  }

  bool start_array(size_t) override {
    if (place_ != Place::kTensor || key_ == "dtype" || in_array_) return Misplaced();
    in_array_ = true;
    return true;
  }
  bool end_array() override {
    in_array_ = false;
    return true;
  }

  bool number_unsigned(number_unsigned_t value) override {
    if (!in_array_) return Misplaced();
    HeaderTensor& tensor = header.tensors.back();
    if (key_ == "shape") {
      if (tensor.shape.size() == kMaxTensorRank)
        return Fail(absl::StrCat(Tensor(), " has more than ", kMaxTensorRank, " dimensions"));
      tensor.shape.push_back(value);
      return true;
    }
    if (offsets_ == 2) return Fail(absl::StrCat(Tensor(), " has more than two data_offsets"));
    tensor.offsets[offsets_++] = value;
    return true;
  }
  bool number_integer(number_integer_t) override { return Misplaced(); }
  bool number_float(number_float_t, const string_t&) override { return Misplaced(); }
  bool null() override { return Misplaced(); }
  bool boolean(bool) override { return Misplaced(); }
  bool binary(binary_t&) override { return Misplaced(); }
  bool parse_error(size_t position, const std::string&, const nlohmann::json::exception&) override {
    return Fail(absl::StrCat("the header is no valid JSON (at its byte ", position, ")"));
  }

 private:
  enum class Place { kOutside, kTop, kTensor, kMetadata };

  bool TensorField(const std::string& name) {
    bool* seen = name == "dtype"          ? &has_dtype_
                 : name == "shape"        ? &has_shape_
                 : name == "data_offsets" ? &has_offsets_
                                          : nullptr;
    if (seen == nullptr) return Fail(absl::StrCat(Tensor(), " has the unknown field ", Quoted(name)));
    if (std::exchange(*seen, true)) return Fail(absl::StrCat(Tensor(), " has the field ", name, " twice"));
    key_ = name;
    return true;
  }

  // A value of a kind that may not stand where it stands.
  bool Misplaced() {
    switch (place_) {
      case Place::kOutside:
        return Fail("the header is no JSON object");
      case Place::kTop:
        return Fail(metadata_key_ ? "__metadata__ must be an object of texts"
                                  : absl::StrCat(Tensor(), " must be described by an object"));
      case Place::kMetadata:
        return Fail(absl::StrCat("the metadata value of ", Quoted(key_), " must be a text"));
      case Place::kTensor:
        break;
    }
    return Fail(absl::StrCat(Tensor(), ": ", key_,
                             key_ == "dtype" ? " must be a text" : " must be a list of integers from 0 to 2^64 - 1"));
  }

  std::string Tensor() const { return absl::StrCat("tensor ", Quoted(header.tensors.back().name)); }

  bool Fail(std::string why) {
    if (error.empty()) error = std::move(why);
    return false;
  }

  Place place_ = Place::kOutside;
  bool in_array_ = false;
  bool metadata_key_ = false;  // the key read last at the top was __metadata__
  bool has_dtype_ = false, has_shape_ = false, has_offsets_ = false;
  size_t offsets_ = 0;  // numbers read
  std::string key_;     // the key read last inside a tensor or the metadata
  std::unordered_set<std::string> names_;
};

}  // namespace

const char* DtypeName(Dtype dtype) { return kDtypes[static_cast<int>(dtype)].name.data(); }
int DtypeBits(Dtype dtype) { return kDtypes[static_cast<int>(dtype)].bits; }

absl::Status BadSafetensors(std::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat("not a valid safetensors file: ", AbslView(why)));
}

absl::StatusOr<uint64_t> TensorBytes(std::string_view name, Dtype dtype, const std::vector<uint64_t>& shape) {
  uint64_t bits = static_cast<uint64_t>(DtypeBits(dtype));
  for (uint64_t extent : shape) {
    if (__builtin_mul_overflow(bits, extent, &bits))
      return BadSafetensors(absl::StrCat("the size of tensor ", Quoted(name), " overflows"));
  }
  if (bits % 8 != 0) return BadSafetensors(absl::StrCat("tensor ", Quoted(name), " does not end at a whole byte"));
  return bits / 8;
}

absl::StatusOr<SafetensorsHeader> ParseSafetensorsHeader(std::string_view text) {
  if (const auto zero = FindZeroByte(text))
    return BadSafetensors(absl::StrCat("the header is no valid JSON (at its byte ", *zero, ")"));
  HeaderReader reader;
  if (!nlohmann::json::sax_parse(text.begin(), text.end(), &reader)) return BadSafetensors(reader.error);
  return std::move(reader.header);
}

}  // namespace engram::checkpoint
