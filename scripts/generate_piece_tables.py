"""Writes core/tokenize/piece_tables.inc: what the regular expressions, the normal forms and the grapheme clusters of the PyPI wheel of
huggingface/tokenizers know of each code point, asked of the wheel itself (its tables are of several versions of Unicode at once).

    generate_piece_tables.py > core/tokenize/piece_tables.inc
"""
import struct

import tokenizers
from tokenizers import Regex, normalizers, pre_tokenizers

from generate_bert_tables import ALL, print_ranges

ACUTE, ZWJ, KA, VIRAMA, COPYRIGHT = "\u0301", "\u200d", "\u0915", "\u094d", "\u00a9"
LEADING, VOWEL, TRAILING = "\u1100", "\u1161", "\u11a8"


def matched(pattern):
    """The code points that a regular expression matches."""
    split = pre_tokenizers.Split(Regex(pattern), "isolated")
    return [c for c in ALL if len(split.pre_tokenize_str("," + chr(c) + ",")) == 3]


def one_for_each():
    """A charsmap under which every grapheme cluster of fewer than 6 bytes becomes one X, and every character of a longer one. Its trie
    has a leaf behind each first byte."""
    units = [0] * 1024
    units[0] = 256 << 10
    for byte in range(1, 256):
        units[256 + byte] = byte | 1 << 8 | 512 << 10
        units[768 + byte] = 1 << 31
    return normalizers.Precompiled(struct.pack("<I", 4 * len(units)) + struct.pack(f"<{len(units)}I", *units) + b"X\0")


def print_grapheme_classes():
    """Each property by a string whose number of X depends on it alone (the sizes in bytes decide)."""
    normalize = one_for_each().normalize_str
    count = lambda text: len(normalize(text))
    probes = {
        "Joins": lambda c: count("a" + c) == 1,
        "Prepends": lambda c: count(c + "a") == 1,
        "Control": lambda c: count(c + ACUTE + ACUTE) == 2,
        "Leading": lambda c: count(c + LEADING + ACUTE) == 3,
        "Vowel": lambda c: count(c + VOWEL + ACUTE) == 3,
        "Trailing": lambda c: count(c + TRAILING + ACUTE) == 3,
        "Pictograph": lambda c: count(c + ZWJ + COPYRIGHT + ACUTE) == 4,
        "JoinsPictographs": lambda c: count(COPYRIGHT + c + ZWJ + COPYRIGHT + ACUTE) == 5,
        "Consonant": lambda c: count(c + VIRAMA + KA + ACUTE) == 4,
        "Linker": lambda c: count(KA + c + KA + ACUTE) == 4,
        "JoinsConsonants": lambda c: count(KA + c + VIRAMA + KA + ACUTE) == 5,
    }
    found = {name: [c for c in ALL if c != 0 and probe(chr(c))] for name, probe in probes.items()}
    found["Control"].insert(0, 0)  # no trie has a key with this character in it, so that no probe can ask for it
    syllables = set(range(0xAC00, 0xD7A4))  # by arithmetic
    prepends = set(found["Prepends"])
    found["Leading"] = [c for c in found["Leading"] if c not in prepends]
    found["Trailing"] = [c for c in found["Trailing"] if c not in set(found["Vowel"]) | syllables]
    found["Vowel"] = [c for c in found["Vowel"] if c not in set(found["Leading"]) | prepends | syllables]
    for name, code_points in found.items():
        print_ranges("kGrapheme" + name, code_points)


def print_compositions():
    nfc, nfd = normalizers.NFC(), normalizers.NFD()
    pairs = []
    for c in ALL:
        parts = nfd.normalize_str(chr(c))
        if parts == chr(c) or 0xAC00 <= c < 0xD7A4 or nfc.normalize_str(parts) != chr(c):
            continue
        first = nfc.normalize_str(parts[:-1])
        assert len(first) == 1, hex(c)
        pairs.append((ord(first), ord(parts[-1]), c))
    print("constexpr Composition kCompositions[] = {")
    pairs.sort()
    for i in range(0, len(pairs), 5):
        print("    " + " ".join(f"{{0x{a:X}, 0x{b:X}, 0x{c:X}}}," for a, b, c in pairs[i:i + 5]))
    print("};")


def main():
    print(f"// Made by scripts/generate_piece_tables.py from tokenizers {tokenizers.__version__}; do not edit.")
    print_ranges("kLetter", matched(r"\p{L}"))
    print_ranges("kNumber", matched(r"\p{N}"))
    print_ranges("kRegexSpace", matched(r"\s"))
    print_compositions()
    print_grapheme_classes()


if __name__ == "__main__":
    main()
