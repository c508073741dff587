#include "core/continual/encoder_memory.h"

#include "absl/strings/str_cat.h"
#include "core/base/files.h"

namespace engram::continual {

bool MayBeYounger(const nn::Model& model, const std::string& parameter) {
  const char* const pooler = model.config().family->names.pooler;
  return pooler != nullptr && parameter.starts_with(absl::StrCat(pooler, "."));
}

std::string EncoderDigest(const nn::Model& model) {
  const at::Tensor weights = model.parameters().weights().narrow(0, 0, model.EncoderElements()).cpu();
  return Sha256Hex({reinterpret_cast<const char*>(weights.const_data_ptr<float>()),
                    static_cast<size_t>(weights.numel()) * sizeof(float)});
}

void RememberEncoder(const nn::Model& model, const std::string& what, const at::Tensor& flat,
                     train::VersionMemory& memory) {
  const at::Tensor host = flat.cpu();
  for (const nn::SlotId slot : model.EncoderSlots()) {
    const nn::ParameterSlice& slice = model.parameters().slice(slot);
    memory.tensors[absl::StrCat(what, ".", slice.name)] = host.narrow(0, slice.offset, slice.size).view(slice.shape);
  }
}

absl::StatusOr<at::Tensor> RecallEncoder(const nn::Model& model, const std::string& what,
                                         const train::VersionMemory& memory, const at::Tensor& younger) {
  at::Tensor flat = younger.clone();
  for (const nn::SlotId slot : model.EncoderSlots()) {
    const nn::ParameterSlice& slice = model.parameters().slice(slot);
    const std::string name = absl::StrCat(what, ".", slice.name);
    const auto damaged = [&name](const char* how) {
      return StatusWithReason(absl::StatusCode::kDataLoss, "MEMORY_DAMAGED",
                              absl::StrCat("what the strategy remembers is damaged: ", name, " ", how));
    };
    const auto found = memory.tensors.find(name);
    if (found == memory.tensors.end()) {
      if (MayBeYounger(model, slice.name)) continue;
      return damaged("is missing");
    }
    if (found->second.scalar_type() != at::kFloat) return damaged("is no fp32");
    if (found->second.sizes() != at::IntArrayRef(slice.shape)) return damaged("has another shape than its parameter");
    if (!found->second.isfinite().all().item<bool>()) return damaged("holds NaN or Inf");
    flat.narrow(0, slice.offset, slice.size).copy_(found->second.reshape({-1}));
  }
  return flat;
}

}  // namespace engram::continual
