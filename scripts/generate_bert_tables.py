"""Writes core/tokenize/bert_tables.inc: what huggingface/tokenizers' BertNormalizer and BertPreTokenizer do with each code point, asked of
the PyPI wheel itself (its Unicode tables are of several versions at once; no Unicode library reproduces them).

    generate_bert_tables.py > core/tokenize/bert_tables.inc
"""
import tokenizers
from tokenizers import normalizers, pre_tokenizers

SURROGATES = range(0xD800, 0xE000)
ALL = [c for c in range(0x110000) if c not in SURROGATES]


def normalizer(clean=False, chinese=False, strip=False, lower=False):
    return normalizers.BertNormalizer(clean_text=clean, handle_chinese_chars=chinese, strip_accents=strip, lowercase=lower)


def ranges(code_points):
    out = []
    for c in code_points:
        if out and out[-1][1] == c - 1:
            out[-1][1] = c
        else:
            out.append([c, c])
    return out


def print_ranges(name, code_points):
    print(f"constexpr CodePointRange {name}[] = {{")
    found = ranges(code_points)
    for i in range(0, len(found), 8):
        print("    " + " ".join(f"{{0x{a:X}, 0x{b:X}}}," for a, b in found[i:i + 8]))
    print("};")


def print_map(name, mapping):
    """One line a code point: {code point, offset into the text, length}; the text is one UTF-8 string."""
    text, entries = b"", []
    for c, target in mapping:
        encoded = target.encode()
        at = text.find(encoded) if encoded else 0
        if at < 0:
            at = len(text)
            text += encoded
        entries.append((c, at, len(encoded)))
    print(f"constexpr unsigned char {name}Text[] = {{")
    for i in range(0, len(text), 32):
        print("    " + " ".join(f"{b}," for b in text[i:i + 32]))
    print("};")
    print(f"constexpr CodePointMapping {name}[] = {{")
    for i in range(0, len(entries), 6):
        print("    " + " ".join(f"{{0x{c:X}, {at}, {n}}}," for c, at, n in entries[i:i + 6]))
    print("};")


def found_behind(character, **token):
    """Where the added token <x> is found in each of `character`<x>, as tokenizers' \\w and \\s (the regex crate's) decide."""
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({"?": 0}, unk_token="?"))
    made.add_tokens([tokenizers.AddedToken("<x>", normalized=False, **token)])
    return [[offset for token, offset in zip(e.ids, e.offsets) if token == 1] for e in made.encode_batch([chr(c) + "<x>" for c in character])]


def main():
    clean, strip, lower, chinese = normalizer(clean=True), normalizer(strip=True), normalizer(lower=True), normalizer(chinese=True)
    split = pre_tokenizers.BertPreTokenizer()
    print(f"// Made by scripts/generate_bert_tables.py from tokenizers {tokenizers.__version__}; do not edit.")
    cleaned = {c: clean.normalize_str(chr(c)) for c in ALL}
    print_ranges("kRemoved", [c for c in ALL if cleaned[c] == ""])
    print_ranges("kSpace", [c for c in ALL if cleaned[c] == " "])
    print_ranges("kChinese", [c for c in ALL if chinese.normalize_str(chr(c)) != chr(c)])
    pieces = {c: [p for p, _ in split.pre_tokenize_str("a" + chr(c) + "b")] for c in ALL}
    print_ranges("kSplit", [c for c in ALL if pieces[c] == ["a", "b"]])
    print_ranges("kPunctuation", [c for c in ALL if len(pieces[c]) == 3])
    print_ranges("kWord", [c for c, found in zip(ALL, found_behind(ALL, single_word=True)) if not found])
    print_ranges("kWhiteSpace", [c for c, found in zip(ALL, found_behind(ALL, lstrip=True)) if found == [(0, 4)]])
    nfd = normalizers.NFD()
    decomposed = {c: nfd.normalize_str(chr(c)) for c in ALL}
    hangul = range(0xAC00, 0xD7A4)  # decomposed by arithmetic
    print_map("kDecomposed", [(c, t) for c, t in decomposed.items() if t != chr(c) and c not in hangul])
    print_ranges("kDropped", [c for c in ALL if decomposed[c] == chr(c) and strip.normalize_str(chr(c)) == ""])
    print_map("kLower", [(c, t) for c, t in ((c, lower.normalize_str(chr(c))) for c in ALL) if t != chr(c)])
    # Canonical combining classes, as far as their order goes, by comparison with marks of known class.
    known = [(1, 0x334), (6, 0x16FF0), (7, 0x93C), (8, 0x3099), (9, 0x94D), (202, 0x321), (216, 0x31B), (218, 0x302A), (220, 0x316), (222, 0x59A), (224, 0x302E), (226, 0x1D16D),
             (228, 0x5AE), (230, 0x300), (232, 0x315), (233, 0x35C), (234, 0x35D), (240, 0x345)]
    known += [(k, m) for k, m in ((10, 0x5B0), (11, 0x5B1), (12, 0x5B2), (13, 0x5B3), (14, 0x5B4), (15, 0x5B5), (16, 0x5B6), (17, 0x5B7), (18, 0x5B8),
              (19, 0x5B9), (20, 0x5BB), (21, 0x5BC), (22, 0x5BD), (23, 0x5BF), (24, 0x5C1), (25, 0x5C2), (26, 0xFB1E), (27, 0x64B), (28, 0x64C), (29, 0x64D),
              (30, 0x64E), (31, 0x64F), (32, 0x650), (33, 0x651), (34, 0x652), (35, 0x670), (36, 0x711), (84, 0xC55), (91, 0xC56), (103, 0xE38), (107, 0xE48),
              (118, 0xEB8), (122, 0xEC8), (129, 0xF71), (130, 0xF72), (132, 0xF74), (214, 0x1DCE))]
    known.sort()
    print("constexpr CodePointClass kMarks[] = {")
    classes = []
    for c in ALL:
        if decomposed[c] != chr(c):
            continue
        moves_before = [k for k, mark in known if mark != c and nfd.normalize_str(chr(mark) + chr(c)) == chr(c) + chr(mark)]  # class of c is below k, and not 0
        moves_behind = [k for k, mark in known if mark != c and nfd.normalize_str(chr(c) + chr(mark)) == chr(mark) + chr(c)]  # class of c is above k
        if moves_before or moves_behind:
            classes.append((c, max(moves_behind) + 1 if moves_behind else 1))
    for i in range(0, len(classes), 8):
        print("    " + " ".join(f"{{0x{c:X}, {k}}}," for c, k in classes[i:i + 8]))
    print("};")


if __name__ == "__main__":
    main()
