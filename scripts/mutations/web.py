"""Terms found in texts."""
GROUPS = [
    ("core/annotate/term_matcher.cc", "test_annotate", [
        ("terms: places that only touch overlap", "next->second < match.end_byte", "next->second <= match.end_byte"),
    ]),
    ("core/annotate/byte_automaton.cc", "test_annotate", [
        ("terms: only the longest key of an end is found", "shorter_[order[i]] = states_[state.fallback].ending;", "shorter_[order[i]] = 0;"),
        ("terms: fallbacks go to the root", "state.fallback = state.parent == 0 ? 0 : Next(states_[state.parent].fallback, bytes[i]);", "state.fallback = 0;"),
    ]),
    ("core/annotate/word_borders.cc", "test_annotate", [
        ("terms: a border may lie before a mark", "return !IsMark(after) && (IsUnspaced(before) || IsUnspaced(after));", "return IsUnspaced(before) || IsUnspaced(after);"),
    ]),
]
