#include "core/train/precision.h"

namespace engram::train {

nn::Precision ResolvePrecision(PrecisionChoice choice, at::Device device) {
  if (choice == PrecisionChoice::kAuto) {
    choice = nn::MultipliesBFloat16(device) ? PrecisionChoice::kBFloat16 : PrecisionChoice::kFloat32;
  }
  return choice == PrecisionChoice::kBFloat16 ? nn::Precision::kBFloat16 : nn::Precision::kFloat32;
}

}  // namespace engram::train
