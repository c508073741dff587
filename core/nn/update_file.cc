#include "core/nn/update_file.h"

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "ATen/ops/zeros.h"
#include "absl/strings/str_cat.h"
#include "core/base/files.h"
#include "core/checkpoint/manifest.h"
#include "core/checkpoint/safetensors.h"
#include "core/nn/tensor_file.h"

namespace engram::nn {
namespace {

using checkpoint::kUpdateFile;

std::string UpdateName(const ParameterSlice& slice) { return absl::StrCat("update.", slice.name); }
std::string MaskName(const std::string& task, const ParameterSlice& slice) {
  return absl::StrCat("mask.", task, ".", slice.name);
}

// Reads tensors of known shapes, and counts them.
class Reader {
 public:
  explicit Reader(const checkpoint::SafetensorsFile& file) : file_(file) {}

  bool Has(const std::string& name) const { return file_.Find(name) != nullptr; }
  absl::StatusOr<at::Tensor> Read(const std::string& name, at::ScalarType type, at::IntArrayRef shape) {
    const checkpoint::TensorEntry* const entry = file_.Find(name);
    if (entry == nullptr) return InvalidField(kUpdateFile, absl::StrCat("lacks the tensor ", name));
    if (std::vector<int64_t>(entry->shape.begin(), entry->shape.end()) != shape.vec())
      return InvalidField(kUpdateFile, absl::StrCat("has the tensor ", name, " in another shape than its parameter"));
    ENGRAM_ASSIGN_OR_RETURN(at::Tensor tensor, ReadTensor(name, *entry));
    if (tensor.scalar_type() != type)
      return InvalidField(kUpdateFile, absl::StrCat("has the tensor ", name, " in another dtype"));
    ++read_;
    return tensor;
  }
  bool all() const { return read_ == file_.tensors().size(); }

 private:
  const checkpoint::SafetensorsFile& file_;
  size_t read_ = 0;
};

// A parameter of a pooler, which an encoder may have got after the update was made.
bool IsPooler(const Model& model, const std::string& parameter) {
  const char* const pooler = model.config().family->names.pooler;
  return pooler != nullptr && parameter.starts_with(absl::StrCat(pooler, "."));
}

}  // namespace

absl::Status SaveUpdate(const Model& model, const std::string& path) {
  if (model.masks().empty()) return absl::OkStatus();
  TensorList list;
  const at::Tensor update = model.update().cpu();
  for (const SlotId slot : model.EncoderSlots()) {
    const ParameterSlice& slice = model.parameters().slice(slot);
    list.Add(UpdateName(slice), update.narrow(0, slice.offset, slice.size).view(slice.shape));
  }
  for (const auto& [task, mask] : model.masks()) {
    const at::Tensor bits = UnpackBits(mask.bits, update.numel());
    for (const SlotId slot : model.EncoderSlots()) {
      const ParameterSlice& slice = model.parameters().slice(slot);
      list.Add(MaskName(task, slice), PackBits(bits.narrow(0, slice.offset, slice.size)));
    }
  }
  return list.Write(path, {});
}

absl::Status LoadUpdate(const std::string& path, const std::map<std::string, double>& scales, Model& model) {
  if (!PathExists(path)) return InvalidField(kUpdateFile, "is missing, and tasks have masks of it");
  ENGRAM_ASSIGN_OR_RETURN(const checkpoint::SafetensorsFile file, checkpoint::SafetensorsFile::Open(path));
  Reader reader(file);
  at::Tensor update = at::zeros({model.EncoderElements()}, at::kFloat);
  std::map<std::string, at::Tensor> bits;
  for (const auto& [task, scale] : scales) bits[task] = at::zeros({update.numel()}, at::kBool);
  for (const SlotId slot : model.EncoderSlots()) {
    const ParameterSlice& slice = model.parameters().slice(slot);
    if (!reader.Has(UpdateName(slice)) && IsPooler(model, slice.name)) continue;
    ENGRAM_ASSIGN_OR_RETURN(const at::Tensor part, reader.Read(UpdateName(slice), at::kFloat, slice.shape));
    if (!part.isfinite().all().item<bool>())
      return InvalidField(kUpdateFile, absl::StrCat("holds NaN or Inf in ", UpdateName(slice)));
    update.narrow(0, slice.offset, slice.size).copy_(part.reshape({-1}));
    for (auto& [task, mask] : bits) {
      ENGRAM_ASSIGN_OR_RETURN(const at::Tensor words,
                              reader.Read(MaskName(task, slice), at::kInt, {(slice.size + 31) / 32}));
      mask.narrow(0, slice.offset, slice.size).copy_(UnpackBits(words, slice.size));
    }
  }
  if (!reader.all()) return InvalidField(kUpdateFile, "has a tensor of no parameter, or of no task with a mask");
  std::map<std::string, TaskMask> masks;
  for (const auto& [task, scale] : scales) masks[task] = {PackBits(bits.at(task)), scale};
  return model.SetMasks(std::move(update), std::move(masks));
}

}  // namespace engram::nn
