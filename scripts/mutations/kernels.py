"""Kernels of devices, whose bodies the tests run on the host, and the probe that they pass when a device is opened."""
GROUPS = [
    ("core/nn/ops/layer_norm/layer_norm_body.h", "test_nn", [
        ("kernels, LayerNorm: epsilon outside of the root", "1.0F / sqrtf(team.Sum(squares) / static_cast<float>(width) + eps)", "1.0F / (sqrtf(team.Sum(squares) / static_cast<float>(width)) + eps)"),
        ("kernels, LayerNorm: each thread has a mean of its own", "const float mean = team.Sum(total) / static_cast<float>(width);", "const float mean = total / static_cast<float>(width);"),
        ("kernels, LayerNorm gradient: the residual is masked, too", "Store(residual + first + i, ds);", "Store(residual + first + i, ds * factor);"),
        ("kernels, LayerNorm gradient: without the projection", "ToFloat(normalized[first + i]) * along", "0.0F * along"),
        ("kernels, sums over rows: the last part runs beyond its end", "begin + rows_each < rows ? begin + rows_each : rows", "begin + rows_each < rows ? begin + rows_each : rows - 1"),
    ]),
    ("core/nn/cuda", "test_nn", [
        ("kernels, dropout: both halves of a word are the low one", "factor[4 + word] = (words[word] >> 16) < key.threshold", "factor[4 + word] = (words[word] & 0xFFFFu) < key.threshold"),
        ("kernels, dropout: the site does not count", "key.site << 16 | static_cast<uint32_t>(block >> 32)", "0 * key.site | static_cast<uint32_t>(block >> 32)"),
        ("kernels: bf16 is cut off", "(bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16", "bits >> 16"),
        ("flash attention: steps beyond 2^32 repeat", "static_cast<uint32_t>(dropout.step >> 32), dropout.site,", "0, dropout.site,"),
        ("flash attention: takes every width", "shape.head_dim % 8 == 0 && shape.head_dim <= 256", "shape.head_dim <= 256"),
    ]),
    ("core/nn/ops/activation/activation_body.h", "test_nn", [
        ("kernels, GELU: no half", "return 0.5F * x * (1.0F + erff(", "return x * (1.0F + erff("),
        ("kernels, GELU gradient: phi is missing", "+ x * kNormalDensity * expf(-0.5F * x * x);", ";"),
        ("kernels, GELU-tanh gradient: the cubic's slope is one, not three", "(1.0F + 3.0F * kGeluCubic * x * x)", "(1.0F + kGeluCubic * x * x)"),
        ("kernels, SiLU gradient: x is missing", "return s * (1.0F + x * (1.0F - s));", "return s * (1.0F + (1.0F - s));"),
        ("kernels, activation: what is kept lacks the bias", "if (pre != nullptr) Store(pre + first + i, value);", ""),
    ]),
    ("core/nn/ops/embedding/embedding_body.h", "test_nn", [
        ("kernels, embedding: the first position is ignored", "const int64_t row = index[t] + shift;", "const int64_t row = index[t];"),
        ("kernels, embedding: a row beyond the table is the first", ": NAN;", ": ToFloat(table[c]);"),
        ("kernels, runs: all sequences are squared together", "(p + 1 < rows && keys[p + 1] == keys[p])", "(p + 1 < rows && keys[p + 1] >> 32 == id)"),
        ("kernels, runs: the table is replaced", "table[id * width + c] += weight == nullptr ? sum : total;", "table[id * width + c] = weight == nullptr ? sum : total;"),
    ]),
    ("core/nn/ops/cross_entropy/cross_entropy_body.h", "test_nn", [
        ("kernels, cross-entropy: the target's gradient is p", "(c == own ? -others : expf(x[c] - largest)) / total", "expf(x[c] - largest) / total"),
        ("kernels, cross-entropy: the largest is one thread's", "largest = team.Max(largest);", ""),
        ("kernels, cross-entropy: the loss is not weighted", "loss[row] = scale * (logf(total)", "loss[row] = (logf(total)"),
    ]),
    ("core/nn/ops/pooling/pooling_body.h", "test_nn", [
        ("kernels, pooling: the sum in place of the mean", "sum / static_cast<float>(end - begin)", "sum"),
    ]),
    ("core/nn/ops/adamw/adamw_body.h", "test_nn", [
        ("kernels, AdamW: everything decays", "before * (part.decay ? keep : 1.0F)", "before * keep"),
        ("kernels, AdamW: the proximal step's weights also take the gradient", "if (!(penalty.step_strength * f > penalty.threshold)) g += pull;", "g += pull;"),
        ("kernels, AdamW: the proximal step without its denominator", "return w + pull / (1.0F + total);", "return w + pull;"),
        ("kernels, AdamW: a range ends a block too early", "ranges[middle].first_block <= block", "ranges[middle].first_block < block"),
        ("kernels, AdamW: no correction of the second moment", "(sqrtf(v) / root_correction2 + epsilon)", "(sqrtf(v) + epsilon)"),
        ("kernels, gradient norm: a sum of absolute values", "sum += g * g;", "sum += g < 0 ? -g : g;"),
    ]),
    ("core/nn/ops/squared_gradient/squared_gradient_body.h", "test_nn", [
        ("kernels, squared products: the weight of the first sequence for all", "sum.AddPower(weight[n], absolute);", "sum.AddPower(weight[0], absolute);"),
        ("kernels, squared products: a sequence goes on from the one before", "sum.Clear();", ""),
        ("kernels, squared products: rows of the next sequence count", "t < end && c < width ? from[t * width + c] : T{};", "c < width ? from[t * width + c] : T{};"),
        ("kernels, squared products: whole chunks of the next sequence count", "if (t < end && c < width) chunk", "if (c < width) chunk"),
        ("kernels, squared products: a split takes every sequence", "for (int64_t n = split; n < sequences; n += splits) {", "for (int64_t n = 0; n < sequences; n += 1) {"),
        ("kernels, squared sums: an absolute value is a square", "weight[n] * (absolute ? fabsf(sum) : sum * sum);", "weight[n] * (sum * sum);"),
    ]),
    ("core/nn/ops/op_probe.cc", "test_nn", [
        ("probe: a part in a hundred is near enough", "dtype_ == at::kFloat ? 1e-5 : 1.0 / 64", "dtype_ == at::kFloat ? 1e-2 : 1.0 / 64"),
        ("probe: what fails is taken", "if (agrees) probe.take(table, agreed);", "probe.take(table, agreed);"),
        ("probe: passes of attention need not drop the same", "dot(own, v)) <= m.tolerance() * scale)) return false;", "dot(own, v)) <= 1e9 * m.tolerance() * scale)) return false;"),
    ]),
    ("core/nn/device.cc", "test_nn", [
        ("device: memory that ran out names processes", "const size_t place = what.find(before);", "const size_t place = what.find(before); if (place != absl::string_view::npos) return std::string(what.substr(place));"),
    ]),
    ("server/device_choice.cc", "test_server", [
        ("auto: the first GPU alone", "for (int index = 0; index < cuda_devices; ++index)", "for (int index = 0; index < cuda_devices && index < 1; ++index)"),
        ("auto: beside others it is taken", "if (config.devices.size() > 1)", "if (config.devices.size() > 9)"),
    ]),
]
