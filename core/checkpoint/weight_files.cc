#include "core/checkpoint/weight_files.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/base/files.h"
#include "core/base/strict_json.h"
#include "core/checkpoint/safetensors.h"
#include "core/checkpoint/torch_file.h"
#include "core/checkpoint/version_directory.h"

namespace engram::checkpoint {
namespace {

constexpr size_t kMaxShards = 1024, kMaxIndex = size_t{1} << 26, kMaxTensors = 1'000'000;

// One file of weights, of either format.
class WeightFile {
 public:
  static absl::StatusOr<WeightFile> Open(const std::string& directory, const std::string& name) {
    WeightFile file;
    const std::string path = absl::StrCat(directory, "/", name);
    if (!PathExists(path)) return InvalidField(name, "is missing from the model's directory");
    if (absl::EndsWith(name, ".safetensors")) {
      absl::StatusOr<SafetensorsFile> opened = SafetensorsFile::Open(path);
      if (!opened.ok()) return InvalidField(name, std::string(opened.status().message()));
      file.safetensors_ = std::make_unique<SafetensorsFile>(*std::move(opened));
      for (const auto& [tensor, entry] : file.safetensors_->tensors())
        file.tensors_.push_back({tensor, entry.dtype, entry.shape, entry.bytes});
    } else {
      absl::StatusOr<TorchFile> opened = TorchFile::Open(path);
      if (!opened.ok()) return InvalidField(name, std::string(opened.status().message()));
      file.torch_ = std::make_unique<TorchFile>(*std::move(opened));
      file.tensors_ = file.torch_->tensors();
    }
    return file;
  }
  const std::vector<TensorToWrite>& tensors() const { return tensors_; }

 private:
  std::unique_ptr<SafetensorsFile> safetensors_;
  std::unique_ptr<TorchFile> torch_;
  std::vector<TensorToWrite> tensors_;
};

// {"metadata": {"total_size": 123}, "weight_map": {"tensor": "model-00001-of-00002.safetensors"}}
absl::StatusOr<std::map<std::string, std::string>> ReadIndex(const std::string& directory, const std::string& name,
                                                             std::string_view ending) {
  ENGRAM_ASSIGN_OR_RETURN(const std::string text, ReadFile(absl::StrCat(directory, "/", name), kMaxIndex));
  JsonLimits limits;
  limits.bytes = kMaxIndex;
  limits.keys = kMaxTensors;
  ENGRAM_ASSIGN_OR_RETURN(const nlohmann::json json, ParseStrictObject(text, name, limits));
  ObjectReader reader(json, name);
  reader.Optional("metadata");  // total_size, which is often wrong and of no use here
  std::map<std::string, std::string> map;
  reader.TextMap("weight_map", map);
  ENGRAM_RETURN_IF_ERROR(reader.Finish());
  if (map.empty()) return InvalidField(absl::StrCat(name, ".weight_map"), "names no tensors");
  for (const auto& [tensor, file] : map) {
    if (file.find('/') != std::string::npos || file.starts_with('.') || !absl::EndsWith(file, AbslView(ending)))
      return InvalidField(
          absl::StrCat(name, ".weight_map.", Quoted(tensor)),
          absl::StrCat("is ", Quoted(file), "; it must name a ", AbslView(ending), " file of the same directory"));
  }
  return map;
}

// Each tensor once, and in the shard that the index names.
absl::Status CheckShards(const std::string& index, const std::map<std::string, std::string>& map,
                         const std::map<std::string, WeightFile>& shards) {
  std::map<std::string, std::string> found;
  for (const auto& [file, shard] : shards) {
    for (const TensorToWrite& tensor : shard.tensors()) {
      const auto [other, is_new] = found.emplace(tensor.name, file);
      if (!is_new)
        return InvalidField(file, absl::StrCat("has the tensor ", Quoted(tensor.name), ", and so has ", other->second));
      const auto said = map.find(tensor.name);
      if (said == map.end() || said->second != file)
        return InvalidField(file, absl::StrCat("has the tensor ", Quoted(tensor.name), ", which ", index,
                                               said == map.end() ? " does not name" : " says is in another file"));
    }
  }
  std::vector<std::string> missing;
  for (const auto& [tensor, file] : map) {
    if (!found.contains(tensor)) missing.push_back(tensor);
  }
  if (missing.empty()) return absl::OkStatus();
  return InvalidField(index, absl::StrCat("names ", missing.size(), " tensors that their files lack; the first is ",
                                          Quoted(missing[0])));
}

absl::Status WriteWeights(const std::string& directory, const std::map<std::string, WeightFile>& files,
                          const std::vector<std::string>& sources) {
  std::vector<TensorToWrite> tensors;
  for (const auto& [name, file] : files) tensors.insert(tensors.end(), file.tensors().begin(), file.tensors().end());
  ENGRAM_RETURN_IF_ERROR(
      WriteSafetensors(absl::StrCat(directory, "/", kModelFile), std::move(tensors), {{"format", "pt"}}));
  for (const std::string& source : sources) ENGRAM_RETURN_IF_ERROR(RemoveTree(absl::StrCat(directory, "/", source)));
  return absl::OkStatus();
}

absl::Status JoinShards(const std::string& directory, const std::string& index, std::string_view ending) {
  ENGRAM_ASSIGN_OR_RETURN(const auto map, ReadIndex(directory, index, ending));
  std::set<std::string> names;
  for (const auto& [tensor, file] : map) names.insert(file);
  if (names.size() > kMaxShards) return InvalidField(index, absl::StrCat("names more than ", kMaxShards, " files"));
  std::map<std::string, WeightFile> shards;
  for (const std::string& name : names) {
    ENGRAM_ASSIGN_OR_RETURN(WeightFile shard, WeightFile::Open(directory, name));
    shards.emplace(name, std::move(shard));
  }
  ENGRAM_RETURN_IF_ERROR(CheckShards(index, map, shards));
  std::vector<std::string> sources(names.begin(), names.end());
  sources.push_back(index);
  return WriteWeights(directory, shards, sources);
}

absl::Status Convert(const std::string& directory, const std::string& name) {
  ENGRAM_ASSIGN_OR_RETURN(WeightFile file, WeightFile::Open(directory, name));
  std::map<std::string, WeightFile> files;
  files.emplace(name, std::move(file));
  return WriteWeights(directory, files, {name});
}

}  // namespace

absl::StatusOr<std::vector<std::string>> GatherWeights(const std::string& directory) {
  const auto there = [&](const std::string& name) { return PathExists(absl::StrCat(directory, "/", name)); };
  if (there(kModelFile)) return std::vector<std::string>{};
  for (const auto& [index, ending] :
       {std::pair{"model.safetensors.index.json", ".safetensors"}, {"pytorch_model.bin.index.json", ".bin"}}) {
    if (!there(index)) continue;
    ENGRAM_RETURN_IF_ERROR(JoinShards(directory, index, ending));
    return std::vector<std::string>{absl::StrCat("the weights were joined from the files that ", index, " names")};
  }
  constexpr const char* kTorch = "pytorch_model.bin";
  if (there(kTorch)) {
    ENGRAM_RETURN_IF_ERROR(Convert(directory, kTorch));
    return std::vector<std::string>{absl::StrCat("the weights were converted from ", kTorch, " to safetensors")};
  }
  return InvalidField(kModelFile,
                      "is missing from the model's directory; its weights are read from model.safetensors, from shards "
                      "of it with model.safetensors.index.json, or from pytorch_model.bin");
}

}  // namespace engram::checkpoint
