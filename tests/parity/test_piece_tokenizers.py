"""Byte-level BPE, Unigram and SentencePiece's BPE against the PyPI tokenizers wheel: ids, type ids, special mask, words, offsets, 0 differences. The
tokenizers have the parts of published ones; their vocabularies are learned here from the samples."""
import functools
import json
import pathlib
import random
import struct

import pytest
import tokenizers
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, processors, trainers

from test_tokenizer import ALL, CONTENTS, FLAGS, ROOT, compare, compare_found, random_text, samples, text_around

SPM = pathlib.Path(ROOT).parent / "shared" / "data" / "tokenizers"
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = LLAMA3.replace("{1,3}", "")


def learned_bpe(pre_tokenizer, normalizer=None, size=2000, alphabet=True) -> models.BPE:
    """The samples' merges, in a few seconds."""
    made = tokenizers.Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizer
    if normalizer:
        made.normalizer = normalizer
    made.train_from_iterator(samples()[::4], trainers.BpeTrainer(vocab_size=size, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet() if alphabet else []))
    return json.loads(made.to_str())["model"]


def bpe(learned, specials, **options):
    vocabulary = dict(learned["vocab"])
    for token in specials:
        vocabulary.setdefault(token, len(vocabulary))
    made = tokenizers.Tokenizer(models.BPE(vocabulary, [tuple(m) for m in learned["merges"]], **options))
    made.add_special_tokens(list(specials))
    return made


@functools.cache
def gpt2_merges():
    return learned_bpe(pre_tokenizers.ByteLevel(add_prefix_space=False))


def roberta(prefix=False):
    made = bpe(gpt2_merges(), ["<s>", "<pad>", "</s>", "<unk>"], unk_token="<unk>")
    made.add_special_tokens([tokenizers.AddedToken("<mask>", lstrip=True)])
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    made.post_processor = processors.RobertaProcessing(("</s>", made.token_to_id("</s>")), ("<s>", made.token_to_id("<s>")), add_prefix_space=prefix)
    return made


def template(made, first, second, pair):
    return processors.TemplateProcessing(single=f"{first} $A {second}".strip(), pair=pair, special_tokens=[(t, made.token_to_id(t)) for t in (first, second) if t])


def modernbert():
    made = bpe(gpt2_merges(), ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"], unk_token="[UNK]")
    made.add_tokens([tokenizers.AddedToken(" " * n, normalized=True) for n in range(8, 1, -1)] + [tokenizers.AddedToken("|||IP|||", normalized=True)])
    made.normalizer = normalizers.NFC()
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.post_processor = template(made, "[CLS]", "[SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1")
    return made


def llama3():
    split = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(LLAMA3), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    made = bpe(learned_bpe(split), ["<|begin_of_text|>", "<|end_of_text|>"], ignore_merges=True)
    made.pre_tokenizer = split
    made.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=True), template(made, "<|begin_of_text|>", "", "<|begin_of_text|> $A <|begin_of_text|>:1 $B:1")])
    return made


def qwen2():
    split = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(QWEN2), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False, trim_offsets=False)])
    made = bpe(learned_bpe(split), ["<|endoftext|>", "<|im_start|>"])
    made.normalizer = normalizers.NFC()
    made.pre_tokenizer = split
    made.post_processor = processors.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)
    return made


def charsmap() -> bytes:
    """SentencePiece's map with entries of every kind, in a double array made here: longer, shorter, gone, beside a key that it begins with."""
    entries = {"\u00a0": " ", "\u3000": " ", "\uff21": "A", "\ufb01": "fi", "\u2460": "1", "e\u0301": "\u00e9", "\u1e9b\u0323": "\u1e69", "\u00bd": "1\u20442", "\u200b": "", "\x01": "",
               "\u00e0": "a\u0300", "\u0958": "\u0915\u093c", "\uac00": "\u1100\u1161", "\t": " ", "\u3334": "\u30d6\u30c3\u30b7\u30a7\u30eb", "\u0301": "\u00b4", "\u2122": "TM", "\u00a9": "(c)",
               "\u1100": "g", "\r": "\n", "\U0001d400": "A", "\u094d": "-"}
    texts, blob = {}, b""
    for key, value in entries.items():
        texts[key.encode()] = len(blob)
        blob += value.encode() + b"\0"
    units, used = [0] * 256, {0}

    def fits(base, labels):
        return all((base ^ label) not in used for label in labels)

    def place(node, keys):
        """Writes the children of the unit `node` for (rest of key, value) pairs; a child behind the label 0 is the value."""
        labels = sorted({key[0] if key else 0 for key, _ in keys})
        base = 0
        while base == 0 or not fits(base ^ node, labels) or (base >> 8 << 8) != base and base >= 1 << 21:
            base += 1
        for label in labels:
            position = base ^ node ^ label
            used.add(position)
            units.extend([0] * (position + 1 - len(units)))
        units[node] |= base << 10 | (1 << 8 if 0 in labels else 0)
        for label in labels:
            position = base ^ node ^ label
            if label == 0:
                units[position] = 1 << 31 | next(value for key, value in keys if not key)
            else:
                units[position] = label
                place(position, [(key[1:], value) for key, value in keys if key and key[0] == label])

    place(0, list(texts.items()))
    return struct.pack("<I", 4 * len(units)) + struct.pack(f"<{len(units)}I", *units) + blob


@functools.cache
def unigram_pieces():
    made = tokenizers.Tokenizer(models.Unigram())
    made.normalizer = normalizers.NFKC()
    made.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    made.train_from_iterator(samples()[::4], trainers.UnigramTrainer(vocab_size=3000, show_progress=False, unk_token="<unk>", special_tokens=["<s>", "<pad>", "</s>", "<unk>"]))
    return [tuple(piece) for piece in json.loads(made.to_str())["model"]["vocab"]]


def xlm_roberta(**options):
    made = tokenizers.Tokenizer(models.Unigram(unigram_pieces(), unk_id=3, **options))
    made.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>", tokenizers.AddedToken("<mask>", lstrip=True)])
    made.normalizer = normalizers.Precompiled(charsmap())
    made.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    made.post_processor = template(made, "<s>", "</s>", "<s> $A </s> </s> $B </s>")
    return made


def e5():
    made = xlm_roberta()
    made.normalizer = normalizers.Sequence([normalizers.Precompiled(charsmap()), normalizers.Strip(left=False, right=True), normalizers.Replace(Regex(" {2,}"), "\u2581")])
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=True)
    return made


def llama2(**options):
    """As SentencePiece's converter writes it: marks put in by the normalizer, no pieces, bytes for what is unknown."""
    normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    learned = learned_bpe(pre_tokenizers.Metaspace(), size=3000, alphabet=False)
    vocabulary = {token: i for i, token in enumerate(["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)])}
    for token in learned["vocab"]:
        vocabulary.setdefault(token, len(vocabulary))
    made = tokenizers.Tokenizer(models.BPE(vocabulary, [tuple(m) for m in learned["merges"]], unk_token="<unk>", fuse_unk=True, byte_fallback=True, **options))
    made.add_special_tokens(["<unk>", "<s>", "</s>"])
    made.normalizer = normalizer
    made.post_processor = template(made, "<s>", "", "<s> $A <s>:1 $B:1")
    return made


def llama2_first():
    made = llama2()
    made.normalizer = None
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    return made


def lowered():
    made = roberta(prefix=True)
    made.normalizer = normalizers.Sequence([normalizers.NFD(), normalizers.Lowercase(), normalizers.Replace("``", '"'), normalizers.Prepend("e")])
    return made


def unknown_alone():
    """Characters without a token: fused or not."""
    made = llama2()
    model = json.loads(made.to_str())
    model["model"]["vocab"] = {t: i for i, t in enumerate(t for t in model["model"]["vocab"] if not t.startswith("<0x"))}
    model["model"]["byte_fallback"] = False
    model["added_tokens"] = []
    model["post_processor"] = None
    return tokenizers.Tokenizer.from_str(json.dumps(model))


KINDS = {"roberta": roberta, "roberta with a prefix": lambda: roberta(prefix=True), "modernbert": modernbert, "llama3": llama3, "qwen2": qwen2, "xlm-roberta": xlm_roberta, "e5": e5,
         "bytes of unigram": lambda: with_bytes(), "llama2": llama2, "llama2 first": llama2_first, "lowered": lowered, "unknown": unknown_alone}


def with_bytes():
    pieces = unigram_pieces() + [(f"<0x{byte:02X}>", -9.0) for byte in range(256)]
    made = xlm_roberta()
    made.model = models.Unigram(pieces, unk_id=3, byte_fallback=True)
    again = tokenizers.Tokenizer(models.Unigram(pieces, unk_id=3, byte_fallback=True))
    again.normalizer, again.pre_tokenizer = made.normalizer, made.pre_tokenizer
    return again


@functools.cache
def text_of(kind):
    return KINDS[kind]().to_str()


def saved(kind, directory: pathlib.Path) -> tokenizers.Tokenizer:
    directory.mkdir(exist_ok=True)
    (directory / "tokenizer.json").write_text(text_of(kind))
    return tokenizers.Tokenizer.from_str(text_of(kind))


# Whatever the expressions, normal forms and clusters could take for something else.
TRAPS = ["'s", "'S", "'ll", "'LL", "'\u017f", "'Re", "don't", "  ", "   ", "\n", "\r\n", "\n\n ", " \n \n", "\t", "\u00a0", "\u3000", "\x85", "\x1c", "123", "1234567", "\u00b2\u00bd\u0967", "!!", " !", "!a",
         "\u0301", "e\u0301", "e\u0323\u0301", "\u00e9", "\u1e69", "\u212b", "\u1100\u1161\u11a8", "\uac00\u11a8", "\uac01", "\u0915\u094d\u0937", "\u00a9\u200d\u00a9", "\U0001f468\u200d\U0001f469", "\U0001f1e9\U0001f1ea\U0001f1eb", "\u0600a",
         "\u2460\u0301", "\ufb01", "\u3334", "\u200b", "\x01", "\u2581", "\u2581\u2581", "``", "<s>", "<mask>", "[MASK]", "<0x41>", "\u0e33", "\u0eb3", "\u09be", "\u0344", "\u115f", "\u11a2", "\u0958"]


def trap_text(generator: random.Random) -> str:
    pools = [lambda: generator.choice(TRAPS), lambda: random_text(generator)[:4], lambda: " ", lambda: chr(generator.randrange(0x61, 0x7B)), lambda: generator.choice(["the ", "card", " payment", "\u0301"]),
             lambda: chr(generator.choice(ALL))]
    weights = [generator.random() ** 2 for _ in pools]
    return "".join(generator.choices(pools, weights)[0]() for _ in range(generator.randrange(0, 30)))


@pytest.mark.parametrize("kind", KINDS)
def test_random_strings(kind, tmp_path):
    made = saved(kind, tmp_path / "model")
    generator = random.Random(5)
    texts = [trap_text(generator) for _ in range(40_000)] + ["", " ", "x" * 3000, " " * 3000, "ab" * 2000, "\u0301", "\u0301a", "\x01ab", "\u200b" * 9 + "a"]
    compare_found([(t,) for t in texts], made.encode_batch(texts), tmp_path, directory=tmp_path / "model")
    texts = texts[::4]
    made.encode_special_tokens = True
    compare_found([(t,) for t in texts], made.encode_batch(texts), tmp_path, directory=tmp_path / "model", split_special_tokens=True)


@pytest.mark.parametrize("kind", ["roberta", "modernbert", "llama3", "qwen2", "xlm-roberta", "llama2"])
@pytest.mark.parametrize("context", ["a{0}b", " {0}\u0301", "'{0}l {0} {0}e"])
def test_every_code_point(kind, context, tmp_path):
    made = saved(kind, tmp_path / "model")
    texts = [context.format(chr(c)) for c in ALL]
    compare_found([(t,) for t in texts], made.encode_batch(texts), tmp_path, directory=tmp_path / "model")


@pytest.mark.parametrize("kind", KINDS)
def test_samples_as_texts_and_as_one_text(kind, tmp_path):
    made, rows = saved(kind, tmp_path / "model"), samples()
    compare_found([(t,) for t in rows], made.encode_batch(rows), tmp_path, directory=tmp_path / "model")
    joined = "\n".join(rows[:3000])
    compare_found([(joined,)], [made.encode(joined)], tmp_path, directory=tmp_path / "model")


def test_words_of_the_vocabulary_that_their_own_parts_beat(tmp_path):
    """Unigram with every seventh score so low that the token is never the best cut of itself."""
    pieces = [(piece, score - 30 * (i > 3 and i % 7 == 0)) for i, (piece, score) in enumerate(unigram_pieces())]
    made = xlm_roberta()
    made.model = models.Unigram(pieces, unk_id=3)
    directory, rows = tmp_path / "model", samples()[:2000]
    directory.mkdir()
    (directory / "tokenizer.json").write_text(made.to_str())
    found = made.encode_batch(rows)
    assert sum(token in dict(pieces[7::7]) for e in found for token in e.tokens) < sum(len(e.tokens) for e in found) / 20
    compare_found([(t,) for t in rows], found, tmp_path, directory=directory)


@pytest.mark.parametrize("kind", KINDS)
def test_pairs_words_truncation_and_no_special_tokens(kind, tmp_path):
    made, generator = saved(kind, tmp_path / "model"), random.Random(6)
    pairs = [(trap_text(generator), trap_text(generator)) for _ in range(2000)]
    options = dict(directory=tmp_path / "model", mode="pair")
    compare_found(pairs, made.encode_batch(pairs), tmp_path, **options)
    compare_found(pairs, made.encode_batch(pairs, add_special_tokens=False), tmp_path, add_special_tokens=False, **options)
    made.enable_truncation(9)
    compare_found(pairs, made.encode_batch(pairs), tmp_path, truncation="longest_first", max_length=9, **options)
    made.no_truncation()
    words = [tuple(trap_text(generator)[:8] for _ in range(generator.randrange(1, 9))) for _ in range(2000)]
    if kind in ("roberta", "modernbert"):  # words of byte-level tokenizers get the prefix space that transformers asks for
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        if kind == "roberta":
            made.post_processor = processors.RobertaProcessing(("</s>", made.token_to_id("</s>")), ("<s>", made.token_to_id("<s>")), add_prefix_space=True)
    compare_found(words, made.encode_batch([list(w) for w in words], is_pretokenized=True), tmp_path, directory=tmp_path / "model", mode="words")


@pytest.mark.parametrize("kind", ["roberta", "modernbert", "llama3", "e5", "llama2"])
@pytest.mark.parametrize("seed", range(4))
def test_added_tokens(kind, seed, tmp_path):
    directory, generator = tmp_path / "model", random.Random(seed)
    made = saved(kind, directory)
    contents = generator.sample(CONTENTS, 6)
    normalize = made.normalizer.normalize_str if made.normalizer else str
    seen, kept = set(), []
    for content in contents:
        token = tokenizers.AddedToken(content, **{flag: generator.random() < 0.3 for flag in FLAGS})
        pattern = normalize(content) if token.normalized else content
        if (token.normalized, pattern) not in seen:
            seen.add((token.normalized, pattern))
            kept.append(token)
    for token in kept:
        (made.add_special_tokens if token.special else made.add_tokens)([token])
    made.save(str(directory / "tokenizer.json"))
    texts = [text_around(contents, generator) for _ in range(4000)]
    compare_found([(t,) for t in texts], made.encode_batch(texts), tmp_path, directory=directory)


def test_wordpiece_with_the_frame_of_mpnet(tmp_path):
    """all-mpnet-base-v2: BERT's words between RoBERTa's special tokens."""
    directory = tmp_path / "model"
    directory.mkdir()
    made = tokenizers.Tokenizer.from_file(str(ROOT / ".deps" / "base-model" / "tokenizer.json"))
    made.no_truncation()
    made.no_padding()
    made.add_special_tokens(["<s>", "</s>"])
    for post in (processors.RobertaProcessing(("</s>", made.token_to_id("</s>")), ("<s>", made.token_to_id("<s>")), add_prefix_space=False),
                 template(made, "<s>", "</s>", "<s> $A </s> </s> $B:1 </s>:1")):
        made.post_processor = post
        made.save(str(directory / "tokenizer.json"))
        pairs = [(a, b) for a, b in zip(samples()[:500], samples()[500:1000])]
        compare_found(pairs, made.encode_batch(pairs), tmp_path, directory=directory, mode="pair")
        rows = samples()[:500]
        compare_found([(t,) for t in rows], made.encode_batch(rows), tmp_path, directory=directory)


def sentencepiece_model(path: pathlib.Path):
    """(piece, score, kind) of each piece of a tokenizer.model: field 1 of the protobuf, in it 1 = text, 2 = float, 3 = kind."""
    data, at, pieces = path.read_bytes(), 0, []

    def varint(at, data):
        value = shift = 0
        while True:
            byte = data[at]
            value |= (byte & 127) << shift
            at, shift = at + 1, shift + 7
            if byte < 128:
                return value, at

    def fields(data):
        at = 0
        while at < len(data):
            tag, at = varint(at, data)
            if tag & 7 == 2:
                size, at = varint(at, data)
                yield tag >> 3, data[at:at + size]
                at += size
            elif tag & 7 == 5:
                yield tag >> 3, struct.unpack("<f", data[at:at + 4])[0]
                at += 4
            else:
                value, at = varint(at, data)
                yield tag >> 3, value

    for field, value in fields(data):
        if field == 1:
            entry = dict(fields(value))
            pieces.append((entry[1].decode(), entry.get(2, 0.0), entry.get(3, 1)))
    return pieces


@pytest.mark.skipif(not SPM.exists(), reason="the published tokenizers are not here")
def test_llama_2_as_published(tmp_path):
    """Its own pieces, converted as transformers does, against llama.cpp's vectors and against the wheel."""
    pieces = sentencepiece_model(SPM / "llama2" / "tokenizer.model")
    vocabulary = {piece: i for i, (piece, _, _) in enumerate(pieces)}
    merges = []
    for i, (piece, score, kind) in enumerate(pieces):
        if kind == 1:
            merges += [(-score, i, piece[:k], piece[k:]) for k in range(1, len(piece)) if piece[:k] in vocabulary and piece[k:] in vocabulary]
    merges.sort(key=lambda m: (m[0], vocabulary[m[2]], vocabulary[m[3]]))
    made = tokenizers.Tokenizer(models.BPE(vocabulary, [(a, b) for _, _, a, b in merges], unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    made.add_special_tokens(["<unk>", "<s>", "</s>"])
    made.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    directory = tmp_path / "model"
    directory.mkdir()
    made.save(str(directory / "tokenizer.json"))
    inputs = (SPM / "llamacpp_vectors" / "ggml-vocab-llama-spm.gguf.inp").read_text().split("\n__ggml_vocab_test__\n")
    outputs = [[int(i) for i in line.split()] for line in (SPM / "llamacpp_vectors" / "ggml-vocab-llama-spm.gguf.out").read_text().splitlines()]
    from test_tokenizer import ours
    got = [row[0] for row in ours([(t,) for t in inputs], tmp_path, directory=directory)]
    assert [g for g, text in zip(got, inputs) if text] == [o for o, text in zip(outputs, inputs) if text]
    generator = random.Random(8)
    texts = [trap_text(generator) for _ in range(20_000)] + samples()
    compare_found([(t,) for t in texts], made.encode_batch(texts), tmp_path, directory=directory)
