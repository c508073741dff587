#pragma once

// Sums of probabilities that are given by their logarithms.

#include <algorithm>
#include <cmath>
#include <limits>

namespace engram::tagging {

inline constexpr double kMinusInfinity = -std::numeric_limits<double>::infinity();  // log of 0

// log(exp(a) + exp(b)). Neither NaN nor plus infinity.
inline double LogAdd(double a, double b) {
  const double high = std::max(a, b);
  if (high == kMinusInfinity) return high;
  return high + std::log1p(std::exp(std::min(a, b) - high));
}

}  // namespace engram::tagging
