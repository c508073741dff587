// Reads and writes safetensors for tests/parity/test_safetensors.py.
//
//   parity_safetensors read    standard input: files, each a uint64 length and its bytes; one line of JSON for each:
//                              {"error": text} or {"metadata", "tensors": {name: [dtype, shape, SHA-256 of the bytes]}}
//   parity_safetensors copy FROM TO    parses FROM and writes the same tensors and metadata to TO

#include <cstring>
#include <iostream>
#include <iterator>

#include "core/base/files.h"
#include "core/checkpoint/safetensors.h"
#include "nlohmann/json.hpp"

namespace engram::checkpoint {
namespace {

nlohmann::json Describe(std::span<const std::byte> bytes) {
  const auto file = SafetensorsFile::Parse(bytes);
  if (!file.ok()) return {{"error", std::string(file.status().message())}};
  nlohmann::json tensors = nlohmann::json::object();
  for (const auto& [name, tensor] : file->tensors()) {
    const std::string_view content(reinterpret_cast<const char*>(tensor.bytes.data()), tensor.bytes.size());
    tensors[name] = {DtypeName(tensor.dtype), tensor.shape, Sha256Hex(content)};
  }
  return {{"metadata", file->metadata()}, {"tensors", std::move(tensors)}};
}

int Read() {
  const std::string in{std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>()};
  for (size_t at = 0; at < in.size();) {
    uint64_t length = 0;
    std::memcpy(&length, in.data() + at, sizeof(length));
    at += sizeof(length);
    std::cout << Describe(std::as_bytes(std::span(in).subspan(at, length))).dump(-1, ' ', true) << "\n";
    at += length;
  }
  return 0;
}

absl::Status Copy(const std::string& from, const std::string& to) {
  ENGRAM_ASSIGN_OR_RETURN(const SafetensorsFile file, SafetensorsFile::Open(from));
  std::vector<TensorToWrite> tensors;
  for (const auto& [name, tensor] : file.tensors()) tensors.push_back({name, tensor.dtype, tensor.shape, tensor.bytes});
  return WriteSafetensors(to, std::move(tensors), file.metadata());
}

}  // namespace
}  // namespace engram::checkpoint

int main(int argc, char** argv) {
  if (argc == 2 && std::string(argv[1]) == "read") return engram::checkpoint::Read();
  if (argc != 4 || std::string(argv[1]) != "copy") return 2;
  const absl::Status status = engram::checkpoint::Copy(argv[2], argv[3]);
  if (!status.ok()) std::cerr << status << "\n";
  return status.ok() ? 0 : 1;
}
