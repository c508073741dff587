"""Every op, in its reference and in its CPU form."""
GROUPS = [
    ("core/nn/ops/activation/activation_reference.cc", "test_nn", [
        ("activation: GELU by its approximation", 'return at::gelu(pre, "none");', 'return at::gelu(pre, "tanh");'),
        ("activation: GELU-tanh exact", 'return at::gelu(pre, "tanh");', 'return at::gelu(pre, "none");'),
        ("activation: SiLU is ReLU", "return at::silu(pre);", "return at::relu(pre);"),
        ("activation: SiLU three times as large", "return at::silu(pre);", "return 3 * at::silu(pre);"),
        ("activation: tanh is the identity", "return at::tanh(pre);", "return pre;"),
        ("activation gradient: GELU by its approximation", 'gradient = at::gelu_backward(g32, x, "none");', 'gradient = at::gelu_backward(g32, x, "tanh");'),
        ("activation gradient: GELU-tanh is nonsense", 'gradient = at::gelu_backward(g32, x, "tanh");', "gradient = 42 * g32;"),
        ("activation gradient: SiLU is nonsense", "case Activation::kSilu: {", "case Activation::kSilu: { gradient = -7 * g32; break;"),
        ("activation gradient: ReLU's at 0 is 1", "(x > 0)", "(x >= 0)"),
        ("activation gradient: tanh without its square", "(1 - at::tanh(x).square())", "(1 - at::tanh(x))"),
        ("linear with activation: keeps the result in place of what the gradient needs", "if (pre != nullptr) *pre = linear;", "if (pre != nullptr) *pre = Activate(linear, act);"),
    ]),
    ("core/nn/kernels/isa_rows.h", "test_nn", [
        ("CPU LayerNorm: epsilon outside of the root", "1.0F / __builtin_sqrtf(Sum(squares) / width + a.eps);", "1.0F / (__builtin_sqrtf(Sum(squares) / width) + a.eps);"),
        ("CPU LayerNorm: beta is not added", "n * Load(gamma + i, count) + Load(beta + i, count)", "n * Load(gamma + i, count) + 0.0F * Load(beta + i, count)"),
        ("CPU LayerNorm: lanes past the row's end count", "squares += count == kLanes ? square : (lane < static_cast<int32_t>(count) ? square : Floats{});", "squares += square + 0.0F * __builtin_convertvector(lane, Floats);"),
        ("CPU LayerNorm gradient: without the projection", "- Load(normalized + i, count) * projection) * a.rstd;", "- 0.0F * projection) * a.rstd;"),
        ("CPU LayerNorm gradient: the residual branch is masked too", "Store(residual + i, ds, count);", "Store(residual + i, a.keep != nullptr ? ds * LoadKeep(a.keep + i, a.keep_scale, count) : ds, count);"),
        ("CPU sums over rows: the last row is left out", "for (int64_t t = 0; t < a.rows; ++t) {", "for (int64_t t = 0; t + 1 < a.rows; ++t) {"),
        ("CPU embedding: no types", "if (type != nullptr) sum += Load(type + i, count);", "if (type != nullptr) sum += 0.0F * Load(type + i, count);"),
        ("CPU dropout: both halves of a word are the low one", "const Words high = (words[w] >> 16) < a.threshold", "const Words high = (words[w] & 0xFFFFu) < a.threshold"),
        ("CPU dropout: the site does not count", "a.site << 16 | static_cast<uint32_t>(block >> 32)", "0 * a.site | static_cast<uint32_t>(block >> 32)"),
        ("CPU GELU gradient: phi is missing", "phi + value * bell * 0.39894228040143268F;", "phi;"),
        ("CPU squared products: an absolute value keeps its sign", "absolute ? (value < 0.0F ? -value : value) : value * value;", "absolute ? value : value * value;"),
    ]),
    ("core/nn/kernels/isa_attention.h", "test_nn", [
        ("CPU attention: log of the sum without the largest score", "a.logsumexp[q + lane] = shift[lane] + __builtin_logf(sum[lane]);", "a.logsumexp[q + lane] = __builtin_logf(sum[lane]);"),
        ("CPU attention: the sum runs over what dropout kept", "return a.keep == nullptr ? e : e * LoadKeep(a.keep + j * a.keep_stride + q, a.keep_scale);", "const Floats kept = a.keep == nullptr ? e : e * LoadKeep(a.keep + j * a.keep_stride + q, a.keep_scale); sum += kept - e; return kept;"),
        ("CPU attention gradient: delta without dropout", "delta += probability(j) * Load(a.products + j * a.queries + q) * keep(j);", "delta += probability(j) * Load(a.products + j * a.queries + q);"),
        ("CPU attention gradient: without the scale", "(Load(a.products + key * a.queries + q) * kept - delta) * a.scale;", "(Load(a.products + key * a.queries + q) * kept - delta);"),
    ]),
    ("core/nn/ops/attention/attention_cpu.cc", "test_nn", [
        ("CPU attention: scaled by the width", "static_cast<float>(1.0 / std::sqrt(static_cast<double>(dim)));", "static_cast<float>(1.0 / static_cast<double>(dim));"),
        ("CPU attention: one mask for all heads", "FirstAttentionDropout(sequence, head, heads, batch.max_seqlen)", "FirstAttentionDropout(sequence, 0 * head, heads, batch.max_seqlen)"),
        ("CPU attention gradient: later blocks of queries replace earlier ones", "probabilities, used, g_rows, t > 0, grad_v);", "probabilities, used, g_rows, false, grad_v);"),
    ]),
    ("core/nn/ops/attention/attention_reference.cc", "test_nn", [
        ("attention: the value's gradient without dropout", "(mask.defined() ? p * mask : p).transpose(1, 2)", "p.transpose(1, 2)"),
        ("attention: the gradient's rows do not sum to 0", "p * (dp - (dp * p).sum(2, true)) * s.scale;", "p * dp * s.scale;"),
        ("attention: dropout is not applied", "if (dropout.active()) probabilities = probabilities * ProbabilityMask(batch, i, heads, dropout, qkv.device());", "if (dropout.active()) probabilities = probabilities * 1.0;"),
    ]),
    ("core/nn/ops/dropout/dropout_bits.h", "test_nn", [
        ("attention dropout: long heads overlap", "while (max_length * AttentionDropoutStride(max_length) > int64_t{1} << bits) ++bits;", "while (max_length < 0) ++bits;"),
        ("dropout: what is kept is not scaled", "scale(static_cast<float>(65536.0 / (65536.0 - threshold)))", "scale(1.0F)"),
    ]),
    ("core/nn/ops/layer_norm/layer_norm_reference.cc", "test_nn", [
        ("LayerNorm: the residual takes part before dropout", "if (residual.defined()) sum = sum + residual.to(at::kFloat);", "if (residual.defined()) sum = (x + residual).to(at::kFloat);"),
        ("LayerNorm gradient: the mean stays", "(dn - dn.mean(1, true) - n * (dn * n).mean(1, true))", "(dn - n * (dn * n).mean(1, true))"),
        ("LayerNorm: beta's gradient is gamma's", "grad_beta.add_(g32.sum(0));", "grad_beta.add_((g32 * normalized.to(at::kFloat)).sum(0));"),
    ]),
    ("core/nn/ops/linear", "test_nn", [
        ("linear: the CPU's bias gradient replaces", "if (grad_b.defined()) kernels::ColumnSums(", "if (grad_b.defined()) grad_b.zero_(), kernels::ColumnSums("),
        ("linear: the weight gradient replaces", "if (grad_w.defined()) grad_w.add_(at::mm(g.t(), x));", "if (grad_w.defined()) grad_w.copy_(at::mm(g.t(), x));"),
    ]),
    ("core/nn/ops/embedding", "test_nn", [
        ("embedding: the first position is ignored", "at::index_select(position, 0, batch.positions + first_position)", "at::index_select(position, 0, batch.positions + 0 * first_position)"),
        ("embedding: a CPU gradient counts an id once", "table[id[t] * width + c] += from[t * width + c];", "table[id[t] * width + c] = from[t * width + c];"),
        ("embedding: a position beyond the table is read", 'if (position.defined()) CheckIndex("positions", positions, batch.tokens(), position.size(0) - first_position);', ""),
    ]),
    ("core/nn/ops/pooling", "test_nn", [
        ("pooling: the sum in place of the mean", "(sums * InverseLengths(batch, hidden.device()).unsqueeze(1))", "sums"),
        ("pooling: the first token's gradient goes to all", "return OpsFor(g.device()).first_token_gradient(g, batch);", "return OpsFor(g.device()).mean_pool_gradient(g, batch);"),
    ]),
    ("core/nn/ops/cross_entropy/cross_entropy_reference.cc", "test_nn", [
        ("cross-entropy: ignored rows count", "(target != kIgnored).to(at::kFloat)", "(target == target).to(at::kFloat)"),
        ("cross-entropy: the gradient is not weighted", "result.grad.mul_(scale.unsqueeze(1));", "result.grad.mul_(counted.unsqueeze(1));"),
        ("cross-entropy: p - 1 loses its digits", "result.grad.scatter_(1, safe, -result.grad.sum(1, /*keepdim=*/true));", "result.grad.scatter_(1, safe, log_probabilities.gather(1, safe).exp() - 1.0);"),
    ]),
    ("core/nn/ops/squared_gradient", "test_nn", [
        ("squared gradients: not weighted", "total.addcmul_(gradient, gradient, weight);", "total.addcmul_(gradient, gradient, 1.0);"),
        ("squared gradients: ids are squared one by one", "const at::Tensor powers = absolute ? sums.abs() : sums.square();", "const at::Tensor powers = absolute ? sums.abs() : sums.abs() * 2;"),
        ("squared products: the weight of the first sequence for all", "product.data(), weight[n], absolute, out + first * inputs);", "product.data(), weight[0], absolute, out + first * inputs);"),
    ]),
    ("core/nn/ops/adamw/adamw_kernels.cc", "test_nn", [
        ("CPU AdamW: no correction of the second moment", "(std::sqrt(second) / c.root_correction2 + c.epsilon)", "(std::sqrt(second) + c.epsilon)"),
        ("CPU AdamW: epsilon within the root", "(std::sqrt(second) / c.root_correction2 + c.epsilon)", "(std::sqrt(second + c.epsilon) / c.root_correction2)"),
        ("CPU AdamW: the proximal step's weights also take the gradient", "step_strength * importance > threshold ? 0.0F : pull;", "step_strength * importance > threshold ? pull : pull;"),
        ("CPU AdamW: the proximal step without its denominator", "w[i] += pull[i] / (1.0F + weight[i]);", "w[i] += pull[i];"),
        ("CPU AdamW: a step without bound", "(k < kLargestStep ? k : kLargestStep)", "k"),
        ("CPU AdamW: bf16 is cut off", "(bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16", "bits >> 16"),
    ]),
    ("core/nn/ops/adamw/adamw_cpu.cc", "test_nn", [
        ("CPU AdamW: everything decays", "update.keep = decay ? view.keep : 1.0F;", "update.keep = decay || !decay ? view.keep : 1.0F;"),
        ("CPU AdamW: a penalty's value is twice as large", "for (double& value : values) value *= 0.5;", ""),
    ]),
    ("core/nn/ops/adamw/adamw_reference.cc", "test_nn", [
        ("AdamW: weight decay scales the gradient", "if (range.decay) w.mul_(1 - a.lr * a.weight_decay);", "if (range.decay) g.add_(w, a.weight_decay);"),
        ("AdamW: no correction of the first moment", "w.addcdiv_(m, denominator, -a.lr / correction1);", "w.addcdiv_(m, denominator, -a.lr + 0 * correction1);"),
        ("AdamW: the proximal step takes all weights", "at::where(k.gt(penalty.proximal_above), k, at::zeros_like(k));", "k;"),
        ("AdamW: the gradient norm covers frozen elements", "const at::Tensor part = gradients.narrow(0, range.begin, range.end - range.begin);", "const at::Tensor part = gradients.narrow(0, 0, range.end);"),
    ]),
    ("core/nn/ops/op_table.cc", "test_nn", [
        ("op table: the CPU's table is everybody's", "return table != nullptr ? *table : ReferenceOps();", "return table != nullptr ? *table : *current_[static_cast<size_t>(at::kCPU)].load();"),
        ("op table: holes are let in", "if (const int64_t nulls = NullEntries(table); nulls > 0) {", "if (const int64_t nulls = NullEntries(table); nulls < 0) {"),
    ]),
]
