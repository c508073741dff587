#pragma once

// The entries of a zip archive that holds its files as they are, as torch.save writes it: nothing is unpacked.

#include <cstddef>
#include <map>
#include <span>
#include <string>

#include "core/base/status.h"

namespace engram::checkpoint {

// Each file's bytes by its name; they lie in `bytes`. INVALID_ARGUMENT for an archive that is cut off or damaged, for
// compressed or encrypted files, for a name that occurs twice and for parts that lie outside the archive.
absl::StatusOr<std::map<std::string, std::span<const std::byte>>> ReadZipEntries(std::span<const std::byte> bytes);

// Whether these are the first bytes of a zip archive.
bool IsZip(std::span<const std::byte> bytes);

}  // namespace engram::checkpoint
