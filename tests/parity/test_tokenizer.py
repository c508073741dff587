"""WordPiece against the PyPI tokenizers wheel: ids, type ids, special mask, words, offsets. The bar is 0 differences."""
import gzip
import json
import os
import pathlib
import random
import shutil
import struct
import subprocess

import numpy
import pytest
import tokenizers
import transformers

BUILD = pathlib.Path(os.environ["ENGRAM_BUILD"])
ROOT = pathlib.Path(__file__).resolve().parents[2]
BASE_MODEL = ROOT / ".deps" / "base-model"


def oracle(**normalizer) -> tokenizers.Tokenizer:
    made = tokenizers.Tokenizer.from_file(str(BASE_MODEL / "tokenizer.json"))
    made.no_truncation()
    made.no_padding()
    if normalizer:
        made.normalizer = tokenizers.normalizers.BertNormalizer(**normalizer)
    made.encode_special_tokens = True  # "[SEP]" in a text is plain text
    return made


def ours(items, folder: pathlib.Path, mode: str = "single", directory: pathlib.Path = BASE_MODEL, **options):
    """Our encodings of items (tuples of strings), one row of six arrays each, or None where we refused."""
    (folder / "options.json").write_text(json.dumps(options))
    with open(folder / "in", "wb") as out:
        for item in items:
            out.write(struct.pack("<I", len(item)))
            for text in item:
                encoded = text.encode()
                out.write(struct.pack("<I", len(encoded)) + encoded)
    answer = subprocess.run([BUILD / "bin" / "parity_tokenizer", directory, mode, folder / "options.json", folder / "in", folder / "out"],
                            capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    numbers = numpy.fromfile(folder / "out", numpy.int32).tolist()
    at = 0
    while at < len(numbers):
        count = numbers[at]
        at += 1
        if count < 0:
            yield None
            continue
        yield [numbers[at + k * count:at + (k + 1) * count] for k in range(6)]
        at += 6 * count


def row(encoding) -> list:
    words = [-1 if w is None else w for w in encoding.word_ids]
    offsets = encoding.offsets
    return [encoding.ids, encoding.type_ids, encoding.special_tokens_mask, words, [o[0] for o in offsets], [o[1] for o in offsets]]


def compare(items, encodings, folder, **options) -> None:
    """Special tokens in the texts are split on both sides, unless `options` say otherwise."""
    options.setdefault("split_special_tokens", True)
    differences = []
    results = ours(items, folder, **options)
    for item, encoding, got in zip(items, encodings, results, strict=True):
        expected = row(encoding)
        if got != expected:
            differences.append((item, expected, got))
    assert not differences, f"{len(differences)} of {len(items)} differ; the first: {differences[0]}"


ALL = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]


@pytest.mark.parametrize("context", ["{}", "a{}b"])
def test_every_code_point(context, tmp_path):
    texts = [context.format(chr(c)) for c in ALL]
    compare([(t,) for t in texts], oracle().encode_batch(texts), tmp_path)


def random_text(generator: random.Random) -> str:
    pools = [lambda: chr(generator.choice(ALL)), lambda: chr(generator.randrange(0x20, 0x7F)), lambda: chr(generator.randrange(0x300, 0x370)),
             lambda: chr(generator.randrange(0xAC00, 0xD7A4)), lambda: chr(generator.randrange(0x4E00, 0x4F00)), lambda: chr(generator.randrange(0xC0, 0x250)),
             lambda: generator.choice("\t\n\r \x00\x0b\x85\u00a0\u200b\u2028\u3000\ufffd\u00ad"), lambda: chr(generator.randrange(0x1F300, 0x1FA00)),
             lambda: generator.choice(["[SEP]", "[CLS]", "[MASK]", "##ing", "the", "running", "Zürich", "don't", "U.S.", "e\u0301\u0301", "İ", "ß", "ΣΊΣ"]),
             lambda: chr(generator.choice([0x8D4, 0x8E0, 0x302E, 0x1D165, 0x1E000, 0x1E94A, 0x94D, 0x334, 0x5AE, 0x345, 0x1B44, 0x11446]))]
    weights = [generator.random() ** 2 for _ in pools]
    return "".join(generator.choices(pools, weights)[0]() for _ in range(generator.randrange(0, 40)))


def test_random_strings(tmp_path):
    generator = random.Random(7)
    texts = [random_text(generator) for _ in range(100_000)]
    texts += ["x" * 100, "x" * 101, "é" * 100, "é" * 101, "", " ", "\u0301", "한국어" * 50]
    compare([(t,) for t in texts], oracle().encode_batch(texts), tmp_path)


def samples() -> list[str]:
    rows = []
    for name in ("banking77", "dbpedia14"):
        for part in ("train", "test"):
            rows += [json.loads(line)["text"] for line in gzip.open(ROOT / "tests" / "data" / f"{name}.{part}.jsonl.gz", "rt", encoding="utf-8")]
    return rows


def test_corpus_of_five_megabytes(tmp_path):
    """The samples, and seeded remixes of their words, to 5 MB, as texts and as one text."""
    rows, generator = samples(), random.Random(3)
    words = " ".join(rows).split(" ")
    texts = list(rows)
    while sum(map(len, texts)) < 5_000_000:
        texts.append(" ".join(generator.choices(words, k=400)))
    compare([(t,) for t in texts], oracle().encode_batch(texts), tmp_path)
    joined = "\n".join(texts[:2000])
    compare([(joined,)], [oracle().encode(joined)], tmp_path)


@pytest.mark.parametrize("truncation", ["longest_first", "only_first", "only_second"])
def test_pairs_and_truncation(truncation, tmp_path):
    generator, rows = random.Random(11), samples()
    items = [(" ".join(generator.choice(rows).split()[:generator.randrange(1, 30)]), " ".join(generator.choice(rows).split()[:generator.randrange(1, 30)]))
             for _ in range(3000)]
    for length in (3, 4, 9, 16, 33):
        made = oracle()
        made.enable_truncation(length, strategy=truncation)
        kept, encodings, refused = [], [], []
        for item in items:
            try:
                encodings.append(made.encode(*item))
                kept.append(item)
            except Exception:  # the wheel refuses to cut more than the text has
                refused.append(item)
        compare(kept, encodings, tmp_path, mode="pair", truncation=truncation, max_length=length)
        assert all(got is None for got in ours(refused, tmp_path, mode="pair", truncation=truncation, max_length=length))


def test_single_truncation_and_no_special_tokens(tmp_path):
    rows = samples()[:2000]
    for length in (2, 3, 17):
        made = oracle()
        made.enable_truncation(length)
        compare([(t,) for t in rows], made.encode_batch(rows), tmp_path, truncation="longest_first", max_length=length)
    compare([(t,) for t in rows], oracle().encode_batch(rows, add_special_tokens=False), tmp_path, add_special_tokens=False)


def test_words_given_by_the_caller(tmp_path):
    sentences, current = [], []
    for line in gzip.open(ROOT / "tests" / "data" / "wnut17.test.conll.gz", "rt", encoding="utf-8"):
        if line.strip():
            current.append(line.rstrip("\n").split("\t")[0])
        elif current:
            sentences.append(tuple(current))
            current = []
    compare(sentences, oracle().encode_batch([list(s) for s in sentences], is_pretokenized=True), tmp_path, mode="words")


def test_special_tokens_in_text(tmp_path):
    """Tokens unless they are split, as in the wheel; oracle() splits them."""
    texts = ["x [SEP] y", "[CLS][SEP]", "a[MASK]b [UNK] \u00e9[PAD]", "[sep] [SEP", "[SEP]" * 3 + "\ud55c\uad6d"]
    made = oracle()
    compare([(t,) for t in texts], made.encode_batch(texts), tmp_path)
    made.encode_special_tokens = False
    compare_found([(t,) for t in texts], made.encode_batch(texts), tmp_path)


def compare_found(items, encodings, folder, **options) -> None:
    """compare, but for the special mask, where the wheel marks special tokens of the text, too (ours: the template's alone), and the word index of
    the template's tokens alone."""
    differences = []
    for item, encoding, got in zip(items, encodings, ours(items, folder, **options), strict=True):
        expected = row(encoding)
        if [got[k] for k in (0, 1, 3, 4, 5)] != [expected[k] for k in (0, 1, 3, 4, 5)]:
            differences.append((item, expected, got))
    assert not differences, f"{len(differences)} of {len(items)} differ; the first: {differences[0]}"


FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")
CONTENTS = ["<e1>", "</e1>", "@USER", "\u00c9t\u00e9", "ABC", "abc", "ab", "[E1_start]", " x", "new york", "\u4e2d\u6587", "ing", "##ing", "the", "e\u0301", "\u2581", "!!", "i\u0307", "_",
            "\ud55c", "\U0001f600"]


def tokenizer_with(added, directory: pathlib.Path, normalizer=None) -> tokenizers.Tokenizer:
    """The wheel's tokenizer with these added tokens, saved into `directory`."""
    made = oracle(**(normalizer or {}))
    made.encode_special_tokens = False
    for token in added:
        (made.add_special_tokens if token.special else made.add_tokens)([token])
    directory.mkdir(exist_ok=True)
    made.save(str(directory / "tokenizer.json"))
    return made


def text_around(contents, generator: random.Random) -> str:
    """Random text in which the tokens, pieces of them, other spellings of them and all sorts of space are frequent."""
    pools = [lambda: generator.choice(contents), lambda: generator.choice(contents).upper(), lambda: generator.choice(contents).lower(),
             lambda: generator.choice(contents)[:generator.randrange(1, 4)], lambda: generator.choice(" \t\n\u00a0\u2003\u3000\x85\x1c"),
             lambda: generator.choice("a_9.-\u00e9\u0301\u4e2d\u200d\u00b2\u0e01[]<>"), lambda: random_text(generator)[:3], lambda: " ",
             lambda: generator.choice(["[SEP]", "[MASK]", "[sep]"])]
    weights = [generator.random() ** 2 for _ in pools]
    return "".join(generator.choices(pools, weights)[0]() for _ in range(generator.randrange(0, 25)))


def without_twins(added, normalizer=None) -> list:
    """The tokens whose text after normalization is no other's ("ABC" and "abc" become one): which of two such tokens the wheel finds depends on the
    order of a hash table that is seeded anew in each process."""
    normalize = oracle(**(normalizer or {})).normalizer.normalize_str
    seen, kept = set(), []
    for token in added:
        pattern = normalize(token.content) if token.normalized else token.content
        if (token.normalized, pattern) not in seen:
            seen.add((token.normalized, pattern))
            kept.append(token)
    return kept


@pytest.mark.parametrize("seed", range(24))
def test_added_tokens(seed, tmp_path):
    """Random sets of added tokens with random flags, texts full of them, found or (the special ones) split."""
    generator = random.Random(seed)
    contents = generator.sample(CONTENTS, generator.randrange(1, 9))
    chance = generator.choice([0.15, 0.5])
    added = [tokenizers.AddedToken(c, **{flag: generator.random() < chance for flag in FLAGS}) for c in contents]
    normalizer = generator.choice([None, None, dict(lowercase=False), dict(strip_accents=False), dict(clean_text=False), dict(handle_chinese_chars=False)])
    added = without_twins(added, normalizer)
    directory = tmp_path / "model"
    made = tokenizer_with(added, directory, normalizer)
    texts = [text_around(contents, generator) for _ in range(4000)]
    compare_found([(t,) for t in texts], made.encode_batch(texts), tmp_path, directory=directory)
    made.encode_special_tokens = True
    compare_found([(t,) for t in texts], made.encode_batch(texts), tmp_path, directory=directory, split_special_tokens=True)


def test_every_code_point_beside_added_tokens(tmp_path):
    """What a word character and what a space is, for single_word, lstrip and rstrip."""
    added = [tokenizers.AddedToken("<w>", single_word=True, normalized=False), tokenizers.AddedToken("<s>", lstrip=True, rstrip=True, normalized=False),
             tokenizers.AddedToken("<n>", single_word=True, rstrip=True, normalized=True)]
    directory = tmp_path / "model"
    made = tokenizer_with(added, directory)
    for pattern in ("{0}<w>{0}", "<w>{0}", "{0}<s>{0}", "{0}<n>", "<n>{0}"):
        texts = [pattern.format(chr(c)) for c in ALL]
        compare_found([(t,) for t in texts], made.encode_batch(texts), tmp_path, directory=directory)


def test_words_and_pairs_with_added_tokens(tmp_path):
    generator = random.Random(2)
    added = [tokenizers.AddedToken("<e1>", lstrip=True), tokenizers.AddedToken("@USER", single_word=True, special=True), tokenizers.AddedToken("\u00c9t\u00e9", normalized=True)]
    directory, contents = tmp_path / "model", ["<e1>", "@USER", "\u00c9t\u00e9"]
    made = tokenizer_with(added, directory)
    sentences = [tuple(t for t in (text_around(contents, generator) for _ in range(generator.randrange(1, 6)))) for _ in range(2000)]
    compare_found(sentences, made.encode_batch([list(s) for s in sentences], is_pretokenized=True), tmp_path, mode="words", directory=directory)
    pairs = [(text_around(contents, generator), text_around(contents, generator)) for _ in range(2000)]
    made.enable_truncation(12)
    compare_found(pairs, made.encode_batch(pairs), tmp_path, mode="pair", directory=directory, truncation="longest_first", max_length=12)


def test_a_file_from_before_tokenizers_0_9(tmp_path):
    """No model.type, as in bert-base-uncased's own file."""
    directory = tmp_path / "model"
    directory.mkdir()
    old = json.loads((BASE_MODEL / "tokenizer.json").read_text())
    del old["model"]["type"]
    (directory / "tokenizer.json").write_text(json.dumps(old))
    made = tokenizers.Tokenizer.from_file(str(directory / "tokenizer.json"))
    made.no_truncation()
    made.no_padding()
    rows = samples()[:500]
    compare_found([(t,) for t in rows], made.encode_batch(rows), tmp_path, directory=directory)


@pytest.mark.parametrize("files", ["added_tokens.json", "special_tokens_map.json", "tokenizer_config.json"])
@pytest.mark.parametrize("with_json", [True, False])
def test_added_tokens_of_each_file(files, with_json, tmp_path):
    """Tokens that one of transformers' files names alone, beside tokenizer.json or vocab.txt: found as transformers finds them."""
    directory = tmp_path / "model"
    directory.mkdir()
    config = {"do_lower_case": True, "tokenizer_class": "BertTokenizer"}
    shutil.copy(BASE_MODEL / ("tokenizer.json" if with_json else "vocab.txt"), directory)
    token = {"content": "<E1>", "lstrip": True, "rstrip": False, "single_word": False, "normalized": False, "special": True}
    if files == "tokenizer_config.json":
        config["added_tokens_decoder"] = {"30522": token}
    elif files == "special_tokens_map.json":
        (directory / files).write_text(json.dumps({"additional_special_tokens": [token]}))
    else:
        (directory / files).write_text(json.dumps({"<E1>": 30522}))
    (directory / "tokenizer_config.json").write_text(json.dumps(config))
    made = oracle()
    made.encode_special_tokens = False
    # transformers' convert_added_tokens: what added_tokens.json alone names is not special, and normalized.
    plain = files == "added_tokens.json"
    token = tokenizers.AddedToken("<E1>", lstrip=not plain, normalized=plain, special=not plain)
    (made.add_tokens if plain else made.add_special_tokens)([token])
    generator = random.Random(4)
    texts = [text_around(["<E1>", "<e1>"], generator) for _ in range(3000)]
    compare_found([(t,) for t in texts], made.encode_batch(texts), tmp_path, directory=directory)


@pytest.mark.parametrize("normalizer", [dict(lowercase=False), dict(lowercase=False, strip_accents=True), dict(strip_accents=False),
                                        dict(handle_chinese_chars=False), dict(clean_text=False)], ids=str)
def test_other_normalizers(normalizer, tmp_path):
    """Cased models, models that keep or drop accents against their case, and each other switch."""
    directory = tmp_path / "model"
    directory.mkdir()
    made = oracle(**normalizer)
    made.save(str(directory / "tokenizer.json"))
    generator = random.Random(5)
    texts = [random_text(generator) for _ in range(20_000)] + [f"a{chr(c)}b" for c in ALL]
    compare([(t,) for t in texts], made.encode_batch(texts), tmp_path, directory=directory)


@pytest.mark.parametrize("piece", ["a", "\u0301", "e\u0301", "\u0301\u0316", "\u0316\u0315\u0301", "[", "[SEP", "[SEP]", "\ud55c", " ", "\x01", "a ",
                                   "\u4e00", "ab\u0301\u00ad!", "\U0001f600", "##", "a\u0300\u05ae\u0327"], ids=ascii)
def test_one_piece_again_and_again(piece, tmp_path):
    text = piece * (60_000 // len(piece.encode()))
    compare([(text,)], [oracle().encode(text)], tmp_path)


def test_vocabulary_file_is_the_same_tokenizer(tmp_path):
    directory = tmp_path / "model"
    directory.mkdir()
    for name in ("vocab.txt", "tokenizer_config.json"):
        shutil.copy(BASE_MODEL / name, directory / name)
    rows = samples()[:500]
    compare([(t,) for t in rows], oracle().encode_batch(rows), tmp_path, directory=directory)


@pytest.mark.parametrize("cased", [False, True])
def test_files_as_transformers_writes_them(cased, tmp_path):
    made = transformers.BertTokenizer.from_pretrained(BASE_MODEL, do_lower_case=not cased)
    made.save_pretrained(tmp_path / "model")
    backend = made.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    backend.encode_special_tokens = True
    rows = samples()[:500] + ["Z\u00fcrich HELLO", "[SEP]"]
    compare([(t,) for t in rows], backend.encode_batch(rows), tmp_path, directory=tmp_path / "model")
