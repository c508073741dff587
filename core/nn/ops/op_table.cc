#include "core/nn/ops/op_table.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <memory>
#include <type_traits>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "core/nn/ops/implementations.h"

namespace engram::nn::ops {
namespace {

OpTable MakeReferenceOps() {
  OpTable table{};
  reference::SetLinear(table);
  reference::SetActivation(table);
  reference::SetGatedActivation(table);
  reference::SetLayerNorm(table);
  reference::SetRmsNorm(table);
  reference::SetRotary(table);
  reference::SetDropout(table);
  reference::SetAttention(table);
  reference::SetEmbedding(table);
  reference::SetPooling(table);
  reference::SetCrossEntropy(table);
  reference::SetSquaredGradient(table);
  reference::SetAdamW(table);
  return table;
}

OpTable MakeCpuOps() {
  OpTable table = ReferenceOps();
  cpu::SetLinear(table);
  cpu::SetActivation(table);
  cpu::SetLayerNorm(table);
  cpu::SetRotary(table);
  cpu::SetDropout(table);
  cpu::SetAttention(table);
  cpu::SetEmbedding(table);
  cpu::SetPooling(table);
  cpu::SetSquaredGradient(table);
  cpu::SetAdamW(table);
  return table;
}

// The entries of a table, all of which are function pointers.
constexpr size_t kEntries = sizeof(OpTable) / sizeof(void (*)());
static_assert(std::is_trivially_copyable_v<OpTable> && sizeof(OpTable) == kEntries * sizeof(void (*)()));

int64_t NullEntries(const OpTable& table) {
  std::array<uintptr_t, kEntries> entries;
  std::memcpy(entries.data(), &table, sizeof table);
  return std::count(entries.begin(), entries.end(), uintptr_t{0});
}

class Registry {
 public:
  Registry() { Keep(at::kCPU, MakeCpuOps()); }

  const OpTable& Get(at::DeviceType type) const {
    const OpTable* table = current_[static_cast<size_t>(type)].load(std::memory_order_acquire);
    return table != nullptr ? *table : ReferenceOps();
  }
  void Keep(at::DeviceType type, const OpTable& table) ABSL_LOCKS_EXCLUDED(mutex_) {
    const absl::MutexLock lock(&mutex_);
    tables_.push_back(std::make_unique<const OpTable>(table));
    current_[static_cast<size_t>(type)].store(tables_.back().get(), std::memory_order_release);
  }

 private:
  std::array<std::atomic<const OpTable*>, static_cast<size_t>(at::COMPILE_TIME_MAX_DEVICE_TYPES)> current_{};
  absl::Mutex mutex_;
  std::vector<std::unique_ptr<const OpTable>> tables_ ABSL_GUARDED_BY(mutex_);  // replaced ones too: see OpsFor
};

Registry& TheRegistry() {
  static Registry& registry = *new Registry;  // never destroyed: threads may compute until the process ends
  return registry;
}

}  // namespace

const OpTable& ReferenceOps() {
  static const OpTable table = MakeReferenceOps();
  return table;
}

const OpTable& OpsFor(at::Device device) { return TheRegistry().Get(device.type()); }

absl::Status RegisterOps(at::DeviceType type, const OpTable& table) {
  if (const int64_t nulls = NullEntries(table); nulls > 0) {
    return absl::InvalidArgumentError(absl::StrCat("a table of ops has ", nulls, " null entries"));
  }
  TheRegistry().Keep(type, table);
  return absl::OkStatus();
}

}  // namespace engram::nn::ops
