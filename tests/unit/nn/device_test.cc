#include "core/nn/device.h"

#include <stdexcept>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace engram::nn {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::string Why(const CudaState& state) { return std::string(NoSuchDevice("cuda:7", state).message()); }

TEST(Device, WhatIsNotThereIsNamedWithItsReason) {
  EXPECT_EQ(NoSuchDevice("cuda:7", {}).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(Why({}), "there is no device cuda:7: no NVIDIA driver is installed");
  EXPECT_THAT(Why({true, false, 0}), HasSubstr("install torch with its CUDA wheels"));
  EXPECT_THAT(Why({true, true, 0}), HasSubstr("the driver shows no GPU"));
  EXPECT_EQ(Why({true, true, 1}), "there is no device cuda:7: this machine has cuda:0 alone");
  EXPECT_EQ(Why({true, true, 4}), "there is no device cuda:7: this machine has cuda:0 to cuda:3");
}

TEST(Device, NamesOfNoDeviceAreRefused) {
  EXPECT_EQ(*ParseDevice("cpu"), at::Device(at::kCPU));
  for (const char* name : {"", "gpu", "cuda", "cuda:", "cuda:x", "cuda:-1", "cuda:128", "cuda:99999999999"})
    EXPECT_EQ(ParseDevice(name).status().code(), absl::StatusCode::kInvalidArgument) << name;
  EXPECT_EQ(ParseDevice("cuda:127").status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST(Device, TheCpuHasNoMemoryOfADevice) {
  EXPECT_FALSE(MemoryOf(at::kCPU).has_value());
  EXPECT_EQ(PeakBytesOn(at::kCPU), 0);
}

absl::Status After(const std::exception& exception) { return StatusOfTorchException(exception); }

TEST(Device, MemoryThatRanOutSaysWhatWasNeeded) {
  const absl::Status full = After(c10::OutOfMemoryError({__func__, __FILE__, __LINE__},
                                                        "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a "
                                                        "total capacity of 79.10 GiB of which 1.20 GiB is free. "
                                                        "Process 4711 has 77.00 GiB memory in use."));
  EXPECT_EQ(full.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(full.message()), HasSubstr("(2.50 GiB more were needed, 1.20 GiB were free)"));
  EXPECT_THAT(std::string(full.message()), Not(HasSubstr("4711")));
  const absl::Status little =
      After(c10::OutOfMemoryError({__func__, __FILE__, __LINE__}, "Tried to allocate 512 bytes."));
  EXPECT_THAT(std::string(little.message()), HasSubstr("(512 bytes more were needed)"));
  EXPECT_THAT(std::string(After(std::bad_alloc()).message()), Not(HasSubstr("needed")));
}

TEST(Device, ADeviceThatFailedIsToldFromAComputationThatDid) {
  EXPECT_EQ(After(std::runtime_error("CUDA error: an illegal memory access was encountered")).code(),
            absl::StatusCode::kUnavailable);
  EXPECT_EQ(After(std::runtime_error("the size of tensor a must match")).code(), absl::StatusCode::kInternal);
}

}  // namespace
}  // namespace engram::nn
