"""Vectors of many texts, end to end: `engram encode --file` against a running server, and sentence-transformers in one process with its model loaded.

    embed_vs_sentence_transformers.py [--data FILE] [--texts 2048] [--repeats 3]

Both start from the same lines and end with the same vectors, which is checked; tokenization counts on both sides, on ours also the call, the start of
the command line and the .npy file. sentence-transformers sorts the texts by length and pads batches of 32; Engram packs them. Figures are texts a second.
"""
import argparse
import pathlib
import tempfile

import numpy
import sentence_transformers
import torch

import peers
from engram_server import Server

BATCH = 32
CLOSE = {"fp32": 1e-4, "bf16": 5e-2}  # of numbers of unit vectors


def compare(server: Server, texts: list[str], precision: str, repeats: int, data: str) -> dict:
    lines, out = server.home / "lines.txt", server.home / "vectors.npy"
    lines.write_text("".join(text + "\n" for text in texts), encoding="utf-8")
    kind = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    peer = sentence_transformers.SentenceTransformer(str(peers.BASE_MODEL), device="cpu", model_kwargs={"dtype": kind})
    ours = lambda: server.engram("encode", "base", "--file", lines, "--truncate", "--out", out)
    theirs = lambda: peer.encode(texts, batch_size=BATCH, convert_to_numpy=True, show_progress_bar=False)
    ours()
    apart = float(numpy.abs(numpy.load(out) - theirs()).max())  # the first run of both, too
    if apart > CLOSE[precision]:
        raise SystemExit(f"the vectors differ by {apart}: they are not of the same texts")
    mine, other = [], []
    for _ in range(repeats):
        mine.append(len(texts) / peers.timed(ours))
        other.append(len(texts) / peers.timed(theirs))
    return peers.row(f"embed_vs_sentence_transformers.{precision}", mine, f"sentence-transformers {sentence_transformers.__version__}", other, "texts/s",
                     data=data, texts=len(texts), batch=BATCH, threads=peers.THREADS, largest_difference=apart)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, default=peers.default_data())
    parser.add_argument("--texts", type=int, default=2048)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(peers.THREADS)
    texts = [" ".join(text.split()) for text in peers.texts(options.data, options.texts)]  # one line each
    for precision in peers.precisions():
        with tempfile.TemporaryDirectory() as folder:
            server = Server(pathlib.Path(folder), f"inference_precision: {precision}\n")
            try:
                server.engram("models", "import", "base", peers.BASE_MODEL)
                peers.emit([compare(server, texts, precision, options.repeats, peers.data_name(options.data))])
            finally:
                server.stop()


if __name__ == "__main__":
    main()
