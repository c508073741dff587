#include "core/base/random.h"

#include <cmath>
#include <numbers>

namespace engram {

double RandomStream::NextNormal() {
  const double radius = std::sqrt(-2.0 * std::log(1.0 - NextDouble()));
  return radius * std::cos(2.0 * std::numbers::pi * NextDouble());
}

}  // namespace engram
