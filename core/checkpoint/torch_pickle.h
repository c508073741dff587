#pragma once

// The pickle in a file of torch.save, read by a machine that knows a state_dict and nothing else: a list of opcodes, a
// list of names that it may mention, and no code that is called. Anything else is refused by name.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/base/status.h"
#include "core/checkpoint/safetensors.h"

namespace engram::checkpoint {

// A tensor as the pickle describes it; nothing here is checked against the storage's bytes.
struct PickledTensor {
  std::string name;
  Dtype dtype = Dtype::kF32;
  std::string storage;        // its key
  uint64_t storage_size = 0;  // in elements
  uint64_t offset = 0;        // in elements
  std::vector<uint64_t> shape, strides;
};

// One pickle.
struct Pickled {
  std::vector<PickledTensor> tensors;  // of a dictionary from names to tensors; their names are unique
  std::vector<std::string> texts;      // of a list of texts (the keys of the storages in old files)
  size_t size = 0;                     // bytes that the pickle takes
};

inline constexpr size_t kMaxPickle = size_t{1} << 26;
inline constexpr int kMaxPickleDepth = 64;

// `bytes` begins with a pickle (more may follow). INVALID_ARGUMENT for a name that is not on the list (the error names
// it), an opcode that is not known, operands of another kind than the opcode takes, values nested deeper than
// kMaxPickleDepth, a pickle of more than kMaxPickle bytes, and for a value that is neither of the two.
absl::StatusOr<Pickled> ReadTorchPickle(std::span<const std::byte> bytes);
// The same for a value of any kind, of which the size alone is wanted.
absl::StatusOr<size_t> SkipTorchPickle(std::span<const std::byte> bytes);

}  // namespace engram::checkpoint
