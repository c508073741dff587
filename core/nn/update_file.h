#pragma once

// update.safetensors: the update of the encoder that tasks have masks of (core/nn/masked_update.h), parameter by parameter.
//   update.<parameter>       F32, the parameter's shape
//   mask.<task>.<parameter>  I32 [ceil(elements / 32)], bit i % 32 of word i / 32 is that of element i
// The masks' scales stand in engram.json (checkpoint::Blocks).

#include <map>
#include <string>

#include "core/base/status.h"
#include "core/nn/model.h"

namespace engram::nn {

// Writes what the model has; no masks: no file.
absl::Status SaveUpdate(const Model& model, const std::string& path);

// Gives the model the masks of the tasks in `scales`, which it must have heads of. A pooler that is younger than the file
// is not updated. INVALID_ARGUMENT (field "update.safetensors") for a missing file, a tensor that is missing, not
// expected, of another shape or not finite.
absl::Status LoadUpdate(const std::string& path, const std::map<std::string, double>& scales, Model& model);

}  // namespace engram::nn
