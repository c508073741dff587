"""Peak memory of EWC training against the stated bound: weights x (4 fp32 copies + 2 for EWC) + activations.

Activations of one batch of T tokens are stated per layer as what the backward pass keeps, in fp32 numbers a token: input d, qkv 3 d, attention
output d, two normalised rows 2 d, the two rows between d + d, pre-activation and activation 2 i; and once again for the temporaries of a layer.
The process's own size before any model is loaded (libtorch) is measured and counted out.
"""
import argparse
import json
import pathlib
import tempfile

import transformers

import peers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, default=peers.default_data())
    parser.add_argument("--texts", type=int, default=256)
    options = parser.parse_args()
    tokenizer = transformers.AutoTokenizer.from_pretrained(peers.BASE_MODEL)
    ids = tokenizer(peers.texts(options.data, options.texts), truncation=True, max_length=512)["input_ids"]
    config = json.loads((peers.BASE_MODEL / "config.json").read_text())
    width, inner, layers = config["hidden_size"], config["intermediate_size"], config["num_hidden_layers"]
    longest = max(sum(len(x) for x in ids[i:i + 32]) for i in range(0, len(ids), 32))
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "ids.json"
        path.write_text(json.dumps(ids))
        start = lambda: peers.Program("bench_train", "--model", peers.BASE_MODEL, "--ids", path, "--threads", str(peers.THREADS))
        idle = start()
        before = int(next(l.split()[1] for l in open(f"/proc/{idle.process.pid}/status") if l.startswith("VmRSS"))) * 1024
        idle.close()
        ours = start()
        answer = ours.ask("memory fp32 8")
        ours.close()
    stated = answer["parameters"] * 4 * 6 + longest * 1.5 * 4 * (layers + 1) * (9 * width + 2 * inner) + 2 * longest * width * 4
    peers.emit([peers.row("worker_memory", [(answer["peak_bytes"] - before) / 2**20], "stated bound", [stated / 2**20], "MiB", lower_is_better=True,
                          data=peers.data_name(options.data), tokens_a_batch=longest, idle_mib=round(before / 2**20))])


if __name__ == "__main__":
    main()
