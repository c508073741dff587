#pragma once

// Tensors over the encoder's weights, by the parameters' names: what is remembered of each weight survives a change of
// the parameters' order.

#include <string>

#include "ATen/core/Tensor.h"
#include "core/base/status.h"
#include "core/nn/model.h"
#include "core/train/version_memory.h"

namespace engram::continual {

// Whether a parameter may be younger than what is remembered of an encoder: one that came without a pooler gets one for
// the first task whose head stands on it.
bool MayBeYounger(const nn::Model& model, const std::string& parameter);

// SHA-256 of the encoder's weights, in hexadecimal digits: whether two encoders are the same to the bit.
std::string EncoderDigest(const nn::Model& model);

// Puts `flat`, fp32 [encoder elements], into `memory` as one tensor for each parameter, "<what>.<parameter>".
void RememberEncoder(const nn::Model& model, const std::string& what, const at::Tensor& flat,
                     train::VersionMemory& memory);

// The same tensor again, on the model's device; a parameter that is younger than the memory has its elements of
// `younger`, fp32 [encoder elements]. DATA_LOSS with reason MEMORY_DAMAGED naming the tensor that is missing, has
// another shape than its parameter, is no fp32 or not finite.
absl::StatusOr<at::Tensor> RecallEncoder(const nn::Model& model, const std::string& what,
                                         const train::VersionMemory& memory, const at::Tensor& younger);

}  // namespace engram::continual
