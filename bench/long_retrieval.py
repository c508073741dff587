#!/usr/bin/env python3
"""Which way of reading a long text still finds one sentence in it: needle and passkey, in the way of LongEmbed (arXiv 2404.12096).

For each length there are N documents of so many tokens, each with one sentence of its own at a random depth, and N questions; a question finds its
document if that has the largest cosine of all N (accuracy at 1; by chance 1 / N). A document is its one vector, or the chunk of it that is nearest.

  needle    a person's favourite fruit, among essays (--essays: a .tar.gz or a file of plain text)
  passkey   a person's number, among five sentences that repeat

example: bench/long_retrieval.py --essays essays.tar.gz --lengths 256 1024 4096 --documents 20
"""
import argparse
import json
import pathlib
import random
import sys
import tarfile
import tempfile
import time

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "integration"))
from conftest import BASE_MODEL, Server, messages  # noqa: E402

FIRST = "Ada Boris Clara Denis Elena Felix Greta Hugo Irene Jonas Karla Louis Maria Nils Olga Pavel Quinn Rosa Simon Tilda".split()
LAST = "Abbot Berger Castro Dahl Eriksen Fontaine Garcia Hansen Ivanov Jensen".split()
FRUIT = "apple pear plum cherry mango papaya fig date lemon lime orange grape melon quince peach apricot kiwi guava lychee banana".split()
GARBAGE = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again. "

# name -> (fields of the request, whether there are chunks' vectors)
WAYS = {
    "first window": None,  # Embed with truncate: what most servers do
    "chunk": dict(mode="LONG_CONTEXT_MODE_CHUNK"),
    "chunk 128, overlap 32": dict(mode="LONG_CONTEXT_MODE_CHUNK", chunk_tokens=128, overlap=32),
    "late 128": dict(mode="LONG_CONTEXT_MODE_LATE", chunk_tokens=128, overlap=128),
    "sliding": dict(mode="LONG_CONTEXT_MODE_SLIDING", chunk_tokens=128),
    "full": dict(mode="LONG_CONTEXT_MODE_FULL", chunk_tokens=128),
}


def essays(path: pathlib.Path) -> str:
    if tarfile.is_tarfile(path):
        with tarfile.open(path) as archive:
            members = sorted((m for m in archive if m.isfile() and m.name.endswith(".txt")), key=lambda m: m.name)
            return " ".join(archive.extractfile(m).read().decode("utf-8", "replace") for m in members)
    return path.read_text(encoding="utf-8")


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


class Haystack:
    """Pieces of a text of so many tokens, as often repeated as that takes."""

    def __init__(self, tokenizer, text: str, tokens: int):
        self.text, self.ends = "", []
        encoded = [end for _, end in tokenizer.encode(text, add_special_tokens=False).offsets]
        while len(self.ends) < 2 * tokens + len(encoded):
            self.ends.extend(len(self.text) + end for end in encoded)
            self.text += text + " "
        self.period = len(encoded)

    def piece(self, first: int, tokens: int) -> str:
        return self.text[self.ends[first]:self.ends[first + tokens]]


def documents(task: str, haystack: Haystack, tokens: int, count: int, rng: random.Random):
    """(text, question) of each."""
    names = rng.sample([f"{a} {b}" for a in FIRST for b in LAST], count)
    made = []
    for name in names:
        if task == "needle":
            hidden, question = f" The favourite fruit of {name} is the {rng.choice(FRUIT)}. ", f"What is the favourite fruit of {name}?"
        else:
            number = rng.randrange(10_000, 100_000)
            hidden, question = f" The pass key of {name} is {number}. Remember it. {number} is the pass key of {name}. ", f"What is the pass key of {name}?"
        first, before = rng.randrange(haystack.period), rng.randrange(max(1, tokens - 40))
        text = haystack.piece(first, before) if before else ""
        made.append((text + hidden + haystack.piece(first + before, max(1, tokens - 40 - before)), question))
    return made


def read(server, way: str, text: str):
    """(document vector, chunk vectors)."""
    m, stub = messages(), server.stub("InferenceService")
    if WAYS[way] is None:
        vector = stub.Embed(m.EmbedRequest(model="base", texts=[text], truncate=True)).results[0].vector
        return np.array(vector), np.array([vector])
    fields = {key: getattr(m, value) if key == "mode" else value for key, value in WAYS[way].items()}
    answer = stub.LongContextEncode(m.LongContextEncodeRequest(model="base", text=text, chunk_vectors=True, **fields))
    rows = np.frombuffer(answer.chunk_vectors.data, "<f4").reshape(tuple(answer.chunk_vectors.shape))
    return np.frombuffer(answer.vector.data, "<f4"), rows


def measure(server, way: str, pairs) -> dict:
    start = time.monotonic()
    read_texts = [read(server, way, text) for text, _ in pairs]
    seconds = time.monotonic() - start
    asked = unit(np.array([read(server, way, question)[0] for _, question in pairs]))
    right = np.arange(len(pairs))
    by_document = asked @ unit(np.array([vector for vector, _ in read_texts])).T
    by_chunk = np.stack([(asked @ unit(chunks).T).max(1) for _, chunks in read_texts], axis=1)
    return {"document": float((by_document.argmax(1) == right).mean()), "nearest_chunk": float((by_chunk.argmax(1) == right).mean()),
            "seconds_per_document": round(seconds / len(pairs), 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--essays", type=pathlib.Path, required=True, help="what needles are hidden in")
    parser.add_argument("--lengths", type=int, nargs="+", default=[256, 512, 1024, 2048, 4096])
    parser.add_argument("--documents", type=int, default=20, help="of each length")
    parser.add_argument("--square-up-to", type=int, default=4096, help="the longest text that full attention reads")
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    parser.add_argument("--model", type=pathlib.Path, default=BASE_MODEL)
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "bench" / "results" / "long-retrieval.json")
    options = parser.parse_args()

    from tokenizers import Tokenizer
    tokenizer = Tokenizer.from_file(str(options.model / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    haystacks = {"needle": Haystack(tokenizer, essays(options.essays), max(options.lengths)), "passkey": Haystack(tokenizer, GARBAGE, max(options.lengths))}
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        server = Server(pathlib.Path(folder), {"max_message_mb": 64}).start()
        try:
            server.engram("models", "import", "base", options.model)
            for task, haystack in haystacks.items():
                for length in options.lengths:
                    pairs = documents(task, haystack, length, options.documents, random.Random(f"{task} {length}"))
                    for way in options.ways:
                        if way == "full" and length > options.square_up_to:
                            continue
                        rows.append({"task": task, "tokens": length, "way": way, **measure(server, way, pairs)})
                        r = rows[-1]
                        print(f"{task:8} {length:7} {way:24} document {r['document']:.2f}  nearest chunk {r['nearest_chunk']:.2f}  {r['seconds_per_document']:.2f} s", flush=True)
        finally:
            server.stop()
    options.out.write_text(json.dumps({"model": options.model.name, "documents": options.documents, "chance": 1 / options.documents,
                                       "scores": "accuracy at 1 of a question among the documents of its length", "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
