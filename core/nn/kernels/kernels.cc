#include <functional>

#include "core/nn/kernels/isa.h"

namespace engram::nn::kernels {

const KernelTable& Kernels() {
  static const KernelTable& table =
      [] {
        __builtin_cpu_init();
        if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
            __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
          return std::cref(kAvx512Kernels);
        }
        if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return std::cref(kAvx2Kernels);
        return std::cref(kBaselineKernels);
      }()
          .get();
  return table;
}

}  // namespace engram::nn::kernels
