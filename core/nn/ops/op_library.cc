#include "core/nn/ops/op_library.h"

#include <dlfcn.h>

#include <map>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/synchronization/mutex.h"
#include "core/base/log.h"
#include "core/nn/ops/op_probe.h"
#include "core/nn/ops/op_table.h"

namespace engram::nn::ops {
namespace {

struct LeftOut {
  absl::Mutex mutex;
  std::map<at::DeviceType, std::vector<std::string>> of_type ABSL_GUARDED_BY(mutex);
};

LeftOut& TheLeftOut() {
  static LeftOut& left_out = *new LeftOut;
  return left_out;
}

}  // namespace

absl::Status LoadOpLibrary(const std::string& file, at::Device device) {
  using OverrideOps = bool(uint64_t version, uint64_t bytes, OpTable * table);
  void* library = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return absl::NotFoundError(absl::StrCat("no library of ops: ", dlerror()));
  auto* override_ops = reinterpret_cast<OverrideOps*>(dlsym(library, "engram_override_ops"));
  if (override_ops == nullptr) return absl::FailedPreconditionError(absl::StrCat(file, " is no library of ops"));
  const OpTable twins = OpsFor(device);
  OpTable table = twins;
  if (!override_ops(kOpTableVersion, sizeof(OpTable), &table)) {
    return absl::FailedPreconditionError(absl::StrCat(file, " was built for another version of Engram"));
  }
  const ProbeResult probed = ProbeOps(device, twins, table);
  if (!probed.left_out.empty()) {
    LogWarning("kernels that do not compute what they stand for are left out",
               {{"library", file}, {"device", device.str()}, {"ops", absl::StrJoin(probed.left_out, " ")}});
  }
  {
    LeftOut& left_out = TheLeftOut();
    const absl::MutexLock lock(&left_out.mutex);
    left_out.of_type[device.type()] = probed.left_out;
  }
  return RegisterOps(device.type(), table);
}

std::vector<std::string> LeftOutOps(at::DeviceType type) {
  LeftOut& left_out = TheLeftOut();
  const absl::MutexLock lock(&left_out.mutex);
  const auto found = left_out.of_type.find(type);
  return found == left_out.of_type.end() ? std::vector<std::string>{} : found->second;
}

}  // namespace engram::nn::ops
