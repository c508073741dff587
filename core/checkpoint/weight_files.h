#pragma once

// The weights of a model as the hub has them: model.safetensors, shards of it with an index, pytorch_model.bin, or
// shards of that.

#include <string>
#include <vector>

#include "core/base/status.h"

namespace engram::checkpoint {

// Makes model.safetensors in `directory` out of what holds the weights there, unless it is there already, and removes
// what it was made of; a crash leaves the sources. Returns what a user should know of. INVALID_ARGUMENT naming the file
// for weights that cannot be read: an index that names anything but a file of the same directory, a tensor that is in
// none or in several of the shards, and what torch_file.h and safetensors.h refuse; for field "model.safetensors" if
// there are no weights. RESOURCE_EXHAUSTED on a full disk.
absl::StatusOr<std::vector<std::string>> GatherWeights(const std::string& directory);

}  // namespace engram::checkpoint
