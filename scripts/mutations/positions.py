"""Positions: frequencies of rotary positions."""
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
]
