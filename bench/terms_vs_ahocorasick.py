#!/usr/bin/env python3
"""Terms found in texts: `TermMatcher` against pyahocorasick and ahocorasick-rs, MB of text a second on one core, with 100,000 terms.

Two lists: `frequent`, sequences of one to three words of news, of which the text, other news, has one in every few words; and `names`, random pairs of their words,
of which it has few, as of names. Both in lower case, for the peers know no other. The peers have an easier task: they find every place of the bytes, where ours also
folds case, looks at word borders, chooses the longest and counts code points. What they find, filtered so in Python, has to be what ours finds; the filter is not
timed.

example: ENGRAM_BUILD=build .deps/oracle/bin/python bench/terms_vs_ahocorasick.py
"""
import argparse
import importlib.metadata
import json
import pathlib
import random
import re
import subprocess
import tempfile
import time

import ahocorasick
import ahocorasick_rs

import peers

BAR = 50.0  # MB/s


def material(count: int, megabytes: float) -> tuple[dict[str, list[str]], str]:
    """The lists, out of the texts with even numbers, and a text out of the others."""
    rows = [text.lower() for text in peers.texts(peers.default_data(), 120_000)]
    rng, frequent, names = random.Random(0), {}, {}
    words = [row for row in (re.findall(r"[a-z]+", row) for row in rows[::2]) if len(row) > 3]
    vocabulary = sorted({word for row in words for word in row if len(word) > 4})
    while len(frequent) < count:
        row = rng.choice(words)
        size = rng.choice((1, 2, 2, 3))
        at = rng.randrange(len(row) - size + 1)
        if len(term := " ".join(row[at:at + size])) > 5:
            frequent[term] = None
    while len(names) < count:
        names[f"{rng.choice(vocabulary)} {rng.choice(vocabulary)}"] = None
    text = "\n".join(rows[1::2])
    return {"frequent": list(frequent), "names": list(names)}, (text * (1 + int(megabytes * 1e6) // len(text)))[:int(megabytes * 1e6)]


def longest(text: str, places) -> int:
    """How many of the places (start, end) stand: at word borders, of those that overlap the longest, of equally long ones the first."""
    inside = re.compile(r"\w")

    def border(at: int) -> bool:
        return at in (0, len(text)) or not (inside.match(text[at - 1]) and inside.match(text[at]))

    taken, standing = bytearray(len(text)), 0
    for start, end in sorted({p for p in places if border(p[0]) and border(p[1])}, key=lambda p: (p[0] - p[1], p[0])):
        if not taken[start] and not taken[end - 1]:
            taken[start:end] = b"\1" * (end - start)
            standing += 1
    return standing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--terms", type=int, default=100_000)
    parser.add_argument("--megabytes", type=float, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    lists, text = material(options.terms, options.megabytes)
    for kind, terms in lists.items():
        compare(kind, terms, text, options.repeats)


def compare(kind: str, terms: list[str], text: str, repeats: int) -> None:
    size = len(text.encode())
    automaton = ahocorasick.Automaton()
    for term in terms:
        automaton.add_word(term, len(term))
    automaton.make_automaton()
    rust = ahocorasick_rs.AhoCorasick(terms, implementation=ahocorasick_rs.Implementation.DFA)
    with tempfile.TemporaryDirectory() as name:
        files = pathlib.Path(name) / "terms.txt", pathlib.Path(name) / "text.txt"
        files[0].write_text("\n".join(terms), encoding="utf-8")
        files[1].write_text(text, encoding="utf-8")

        def ours() -> dict:
            return json.loads(subprocess.run([peers.BUILD / "bin" / "parity_web", "terms", *files, "1"], check=True, capture_output=True, text=True).stdout)

        found = [(end + 1 - length, end + 1) for end, length in automaton.iter(text)]
        assert longest(text, found) == ours()["matches"], "the peers find other places"
        assert sorted(found) == sorted((start, end) for _, start, end in rust.find_matches_as_indexes(text, overlapping=True))
        rivals = {"pyahocorasick": lambda: sum(1 for _ in automaton.iter(text)), "ahocorasick-rs": lambda: len(rust.find_matches_as_indexes(text, overlapping=True))}
        mine, theirs = [], {rival: [] for rival in rivals}
        for _ in range(repeats):
            mine.append(size / 1e6 / ours()["seconds"])
            for rival, run in rivals.items():
                start = time.thread_time()
                run()
                theirs[rival].append(size / 1e6 / (time.thread_time() - start))
    for rival, speeds in theirs.items():
        peers.emit([peers.row(f"terms.{kind}.{rival}", mine, f"{rival} {importlib.metadata.version(rival)}", speeds, "MB/s", terms=len(terms), bytes=size, places=len(found), floor=BAR,
                              data=peers.data_name(peers.default_data()))])


if __name__ == "__main__":
    main()
