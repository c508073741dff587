#include "core/nn/ops/op_library.h"

#include <dlfcn.h>

#include "absl/strings/str_cat.h"
#include "core/nn/ops/op_table.h"

namespace engram::nn::ops {

absl::Status LoadOpLibrary(const std::string& file, at::DeviceType type) {
  using OverrideOps = bool(uint64_t version, uint64_t bytes, OpTable * table);
  void* library = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return absl::NotFoundError(absl::StrCat("no library of ops: ", dlerror()));
  auto* override_ops = reinterpret_cast<OverrideOps*>(dlsym(library, "engram_override_ops"));
  if (override_ops == nullptr) return absl::FailedPreconditionError(absl::StrCat(file, " is no library of ops"));
  OpTable table = OpsFor(at::Device(type));
  if (!override_ops(kOpTableVersion, sizeof(OpTable), &table)) {
    return absl::FailedPreconditionError(absl::StrCat(file, " was built for another version of Engram"));
  }
  return RegisterOps(type, table);
}

}  // namespace engram::nn::ops
