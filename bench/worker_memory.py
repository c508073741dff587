"""Peak memory of real engram-worker processes that learn a task with EWC, against the stated bound:

    weights x (4 fp32 copies + 2 for EWC) + activations          (bf16: and the bf16 copy of the weights)

4 copies: weights, gradients, two moments of AdamW; 2 for EWC: importance and anchors (of the encoder). Activations are those of the largest
batch, T tokens, derived from what core/nn/encoder.h keeps for the backward pass and from what one layer's backward pass holds beside it, with
d = hidden size, i = intermediate size, L layers, in numbers of the compute precision:

    kept      T (L (8 d + 2 i) + 3 d)   a layer: query, key, value (3 d), attention (d), two norms with their normalised rows (4 d),
                                        pre-activation and activation (2 i); the embeddings: norm, normalised rows, after dropout (3 d)
    beside    T (11 d + 2 i)            one layer's gradients: of its output and input (2 d), of both sums, each side (4 d), of the attention's
                                        rows, output and input (5 d), of activation and pre-activation (2 i). The encoder lets go of each as
                                        soon as it can; what it saves so is what oneDNN's kernels and the allocator's gaps may take
    bf16      4 bytes x T i             where oneDNN sums a product of bf16 rows in fp32

What a process has beside that (libtorch's pages and buffers, tokenizer, texts) is measured, not stated: it is the peak of the same run with
an encoder so small that its own share does not matter, and is counted out.
"""
import argparse
import gzip
import json
import pathlib
import shutil
import tempfile

import transformers

import peers
from lambda_sweep import Server

EPOCHS, BATCH, MAX_LENGTH = 2, 32, 512
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json")


def make_tiny(folder: pathlib.Path) -> pathlib.Path:
    """MiniLM's tokenizer and depth, rows of 8 numbers."""
    config = json.loads((peers.BASE_MODEL / "config.json").read_text())
    small = transformers.BertConfig(vocab_size=config["vocab_size"], hidden_size=8, num_hidden_layers=config["num_hidden_layers"],
                                    num_attention_heads=1, intermediate_size=16)
    transformers.BertModel(small, add_pooling_layer=False).save_pretrained(folder)
    for name in TOKENIZER_FILES:
        shutil.copy(peers.BASE_MODEL / name, folder)
    return folder


def parameters(folder: pathlib.Path) -> int:
    """Numbers in the encoder's file."""
    with open(folder / "model.safetensors", "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__" and entry["dtype"] == "F32"]
    return max(ends) // 4


def peak(server: Server, model: str, folder: pathlib.Path, precision: str) -> int:
    """Bytes at the peak of the run that learns a second task with EWC on top of a consolidated first one."""
    if model not in [m["name"].split("/")[-1] for m in server.engram("models", "list").get("models", [])]:
        server.engram("models", "import", model, folder, "--label", "base")
        server.engram("start-task", f"{model}@base", "first", "--dataset", "texts", "--epochs", "1", "--set", "pooling=mean", "--label", "first", "--wait")
        server.engram("consolidate-task", f"{model}@first", "first", "--fisher", "empirical", "--samples", "32", "--label", "consolidated", "--wait")
    job = server.engram("start-task", f"{model}@consolidated", f"second-{precision}", "--dataset", "texts", "--strategy", "ewc", "--epochs", EPOCHS,
                        "--set", f"precision={precision}", "--set", f"batch_size={BATCH}", "--set", f"max_length={MAX_LENGTH}",
                        "--set", "pooling=mean", "--wait")
    return int(job["result"]["peakBytes" if "peakBytes" in job["result"] else "peak_bytes"])


def bound(config: dict, count: int, tokens: int, precision: str) -> tuple[int, int]:
    """(bytes of weights, bytes of activations) as stated above."""
    d, i, layers = config["hidden_size"], config["intermediate_size"], config["num_hidden_layers"]
    size = 4 if precision == "fp32" else 2
    sums = 0 if precision == "fp32" else 4 * tokens * i
    return count * (4 * 6 + (0 if precision == "fp32" else 2)), size * tokens * (layers * (8 * d + 2 * i) + 3 * d + 11 * d + 2 * i) + sums


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, default=peers.default_data())
    parser.add_argument("--texts", type=int, default=256)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        home = pathlib.Path(temporary)
        with gzip.open(options.data, "rt", encoding="utf-8") as lines:
            rows = [json.loads(line) for line, _ in zip(lines, range(options.texts))]
        (home / "texts.jsonl").write_text("".join(json.dumps({"text": r["text"], "label": r["label"]}) + "\n" for r in rows))
        tokenizer = transformers.AutoTokenizer.from_pretrained(peers.BASE_MODEL)
        lengths = sorted(len(ids) for ids in tokenizer([r["text"] for r in rows], truncation=True, max_length=MAX_LENGTH)["input_ids"])
        tokens = sum(lengths[-BATCH:])  # batches hold texts of like length: no batch has more
        folders = {"tiny": make_tiny(home / "tiny"), "minilm": peers.BASE_MODEL}
        server = Server(home / "server")
        try:
            server.engram("datasets", "upload", "texts", home / "texts.jsonl")
            for precision in peers.precisions():
                measured = {model: peak(server, model, folder, precision) for model, folder in folders.items()}
                sizes = {}
                for model, folder in folders.items():
                    sizes[model] = bound(json.loads((folder / "config.json").read_text()), parameters(folder), tokens, precision)
                process = measured["tiny"] - sum(sizes["tiny"])
                weights, activations = sizes["minilm"]
                mib = lambda count: round(count / 2**20, 1)
                peers.emit([peers.row(f"worker_memory.{precision}", [mib(measured["minilm"] - process)], "stated bound", [mib(weights + activations)],
                                      "MiB", lower_is_better=True, data=peers.data_name(options.data), tokens_a_batch=tokens,
                                      weights_mib=mib(weights), activations_mib=mib(activations), process_mib=mib(process),
                                      peak_mib=mib(measured["minilm"]))])
        finally:
            server.stop()


if __name__ == "__main__":
    main()
