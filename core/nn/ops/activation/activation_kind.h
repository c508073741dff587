#pragma once

namespace engram::nn {

// kGelu: x Phi(x), exact (erf). kGeluTanh: 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))). kSilu: x sigmoid(x).
enum class Activation { kGelu, kGeluTanh, kRelu, kSilu, kTanh };

}  // namespace engram::nn
