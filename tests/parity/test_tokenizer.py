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


def test_special_tokens_in_text_when_asked(tmp_path):
    texts = ["x [SEP] y", "[CLS][SEP]", "a[MASK]b [UNK] é[PAD]", "[sep] [SEP", "[SEP]" * 3 + "한국"]
    made = oracle()
    made.encode_special_tokens = False
    got = list(ours([(t,) for t in texts], tmp_path, special_tokens_in_text=True))
    for text, encoding, mine in zip(texts, made.encode_batch(texts), got, strict=True):
        expected = row(encoding)
        assert [mine[0], mine[1], mine[4], mine[5]] == [expected[0], expected[1], expected[4], expected[5]], text


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
