#pragma once

// What config.json says of a layer: heads, biases, windows, rotary positions.

#include "core/base/status.h"
#include "core/checkpoint/config_reader.h"
#include "core/checkpoint/model_config.h"

namespace engram::checkpoint {

// Fills what EncoderSizes holds of the layers, after hidden_size, layers, heads and max_positions. INVALID_ARGUMENT naming
// the key.
absl::Status ReadLayers(ConfigReader& reader, ModelConfig& config);

// The part of it that makes `ropes`, in every spelling that is in use: rope_theta and rope_scaling, rope_parameters, the
// same for each type of layer. An unknown key or type is an error that names it.
absl::Status ReadRopes(ConfigReader& reader, ModelConfig& config);

}  // namespace engram::checkpoint
