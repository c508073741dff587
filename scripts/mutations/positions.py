"""Positions and what blocks of other families than BERT are made of."""
GROUPS = [
    ("core/checkpoint/rope.cc", "test_checkpoint", [
        ("rope: yarn scales from the extended length", "static_cast<double>(rope.original_positions) / (turns * 2 * std::numbers::pi)", "static_cast<double>(rope.max_positions) / (turns * 2 * std::numbers::pi)"),
        ("rope: yarn's ramp the other way round", "out.angles[i] = out.angles[i] / factor * ramp + out.angles[i] * (1 - ramp);", "out.angles[i] = out.angles[i] / factor * (1 - ramp) + out.angles[i] * ramp;"),
        ("rope: yarn's attention factor is forgotten", "return LogScale(factor, 1);", "return 1;"),
        ("rope: ntk-aware by d instead of d - 2", "static_cast<double>(d) / static_cast<double>(d - 2));", "1.0);"),
        ("rope: dynamic forgets the factor that is taken back", "rope.factor * length_factor - (rope.factor - 1)", "rope.factor * length_factor"),
        ("rope: llama3 blends the other way round", "angle = (1 - kept) * angle / rope.factor + kept * angle;", "angle = kept * angle / rope.factor + (1 - kept) * angle;"),
        ("rope: ntk_mixed counts from 0", "std::pow(static_cast<double>(i + 1), rope.mixed_b)", "std::pow(static_cast<double>(i), rope.mixed_b)"),
        ("rope: longrope's long list from its own length on", "length <= rope.original_positions ? rope.short_factor", "length < rope.original_positions ? rope.short_factor"),
        ("rope: phases in fp32", "const double phase = position * frequencies.angles[i];", "const float phase = static_cast<float>(position) * static_cast<float>(frequencies.angles[i]);"),
    ]),
    ("core/nn/ops/rotary/rotary_cpu.cc", "test_nn", [
        ("rotary: the gradient turns the same way", "transposed ? -1.0F : 1.0F", "transposed ? 1.0F : 1.0F"),
        ("rotary: the second dimension is turned by the first's new value", "static_cast<T>(b * cosines[j] + a * s)", "static_cast<T>(b * cosines[j] + first[j] * s)"),
    ]),
    ("core/nn/ops/rms_norm/rms_norm_reference.cc", "test_nn", [
        ("rms norm: a sum of squares in the place of the mean", "x32.square().mean(1, /*keepdim=*/true)", "x32.square().sum(1, /*keepdim=*/true)"),
        ("rms norm gradient: the norm is taken for a constant", "(dn - n * (dn * n).mean(1, /*keepdim=*/true)) * rstd", "dn * rstd"),
    ]),
    ("core/nn/ops/gated_activation/gated_activation_reference.cc", "test_nn", [
        ("gate: the other half is activated", "return Activate(rows.narrow(1, 0, inner), act) * rows.narrow(1, inner, inner);", "return Activate(rows.narrow(1, inner, inner), act) * rows.narrow(1, 0, inner);"),
    ]),
    ("core/nn/layers/positions.cc", "test_nn", [
        ("rotations: the longest text's scale is everybody's", "FrequenciesOf(RopeWith(rope, plan, length), length)", "FrequenciesOf(RopeWith(rope, plan, batch.max_seqlen), batch.max_seqlen)"),
    ]),
    ("core/nn/layers/embedding_layer.cc", "test_nn", [
        ("embeddings: gradients of extended positions are not shared out", "share.push_back(static_cast<float>(term.share));", "share.push_back(1.0F);"),
    ]),
    ("core/nn/layers/block.cc", "tests/parity/test_model.py", [
        ("block: pre-norm forgets the residual of attention", "ops::ApplyDropout(projected, AfterAttention(pass.mode)) + x;", "ops::ApplyDropout(projected, AfterAttention(pass.mode)) + 0 * x;"),
    ]),
    ("core/checkpoint/layer_config.cc", "test_checkpoint", [
        ("windows: a causal window does not count the token itself", "config.family->block.causal ? size - 1 : size / 2", "config.family->block.causal ? size : size / 2"),
    ]),
]
