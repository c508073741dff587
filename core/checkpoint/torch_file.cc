#include "core/checkpoint/torch_file.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <optional>
#include <string_view>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/base/foreign_content.h"
#include "core/base/strict_json.h"
#include "core/checkpoint/safetensors_header.h"
#include "core/checkpoint/torch_pickle.h"
#include "core/checkpoint/zip_entries.h"

namespace engram::checkpoint {
namespace {

using Bytes = std::span<const std::byte>;
using StorageMap = std::map<std::string, Bytes>;

absl::Status Bad(std::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat("not a readable file of torch.save: ", AbslView(why)));
}
absl::Status BadTensor(const PickledTensor& tensor, std::string_view why) {
  return Bad(absl::StrCat("the tensor ", Quoted(tensor.name), " ", AbslView(why)));
}

// Before PyTorch 1.6 a file began with pickles of this number, 0x1950a86a20f9469cfc6c, and of the protocol 1001.
constexpr std::array<unsigned char, 21> kLegacy = {0x80, 2,    0x8a, 10,  0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a,
                                                   0xa8, 0x50, 0x19, '.', 0x80, 2,    'M',  0xe9, 0x03, '.'};

// The elements of a tensor; INVALID_ARGUMENT if they do not lie within its storage, or would be more than it has (a
// stride of 0 repeats elements; a checkpoint has no use for it and a small file could ask for any amount of memory).
absl::StatusOr<uint64_t> CheckPlace(const PickledTensor& tensor) {
  uint64_t count = 1, last = tensor.offset;
  bool empty = false;
  for (size_t i = 0; i < tensor.shape.size(); ++i) {
    const uint64_t size = tensor.shape[i];
    empty = empty || size == 0;
    if (size == 0) continue;
    uint64_t reach = 0;
    if (__builtin_mul_overflow(count, size, &count) || __builtin_mul_overflow(size - 1, tensor.strides[i], &reach) ||
        __builtin_add_overflow(last, reach, &last))
      return BadTensor(tensor, "is larger than memory can be");
  }
  if (empty) return 0;
  if (last >= tensor.storage_size || count > tensor.storage_size)
    return BadTensor(tensor, absl::StrCat("reaches past the ", tensor.storage_size, " elements of its storage"));
  return count;
}

bool IsContiguous(const PickledTensor& tensor) {
  uint64_t expected = 1;
  for (size_t i = tensor.shape.size(); i-- > 0;) {
    if (tensor.shape[i] != 1 && tensor.strides[i] != expected) return false;
    expected *= tensor.shape[i];
  }
  return true;
}

// The elements in the order of the shape.
std::unique_ptr<std::vector<std::byte>> CopyStrided(const PickledTensor& tensor, Bytes storage, uint64_t count,
                                                    size_t element) {
  auto copy = std::make_unique<std::vector<std::byte>>(count * element);
  std::vector<uint64_t> index(tensor.shape.size());
  uint64_t from = tensor.offset;
  for (uint64_t to = 0; to < count; ++to) {
    std::memcpy(copy->data() + to * element, storage.data() + from * element, element);
    for (size_t i = index.size(); i-- > 0;) {
      from += tensor.strides[i];
      if (++index[i] < tensor.shape[i]) break;
      from -= tensor.strides[i] * index[i];
      index[i] = 0;
    }
  }
  return copy;
}

// The storages of an old file: behind the pickles for each of the keys its number of elements and its bytes.
absl::StatusOr<StorageMap> ReadLegacyStorages(Bytes bytes, const Pickled& state, const std::vector<std::string>& keys) {
  std::map<std::string, Dtype> dtypes;
  for (const PickledTensor& tensor : state.tensors) dtypes.emplace(tensor.storage, tensor.dtype);
  StorageMap storages;
  for (const std::string& key : keys) {
    const auto dtype = dtypes.find(key);
    if (dtype == dtypes.end()) return Bad("it holds a storage that no tensor names");
    uint64_t count = 0, size = 0;
    if (bytes.size() < sizeof(count)) return Bad("it is cut off");
    std::memcpy(&count, bytes.data(), sizeof(count));
    bytes = bytes.subspan(sizeof(count));
    const auto element = static_cast<uint64_t>(DtypeBits(dtype->second) / 8);
    if (__builtin_mul_overflow(count, element, &size) || size > bytes.size()) return Bad("it is cut off");
    storages.emplace(key, bytes.first(size));
    bytes = bytes.subspan(size);
  }
  return storages;
}

}  // namespace

struct TorchFile::Storages {
  StorageMap bytes;

  absl::Status Take(const std::vector<PickledTensor>& tensors, TorchFile& out) const {
    uint64_t copied = 0, all = 0;
    for (const auto& [key, storage] : bytes) all += storage.size();
    for (const PickledTensor& tensor : tensors) {
      const auto found = bytes.find(tensor.storage);
      if (found == bytes.end()) return BadTensor(tensor, "names a storage that is not there");
      const auto element = static_cast<size_t>(DtypeBits(tensor.dtype) / 8);
      uint64_t size = 0;
      if (__builtin_mul_overflow(tensor.storage_size, element, &size) || size > found->second.size())
        return BadTensor(tensor, "asks for a larger storage than there is");
      ENGRAM_ASSIGN_OR_RETURN(const uint64_t count, CheckPlace(tensor));
      TensorToWrite made{tensor.name, tensor.dtype, tensor.shape, {}};
      if (count > 0 && IsContiguous(tensor)) {
        made.bytes = found->second.subspan(tensor.offset * element, count * element);
      } else if (count > 0) {
        // Many tensors may share one storage; their copies together stay within what the file has.
        copied += count * element;
        if (copied > all) return BadTensor(tensor, "and others of one storage would be larger than the file");
        out.copies_.push_back(CopyStrided(tensor, found->second, count, element));
        made.bytes = *out.copies_.back();
      }
      out.tensors_.push_back(std::move(made));
    }
    std::sort(out.tensors_.begin(), out.tensors_.end(),
              [](const TensorToWrite& a, const TensorToWrite& b) { return a.name < b.name; });
    return absl::OkStatus();
  }
};

absl::StatusOr<TorchFile> TorchFile::Open(const std::string& path) {
  TorchFile result;
  ENGRAM_ASSIGN_OR_RETURN(MappedFile mapped, MappedFile::Open(path));
  result.file_ = std::make_unique<MappedFile>(std::move(mapped));
  ENGRAM_RETURN_IF_ERROR(result.ParseInto(result.file_->bytes()));
  return result;
}

absl::StatusOr<TorchFile> TorchFile::Parse(Bytes bytes) {
  TorchFile result;
  ENGRAM_RETURN_IF_ERROR(result.ParseInto(bytes));
  return result;
}

absl::Status TorchFile::ParseInto(Bytes bytes) {
  if (IsZip(bytes)) return ParseZip(bytes);
  if (bytes.size() >= kLegacy.size() && std::memcmp(bytes.data(), kLegacy.data(), kLegacy.size()) == 0)
    return ParseLegacy(bytes.subspan(kLegacy.size()));
  const std::string_view content(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (const auto foreign = ForeignContent(content)) return Bad(absl::StrCat("it ", AbslView(*foreign)));
  return Bad("it begins neither as a zip archive nor as PyTorch's older format");
}

absl::Status TorchFile::ParseZip(Bytes bytes) {
  ENGRAM_ASSIGN_OR_RETURN(const auto files, ReadZipEntries(bytes));
  std::optional<std::string> folder;  // "archive/", or what the file was called when it was written
  for (const auto& [name, data] : files) {
    if (!absl::EndsWith(name, "/data.pkl")) continue;
    if (folder) return Bad("it has two data.pkl");
    folder = name.substr(0, name.size() - std::string_view("data.pkl").size());
  }
  if (!folder) return Bad("it has no data.pkl");
  if (const auto order = files.find(*folder + "byteorder"); order != files.end()) {
    const std::string_view said(reinterpret_cast<const char*>(order->second.data()), order->second.size());
    if (said != "little") return Bad("its numbers are not little-endian; save it on a machine whose numbers are");
  }
  ENGRAM_ASSIGN_OR_RETURN(const Pickled state, ReadTorchPickle(files.at(*folder + "data.pkl")));
  Storages storages;
  const std::string prefix = *folder + "data/";
  for (const auto& [name, data] : files) {
    if (absl::StartsWith(name, prefix)) storages.bytes.emplace(name.substr(prefix.size()), data);
  }
  return storages.Take(state.tensors, *this);
}

absl::Status TorchFile::ParseLegacy(Bytes bytes) {
  ENGRAM_ASSIGN_OR_RETURN(const size_t machine, SkipTorchPickle(bytes));  // sizes of numbers on the machine of then
  bytes = bytes.subspan(machine);
  ENGRAM_ASSIGN_OR_RETURN(const Pickled state, ReadTorchPickle(bytes));
  bytes = bytes.subspan(state.size);
  ENGRAM_ASSIGN_OR_RETURN(const Pickled keys, ReadTorchPickle(bytes));
  Storages storages;
  ENGRAM_ASSIGN_OR_RETURN(storages.bytes, ReadLegacyStorages(bytes.subspan(keys.size), state, keys.texts));
  return storages.Take(state.tensors, *this);
}

}  // namespace engram::checkpoint
