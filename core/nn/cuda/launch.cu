// The bodies as CUDA kernels. Nothing of libtorch is included here, which nvcc would take minutes to read.

#include <cuda_runtime.h>
#include <mma.h>

#include "core/nn/cuda/bodies.h"
#include "core/nn/cuda/launch_error.h"

namespace engram::nn::cuda {
namespace {

class DeviceTeam {
 public:
  static constexpr int kLanes = 32;

  __device__ int rank() const { return static_cast<int>(threadIdx.x); }
  __device__ int size() const { return static_cast<int>(blockDim.x); }
  __device__ int lane() const { return rank() % kLanes; }
  __device__ int warp() const { return rank() / kLanes; }
  __device__ void Sync() { __syncthreads(); }

  template <typename T>
  __device__ T* Shared() {
    extern __shared__ __align__(128) unsigned char shared[];
    return reinterpret_cast<T*>(shared);
  }
  template <typename T>
  __device__ T Sum(T value) {
    return Reduce(value, T{0}, [](T a, T b) { return a + b; });
  }
  __device__ float Max(float value) {
    return Reduce(value, -INFINITY, [](float a, float b) { return fmaxf(a, b); });
  }

 private:
  template <typename T, typename Join>
  static __device__ T OverWarp(T value, const Join& join) {
    for (int distance = kLanes / 2; distance > 0; distance /= 2)
      value = join(value, __shfl_xor_sync(0xFFFFFFFFu, value, distance));
    return value;
  }
  template <typename T, typename Join>
  __device__ T Reduce(T value, T identity, const Join& join) {
    __shared__ T parts[kLanes];
    value = OverWarp(value, join);
    const int warps = size() / kLanes;
    if (warps == 1) return value;
    __syncthreads();  // an earlier reduction has been read
    if (lane() == 0) parts[warp()] = value;
    __syncthreads();
    return OverWarp(lane() < warps ? parts[lane()] : identity, join);
  }
};

template <typename Body>
__global__ void __launch_bounds__(kMostWarps* DeviceTeam::kLanes) Kernel(const __grid_constant__ Body body) {
  DeviceTeam team;
  body(team, static_cast<int64_t>(blockIdx.x));
}

}  // namespace

// bf16 panels by tensor cores: a quarter of the tile is 2 x 2 fragments of 16 x 16.
template <>
class TileSum<BFloat16, DeviceTeam> {
 public:
  __device__ explicit TileSum(const DeviceTeam& team) : row_(team.warp() / 2 * 32), column_(team.warp() % 2 * 32) {
    for (auto& row : total_) {
      for (auto& fragment : row) nvcuda::wmma::fill_fragment(fragment, 0.0F);
    }
  }
  __device__ void Clear() {
    for (auto& row : product_) {
      for (auto& fragment : row) nvcuda::wmma::fill_fragment(fragment, 0.0F);
    }
  }
  __device__ void Multiply(const BFloat16* left, const BFloat16* right) {
    using nvcuda::wmma::fragment;
    const auto* a = reinterpret_cast<const __nv_bfloat16*>(left);
    const auto* b = reinterpret_cast<const __nv_bfloat16*>(right);
    for (int64_t t = 0; t < kSquareStep; t += 16) {
      fragment<nvcuda::wmma::matrix_a, 16, 16, 16, __nv_bfloat16, nvcuda::wmma::col_major> rows[2];
      fragment<nvcuda::wmma::matrix_b, 16, 16, 16, __nv_bfloat16, nvcuda::wmma::row_major> columns[2];
      for (int i = 0; i < 2; ++i) {
        nvcuda::wmma::load_matrix_sync(rows[i], a + t * kSquareStride + row_ + 16 * i, kSquareStride);
        nvcuda::wmma::load_matrix_sync(columns[i], b + t * kSquareStride + column_ + 16 * i, kSquareStride);
      }
      for (int r = 0; r < 2; ++r) {
        for (int c = 0; c < 2; ++c) nvcuda::wmma::mma_sync(product_[r][c], rows[r], columns[c], product_[r][c]);
      }
    }
  }
  __device__ void AddPower(float weight, bool absolute) {
    for (int r = 0; r < 2; ++r) {
      for (int c = 0; c < 2; ++c) {
        for (int e = 0; e < product_[r][c].num_elements; ++e) {
          const float p = product_[r][c].x[e];
          total_[r][c].x[e] += weight * (absolute ? fabsf(p) : p * p);
        }
      }
    }
  }
  template <typename Add>
  __device__ void ForEach(DeviceTeam& team, float* scratch, const Add& add) const {
    for (int r = 0; r < 2; ++r) {
      for (int c = 0; c < 2; ++c) {
        nvcuda::wmma::store_matrix_sync(scratch + (row_ + 16 * r) * kSquareTile + column_ + 16 * c, total_[r][c],
                                        kSquareTile, nvcuda::wmma::mem_row_major);
      }
    }
    team.Sync();
    for (int e = team.rank(); e < kSquareTile * kSquareTile; e += team.size())
      add(e / kSquareTile, e % kSquareTile, scratch[e]);
  }

 private:
  using Sum = nvcuda::wmma::fragment<nvcuda::wmma::accumulator, 16, 16, 16, float>;
  int64_t row_, column_;
  Sum product_[2][2], total_[2][2];
};

template <typename Body>
void Launch(const Body& body, const LaunchShape& shape, void* stream) {
  constexpr int64_t kWithoutAsking = 48 << 10;  // more shared memory than this has to be asked for
  const auto check = [](cudaError_t error) {
    if (error != cudaSuccess) ThrowLaunchError(cudaGetErrorString(error));
  };
  if (shape.shared_bytes > kWithoutAsking) {
    check(cudaFuncSetAttribute(Kernel<Body>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               static_cast<int>(shape.shared_bytes)));
  }
  Kernel<Body><<<static_cast<unsigned>(shape.blocks), static_cast<unsigned>(shape.warps) * DeviceTeam::kLanes,
                 static_cast<size_t>(shape.shared_bytes), static_cast<cudaStream_t>(stream)>>>(body);
  check(cudaGetLastError());
}

#define ENGRAM_INSTANTIATE(...) template void Launch(const __VA_ARGS__& body, const LaunchShape& shape, void* stream);
ENGRAM_FOR_EACH_BODY(ENGRAM_INSTANTIATE)
#undef ENGRAM_INSTANTIATE

}  // namespace engram::nn::cuda
