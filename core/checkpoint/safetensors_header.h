#pragma once

// The JSON header of a safetensors file, read event by event: nothing is built that the format does not allow.

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/status.h"
#include "core/checkpoint/safetensors.h"

namespace engram::checkpoint {

// One tensor as the header describes it; its numbers are not yet checked against the others and against the file.
struct HeaderTensor {
  std::string name;
  Dtype dtype = Dtype::kF32;
  std::vector<uint64_t> shape;
  std::array<uint64_t, 2> offsets = {0, 0};
};

struct SafetensorsHeader {
  std::vector<HeaderTensor> tensors;  // names are unique
  std::map<std::string, std::string> metadata;
};

// INVALID_ARGUMENT with the reason.
absl::StatusOr<SafetensorsHeader> ParseSafetensorsHeader(std::string_view text);

// "not a valid safetensors file: <why>".
absl::Status BadSafetensors(std::string_view why);

// product(shape) * bits / 8 with checked arithmetic; INVALID_ARGUMENT if it overflows 64 bits or is no whole number of
// bytes.
absl::StatusOr<uint64_t> TensorBytes(std::string_view name, Dtype dtype, const std::vector<uint64_t>& shape);

}  // namespace engram::checkpoint
